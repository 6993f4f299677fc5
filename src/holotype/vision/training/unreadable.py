"""Images that could not be read: a run may be continued once they are mended, though its data have changed.

Such an image stopped the training before it taught anything. What it held then is written down, and stands
for what it holds now where a continued run is asked whether it still has the same images.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from holotype.training.folder import write_json
from holotype.vision.data.table import ImageTable

UNREADABLE = "unreadable.json"
_WRITING = threading.Lock()  # several threads read images


def read_unreadable(folder: Path) -> dict[str, dict[str, str]]:
    """What earlier attempts at a run could not read: part -> name -> sha256 of what it held."""
    try:
        kept: dict[str, dict[str, str]] = json.loads((folder / UNREADABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it is damaged: then it only excuses nothing
        return {}
    return kept


def note_unreadable(folder: Path, part: str, table: ImageTable, at: int) -> None:
    """Write down an image that cannot be read, if it is not noted yet."""
    if table.hashes is None or not folder.is_dir():
        return
    with _WRITING:
        kept = read_unreadable(folder)
        kept.setdefault(part, {}).setdefault(table.names[at], table.hashes[at].hex())
        write_json(folder / UNREADABLE, kept)


def content_of(table: ImageTable, before: Mapping[str, str]) -> str:
    """A digest of the images of a part in their order, and of their targets.

    Args:
        table: the part.
        before: what some of them held before they were mended, by name; see `read_unreadable`.
    """
    if table.hashes is None:  # too much of it: names and sizes stand for contents
        return table.digest
    digest = sha256()
    for at, name in enumerate(table.names):
        digest.update(
            f"{name!r}\t{before.get(name) or table.hashes[at].hex()}\n".encode("utf-8", "surrogateescape")
        )
    if table.labels is not None:
        digest.update(table.labels.tobytes())
    for boxes in table.boxes or ():
        digest.update(boxes.boxes.tobytes() + boxes.labels.tobytes())
    return digest.hexdigest()
