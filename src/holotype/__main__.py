"""``python -m holotype`` is the command ``holotype``."""

from holotype.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
