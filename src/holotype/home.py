"""Where Holotype keeps what it can fetch or derive again: one cache folder for each user."""

from __future__ import annotations

import os
import sys


def cache_home() -> str:
    r"""The cache folder, as an absolute path. It may not exist yet.

    ``HOLOTYPE_HOME`` where that is set; else ``~/.cache/holotype`` (``$XDG_CACHE_HOME/holotype``) on
    Linux, ``~/Library/Caches/holotype`` on macOS, ``%LOCALAPPDATA%\holotype\Cache`` on Windows.
    It never depends on the working directory, unless ``HOLOTYPE_HOME`` itself is relative.
    """
    chosen = os.environ.get("HOLOTYPE_HOME", "")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        return os.path.join(local, "holotype", "Cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "holotype")
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules say that a relative path there is to be ignored.
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".cache"), "holotype")
