"""Write the snapshots of a zoo: ``python -m holotype.testing ZOO FOLDER [NAME …]``."""

from __future__ import annotations

import argparse
import sys

from holotype.errors import HolotypeError
from holotype.testing.snapshots import write_snapshots


def main() -> int:
    """Write, and say which files changed."""
    parser = argparse.ArgumentParser(
        prog="python -m holotype.testing",
        description="Write the snapshots of a zoo: the names, dtypes and shapes of each network's tensors.",
    )
    parser.add_argument("zoo", help="a zoo, or a package such as src.model")
    parser.add_argument("folder", help="where they go: the folder 'snapshots' beside the test file")
    parser.add_argument("names", nargs="*", help="only these architectures")
    given = parser.parse_args()
    try:
        changed = write_snapshots(given.zoo, given.folder, names=given.names or None)
    except HolotypeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path in changed:
        sys.stdout.write(f"{path}\n")
    sys.stdout.write(f"{len(changed)} changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
