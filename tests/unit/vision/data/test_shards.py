"""Shards: read where they lie, whole or refused; nothing in them leads out of them."""

import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("PIL")
pytest.importorskip("numpy")
pytest.importorskip("torch")

from holotype.errors import DataError, ImageError, LeakageError
from holotype.vision.data.load import image_data_problems, load_image_dataset
from holotype.vision.data.shards import expand_shards
from image_files import encoded, picture, shard  # after the checks that they are there


def members(first, count, *, folder=""):
    made = []
    for at in range(first, first + count):
        made += [(f"{folder}{at:05d}.png", encoded(at)), (f"{folder}{at:05d}.cls", f"{at % 3}\n".encode())]
    return made


@pytest.fixture
def shards(tmp_path):
    """Three shards of four images, and one of two for validation."""
    for number in range(3):
        shard(tmp_path / f"train-{number:03d}.tar", members(4 * number, 4))
    shard(tmp_path / "val.tar", members(100, 3))
    return tmp_path


def links(kind):
    member = tarfile.TarInfo("link.png")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "pattern", ["train-{000..002}.tar", "train-*.tar", "train-00{0..2}.tar", "train-00?.tar"]
)
def test_several_shards_are_one_table(shards, pattern, monkeypatch):
    monkeypatch.chdir(shards)
    data = load_image_dataset({"train": pattern, "val": "val.tar"})
    assert image_data_problems({"train": pattern, "val": "val.tar"}) == []
    train = data.splits["train"]
    assert data.classes == ("0", "1", "2") and len(train) == 12 and len(data.splits["val"]) == 3
    assert train.names[4] == "train-001.tar/00004.png"
    assert [train.target(at) for at in range(12)] == [at % 3 for at in range(12)]
    for at in (11, 0, 5):
        assert train.open(at).tobytes() == picture(at).tobytes()
    assert load_image_dataset(pattern).digests["train"] == data.digests["train"]


def test_one_shard_and_a_division(shards):
    data = load_image_dataset({"images": str(shards / "train-*.tar"), "split": {"fractions": [0.5, 0.5, 0]}})
    assert set(data.splits) == {"train", "val"} and sum(map(len, data.splits.values())) == 12
    table = data.splits["val"]
    at = int(table.names[0].partition("/")[2].partition(".")[0])
    assert table.open(0).tobytes() == picture(at).tobytes() and table.target(0) == at % 3


def test_json_labels_other_members_and_folders(tmp_path):
    path = shard(
        tmp_path / "x.tar",
        [
            ("./a/1.json", json.dumps({"label": "dog", "caption": "a dog"}).encode()),
            ("./a/1.jpg", encoded(1, "JPEG")),
            ("./a/1.txt", b"a dog"),
            ("b/1.seg.png", encoded(2)),
            ("b/1.cls", b"cat"),
            ("b/1.PNG", encoded(3)),
            ("c/1.cls", b"cat"),
            (".hidden.png", b"x"),
        ],
    )
    data = load_image_dataset(path)
    assert data.classes == ("cat", "dog") and data.splits["train"].names == ("x.tar/a/1.jpg", "x.tar/b/1.PNG")
    notes = "\n".join(data.notes)
    for what in (
        "1 members .txt",
        "1 members .seg.png",
        "1 labels without an image",
        "1 members without a key",
    ):
        assert what in notes


def test_images_without_labels(tmp_path):
    path = shard(
        tmp_path / "x.tar", [("1.png", encoded(1)), ("2.png", encoded(2)), ("2.json", b'{"caption": "x"}')]
    )
    assert load_image_dataset(path).kind == "unlabelled"


