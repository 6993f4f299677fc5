"""Records: what Holotype knows of a model, a weight file, a parameter, a problem.

Each is a frozen dataclass that checks itself when it is made, and a mapping as well:
``info["description"]`` and ``info.description`` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, ClassVar

from holotype.errors import MetadataError, MissingFieldError
from holotype.frozen import FrozenDict, freeze, thaw
from holotype.names import check_name, is_name, nearest, split_qualified
from holotype.text import bulleted

FORMATS = ("safetensors", "pt", "npz", "pt2", "onnx")
_SHA256 = re.compile("[0-9a-f]{64}")
_PLACEHOLDER = re.compile("<[^<>]*>")


class _Record(Mapping[str, Any]):
    """A dataclass that is a mapping of its fields, and of the keys in its `metadata` if it has any."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def _extra(self) -> Mapping[str, Any]:
        extra = getattr(self, "metadata", None)
        return extra if isinstance(extra, Mapping) else {}

    def _names(self) -> list[str]:
        return [f.name for f in fields(self) if f.name != "metadata"]

    def __getitem__(self, key: str) -> Any:
        if key in self._names() or key == "metadata":
            return getattr(self, key)
        extra = self._extra()
        if key in extra:
            return extra[key]
        raise MissingFieldError(
            f"{type(self).__name__} has no field {key!r}.", given=key, nearest=nearest(str(key), list(self))
        )

    def __iter__(self) -> Iterator[str]:
        names = self._names()
        yield from names
        yield from (key for key in self._extra() if key not in names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, f.name) for f in fields(self)))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {key: _plain(self[key]) for key in self}


def _plain(value: Any) -> Any:
    if isinstance(value, _Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return thaw(value)


@dataclass(frozen=True, eq=False)
class Parameter(_Record):
    """One parameter of a constructor.

    Attributes:
        name: as in the signature.
        annotation: the type hint as written, or None.
        required: True if there is no default.
        default: the default where it is a literal, else None.
        default_source: the default as written, or None.
        keyword_only: True if it stands behind ``*``.
    """

    name: str
    annotation: str | None = None
    required: bool = True
    default: Any = None
    default_source: str | None = None
    keyword_only: bool = False

    def __str__(self) -> str:
        text = self.name if self.annotation is None else f"{self.name}: {self.annotation}"
        if self.required:
            return text
        return (
            f"{text}={self.default_source}" if self.annotation is None else f"{text} = {self.default_source}"
        )


@dataclass(frozen=True, eq=False)
class Problem(_Record):
    """Something that keeps models from being used, or a name from being found.

    Attributes:
        zoo: the zoo it belongs to.
        file: the file, or None where no file is to blame.
        line: the line in it, or None.
        message: what is wrong.
        names: the models that it disables, as far as they are known.
    """

    zoo: str
    message: str
    file: str | None = None
    line: int | None = None
    names: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """``file:line``, ``file``, or the zoo."""
        if self.file is None:
            return f"zoo {self.zoo}"
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, eq=False)
class ZooInfo(_Record):
    """A zoo: an importable package that registers architectures.

    Attributes:
        name: its name.
        module: the package it is read from, or None for what a session registered.
        folder: the folder of the package, or None.
        found_by: ``"first-party"``, ``"pyproject"``, ``"environment"``, ``"entry point"``,
            ``"code"`` (`add_zoo`) or ``"session"``.
        models: how many architectures it offers.
        pretrained: how many pretrained entries.
        problems: how many problems.
    """

    name: str
    module: str | None = None
    folder: str | None = None
    found_by: str = "session"
    models: int = 0
    pretrained: int = 0
    problems: int = 0


