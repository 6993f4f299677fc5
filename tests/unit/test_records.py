"""Records check themselves, are mappings, and cannot be changed."""

import dataclasses
import json

import pytest

from holotype.errors import InvalidNameError, MetadataError, MissingFieldError
from holotype.records import ModelInfo, Parameter, PretrainedMetadata, Problem, WeightsFile

SHA = "0123456789abcdef" * 4


def parse(**metadata):
    given = {"network": "net", "url": "https://x.org/w", "formats": {"pt": {"sha256": SHA}}} | metadata
    return PretrainedMetadata.parse("entry", "zoo", {k: v for k, v in given.items() if v is not ...})


def test_a_record_is_a_mapping():
    info = ModelInfo("net", "zoo", metadata={"year": 2024, "name": "shadowed"})
    assert info["name"] == info.name == "net"
    assert info["year"] == 2024
    assert list(info).count("name") == 1
    assert len(info) == len(list(info)) == len(dict(info))
    assert info.qualified_name == "zoo/net"
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "x"
    with pytest.raises(MissingFieldError):
        info["nope"]
    assert info != ModelInfo("net", "other")
    assert info == ModelInfo("net", "zoo", metadata={"year": 2024, "name": "shadowed"})
    json.dumps(info.to_dict())


def test_a_parameter_reads_as_python():
    assert str(Parameter("a")) == "a"
    assert str(Parameter("a", "int")) == "a: int"
    assert str(Parameter("a", "int", False, 3, "3")) == "a: int = 3"
    assert str(Parameter("a", None, False, 3, "3")) == "a=3"


def test_a_problem_says_where():
    assert str(Problem("zoo", "bad", "f.py", 3)) == "f.py:3: bad"
    assert str(Problem("zoo", "bad", "f.py")) == "f.py: bad"
    assert str(Problem("zoo", "bad")) == "zoo zoo: bad"


@pytest.mark.parametrize("sha", ["<sha256>", "<to be filled in>", None])
def test_a_placeholder_is_no_hash(sha):
    assert WeightsFile("pt", sha256=sha).sha256 is None


def test_hashes_are_lower_case():
    assert WeightsFile("pt", sha256=SHA.upper()).sha256 == SHA


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "zip"},
        {"sha256": "abc"},
        {"sha256": SHA + "0"},
        {"sha256": "g" * 64},
        {"sha256": 3},
        {"sha256": ""},
        {"file_size": -1},
        {"file_size": 0},
        {"file_size": "1"},
        {"file_size": True},
        {"file_size": float("nan")},
        {"file_size": float("inf")},
        {"size_bytes": 1.5},
        {"size_bytes": -3},
        {"url": 3},
        {"file_size": 2.0, "size_bytes": 3},
    ],
)
def test_weight_files_that_do_not_hold_together(fields):
    with pytest.raises(MetadataError):
        WeightsFile(**({"format": "pt"} | fields))


def test_sizes_agree_within_rounding():
    assert WeightsFile("pt", file_size=1.0).size_fits(2**20 + 50_000)
    assert not WeightsFile("pt", file_size=1.0).size_fits(2**20 * 2)
    assert WeightsFile("pt", size_bytes=7).size_fits(7)
    assert not WeightsFile("pt", size_bytes=7).size_fits(8)
    assert WeightsFile("pt").size_fits(123)


def test_urls():
    assert parse().url_of("pt") == "https://x.org/w/entry.pt"
    assert parse(url="https://x.org/w/").url_of("pt") == "https://x.org/w/entry.pt"
    assert parse(url="https://x.org/file.pt").url_of("pt") == "https://x.org/file.pt"
    assert parse(url="https://x.org/file.pt?download=1").url_of("pt") == "https://x.org/file.pt?download=1"
    assert parse(url=..., formats={"pt": {"url": "file:///x"}}).url_of("pt") == "file:///x"


def test_network_and_tag_at_the_top_or_in_net():
    assert parse(network=..., net={"network": "n", "tag": "t", "reparameterized": True})["net"] == {
        "reparameterized": True
    }
    assert parse(net={"network": "net", "tag": "t"}).tag == "t"
    with pytest.raises(MetadataError, match="network: 'net' and, in net, 'other'"):
        parse(net={"network": "other"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": ...}, "network: missing"),
        ({"network": 3}, "network: expected"),
        ({"net": "net"}, "net: a mapping"),
        ({"url": ...}, "url: missing"),
        ({"url": 3}, "url: expected text"),
        ({"formats": ...}, "formats: at least one"),
        ({"formats": {}}, "formats: at least one"),
        ({"formats": []}, "formats: expected a mapping"),
        ({"formats": {"pt": 3}}, "'pt' holds a mapping"),
        ({"formats": {"pt": {"sha": SHA}}}, "'pt' has no field 'sha'"),
        ({"formats": {"safetensor": {}}}, "safetensors"),
        ({"resolution": (1,)}, "resolution"),
        ({"resolution": (0, 1)}, "resolution"),
        ({"resolution": "224"}, "resolution"),
        ({"resolution": (True, 2)}, "resolution"),
        ({"num_classes": "many"}, "num_classes"),
        ({"num_classes": True}, "num_classes"),
        ({"metrics": "accuracy"}, "metrics: expected a list"),
        ({"metrics": {"accuracy": "high"}}, "metrics[0]: expected"),
        ({"metrics": ["accuracy"]}, "metrics[0]: expected"),
        ({"config": [1]}, "config: expected a mapping"),
        ({"classes": 3}, "classes"),
        ({"license": 3}, "license: expected text"),
    ],
)
def test_entries_that_do_not_hold_together(fields, message):
    with pytest.raises(MetadataError) as error:
        parse(**fields)
    assert message in str(error.value)


def test_every_problem_at_once():
    with pytest.raises(MetadataError) as error:
        PretrainedMetadata.parse("entry", "zoo", {"resolution": 0, "params": "x", "tag": 3})
    for what in ("network", "formats", "url", "resolution", "params", "tag"):
        assert f"- {what}" in str(error.value)


def test_a_bad_name():
    with pytest.raises(InvalidNameError):
        PretrainedMetadata.parse("Bad Name", "zoo", {})


def test_a_side_stands_for_a_square():
    assert parse(resolution=224).resolution == (224, 224)
    assert parse(resolution=[224, 160]).resolution == (224, 160)


def test_what_is_missing_is_none_and_what_is_more_is_kept():
    meta = parse(anything={"deep": [1]})
    assert meta.license is None and meta.resolution is None and meta.task is None
    assert meta["anything"] == {"deep": [1]}
    assert json.loads(json.dumps(meta.to_dict()))["formats"]["pt"]["sha256"] == SHA