def test_reading_from_threads_and_other_processes(shards):
    table = load_image_dataset(str(shards / "train-{000..002}.tar")).splits["train"]
    expected = [picture(at).tobytes() for at in range(12)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda at: table.open(at % 12).tobytes(), range(96))) == expected * 8
    again = pickle.loads(pickle.dumps(table))  # noqa: S301  # our own
    assert [again.open(at).tobytes() for at in range(12)] == expected
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(0 if [table.open(at).tobytes() for at in range(12)] == expected else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_the_digest_is_that_of_the_archives(shards):
    before = load_image_dataset(str(shards / "train-*.tar")).digests
    content = (shards / "train-001.tar").read_bytes()
    assert load_image_dataset(str(shards / "train-*.tar")).digests == before
    (shards / "train-001.tar").write_bytes(content.replace(b"00004.cls", b"00004.cl_"))  # wrong checksum
    with pytest.raises(DataError):
        load_image_dataset(str(shards / "train-*.tar"))


def test_an_image_in_two_parts_is_refused(shards):
    shard(shards / "val.tar", members(3, 1))
    with pytest.raises(LeakageError, match=r"val.tar/00003.png is train-000.tar/00003.png"):
        load_image_dataset({"train": str(shards / "train-*.tar"), "val": str(shards / "val.tar")})


# -- hostile -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_shard_cut_short_is_named(tmp_path, share):
    path = shard(tmp_path / "x.tar", members(0, 4))
    end = sum(512 + (len(content) + 511) // 512 * 512 for _, content in members(0, 4))
    content = path.read_bytes()
    path.write_bytes(content[: int(end * share)])
    with pytest.raises(DataError, match=r"x\.tar"):
        load_image_dataset(path)


def test_every_way_to_lose_the_end_is_noticed(tmp_path):
    path = shard(tmp_path / "x.tar", members(0, 2))
    content = path.read_bytes()
    end = sum(512 + (len(content) + 511) // 512 * 512 for _, content in members(0, 2))
    for length in range(0, end + 1, 256):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"x\.tar"):
            load_image_dataset(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/etc/1.png", "etc/1.png"),
        ("../../1.png", "1.png"),
        ("a/../b/1.png", "a/b/1.png"),
        ("..\\x\\1.png", "x/1.png"),
        ("a\n\x1b1.png", "a__1.png"),
    ],
)
def test_names_that_lead_elsewhere_lead_nowhere(tmp_path, name, shown):
    data = load_image_dataset(shard(tmp_path / "x.tar", [(name, encoded(1))]))
    assert data.splits["train"].names == (f"x.tar/{shown}",)
    assert data.splits["train"].open(0).tobytes() == picture(1).tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_left_out(tmp_path, kind):
    path = shard(tmp_path / "x.tar", [(links(kind), b""), ("1.png", encoded(1))])
    data = load_image_dataset(path)
    assert len(data.splits["train"]) == 1 and "1 links and special members left out" in data.notes[0]
    with pytest.raises(DataError, match="holds no image"):
        load_image_dataset(shard(tmp_path / "y.tar", [(links(kind), b"")]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no image"),
        ([("1.txt", b"x")], "holds no image"),
        ([("1.png", b"")], "1.png has 0 bytes"),
        ([("1.png", b"x"), ("1.png", b"y")], "two members named 1.png"),
        ([("/1.png", b"x"), ("../1.png", b"y")], "two members named 1.png"),
        ([("1.png", b"x"), ("1.jpg", b"y")], "two images of one key"),
        ([("1.png", b"x"), ("1.cls", b"a"), ("1.json", b'{"label": "b"}')], "'a' and 'b' at once"),
        ([("1.png", b"x"), ("1.cls", b"a"), ("2.png", b"y")], "1 of 2 images have no label: x.tar/2.png"),
        ([("1.png", b"x"), ("1.cls", b"  \n")], "1.cls holds no label"),
        ([("1.png", b"x"), ("1.cls", b"\xff\xfe")], "1.cls holds no label"),
        ([("1.png", b"x"), ("1.cls", b"a\nb")], "1.cls holds no label"),
        ([("1.png", b"x"), ("1.cls", b"a" * 1000)], "1.cls holds no label"),
        ([("1.png", b"x"), ("1.json", b"{")], "1.json holds no label"),
        ([("1.png", b"x"), ("1.json", b"[" * 100_000)], "1.json holds no label"),
        ([("1.png", b"x"), ("1.json", b'{"label": 1.5}')], "neither text nor a whole number"),
        ([("1.png", b"x"), ("1.json", b'{"label": true}')], "neither text nor a whole number"),
        ([("1.png", b"x"), ("1.json", b'{"label": ' + b"9" * 5000 + b"}")], "1.json holds no label"),
    ],
)
def test_a_shard_that_cannot_be_used(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_image_dataset(shard(tmp_path / "x.tar", content))


def test_a_member_that_claims_too_much(tmp_path):
    path = shard(tmp_path / "x.tar", [("1.png", encoded(1))])
    head = tarfile.TarInfo("1.png")
    head.size = 2**40
    path.write_bytes(head.tobuf(tarfile.GNU_FORMAT) + path.read_bytes()[512:])
    with pytest.raises(DataError, match=r"x\.tar"):
        load_image_dataset(path)


def test_a_damaged_image_is_named(tmp_path):
    path = shard(tmp_path / "x.tar", [("1.png", encoded(1)), ("2.png", encoded(2)[:70]), ("3.png", b"none")])
    table = load_image_dataset(path).splits["train"]
    table.open(0)
    for at, name in ((1, r"x\.tar/2\.png"), (2, r"x\.tar/3\.png")):
        with pytest.raises(ImageError, match=name):
            table.open(at)


def test_a_shard_that_shrinks_while_it_is_used(tmp_path):
    path = shard(tmp_path / "x.tar", members(0, 2))
    table = load_image_dataset(path).splits["train"]
    os.truncate(path, 600)
    with pytest.raises(ImageError, match="become shorter"):
        table.open(1)
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        table.select([0]).open(0)


def test_a_compressed_shard_and_one_that_is_none(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match="compressed"):
        load_image_dataset(tmp_path / "x.tar.gz")
    (tmp_path / "y.tar").write_bytes(os.urandom(4096))
    with pytest.raises(DataError, match=r"y\.tar is damaged, or no tar archive"):
        load_image_dataset(tmp_path / "y.tar")


def test_patterns(shards):
    names = [path.name for path in expand_shards(str(shards / "train-{000..001}.tar"))]
    assert names == ["train-000.tar", "train-001.tar"]
    with pytest.raises(DataError, match=r"no shard .*train-003\.tar"):
        expand_shards(str(shards / "train-{000..003}.tar"))
    with pytest.raises(DataError, match="no shard"):
        expand_shards(str(shards / "nothing-*.tar"))
    for wrong in ("{5..1}.tar", "{0..99999999}.tar"):
        with pytest.raises(DataError, match="no shard, or for too many"):
            expand_shards(str(shards / wrong))
    assert "there is no shard" in image_data_problems({"train": str(shards / "x-*.tar")})[0]
