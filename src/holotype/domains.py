"""Domains: what serves the models of some tasks completely. `holotype.first_party` names those that ship.

A domain is one object, `Domain`. `DOMAINS` maps each task to its address, ``"module:OBJECT"``, which is
imported when it is first used. An installed package adds a domain by an entry point for each task::

    [project.entry-points."holotype.domains"]
    tone_classification = "my_audio.domain:DOMAIN"
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from holotype.entry_points import entry_points, resolve
from holotype.first_party import FIRST_PARTY
from holotype.options import Options
from holotype.text import in_one_line

DOMAINS: Mapping[str, str] = {
    task: f"holotype.{name}.domain:DOMAIN" for name, tasks in FIRST_PARTY.items() for task in tasks
}
ENTRY_POINT_GROUP = "holotype.domains"


def _no_options(options: Options) -> None:
    pass


def _no_claim(arguments: argparse.Namespace) -> bool:
    return False


@dataclass(frozen=True)
class Command:
    """What a verb of the command line does for one domain.

    Attributes:
        subject: what it works on, for help and messages: ``"images"``.
        run: does it, prints the result and returns the exit code.
        add_options: adds the domain's own options to those that the verb has for all domains.
        claims: are arguments that name no model meant for this domain?
        usage: what may be typed after ``holotype VERB``, one text for each form.
        notes: what the help says below the options, such as examples.
    """

    subject: str
    run: Callable[[argparse.Namespace], int]
    add_options: Callable[[Options], None] = _no_options
    claims: Callable[[argparse.Namespace], bool] = _no_claim
    usage: Sequence[str] = ()
    notes: str = ""


def _no_claim_on_data(source: str) -> bool:
    return False


def _no_problems(roles: frozenset[str], row: Mapping[str, Any]) -> list[str]:
    return []


@dataclass(frozen=True)
class Reading:
    """What the files of a dataset hold, for ``holotype data info --read``.

    Attributes:
        name: of the dataset.
        facts: as plain data, for JSON.
        text: for people.
        ok: is the split as the dataset states it?
    """

    name: str
    facts: Mapping[str, Any]
    text: str
    ok: bool = True


@dataclass(frozen=True)
class DatasetKind:
    """Datasets of one kind, as the ``datasets.toml`` of a zoo lists them; see `holotype.datasets`.

    Attributes:
        holds: what they consist of, such as ``"pairs"``; the files of parts are ``train_pairs`` and so on.
        roles: of the files that such a dataset may have.
        undivided: the parts of a dataset without files of parts.
        read: the address of a function that reads a dataset, by name or file, into a `Reading`.
        metadata: what its rows in the table may state beyond what all datasets may: key -> ``str`` or
            ``list`` (of texts).
        claims: is this the path of a dataset of this kind?
        problems: what is wrong with the roles of a dataset's files and its row in the table, a line each.
        described_by: the content of the ``dataset.yaml`` that `copy_dataset` writes, from the dataset's
            record and the file name of each role; None for no such file.
    """

    holds: str
    roles: frozenset[str]
    undivided: tuple[str, ...]
    read: str
    metadata: Mapping[str, type] = field(default_factory=dict)
    claims: Callable[[str], bool] = _no_claim_on_data
    problems: Callable[[frozenset[str], Mapping[str, Any]], list[str]] = _no_problems
    described_by: Callable[[Any, Mapping[str, str]], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Domain:
    """What serves the models of some tasks. Addresses are ``"module:OBJECT"``, imported when first used.

    Attributes:
        name: ``"proteins"``.
        recipe: the address of its class of recipes, a `holotype.training.recipe.Recipe`; empty if nothing
            can be trained.
        job: the address of its class of trainings, a `holotype.training.job.Job`.
        commands: verb -> the address of a `Command`.
        datasets: the kinds of datasets that zoos may list for it.
    """

    name: str
    recipe: str = ""
    job: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetKind] = ()


def domain_of(task: str | None) -> Domain | None:
    """The domain that serves a task, or None.

    Raises:
        ImportError, AttributeError: what importing a third party's domain raises.
    """
    address = DOMAINS.get(task or "") or (_from_entry_points().get(task) if task else None)
    return None if address is None else _domain(address)


def domains() -> list[Domain]:
    """Every domain. One that cannot be imported is warned about, and left out."""
    found: dict[str, Domain] = {}
    for address in dict.fromkeys((*DOMAINS.values(), *_from_entry_points().values())):
        try:
            found[address] = _domain(address)
        except Exception as error:  # noqa: BLE001 - the code of others, which may do anything
            warnings.warn(f"the domain {address} cannot be used: {in_one_line(error)}", stacklevel=2)
    return list(found.values())


@cache
def _domain(address: str) -> Domain:
    found = resolve(address)
    if not isinstance(found, Domain):
        raise TypeError(f"{address} is {type(found).__name__}, not a holotype.domains.Domain")
    return found


def _from_entry_points() -> dict[str, str]:
    """Task -> address, of installed packages."""
    return {task: address for _, task, address in entry_points(ENTRY_POINT_GROUP)}
