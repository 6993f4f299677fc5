"""Encoders by the name of an entry, an architecture or a file; and the record of what they compute."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holotype.catalog.network_record import record_of
from holotype.catalog.registry import default_registry
from holotype.catalog.values import fingerprint
from holotype.errors import (
    AmbiguousNameError,
    ConfigError,
    DataError,
    UnknownModelError,
    UnknownPretrainedError,
)
from holotype.files import sha256_of
from holotype.mappings import key_problems
from holotype.names import nearest
from holotype.proteins.data.embedding_log import DTYPES, POOLINGS
from holotype.tasks import Task
from holotype.text import bulleted
from holotype.weights.formats import WEIGHTS
from holotype.weights.open import Found, find

if TYPE_CHECKING:
    from torch import nn

    from holotype.records import ModelInfo

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder and how it embeds sequences.

    Attributes:
        name: a pretrained entry; an architecture that has exactly one entry or needs no weights; or a weight
            file that `holotype.save_pretrained` wrote.
        pooling: ``"none"`` for a row for each residue; or statistics over the residues, side by side in one
            row: ``"mean"``, ``"mean+std"``, ``"mean+max"`` or ``"mean+std+max"``.
        dtype: of the file, ``"float16"`` or ``"float32"``.
        compute_dtype: of the encoder's matrix products, ``"float32"`` or ``"bfloat16"``.
        window: the residues of a window, in which longer proteins are embedded; None for whole proteins.
        overlap: residues that neighbouring windows share; their embeddings are averaged.

    Raises:
        ConfigError: it lists every value that is out of range.
    """

    name: str
    pooling: str = "none"
    dtype: str = "float16"
    compute_dtype: str = "float32"
    window: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not isinstance(self.name, str) or not self.name.strip():
            problems.append(f"name: expected the name of an encoder, got {self.name!r}")
        choices = (("pooling", POOLINGS), ("dtype", DTYPES), ("compute_dtype", COMPUTE_DTYPES))
        for key, allowed in choices:
            if (value := getattr(self, key)) not in tuple(allowed):
                problems.append(f"{key}: expected one of {', '.join(allowed)}, got {value!r}")
        if self.window is not None and (type(self.window) is not int or self.window < 1):
            problems.append(f"window: expected 1 residue or more, or None, got {self.window!r}")
        elif type(self.overlap) is not int or self.overlap < 0:
            problems.append(f"overlap: expected 0 residues or more, got {self.overlap!r}")
        elif self.window is None and self.overlap:
            problems.append(f"overlap: {self.overlap}, but there is no window")
        elif self.window is not None and self.overlap >= self.window:
            problems.append(f"overlap: expected less than the window of {self.window}, got {self.overlap}")
        _refuse(problems, self.name)

    @classmethod
    def parse(cls, given: EncoderSpec | str | Mapping[str, Any]) -> EncoderSpec:
        """An encoder as recipes write it: a name, or a mapping of the attributes above.

        >>> EncoderSpec.parse({"name": "unirep_256", "pooling": "mean"}).pooling
        'mean'

        Raises:
            ConfigError: an unknown key, no name, or a value out of range.
        """
        if isinstance(given, EncoderSpec):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"an encoder must be a name or a mapping, got {type(given).__name__}.", given=given
            )
        known = [field.name for field in fields(cls)]
        problems = key_problems(given, known)
        if "name" not in given:
            problems.append("name: missing; the name of an encoder")
        _refuse(problems, dict(given))
        return cls(**given)