@dataclass(frozen=True, eq=False)
class ModelInfo(_Record):
    """All that is known of an architecture without importing it.

    Every further key that was registered is in `metadata`, and a key of the mapping as well:
    ``info["paper_reference"]``.

    Attributes:
        name: the name, unqualified.
        zoo: its zoo.
        kind: ``"class"``, ``"builder"`` (a function that returns the network) or ``"config"`` (a
            class with fixed parameters).
        task: what it is for, or None.
        description: one line.
        features: what it is made of.
        complexity: ``"low"`` … ``"very_high"``, or None.
        class_name: the class, or the builder function.
        module: the module that defines it.
        file: the file of that module, or None (a notebook).
        line: the line of the class in it.
        docstring: of the class.
        class_attributes: those that are a truth value, a whole number or a text, own or inherited.
        parameters: the constructor's, or None where only importing could tell.
        open_parameters: True if the constructor takes any further keyword.
        config: the parameters that a registered config fixes.
        params: the number of learnable parameters with default parameters, once counted.
        pretrained: names of its pretrained entries.
        aliases: other names for it.
        problem: why it cannot be used, or None.
        metadata: every other key registered.
    """

    name: str
    zoo: str
    kind: str = "class"
    task: str | None = None
    description: str = ""
    features: tuple[str, ...] = ()
    complexity: str | None = None
    class_name: str | None = None
    module: str | None = None
    file: str | None = None
    line: int | None = None
    docstring: str | None = None
    class_attributes: Mapping[str, Any] = field(default_factory=FrozenDict)
    parameters: tuple[Parameter, ...] | None = None
    open_parameters: bool = False
    config: Mapping[str, Any] = field(default_factory=FrozenDict)
    params: int | None = None
    pretrained: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    problem: Problem | None = None
    metadata: Mapping[str, Any] = field(default_factory=FrozenDict)

    @property
    def qualified_name(self) -> str:
        """``zoo/name``."""
        return f"{self.zoo}/{self.name}"


@dataclass(frozen=True, eq=False)
class WeightsFile(_Record):
    """One weight file of a pretrained entry.

    Attributes:
        format: one of `FORMATS`.
        sha256: 64 lower-case hex digits, or None where the publisher gives none.
        file_size: MiB, rounded to 0.1, as published; or None.
        size_bytes: the exact size, or None.
        url: where this file is, if not under the entry's `url`.
    """

    format: str
    sha256: str | None = None
    file_size: float | None = None
    size_bytes: int | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.format not in FORMATS:
            near = nearest(str(self.format), FORMATS)
            problems.append(
                f"format {self.format!r} is none of {', '.join(FORMATS)}"
                + (f" (did you mean {near[0]!r}?)" if near else "")
            )
        if self.sha256 is not None:
            if isinstance(self.sha256, str) and _PLACEHOLDER.fullmatch(self.sha256):
                # Documentation writes "<sha256>": not known yet, so the file cannot be verified.
                object.__setattr__(self, "sha256", None)
            elif isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256.lower()):
                object.__setattr__(self, "sha256", self.sha256.lower())
            else:
                problems.append(f"sha256 is 64 hex digits, got {self.sha256!r}")
        for name in ("file_size", "size_bytes"):
            size = getattr(self, name)
            if size is None:
                continue
            if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < 2**50:
                problems.append(f"{name} is a positive number, got {size!r}")
        if isinstance(self.size_bytes, float):
            problems.append(f"size_bytes is a whole number, got {self.size_bytes!r}")
        if self.url is not None and not isinstance(self.url, str):
            problems.append(f"url is text, got {self.url!r}")
        if (
            not problems
            and self.file_size is not None
            and self.size_bytes is not None
            and abs(self.size_bytes / 2**20 - self.file_size) > 0.1
        ):
            problems.append(f"file_size {self.file_size} MiB and size_bytes {self.size_bytes} disagree")
        if problems:
            raise MetadataError(
                f"the {self.format!r} file of an entry: {'; '.join(problems)}.", given=self.format
            )

    def size_fits(self, size_bytes: int) -> bool:
        """Does a file of this size agree with what was published, allowing for 0.1 MiB of rounding?"""
        if self.size_bytes is not None:
            return size_bytes == self.size_bytes
        if self.file_size is not None:
            return abs(size_bytes / 2**20 - self.file_size) <= 0.1
        return True


