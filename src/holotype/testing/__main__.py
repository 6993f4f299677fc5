"""Write the snapshots of a zoo: ``python -m holotype.testing ZOO FOLDER [NAME …] [--show]``."""

from __future__ import annotations

import argparse
import sys

from holotype.errors import HolotypeError
from holotype.testing.snapshots import show, write_snapshots
from holotype.testing.subjects import subjects


def main() -> int:
    """Write, and print which snapshots changed."""
    parser = argparse.ArgumentParser(
        prog="python -m holotype.testing",
        description="Write the snapshots of a zoo: for each network, hashes of its config and of the names, "
        "dtypes and shapes of its tensors.",
    )
    parser.add_argument("zoo", help="a zoo, or a package such as src.model")
    parser.add_argument("folder", help="where they go: the folder 'snapshots' beside the test file")
    parser.add_argument("names", nargs="*", help="only these architectures")
    parser.add_argument("--show", action="store_true", help="print config and tensors, and write nothing")
    given = parser.parse_args()
    try:
        if given.show:
            for subject in subjects(given.zoo, names=given.names or None):
                sys.stdout.write(f"{show(subject)}\n")
            return 0
        changed = write_snapshots(given.zoo, given.folder, names=given.names or None)
    except HolotypeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name in changed:
        sys.stdout.write(f"{name}\n")
    sys.stdout.write(f"{len(changed)} changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
