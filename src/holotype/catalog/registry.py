"""The registry: names in, code out.

One `Registry` is the default; `Zoo` is a view of one zoo of it. Both offer the functions of `Surface`.
Nothing here imports torch, or any model file, until a network is built.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock  # `threading` costs 4 ms, and this is what it hands out

from holotype.catalog.entries import Catalog, Entry, zoo_for_module
from holotype.catalog.surface import Surface
from holotype.catalog.zoos import (
    SESSION,
    NotFound,
    ZooSpec,
    find_zoos,
    import_path,
    is_probing,
    locate,
    named_zoo,
)
from holotype.errors import BrokenModelError, DuplicateNameError, UnknownModelError, UnknownZooError
from holotype.names import check_name, nearest, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from holotype.records import ModelInfo, PretrainedMetadata, ZooInfo


class Registry(Surface):
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
        found = named_zoo(module, name, [".", *import_path()], "add_zoo", "code")
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

    def _zoo_of(self, module: str, scope: str | None, *, defined: bool = False) -> str:
        """A registration belongs to the zoo that its module is part of; else to the view it came through.

        But what is `defined` in a package of its own (a class, a function) belongs to that package, and is
        seen through the view, if the view is of a zoo that has files.
        """
        specs = self._zoo_specs()
        for spec in specs:
            if spec.holds(module):
                return spec.name
        if scope is not None and not (defined and any(spec.name == scope for spec in specs)):
            return scope
        return zoo_for_module(module, scope or SESSION)

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
        from holotype.catalog.zoo_files import environment

        with self._lock, self._get_index() as index:
            specs, lost = find_zoos(self._extra, index) if self.discovers else (list(self._extra), [])
            self._specs = specs
            snapshots = [] if is_probing() else [index.look(spec) for spec in specs]
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
            if self._catalog is None:
                return self._look()
            if self._catalog_of[0] != self._version:
                self._catalog = self._catalog.joined_with(list(self._live.values()))
                self._catalog_of = (self._version, *self._catalog_of[1:])
            return self._catalog

    def _is_fresh(self, entry: Entry) -> bool:
        """Is what is known of an entry sure to be what its file says now? One look at one file."""
        if entry.problem is not None:
            return False
        with self._lock:  # the index may have to look, and its connection is for one thread at a time
            spec = self._spec_of(entry)
            return spec is None or bool(
                self._get_index().known(spec).holds(entry.module, entry.detail.get("path"))
            )

    def look_no_further(self) -> None:
        """From now on, tell of other people's zoos only what earlier looks saw: read and run no file."""
        with self._lock:
            self._get_index().remembers_only = True

    def refresh(self) -> None:
        """Forget what was read from files, and read them anew; also try failed imports again."""
        with self._lock:
            self._get_index().forget(self._zoo_specs())
            self._catalog = None
            self._look()

    def _get_index(self) -> Any:
        if self._index is None:
            from holotype.catalog.index import Index

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
            if other is not None and not other.imported() and self._of_a_file(other):
                other = None  # left by an import that failed
            if not is_probing():
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
            current = self._catalog.in_table(table, entry.zoo, entry.name) if self._catalog else None
            if current is None or current.from_session or current.identity() != identity:
                self._version += 1  # an import that says what the index says changes nothing

    def _of_a_file(self, entry: Entry) -> bool:
        return any(spec.name == entry.zoo and spec.holds(entry.module) for spec in self._zoo_specs())

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
        """What the import of one module registered, as the index keeps it (for `holotype.catalog.probe`)."""
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
            found = catalog.known(zoo or entry.zoo, short) or catalog.known(None, short)
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
            if live is None and self is not default_registry:  # there its decorator puts it
                known = default_registry._live.values()
                live = next((e for e in known if (e.name, e.module) == (entry.name, entry.module)), None)
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
        networks = catalog.known(entry.network_zoo, entry.network or "")
        return entry.pretrained(task=networks[0].task if networks else None)

    def _count_of(self, entry: Entry) -> int | None:
        with self._lock:
            spec = self._spec_of(entry)
            return entry.counted if spec is None else self._get_index().counts(spec).get(entry.name)

    def _remember_count(self, entry: Entry, count: int) -> None:
        with self._lock:
            spec = self._spec_of(entry)
            if spec is None:
                entry.counted = count
            else:
                self._get_index().remember_count(spec, entry.name, count)

    def _spec_of(self, entry: Entry) -> ZooSpec | None:
        """The zoo whose files have an entry; None for what only this process knows."""
        if entry.from_session or is_probing():
            return None
        return next((spec for spec in self._zoo_specs() if spec.name == entry.zoo), None)


class Zoo(Surface):
    """One zoo of a registry: the same functions, and names need no zoo in front of them."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._scope = name
        self.name = name

    def __repr__(self) -> str:
        return f"<Zoo {self.name!r}>"


def _file_of(module: str, spec: ZooSpec) -> str | None:
    """The file that a module of a zoo is to be imported from."""
    found = locate(module, [spec.root]) if spec.holds(module) else None
    if found is None or found[1].endswith(".py"):
        return found and found[1]
    return os.path.join(found[1], "__init__.py")


def _probe(spec: ZooSpec, module: str) -> dict[str, Any]:
    from holotype.catalog.probe import probe

    return probe(spec, module)


default_registry: Registry = Registry(discover=True)
