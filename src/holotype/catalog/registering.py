"""Registering: the functions that bind a name to a class, a config, weights, or another name."""

from __future__ import annotations

import sys

from holotype.catalog.entries import Entry, file_stamp
from holotype.catalog.zoos import SESSION, is_probing
from holotype.errors import DuplicateNameError, InvalidNameError, RegistryError, UnknownModelError
from holotype.names import check_name, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from holotype.catalog.entries import Catalog
    from holotype.catalog.registry import Registry

    Target = TypeVar("Target", bound=Callable[..., Any])


class Registering:
    """The part of a registry, and of a view of one of its zoos, that registers."""

    _registry: Registry
    _scope: str | None

    if TYPE_CHECKING:  # `Surface` has it

        def _find(self, name: str, catalog: Catalog | None = None, *, broken: bool = False) -> Entry: ...

    # -- register --------------------------------------------------------------------------------

    def register_model(
        self,
        name: str,
        *,
        task: str | None = None,
        description: str = "",
        features: Iterable[str] = (),
        complexity: str | None = None,
        replace: bool = False,
        **metadata: Any,
    ) -> Callable[[Target], Target]:
        """Register a class, or a function that builds a network, under a name.

        Args:
            name: it matches ``[a-z0-9][a-z0-9._-]*``.
            task: what it is for; by default the class attribute `task`, own or inherited.
            description: one line.
            features: what it is made of.
            complexity: ``"low"`` … ``"very_high"``.
            replace: take the place of another definition of that name on purpose.
            **metadata: anything else that is text, numbers, booleans, None, or lists and mappings of these.

        Returns:
            A decorator that returns what it is given, unchanged.

        Raises:
            InvalidNameError: the name does not fit the grammar.
            DuplicateNameError: another definition has that name; the error names both places.
            MetadataError: metadata that cannot be kept.
        """
        if not isinstance(name, str):
            raise InvalidNameError(
                f"register_model needs a name; it was given {name!r}.",
                given=name,
                hint="Write @register_model('my_model').",
            )
        check_name(name, "model name")
        from holotype.catalog.link import described
        from holotype.frozen import freeze

        features = [features] if isinstance(features, str) else list(features)
        fields = {"description": description, "features": features, "complexity": complexity, **metadata}
        detail = described(freeze(fields, f"metadata of {name!r}"))

        def register(target: Target) -> Target:
            if not callable(target):
                raise RegistryError(
                    f"{name!r}: a class or a function is registered, not {target!r}.", given=target
                )
            kind = "class" if isinstance(target, type) else "builder"
            chosen = task if task is not None else _task_of(target)
            entry = self._live_entry(kind, name, target, chosen, detail)
            self._registry._add(entry, replace=replace)
            return target

        return register

    def register_model_config(
        self,
        name: str,
        cls: Callable[..., Any],
        *,
        config: Mapping[str, Any],
        replace: bool = False,
        **metadata: Any,
    ) -> None:
        """Register a name that is an existing class (or builder) with some parameters fixed.

        Args:
            name: it matches ``[a-z0-9][a-z0-9._-]*``.
            cls: the class. It need not be registered itself.
            config: the parameters; those given to `create_model` go before them.
            replace: take the place of another definition of that name on purpose.
            **metadata: as in `register_model`.

        Raises:
            ParameterError: the config does not fit the constructor.
            InvalidNameError, DuplicateNameError, MetadataError: as in `register_model`.
        """
        check_name(name, "model name")
        if not callable(cls):
            raise RegistryError(f"{name!r}: the second argument is a class, not {cls!r}.", given=cls)
        from holotype.catalog.link import described
        from holotype.catalog.parameters import from_facts, problems_with, to_facts
        from holotype.catalog.scan import encode_value
        from holotype.frozen import freeze

        frozen = freeze(config, f"config of {name!r}")
        parameters, is_open = from_facts(to_facts(cls))
        if parameters is not None:
            problems = problems_with(frozen, parameters, open_parameters=is_open, missing=False)
            if problems:
                from holotype.errors import ParameterError

                raise ParameterError(
                    f"the config of {name!r} does not fit {cls.__qualname__}:\n"
                    + "\n".join(f"  - {problem}" for problem in problems),
                    problems=problems,
                    given=name,
                )
        task = metadata.pop("task", None) or _task_of(cls)
        detail = described(freeze(metadata, f"metadata of {name!r}")) | {"config": encode_value(frozen)}
        entry = self._live_entry("config", name, cls, task, detail)
        self._registry._add(entry, replace=replace)

    def register_weights(self, name: str, metadata: Mapping[str, Any], *, replace: bool = False) -> None:
        """Register a pretrained entry. It is checked at once, wholly.

        Args:
            name: it matches ``[a-z0-9][a-z0-9._-]*``.
            metadata: the fields of `PretrainedMetadata`; `network` and `tag` may stand in ``net``.
            replace: take the place of another entry of that name on purpose.

        Raises:
            MetadataError: it lists every field that is missing or wrong.
            UnknownModelError: `network` is no architecture.
            InvalidNameError, DuplicateNameError: as in `register_model`.
        """
        from holotype.catalog.scan import encode_value
        from holotype.records import PretrainedMetadata

        record = PretrainedMetadata.parse(name, self._scope or SESSION, metadata)
        network, task = self._target(record.network)
        unverifiable = [fmt for fmt, file in record.formats.items() if file.sha256 is None]
        if unverifiable:
            import warnings

            warnings.warn(
                f"the pretrained entry {name!r} has no sha256 for {', '.join(unverifiable)}: it is listed, "
                "and loading it from elsewhere will be refused until there is one",
                stacklevel=2,
            )
        from holotype.frozen import freeze

        detail = {"metadata": encode_value(freeze(metadata)), "network": network}
        entry = self._live_entry("weights", name, None, record.task or task, detail)
        entry.network = network
        self._registry._add(entry, replace=replace)

    def register_alias(
        self, alias: str, target: str, *, deprecated: str | bool | None = None, replace: bool = False
    ) -> None:
        """Register a second name for an architecture.

        Args:
            alias: the second name.
            target: the name it stands for.
            deprecated: a note for those who still use the alias; looking it up then warns.
            replace: take the place of another definition of that name on purpose.

        Raises:
            UnknownModelError: there is no `target`.
            InvalidNameError, DuplicateNameError: as in `register_model`.
        """
        check_name(alias, "alias")
        found, _ = self._target(target)
        entry = self._live_entry("alias", alias, None, None, {"target": found, "deprecated": deprecated})
        if found in (alias, f"{entry.zoo}/{alias}"):
            raise DuplicateNameError(f"{alias!r} cannot be an alias of itself.", given=alias)
        self._registry._add(entry, replace=replace)

    def _target(self, name: str) -> tuple[str, str | None]:
        """The full name and the task of an architecture that something registered here refers to.

        One of the same zoo goes before one of another.
        """
        zoo = self._registry._zoo_of(_caller()[0], self._scope)
        given, short = split_qualified(name) if isinstance(name, str) else (None, "")
        try:
            if given is None and self._scope is None and self._registry._known().find(zoo, short):
                name = f"{zoo}/{short}"
            found = self._find(name, None, broken=True)
        except UnknownModelError:
            if not is_probing():
                raise
            return name.strip().lower(), None  # a trial import of one file does not know the others
        return f"{found.zoo}/{found.name}", found.task

    def _live_entry(self, kind: str, name: str, target: Any, task: Any, detail: dict[str, Any]) -> Entry:
        own = getattr(target, "__module__", None) if kind in ("class", "builder") else None
        module, file, line = _caller(own)
        if module == "__main__":  # a file of a zoo that is run as a script is that file
            module = self._registry._module_of(file) or module
            own = module if own == "__main__" else own
        zoo = self._registry._zoo_of(module, self._scope, defined=kind in ("class", "builder"))
        home = own or module
        if task is not None:
            task = check_name(str(task), "task")
        entry = Entry(
            kind,
            name,
            zoo,
            str(task) if task is not None else None,
            home,
            line,
            {
                **detail,
                "qualname": getattr(target, "__qualname__", None),
                "class_module": getattr(target, "__module__", None),
                "path": None if file.startswith("<") else file,
            },
        )
        entry.obj = target
        entry.via = self._scope if self._scope != zoo else None
        entry.origin = _importing(module)
        entry.stamp = file_stamp(entry.detail["path"])
        return entry


def _task_of(target: Any) -> str | None:
    """The class attribute `task`. A method or property of that name is something else."""
    task = getattr(target, "task", None) if isinstance(target, type) else None
    return task if isinstance(task, str) else None


def _caller(module: str | None = None) -> tuple[str, str, int]:
    """Module, file and line of the code outside this file that called in.

    Args:
        module: look further, for code of this module, if there is any: a decorator may have been
            wrapped by a function of another file.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return "__main__", "<unknown>", 0
    outer = frame
    while outer is not None and outer.f_globals.get("__name__") != module:
        outer = outer.f_back
    frame = outer or frame
    return (
        str(frame.f_globals.get("__name__", "__main__")),
        str(frame.f_code.co_filename),
        int(frame.f_lineno),
    )


def _importing(module: str) -> str:
    """The module whose import is under way, or `module`."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return str(frame.f_globals.get("__name__", module))
        frame = frame.f_back
    return module