def load_encoder(spec: EncoderSpec | str | Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an encoder, ready to run, and the record that is stored with its embeddings.

    Returns:
        The network in evaluation mode; and the encoder record, see `holotype.proteins.data.embeddings`.

    Raises:
        UnknownModelError: no entry, architecture or file has that name.
        DataError: it is not an encoder, or an architecture without weights.
        ConfigError: the encoder does not support the pooling, window or dtype.
        LoadingError, FetchError, …: as `holotype.load_pretrained_model`.
    """
    spec = EncoderSpec.parse(spec)
    return load(spec, find_encoder(spec))


class EncoderOrigin(NamedTuple):
    """Where an encoder comes from, without loading it.

    Attributes:
        found: the entry, weight file, run or architecture.
        encoder: its name in the record.
        architecture: its qualified name; None for a file, which has to be read first.
        weights_sha256: of the weight file; None without weights.
        settings: what else decides the numbers: the config, and a hash of the code.
    """

    found: Found
    encoder: str
    architecture: str | None
    weights_sha256: str | None
    settings: Any


def find_encoder(spec: EncoderSpec) -> EncoderOrigin:
    """Find the encoder that a name means, without torch and without fetching anything.

    Raises:
        UnknownModelError, AmbiguousNameError: the name means nothing, or several entries.
        DataError: it is not an encoder; or the file does not exist.
    """
    try:
        found = find(spec.name, registry=default_registry)
    except UnknownPretrainedError as error:
        encoders = [*default_registry.list_models(task=Task.PROTEIN_EMBEDDING)]
        encoders += default_registry.list_pretrained_models(task=Task.PROTEIN_EMBEDDING)
        raise UnknownModelError(
            f"no encoder named {spec.name!r}.",
            given=spec.name,
            nearest=nearest(spec.name, encoders),
            hint=f"See all: holotype list --task {Task.PROTEIN_EMBEDDING}",
        ) from error
    if found.path is not None:
        return EncoderOrigin(found, spec.name, None, sha256_of(found.path), None)
    info: ModelInfo = found.architecture  # type: ignore[assignment]  # of an entry or an architecture
    _check_task(info)
    if found.entry is None:
        entries = default_registry.list_pretrained_models(network=info.qualified_name)
        if len(entries) > 1:
            raise AmbiguousNameError(
                f"{spec.name!r} has {len(entries)} pretrained entries; which one?",
                given=spec.name,
                nearest=entries,
            )
        found = find(entries[0], registry=default_registry) if entries else found
    entry = found.entry
    stated = info.config if entry is None else entry.config
    settings = {"config": json.dumps(dict(stated), default=dict, sort_keys=True), "code": _code(info)}
    if entry is None:
        return EncoderOrigin(found, info.qualified_name, info.qualified_name, None, settings)
    sha256 = next((entry.formats[one].sha256 for one in WEIGHTS if one in entry.formats), None)
    return EncoderOrigin(found, entry.qualified_name, info.qualified_name, sha256, settings)


def _check_task(info: ModelInfo) -> None:
    if info.task != Task.PROTEIN_EMBEDDING:
        raise DataError(
            f"{info.qualified_name!r} is not an encoder: its task is {info.task}.",
            given=info.name,
            hint=f"See the encoders: holotype list --task {Task.PROTEIN_EMBEDDING}",
        )


def _code(info: ModelInfo) -> str | None:
    """The sha256 of the file that defines an architecture: edited code computes other embeddings."""
    file = Path(info.file or "")
    if file.suffix != ".py":  # a row of a table, which does not hold the code
        words = (info.module or "").split(".")
        places = (file.parent.joinpath(*words[at:]).with_suffix(".py") for at in range(len(words)))
        file = next((place for place in places if place.is_file()), file)
    try:
        return sha256_of(file)
    except OSError:
        return None


def load(spec: EncoderSpec, source: EncoderOrigin) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an encoder that was found, and its record; see `load_encoder`."""
    net: Any
    sha256 = source.weights_sha256
    if source.found.entry is not None:
        net, info = source.found.open(inference=True)
        sha256 = info.sha256 or sha256
    elif source.found.path is not None:
        net, _ = source.found.open(sha256=sha256, inference=True)
    else:
        net = source.found.build().eval().requires_grad_(False)
        if next(net.parameters(), None) is not None:
            raise DataError(
                f"{source.encoder!r} has no pretrained entry: its embeddings would be of random weights.",
                given=spec.name,
                nearest=default_registry.list_pretrained_models(task=Task.PROTEIN_EMBEDDING)[:5],
                hint="Give a weight file: --encoder my.safetensors",
            )
    if getattr(net, "task", Task.PROTEIN_EMBEDDING) != Task.PROTEIN_EMBEDDING or not hasattr(net, "tokenize"):
        raise DataError(f"{spec.name!r} is not an encoder: a {type(net).__name__}.", given=spec.name)
    pooling = _checked_pooling(net, spec)
    if hasattr(net, "set_compute_dtype"):
        net.set_compute_dtype(spec.compute_dtype)
    elif spec.compute_dtype != "float32":
        raise ConfigError(
            f"{spec.name!r} computes in float32 only, got {spec.compute_dtype!r}.", given=spec.compute_dtype
        )
    origin = record_of(net) or {}
    record = {
        "encoder": source.encoder,
        "architecture": origin.get("architecture", source.architecture),
        "config_fingerprint": fingerprint(origin.get("config", {})),
        "weights_sha256": sha256,
        **{key: value for key, value in asdict(spec).items() if key != "name"},
        "pooling": pooling,
        "dim": int(net.embedding_dim) * len(pooling.split("+")),
    }
    return net, record


def _checked_pooling(net: Any, spec: EncoderSpec) -> str:
    """The pooling for the record; refuse what the encoder does not support."""
    if getattr(net, "whole_protein", False):
        if spec.pooling not in ("none", "mean") or spec.window is not None:
            what = "window" if spec.pooling in ("none", "mean") else f"pooling: {spec.pooling}"
            raise ConfigError(
                f"{spec.name!r} returns one row for a whole protein and takes no {what}.", given=spec.name
            )
        return "mean"  # of one row
    limit = net.max_residues
    if spec.window is not None and limit is not None and spec.window > limit:
        raise ConfigError(
            f"window: {spec.name!r} takes at most {limit} residues, got {spec.window}.",
            given=spec.window,
            hint=f"--window {limit}",
        )
    return spec.pooling


def _refuse(problems: Sequence[str], given: object) -> None:
    if problems:
        raise ConfigError(
            f"this encoder cannot be used:\n{bulleted(problems)}",
            problems=problems,
            given=given,
        )
