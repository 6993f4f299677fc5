"""Parity tests compare with other libraries: they run in .venv-peers (`make parity`) and nowhere else.

There, a library that is missing is a failure. Elsewhere, none of these files is collected.
"""

import sys
from pathlib import Path

PEERS = ".venv-peers"

if Path(sys.prefix).name != PEERS:
    collect_ignore_glob = ["test_*.py"]
