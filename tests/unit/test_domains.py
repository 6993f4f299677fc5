"""Domains by task, and the types of the options that they add."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from holotype.datasets import dataset_problems, get_dataset_info, is_registered, list_datasets
from holotype.domains import DOMAINS, DatasetKind, Domain, domain_of, domains
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


def test_a_domain_may_have_several_kinds_of_datasets(here, monkeypatch) -> None:
    spoken = DatasetKind("voices", frozenset({"voices"}), ("voices",), "audio:read", metadata={"accent": str})
    notes = DatasetKind("songs", frozenset({"songs"}), ("songs",), "audio:read", metadata={"genres": list})
    monkeypatch.setattr("holotype.datasets.domains", lambda: [Domain("audio", datasets=(spoken, notes))])
    files = "url = 'https://x.invalid/a'\nsha256 = '" + "0" * 64 + "'\n"
    here.write(
        {
            "src/model/__init__.py": "",
            "src/model/datasets.toml": f"[a]\naccent = 'Scots'\n[a.files.voices]\n{files}"
            f"[b]\ngenres = ['folk', 'jazz']\n[b.files.songs]\n{files}"
            f"[c]\naccent = 'Scots'\n[c.files.songs]\n{files}",
        }
    )
    assert list_datasets(zoo="src.model") == ["a", "b"]
    assert get_dataset_info("a").metadata == {"accent": "Scots"}
    assert get_dataset_info("b").to_dict()["genres"] == ["folk", "jazz"]
    assert any("[c] accent: no such key" in problem for problem in dataset_problems())


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