@dataclass(frozen=True, eq=False)
class PretrainedMetadata(_Record):
    """A pretrained entry: an architecture, its complete config, weight files, and their record.

    Only `network`, `formats` and a way to get the files are required; what is missing is None.

    Attributes:
        name: the entry's name.
        zoo: its zoo.
        network: the architecture it fills.
        tag: distinguishes the entries of one architecture.
        task: what it is for; by default the architecture's.
        formats: weight files by format.
        url: a file, or a base under which the file is ``<name>.<format>``.
        description: one line.
        resolution: (height, width) in pixels, for images.
        config: the complete parameters of the architecture.
        key_map: how names in the file become names in the network: regular expressions to
            replacements, in order.
        num_classes: the number of classes of the head.
        classes: where the class names are: a file beside the zoo's code, or the names.
        preprocessing: rgb mean and std, interpolation, crop.
        params: number of learnable parameters.
        license: an SPDX name, or None if it is not known.
        dataset: what it was trained on.
        paper: where it is described.
        metrics: published figures.
        backbone: for a detector, the architecture it stands on; may be given as ``{network, tag}``, whose
            other keys then are ``backbone_tag`` and so on.
        metadata: every other key registered.
    """

    name: str
    zoo: str
    network: str
    formats: Mapping[str, WeightsFile]
    url: str | None = None
    tag: str | None = None
    task: str | None = None
    description: str = ""
    resolution: tuple[int, int] | None = None
    config: Mapping[str, Any] = field(default_factory=FrozenDict)
    key_map: Mapping[str, str] = field(default_factory=FrozenDict)
    num_classes: int | None = None
    classes: str | tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=FrozenDict)
    params: int | None = None
    license: str | None = None
    dataset: str | None = None
    paper: str | None = None
    metrics: tuple[Any, ...] = ()
    backbone: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=FrozenDict)

    @property
    def qualified_name(self) -> str:
        """``zoo/name``."""
        return f"{self.zoo}/{self.name}"

    def url_of(self, format: str) -> str:
        """Where the file of one format is."""
        file = self.formats[format]
        if file.url is not None:
            return file.url
        base = str(self.url)
        if base.partition("?")[0].rstrip("/").endswith(f".{format}"):
            return base
        return f"{base.rstrip('/')}/{self.name}.{format}"

    @classmethod
    def parse(cls, name: str, zoo: str, metadata: Mapping[str, Any]) -> PretrainedMetadata:
        """Check metadata as people write it, all of it at once.

        Takes `network` and `tag` either at the top or in ``net``.

        Raises:
            InvalidNameError: the entry's name does not fit the grammar.
            MetadataError: it lists every problem.
        """
        check_name(name, "pretrained name")
        if not isinstance(metadata, Mapping):
            raise MetadataError(
                f"metadata of {name!r} is a mapping, got {type(metadata).__name__}.", given=name
            )
        given = dict(freeze(metadata, f"metadata of {name!r}"))
        problems: list[str] = []
        net = _flatten(given, problems)
        values = _typed(given, problems)
        if "network" not in values and not any(p.startswith("network") for p in problems):
            problems.append("network: missing; which architecture do these weights fill?")
        elif "network" in values:
            zoo_of_network, short = split_qualified(values["network"])
            if not is_name(short) or (zoo_of_network is not None and not is_name(zoo_of_network)):
                problems.append(f"network: {values['network']!r} is not the name of an architecture")
        if "resolution" in values:
            size = values["resolution"]
            size = (size, size) if isinstance(size, int) else tuple(size)
            if len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
                problems.append(f"resolution: (height, width) in pixels, got {values['resolution']!r}")
            values["resolution"] = size
        try:
            values["metrics"] = freeze(metrics_from(values.get("metrics", ())))
        except MetadataError as error:
            problems.append(str(error))
        values["formats"] = _weights_files(values, problems)
        if problems:
            raise MetadataError(
                f"the pretrained entry {name!r} does not hold together:\n{bulleted(problems)}", given=name
            )
        if net:
            given["net"] = FrozenDict(net)
        return cls(name=name, zoo=zoo, **values, metadata=FrozenDict(given))


