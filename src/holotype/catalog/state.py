"""What a registry knows: its zoos, what this process registered, and the catalog of both.

Looking at every file of every zoo takes milliseconds, so there are three ways to ask how things stand:

- `State.look` asks every provider whether something changed, and makes the catalog anew if so. Lists use it.
- `State.last` returns the catalog of the last look, with what this process registered since. No file is read.
- `State.find` is for one name. What `last` has counts if it is a single entry whose file is still as it was;
  otherwise `look` answers. So `create_model` looks at one file, and still never misses an edited, new or
  deleted one.
"""

from __future__ import annotations

import os
import sys
from threading import RLock

from holotype.catalog.entries import Catalog, zoo_for_module
from holotype.catalog.index import Index
from holotype.catalog.providers import ScannedZoo, Session, installed_providers
from holotype.catalog.zoos import SESSION, find_zoos, is_probing, locate
from holotype.errors import BrokenModelError, DuplicateNameError

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, ClassVar

    from holotype.catalog.entries import Entry
    from holotype.catalog.providers import InstalledProvider, Provider
    from holotype.catalog.zoos import ZooSpec
    from holotype.errors import MissingExtraError, RegistryError
    from holotype.records import ModelInfo, PretrainedMetadata, Problem


class State:
    """The state of a registry, which its views share.

    Args:
        discovers: it finds the zoos and providers that are installed and those that the project names.

    Attributes:
        default: of the default registry, in which the decorators in the files of zoos register.
        session: what this process registered.
        index: what the files of zoos register.
        added: the zoos that code added.
    """

    default: ClassVar[State]

    def __init__(self, *, discovers: bool) -> None:
        self.discovers = discovers
        self.session = Session()
        self.index = Index(_probe)
        self.added: tuple[ZooSpec, ...] = ()
        self._lock = RLock()
        self._specs: list[ZooSpec] | None = None
        self._scanned: dict[ZooSpec, ScannedZoo] = {}
        self._installed: dict[str, InstalledProvider] = {}
        # Definitions that another replaced on purpose, by key and identity.
        self._replaced: set[tuple[Any, ...]] = set()
        self._provided: dict[Provider, tuple[object, list[Entry | Problem]]] = {}
        self._catalog: Catalog | None = None
        self._catalog_stamp: tuple[Any, ...] = ()

    # -- zoos ------------------------------------------------------------------------------------

    def specs(self) -> list[ZooSpec]:
        """The zoos that have files, as they were at the last look."""
        with self._lock:
            if self._specs is None:
                self._specs = self._find_zoos()[0]
            return self._specs

    def add_zoo(self, spec: ZooSpec) -> None:
        """Read a zoo that neither the project nor a package names."""
        with self._lock:
            if spec not in self.added:
                self.added = (*self.added, spec)
            self._specs = None

    def zoo_of(self, module: str, scope: str | None, *, defined: bool = False) -> str:
        """The zoo that a registration belongs to.

        It is the zoo whose files have the module; else the view through which it was registered. But a class
        or function of another package belongs to that package if the view is of a zoo that has files, and is
        seen through the view.

        Args:
            module: the one that registers, or in which the class or function is defined.
            scope: the zoo of the view, or None.
            defined: a class or function is registered.
        """
        specs = self.specs()
        for spec in specs:
            if spec.holds(module):
                return spec.name
        if scope is not None and not (defined and any(spec.name == scope for spec in specs)):
            return scope
        return zoo_for_module(module, scope or SESSION)

    def module_of(self, file: str) -> str | None:
        """The module that a file of a zoo is."""
        for spec in self.specs():
            start = os.path.join(spec.path, "") if spec.is_package else spec.path
            path = os.path.abspath(file)
            if path.startswith(start) and path.endswith(".py"):
                return os.path.relpath(path, spec.root)[:-3].replace(os.sep, ".").removesuffix(".__init__")
        return None

    def _find_zoos(self) -> tuple[list[ZooSpec], list[Problem]]:
        return find_zoos(self.added, self.index) if self.discovers else (list(self.added), [])

    def spec_named(self, zoo: str) -> ZooSpec | None:
        """The zoo of that name, if it has files."""
        return next((spec for spec in self.specs() if spec.name == zoo), None)

    def _spec_of(self, entry: Entry) -> ZooSpec | None:
        """The zoo whose files have an entry; None for what only this process knows."""
        return None if entry.from_session or is_probing() else self.spec_named(entry.zoo)

    # -- the catalog -----------------------------------------------------------------------------

    def look(self) -> Catalog:
        """Everything as it is now."""
        with self._lock:
            self._specs, problems = self._find_zoos()
            providers = [] if is_probing() else self._providers(self._specs)
            stamps = [provider.stamp() for provider in providers]
            stamp = (self.session.stamp(), problems, *zip(providers, stamps, strict=True))
            if self._catalog is None or stamp != self._catalog_stamp:
                provided = list(map(self._entries_of, providers, stamps))
                self._provided = dict(zip(providers, zip(stamps, provided, strict=True), strict=True))
                return self._gather(stamp)
            return self._catalog

    def last(self) -> Catalog:
        """Everything as it was at the last look, with what this process registered since."""
        with self._lock:
            if self._catalog is None:
                return self.look()
            if self._catalog_stamp[0] != self.session.stamp():
                return self._gather((self.session.stamp(), *self._catalog_stamp[1:]))
            return self._catalog

    def find(self, candidates: Callable[[Catalog], list[Entry]]) -> tuple[list[Entry], Catalog]:
        """What a catalog has under one name as it is now, and that catalog.

        Args:
            candidates: what a catalog has under the name.
        """
        catalog = self.last()
        found = candidates(catalog)
        if not (len(found) == 1 and self._is_current(found[0])):
            catalog = self.look()
            found = candidates(catalog)
        return found, catalog

    def refresh(self) -> None:
        """Forget what was read from files, and read them again; also try failed imports again."""
        with self._lock:
            self.index.forget(self.specs())
            self._catalog = None
            self._provided = {}
            self.look()

    def _gather(self, stamp: tuple[Any, ...]) -> Catalog:
        """Make the catalog of what the providers handed over and of the session."""
        provided = [entry for _, entries in self._provided.values() for entry in entries]
        self._catalog = Catalog(self.specs(), [*stamp[1], *provided], self.session.entries())
        self._catalog_stamp = stamp
        return self._catalog

    def _providers(self, specs: list[ZooSpec]) -> list[Provider]:
        self._scanned = {spec: self._scanned.get(spec) or ScannedZoo(spec, self.index) for spec in specs}
        providers: list[Provider] = list(self._scanned.values())
        if self.discovers and not self.index.remembers_only:
            found = {provider.value: provider for provider in installed_providers()}
            self._installed = {value: self._installed.get(value) or new for value, new in found.items()}
            providers += self._installed.values()
        return providers

    def _entries_of(self, provider: Provider, stamp: object) -> list[Entry | Problem]:
        before = self._provided.get(provider)
        return before[1] if before is not None and before[0] == stamp else list(provider.entries())

    def _is_current(self, entry: Entry) -> bool:
        """Is what the index has of an entry certainly what its file says now?"""
        if entry.problem is not None:
            return False
        with self._lock:
            spec = self._spec_of(entry)
            return spec is None or self.index.last(spec).holds(entry.module, entry.detail.get("path"))

    # -- registrations ---------------------------------------------------------------------------

    def add(self, entry: Entry, *, replace: bool) -> None:
        """Register an entry of this process.

        Raises:
            DuplicateNameError: another definition has its name, and it does not replace it.
        """
        identity = entry.identity()
        with self._lock:
            if (entry.key, identity) in self._replaced and not replace:
                return  # something took its place on purpose before its module was imported
            in_files = None if is_probing() else self._in_files(entry)
            if in_files is not None and identity in in_files.rivals:
                return  # `list_problems` reports that two files claim this name; neither fails for it
            first = self._in_session(entry) or in_files
            if first is not None and first.kind != "broken" and first.identity() != identity:
                if not replace:
                    raise DuplicateNameError(
                        f"{entry.name!r} is taken in zoo {entry.zoo!r}:\n"
                        f"    first  {first.place()}\n    second {entry.place()}",
                        given=entry.name,
                        hint="Choose another name, or pass replace=True.",
                    )
                self._replaced.add((entry.key, first.identity()))
            self._replaced.discard((entry.key, identity))
            listed = self._catalog.get(entry.key) if self._catalog else None
            # An import that registers what the index lists changes nothing.
            is_new = listed is None or listed.from_session or listed.identity() != identity
            self.session.add(entry, is_new=is_new)

    def _in_session(self, entry: Entry) -> Entry | None:
        """What this process registered under the name of an entry, but for what a failed import left."""
        found = self.session.get(entry.key)
        if found is None or found.is_imported():
            return found
        spec = self.spec_named(found.zoo)
        return None if spec is not None and spec.holds(found.module) else found

    def _in_files(self, entry: Entry) -> Entry | None:
        """What the files of its zoo register under the name of an entry."""
        spec = self.spec_named(entry.zoo)
        if spec is None:
            return None
        zoo = self._scanned.setdefault(spec, ScannedZoo(spec, self.index))
        found = zoo.last().get(entry.key)
        if found is not None and entry.identity() not in (found.identity(), *found.rivals):
            zoo.stamp()  # the last look may have been before an edit
            found = zoo.last().get(entry.key)
        return found

    # -- one entry -------------------------------------------------------------------------------

    def load(self, entry: Entry) -> Any:
        """The class or function of an entry; imports its module, and no other model's."""
        if entry.obj is not None:
            return entry.obj
        if "build" in entry.detail:
            return _builder_of(entry)
        loaded = self._import(entry)
        registered = self._registered(entry)
        if registered is not None and registered.obj is not None:
            return registered.obj
        target: Any = loaded
        for part in str(entry.detail.get("qualname") or "").split("."):
            target = getattr(target, part, None)
        if target is None:
            raise BrokenModelError(
                f"{loaded.__name__} has no {entry.detail.get('qualname')!r}: it was imported before its file "
                "changed.",
                given=entry.name,
                hint="Start Python again.",
            )
        return target

    def _import(self, entry: Entry) -> ModuleType:
        spec = self.spec_named(entry.zoo)
        module = entry.module_to_import()
        if spec is not None and spec.found_by != "first-party" and spec.root not in sys.path:
            sys.path.insert(0, spec.root)
        import importlib

        try:
            loaded = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise _cannot_import(entry, module, error) from error
        expected = _file_of(module, spec) if spec is not None else None
        actual = getattr(loaded, "__file__", None)
        if expected and actual and os.path.realpath(expected) != os.path.realpath(actual):
            raise BrokenModelError(
                f"{entry.name!r} is defined in {expected}, but {module!r} was imported from {actual}.",
                given=entry.name,
                hint="Two packages share a name; rename one, or remove the other from sys.path.",
            )
        return loaded

    def _registered(self, entry: Entry) -> Entry | None:
        """What the import of its module registered under the name of an entry, here or by a decorator."""
        with self._lock:
            found = self.session.get((entry.zoo, "model", entry.name))
            if found is None and self is not State.default:
                decorated = State.default.session.entries()
                found = next((e for e in decorated if (e.name, e.module) == (entry.name, entry.module)), None)
            return found

    def info(self, entry: Entry, catalog: Catalog) -> ModelInfo:
        """The record of an architecture."""
        return entry.info(
            params=self.count_of(entry),
            pretrained=catalog.pretrained_of(entry),
            aliases=catalog.aliases_of(entry),
        )

    def pretrained(self, entry: Entry, catalog: Catalog) -> PretrainedMetadata:
        """The record of a pretrained entry."""
        networks = catalog.find_any(*entry.architecture)
        return entry.pretrained(task=networks[0].task if networks else None)

    def count_of(self, entry: Entry) -> int | None:
        """The number of parameters of an architecture, if it was counted."""
        with self._lock:
            spec = self._spec_of(entry)
            return entry.counted if spec is None else self.index.counts(spec).get(entry.name)

    def remember_count(self, entry: Entry, count: int) -> None:
        """Remember the number of parameters of an architecture."""
        with self._lock:
            spec = self._spec_of(entry)
            if spec is None:
                entry.counted = count
            else:
                self.index.remember_count(spec, entry.name, count)


