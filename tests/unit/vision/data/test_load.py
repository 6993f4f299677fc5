"""Image datasets: folders, lists, splits, digests, leaks; and what is wrong with them, told clearly."""

import gzip
import hashlib
import json
import os
import pickle
import sys

import pytest

pytest.importorskip("PIL")
pytest.importorskip("numpy")

import numpy as np  # after the checks that they are there
from PIL import Image

from holotype.datasets import dataset_problems, get_dataset_info
from holotype.errors import (
    ConfigError,
    DataError,
    ImageError,
    LeakageError,
    UnknownDatasetError,
)
from holotype.proteins.data.datasets import load_dataset
from holotype.vision.data import dataset as image_dataset
from holotype.vision.data.load import image_data_problems, load_image_dataset
from holotype.vision.data.splits import divide
from image_files import class_folder, encoded, picture, shard, write

torch = pytest.importorskip("torch")  # pictures are opened by code that uses it


@pytest.fixture
def photos(tmp_path):
    """A folder divided into train (two classes of three and two images) and val."""
    class_folder(tmp_path / "photos/train", {"cat": 3, "dog": 2})
    class_folder(tmp_path / "photos/val", {"cat": 1, "dog": 1}, first=100)
    return tmp_path / "photos"


# -- folders -------------------------------------------------------------------------------------------


def test_a_divided_folder(photos):
    data = load_image_dataset(photos)
    assert (data.name, data.kind, data.classes) == ("photos", "classes", ("cat", "dog"))
    assert {part: len(table) for part, table in data.splits.items()} == {"train": 5, "val": 2}
    train = data.splits["train"]
    assert train.names == ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png")
    assert [train.target(at) for at in range(5)] == [0, 0, 0, 1, 1]
    assert np.array_equal(np.asarray(train.open(3)), np.asarray(picture(3)))
    assert train.open(-1).mode == "RGB" and data.notes == () and "train 5, val 2" in repr(data)
    with pytest.raises(IndexError):
        train.open(5)


def test_the_ways_to_name_it_mean_the_same(photos, tmp_path, monkeypatch):
    expected = load_image_dataset(photos).digests
    spec = {"train": "photos/train", "val": "photos/val"}
    (tmp_path / "data.yaml").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    for one in (
        "photos",
        "./photos",
        {"name": "photos"},
        {"name": "data.yaml"},
        spec,
        "data.yaml",
        {"train": photos / "train", "val": photos / "val"},
    ):
        assert load_image_dataset(one).digests == expected
    assert load_image_dataset(spec, relative_to=tmp_path).digests == expected
    (photos / "val").rename(photos / "validation")
    assert load_image_dataset("photos").digests == expected


def test_images_lie_deeper_behind_links_and_among_other_files(tmp_path):
    root = class_folder(tmp_path / "x", {"b": 1, "a": 1})
    write(root / "a/deep/er/2.jpeg", 7)
    (root / "a/notes.txt").write_text("no image")
    (root / "a/.hidden.png").write_text("no image")
    (root / ".git").mkdir()
    write(root / "cover.png", 8)
    (root / "b/loop").symlink_to(root / "b", target_is_directory=True)
    (root / "b/far.png").symlink_to(write(tmp_path / "elsewhere/far.png", 9))
    data = load_image_dataset(root)
    assert data.classes == ("a", "b")
    assert data.splits["train"].names == ("a/0.png", "a/deep/er/2.jpeg", "b/0.png", "b/far.png")
    notes = "\n".join(data.notes)
    assert (
        "1 file left out that are not images: .txt 1" in notes and "1 image beside the class folders" in notes
    )


def test_without_subfolders_nothing_is_labelled(tmp_path):
    for at in range(3):
        write(tmp_path / f"x/{at}.png", at)
    data = load_image_dataset(tmp_path / "x")
    assert data.kind == "unlabelled" and data.classes == () and data.splits["train"].target(0) is None


