"""Turn the facts of files into what they register: follow names from file to file.

A decorator is Holotype's if its name leads to ``holotype.…register_model``, however often it was imported
again or renamed on the way. The registering methods of a ``Registry()`` of one's own are not: what they
register belongs to that registry alone.

Every module whose facts were asked for is noted (also one that does not exist), so that a change to it, and
only that, makes a file be linked again.
"""

from __future__ import annotations

import sys

from holotype.catalog.values import NotLiteral, decode, encode
from holotype.catalog.zoos import HOLOTYPE_ROOT, is_other_module, locate
from holotype.errors import HolotypeError, MetadataError
from holotype.first_party import FIRST_PARTY
from holotype.names import check_name, is_name, nearest

TYPE_CHECKING = False  # as `typing` has it, without importing it: a look at an edited file pays for this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from holotype.catalog.scan import Facts

REGISTERING = frozenset({"register_model", "register_model_config", "register_weights", "register_alias"})
# Packages that Holotype's own extras install: a missing one is named when it is needed, and hides nothing.
OUR_EXTRAS = frozenset({"holotype", "torch", "numpy", "PIL", "yaml", "safetensors"})
_OBJECT = "?object"
# Bases that take no arguments of a constructor.
_NO_CONSTRUCTOR = frozenset(
    {"abc.ABC", "typing.Generic", "typing.Protocol", "collections.abc.Callable"}
    | {"torch.nn.Module", "torch.nn.modules.Module", "torch.nn.modules.module.Module"}
)
_HARMLESS = frozenset({"typing.final", "typing_extensions.final", "typing.runtime_checkable"})
_STDLIB = sys.stdlib_module_names
# Fields of `ModelInfo` that are not registered.
_RESERVED = frozenset(
    {"zoo", "kind", "class_name", "class_attributes", "module", "file", "line", "docstring"}
    | {"parameters", "open_parameters"}
    | {"pretrained", "aliases", "problem", "metadata"}
)
_FIELDS = frozenset({"name", "task", "description", "features", "complexity", "replace"})


class Source:
    """One file of a zoo."""

    __slots__ = ("facts", "is_package", "module", "path")

    def __init__(self, module: str, path: str, is_package: bool, facts: Facts) -> None:
        self.module, self.path, self.is_package, self.facts = module, path, is_package, facts

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.module if self.is_package else self.module.rpartition(".")[0]


class Linked:
    """What one file contributes.

    Attributes:
        entries: JSON values, one a registration.
        problems: ``[line, message, names]`` each.
        deps: modules whose facts mattered.
        running: the file has to be imported to know; `entries` is what could be read without.
        guess: names that it seems to register, and that only importing it can confirm.
        needs: ``root:line`` of packages outside the standard library that its import asks for.
    """

    __slots__ = ("deps", "entries", "guess", "needs", "problems", "running")

    def __init__(
        self,
        entries: list[dict[str, Any]],
        problems: list[list[Any]],
        deps: list[str],
        running: bool,
        needs: str,
        guess: list[str],
    ) -> None:
        self.entries, self.problems, self.deps = entries, problems, deps
        self.running, self.needs, self.guess = running, needs, guess

    def replace_by(self, outcome: dict[str, Any]) -> bool:
        """Take what a trial import registered instead of what was read; True if the import failed."""
        if outcome.get("error"):
            line, message = outcome["error"]
            names = list(dict.fromkeys([*(entry["name"] for entry in self.entries), *self.guess]))
            self.problems.append([line, message, names])
            return True
        self.deps = sorted({*self.deps, *outcome.get("modules", ())})
        self.entries = outcome["entries"]
        return False


class Definition:
    """A class or function that a file which can be followed defines.

    Attributes:
        source: the file.
        name: in it.
        is_class: it is a class; otherwise a function, or an object of a class with that name.
    """

    __slots__ = ("is_class", "name", "source")

    def __init__(self, source: Source, name: str, *, is_class: bool) -> None:
        self.source, self.name, self.is_class = source, name, is_class


class _Symbol(Exception):
    pass


