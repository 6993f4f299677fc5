"""Domains by task, and the types of the options that they add."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from holotype.datasets import get_dataset_info, is_registered, list_datasets
from holotype.domains import DOMAINS, Domain, domain_of, domains
from holotype.entry_points import resolve
from holotype.options import from_0, from_1, share
from holotype.tasks import Task


def test_every_task_has_a_domain() -> None:
    assert set(DOMAINS) == set(Task)
    assert {domain_of(task).name for task in Task} == {"proteins", "vision"}
    assert domain_of("tone_classification") is None
    assert domain_of(None) is None


@pytest.mark.parametrize("domain", domains(), ids=lambda domain: domain.name)
def test_every_address_of_a_domain_is_there(domain: Domain) -> None:
    addresses = [domain.recipe, domain.job, *domain.commands.values()]
    assert all(resolve(address) is not None for address in addresses)
    assert domain.datasets
    assert all(callable(resolve(kind.read)) for kind in domain.datasets)


def test_a_domain_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, holotype, holotype.domains; holotype.list_models(); "
        "print([name for name in sys.modules if name.endswith('.domain')]); "
        "holotype.domains.domain_of('image_classification'); "
        "print([name for name in sys.modules if name.endswith('.domain') or name == 'torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['holotype.vision.domain']"]


def test_datasets_by_what_they_hold() -> None:
    assert "digits" in list_datasets(holds="images")
    assert "bernett" in list_datasets(holds="pairs")
    assert "digits" not in list_datasets(holds="pairs")
    assert is_registered("digits", "images")
    assert not is_registered("digits", "pairs")
    assert (get_dataset_info("guo_yeast").holds, get_dataset_info("guo_yeast").parts) == ("pairs", ("pairs",))


def test_types_of_options() -> None:
    assert (from_0("0"), from_1("3"), share("0.5")) == (0, 3, 0.5)
    for read, text in (
        (from_0, "-1"),
        (from_1, "0"),
        (from_1, "x"),
        (share, "2"),
        (share, "nan"),
        (share, ""),
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