def _builder_of(entry: Entry) -> Any:
    """The function that a provider names, with the entry's name filled in."""
    from functools import partial

    from holotype.entry_points import resolve

    build = str(entry.detail["build"])
    try:
        return partial(resolve(build), entry.name)
    except (Exception, SystemExit) as error:
        raise _cannot_import(entry, build, error) from error


def _cannot_import(entry: Entry, module: str, error: BaseException) -> RegistryError | MissingExtraError:
    from holotype.extras import missing_extra

    missing = missing_extra(error, repr(entry.name)) if isinstance(error, ImportError) else None
    if missing is not None:
        return missing
    path = entry.detail.get("path")
    return BrokenModelError(
        f"{entry.name!r} cannot be used: importing {module} failed: {type(error).__name__}: {error}",
        given=entry.name,
        hint=f"Its file: {path}" if path else None,
    )


def _file_of(module: str, spec: ZooSpec) -> str | None:
    """The file that a module of a zoo is to be imported from."""
    found = locate(module, [spec.root]) if spec.holds(module) else None
    if found is None or found[1].endswith(".py"):
        return found and found[1]
    return os.path.join(found[1], "__init__.py")


def _probe(spec: ZooSpec, module: str) -> dict[str, Any]:
    from holotype.catalog.probe import probe

    return probe(spec, module)
