"""Images in shards: plain ``.tar`` archives in which the members of one example share a key.

::

    000001.jpg  000001.cls               the class as text, or
    000002.png  000002.json              {"label": "cat"}

This is how WebDataset lays them out. The headers are read once; then each image is one read at its place, in
any order. Nothing is ever extracted to disk, and no link in an archive is followed.

Source: Aizman, Maltby and Breuel 2019, "High Performance I/O For Large Scale Deep Learning", section V.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holotype.errors import DataError, ImageError
from holotype.files import sha256_of
from holotype.names import natural_key, nearest
from holotype.text import listed
from holotype.vision.data.decode import image_extensions
from holotype.vision.data.table import Found

__all__ = ["ShardSource", "expand_shards", "is_shards", "read_shards"]

LARGEST_IMAGE = 2**30
LARGEST_LABEL = 2**24
_BLOCK = 512
_MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Members of archives, read at their places.

    Attributes:
        shards: the archives.
        places: (shard, offset, size) of each image.
    """

    shards: tuple[str, ...]
    places: tuple[tuple[int, int, int], ...]
    _open: dict[int, Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def content(self, at: int) -> bytes:
        """The bytes of an image."""
        shard, offset, size = self.places[at]
        return self._read(shard, offset, size)

    def select(self, indices: Sequence[int]) -> ShardSource:
        """Some of them."""
        return ShardSource(self.shards, tuple(self.places[at] for at in indices))

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardSource, (self.shards, self.places)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        path = self.shards[shard]
        try:
            with self._lock:
                file = self._open.get(shard)
                if file is None:
                    file = self._open[shard] = Path(path).open("rb")  # noqa: SIM115  # closed with this
                if not hasattr(os, "pread"):  # Windows
                    file.seek(offset)
                    content = file.read(size)
            if hasattr(os, "pread"):  # leaves the file's position alone, so that threads may share it
                content = _pread(file.fileno(), size, offset)
        except OSError as error:
            raise ImageError(f"{path} cannot be read: {error.strerror or error}.", given=path) from error
        if len(content) != size:
            raise ImageError(f"{path} has become shorter since it was opened.", given=path)
        return bytes(content)

    def __del__(self) -> None:
        for file in self.__dict__.get("_open", {}).values():
            file.close()


def is_shards(text: str) -> bool:
    """Does this look like archives, not like a folder or a list?"""
    return text.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def expand_shards(pattern: str) -> list[Path]:
    """The archives that a pattern stands for: ``a-{000..012}.tar`` all of them, ``a-*.tar`` those there are.

    Raises:
        DataError: one is not there, none fits, or they are too many.
    """
    if Path(pattern).is_file():
        return [Path(pattern)]
    paths = []
    for one in _braced(pattern):
        if any(sign in one for sign in "*?["):
            paths += sorted((Path(path) for path in glob.glob(one)), key=lambda path: natural_key(str(path)))  # noqa: PTH207  # patterns may be absolute
        else:
            paths.append(Path(one))
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        what = missing[0] if missing else Path(pattern)
        there = [str(path) for path in what.parent.iterdir()] if what.parent.is_dir() else []
        raise DataError(
            f"there is no shard {what}" + (f", nor {len(missing) - 1} more." if len(missing) > 1 else "."),
            given=pattern,
            nearest=nearest(str(what), there),
        )
    return list(dict.fromkeys(paths))


def _braced(pattern: str) -> Iterator[str]:
    hit = _BRACES.search(pattern)
    if hit is None:
        yield pattern
        return
    first, last = int(hit[1]), int(hit[2])
    if not 0 <= last - first < _MOST_SHARDS:
        raise DataError(f"{hit[0]} stands for no shard, or for too many.", given=pattern)
    width = len(hit[1]) if hit[1].startswith("0") or len(hit[1]) == len(hit[2]) else 0
    for number in range(first, last + 1):
        yield from _braced(f"{pattern[: hit.start()]}{number:0{width}d}{pattern[hit.end() :]}")


def read_shards(pattern: str) -> Found:
    """The images of one shard or of several, one after the other.

    Raises:
        DataError: a shard is not there, damaged, cut short or compressed, has no image, or two members of
            one name; or some of its images have labels and others none.
    """
    shards = expand_shards(pattern)
    names, places, labels = [], [], []
    ignored: Counter[str] = Counter()
    for number, path in enumerate(shards):
        for example in _examples(path, ignored):
            names.append(f"{path.name}/{example.image}")
            places.append((number, *example.place))
            labels.append(example.label)
    where = pattern if len(shards) == 1 else f"{pattern} ({len(shards)} shards)"
    if not names:
        raise DataError(
            f"{where} holds no image.",
            given=pattern,
            hint="Members are named KEY.jpg and KEY.cls (or KEY.json).",
        )
    doubled = next((name for name, count in Counter(names).items() if count > 1), None)
    if doubled is not None:
        raise DataError(f"{where}: two shards of one name hold {doubled}.", given=pattern)
    without = [name for name, label in zip(names, labels, strict=True) if label is None]
    if without and len(without) < len(names):
        raise DataError(
            f"{where}: {len(without):,} of {len(names):,} images have no label: " + listed(without),
            given=pattern,
        )
    notes = [f"{where}: {count:,} {what} left out" for what, count in sorted(ignored.items())]
    return Found(
        where=where,
        names=names,
        source=ShardSource(tuple(str(path) for path in shards), tuple(places)),
        sizes_bytes=[size for _, _, size in places],
        labels=None if without else [str(label) for label in labels],
        pinned=[],
        notes=notes,
    )


@dataclass
class _Example:
    image: str = ""
    place: tuple[int, int] = (0, 0)
    label: str | None = None


def _examples(path: Path, ignored: Counter[str]) -> list[_Example]:
    """What a shard holds, by key, in its order."""
    found: dict[str, _Example] = {}
    seen: set[str] = set()
    known = image_extensions()

    with _opened(path) as file:
        for member in _members(path, file):
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                ignored["links and special members" if not member.issparse() else "sparse members"] += 1
                continue
            name = _safe(member.name)
            key, ending = _key(name)
            if not key or name.rpartition("/")[2].startswith("."):
                ignored["members without a key"] += 1
                continue
            is_image, is_label = f".{ending}" in known, ending in ("cls", "json")
            if not (is_image or is_label):
                ignored[f"members .{ending or '(no ending)'}"] += 1
                continue
            if name in seen:
                raise DataError(f"{path} has two members named {name}.", given=str(path))
            seen.add(name)
            if not 0 < member.size <= (LARGEST_IMAGE if is_image else LARGEST_LABEL):
                raise DataError(f"{path}: {name} has {member.size:,} bytes.", given=str(path))
            example = found.setdefault(key, _Example())
            if is_image:
                if example.image:
                    raise DataError(
                        f"{path}: {example.image} and {name} are two images of one key.", given=str(path)
                    )
                example.image, example.place = name, (member.offset_data, member.size)
            else:
                label = _label(path, name, ending, _pread(file.fileno(), member.size, member.offset_data))
                if label is not None and example.label not in (None, label):
                    raise DataError(
                        f"{path}: {key} is {example.label!r} and {label!r} at once.", given=str(path)
                    )
                example.label = label if label is not None else example.label
    if alone := sum(not example.image for example in found.values()):
        ignored["labels without an image"] += alone
    return [example for example in found.values() if example.image]


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", given=str(path)) from error


def _members(path: Path, file: Any) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, if it is whole: nothing may be missing, its end mark included."""
    length = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=0) as archive:
            while (member := archive.next()) is not None:
                if member.offset_data + (member.size if member.isreg() else 0) > length:
                    raise _cut(path, member.name)
                yield member
                archive.members = []  # type: ignore[attr-defined]  # it keeps them all
            end = archive.offset
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        start = _pread(file.fileno(), 6, 0)
        if start[:2] in (b"\x1f\x8b", b"BZ", b"\x28\xb5") or start[:6] == b"\xfd7zXZ\0":
            raise DataError(
                f"{path} is compressed; a shard is a plain .tar.",
                given=str(path),
                hint="Images are compressed already; unpack it, or pack it again without compression.",
            ) from error
        if "unexpected end" in str(error):
            raise _cut(path) from error
        raise DataError(f"{path} is damaged, or no tar archive: {error}.", given=str(path)) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", given=str(path)) from error
    # The reader stops without a word at a header that makes no sense.
    if _pread(file.fileno(), _BLOCK, end) != bytes(_BLOCK):
        raise (
            _cut(path)
            if end >= length
            else DataError(
                f"{path} is damaged: no member begins at byte {end:,}, where one should.", given=str(path)
            )
        )


def _cut(path: Path, name: str = "") -> DataError:
    what = f" in {_safe(name)}" if name else ""
    return DataError(
        f"{path} is cut short{what}: it has {path.stat().st_size:,} bytes, and no end.",
        given=str(path),
        hint="Copy or download it again.",
    )


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    if not hasattr(os, "pread"):  # Windows
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, offset, os.SEEK_SET)
        content = os.read(descriptor, size)
        os.lseek(descriptor, before, os.SEEK_SET)
        return content
    parts = []
    while size > 0 and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _safe(name: str) -> str:
    """A member's name without what would lead out of a folder, and without control characters."""
    steps = [step for step in re.split(r"[/\\]", name) if step not in ("", ".", "..")]
    return "".join(sign if sign.isprintable() else "_" for sign in "/".join(steps))


def _key(name: str) -> tuple[str, str]:
    """The key and ending of a member: what stands before and after the first dot of its last part."""
    folder, _, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return (f"{folder}/{stem}" if folder and stem else stem), ending.lower()


def _label(path: Path, name: str, ending: str, content: bytes) -> str | None:
    try:
        text = content.decode("utf-8").strip()
        if ending == "json":
            value = json.loads(text)
            value = value.get("label") if isinstance(value, dict) else value
            if value is None:
                return None
            if not isinstance(value, (str, int)) or isinstance(value, bool):
                raise ValueError("its label is neither text nor a whole number")
            text = str(value).strip()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {name} holds no label: {error}.", given=str(path)) from error
    if not text or len(text) > 200 or not text.isprintable():
        raise DataError(f"{path}: {name} holds no label, but {text[:20]!r}.", given=str(path))
    return text


def shard_digests(source: ShardSource) -> list[str]:
    """The sha256 of each archive, as hexadecimal digits."""
    return [sha256_of(shard) for shard in source.shards]