def test_one_class_is_told(tmp_path):
    data = load_image_dataset(class_folder(tmp_path / "x", {"cat": 2}))
    assert data.classes == ("cat",) and "only one class" in data.notes[-1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda root: (root / "train/empty").mkdir(), "no image in empty"),
        (lambda root: (root / "train/cat/0.png").write_bytes(b""), r"1 image of 0 bytes: cat/0\.png"),
        (lambda root: write(root / "train/fox/1.png", 70), "train has fox, val does not"),
        (lambda root: write(root / "val/fox/1.png", 70), "val has fox, train does not"),
        (lambda root: class_folder(root / "valid", {"cat": 1}, first=90), "both val and valid"),
        (lambda root: [path.unlink() for path in root.glob("train/*/*")], "holds no image"),
        (lambda root: (root / "train/cat/gone.png").symlink_to("/nowhere"), "gone.png cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_used(photos, broken, message):
    broken(photos)
    with pytest.raises(DataError, match=message):
        load_image_dataset(photos)


def test_a_damaged_image_in_the_middle_is_named(photos):
    (photos / "train/cat/1.png").write_bytes(encoded(1)[:60])
    table = load_image_dataset(photos).splits["train"]
    table.open(0), table.open(2)
    with pytest.raises(ImageError, match=r"cat/1\.png"):
        table.open(1)
    (photos / "train/cat/1.png").write_text("this is no image at all")
    with pytest.raises(ImageError, match=r"cat/1\.png"):
        table.open(1)
    (photos / "train/cat/1.png").unlink()
    with pytest.raises(ImageError, match=r"cat/1\.png does not exist"):
        table.open(1)


def test_tables_travel_to_other_processes(photos):
    table = load_image_dataset(photos).splits["train"]
    again = pickle.loads(pickle.dumps(table))  # noqa: S301  # our own
    assert again.names == table.names and again.digest == table.digest and again.target(4) == 1
    assert again.open(2).tobytes() == table.open(2).tobytes()
    some = table.select([4, 0])
    assert some.names == ("dog/1.png", "cat/0.png") and some.target(0) == 1
    assert some.open(1).tobytes() == table.open(0).tobytes()


# -- lists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "path,label\na/1.png,cat\n../other/2.png,dog\n"),
        ("x.csv", "a/1.png,cat\n../other/2.png,dog\n"),
        ("x.tsv", "label\tsize\tpath\ncat\t3\ta/1.png\ndog\t4\t../other/2.png\n"),
        ("x.csv", '\ufeffpath,label\r\n"a/1.png",cat\r\n\r\n../other/2.png, dog\r\na/1.png,cat\r\n'),
    ],
)
def test_a_list_of_paths_and_labels(tmp_path, name, text):
    write(tmp_path / "lists/a/1.png", 1)
    write(tmp_path / "other/2.png", 2)
    (tmp_path / "lists" / name).write_text(text, encoding="utf-8", newline="")
    data = load_image_dataset(tmp_path / "lists" / name)
    table = data.splits["train"]
    assert data.classes == ("cat", "dog") and table.names == ("a/1.png", "../other/2.png")
    assert [table.target(0), table.target(1)] == [0, 1]
    assert table.open(1).tobytes() == picture(2).tobytes()


