"""Every error that Holotype raises.

::

    HolotypeError
    ├── RegistryError
    │   ├── InvalidNameError          ValueError    a name outside the grammar
    │   ├── DuplicateNameError        ValueError    two definitions under one name
    │   ├── UnknownNameError          LookupError   nothing under that name
    │   │   ├── UnknownModelError                     … no such architecture
    │   │   ├── UnknownPretrainedError                … no such pretrained entry
    │   │   ├── UnknownZooError                       … no such zoo
    │   │   ├── UnknownTaskError                      … no such task
    │   │   ├── UnknownDatasetError                   … no such dataset
    │   │   └── UnknownFormatError                    … no such weight format
    │   ├── AmbiguousNameError        LookupError   one name, several zoos
    │   ├── BrokenModelError          ImportError   the file behind a name cannot be used
    │   └── FilterError               ValueError    a `where` that cannot be understood
    ├── MetadataError                 ValueError    metadata that does not hold together
    ├── ParameterError                TypeError, ValueError   parameters that do not fit a constructor
    ├── ConfigError                   ValueError    a config file or mapping that cannot be used
    ├── DataError                     ValueError    sequences, pairs or embeddings that cannot be used
    │   └── LeakageError                            … test data that training would have seen
    ├── TrainingError                 RuntimeError  a training that cannot go on
    ├── MissingExtraError             ImportError   an optional package is not installed
    ├── ShapeError                    ValueError    a tensor of the wrong shape
    ├── PairwiseModelError            TypeError     one protein, where a model needs both of a pair
    ├── ImageError                    ValueError    a file that cannot be read as a picture
    ├── StoreError                    OSError       blobs, sources, caches
    │   ├── SourceError               ValueError      an address that cannot be used
    │   ├── FetchError                                the bytes did not come
    │   │   └── OfflineError                            … because HOLOTYPE_OFFLINE is set
    │   └── VerificationError         ValueError      the bytes came, and are not the right ones
    └── LoadingError                  RuntimeError  weights that cannot be put into a network
        ├── CheckpointError           ValueError      a file that is not what it should be
        └── MismatchError             ValueError      a checkpoint of another architecture

A message says what was given and what is wrong, then the nearest match and the command to type. The
same is carried as attributes, so that programs need not parse it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AmbiguousNameError",
    "BrokenModelError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DuplicateNameError",
    "FetchError",
    "FilterError",
    "HolotypeError",
    "ImageError",
    "InvalidNameError",
    "LeakageError",
    "LoadingError",
    "MetadataError",
    "MismatchError",
    "MissingExtraError",
    "MissingFieldError",
    "OfflineError",
    "PairwiseModelError",
    "ParameterError",
    "RegistryError",
    "ShapeError",
    "SourceError",
    "StoreError",
    "TrainingError",
    "UnknownDatasetError",
    "UnknownFormatError",
    "UnknownModelError",
    "UnknownNameError",
    "UnknownPretrainedError",
    "UnknownTaskError",
    "UnknownZooError",
    "VerificationError",
]


class HolotypeError(Exception):
    """The root of the tree above.

    Attributes:
        given: what the caller gave, or None.
        nearest: the nearest valid values, best first; may be empty.
        hint: what to type next, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        given: object = None,
        nearest: Iterable[str] = (),
        hint: str | None = None,
    ) -> None:
        self.given = given
        self.nearest = tuple(nearest)
        self.hint = hint
        lines = [message]
        if self.nearest:
            lines.append(f"  Did you mean: {', '.join(self.nearest)}?")
        if hint:
            lines.append(f"  {hint}")
        super().__init__("\n".join(lines))

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        # The text is complete already: rebuild it as it is, then restore the attributes.
        return (_rebuild, (type(self), self.args), self.__dict__)


def _rebuild(cls: type[HolotypeError], args: tuple[object, ...]) -> HolotypeError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class RegistryError(HolotypeError):
    """Something is wrong with a name or with what stands behind it."""


class InvalidNameError(RegistryError, ValueError):
    """A name that does not match ``[a-z0-9][a-z0-9._-]*``."""


class DuplicateNameError(RegistryError, ValueError):
    """Two different definitions under one name; the message names both places."""


class UnknownNameError(RegistryError, LookupError):
    """Nothing is registered under that name."""


class UnknownModelError(UnknownNameError):
    """No architecture has that name."""


class UnknownPretrainedError(UnknownNameError):
    """No pretrained entry has that name."""


class UnknownZooError(UnknownNameError):
    """No zoo has that name."""


class UnknownTaskError(UnknownNameError, ValueError):
    """No model, and nothing built in, has that task."""


class UnknownDatasetError(UnknownNameError):
    """No dataset has that name."""


class UnknownFormatError(UnknownNameError, ValueError):
    """No weight format has that name."""


class AmbiguousNameError(RegistryError, LookupError):
    """An unqualified name that fits in several zoos; `nearest` holds the qualified ones."""


class BrokenModelError(RegistryError, ImportError):
    """The file that defines a model cannot be read or imported."""


class FilterError(RegistryError, ValueError):
    """A `where` expression that cannot be understood."""


class MissingFieldError(HolotypeError, KeyError):
    """A record has no such field. A KeyError, because records are mappings."""


class MetadataError(HolotypeError, ValueError):
    """Metadata that does not hold together; the message lists every problem."""


class ParameterError(HolotypeError, TypeError, ValueError):
    """Parameters that do not fit a constructor.

    Attributes:
        problems: one line for each unknown, missing or wrong-typed parameter.
    """

    def __init__(self, message: str, *, problems: Iterable[str] = (), **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # passed through as given
        self.problems = tuple(problems)


class ConfigError(HolotypeError, ValueError):
    """A config file or mapping that cannot be used.

    Attributes:
        problems: one line for each problem.
    """

    def __init__(self, message: str, *, problems: Iterable[str] = (), **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # passed through as given
        self.problems = tuple(problems)


class DataError(HolotypeError, ValueError):
    """Sequences, pairs or embeddings that cannot be used; nothing of the user's was changed.

    Attributes:
        problems: one line for each problem.
    """

    def __init__(self, message: str, *, problems: Iterable[str] = (), **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # passed through as given
        self.problems = tuple(problems)


class LeakageError(DataError):
    """Data that a model is to be tested on was, or resembles, data that it is trained on."""


class TrainingError(HolotypeError, RuntimeError):
    """A training that cannot go on."""


class MissingExtraError(HolotypeError, ImportError):
    """An optional package is not installed; the hint is the command that installs it."""


class ShapeError(HolotypeError, ValueError):
    """A tensor whose shape, or a length whose value, does not fit."""


class PairwiseModelError(HolotypeError, TypeError):
    """One protein was to be encoded, by a model that looks at both at once."""


class ImageError(HolotypeError, ValueError):
    """A file that cannot be read as a picture; `given` is its path."""


class StoreError(HolotypeError, OSError):
    """Blobs, sources and caches."""


class SourceError(StoreError, ValueError):
    """An address that no source understands, or that is refused."""


class FetchError(StoreError):
    """The bytes did not come."""


class OfflineError(FetchError):
    """The bytes are neither cached nor mirrored, and HOLOTYPE_OFFLINE forbids the network."""


class VerificationError(StoreError, ValueError):
    """The bytes came, and are not the right ones."""


class LoadingError(HolotypeError, RuntimeError):
    """Weights that cannot be put into a network."""


class CheckpointError(LoadingError, ValueError):
    """A weight file that is damaged, unsafe or not of its declared format."""


class MismatchError(LoadingError, ValueError):
    """A checkpoint of another architecture or config; the message names what differs."""
