"""The suite as pytest sees it: one class, one test for each check and architecture."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import MissingExtraError
from holotype.names import nearest
from holotype.testing.checks import checks_of, saves_and_loads, untouched
from holotype.testing.formats import round_trips
from holotype.testing.snapshots import check_stale, compare
from holotype.testing.subjects import ConformanceError, Subject, subjects

if TYPE_CHECKING:
    from holotype.catalog.registry import Zoo
    from holotype.testing.subjects import ExampleInputs


def conformance(
    zoo: str | Zoo,
    *,
    snapshots: str | Path = "snapshots",
    example_inputs: ExampleInputs | None = None,
    known_failures: Mapping[str, Mapping[str, str]] | None = None,
    names: Iterable[str] | None = None,
) -> type:
    """The conformance suite of a zoo, as a class that pytest collects.

        from holotype.testing import conformance
        TestConformance = conformance("src.model")

    Args:
        zoo: its name, or a package that registers architectures, or a zoo itself.
        snapshots: the folder of its snapshots, relative to the file that calls.
        example_inputs: a function of (network, batch size) that returns a tuple of arguments, for zoos
            whose classes have no method `example_inputs(batch)` and no task that the suite knows.
        known_failures: by architecture, the checks that are expected to fail, each with the reason:
            ``{"old_net": {"builds_on_meta": "reads a table in its constructor"}}``. One that passes fails.
        names: only these architectures; for a zoo with many names of few classes.

    Returns:
        A class with a method for each check, parametrised over the architectures that it applies to.

    Raises:
        UnknownZooError: no such zoo.
        ConformanceError: it has no architectures, or `known_failures` names what is not there.
        MissingExtraError: pytest or torch is not installed.
    """
    _require("pytest")
    _require("torch")
    folder = Path(sys._getframe(1).f_code.co_filename).resolve().parent / snapshots
    found = subjects(zoo, example_inputs=example_inputs, names=names)
    view = found[0].zoo
    cases: dict[str, list[tuple[str, Callable[[], None]]]] = {}
    for subject in found:
        for name, run in _runs(subject, folder):
            check = name.partition("-")[0]
            cases.setdefault(check, []).append((subject.name + name[len(check) :], run))
    expected = _expected(known_failures or {}, found, cases)
    methods = {f"test_{check}": _test(check, runs, expected) for check, runs in cases.items()}
    methods["test_zoo_can_be_read"] = lambda self: _call(lambda: _can_be_read(view))
    methods["test_zoo_has_no_stale_snapshots"] = lambda self: _call(lambda: check_stale(view, found, folder))
    body: dict[str, Any] = {"__doc__": f"The conformance of the zoo {view.name!r}.", **methods}
    return type("Conformance", (), body)


def _runs(subject: Subject, folder: Path) -> list[tuple[str, Callable[[], None]]]:
    """The checks of one architecture; what follows a dash in a name becomes a part of the test's id."""
    runs: list[tuple[str, Callable[[], None]]] = [
        (check.__name__, partial(check, subject)) for check in checks_of(subject)
    ]
    if subject.problem is None:
        runs.append(("snapshot", partial(compare, subject, folder)))
        for format in round_trips():
            runs.append((f"saves_and_loads-{format}", partial(saves_and_loads, subject, format)))
    return runs


def _test(
    check: str, runs: list[tuple[str, Callable[[], None]]], expected: Mapping[tuple[str, str], str]
) -> Callable[..., None]:
    import pytest

    def test(self: object, run: Callable[[], None]) -> None:
        __tracebackhide__ = True
        _call(run)

    parameters = []
    for name, run in runs:
        reason = expected.get((name.rpartition("-")[0] if check == "saves_and_loads" else name, check))
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
        parameters.append(pytest.param(run, id=name, marks=marks))
    marked: Callable[..., None] = pytest.mark.parametrize("run", parameters)(test)
    marked.__name__ = f"test_{check}"
    return marked


def _call(run: Callable[[], None]) -> None:
    __tracebackhide__ = True
    import pytest

    try:
        with untouched():
            run()
    except ConformanceError as error:
        if isinstance(error.__cause__, MissingExtraError):
            pytest.skip(str(error.__cause__))
        if error.__cause__ is not None:
            raise  # its traceback leads into the network
        pytest.fail(str(error), pytrace=False)


def _expected(
    known_failures: Mapping[str, Mapping[str, str]],
    found: list[Subject],
    cases: Mapping[str, list[tuple[str, Callable[[], None]]]],
) -> dict[tuple[str, str], str]:
    names = [subject.name for subject in found]
    expected = {}
    for name, reasons in known_failures.items():
        if name not in names:
            raise ConformanceError(
                f"known_failures names {name!r}, which is not an architecture of this zoo.",
                given=name,
                nearest=nearest(name, names),
            )
        for check, reason in reasons.items():
            if check not in cases:
                raise ConformanceError(
                    f"known_failures of {name!r} names {check!r}, which is not a check.",
                    given=check,
                    nearest=nearest(check, cases),
                    hint=f"The checks are {', '.join(cases)}.",
                )
            expected[name, check] = reason
    return expected


def _can_be_read(view: Zoo) -> None:
    problems = view.list_problems()
    if problems:
        raise ConformanceError(
            f"parts of the zoo {view.name!r} cannot be used:\n" + "\n".join(f"  {p}" for p in problems)
        )


def _require(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        extra = "pytest" if package == "pytest" else '"holotype[torch]"'
        raise MissingExtraError(
            f"the conformance suite needs {package}, which is not installed.",
            given=package,
            hint=f"Install it: pip install {extra}",
        )