def test_numbers_as_labels_are_sorted_as_numbers_and_a_part_may_lack_some(tmp_path):
    for at in range(14):
        write(tmp_path / f"{at}.png", at)
    (tmp_path / "train.csv").write_text("".join(f"{at}.png,{at}\n" for at in range(12)))
    (tmp_path / "val.csv").write_text("12.png,2\n13.png,11\n")
    data = load_image_dataset({"train": tmp_path / "train.csv", "val": tmp_path / "val.csv"})
    assert data.classes[2:] == tuple(str(at) for at in range(2, 12))
    assert data.splits["val"].target(1) == 11 and "val: no image of 0, 1, 3" in data.notes[0]
    (tmp_path / "val.csv").write_text("12.png,2\n13.png,12\n")
    with pytest.raises(DataError, match="val has 12, train does not"):
        load_image_dataset({"train": tmp_path / "train.csv", "val": tmp_path / "val.csv"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no image"),
        ("path,label\n", "lists no image"),
        ("path,label\n1.png,cat\ngone.png,dog\n", r"1 of 2 files do not exist: gone\.png"),
        ("path,label\n1.png,cat\n1.png,dog\n", "'dog' here and 'cat' before"),
        ("path,label\n1.png,\n", "line 2: no label"),
        ("path,label\n,cat\n", "line 2: no path"),
        ("path,label\n1.png\n", "line 2: no label"),
        ("1.png,cat,3\n", "3 columns"),
        ('path,label\n"1.png,cat\n', "cannot be read as a list"),
        ("path,label\n1\0.png,cat\n", "no path|not there|cannot be read"),
        (b"\xff\xfe\x00", "cannot be read as a list"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path, text, message):
    write(tmp_path / "1.png")
    (tmp_path / "x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        load_image_dataset(tmp_path / "x.csv")


# -- mappings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"trian": "x"}, "did you mean 'train'"),
        ({}, "no images"),
        ({"train": 3}, "train: expected a path"),
        ({"train": {"images": "x"}}, "train: expected {images"),
        ({"train": "x", "images": "y"}, "either this or train"),
        ({"train": "x", "split": {}}, "divided already, into train"),
        ({"images": "x", "split": 3}, "split: expected a mapping"),
        ({"images": "x", "split": {"sed": 1}}, "split.sed: no such key"),
        ({"images": "x", "split": {"seed": -1}}, "split.seed: a whole number"),
        ({"images": "x", "split": {"fractions": [1, 2]}}, "split.fractions: expected three"),
        ({"annotations": "x"}, "only beside images"),
        ({"name": "digts", "split": {}}, "did you mean 'digits'"),
        ({"name": 3}, "name: expected text"),
        ({"name": "digits", "split": {"seed": 1}}, "divided already"),
    ],
)
def test_a_mapping_that_makes_no_dataset(spec, message):
    with pytest.raises(ConfigError) as caught:
        load_image_dataset(spec)
    assert message in str(caught.value)
    assert any(message in one for one in image_data_problems(spec))


def test_names_and_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(UnknownDatasetError) as caught:
        load_image_dataset("digtis")
    assert "digits" in caught.value.nearest
    with pytest.raises(UnknownDatasetError):
        load_image_dataset("bernett")  # proteins
    with pytest.raises(UnknownDatasetError, match="Did you mean: digits"):
        load_image_dataset({"name": "digts"})
    (tmp_path / "itself.yaml").write_text(f"name: {tmp_path}/itself.yaml")
    with pytest.raises(ConfigError, match="no dataset of images"):
        load_image_dataset(tmp_path / "itself.yaml")
    (tmp_path / "photos").mkdir()
    for spec in (tmp_path / "photo", str(tmp_path / "photo"), {"train": str(tmp_path / "photo")}):
        with pytest.raises(DataError, match="did you mean 'photos'"):
            load_image_dataset(spec)
        assert "did you mean 'photos'" in image_data_problems(spec)[0]
    with pytest.raises(DataError, match="and no list"):
        load_image_dataset(write(tmp_path / "1.png"))
    assert image_data_problems({"images": tmp_path / "photos"}) == []
    assert image_data_problems(3) and image_data_problems(None)


def test_parts_are_of_one_kind(photos, tmp_path):
    write(tmp_path / "loose/1.png", 300)
    with pytest.raises(DataError, match="train has classes, test has no labels"):
        load_image_dataset({"train": photos / "train", "test": tmp_path / "loose"})


# -- leaks and digests ---------------------------------------------------------------------------------


def test_an_image_in_two_parts_is_refused_by_its_content(photos):
    (photos / "val/dog/other name.png").write_bytes((photos / "train/cat/2.png").read_bytes())
    with pytest.raises(LeakageError) as caught:
        load_image_dataset(photos)
    assert "1 of 3 images of val is in train: dog/other name.png is cat/2.png" in str(caught.value)
    assert isinstance(caught.value, DataError) and len(caught.value.problems) == 1


def test_the_digest_is_that_of_names_contents_and_classes(photos, tmp_path):
    before = load_image_dataset(photos).digests
    assert load_image_dataset(photos).digests == before and set(before) == {"train", "val"}
    photos.rename(tmp_path / "moved")
    assert load_image_dataset(tmp_path / "moved").digests == before
    write(tmp_path / "moved/val/dog/0.png", 999)
    changed = load_image_dataset(tmp_path / "moved").digests
    assert changed["train"] == before["train"] and changed["val"] != before["val"]
    (tmp_path / "moved/train/cat/2.png").rename(tmp_path / "moved/train/dog/2.png")
    assert load_image_dataset(tmp_path / "moved").digests["train"] != before["train"]


def test_an_image_in_two_classes_is_told(photos):
    (photos / "train/dog/9.png").write_bytes((photos / "train/cat/0.png").read_bytes())
    assert (
        "1 images are in two classes, such as dog/9.png and cat/0.png" in load_image_dataset(photos).notes[0]
    )


def test_of_very_much_only_names_and_sizes_are_looked_at(photos, monkeypatch):
    (photos / "val/dog/same.png").write_bytes((photos / "train/cat/2.png").read_bytes())
    monkeypatch.setattr(image_dataset, "HASHED_BYTES", 100)
    data = load_image_dataset(photos)
    assert "names and sizes stand for contents" in data.notes[0]
    assert data.splits["train"].hashes is None
    (photos / "val/dog/same.png").rename(photos / "val/dog/renamed.png")
    assert load_image_dataset(photos).digests["val"] != data.digests["val"]


# -- divisions -----------------------------------------------------------------------------------------


NAMES = [f"{kind}/{at}.png" for kind in ("a", "b") for at in range(300)]
CLASSES = [int(name[0] == "b") for name in NAMES]


def test_a_division_is_about_the_asked_one_in_each_class():
    parts = divide(NAMES, CLASSES, None, fractions=(0.6, 0.3, 0.1), seed=1)
    assert sorted(at for chosen in parts.values() for at in chosen) == list(range(len(NAMES)))
    for label in (0, 1):
        shares = [sum(CLASSES[at] == label for at in parts[part]) / 300 for part in ("train", "val", "test")]
        assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.08)
    assert parts == divide(NAMES, CLASSES, None, fractions=(0.6, 0.3, 0.1), seed=1)
    assert parts != divide(NAMES, CLASSES, None, fractions=(0.6, 0.3, 0.1), seed=2)
    assert set(divide(NAMES, CLASSES, None, fractions=(0.9, 0.1, 0), seed=1)) == {"train", "val"}


