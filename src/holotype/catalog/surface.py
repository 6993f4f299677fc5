"""The functions that a registry and a view of one of its zoos have in common.

The two front ends of the field are one: `get_available_models` is `list_models` in registration order,
`net_factory` is `create_model` with the words of vision.
"""

from __future__ import annotations

import os

from holotype.catalog.entries import Catalog, Entry
from holotype.catalog.registering import Registering
from holotype.catalog.zoos import FIRST_PARTY
from holotype.errors import (
    AmbiguousNameError,
    BrokenModelError,
    RegistryError,
    UnknownModelError,
    UnknownNameError,
    UnknownPretrainedError,
    UnknownTaskError,
)
from holotype.names import matcher, natural_key, nearest, patterns, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from torch import nn

    from holotype.records import ModelInfo, PretrainedMetadata, Problem

    Globs = str | Iterable[str]


class Surface(Registering):
    """Finding and building, as a registry or as one of its zoos sees it."""

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

        Of a zoo: its own, and what was registered through it. Of the default registry: those of the
        protein zoo, then whatever the project and the session registered.
        """
        catalog = self._registry._look()
        entries = catalog.models
        if self._scope is not None:
            entries = catalog.seen_through(self._scope, entries)
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

    def get_model_lines(self, names: Iterable[str]) -> list[tuple[str | None, str, str]]:
        """(task, zoo, description) of many names: what a list shows, without reading signatures."""
        catalog = self._registry._look()
        found = [self._find(name, catalog, broken=True) for name in names]
        return [(entry.task, entry.zoo, entry.detail.get("description", "")) for entry in found]

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
        if not isinstance(name, str):
            return False
        zoo, short = split_qualified(name)
        found = self._candidates(self._registry._known(), zoo, short)
        if len(found) != 1 or not self._registry._is_fresh(found[0]):
            found = self._candidates(self._registry._look(), zoo, short)
        if len(found) == 1 and found[0].kind == "alias":
            try:
                self._find(name, warn=False)
            except RegistryError:
                return False
        return len(found) == 1 and found[0].problem is None

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
        mine = [*catalog.models, *catalog.weights]
        if self._scope is not None:
            mine = catalog.seen_through(self._scope, mine)
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
            from holotype.catalog.parameters import check, problems_with

            if problems_with(full, parameters, open_parameters=is_open):  # of an earlier state of the file?
                entry = self._find(name, self._registry._look(), warn=False)
                full = {**entry.config(), **params}
                parameters, is_open = entry.parameters()
            if parameters is not None:
                check(full, parameters, of=name, open_parameters=is_open)
        target = self._registry._load(entry)
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

        name, params = read_model(self, config)
        return self.create_model(name, **params)

    def check_config(self, config: Mapping[str, Any] | str | os.PathLike[str]) -> list[str]:
        """Every problem of a config, found without importing anything; an empty list if there is none."""
        from holotype.catalog.config import problems_of

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

    def _where(self, entries: list[Entry], where: Globs, record: Callable[[Entry], Any]) -> list[Entry]:
        from holotype.catalog.where import keys, parse, predicate
        from holotype.errors import FilterError

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
        may_be_stale = catalog is None
        catalog = catalog or self._registry._known()
        candidates = self._candidates(catalog, zoo, short)
        if may_be_stale and not (len(candidates) == 1 and self._registry._is_fresh(candidates[0])):
            catalog = self._registry._look()
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
                return self._registry._follow(entry, catalog, broken=broken, warn=warn)
            if entry.problem is None or broken:
                return entry
            raise BrokenModelError(
                f"{name!r} cannot be used: {entry.problem}", given=name, hint=f"See holotype info {name}"
            )
        raise self._unknown(name, zoo, catalog)

    def _candidates(self, catalog: Catalog, zoo: str | None, short: str) -> list[Entry]:
        return self._listed(catalog, zoo, short) or catalog.spelt(zoo or self._scope, short)

    def _listed(self, catalog: Catalog, zoo: str | None, short: str) -> list[Entry]:
        if self._scope is None:
            return catalog.find(zoo, short)
        if zoo is not None:
            found = catalog.find(zoo, short)
            return [entry for entry in found if self._scope in (entry.zoo, entry.via)]
        return catalog.seen_through(self._scope, catalog.find(None, short))

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
        found = [entry for entry in catalog.weights_named(short) if zoo in (None, entry.zoo)]
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
            self._registry._check_zoo(zoo, catalog)
        known = [entry.name for entry in catalog.weights if zoo in (None, entry.zoo)]
        close = nearest(short, known)
        hint = f"See all {len(known)}: holotype list --pretrained"
        architecture = catalog.known(zoo, short)
        if architecture:
            entries = [e.name for e in catalog.weights if e.network == architecture[0].name]
            close = entries[:5]
            hint = f"{name!r} is an architecture" + (
                "; these are its entries." if close else " without entries."
            )
        return_error = UnknownPretrainedError(
            f"no pretrained entry named {name!r}.", given=name, nearest=close, hint=hint
        )
        raise return_error


def _fitting(entries: list[Entry], globs: list[str]) -> list[bool]:
    short = matcher([glob for glob in globs if "/" not in glob])
    full = matcher([glob for glob in globs if "/" in glob])
    qualified = any("/" in glob for glob in globs)
    return [short(e.name) or (qualified and full(f"{e.zoo}/{e.name}")) for e in entries]
