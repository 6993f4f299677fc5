"""What the cache holds, whether it is still right, what can go; and the commands that print it."""

import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from holotype.catalog.registry import Registry
from holotype.cli import main
from holotype.cli.verify import entries
from holotype.errors import MetadataError, UnknownPretrainedError, VerificationError
from holotype.records import WeightsFile
from holotype.store import list_cache, prune, verify, verify_cache
from holotype.store.blobs import Blobs, Expected
from holotype.store.fetch import decide, fetch_open
from holotype.store.folder import make_folder
from store_files import put

DATA = b"some weights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
OTHER = b"other weights"
OTHER_SHA = hashlib.sha256(OTHER).hexdigest()
LONG_AGO = (0, 0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def registry(monkeypatch):
    made = Registry()
    made.register_model("net")(lambda: None)
    url = "https://nowhere.invalid"
    with pytest.warns(UserWarning, match="no sha256 for npz"):
        made.register_weights(
            "known", {"network": "net", "url": url, "formats": {"pt": {"sha256": SHA.upper()}, "npz": {}}}
        )
    made.register_weights(
        "absent", {"network": "net", "url": url, "formats": {"safetensors": {"sha256": "1" * 64}}}
    )
    monkeypatch.setattr("holotype.catalog.registry.default_registry", made)
    return made


@pytest.fixture
def blobs():
    made = Blobs()
    put(made, io.BytesIO(DATA))
    return made


def change(blobs, sha256=SHA):
    path = blobs.path(sha256)
    looked = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    os.utime(path, ns=(looked.st_atime_ns, looked.st_mtime_ns))


def states(found):
    return {one.name.rpartition("/")[2]: one.state for one in found}


def test_all_is_well(registry, blobs):
    expected = {"known.pt": "ok", "known.npz": "no hash", "absent.safetensors": "missing"}
    assert states(verify(entries())) == expected
    assert states(verify(entries(["known"]))) == {"known.pt": "ok", "known.npz": "no hash"}
    assert states(verify(entries(["known", "absent"]))) == expected


def test_an_unknown_entry(registry):
    with pytest.raises(UnknownPretrainedError):
        verify(entries(["nope"]))


def test_a_changed_file_is_found_and_set_aside(registry, blobs):
    change(blobs)
    (one,) = [one for one in verify(entries(["known"])) if one.state == "changed"]
    assert one.sha256 == SHA and "its sha256 is" in one.problem
    assert Path(one.quarantined).read_bytes()[:1] == b"X"
    assert not blobs.path(SHA).exists()
    assert states(verify(entries(["known"])))["known.pt"] == "missing"


def test_receipts_are_not_believed(registry, blobs):
    """What a receipt says is not what the file holds: only hashing tells."""
    path = blobs.path(SHA)
    change(blobs)
    blobs.write_receipt(SHA, path.stat())
    assert blobs.find(SHA) == path, "this is what a receipt is for"
    assert states(verify(entries(["known"])))["known.pt"] == "changed"


def test_blobs_that_no_entry_names_are_verified_too(registry, blobs):
    put(blobs, io.BytesIO(OTHER))
    change(blobs, OTHER_SHA)
    assert [(one.sha256, one.state) for one in verify_cache(entries())] == sorted(
        [(SHA, "ok"), (OTHER_SHA, "changed")]
    )


def test_listing(registry, blobs):
    put(blobs, io.BytesIO(OTHER))
    found = {file.sha256: file for file in list_cache(entries())}
    assert found[SHA].size_bytes == len(DATA)
    assert found[SHA].used_by == ("tests.unit.store/known.pt",) and found[OTHER_SHA].used_by == ()
    assert {file.kind for file in found.values()} == {"blob"}


def test_an_empty_cache(registry, home):
    assert list_cache(entries()) == [] and prune(entries()) == [] and verify_cache(entries()) == []
    assert not home.exists()


def fill(blobs):
    put(blobs, io.BytesIO(OTHER))
    change(blobs)
    verify(entries(["known"]))  # into the quarantine
    put(blobs, io.BytesIO(DATA))
    orphan = blobs.partial / f"{SHA}.dead"
    orphan.write_bytes(b"x")
    os.utime(orphan, LONG_AGO)
    (blobs.partial / f"{SHA}.recent").write_bytes(b"x")


def test_pruning_spares_blobs_unless_told(registry, blobs):
    fill(blobs)
    would = prune(entries(), dry_run=True)
    assert sorted(file.kind for file in would) == ["orphan", "quarantined"]
    assert prune(entries()) == would
    assert prune(entries()) == []
    assert {file.sha256 for file in list_cache(entries())} == {SHA, OTHER_SHA}
    assert [path.name for path in blobs.partial.iterdir()] == [f"{SHA}.recent"]
    (gone,) = prune(entries(), unreferenced=True)
    assert gone.sha256 == OTHER_SHA and blobs.find(OTHER_SHA) is None and blobs.find(SHA)
    assert not (blobs.root / "receipts" / OTHER_SHA[:2] / OTHER_SHA).exists()


def test_pruning_only_what_is_old(registry, blobs):
    fill(blobs)
    assert [file.kind for file in prune(entries(), unreferenced=True, older_than_days=30)] == ["orphan"]
    os.utime(blobs.path(OTHER_SHA), LONG_AGO)
    assert [file.sha256 for file in prune(entries(), unreferenced=True, older_than_days=30)] == [OTHER_SHA]


def test_an_orphan_whose_writer_lives_stays(registry, blobs):
    import fcntl

    path = make_folder(blobs.partial) / f"{SHA}.living"
    path.write_bytes(b"x")
    os.utime(path, LONG_AGO)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert prune(entries()) == [] and path.exists()
    assert len(prune(entries())) == 1


def test_orphans_of_receipts_and_locks(registry, blobs, home):
    strays = [home / "receipts" / SHA[:2] / ".0123", home / "locks" / f"{SHA}.lock"]
    for path in strays:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
        os.utime(path, LONG_AGO)
    assert blobs.sweep() == 2 and not any(path.exists() for path in strays)
    assert blobs.find(SHA)


def test_the_file_that_was_hashed_is_the_one_that_is_read(blobs):
    with blobs.open_verified(SHA.upper()) as file:
        assert Path(file.name) == blobs.path(SHA)
        blobs.path(SHA).unlink()
        blobs.path(SHA).write_bytes(b"another file in its place")
        assert file.read() == DATA
    with pytest.warns(UserWarning, match="moved to"):
        assert blobs.open_verified(SHA) is None
    assert blobs.open_verified("2" * 64) is None


def test_a_hashed_file_is_read_from_its_beginning(blobs):
    (blobs.root / "receipts" / SHA[:2] / SHA).unlink()
    with blobs.open_verified(SHA) as file:
        assert file.read() == DATA


def test_fetching_and_opening_at_once(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with fetch_open(decide(source.as_uri(), sha256=SHA)) as file:
        assert file.read() == DATA
    with fetch_open(decide(source.as_uri(), sha256=None)) as file:
        assert file.read() == DATA


def test_verify_command(registry, blobs, capsys):
    assert main(["verify", "known"]) == 0
    assert "ok       tests.unit.store/known.pt" in capsys.readouterr().out
    change(blobs)
    assert main(["verify", "--all", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["state"] for one in found} == {"changed", "no hash", "missing"}
    assert main(["verify", "--all"]) == 0, "a file that is missing is no file that has changed"
    assert main(["verify"]) == 2 and main(["verify", "known", "--all"]) == 2
    assert main(["verify", "nope"]) == 1


def test_a_changed_file_that_cannot_be_moved_is_told(registry, blobs, capsys, monkeypatch):
    change(blobs)

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    assert main(["verify", "known"]) == 1
    out = capsys.readouterr().out
    assert "changed  tests.unit.store/known.pt" in out and "cannot be moved aside" in out


def test_cache_command(registry, blobs, capsys):
    fill(blobs)
    assert main(["cache", "ls"]) == 0
    out, err = capsys.readouterr()
    assert SHA[:12] in out and "tests.unit.store/known.pt" in out and "(unreferenced)" in out
    assert err.startswith("4 files, ")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert main(["cache", "ls", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["cache", "verify"]) == 0
    assert main(["cache", "prune", "--dry-run"]) == 0
    assert "2 files" in capsys.readouterr().err
    assert main(["cache", "prune", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["cache", "prune", "--unreferenced", "--older-than", "0"]) == 0
    assert OTHER_SHA in capsys.readouterr().out
    change(blobs)
    assert main(["cache", "verify", "--json"]) == 1


# Hashes and sizes as publishers write them.


@pytest.mark.parametrize("written", [SHA, SHA.upper(), SHA[:32].upper() + SHA[32:]])
def test_rule_a_hash_is_read_in_any_case_and_kept_in_lower_case(written):
    assert WeightsFile("pt", sha256=written).sha256 == SHA
    assert Expected(written).sha256 == SHA


@pytest.mark.parametrize("written", ["", SHA[:-1], SHA + "0", "g" * 64, f" {SHA}", f"sha256:{SHA}", 5, b"x"])
def test_rule_anything_else_is_no_hash(written):
    with pytest.raises(MetadataError):
        WeightsFile("pt", sha256=written)
    with pytest.raises(VerificationError):
        Expected(written)


@pytest.mark.parametrize(
    ("size_mib", "size", "fits"),
    [
        (18.0, 18 * 2**20, True),
        (18.0, int(18.1 * 2**20), True),
        (18.0, int(17.9 * 2**20) + 1, True),
        (18.0, int(18.1 * 2**20) + 2, False),
        (18.0, int(17.9 * 2**20) - 2, False),
        (18, 18 * 2**20, True),
        (0.1, 1, True),
    ],
)
def test_rule_a_size_in_mib_is_rounded_to_a_tenth(size_mib, size, fits):
    assert WeightsFile("pt", file_size=size_mib).size_fits(size) is fits
    assert Expected(SHA, size_mib=size_mib).size_fits(size) is fits
    if fits:
        assert Expected(SHA, size_mib=size_mib).at_most >= size


def test_rule_an_exact_size_counts_more_and_must_agree():
    assert not WeightsFile("pt", size_bytes=5).size_fits(6)
    with pytest.raises(MetadataError, match="disagree"):
        WeightsFile("pt", file_size=18.0, size_bytes=5)


def test_rule_a_missing_size_fits_everything():
    assert WeightsFile("pt").size_fits(0) and Expected(SHA).size_fits(2**40) and Expected(SHA).at_most is None


@pytest.mark.parametrize("size", [0, -1, "18", True, float("nan"), float("inf")])
def test_rule_a_size_is_a_positive_number(size):
    for name in ("file_size", "size_bytes"):
        with pytest.raises(MetadataError):
            WeightsFile("pt", **{name: size})


def test_embeddings_are_listed_and_go_only_when_asked_for(home, registry):
    kept = home / "embeddings" / "composition-0123.emb"
    piece = home / "embeddings" / "pieces" / "ab" / "composition-4567.emb"
    for path in (kept, piece):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    listed = [file for file in list_cache(entries()) if file.kind == "embeddings"]
    assert {file.path for file in listed} == {str(kept), str(piece)}
    assert all(file.size_bytes == 1000 for file in listed)
    assert prune(entries()) == [] and kept.exists()
    assert prune(entries(), embeddings=True, older_than_days=1) == []
    assert main(["cache", "prune", "--embeddings"]) == 0
    assert not kept.exists() and not piece.exists()