def test_an_image_that_is_added_moves_no_other():
    def part_of(names):
        parts = divide(names, [int(n[0] == "b") for n in names], None, fractions=(0.5, 0.25, 0.25), seed=0)
        return {names[at]: part for part, chosen in parts.items() for at in chosen}

    before = part_of(NAMES)
    after = part_of(["a/new.png", *reversed(NAMES), "b/another.png"])
    assert {name: after[name] for name in NAMES} == before


def test_a_small_class_reaches_every_part():
    for seed in range(20):
        for count in (1, 2, 3, 4):
            parts = divide([f"{n}" for n in range(count)], None, None, fractions=(0.8, 0.1, 0.1), seed=seed)
            sizes = [len(parts[part]) for part in ("train", "val", "test")]
            assert sizes[0] >= 1 and sum(sizes) == count
            assert count < 3 or min(sizes) >= 1


def test_equal_images_stay_together(tmp_path):
    root = class_folder(tmp_path / "x", {"a": 20, "b": 20})
    for at in range(20):
        (root / f"a/copy of {at}.png").write_bytes((root / f"a/{at}.png").read_bytes())
    spec = {"images": root, "split": {"fractions": [0.5, 0.25, 0.25], "seed": 3}}
    data = load_image_dataset(spec)  # two parts with one image would be refused
    assert data.split_by == {"fractions": [0.5, 0.25, 0.25], "seed": 3}
    assert data.classes == ("a", "b") and sum(map(len, data.splits.values())) == 60
    where = {name: part for part, table in data.splits.items() for name in table.names}
    assert all(where[f"a/copy of {at}.png"] == where[f"a/{at}.png"] for at in range(20))
    assert data.digests == load_image_dataset(spec).digests and len(set(data.digests.values())) == 3


