"""What a user gave, resolved: a weight file, a run's folder, a pretrained entry, an architecture."""

import pytest

from holotype import Registry, save_pretrained
from holotype.errors import AmbiguousNameError, DataError, UnknownPretrainedError
from holotype.weights.open import find
from loading_nets import make_registry


@pytest.fixture
def registry():
    made = make_registry()
    files = {"pt": {"sha256": "0" * 64}}
    made.register_weights(
        "toy_vit_demo", {"network": "toy_vit", "url": "https://nowhere.invalid/x.pt", "formats": files}
    )
    return made


@pytest.fixture
def saved(registry, tmp_path):
    return save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)


def test_a_file(registry, saved):
    found = find(saved, registry=registry)
    assert (found.kind, found.path, found.task) == ("file", saved, "image_classification")
    net, info = found.open(inference=True)
    assert info.network.endswith("/toy_vit") and not net.training


def test_the_ending_of_a_file_does_not_matter(registry, saved):
    other = saved.rename(saved.with_name("weights"))
    assert find(str(other), registry=registry).path == other


def test_a_run(registry, saved):
    weights = saved.rename(saved.with_name("model.safetensors"))
    found = find(weights.parent, registry=registry)
    assert (found.kind, found.path) == ("run", weights)


def test_a_run_with_the_files_that_are_wanted(registry, saved):
    weights = saved.rename(saved.with_name("encoder.safetensors"))
    found = find(weights.parent, run_files=("encoder.safetensors", "model.safetensors"), registry=registry)
    assert found.path == weights


def test_an_entry_is_found_and_not_fetched(registry):
    found = find("toy_vit_demo", registry=registry)
    assert (found.kind, found.entry.name, found.architecture.name) == ("entry", "toy_vit_demo", "toy_vit")
    assert type(found.build()).__name__ == "ToyViT"


def test_an_architecture_has_no_weights(registry):
    found = find("toy_vit", registry=registry)
    assert (found.kind, found.entry, found.architecture.name) == ("architecture", None, "toy_vit")
    with pytest.raises(UnknownPretrainedError, match="is an architecture: it has no weights"):
        found.open()


def test_a_file_comes_before_an_entry(registry, saved, monkeypatch):
    saved.rename(saved.with_name("toy_vit_demo"))
    monkeypatch.chdir(saved.parent)
    assert find("toy_vit_demo", registry=registry).kind == "file"


def test_what_is_none_of_these(registry):
    with pytest.raises(UnknownPretrainedError, match="not a pretrained entry") as caught:
        find("toy_vit_demi", registry=registry)
    assert "toy_vit_demo" in caught.value.nearest


@pytest.mark.parametrize("name", ["x.safetensors", "x.PT", "x.pth", "x.npz", "a/b/c"])
def test_a_file_that_does_not_exist(registry, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find(name, registry=registry)


def test_a_folder_without_weights(registry, tmp_path):
    with pytest.raises(DataError, match=r"a folder without model\.safetensors"):
        find(tmp_path, registry=registry)


def test_a_name_in_two_zoos(tmp_path, monkeypatch):
    registry = Registry()
    for zoo in ("one_zoo", "other_zoo"):
        (tmp_path / zoo).mkdir()
        (tmp_path / zoo / "__init__.py").write_text(
            "import holotype\n@holotype.register_model('same_name')\ndef build(): ...\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    for zoo in ("one_zoo", "other_zoo"):
        registry.add_zoo(zoo)
    with pytest.raises(AmbiguousNameError):
        find("same_name", registry=registry)
