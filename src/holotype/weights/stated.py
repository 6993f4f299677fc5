"""What a pretrained entry states: which file, where it is, which architecture and config, which classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.registry import folder_of_zoo
from holotype.errors import LoadingError, MetadataError, UnknownFormatError, UnknownModelError
from holotype.names import nearest
from holotype.records import ModelInfo, PretrainedMetadata
from holotype.text import counted, listed
from holotype.weights.formats import WEIGHTS, check_format

if TYPE_CHECKING:
    from holotype.catalog.registry import Zoo


def choose_format(entry: PretrainedMetadata, format: str | None) -> str:
    """The format asked for, or the preferred one of those that an entry has.

    Raises:
        UnknownFormatError: the entry has no such file.
        LoadingError: its files are programs, not weights.
    """
    if format is not None:
        if format in entry.formats:
            return check_format(format)
        raise UnknownFormatError(
            f"{entry.name!r} has no {format!r} file; it has: {', '.join(entry.formats)}.",
            given=format,
            nearest=nearest(str(format), entry.formats),
        )
    preferred = next((known for known in WEIGHTS if known in entry.formats), None)
    if preferred is None:
        raise LoadingError(
            f"{entry.name!r} comes as {', '.join(entry.formats)} only; "
            f"{' and '.join(WEIGHTS)} can be loaded into a network.",
            given=entry.name,
        )
    return preferred


def architecture_of(entry: PretrainedMetadata, registry: Zoo) -> ModelInfo:
    """The architecture that an entry fills: that of its own zoo, or else of any.

    Raises:
        UnknownModelError: no architecture of that name.
    """
    if "/" not in entry.network:
        try:
            return registry.get_model_info(f"{entry.zoo}/{entry.network}")
        except UnknownModelError:
            pass
    try:
        return registry.get_model_info(entry.network)
    except UnknownModelError as error:
        error.add_note(f"The pretrained entry {entry.qualified_name!r} fills that architecture.")
        raise


def config_of(entry: PretrainedMetadata, architecture: ModelInfo) -> dict[str, Any]:
    """The parameters that an entry states: its config and, if missing there, its backbone and classes."""
    taken = {parameter.name for parameter in architecture.parameters or ()}
    config = dict(entry.config)
    for key, value in (("backbone", entry.backbone), ("num_classes", entry.num_classes)):
        if value is not None and key in taken and key not in architecture.config:
            config.setdefault(key, value)
    return config


def stated_classes(entry: PretrainedMetadata) -> int | None:
    """How many classes an entry states."""
    if entry.num_classes is not None:
        return entry.num_classes
    own = entry.config.get("num_classes")
    return own if isinstance(own, int) else None


def class_names(entry: PretrainedMetadata, registry: Zoo) -> tuple[str, ...]:
    """The class names that an entry lists, itself or in a file beside its zoo's code; may be empty.

    Raises:
        MetadataError: the file cannot be read, a name occurs twice, or their number is not the one stated.
    """
    if entry.classes is None:
        return ()
    names = tuple(entry.classes) if not isinstance(entry.classes, str) else _class_file(entry, registry)
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise MetadataError(
            f"the classes of {entry.name!r} contain names twice: {listed(doubled)}.", given=entry.name
        )
    stated = stated_classes(entry)
    if stated is not None and stated != len(names):
        raise MetadataError(
            f"{entry.name!r} states {counted(stated, 'class', 'classes')} and lists {len(names):,}.",
            given=entry.name,
        )
    return names


def _class_file(entry: PretrainedMetadata, registry: Zoo) -> tuple[str, ...]:
    name = str(entry.classes)
    path = _beside_the_code(entry, registry, name, "classes", "Give the names themselves, as a list.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(
            f"the classes of {entry.name!r} cannot be read from {path}: {error}.", given=name
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def address_of(entry: PretrainedMetadata, format: str, registry: Zoo) -> str:
    """Where a file of an entry is; an address without a scheme is a path beside the zoo's code.

    Raises:
        MetadataError: there is no file at that path.
    """
    address = entry.url_of(format)
    if "://" in address:
        return address
    hint = "Write file:///folder/name for any other file of this machine."
    path = _beside_the_code(entry, registry, address, f"{format} file", hint)
    if not path.is_file():
        raise MetadataError(
            f"the {format} file of {entry.name!r} does not exist: {path}.",
            given=address,
            hint="A file that comes with a package is missing: install the package again.",
        )
    return path.as_uri()


def _beside_the_code(entry: PretrainedMetadata, registry: Zoo, name: str, what: str, hint: str) -> Path:
    """The path of a file in the folder of an entry's zoo."""
    folder = folder_of_zoo(registry, entry.zoo)
    if folder is None:
        raise MetadataError(
            f"the {what} of {entry.name!r}: {name!r} is the name of a file beside the zoo's code, "
            f"and the zoo {entry.zoo!r} has no folder.",
            given=name,
            hint=hint,
        )
    base = Path(folder).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise MetadataError(
            f"the {what} of {entry.name!r}: {name!r} is outside its zoo.", given=name, hint=hint
        )
    return path
