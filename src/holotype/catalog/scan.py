"""Read what one Python file registers, without importing it.

`scan` turns source text into *facts*: plain JSON values that depend on nothing but that text, so they can
be cached by content. Who `register_model` really is, and what a base class in another file brings, is for
`holotype.catalog.link` to find out.

Names are written as *symbols*, relative to the file:

- ``torch.nn.Module``: imported, absolute;
- ``.registry.register_model``, ``..base.Base``: imported, relative (one dot a level);
- ``:Name``: defined in this file;
- ``?name``: from a star import, or a builtin;
- ``holotype.zoo().register_model``: ``()`` stands for a call.
"""

from __future__ import annotations

import ast
import re
import warnings

from holotype.catalog.values import NotLiteral

TYPE_CHECKING = False  # as `typing` has it, without importing it: a look at an edited file pays for this
if TYPE_CHECKING:
    from typing import Any

    Facts = dict[str, Any]

ORDER = "MODEL_ORDER"
_GUESS = re.compile(r"""register_model\(\s*(?:name\s*=\s*)?["']([^"'\n]+)["']""")


def scan(source: bytes) -> Facts:
    """The facts of one file.

    Args:
        source: the file's bytes; an encoding cookie or BOM is honoured.

    Returns:
        A dict of JSON values:

        - ``error``: ``[line, message]`` if the file is not Python, and ``guess``: names it seems to register;
        - ``names``: what each module-level name is, as a symbol; ``stars``: star-imported modules;
        - ``first``: the names in ``MODEL_ORDER``, with which a zoo begins its registration order;
        - ``needs``: ``[symbol, line]`` of each import that must succeed for the file to work;
        - ``classes``: bases, line, docstring, constructor, task, other attributes (None: not plain);
        - ``functions``: line, docstring, signature of decorated functions;
        - ``calls``: decorators and module-level calls that might register something;
        - ``hidden``: symbols called at import in a way that only running the file shows;
        - ``inner``: symbols called inside each module-level function and the methods of each class;
        - ``guess``: ``[symbol, name]`` of what seems to register a name, where only running it can tell.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in someone's file is not ours to report
            tree = ast.parse(source)
        return _Scanner().scan(tree)
    except SyntaxError as error:
        return _broken(source, error.lineno, f"syntax error: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return _broken(source, None, f"cannot be read as Python: {error or type(error).__name__}")


def _broken(source: bytes, line: int | None, message: str) -> Facts:
    text = source.decode("utf-8", errors="replace")
    guess = [name.lower() for name in dict.fromkeys(_GUESS.findall(text))]
    return {"error": [line, message], "guess": guess}


class _Scanner:
    """One pass over a module's statements in the order in which they run."""

    def __init__(self) -> None:
        self.names: dict[str, str | None] = {}
        self.forked: set[str] = set()
        self.stars: list[str] = []
        self.first: list[str] = []
        self.needs: list[list[Any]] = []
        self.classes: dict[str, Any] = {}
        self.functions: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        self.hidden: list[str] = []
        self.inner: dict[str, list[str]] = {}
        self.guess: list[list[str]] = []

    def scan(self, tree: ast.Module) -> Facts:
        self.block(tree.body, sure=True)
        facts = {
            "names": {name: symbol for name, symbol in self.names.items() if symbol},
            "stars": self.stars,
            "first": self.first,
            "needs": self.needs,
            "classes": self.classes,
            "functions": self.functions,
            "calls": self.calls,
            "hidden": list(dict.fromkeys(self.hidden)),
            "inner": {name: symbols for name, symbols in self.inner.items() if symbols},
            "guess": self.guess,
        }
        return {key: value for key, value in facts.items() if value}

    # -- statements ------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt], *, sure: bool, needed: bool = True) -> None:
        """Statements that run at import.

        Args:
            body: the statements.
            sure: they run exactly once; otherwise what they register is left to a trial import.
            needed: a failing import in them makes the file fail.
        """
        for node in body:
            self.statement(node, sure=sure, needed=needed and sure)

    def statement(self, node: ast.stmt, *, sure: bool, needed: bool) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    self.names[alias.asname or root] = alias.name if alias.asname else root
                    if needed:
                        self.needs.append([alias.name, node.lineno])
            case ast.ImportFrom():
                self.import_from(node, needed=needed)
            case ast.ClassDef():
                self.class_def(node, sure=sure)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function_def(node, sure=sure)
            case ast.Assign():
                self.look_inside(node.value)
                for target in node.targets:
                    self.bind(target, node.value)
                    if sure and _is_name(target, ORDER):
                        self.first = _names_in(node.value)
            case ast.AnnAssign():
                if node.value is not None:
                    self.look_inside(node.value)
                    self.bind(node.target, node.value)
            case ast.Expr(value=ast.Call() as call) if sure:
                self.bare_call(call)
            case ast.If():
                self.if_statement(node, sure=sure, needed=needed)
            case ast.Try() | ast.TryStar():
                self.block(node.body, sure=False)
                before = dict(self.names)
                for handler in node.handlers:
                    self.block(handler.body, sure=False)
                self.names.update(before)  # what the `try` part binds is what one hopes for
                self.block(node.orelse, sure=False)
                self.block(node.finalbody, sure=False)
            case ast.Delete():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.names.pop(target.id, None)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.stmt):
                        self.statement(child, sure=False, needed=False)
                    elif isinstance(child, ast.match_case):
                        self.block(child.body, sure=False)
                    else:
                        self.look_inside(child)
                        for name in ast.walk(child):
                            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                                self.names[name.id] = None

    def import_from(self, node: ast.ImportFrom, *, needed: bool) -> None:
        base = "." * node.level + (node.module or "")
        for alias in node.names:
            symbol = base + alias.name if base.endswith(".") else f"{base}.{alias.name}"
            if alias.name == "*":
                self.stars.append(base)
            else:
                self.names[alias.asname or alias.name] = symbol
        if needed:
            self.needs.append([base, node.lineno])

    def if_statement(self, node: ast.If, *, sure: bool, needed: bool) -> None:
        test, negated = node.test, False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, negated = test.operand, True
        if (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
            isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
        ):
            typing_only, real = (node.orelse, node.body) if negated else (node.body, node.orelse)
            for statement in typing_only:
                # Such imports define what a name is; nothing else in there ever runs.
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    self.statement(statement, sure=sure, needed=False)
            self.block(real, sure=sure, needed=needed)
            return
        script = _asks_for_script(test)
        if script is not None:
            self.block(node.orelse if script != negated else node.body, sure=sure, needed=needed)
            return
        self.look_inside(test)
        before = dict(self.names)
        self.block(node.body, sure=False)
        one, self.names = self.names, before
        self.block(node.orelse, sure=False)
        self.either(one)

    def either(self, one: dict[str, str | None]) -> None:
        """Join the names of two branches. A file in which a name may be one of two decorators is imported."""
        for name, symbol in one.items():
            other = self.names.get(name)
            if name in self.names and symbol != other:
                possible = [known for known in (symbol, other) if known]
                self.hidden += possible
                self.forked.update(possible)
            self.names[name] = other or symbol

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Name(), _:
                self.names[target.id] = self.symbol(value)
            case ((ast.Tuple() | ast.List()), (ast.Tuple() | ast.List())) if len(target.elts) == len(
                value.elts
            ):
                for one, its in zip(target.elts, value.elts, strict=True):
                    self.bind(one, its)
            case ((ast.Tuple() | ast.List()), _):
                for one in target.elts:
                    if isinstance(one, ast.Name):
                        self.names[one.id] = None

    # -- definitions -----------------------------------------------------------------------------

    def class_def(self, node: ast.ClassDef, *, sure: bool) -> None:
        symbols = [symbol for base in node.bases if (symbol := self.symbol(_unsubscripted(base)))]
        facts: dict[str, Any] = {"line": node.lineno, "bases": symbols}
        again = self.defined_again(node)
        if doc := ast.get_docstring(node, clean=False):  # cleaning it imports `inspect`, for 5 ms
            facts["doc"] = doc
        if node.keywords or len(symbols) < len(node.bases) or not sure or not self.forked.isdisjoint(symbols):
            facts["opaque"] = True
        inner: list[str] = []
        for item in node.body:
            match item:
                case ast.FunctionDef(name="__init__"):
                    facts["init"] = signature(item.args, item, skip_first=True)
                case (
                    ast.FunctionDef(name="__new__")
                    | ast.If()
                    | ast.Try()
                    | ast.With()
                    | ast.For()
                    | ast.While()
                ):
                    facts["opaque"] = True
                case ast.Assign() if any(_is_name(target, "__init__") for target in item.targets):
                    facts["opaque"] = True
                case ast.Assign(targets=[ast.Name(id="task")]) | ast.AnnAssign(target=ast.Name(id="task")):
                    if item.value is not None:
                        facts["task"] = self.encode_or_symbol(item.value)
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    value = item.value.value if isinstance(item.value, ast.Constant) else None
                    if item.value is not None:
                        facts.setdefault("attributes", {})[name] = value if is_plain(value) else None
            if isinstance(item, (ast.ClassDef, ast.FunctionDef)):
                for decorator in item.decorator_list:
                    self.note(decorator)
            if isinstance(item, ast.FunctionDef):
                inner += self.calls_inside(item)
        self.inner[node.name] = list(dict.fromkeys(inner))
        self.decorated(node, "class", facts, sure=sure and not again)
        self.names[node.name] = f":{node.name}"
        self.classes[node.name] = facts

    def function_def(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, sure: bool) -> None:
        again = self.defined_again(node)
        self.inner[node.name] = list(dict.fromkeys(self.calls_inside(node)))
        if node.decorator_list:
            facts: dict[str, Any] = {"line": node.lineno, "init": signature(node.args, node)}
            if doc := ast.get_docstring(node, clean=False):
                facts["doc"] = doc
            self.decorated(node, "function", facts, sure=sure and not again)
            self.functions[node.name] = facts
        self.names[node.name] = f":{node.name}"

    def defined_again(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Does a second definition take this name? Then facts, kept by name, do not distinguish the two."""
        earlier = self.classes.get(node.name) or self.functions.get(node.name)
        if earlier is None:
            return False
        self.hidden += [symbol for symbol in earlier.get("decorators", ()) if symbol != "?"]
        return True

    def calls_inside(self, node: ast.AST) -> list[str]:
        """Symbols of what a function, and whatever is defined in it, calls or is decorated with."""
        inner = []
        for child in ast.walk(node):
            if child is not node and isinstance(child, (ast.ClassDef, ast.FunctionDef)):
                inner += [s for d in child.decorator_list if (s := self.callee(d))]
            elif isinstance(child, ast.Call) and (symbol := self.symbol(child.func)):
                inner.append(symbol)
        return inner

    def decorated(
        self,
        node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
        kind: str,
        facts: Facts,
        *,
        sure: bool,
    ) -> None:
        # Decorators run from the bottom to the top.
        symbols = []
        for decorator in reversed(node.decorator_list):
            symbol = self.callee(decorator)
            symbols.append(symbol or "?")
            if symbol is None:
                self.look_inside(decorator)
            elif not sure:
                self.note(decorator)
            elif isinstance(decorator, ast.Call):
                self.call(symbol, decorator, target=node.name, kind=kind)
            else:
                self.calls.append(
                    {
                        "func": symbol,
                        "line": decorator.lineno,
                        "target": node.name,
                        "kind": kind,
                        "bare": True,
                    }
                )
        if symbols:
            facts["decorators"] = symbols

    def callee(self, decorator: ast.expr) -> str | None:
        return self.symbol(decorator.func if isinstance(decorator, ast.Call) else decorator)

    def bare_call(self, call: ast.Call) -> None:
        # `register_model("x")(Cls)` decorates, too.
        if isinstance(call.func, ast.Call) and len(call.args) == 1 and not call.keywords:
            symbol = self.symbol(call.func.func)
            target = self.symbol(call.args[0])
            if symbol and target and target.startswith(":"):
                kind = "class" if target[1:] in self.classes else "function"
                self.call(symbol, call.func, target=target[1:], kind=kind)
                return
        if isinstance(call.func, ast.Call):
            self.note(call.func)
            self.look_inside(call)
        elif symbol := self.symbol(call.func):
            self.call(symbol, call)
            for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
                self.look_inside(argument)
        else:
            self.look_inside(call)

    def call(self, symbol: str, node: ast.Call, **target: str) -> None:
        fact: dict[str, Any] = {"func": symbol, "line": node.lineno, **target}
        try:
            if any(keyword.arg is None for keyword in node.keywords):
                raise NotLiteral
            fact["args"] = [self.encode(argument) for argument in node.args]
            fact["kwargs"] = {str(keyword.arg): self.encode(keyword.value) for keyword in node.keywords}
        except NotLiteral:
            fact["running"] = True
            self.guess_name(symbol, node)
        self.calls.append(fact)

    def look_inside(self, node: ast.AST) -> None:
        """Note every call in an expression that runs at import."""
        inside = [node]
        while inside:  # no recursion: a sum may have thousands of terms
            node = inside.pop()
            if isinstance(node, (ast.Lambda, ast.FunctionDef)):
                continue
            if isinstance(node, ast.Call):
                self.note(node.func if isinstance(node.func, ast.Call) else node)
                self.handed_on(node)
            inside.extend(ast.iter_child_nodes(node))

    def handed_on(self, call: ast.Call) -> None:
        """Note the function in ``partial(register_model, …)``: what it registers, only running can tell."""
        if (
            call.args
            and self.symbol(call.func) == "functools.partial"
            and (symbol := self.symbol(call.args[0]))
        ):
            self.hidden.append(symbol)

    def note(self, callee: ast.expr) -> None:
        """Note a decorator or a call that runs at import in a way that cannot be followed."""
        symbol = self.callee(callee)
        if symbol is None:
            return
        self.hidden.append(symbol)
        if isinstance(callee, ast.Call):
            self.guess_name(symbol, callee)

    def guess_name(self, symbol: str, call: ast.Call) -> None:
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
            self.guess.append([symbol, call.args[0].value])

    # -- expressions -----------------------------------------------------------------------------

    def symbol(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                return self.names.get(name, f"?{name}")
            case ast.Attribute(value=value, attr=attr):
                base = self.symbol(value)
                return f"{base}.{attr}" if base else None
            case ast.Call(func=func):
                base = self.symbol(func)
                return f"{base}()" if base else None
        return None

    def encode_or_symbol(self, node: ast.expr) -> Any:
        """A literal as a JSON value; the symbol of nothing known where only running it could tell."""
        try:
            return self.encode(node)
        except NotLiteral:
            return {"$symbol": "?"}

    def encode(self, node: ast.expr) -> Any:
        """A literal as a JSON value; names stay symbols for the linker.

        Raises:
            NotLiteral: only running it could tell.
        """
        match node:
            case ast.Constant(value=value) if isinstance(value, (str, int, float, type(None))):
                if isinstance(value, int) and value.bit_length() > 4096:
                    raise NotLiteral  # more digits than JSON, or anyone, can use
                return value
            case ast.List():
                return [self.encode(item) for item in node.elts]
            case ast.Tuple():
                return {"$tuple": [self.encode(item) for item in node.elts]}
            case ast.Set():
                return {"$set": [self.encode(item) for item in node.elts]}
            case ast.Dict():
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                if len(keys) < len(node.keys) or not all(isinstance(key, str) for key in keys):
                    raise NotLiteral
                return {"$dict": {str(k): self.encode(v) for k, v in zip(keys, node.values, strict=True)}}
            case ast.UnaryOp(op=ast.USub()) | ast.UnaryOp(op=ast.UAdd()):
                value = self.encode(node.operand)
                if isinstance(value, (int, float)):
                    return -value if isinstance(node.op, ast.USub) else value
            case ast.Name() | ast.Attribute():
                symbol = self.symbol(node)
                if symbol and not symbol.endswith("()"):
                    return {"$symbol": symbol}
        raise NotLiteral


def is_plain(value: object) -> bool:
    """Is it a class attribute that the catalog keeps: a truth value, a whole number or a text?"""
    return isinstance(value, (bool, int, str))


def _names_in(node: ast.expr) -> list[str]:
    """The texts in a list or tuple."""
    items = node.elts if isinstance(node, (ast.List, ast.Tuple)) else []
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _asks_for_script(test: ast.expr) -> bool | None:
    """True for ``__name__ == "__main__"``, False for its opposite, None for any other question."""
    match test:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, (ast.Eq, ast.NotEq)):
            main = [isinstance(side, ast.Constant) and side.value == "__main__" for side in (left, right)]
            if any(main) and any(_is_name(side, "__name__") for side in (left, right)):
                return isinstance(op, ast.Eq)
    return None


def _unsubscripted(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Subscript) else node


def signature(arguments: ast.arguments, node: ast.AST, *, skip_first: bool = False) -> dict[str, Any]:
    """The facts of a signature.

    Args:
        arguments: of the function.
        node: the function itself, in which ``super().__init__(**kwargs)`` is looked for.
        skip_first: leave out `self`.

    Returns:
        ``params``: ``[name, annotation, default source or None, literal default or None, kind]`` each, with
        kind ``"p"`` (positional only), ``"n"`` or ``"k"`` (keyword only); ``open``: it takes any keyword;
        ``passes``: those are handed on to the base class, except the names in this list.
    """
    params: list[list[Any]] = []
    positional = [(argument, "p") for argument in arguments.posonlyargs]
    positional += [(argument, "n") for argument in arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    both = list(zip(positional, defaults, strict=True))[1 if skip_first else 0 :]
    both += [((a, "k"), d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    for (argument, kind), default in both:
        annotation = ast.unparse(argument.annotation) if argument.annotation else None
        if isinstance(argument.annotation, ast.Constant) and isinstance(argument.annotation.value, str):
            annotation = argument.annotation.value
        source = ast.unparse(default) if default is not None else None
        literal = None
        if default is not None:
            try:
                literal = _Scanner().encode(default)
            except NotLiteral:
                literal = None
            if isinstance(literal, dict) and "$symbol" in literal:
                literal = None
        params.append([argument.arg, annotation, source, literal, kind])
    facts: dict[str, Any] = {"params": params}
    if arguments.kwarg is not None:
        facts["open"] = True
        passed = _passed_to_base(node, arguments.kwarg.arg)
        if passed is not None:
            facts["passes"] = passed
    return facts


def _passed_to_base(node: ast.AST, kwargs: str) -> list[str] | None:
    """The names given besides ``**kwargs`` in ``super().__init__(…, **kwargs)``.

    None without such a call, and where anything else is done with `kwargs`: some may be taken out or put in.
    """
    calls, uses = [], 0
    for child in ast.walk(node):
        if isinstance(child, ast.Call):
            calls.append(child)
        elif _is_name(child, kwargs):
            uses += 1
    if uses != 1:
        return None
    for call in calls:
        match call.func:
            case ast.Attribute(attr="__init__", value=ast.Call(func=ast.Name(id="super"))):
                handed_on = any(
                    keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == kwargs
                    for keyword in call.keywords
                )
                if handed_on and not call.args:
                    return [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    return None
