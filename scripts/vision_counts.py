"""Write `counts.toml` of the vision zoo: how many learnable parameters each listed name has.

    python scripts/vision_counts.py

They are counted on networks that take no memory. A unit test counts them again.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from holotype.catalog.grammar import Grammar, families
from holotype.vision import registry

ZOO = Path(__file__).parents[1] / "src" / "holotype" / "zoos" / "vision"
HEAD = """# Learnable parameters of the listed names of grammar.toml, with 1000 classes and 3 channels.
# Written by scripts/vision_counts.py.
"""


def main() -> None:
    """Count, and replace what was written before."""
    rows = families(tomllib.loads((ZOO / "grammar.toml").read_text(encoding="utf-8")))
    names = [name for family, row in rows.items() for name in Grammar(family, row).listed]
    lines = [f"{name} = {registry.count_parameters(name):_}" for name in names]
    (ZOO / "counts.toml").write_text("\n".join([HEAD, *lines, ""]), encoding="utf-8")
    print(f"{len(names)} names")


if __name__ == "__main__":
    main()
