"""What a model is said to have been trained by: the code that was, not what the folder held later."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import holotype
from holotype.training.lineage import code_of, lineage_of, own_code
from holotype.training.recipe import load_recipe


def git(folder: Path, *words: str) -> str:
    own = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(own, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in a repository that has more than it; it stands in for this one."""
    for name in ("package/__init__.py", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(holotype, "__file__", str(tmp_path / "package/__init__.py"))
    own_code.cache_clear()
    yield tmp_path / "package"
    own_code.cache_clear()


def test_only_changes_of_the_package_make_its_code_another(package: Path) -> None:
    (package.parent / "notes.md").write_text("2\n")
    assert code_of(package) == {"commit": git(package, "rev-parse", "HEAD"), "dirty": False}
    assert code_of(package.parent, tracked=None)["dirty"] is True
    (package / "__init__.py").write_text("2\n")
    assert code_of(package)["dirty"] is True


def test_a_commit_during_the_training_is_not_what_trained(package: Path) -> None:
    begun = own_code()
    (package / "__init__.py").write_text("2\n")
    git(package, "commit", "-qam", "second")
    recipe = load_recipe({"model": "v1", "data": "bernett", "encoder": "unirep_64"}, check_data=False)
    made = lineage_of(recipe, dataset_digests={}, encoder={})
    assert made["code"] == begun
    assert made["code"]["commit"] != git(package, "rev-parse", "HEAD")
