"""The registry: names in, code out.

`Registry` offers the functions that register, find and build for all zoos at once; `Zoo` offers them for one
zoo. Both are views of one `State`. The default registry is `holotype.registry`. Nothing here imports torch or
a model file until a network is built.

The two front ends of the field are one: `get_available_models` is `list_models` in registration order,
`net_factory` is `create_model` with the words of vision.
"""

from __future__ import annotations

import os
import sys

from holotype.catalog.entries import Entry, file_stamp
from holotype.catalog.state import State
from holotype.catalog.zoos import SESSION, ZooSpec, is_probing, named_zoo
from holotype.entry_points import import_path
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
from holotype.first_party import DEFAULT_ZOO, FIRST_PARTY
from holotype.names import check_name, matcher, natural_key, nearest, patterns, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TypeVar

    from torch import nn

    from holotype.catalog.entries import Catalog
    from holotype.records import ModelInfo, PretrainedMetadata, Problem, ZooInfo

    Globs = str | Iterable[str]
    Target = TypeVar("Target", bound=Callable[..., Any])


class Zoo:
    """One zoo of a registry: the same functions, and names need no zoo in front of them.

    Attributes:
        name: the zoo's name.
    """

    name: str

    def __init__(self, state: State, name: str) -> None:
        self._state = state
        self._scope: str | None = name  # None for all zoos: see `Registry`
        self.name = name

    def __repr__(self) -> str:
        return f"<Zoo {self.name!r}>"

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
            entry = self._session_entry(kind, name, target, chosen, detail)
            self._state.add(entry, replace=replace)
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
        from holotype.catalog.values import as_python, encode
        from holotype.frozen import freeze

        frozen = freeze(as_python(config), f"config of {name!r}")
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
        detail = described(freeze(metadata, f"metadata of {name!r}")) | {"config": encode(frozen)}
        entry = self._session_entry("config", name, cls, task, detail)
        self._state.add(entry, replace=replace)

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
        from holotype.catalog.values import encode
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

        detail = {"metadata": encode(freeze(metadata)), "network": network}
        entry = self._session_entry("weights", name, None, record.task or task, detail)
        entry.network = network
        self._state.add(entry, replace=replace)

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
        entry = self._session_entry("alias", alias, None, None, {"target": found, "deprecated": deprecated})
        if found in (alias, f"{entry.zoo}/{alias}"):
            raise DuplicateNameError(f"{alias!r} cannot be an alias of itself.", given=alias)
        self._state.add(entry, replace=replace)

    def _target(self, name: str) -> tuple[str, str | None]:
        """The full name and the task of an architecture that something registered here refers to.

        One of the same zoo goes before one of another.
        """
        zoo = self._state.zoo_of(_caller()[0], self._scope)
        given, short = split_qualified(name) if isinstance(name, str) else (None, "")
        try:
            if given is None and self._scope is None and self._state.last().find(zoo, short):
                name = f"{zoo}/{short}"
            found = self._find(name, None, broken=True)
        except UnknownModelError:
            if not is_probing():
                raise
            return name.strip().lower(), None  # a trial import of one file does not know the others
        return f"{found.zoo}/{found.name}", found.task

    def _session_entry(self, kind: str, name: str, target: Any, task: Any, detail: dict[str, Any]) -> Entry:
        own = getattr(target, "__module__", None) if kind in ("class", "builder") else None
        module, file, line = _caller(own)
        if module == "__main__":  # a file of a zoo that is run as a script is that file
            module = self._state.module_of(file) or module
            own = module if own == "__main__" else own
        zoo = self._state.zoo_of(module, self._scope, defined=kind in ("class", "builder"))
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
        entry.from_session = True
        entry.via = self._scope if self._scope != zoo else None
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
        catalog = self._state.look()
        entries = self._filtered(catalog, catalog.models, include_filter, exclude, task, zoo)
        if pretrained is not None:
            filled = {e.architecture for e in catalog.weights}
            entries = [e for e in entries if ((e.zoo, e.name) in filled) == pretrained]
        if where is not None:
            infos = [self._state.info(entry, catalog) for entry in entries]
            entries = _where(entries, infos, where)
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
        catalog = self._state.look()
        entries = self._filtered(catalog, catalog.weights, include_filter, exclude, task, zoo)
        if network is not None:
            found = self._find(network, catalog)
            entries = [e for e in entries if e.architecture == (found.zoo, found.name)]
        if format is not None:
            from holotype.errors import UnknownFormatError
            from holotype.records import FORMATS

            if format not in FORMATS:
                raise UnknownFormatError(
                    f"no weight format {format!r}; there are {', '.join(FORMATS)}.",
                    given=format,
                    nearest=nearest(format, FORMATS),
                )
            entries = [e for e in entries if format in self._state.pretrained(e, catalog).formats]
        if where is not None:
            records = [self._state.pretrained(entry, catalog) for entry in entries]
            entries = _where(entries, records, where)
        return self._names(catalog, entries, order, weights=True)

    def get_available_models(self) -> list[str]:
        """The names of architectures in the order in which they were registered.

        Of a zoo: its own, and what was registered through it. Of the default registry: those of the
        protein zoo, then whatever the project and the session registered.
        """
        catalog = self._state.look()
        entries = catalog.models
        if self._scope is not None:
            entries = catalog.seen_through(self._scope, entries)
        elif self._state.discovers:
            left_out = FIRST_PARTY.keys() - {DEFAULT_ZOO}
            entries = [entry for entry in entries if entry.zoo not in left_out]
        return self._names(catalog, entries, "registered")

    def get_model_info(self, name: str) -> ModelInfo:
        """All that is known of an architecture, without importing it.

        A model whose file is broken has its `problem` set; it does not raise.

        Raises:
            UnknownModelError, AmbiguousNameError: with the nearest names, or the qualified ones.
        """
        catalog = self._state.look()
        return self._state.info(self._find(name, catalog, broken=True), catalog)

    def get_model_infos(self, names: Iterable[str]) -> list[ModelInfo]:
        """`get_model_info` of many names, in one look at the zoos."""
        catalog = self._state.look()
        found = [self._find(name, catalog, broken=True) for name in _several(names)]
        return [self._state.info(entry, catalog) for entry in found]

    def get_model_lines(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """What a list shows of many names, without reading signatures.

        Returns:
            For each name: ``params``, ``size`` (height, width), ``pretrained`` (how many entries), ``task``,
            ``zoo`` and ``description``; None for what is not known.
        """
        catalog = self._state.look()
        entries = [self._find(name, catalog, broken=True) for name in _several(names)]
        counts: dict[tuple[str, str], int] = {}
        for weights in catalog.weights:
            counts[weights.architecture] = counts.get(weights.architecture, 0) + 1
        return [
            {
                **entry.summary(self._state.count_of(entry)),
                "pretrained": counts.get((entry.zoo, entry.name)),
            }
            for entry in entries
        ]

    def get_pretrained_metadata(self, name: str) -> PretrainedMetadata:
        """The record of a pretrained entry.

        Raises:
            UnknownPretrainedError, AmbiguousNameError: with the nearest names, or the qualified ones.
        """
        catalog = self._state.look()
        return self._state.pretrained(self._find_weights(name, catalog), catalog)

    def get_pretrained_metadatas(self, names: Iterable[str]) -> list[PretrainedMetadata]:
        """`get_pretrained_metadata` of many names, in one look at the zoos."""
        catalog = self._state.look()
        entries = [self._find_weights(name, catalog) for name in _several(names)]
        return [self._state.pretrained(entry, catalog) for entry in entries]

    def get_model_class(self, name: str) -> type:
        """The class behind a name. Its module is imported; no other model's is.

        Raises:
            UnknownModelError, AmbiguousNameError: see `get_model_info`.
            BrokenModelError: its file cannot be imported.
            RegistryError: the name is a builder function's.
        """
        entry = self._find(name)
        target = self._state.load(entry)
        if not isinstance(target, type):
            raise RegistryError(
                f"{entry.name!r} is built by the function {entry.detail.get('qualname')}, not by a class.",
                given=name,
                hint=f"Build it with create_model({name!r}).",
            )
        return target

    def exists(self, name: str) -> bool:
        """Can an architecture be looked up under this name (or alias)?"""
        if not isinstance(name, str):
            return False
        zoo, short = split_qualified(name)
        found, _ = self._state.find(lambda catalog: self._candidates(catalog, zoo, short))
        if len(found) == 1 and found[0].kind == "alias":
            try:
                self._find(name, warn=False)
            except RegistryError:
                return False
        return len(found) == 1 and found[0].problem is None

    def pretrained_exists(self, name: str) -> bool:
        """Can a pretrained entry be looked up under this name?"""
        try:
            self._find_weights(name, self._state.look())
        except RegistryError:
            return False
        return True

    def list_tasks(self) -> list[str]:
        """Every task: the built-in ones, and those that zoos added."""
        return _tasks_of(self._state.look(), self._scope)

    def list_problems(self) -> list[Problem]:
        """Everything that keeps a model from being used or a zoo from being found."""
        problems = self._state.look().problems
        return [problem for problem in problems if self._scope in (None, problem.zoo)]

    # -- build -----------------------------------------------------------------------------------

    def create_model(self, name: str, /, **params: Any) -> nn.Module:
        """Build a network.

        Parameters are checked against the constructor's signature and type hints first; then the module
        of this one model is imported.

        Args:
            name: an architecture, an alias or a registered config; may be qualified (``proteins/v1``).
            **params: the constructor's parameters; numbers of NumPy and torch become Python's.

        Raises:
            ParameterError: it lists every parameter that is unknown, missing or of the wrong type.
            UnknownModelError, AmbiguousNameError: see `get_model_info`.
            BrokenModelError: its file cannot be imported.
        """
        from holotype.catalog.values import as_python

        params = as_python(params)
        entry = self._find(name)
        full = {**entry.config(), **params}
        parameters, is_open = entry.parameters()
        if parameters is not None:
            from holotype.catalog.parameters import check, problems_with

            if problems_with(full, parameters, open_parameters=is_open):  # of an earlier state of the file?
                entry = self._find(name, self._state.look(), warn=False)
                full = {**entry.config(), **params}
                parameters, is_open = entry.parameters()
            if parameters is not None:
                check(full, parameters, of=name, open_parameters=is_open)
        target = self._state.load(entry)
        if parameters is None:
            from holotype.catalog.parameters import check, from_facts, to_facts

            parameters, is_open = from_facts(to_facts(target))
            if parameters is not None:
                check(full, parameters, of=name, open_parameters=is_open)
        from holotype.catalog.network_record import attach_record

        network: nn.Module = target(**full)
        attach_record(network, f"{entry.zoo}/{entry.name}", full, parameters, target)
        return network

    def create_from_config(self, config: Mapping[str, Any] | str | os.PathLike[str]) -> nn.Module:
        """Build the network that a config picks: ``{"model": {"name": …, "params": {…}}}``.

        Args:
            config: a mapping, or the path of a YAML or JSON file.

        Raises:
            ConfigError: the file or mapping is no config; it lists every problem.
            ParameterError: only the parameters do not fit; it lists every one that does not.
            UnknownModelError, AmbiguousNameError, BrokenModelError: see `create_model`.
        """
        from holotype.catalog.config import read_model

        name, params = read_model(self.get_model_info, config)
        return self.create_model(name, **params)

    def check_config(self, config: Mapping[str, Any] | str | os.PathLike[str]) -> list[str]:
        """Every problem of a config, found without importing anything; an empty list if there is none."""
        from holotype.catalog.config import problems_of

        return problems_of(self.get_model_info, config)

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
            num_classes: the number of classes of the head; 0 for no head.
            input_channels: passed on as `in_channels`, or as `input_channels` where that is its name.
            config: further parameters.
            size: the images' side, or (height, width), in pixels.

        Raises:
            ParameterError: the architecture has no such parameter. See `create_model` for the rest.
        """
        params: dict[str, Any] = {**(config or {}), "num_classes": num_classes}
        parameters, is_open = self._find(name).parameters()
        takes = {parameter.name for parameter in parameters or ()}
        channels = "input_channels" if "input_channels" in takes else "in_channels"
        if channels in takes or parameters is None or is_open or input_channels != 3:
            params[channels] = input_channels
        if size is not None:
            params["size"] = size
        return self.create_model(name, **params)

    def count_parameters(self, name: str, /, **params: Any) -> int:
        """The number of learnable parameters, counted on the meta device: no memory is used for them.

        With default parameters the count is remembered, and `get_model_info` returns it from then on.
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
            self._state.remember_count(entry, count)
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
            _check_zoo(zoo, catalog)
            zoo = zoo.lower()
            if self._scope not in (None, zoo):
                return []
        if zoo is not None:
            entries = [entry for entry in entries if entry.zoo == zoo]
        elif self._scope is not None:
            entries = catalog.seen_through(self._scope, entries)
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
            entries = [
                entry for entry, fits in zip(entries, _fitting(entries, globs), strict=True) if not fits
            ]
        return entries

    def _names(
        self, catalog: Catalog, entries: list[Entry], order: str, *, weights: bool = False
    ) -> list[str]:
        if order == "registered" and self._scope is not None:
            # What was registered through a zoo stands where the model does whose name it has.
            every = catalog.weights if weights else catalog.models
            own = {entry.name: entry for entry in every if entry.zoo == self._scope}
            entries = sorted(
                entries,
                key=lambda e: catalog.registration_key(own[e.name] if e.name in own else e),  # noqa: SIM401
            )
        elif order == "registered":
            entries = sorted(entries, key=catalog.registration_key)
        else:
            entries = sorted(entries, key=lambda entry: (entry.sort, entry.zoo))
        twice = catalog.ambiguous(weights=weights) if self._scope is None else frozenset()
        return [f"{entry.zoo}/{entry.name}" if entry.name in twice else entry.name for entry in entries]

    def _check_task(self, task: str) -> None:
        known = _tasks_of(self._state.look(), None)
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
        if catalog is None:
            candidates, catalog = self._state.find(lambda now: self._candidates(now, zoo, short))
        else:
            candidates = self._candidates(catalog, zoo, short)
        if not candidates and zoo is not None and self._scope not in (None, zoo):
            raise UnknownModelError(
                f"{name!r} is not in zoo {self._scope!r}.", given=name, hint=f"It may be in {zoo!r}."
            )
        zoo = zoo or self._scope
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
                return _followed(entry, catalog, broken=broken, warn=warn)
            if entry.problem is None or broken:
                return entry
            raise BrokenModelError(
                f"{name!r} cannot be used: {entry.problem}", given=name, hint=f"See holotype info {name}"
            )
        raise self._unknown(name, zoo, catalog)

    def _candidates(self, catalog: Catalog, zoo: str | None, short: str) -> list[Entry]:
        return self._listed(catalog, zoo, short) or catalog.find_in_grammars(zoo or self._scope, short)

    def _listed(self, catalog: Catalog, zoo: str | None, short: str) -> list[Entry]:
        if self._scope is None:
            return catalog.find(zoo, short)
        if zoo is not None:
            found = catalog.find(zoo, short)
            return [entry for entry in found if self._scope in (entry.zoo, entry.via)]
        return catalog.seen_through(self._scope, catalog.find(None, short))

    def _unknown(self, name: str, zoo: str | None, catalog: Catalog) -> UnknownNameError:
        if zoo is not None:
            _check_zoo(zoo, catalog)
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
        why = catalog.explain(zoo, short)
        return UnknownModelError(
            f"no architecture named {name!r}{where}." + (f"\n  {why}" if why else ""),
            given=name,
            nearest=nearest(short, known),
            hint=f"See all {len(known)}: holotype list{option}",
        )

    def _find_weights(self, name: str, catalog: Catalog) -> Entry:
        if not isinstance(name, str):
            raise UnknownPretrainedError(f"the name of an entry is text, not {name!r}.", given=name)
        zoo, short = split_qualified(name)
        found = [entry for entry in catalog.find_weights(short) if zoo in (None, entry.zoo)]
        if self._scope is not None:
            found = catalog.seen_through(self._scope, found)
        zoo = zoo or self._scope
        if len(found) == 1:
            if found[0].problem is not None:
                raise BrokenModelError(f"{name!r} cannot be used: {found[0].problem}", given=name)
            return found[0]
        if found:
            raise AmbiguousNameError(
                f"{name!r} is in {len(found)} zoos.",
                given=name,
                nearest=[f"{entry.zoo}/{entry.name}" for entry in found],
                hint="Write one of these names in full.",
            )
        if zoo is not None:
            _check_zoo(zoo, catalog)
        known = [entry.name for entry in catalog.weights if zoo in (None, entry.zoo)]
        close = nearest(short, known)
        hint = f"See all {len(known)}: holotype list --pretrained"
        architecture = catalog.find_any(zoo, short)
        if architecture:
            entries = [e.name for e in catalog.weights if e.architecture[1] == architecture[0].name]
            close = entries[:5]
            hint = f"{name!r} is an architecture" + (
                "; these are its entries." if close else " without entries."
            )
        raise UnknownPretrainedError(
            f"no pretrained entry named {name!r}.", given=name, nearest=close, hint=hint
        )


class Registry(Zoo):
    """Names, and what is bound to them: the view of all zoos, and their state.

    The default registry (`holotype.registry`) finds zoos by itself. A registry of one's own starts empty,
    holds what is registered on it, and shares nothing with any other.

    Args:
        zoos: modules of zoos to read, such as ``"src.model"``.
        discover: find the zoos that are installed and those that the project names.

    Example:
        >>> mine = Registry()
        >>> @mine.register_model("identity", description="Returns its argument")
        ... def identity():
        ...     return lambda x: x
        >>> mine.list_models()
        ['identity']
    """

    def __init__(self, zoos: Iterable[str] = (), *, discover: bool = False) -> None:
        self._state = State(discovers=discover)
        self._scope = None
        for module in zoos:
            self.add_zoo(module)

    def __repr__(self) -> str:
        zoos = "discovering" if self._state.discovers else "own"
        return f"<Registry: {zoos}, {len(self._state.session.entries())} registered in this process>"

    # -- zoos ------------------------------------------------------------------------------------

    def zoo(self, name: str) -> Zoo:
        """A view of one zoo: the same functions, seen through it.

        Args:
            name: a zoo's name, or its module (``__package__`` in one of its files). A name that no zoo has
                yet is a zoo that begins with what is registered through the view.

        Raises:
            InvalidNameError: it does not fit the grammar of names.
        """
        specs = self._state.specs()
        for spec in specs:
            if name in (spec.name, spec.module):
                return Zoo(self._state, spec.name)
        for spec in specs:
            if isinstance(name, str) and spec.holds(name):
                return Zoo(self._state, spec.name)
        return Zoo(self._state, check_name(name.lower() if isinstance(name, str) else name, "zoo name"))

    def add_zoo(self, module: str, *, name: str | None = None) -> Zoo:
        """Read a zoo that neither the project nor a package names.

        Args:
            module: a package or module below the working directory or on ``sys.path``. It is not imported.
            name: the zoo's name; by default the module's.

        Raises:
            UnknownZooError: the module does not exist.
        """
        found = named_zoo(module, name, [".", *import_path()], "add_zoo", "code")
        if not isinstance(found, ZooSpec):
            raise UnknownZooError(f"{found.file} {found.message}.", given=module)
        self._state.add_zoo(found)
        return Zoo(self._state, found.name)

    def list_zoos(self) -> list[ZooInfo]:
        """Every zoo, with where it was found and how much it holds."""
        from holotype.records import ZooInfo

        catalog = self._state.look()
        names = [spec.name for spec in catalog.specs]
        names += sorted({e.zoo for e in [*catalog.models, *catalog.weights]} - set(names))
        by_name = {spec.name: spec for spec in catalog.specs}
        provided = {entry.zoo for entry in [*catalog.models, *catalog.weights] if not entry.from_session}
        zoos = []
        for name in names:
            spec = by_name.get(name)
            zoos.append(
                ZooInfo(
                    name=name,
                    module=spec.module if spec else None,
                    folder=spec.folder if spec else None,
                    found_by=spec.found_by if spec else "provider" if name in provided else SESSION,
                    models=sum(1 for entry in catalog.models if entry.zoo == name),
                    pretrained=sum(1 for entry in catalog.weights if entry.zoo == name),
                    problems=sum(1 for problem in catalog.problems if problem.zoo == name),
                )
            )
        return zoos

    @property
    def cache_problem(self) -> str | None:
        """Why the index cannot be kept between processes, or None."""
        return self._state.index.cache_problem

    def use_index_only(self) -> None:
        """Read and run no file of a zoo that is not first-party; list what the index has of it."""
        self._state.index.remembers_only = True

    def refresh(self) -> None:
        """Forget what was read from files, and read them again; also try failed imports again."""
        self._state.refresh()

    def registered_by(self, module: str) -> list[dict[str, Any]]:
        """What the import of one module registered, as the index keeps it (for `holotype.catalog.probe`)."""
        entries = self._state.session.entries()
        return [entry.to_facts() for entry in entries if module in (entry.origin, entry.module)]


def folder_of_zoo(view: Zoo, zoo: str) -> str | None:
    """The folder that holds the files of a zoo, whatever the view; None for a zoo without files."""
    spec = view._state.spec_named(zoo)
    return None if spec is None else spec.folder


def _check_zoo(zoo: str, catalog: Catalog) -> None:
    known = catalog.zoo_names()
    if not isinstance(zoo, str) or zoo.lower() not in known:
        raise UnknownZooError(
            f"no zoo named {zoo!r}.",
            given=zoo,
            nearest=nearest(str(zoo), known),
            hint="See them all: holotype zoos",
        )


def _tasks_of(catalog: Catalog, scope: str | None) -> list[str]:
    """Every task, built in or not; of one zoo, those of its models."""
    from holotype.tasks import Task

    entries = [*catalog.models, *catalog.weights]
    builtin = [str(task) for task in Task]
    if scope is not None:
        entries = catalog.seen_through(scope, entries)
        builtin = [task for task in builtin if any(entry.task == task for entry in entries)]
    added = {entry.task for entry in entries if entry.task} - set(builtin)
    return builtin + sorted(added, key=natural_key)


def _followed(entry: Entry, catalog: Catalog, *, broken: bool, warn: bool) -> Entry:
    """The architecture that an alias stands for; an entry of another kind is returned as it is."""
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
        found = catalog.find_any(zoo or entry.zoo, short) or catalog.find_any(None, short)
        if len(found) != 1 or found[0].name in names:
            raise UnknownModelError(
                f"{entry.name!r} is an alias of {target!r}, which leads nowhere.", given=entry.name
            )
        entry = found[0]
        names.append(entry.name)
    if entry.problem is not None and not broken:
        raise BrokenModelError(f"{entry.name!r} cannot be used: {entry.problem}", given=entry.name)
    return entry


def _several(names: Iterable[str]) -> list[str]:
    """A list of names; text alone is one name, not its letters."""
    return [names] if isinstance(names, str) else list(names)


def _where(entries: list[Entry], records: Sequence[Mapping[str, Any]], where: Globs) -> list[Entry]:
    from holotype.catalog.where import fitting

    return [entry for entry, fits in zip(entries, fitting(records, where), strict=True) if fits]


def _fitting(entries: list[Entry], globs: list[str]) -> list[bool]:
    short = matcher([glob for glob in globs if "/" not in glob])
    full = matcher([glob for glob in globs if "/" in glob])
    qualified = any("/" in glob for glob in globs)
    return [short(e.name) or (qualified and full(f"{e.zoo}/{e.name}")) for e in entries]


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


default_registry: Registry = Registry(discover=True)
State.default = default_registry._state