def test_too_few_images_to_divide(tmp_path):
    for at in range(2):
        write(tmp_path / f"x/{at}.png", at)
    with pytest.raises(DataError, match="too few"):
        load_image_dataset({"images": tmp_path / "x", "split": {}})


# -- registered ----------------------------------------------------------------------------------------


def test_digits_are_listed_and_nothing_is_wrong_with_their_table():
    assert dataset_problems() == []
    info = get_dataset_info("digits")
    assert (info.holds, info.zoo, info.parts) == ("images", "vision", ("train", "val", "test"))
    assert info.license and info.paper and info.homepage and info.notes
    assert info.files[0].url.startswith("pypi://scikit-learn==") and info.size_bytes == 57523
    assert image_data_problems("digits") == []
    with pytest.raises(DataError, match="holds images, not pairs"):
        load_dataset("digits")


TABLE = """
[tiny]
description = "six noughts and ones of 2 x 2 pixels"
license = "CC0-1.0"
[tiny.files.pixels]
url = "pixels.csv.gz"
sha256 = "{pixels}"

[packed]
description = "two shards"
[packed.files.train_images]
url = "train.tar"
sha256 = "{train}"
[packed.files.val_images]
url = "val.tar"
sha256 = "{val}"
"""


def test_a_zoo_may_list_pixels_and_shards(here):
    lines = [f"{at},{at + 1},16,0,{at % 2}" for at in range(12)]
    files = {"pixels.csv.gz": gzip.compress("\n".join(lines).encode(), mtime=0)}
    for number, part in enumerate(("train", "val")):
        members = [
            ("1.png", encoded(10 * number)),
            ("1.cls", b"0"),
            ("2.png", encoded(10 * number + 1)),
            ("2.cls", b"1"),
        ]
        files[f"{part}.tar"] = shard(here.root / f"{part}.tar", members).read_bytes()
    digests = {name.partition(".")[0]: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    here.write({"src/model/__init__.py": "", "src/model/datasets.toml": TABLE.format(**digests)})
    here.write({f"src/model/{name}": content for name, content in files.items()})
    assert dataset_problems() == []
    tiny = load_image_dataset("tiny")
    assert tiny.classes == ("0", "1") and sum(map(len, tiny.splits.values())) == 12
    assert set(tiny.splits) == {"train", "val", "test"} and tiny.info.name == "tiny"
    first = next(
        table.open(table.names.index("0000")) for table in tiny.splits.values() if "0000" in table.names
    )
    assert np.asarray(first)[..., 0].tolist() == [[0, 16], [255, 0]]
    packed = load_image_dataset({"name": "packed"})
    assert {part: table.labels.tolist() for part, table in packed.splits.items()} == {
        "train": [0, 1],
        "val": [0, 1],
    }


@pytest.mark.parametrize(
    "lines", [b"", b"1,2,3\n", b"1,2,3,4,x\n", b"1,2,3,99,0\n", b"1,2,3,-4,0\n", b"1,2,3,nan,0\n"]
)
def test_pixels_that_make_no_images(here, lines):
    content = gzip.compress(lines, mtime=0)
    table = TABLE.partition("[packed]")[0].format(pixels=hashlib.sha256(content).hexdigest())
    here.write({"src/model/__init__.py": "", "src/model/datasets.toml": table})
    here.write({"src/model/pixels.csv.gz": content})
    with pytest.raises(DataError, match="tiny"):
        load_image_dataset("tiny")


def test_loading_what_is_there_needs_no_torch(project, photos):
    result = project.run(
        f"""
        import sys
        from holotype.vision.data.augmentation.presets import check_augmentation
        from holotype.vision.data.load import load_image_dataset
        assert check_augmentation("standrad", "classification")
        data = load_image_dataset({str(photos)!r})
        result = [len(data.splits["train"]), "torch" in sys.modules]
        """
    )
    assert result == [5, False]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(photos):
    (photos / "train/cat").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read as a folder"):
            load_image_dataset(photos)
    finally:
        (photos / "train/cat").chmod(0o755)


# -- at a size -----------------------------------------------------------------------------------------


def test_a_turned_photograph_stands_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(3, size=(20, 10)).save(tmp_path / "1.jpg", exif=turned)
    table = load_image_dataset(tmp_path).splits["train"]
    image, size = table.decode(0)
    assert image.size == size == (10, 20)


def test_a_large_jpeg_is_decoded_smaller_and_placed_the_same(tmp_path):
    from holotype.vision.data.resize import read_image, resize_to

    gradient = np.linspace(0, 255, 640 * 480).reshape(480, 640).astype(np.uint8)
    Image.fromarray(gradient).convert("RGB").save(tmp_path / "1.jpg", quality=95)
    table = load_image_dataset(tmp_path).splits["train"]
    small, size = table.decode(0, at_least=(60, 60))
    assert small.size == (80, 60) and size == (640, 480)
    for mode in ("squash", "crop", "letterbox"):
        fast, place = read_image(table, 0, (32, 48), mode)
        slow, same = resize_to(table.open(0), (32, 48), mode)
        assert fast.shape == (3, 32, 48) and fast.dtype == torch.uint8 and place == same
        assert (fast.float() - slow.float()).abs().mean() < 3


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(32, 48), (48, 32), (40, 40)])
def test_boxes_are_moved_with_their_pixels(mode, size):
    from holotype.vision.data.resize import resize_to

    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[40:80, 60:100] = 255
    result, place = resize_to(Image.fromarray(pixels), size, mode, fill=(0, 0, 0))
    (box,) = place.to_result([[60, 40, 100, 80]])
    ys, xs = torch.nonzero(result[0] > 127, as_tuple=True)
    found = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    assert (found - box).abs().max() <= 1
    torch.testing.assert_close(place.to_picture(box), torch.tensor([[60.0, 40, 100, 80]]))
    (whole,) = place.to_result([[-50, -50, 500, 500]])
    assert whole.tolist() == [0, 0, place.content[1], place.content[0]]
    assert mode == "letterbox" or place.content == size


def test_a_letterbox_is_padded_on_the_right_or_below():
    from holotype.errors import ParameterError
    from holotype.vision.data.resize import resize_to

    result, place = resize_to(Image.new("RGB", (20, 10), (255, 0, 0)), 16, "letterbox", fill=(1, 2, 3))
    assert place.content == (8, 16) and (place.left, place.top) == (0, 0)
    assert result[:, :8].amin((1, 2)).tolist() == [255, 0, 0] and result[:, 8:].amax((1, 2)).tolist() == [
        1,
        2,
        3,
    ]
    for wrong in ({"mode": "squish"}, {"interpolation": "cubic"}, {"size": 0}, {"size": (3, 4, 5)}):
        with pytest.raises(ParameterError):
            resize_to(Image.new("RGB", (4, 4)), **{"size": 8, **wrong})
