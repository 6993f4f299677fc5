"""A zoo's facts, read when its wheel is built, so that the first look at an installed zoo parses nothing.

The file `_facts.json` in a zoo's folder holds the facts of each of its files by the sha256 of their content.
A file that has changed since is not found in it, and is read. A build writes it with

    python -m holotype.catalog.prebuilt src/mylab/models
"""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from typing import Any

from holotype.catalog import scan as scanner

NAME = "_facts.json"


def build(folder: str | os.PathLike[str]) -> str:
    """The content of `_facts.json` for a zoo's folder."""
    facts = {}
    for parent, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith(".py"):
                with open(os.path.join(parent, name), "rb") as file:
                    content = file.read()
                facts[sha256(content).hexdigest()] = scanner.scan(content)
    return json.dumps({"scanner": _scanner(), "facts": facts}, separators=(",", ":"), sort_keys=True)


def read(folder: str) -> dict[str, Any]:
    """The facts by digest; empty where there are none, or none that this version of Holotype can use."""
    try:
        with open(os.path.join(folder, NAME), "rb") as file:
            content = json.load(file)
        facts = content["facts"] if content["scanner"] == _scanner() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _scanner() -> str:
    """Which scanner the facts are from: the digest of its own source."""
    with open(scanner.__file__, "rb") as file:
        return sha256(file.read()).hexdigest()


def main() -> None:
    """Write the file into each folder named on the command line."""
    for folder in sys.argv[1:]:
        with open(os.path.join(folder, NAME), "w", encoding="utf-8") as file:
            file.write(build(folder))


if __name__ == "__main__":
    main()