class Linker:
    """Links one file at a time.

    Args:
        source_of: a module's `Source`, or None if it is not among the files that may be followed.
    """

    def __init__(self, source_of: Callable[[str], Source | None]) -> None:
        self._source_of = source_of
        self._deps: set[str] = set()
        self._constructed: dict[tuple[str, str], bool] = {}

    def link(self, source: Source) -> Linked:
        """What `source` registers, in its order."""
        self._deps = set()
        self._constructed = {}
        facts = source.facts
        entries: list[dict[str, Any]] = []
        problems: list[list[Any]] = []
        refused: list[list[Any]] = []
        guess: list[str] = []
        running = False
        if "error" in facts:
            line, message = facts["error"]
            problems.append([line, message, list(filter(is_name, facts.get("guess", [])))])
        elif "table" in facts:
            self._table(source, entries, problems)
        else:
            for call in facts.get("calls", ()):
                kind = self._registers(source, call["func"])
                if kind == "inside":
                    running = True
                elif kind:
                    try:
                        entries.append(self._entry(source, kind, call))
                        entries[-1]["via"] = self._view(source, call["func"])
                    except (NotLiteral, _Symbol):
                        running = True
                    except HolotypeError as error:
                        refused.append([call["line"], str(error)])
            running = running or any(self._registers(source, s) for s in facts.get("hidden", ()))
            guess = [
                name.lower()
                for symbol, name in facts.get("guess", ())
                if is_name(name.lower()) and self._registers(source, symbol)
            ]
        refused += _misspelt(facts)
        missing = self._missing_sibling(source) if entries and not running else None
        # What is refused here is refused when the file is imported, and then none of it can be used.
        names = list(dict.fromkeys([*(entry["name"] for entry in entries), *guess]))
        problems += [[line, message, names] for line, message in [*refused, *([missing] if missing else [])]]
        needs: dict[str, int] = {}
        for symbol, line in facts.get("needs", ()):
            root = symbol.partition(".")[0]
            if (
                root
                and root not in _STDLIB
                and root not in OUR_EXTRAS
                and root != source.module.partition(".")[0]
            ):
                needs.setdefault(root, line)
        text = " ".join(f"{root}:{line}" for root, line in needs.items())
        return Linked(entries, problems, sorted(self._deps - {source.module}), running, text, guess)

    def imports(self, source: Source) -> set[str]:
        """The modules that an import of `source` imports, as far as they may be followed."""
        found: set[str] = set()
        todo = [source]
        while todo:
            home = todo.pop()
            symbols = [*home.facts.get("names", {}).values(), *home.facts.get("stars", ())]
            symbols += [symbol for symbol, _ in home.facts.get("needs", ())]
            for symbol in symbols:
                dotted = None if symbol.startswith((":", "?")) else _absolute(home, symbol)
                parts = dotted.split(".") if dotted else []
                for count in range(1, len(parts) + 1):
                    module = ".".join(parts[:count])
                    if module in found or module.startswith("holotype"):
                        continue
                    found.add(module)
                    if (more := self._source_of(module)) is not None:
                        todo.append(more)
        return found

    # -- names -----------------------------------------------------------------------------------

    def _source(self, module: str) -> Source | None:
        self._deps.add(module)
        return self._source_of(module)

    def _registers(self, source: Source, symbol: str, depth: int = 0) -> str | None:
        """The registering function that a symbol is; ``"inside"`` if calling it might register."""
        what = self._resolve(source, symbol)
        if isinstance(what, str):
            parts = what.split(".")
            if parts[0] == "holotype" and parts[-1] in REGISTERING and "Registry()" not in parts:
                return parts[-1]
        elif what is None:
            if symbol.rpartition(".")[2].lstrip("?") in REGISTERING:
                return "inside"  # whose it is, only running can tell
        elif not what.is_class and depth < 3:
            for inner in what.source.facts.get("inner", {}).get(what.name, ()):
                if self._registers(what.source, inner, depth + 1):
                    return "inside"
        return None

    def _view(self, source: Source, symbol: str) -> str | None:
        """The first-party zoo whose decorator a symbol is, if `source` is not part of that zoo."""
        what = self._resolve(source, symbol)
        parts = what.split(".") if isinstance(what, str) else []
        if parts[:1] != ["holotype"] or len(parts) < 2 or parts[1] not in FIRST_PARTY:
            return None
        return None if f"{source.module}.".startswith(f"holotype.{parts[1]}.") else parts[1]

    def _resolve(
        self, source: Source, symbol: str, seen: frozenset[tuple[str, str]] = frozenset()
    ) -> Definition | str | None:
        """What a symbol is.

        Returns:
            Its definition; the dotted name of what another package defines; None if that cannot be told.
        """
        if (source.module, symbol) in seen:  # files that import each other's names in a circle
            return None
        seen |= {(source.module, symbol)}
        if symbol.startswith(":"):
            name, _, rest = symbol[1:].partition(".")
            if name.endswith("()") and rest and "()" not in rest:
                # A method of an object that is made here: what any method of its class does.
                return Definition(source, name[:-2], is_class=False)
            if rest:
                return None
            return Definition(source, name, is_class=name in source.facts.get("classes", {}))
        if symbol.startswith("?"):
            foreign: str | None = None
            for star in reversed(source.facts.get("stars", ())):
                module = _absolute(source, star)
                found = self._dotted(f"{module}.{symbol[1:]}", seen) if module else None
                if isinstance(found, Definition) or (found is not None and _is_ours(found)):
                    return found
                foreign = foreign or found  # a module that cannot be read may hold any name
            return foreign
        dotted = _absolute(source, symbol)
        return self._dotted(dotted, seen) if dotted else None

    def _dotted(self, dotted: str, seen: frozenset[tuple[str, str]]) -> Definition | str | None:
        parts = dotted.split(".")
        if parts[0] == "holotype" and (
            len(parts) < 3 or parts[1] not in FIRST_PARTY or parts[-1] in REGISTERING
        ):
            return dotted
        for count in range(len(parts) - 1, 0, -1):
            home = self._source(".".join(parts[:count]))
            if home is None:
                continue
            name, rest = parts[count], "".join(f".{part}" for part in parts[count + 1 :])
            symbol = home.facts.get("names", {}).get(name)
            if symbol is not None:
                if symbol == f":{name}" and not rest:
                    return self._resolve(home, symbol, seen)
                return self._resolve(home, symbol + rest, seen)
            if home.facts.get("stars"):
                return self._resolve(home, f"?{name}{rest}", seen)
            return None
        return dotted

    def _class(self, source: Source, symbol: str) -> Definition | None:
        """The definition of a class; None if the symbol is anything else."""
        what = self._resolve(source, symbol)
        return what if isinstance(what, Definition) and what.is_class else None

    def _missing_sibling(self, source: Source) -> tuple[int, str] | None:
        """A relative import of a file that is not there."""
        for symbol, line in source.facts.get("needs", ()):
            if symbol.startswith(".") and symbol.strip("."):
                module = _absolute(source, symbol)
                if module is None or (
                    self._source(module) is None and not is_other_module(source.path, symbol)
                ):
                    return line, f"imports {symbol}, which does not exist"
        return None

    # -- entries ---------------------------------------------------------------------------------

    def _entry(self, source: Source, kind: str, call: Mapping[str, Any]) -> dict[str, Any]:
        if call.get("bare"):
            raise HolotypeError(
                f"@{kind} stands without a name on {call['target']}.",
                hint=f"Write @{kind}({call['target'].lower()!r}).",
            )
        if call.get("running"):
            raise NotLiteral
        symbols = sum(map(_is_class, [*call["args"], *call["kwargs"].values()]))
        if symbols and (kind != "register_model_config" or symbols > 1):
            raise NotLiteral
        args = [self._value(source, value) for value in call["args"] if not _is_class(value)]
        kwargs = {
            key: self._value(source, value) for key, value in call["kwargs"].items() if not _is_class(value)
        }
        classes = [v["$symbol"] for v in [*call["args"], *call["kwargs"].values()] if _is_class(v)]
        name = args.pop(0) if args else kwargs.pop("alias" if kind == "register_alias" else "name", None)
        base = {"module": source.module, "path": source.path, "line": call["line"]}
        if kind == "register_model":
            if args or "target" not in call:
                raise NotLiteral
            check_name(name, "model name")
            return self._model(source, call["kind"], call["target"], str(name), kwargs, base)
        if kind == "register_model_config":
            if len(classes) != 1 or args:
                raise NotLiteral
            check_name(name, "model name")
            config = kwargs.pop("config", None)
            kwargs.pop("cls", None)
            if not isinstance(config, dict):
                raise NotLiteral
            cls = self._class(source, classes[0])
            if cls is None:
                raise NotLiteral
            return self._config(cls, str(name), config, kwargs, base)
        if kind == "register_weights":
            metadata = args[0] if args else kwargs.pop("metadata", None)
            return self._weights(str(name), metadata, base) | {"replace": kwargs.get("replace") is True}
        target = args[0] if args else kwargs.pop("target", None)
        check_name(name, "alias")
        if not isinstance(target, str):
            raise NotLiteral
        return {
            "kind": "alias",
            "name": name,
            "target": target,
            "deprecated": kwargs.get("deprecated"),
            "replace": kwargs.get("replace") is True,
            **base,
        }

    def _model(
        self, source: Source, kind: str, target: str, name: str, kwargs: dict[str, Any], base: dict[str, Any]
    ) -> dict[str, Any]:
        place = "classes" if kind == "class" else "functions"
        facts = source.facts[place][target]
        task = kwargs.get("task")
        if kind == "class":
            task = task if task is not None else self._task(source, target)
            constructor = self._constructor(source, target)
        else:
            plain = all(self._registers(source, symbol) for symbol in facts.get("decorators", ()))
            constructor = facts["init"] if plain else None
        base["line"] = facts["line"]
        if task is not None:
            check_name(task, "task")
        return {
            "kind": "class" if kind == "class" else "builder",
            "name": name,
            "qualname": target,
            "task": str(task) if task is not None else None,
            "doc": facts.get("doc"),
            "attributes": self._attributes(source, target) if kind == "class" else {},
            "signature": constructor,
            **described(kwargs),
            **base,
        }

    def _config(
        self,
        cls: Definition,
        name: str,
        config: Mapping[str, Any],
        kwargs: Mapping[str, Any],
        base: dict[str, Any],
    ) -> dict[str, Any]:
        task = kwargs.get("task") or self._task(cls.source, cls.name)
        if task is not None:
            check_name(task, "task")
        constructor = self._constructor(cls.source, cls.name)
        if constructor is not None and not constructor["open"]:
            unknown = sorted(set(config) - {param[0] for param in constructor["params"]})
            if unknown:
                raise MetadataError(
                    f"the config of {name!r} has {', '.join(unknown)}, which {cls.name} does not take."
                )
        return {
            "kind": "config",
            "name": name,
            "qualname": cls.name,
            "class_module": cls.source.module,
            "task": str(task) if task is not None else None,
            "doc": cls.source.facts["classes"][cls.name].get("doc"),
            "attributes": self._attributes(cls.source, cls.name),
            "signature": constructor,
            "config": encode(dict(config)),
            **described(kwargs),
            **base,
        }

    def _weights(self, name: str, metadata: Any, base: dict[str, Any]) -> dict[str, Any]:
        from holotype.records import PretrainedMetadata

        record = PretrainedMetadata.parse(name, "zoo", metadata)
        return {
            "kind": "weights",
            "name": name,
            "task": record.task,
            "network": record.network.lower(),
            "metadata": encode(dict(metadata)),
            **base,
        }

    def _table(self, source: Source, entries: list[dict[str, Any]], problems: list[list[Any]]) -> None:
        """The rows of a `sizes.toml` (registered configs), a `pretrained.toml` or a `grammar.toml`."""
        package = source.module.rpartition(":")[0]
        if source.path.endswith("counts.toml"):
            return  # `_grammars` reads it
        if source.path.endswith("grammar.toml"):
            self._grammars(source, package, entries, problems)
            return
        for name, row in source.facts["table"].items():
            base = {"module": source.module, "path": source.path, "line": source.facts["lines"].get(name)}
            try:
                if not isinstance(row, dict):
                    raise HolotypeError(f"{name!r} is not a table; write [{name}].")
                if source.path.endswith("pretrained.toml"):
                    entries.append(self._weights(name, row, base))
                    continue
                row = dict(row)
                check_name(name, "model name")
                config = row.pop("config", {})
                cls = self._class_of(package, name, row)
                entries.append(self._config(cls, name, config, row, base))
            except HolotypeError as error:
                problems.append([base["line"], str(error), [name]])

    def _class_of(self, package: str, name: str, row: dict[str, Any]) -> Definition:
        """The class that a row of a table names; it is taken out of the row."""
        cls = row.pop("class", None)
        what = self._dotted(f"{package}.{cls}", frozenset())
        if not (isinstance(what, Definition) and what.is_class):
            raise HolotypeError(f"{name!r}: no class {cls!r} in {package}.", given=cls)
        return what

    def _grammars(
        self, source: Source, package: str, entries: list[dict[str, Any]], problems: list[list[Any]]
    ) -> None:
        """The rows of a `grammar.toml`: one entry for each listed name, and one for the family."""
        from holotype.catalog.grammar import KEYS, Grammar, families

        try:
            rows = families(source.facts["table"])
        except HolotypeError as error:
            problems.append([None, str(error), []])
            return
        counts = self._counts(package)
        for family, row in rows.items():
            base = {"module": source.module, "path": source.path, "line": source.facts["lines"].get(family)}
            try:
                check_name(family, "family")
                grammar = Grammar(family, row)
                words = {*KEYS, *grammar.tables}
                facts = {key: value for key, value in row.items() if key not in words}
                cls = self._class_of(package, family, facts)
                for name in grammar.listed:
                    config = grammar.config(name)
                    if config is None:
                        raise HolotypeError(f"{name!r} does not fit {grammar.form!r}.", given=name)
                    check_name(name, "model name")
                    known = {**facts, "description": grammar.described(name, facts.get("description", ""))}
                    if name in counts:
                        known["params"] = counts[name]
                    entries.append(self._config(cls, name, config, known, base))
                made = {**self._config(cls, family, {}, facts, base), "kind": "grammar"}
                entries.append({**made, "grammar": encode(row)})
            except HolotypeError as error:
                problems.append([base["line"], str(error), [family]])

    def _counts(self, package: str) -> Mapping[str, Any]:
        """The numbers of parameters that lie beside a `grammar.toml`: a name and a number a line."""
        counts = self._source(f"{package}:counts.toml")
        found: dict[str, Any] = {} if counts is None else counts.facts.get("table", {})
        return found

    def _value(self, source: Source, value: Any) -> Any:
        """Decode a literal; the one name that counts as a literal is a member of `Task`."""
        if isinstance(value, dict) and "$symbol" in value:
            what = self._resolve(source, value["$symbol"])
            parts = what.split(".") if isinstance(what, str) else []
            if parts[:1] == ["holotype"] and len(parts) >= 3 and parts[-2] == "Task" and parts[-1].isupper():
                return parts[-1].lower()
            raise _Symbol
        if isinstance(value, list):
            return [self._value(source, item) for item in value]
        if isinstance(value, dict):
            ((tag, inner),) = value.items()
            if tag == "$dict":
                return {key: self._value(source, item) for key, item in inner.items()}
            return (
                decode({tag: inner}) if tag == "$set" else tuple(self._value(source, item) for item in inner)
            )
        return value

    # -- classes ---------------------------------------------------------------------------------

    def _task(self, source: Source, name: str, seen: set[tuple[str, str]] | None = None) -> str | None:
        """The class attribute `task`, own or inherited.

        Raises:
            _Symbol: it is computed.
        """
        seen = set() if seen is None else seen
        if (source.module, name) in seen:  # also on another way through its bases: it said nothing there
            return None
        seen.add((source.module, name))
        facts = source.facts.get("classes", {}).get(name, {})
        if "task" in facts:
            value = self._value(source, facts["task"])
            return str(value) if isinstance(value, str) else None
        for base in facts.get("bases", ()):
            cls = self._class(source, base)
            task = self._task(cls.source, cls.name, seen) if cls is not None else None
            if task is not None:
                return task
        return None

    def _attributes(
        self, source: Source, name: str, found: dict[tuple[str, str], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """The class attributes that are plain, own or inherited; None for those that are not.

        Args:
            source: the file of the class.
            name: the class.
            found: those of the classes on the way, so that each is looked at once.
        """
        found = {} if found is None else found
        key = (source.module, name)
        if key not in found:
            found[key] = {}  # for classes that derive from each other in a circle
            facts = source.facts.get("classes", {}).get(name, {})
            inherited: dict[str, Any] = {}
            for base in reversed(facts.get("bases", ())):
                cls = self._class(source, base)
                if cls is not None:
                    inherited |= self._attributes(cls.source, cls.name, found)
            found[key] = inherited | facts.get("attributes", {})
        return found[key]

    def _constructor(
        self, source: Source, name: str, seen: frozenset[tuple[str, str]] = frozenset()
    ) -> dict[str, Any] | None:
        """The constructor's signature, own or inherited; None where the source cannot tell."""
        facts = source.facts.get("classes", {}).get(name)
        if facts is None or facts.get("opaque") or (source.module, name) in seen:
            return None
        seen |= {(source.module, name)}
        for symbol in facts.get("decorators", ()):
            if self._resolve(source, symbol) not in _HARMLESS and self._registers(source, symbol) is None:
                return None  # it may have put another class in this one's place
        if "init" in facts:
            own = facts["init"]
            if "passes" not in own:
                return {"params": own["params"], "open": own.get("open", False)}
            above = self._inherited(source, facts, seen)
            if above is None:
                return {"params": own["params"], "open": True}
            taken = {param[0] for param in own["params"]} | set(own["passes"])
            more = [[*param[:4], "k"] for param in above["params"] if param[0] not in taken]
            return {"params": own["params"] + more, "open": above["open"]}
        return self._inherited(source, facts, seen)

    def _inherited(
        self, source: Source, facts: Facts, seen: frozenset[tuple[str, str]]
    ) -> dict[str, Any] | None:
        found: list[Definition] = []
        for base in facts.get("bases", ()):
            what = self._resolve(source, base)
            if isinstance(what, Definition) and what.is_class:
                if self._has_constructor(what.source, what.name):
                    found.append(what)
            elif base != _OBJECT and what not in _NO_CONSTRUCTOR:
                return None
        if len(found) > 1:
            return None  # which one comes first, and to whom it hands on, is for Python's method order
        return (
            self._constructor(found[0].source, found[0].name, seen)
            if found
            else {"params": [], "open": False}
        )

    def _has_constructor(self, source: Source, name: str) -> bool:
        """False for a class that, like all its bases, leaves construction to `object` or `nn.Module`."""
        key = (source.module, name)
        if key not in self._constructed:
            self._constructed[key] = True  # what a class that is its own base comes to
            self._constructed[key] = self._constructs(source, name)
        return self._constructed[key]

    def _constructs(self, source: Source, name: str) -> bool:
        facts = source.facts.get("classes", {}).get(name, {})
        if "init" in facts or facts.get("opaque"):
            return True
        for base in facts.get("bases", ()):
            what = self._resolve(source, base)
            if isinstance(what, Definition) and what.is_class:
                if self._has_constructor(what.source, what.name):
                    return True
            elif base != _OBJECT and what not in _NO_CONSTRUCTOR:
                return True
        return False


def _misspelt(facts: Facts) -> list[list[Any]]:
    """Names that a file takes from Holotype and that Holotype does not have."""
    import holotype

    used = [(symbol, None) for symbol in facts.get("names", {}).values()]
    used += [(call["func"], call["line"]) for call in facts.get("calls", ())]
    found: dict[str, list[Any]] = {}
    for symbol, line in used:
        parts = symbol.split(".")
        if parts[0] == "holotype" and len(parts) == 2 and "()" not in symbol:
            name = parts[1]
            if name not in holotype.__all__ and locate(symbol, [HOLOTYPE_ROOT]) is None:
                close = nearest(name, holotype.__all__, count=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                found[name] = [line or found.get(name, [None])[0], f"holotype has no {name!r}{hint}"]
    return list(found.values())


def _absolute(source: Source, symbol: str) -> str | None:
    """A relative symbol as a dotted name; None if it leaves the top-level package."""
    level = len(symbol) - len(symbol.lstrip("."))
    if level == 0:
        return symbol
    package = source.package.split(".")
    if level > len(package) or not source.package:
        return None
    return ".".join([*package[: len(package) - level + 1], *filter(None, [symbol[level:]])])


def _is_ours(dotted: str) -> bool:
    return dotted == "holotype" or dotted.startswith("holotype.")


def _is_class(value: Any) -> bool:
    """Is an encoded argument a bare name other than a member of `Task`?"""
    return isinstance(value, dict) and "$symbol" in value and ".Task." not in value["$symbol"]


def described(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The descriptive fields of an entry, out of what was registered.

    Raises:
        MetadataError: a field of another type, or a key that means something else.
    """
    description, complexity = metadata.get("description"), metadata.get("complexity")
    features = metadata.get("features", ())
    features = [features] if isinstance(features, str) else features
    problems = [
        f"{key} is text, not {value!r:.60}"
        for key, value in (("description", description), ("complexity", complexity))
        if value is not None and not isinstance(value, str)
    ]
    if not isinstance(features, (list, tuple)) or not all(isinstance(item, str) for item in features):
        problems.append(f"features is a list of texts, not {features!r:.60}")
    problems += [
        f"{key} is a key of Holotype's own; choose another" for key in sorted(_RESERVED & set(metadata))
    ]
    params = metadata.get("params")
    if params is not None and type(params) is not int:
        problems.append(f"params is a whole number of parameters, not {params!r:.60}")
    if problems:
        raise MetadataError("; ".join(problems) + ".")
    return {
        "description": description or "",
        "features": list(features),
        "complexity": complexity,
        "replace": metadata.get("replace") is True,
        "metadata": encode({k: v for k, v in metadata.items() if k not in _FIELDS}),
    }
