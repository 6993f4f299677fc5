"""The registry: names in, code out.

One `Registry` is the default; `Zoo` is a view of one zoo of it. Both offer the same functions, and the two
front ends of the field are one: `get_available_models` is `list_models` in registration order, `net_factory`
is `create_model` with the words of vision.

Nothing here imports torch, or any model file, until a network is built.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock  # `threading` costs 4 ms, and this is what it hands out

from holotype.entries import Catalog, Entry, file_stamp, zoo_for_module
from holotype.errors import (
    AmbiguousNameError,
    BrokenModelError,
    DuplicateNameError,
    InvalidNameError,
    RegistryError,
    UnknownModelError,
    UnknownNameError,
    UnknownPretrainedError,
    UnknownTaskError,
    UnknownZooError,
)
from holotype.names import check_name, matcher, natural_key, nearest, patterns, split_qualified
from holotype.zoo_finder import FIRST_PARTY, NotFound, ZooSpec, find_zoos, locate, named_zoo

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from torch import nn

    from holotype.records import ModelInfo, PretrainedMetadata, Problem, ZooInfo

    Target = TypeVar("Target", bound=Callable[..., Any])
    Globs = str | Iterable[str]

SESSION = "session"


class _Surface:
    """What a registry and a view of one of its zoos have in common."""

    _registry: Registry
    _scope: str | None

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
        from holotype.frozen import freeze
        from holotype.link import described

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
        from holotype.frozen import freeze
        from holotype.link import described
        from holotype.parameters import from_facts, problems_with, to_facts
        from holotype.scan import encode_value

        frozen = freeze(config, f"config of {name!r}")
        parameters, is_open = from_facts(to_facts(cls))
        if parameters is not None:
            problems = problems_with(frozen, parameters, open_parameters=is_open)
            problems = [problem for problem in problems if not _is_missing(problem)]
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
        from holotype.records import PretrainedMetadata
        from holotype.scan import encode_value

        record = PretrainedMetadata.parse(name, self._scope or SESSION, metadata)
        network, task = self._target(record.network)
        unverifiable = [fmt for fmt, file in record.formats.items() if file.sha256 is None]
        if unverifiable:
            import warnings

            warnings.warn(
                f"the pretrained entry {name!r} has no sha256 for {', '.join(unverifiable)}: it is listed, and "
                "loading it from elsewhere will be refused until there is one",
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
            found = self._find(name, broken=True)
        except UnknownModelError:
            if not _probing():
                raise
            return name.strip().lower(), None  # a trial import of one file does not know the others
        return f"{found.zoo}/{found.name}", found.task

    def _live_entry(self, kind: str, name: str, target: Any, task: Any, detail: dict[str, Any]) -> Entry:
        own = getattr(target, "__module__", None) if kind in ("class", "builder") else None
        module, file, line = _caller(own)
        zoo = self._registry._zoo_of(module, self._scope)
        if module == "__main__":  # a file of a zoo that is run as a script is that file
            module = self._registry._module_of(file) or module
            zoo = self._registry._zoo_of(module, self._scope)
            own = module if own == "__main__" else own
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
        entry.origin = _importing(module)
        entry.stamp = file_stamp(entry.detail["path"])
        return entry

    # -- find ------------------------------------------------------------------------------------

    def list_models(
        self,
        include_filter: Globs = "*",
        *,
        exclude: Globs = (),
        task: str | None = None,
        zoo: str | None = None,
        pretrained: bool | None = None,
        where: Globs | None = None,
        order: str = "name",
    ) -> list[str]:
        """The names of architectures.

        Every name in the list can be looked up: one that several zoos have stands with its zoo
        (``proteins/v1``).

        Args:
            include_filter: a glob or several; any of them may match. Case does not matter.
            exclude: globs of what to leave out.
            task: only those for this task.
            zoo: only those of this zoo.
            pretrained: only those with (True) or without (False) pretrained entries.
            where: comparisons on metadata, all of which hold: ``"params<30e6"``.
            order: ``"name"``, in which ``b2`` comes before ``b10``, or ``"registered"``.

        Raises:
            UnknownTaskError, UnknownZooError: with the nearest ones.
            FilterError: a `where` that cannot be understood.
        """
        if order not in ("name", "registered"):
            raise ValueError(f"order is 'name' or 'registered', not {order!r}")
        catalog = self._registry._look()
        entries = self._filtered(catalog, catalog.models, include_filter, exclude, task, zoo)
        if pretrained is not None:
            filled = {(e.network_zoo, e.network) for e in catalog.weights}
            entries = [e for e in entries if ((e.zoo, e.name) in filled) == pretrained]
        if where is not None:
            entries = self._where(entries, where, lambda entry: self._registry._info(entry, catalog))
        return self._names(catalog, entries, order)

    def list_pretrained_models(
        self,
        include_filter: Globs = "*",
        *,
        exclude: Globs = (),
        task: str | None = None,
        zoo: str | None = None,
        network: str | None = None,
        format: str | None = None,
        where: Globs | None = None,
        order: str = "name",
    ) -> list[str]:
        """The names of pretrained entries.

        Args:
            include_filter: a glob or several; any of them may match. Case does not matter.
            exclude: globs of what to leave out.
            task: only those for this task.
            zoo: only those of this zoo.
            network: only those of this architecture.
            format: only those with a weight file in this format.
            where: comparisons on metadata, all of which hold: ``"metrics.accuracy>0.75"``.
            order: ``"name"`` or ``"registered"``.

        Raises:
            UnknownTaskError, UnknownZooError, UnknownModelError, UnknownFormatError: with the nearest ones.
            FilterError: a `where` that cannot be understood.
        """
        if order not in ("name", "registered"):
            raise ValueError(f"order is 'name' or 'registered', not {order!r}")
        catalog = self._registry._look()
        entries = self._filtered(catalog, catalog.weights, include_filter, exclude, task, zoo)
        if network is not None:
            found = self._find(network, catalog)
            entries = [e for e in entries if (e.network_zoo, e.network) == (found.zoo, found.name)]
        if format is not None:
            from holotype.errors import UnknownFormatError
            from holotype.records import FORMATS

            if format not in FORMATS:
                raise UnknownFormatError(
                    f"no weight format {format!r}; there are {', '.join(FORMATS)}.",
                    given=format,
                    nearest=nearest(format, FORMATS),
                )
            entries = [e for e in entries if format in self._registry._pretrained(e, catalog).formats]
        if where is not None:
            entries = self._where(entries, where, lambda entry: self._registry._pretrained(entry, catalog))
        return self._names(catalog, entries, order, weights=True)

    def get_available_models(self) -> list[str]:
        """The names of architectures in the order in which they were registered.

        Of a zoo: all of its own. Of the default registry: those of the protein zoo, then whatever the
        project and the session registered.
        """
        catalog = self._registry._look()
        entries = catalog.models
        if self._scope is not None:
            entries = [entry for entry in entries if entry.zoo == self._scope]
        elif self._registry.discovers:
            entries = [entry for entry in entries if entry.zoo not in FIRST_PARTY or entry.zoo == "proteins"]
        return self._names(catalog, entries, "registered")

    def get_model_info(self, name: str) -> ModelInfo:
        """All that is known of an architecture, without importing it.

        A model whose file is broken has its `problem` set; it does not raise.

        Raises:
            UnknownModelError, AmbiguousNameError: with the nearest names, or the qualified ones.
        """
        catalog = self._registry._look()
        return self._registry._info(self._find(name, catalog, broken=True), catalog)

    def get_model_infos(self, names: Iterable[str]) -> list[ModelInfo]:
        """`get_model_info` of many names, in one look at the zoos."""
        catalog = self._registry._look()
        found = [self._find(name, catalog, broken=True) for name in names]
        return [self._registry._info(entry, catalog) for entry in found]

    def get_pretrained_metadata(self, name: str) -> PretrainedMetadata:
        """The record of a pretrained entry.

        Raises:
            UnknownPretrainedError, AmbiguousNameError: with the nearest names, or the qualified ones.
        """
        catalog = self._registry._look()
        return self._registry._pretrained(self._find_weights(name, catalog), catalog)

    def get_pretrained_metadatas(self, names: Iterable[str]) -> list[PretrainedMetadata]:
        """`get_pretrained_metadata` of many names, in one look at the zoos."""
        catalog = self._registry._look()
        return [self._registry._pretrained(self._find_weights(name, catalog), catalog) for name in names]

    def get_model_class(self, name: str) -> type:
        """The class behind a name. Its module is imported; no other model's is.

        Raises:
            UnknownModelError, AmbiguousNameError: see `get_model_info`.
            BrokenModelError: its file cannot be imported.
            RegistryError: the name is a builder function's.
        """
        entry = self._find(name)
        target = self._registry._load(entry)
        if not isinstance(target, type):
            raise RegistryError(
                f"{entry.name!r} is built by the function {target.__qualname__}, not by a class.",
                given=name,
                hint=f"Build it with create_model({name!r}).",
            )
        return target

    def exists(self, name: str) -> bool:
        """Can an architecture be looked up under this name (or alias)?"""
        try:
            self._find(name, self._registry._look(), warn=False)
        except RegistryError:
            return False
        return True

    def pretrained_exists(self, name: str) -> bool:
        """Can a pretrained entry be looked up under this name?"""
        try:
            self._find_weights(name, self._registry._look())
        except RegistryError:
            return False
        return True

    def list_tasks(self) -> list[str]:
        """Every task: the built-in ones, and those that zoos added."""
        from holotype.tasks import Task

        catalog = self._registry._look()
        mine = [e for e in [*catalog.models, *catalog.weights] if self._scope in (None, e.zoo)]
        builtin = [str(task) for task in Task]
        if self._scope is not None:
            builtin = [task for task in builtin if any(entry.task == task for entry in mine)]
        added = {entry.task for entry in mine if entry.task} - set(builtin)
        return builtin + sorted(added, key=natural_key)

    def list_problems(self) -> list[Problem]:
        """Everything that keeps a model from being used or a zoo from being found."""
        from holotype.records import Problem

        found = []
        for problem in self._registry._look().problems:
            if self._scope in (None, problem.zoo):
                found.append(Problem(problem.zoo, problem.message, problem.file, problem.line, problem.names))
        return found

    # -- build -----------------------------------------------------------------------------------

    def create_model(self, name: str, /, **params: Any) -> nn.Module:
        """Build a network.

        Parameters are checked against the constructor's signature and type hints first; then the module
        of this one model is imported.

        Args:
            name: an architecture, an alias or a registered config; may be qualified (``proteins/v1``).
            **params: the constructor's parameters.

        Raises:
            ParameterError: it lists every parameter that is unknown, missing or of the wrong type.
            UnknownModelError, AmbiguousNameError: see `get_model_info`.
            BrokenModelError: its file cannot be imported.
        """
        entry = self._find(name)
        full = {**entry.config(), **params}
        parameters, is_open = entry.parameters()
        if parameters is not None:
            from holotype.parameters import check, problems_with

            if problems_with(full, parameters, open_parameters=is_open):  # of an earlier state of the file?
                entry = self._find(name, self._registry._look(), warn=False)
                full = {**entry.config(), **params}
                parameters, is_open = entry.parameters()
            if parameters is not None:
                check(full, parameters, of=entry.name, open_parameters=is_open)
        target = self._registry._load(entry)
        if parameters is None:
            from holotype.parameters import check, from_facts, to_facts

            parameters, is_open = from_facts(to_facts(target))
            if parameters is not None:
                check(full, parameters, of=entry.name, open_parameters=is_open)
        from holotype.origin import stamp

        network: nn.Module = stamp(
            target(**full), f"{entry.zoo}/{entry.name}", full, parameters, target
        )
        return network

    def create_from_config(self, config: Mapping[str, Any] | str | os.PathLike[str]) -> nn.Module:
        """Build the network that a config picks: ``{"model": {"name": …, "params": {…}}}``.

        Args:
            config: a mapping, or the path of a YAML or JSON file.

        Raises:
            ConfigError: it lists every problem.
        """
        from holotype.config import read_model

        name, params = read_model(self, config)
        return self.create_model(name, **params)

    def check_config(self, config: Mapping[str, Any] | str | os.PathLike[str]) -> list[str]:
        """Every problem of a config, found without importing anything; an empty list if there is none."""
        from holotype.config import problems_of

        return problems_of(self, config)

    def net_factory(
        self,
        name: str,
        num_classes: int,
        input_channels: int = 3,
        *,
        config: Mapping[str, Any] | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> nn.Module:
        """`create_model` in the words of vision.

        Args:
            name: an architecture.
            num_classes: how many classes the head tells apart; 0 for none.
            input_channels: passed on as `in_channels`.
            config: further parameters.
            size: the images' side, or (height, width), in pixels.

        Raises:
            ParameterError: the architecture has no such parameter. See `create_model` for the rest.
        """
        params: dict[str, Any] = {**(config or {}), "num_classes": num_classes}
        parameters, is_open = self._find(name).parameters()
        takes = is_open or parameters is None or any(p.name == "in_channels" for p in parameters)
        if takes or input_channels != 3:
            params["in_channels"] = input_channels
        if size is not None:
            params["size"] = size
        return self.create_model(name, **params)

    def count_parameters(self, name: str, /, **params: Any) -> int:
        """The number of learnable parameters, counted on the meta device: no memory is used for them.

        With default parameters the count is remembered, and `get_model_info` tells it from then on.
        """
        entry = self._find(name)
        try:
            import torch
        except ModuleNotFoundError as error:
            from holotype.extras import missing_extra

            raise missing_extra(error, "counting parameters") or error from error

        with torch.device("meta"):
            network = self.create_model(f"{entry.zoo}/{entry.name}", **params)
        count = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        if not params:
            self._registry._remember_count(entry, count)
        return count

    # -- shared ----------------------------------------------------------------------------------

    def _filtered(
        self,
        catalog: Catalog,
        entries: list[Entry],
        include: Globs,
        exclude: Globs,
        task: str | None,
        zoo: str | None,
    ) -> list[Entry]:
        if zoo is not None:
            self._registry._check_zoo(zoo, catalog)
            zoo = zoo.lower()
            if self._scope not in (None, zoo):
                return []
        zoo = zoo or self._scope
        if zoo is not None:
            entries = [entry for entry in entries if entry.zoo == zoo]
        if task is not None:
            wanted = str(task).lower()
            if not any(entry.task == wanted for entry in entries):
                self._check_task(task)
            entries = [entry for entry in entries if entry.task == wanted]
        globs = patterns(include, "filter")
        if globs != ["*"]:
            entries = [entry for entry, fits in zip(entries, _fitting(entries, globs), strict=True) if fits]
        globs = patterns(exclude, "exclude")
        if globs:
            entries = [entry for entry, fits in zip(entries, _fitting(entries, globs), strict=True) if not fits]
        return entries

    def _where(self, entries: list[Entry], where: Globs, record: Callable[[Entry], Any]) -> list[Entry]:
        from holotype.errors import FilterError
        from holotype.where import keys, parse, predicate

        comparisons = parse(where)
        fits = predicate(comparisons)
        records = [(entry, record(entry)) for entry in entries]
        if records:
            known = {key for _, one in records for key in one}
            for key in sorted(keys(comparisons) - known):
                raise FilterError(
                    f"no model here has the key {key!r}.", given=key, nearest=nearest(key, known)
                )
        return [entry for entry, one in records if fits(one)]

    def _names(
        self, catalog: Catalog, entries: list[Entry], order: str, *, weights: bool = False
    ) -> list[str]:
        if order == "registered":
            entries = sorted(entries, key=catalog.registration_key)
        else:
            entries = sorted(entries, key=lambda entry: (entry.sort, entry.zoo))
        twice = catalog.ambiguous(weights=weights) if self._scope is None else frozenset()
        return [f"{entry.zoo}/{entry.name}" if entry.name in twice else entry.name for entry in entries]

    def _check_task(self, task: str) -> None:
        known = self._registry.list_tasks()
        if str(task).lower() not in known:
            raise UnknownTaskError(
                f"no task named {str(task)!r}.",
                given=task,
                nearest=nearest(str(task), known),
                hint="See them all: holotype tasks",
            )

    def _find(
        self, name: str, catalog: Catalog | None = None, *, broken: bool = False, warn: bool = True
    ) -> Entry:
        """The architecture behind a name or an alias of it."""
        if not isinstance(name, str):
            raise UnknownModelError(f"the name of a model is text, not {name!r}.", given=name)
        zoo, short = split_qualified(name)
        if zoo is not None and self._scope not in (None, zoo):
            raise UnknownModelError(f"{name!r} is not in zoo {self._scope!r}.", given=name, hint=f"It may be in {zoo!r}.")
        zoo = zoo or self._scope
        stale = catalog is None
        catalog = catalog or self._registry._known()
        candidates = catalog.find(zoo, short)
        if stale and (len(candidates) != 1 or candidates[0].problem is not None):
            catalog = self._registry._look()
            candidates = catalog.find(zoo, short)
        if len(candidates) > 1:
            qualified = [f"{entry.zoo}/{entry.name}" for entry in candidates]
            raise AmbiguousNameError(
                f"{name!r} is in {len(candidates)} zoos.",
                given=name,
                nearest=qualified,
                hint="Write one of these names in full.",
            )
        if candidates:
            entry = candidates[0]
            if entry.kind == "alias":
                return self._registry._follow(entry, catalog, broken=broken, warn=warn)
            if entry.problem is None or broken:
                return entry
            raise BrokenModelError(
                f"{name!r} cannot be used: {entry.problem}", given=name, hint=f"See holotype info {name}"
            )
        raise self._unknown(name, zoo, catalog)

    def _unknown(self, name: str, zoo: str | None, catalog: Catalog) -> UnknownNameError:
        if zoo is not None:
            self._registry._check_zoo(zoo, catalog)
        short = split_qualified(name)[1]
        known = [entry.name for entry in catalog.models if zoo in (None, entry.zoo)]
        if any(entry.name == short and zoo in (None, entry.zoo) for entry in catalog.weights):
            return UnknownModelError(
                f"{name!r} is a pretrained entry, not an architecture.",
                given=name,
                hint=f"Load it with load_pretrained_model({name!r}).",
            )
        where = f" in zoo {zoo!r}" if zoo else ""
        option = f" --zoo {zoo}" if zoo else ""
        return UnknownModelError(
            f"no architecture named {name!r}{where}.",
            given=name,
            nearest=nearest(short, known),
            hint=f"See all {len(known)}: holotype list{option}",
        )

    def _find_weights(self, name: str, catalog: Catalog) -> Entry:
        if not isinstance(name, str):
            raise UnknownPretrainedError(f"the name of an entry is text, not {name!r}.", given=name)
        zoo, short = split_qualified(name)
        zoo = zoo or self._scope
        found = [e for e in catalog.weights_named(short) if zoo in (None, e.zoo) and self._scope in (None, e.zoo)]
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousNameError(
                f"{name!r} is in {len(found)} zoos.",
                given=name,
                nearest=[f"{entry.zoo}/{entry.name}" for entry in found],
                hint="Write one of these names in full.",
            )
        if zoo is not None:
            self._registry._check_zoo(zoo, catalog)
        known = [entry.name for entry in catalog.weights if zoo in (None, entry.zoo)]
        close = nearest(short, known)
        hint = f"See all {len(known)}: holotype list --pretrained"
        architecture = catalog.find(zoo, short)
        if architecture:
            entries = [e.name for e in catalog.weights if e.network == architecture[0].name]
            close = entries[:5]
            hint = f"{name!r} is an architecture" + ("; these are its entries." if close else " without entries.")
        return_error = UnknownPretrainedError(
            f"no pretrained entry named {name!r}.", given=name, nearest=close, hint=hint
        )
        raise return_error


class Registry(_Surface):
    """Names, and what is bound to them.

    The default registry (`holotype.registry`) finds zoos by itself. A registry of one's own starts empty,
    holds what is registered on it, and shares nothing with any other.

    Args:
        zoos: modules of zoos to read, such as ``"src.model"``.
        discover: find the zoos that are installed and those that the project names.

    Example:
        >>> mine = Registry()
        >>> @mine.register_model("identity", description="Returns what it is given")
        ... def identity():
        ...     return lambda x: x
        >>> mine.list_models()
        ['identity']
    """

    def __init__(self, zoos: Iterable[str] = (), *, discover: bool = False) -> None:
        self._registry = self
        self._scope = None
        self.discovers = discover
        self._lock = RLock()
        self._live: dict[tuple[str, str, str], Entry] = {}
        self._overridden: set[tuple[str, str, tuple[Any, ...]]] = set()
        self._version = 0
        self._extra: tuple[ZooSpec, ...] = ()
        self._index: Any = None
        self._catalog: Catalog | None = None
        self._catalog_of: tuple[Any, ...] = ()
        self._of_files: dict[str, tuple[Any, Catalog]] = {}
        self._specs: list[ZooSpec] | None = None
        for module in zoos:
            self.add_zoo(module)

    def __repr__(self) -> str:
        zoos = "discovering" if self.discovers else "own"
        return f"<Registry: {zoos}, {len(self._live)} registered in this process>"

    # -- zoos ------------------------------------------------------------------------------------

    def zoo(self, name: str) -> Zoo:
        """A view of one zoo: the same functions, seen through it.

        Args:
            name: a zoo's name, or its module (``__package__`` in one of its files). A name that no zoo has
                yet is a zoo that begins with what is registered through the view.

        Raises:
            InvalidNameError: it does not fit the grammar of names.
        """
        specs = self._zoo_specs()
        for spec in specs:
            if name in (spec.name, spec.module):
                return Zoo(self, spec.name)
        for spec in specs:
            if isinstance(name, str) and spec.holds(name):
                return Zoo(self, spec.name)
        return Zoo(self, check_name(name.lower() if isinstance(name, str) else name, "zoo name"))

    def add_zoo(self, module: str, *, name: str | None = None) -> Zoo:
        """Read a zoo that nothing else names.

        Args:
            module: a package or module below the working directory or on ``sys.path``. It is not imported.
            name: the zoo's name; by default the module's.

        Raises:
            UnknownZooError: there is no such module.
        """
        found = named_zoo(module, name, [".", *sys.path], "add_zoo", "code")
        if isinstance(found, NotFound):
            raise UnknownZooError(f"{found.where} {found.message}.", given=module)
        with self._lock:
            if found not in self._extra:
                self._extra = (*self._extra, found)
            self._specs = None
        return Zoo(self, found.name)

    def list_zoos(self) -> list[ZooInfo]:
        """Every zoo, with where it was found and how much it holds."""
        from holotype.records import ZooInfo

        catalog = self._look()
        names = [spec.name for spec in catalog.specs]
        names += sorted({e.zoo for e in [*catalog.models, *catalog.weights]} - set(names))
        by_name = {spec.name: spec for spec in catalog.specs}
        zoos = []
        for name in names:
            spec = by_name.get(name)
            zoos.append(
                ZooInfo(
                    name=name,
                    module=spec.module if spec else None,
                    folder=(spec.path if spec.is_package else os.path.dirname(spec.path)) if spec else None,
                    found_by=spec.found_by if spec else SESSION,
                    models=sum(1 for entry in catalog.models if entry.zoo == name),
                    pretrained=sum(1 for entry in catalog.weights if entry.zoo == name),
                    problems=sum(1 for problem in catalog.problems if problem.zoo == name),
                )
            )
        return zoos

    @property
    def cache_problem(self) -> str | None:
        """Why the index cannot be kept between processes, or None."""
        problem: str | None = self._index.cache_problem if self._index is not None else None
        return problem

    def _zoo_specs(self) -> list[ZooSpec]:
        with self._lock:
            if self._specs is None:
                self._specs = find_zoos(self._extra)[0] if self.discovers else list(self._extra)
            return self._specs

    def _zoo_of(self, module: str, scope: str | None) -> str:
        """A registration belongs to the zoo that its module is part of; else to the view it came through."""
        for spec in self._zoo_specs():
            if spec.holds(module):
                return spec.name
        return scope or zoo_for_module(module, SESSION)

    def _module_of(self, file: str) -> str | None:
        """The module that a file of a zoo is."""
        for spec in self._zoo_specs():
            start = os.path.join(spec.path, "") if spec.is_package else spec.path
            path = os.path.abspath(file)
            if path.startswith(start) and path.endswith(".py"):
                return os.path.relpath(path, spec.root)[:-3].replace(os.sep, ".").removesuffix(".__init__")
        return None

    def _check_zoo(self, zoo: str, catalog: Catalog) -> None:
        known = catalog.zoo_names()
        if not isinstance(zoo, str) or zoo.lower() not in known:
            raise UnknownZooError(
                f"no zoo named {zoo!r}.",
                given=zoo,
                nearest=nearest(str(zoo), known),
                hint="See them all: holotype zoos",
            )

    # -- looking ---------------------------------------------------------------------------------

    def _look(self) -> Catalog:
        """Everything as it is now."""
        with self._lock:
            specs, lost = find_zoos(self._extra) if self.discovers else (list(self._extra), [])
            self._specs = specs
            index = self._get_index()
            snapshots = [index.look(spec) for spec in specs] if index is not None else []
            of = (
                self._version,
                environment() if snapshots else "",
                tuple(lost),
                *((id(snapshot), snapshot.stamp) for snapshot in snapshots),
            )
            if self._catalog is None or of != self._catalog_of:
                self._catalog = Catalog(specs, snapshots, list(self._live.values()), lost)
                self._catalog_of = of
            return self._catalog

    def _known(self) -> Catalog:
        """Everything as it was at the last look, with what this process registered since."""
        with self._lock:
            if self._catalog is None or self._catalog_of[0] != self._version:
                return self._look()
            return self._catalog

    def _get_index(self) -> Any:
        if self._index is None and not _probing():
            from holotype.index import Index

            self._index = Index(_probe)
        return self._index

    def _add(self, entry: Entry, *, replace: bool) -> None:
        table = "weights" if entry.kind == "weights" else "model"
        key = (entry.zoo, table, entry.name)
        identity = entry.identity()
        with self._lock:
            if (entry.zoo, entry.name, identity) in self._overridden and not replace:
                return  # something took its place on purpose before its module was imported
            other = self._live.get(key)
            if not _probing():
                read, rivals = self._read_from_file(entry.zoo, table, entry.name, identity)
                if identity in rivals:
                    return  # `list_problems` tells that two files claim this name; neither fails for it
                other = other or read
            if other is not None and other.identity() != identity:
                if not replace:
                    raise DuplicateNameError(
                        f"{entry.name!r} is taken in zoo {entry.zoo!r}:\n"
                        f"    first  {other.place()}\n    second {entry.place()}",
                        given=entry.name,
                        hint="Choose another name, or say replace=True.",
                    )
                self._overridden.add((entry.zoo, entry.name, other.identity()))
            self._overridden.discard((entry.zoo, entry.name, identity))
            self._live[key] = entry
            self._version += 1

    def _read_from_file(
        self, zoo: str, table: str, name: str, identity: tuple[Any, ...]
    ) -> tuple[Entry | None, list[tuple[Any, ...]]]:
        """What the files of a zoo have under a name, and all identities if several files have it."""
        spec = next((spec for spec in self._zoo_specs() if spec.name == zoo), None)
        if spec is None:
            return None, []
        catalog = self._catalog_of_files(spec, look=False)
        found, rivals = catalog.in_table(table, zoo, name), catalog.rivals(table, zoo, name)
        if identity not in rivals and found is not None and found.identity() != identity:
            catalog = self._catalog_of_files(spec, look=True)  # the last look may have been before an edit
            found, rivals = catalog.in_table(table, zoo, name), catalog.rivals(table, zoo, name)
        if found is not None and found.detail.get("kind") == "broken":
            found = None
        return found, rivals

    def _catalog_of_files(self, spec: ZooSpec, *, look: bool) -> Catalog:
        index = self._get_index()
        snapshot = index.look(spec) if look else index.known(spec)
        catalog = self._of_files.get(spec.name)
        if catalog is None or catalog[0] is not snapshot:
            catalog = self._of_files[spec.name] = (snapshot, Catalog([spec], [snapshot], [], []))
        return catalog[1]

    def registered_by(self, module: str) -> list[dict[str, Any]]:
        """What the import of one module registered, as the index keeps it (for `holotype.probe`)."""
        return [entry.to_facts() for entry in self._live.values() if module in (entry.origin, entry.module)]

    # -- one entry -------------------------------------------------------------------------------

    def _follow(self, entry: Entry, catalog: Catalog, *, broken: bool, warn: bool) -> Entry:
        names = [entry.name]
        while entry.kind == "alias":
            note = entry.detail.get("deprecated")
            target = str(entry.detail["target"])
            if note and warn:
                import warnings

                text = f": {note}" if isinstance(note, str) else ""
                warnings.warn(
                    f"{entry.name!r} is a deprecated name for {target!r}{text}", FutureWarning, stacklevel=4
                )
            zoo, short = split_qualified(target)
            found = catalog.find(zoo or entry.zoo, short) or catalog.find(None, short)
            if len(found) != 1 or found[0].name in names:
                raise UnknownModelError(
                    f"{entry.name!r} is an alias of {target!r}, which leads nowhere.", given=entry.name
                )
            entry = found[0]
            names.append(entry.name)
        if entry.problem is not None and not broken:
            raise BrokenModelError(f"{entry.name!r} cannot be used: {entry.problem}", given=entry.name)
        return entry

    def _load(self, entry: Entry) -> Any:
        """The class or function of an entry; imports its module, and no other model's."""
        if entry.obj is not None:
            return entry.obj
        spec = next((spec for spec in self._zoo_specs() if spec.name == entry.zoo), None)
        module = entry.import_module()
        if spec is not None and spec.found_by != "first-party" and spec.root not in sys.path:
            sys.path.insert(0, spec.root)
        import importlib

        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            from holotype.extras import missing_extra

            missing = missing_extra(error, repr(entry.name))
            if missing is not None:
                raise missing from error
            raise self._broken(entry, module, error) from error
        except (Exception, SystemExit) as error:
            raise self._broken(entry, module, error) from error
        expected = _file_of(module, spec) if spec is not None else None
        actual = getattr(loaded, "__file__", None)
        if expected and actual and os.path.realpath(expected) != os.path.realpath(actual):
            raise BrokenModelError(
                f"{entry.name!r} is defined in {expected}, but {module!r} was imported from {actual}.",
                given=entry.name,
                hint="Two packages share a name; rename one, or remove the other from sys.path.",
            )
        with self._lock:
            live = self._live.get((entry.zoo, "model", entry.name))
        if live is not None and live.obj is not None:
            return live.obj
        target: Any = loaded
        for part in str(entry.detail.get("qualname") or "").split("."):
            target = getattr(target, part, None)
        if target is None:
            raise BrokenModelError(
                f"{module} has no {entry.detail.get('qualname')!r}: it was imported before its file changed.",
                given=entry.name,
                hint="Start Python again.",
            )
        return target

    def _broken(self, entry: Entry, module: str, error: BaseException) -> BrokenModelError:
        return BrokenModelError(
            f"{entry.name!r} cannot be used: importing {module} failed: {type(error).__name__}: {error}",
            given=entry.name,
            hint=f"Its file: {entry.detail.get('path')}",
        )

    def _info(self, entry: Entry, catalog: Catalog) -> ModelInfo:
        return entry.info(
            params=self._count_of(entry),
            pretrained=catalog.pretrained_of(entry),
            aliases=catalog.aliases_of(entry),
        )

    def _pretrained(self, entry: Entry, catalog: Catalog) -> PretrainedMetadata:
        networks = catalog.find(entry.network_zoo, entry.network or "")
        return entry.pretrained(task=networks[0].task if networks else None)

    def _count_key(self, entry: Entry) -> str | None:
        spec = next((spec for spec in self._zoo_specs() if spec.name == entry.zoo), None)
        if spec is None or self._index is None or (entry.obj is not None and entry.from_session):
            return None
        from hashlib import sha256

        stamp = self._index.known(spec).stamp
        return f"{entry.zoo}/{entry.name} {sha256(stamp.encode()).hexdigest()}"

    def _count_of(self, entry: Entry) -> int | None:
        key = self._count_key(entry)
        return entry.counted if key is None else self._index.count(key)

    def _remember_count(self, entry: Entry, count: int) -> None:
        key = self._count_key(entry)
        if key is None:
            entry.counted = count
        else:
            self._index.remember_count(key, count)