_TEXT, _WHOLE, _MAPPING = ((str,), "text"), ((int,), "a whole number"), ((Mapping,), "a mapping")
# The fields of a pretrained entry as people write them: their types, and the words for these.
_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("tag", "url", "task", "license", "dataset", "paper", "backbone", "description"), _TEXT),
    "network": ((str,), "the name of an architecture"),
    **dict.fromkeys(("num_classes", "params"), _WHOLE),
    **dict.fromkeys(("config", "key_map", "preprocessing"), _MAPPING),
    "classes": ((str, tuple), "a file name or a list of names"),
    "metrics": ((tuple, Mapping), "a list of {name, value, …}, or a mapping from name to value"),
    "resolution": ((tuple, int), "(height, width)"),
    "formats": ((Mapping,), "a mapping from format to {file_size, sha256}"),
}


def metrics_from(given: Mapping[str, Any] | Iterable[Any]) -> list[dict[str, Any]]:
    """Metrics as a list of ``{name, value, …}``, from such a list or from a mapping of names to values.

    Raises:
        MetadataError: one has no name, or its value is not a finite number.
    """
    if isinstance(given, Mapping) and not {"name", "value"} <= given.keys():
        given = [{"name": name, "value": value} for name, value in given.items()]
    made = [given] if isinstance(given, Mapping) else list(given)
    for at, metric in enumerate(made):
        fits = isinstance(metric, Mapping) and isinstance(metric.get("name"), str)
        value = metric.get("value") if fits else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            raise MetadataError(
                f"metrics[{at}]: expected {{'name': 'accuracy', 'value': 0.9, …}}, got {metric!r:.80}",
                given=metric,
            )
    return [dict(metric) for metric in made]


def _flatten(given: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Move `network` and `tag` out of ``net``, and the parts of ``backbone`` to the top.

    Returns:
        What else ``net`` holds.
    """
    net = given.pop("net", {})
    if not isinstance(net, Mapping):
        problems.append(f"net: a mapping with 'network' and 'tag', got {net!r}")
        net = {}
    rest = dict(net)
    for key in ("network", "tag"):
        if key in rest:
            if key in given and given[key] != rest[key]:
                problems.append(f"{key}: {given[key]!r} and, in net, {rest[key]!r}")
            given[key] = rest.pop(key)
    if isinstance(given.get("backbone"), Mapping) and "network" in given["backbone"]:
        # As Birder's manifest has it: a network, and the tag of the weights that it started from.
        given.update((f"backbone_{key}", value) for key, value in given["backbone"].items())
        given["backbone"] = given.pop("backbone_network")
    return rest


def _typed(given: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Take the known fields out of `given`, those of the right type."""
    values = {}
    for key, (types, expected) in _FIELDS.items():
        value = given.pop(key, None)
        if value is None:
            continue
        if isinstance(value, types) and not isinstance(value, bool):
            values[key] = value
        else:
            problems.append(f"{key}: expected {expected}, got {value!r}")
    return values


def _weights_files(values: Mapping[str, Any], problems: list[str]) -> FrozenDict:
    given = values.get("formats", {})
    if not given:
        problems.append("formats: at least one, such as {'safetensors': {'sha256': …, 'file_size': …}}")
    formats = {}
    for format, file in given.items():
        try:
            formats[format] = _weights_file(format, file)
        except MetadataError as error:
            problems.append(f"formats: {error}")
    files = [file for file in given.values() if isinstance(file, Mapping)]
    if "url" not in values and not (files and all(file.get("url") for file in files)):
        problems.append("url: missing; where are the files?")
    return FrozenDict(formats)


def _weights_file(format: str, file: Any) -> WeightsFile:
    if not isinstance(file, Mapping):
        raise MetadataError(f"{format!r} holds a mapping, got {file!r}.", given=file)
    known = {"sha256", "file_size", "size_bytes", "url"}
    unknown = sorted(set(file) - known)
    if unknown:
        near = nearest(unknown[0], known)
        raise MetadataError(f"{format!r} has no field {unknown[0]!r}.", given=unknown[0], nearest=near)
    return WeightsFile(format=format, **file)
