"""Images that could not be read: a run may be continued once they are mended, though its data have changed.

Such an image stopped the training before it taught anything. What it held then is written down, and stands
for what it holds now where a continued run is asked whether it still has the same images.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from holotype.files import sha256_of_parts
from holotype.training.folder import write_json
from holotype.vision.data.table import ImageTable

UNREADABLE = "unreadable.json"
_WRITING = threading.Lock()  # several threads read images


def read_unreadable(folder: Path) -> dict[str, dict[str, str]]:
    """What earlier attempts at a run could not read: part -> name -> sha256 of what it held."""
    try:
        kept: dict[str, dict[str, str]] = json.loads((folder / UNREADABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or damaged: then no image is excused
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
    parts: list[str | bytes] = [
        f"{name!r}\t{before.get(name) or content.hex()}\n"
        for name, content in zip(table.names, table.hashes, strict=True)
    ]
    if table.labels is not None:
        parts.append(table.labels.tobytes())
    parts += [boxes.boxes.tobytes() + boxes.labels.tobytes() for boxes in table.boxes or ()]
    return sha256_of_parts(*parts)