class Zoo(_Surface):
    """One zoo of a registry: the same functions, and names need no zoo in front of them."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._scope = name
        self.name = name

    def __repr__(self) -> str:
        return f"<Zoo {self.name!r}>"


def _fitting(entries: list[Entry], globs: list[str]) -> list[bool]:
    short = matcher([glob for glob in globs if "/" not in glob])
    full = matcher([glob for glob in globs if "/" in glob])
    qualified = any("/" in glob for glob in globs)
    return [short(e.name) or (qualified and full(f"{e.zoo}/{e.name}")) for e in entries]


def _task_of(target: Any) -> str | None:
    """The class attribute `task`. A method or property of that name is something else."""
    task = getattr(target, "task", None) if isinstance(target, type) else None
    return task if isinstance(task, str) else None


def _is_missing(problem: str) -> bool:
    return problem.partition(": ")[2].startswith("missing")


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
    return str(frame.f_globals.get("__name__", "__main__")), str(frame.f_code.co_filename), int(frame.f_lineno)


def _importing(module: str) -> str:
    """The module whose import is under way, or `module`."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return str(frame.f_globals.get("__name__", module))
        frame = frame.f_back
    return module


def _file_of(module: str, spec: ZooSpec) -> str | None:
    """The file that a module of a zoo is to be imported from."""
    found = locate(module, [spec.root]) if spec.holds(module) else None
    if found is None or found[1].endswith(".py"):
        return found and found[1]
    return os.path.join(found[1], "__init__.py")


def _probing() -> bool:
    return "HOLOTYPE_PROBING" in os.environ


def environment() -> str:
    """Differs when a package was installed or removed."""
    from holotype.index import environment

    return environment()


def _probe(spec: ZooSpec, module: str) -> dict[str, Any]:
    from holotype.probe import probe

    return probe(spec, module)


default_registry = Registry(discover=True)
