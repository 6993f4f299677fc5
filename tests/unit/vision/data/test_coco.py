"""Boxes as COCO writes them: read, clipped, counted; and JSON that is not what it should be."""

import json

import pytest

pytest.importorskip("PIL")
np = pytest.importorskip("numpy")
pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from holotype.errors import DataError, ImageError  # noqa: E402
from holotype.vision.data.load import load_image_dataset  # noqa: E402
from image_files import picture, write  # noqa: E402  # after the checks that they are there


def content():
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 12, "height": 10},
            {"id": 3, "file_name": "sub/a.png", "width": 12, "height": 10},
            {"id": 4, "file_name": "bare.png", "width": 12, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4.5], "iscrowd": 0, "area": 1},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [-5, 8, 10, 10], "iscrowd": 0},
            {"id": 3, "image_id": 3, "category_id": 90, "bbox": [0, 0, 12, 10]},
            {"id": 4, "image_id": 3, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1},
            {"id": 5, "image_id": 3, "category_id": 2, "bbox": [3, 3, 0, 4]},
            {"id": 6, "image_id": 3, "category_id": 2, "bbox": [3, 3, 4, -4]},
            {"id": 7, "image_id": 3, "category_id": 2, "bbox": [20, 3, 4, 4]},
            {"id": 8, "image_id": 3, "category_id": 2, "bbox": [5, 3, 1e-12, 4]},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 2, "name": "bicycle"}],
    }


@pytest.fixture
def coco(tmp_path):
    """A function that writes annotations beside three images, and returns what to load."""
    for at, name in enumerate(("b.png", "sub/a.png", "bare.png")):
        write(tmp_path / "images" / name, at)

    def make(annotations, name="x.json"):
        text = annotations if isinstance(annotations, str) else json.dumps(annotations)
        (tmp_path / name).write_text(text)
        return {"images": tmp_path / "images", "annotations": tmp_path / name}

    return make


def test_boxes_classes_and_notes(coco):
    data = load_image_dataset(coco(content()))
    table = data.splits["train"]
    assert (data.kind, data.classes) == ("boxes", ("bicycle", "toothbrush"))
    assert table.names == ("b.png", "sub/a.png", "bare.png")
    assert table.target(0).boxes.tolist() == [[1, 2, 4, 6.5]] and table.target(0).labels.tolist() == [1]
    assert table.target(1).boxes.tolist() == [[0, 8, 5, 10], [0, 0, 12, 10]]
    assert table.target(1).labels.tolist() == [0, 1]
    bare = table.target(2)
    assert bare.boxes.shape == (0, 4) and bare.boxes.dtype == np.float32 and bare.labels.dtype == np.int64
    assert table.open(1).tobytes() == picture(1).tobytes()
    notes = "\n".join(data.notes)
    assert "1 crowds left out" in notes and "4 boxes without area in their image left out" in notes
    assert "1 of 3 images have no box" in notes


def test_parts_and_divisions(coco, tmp_path):
    train = coco(content())
    for at, name in enumerate(("c.png", "d.png")):
        write(tmp_path / "others" / name, 50 + at)
    other = {**content(), "annotations": []}
    other["images"] = [
        {"id": at, "file_name": f"{name}.png", "width": 12, "height": 10} for at, name in enumerate("cd")
    ]
    val = {**coco(other, "val.json"), "images": tmp_path / "others"}
    data = load_image_dataset({"train": train, "val": val})
    assert len(data.splits["val"]) == 2 and data.classes == ("bicycle", "toothbrush")
    divided = load_image_dataset({**train, "split": {"fractions": [0.7, 0.3, 0]}})
    assert sum(map(len, divided.splits.values())) == 3 and divided.kind == "boxes"
    where = {
        name: table.target(at) for table in divided.splits.values() for at, name in enumerate(table.names)
    }
    assert where["b.png"].boxes.tolist() == [[1, 2, 4, 6.5]]
    other["categories"] = [{"id": 1, "name": "bicycle"}, {"id": 3, "name": "cup"}]
    coco(other, "val.json")
    with pytest.raises(DataError, match="train has toothbrush, val does not"):
        load_image_dataset({"train": train, "val": val})


def test_the_digest_is_also_that_of_the_annotations(coco):
    before = load_image_dataset(coco(content())).digests
    changed = content()
    changed["annotations"][0]["bbox"] = [1, 2, 3, 4]
    assert load_image_dataset(coco(changed)).digests != before
    assert load_image_dataset(coco(content())).digests == before


def test_missing_images_are_named(coco, tmp_path):
    spec = coco(content())
    (tmp_path / "images/sub/a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images are not in .*sub/a\.png"):
        load_image_dataset(spec)


def test_an_image_of_another_size_than_its_annotations_say(coco, tmp_path):
    spec = coco(content())
    table = load_image_dataset(spec).splits["train"]
    write(tmp_path / "images/b.png", 0, size=(24, 20))
    with pytest.raises(ImageError, match=r"b\.png has 24 x 20 pixels; its annotations are for 12 x 10"):
        table.open(0)


@pytest.mark.parametrize("stored", [True, False])
def test_boxes_are_of_the_image_as_it_is_annotated(coco, tmp_path, stored):
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(5, size=(20, 10)).save(tmp_path / "images/t.jpg", exif=turned)
    made = content()
    size = (20, 10) if stored else (10, 20)
    made["images"].append({"id": 50, "file_name": "t.jpg", "width": size[0], "height": size[1]})
    table = load_image_dataset(coco(made)).splits["train"]
    assert table.open(3).size == size
    plain = np.asarray(Image.open(tmp_path / "images/t.jpg"))
    expected = plain if stored else np.rot90(plain, -1)
    assert np.array_equal(np.asarray(table.open(3)), expected)


def changed(change):
    made = content()
    change(made)
    return made


def put(key, at, field, value):
    return changed(lambda made: made[key][at].__setitem__(field, value))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"images": NaN}', "NaN"),
        ('{"images": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "expected an object"),
        ("{}", "images: missing"),
        ({**content(), "images": {}}, "images: expected a list"),
        (changed(lambda made: made.pop("annotations")), "annotations: missing"),
        (changed(lambda made: made["images"].append(3)), r"images\[3\]: expected an object, got 3"),
        ({**content(), "images": [], "annotations": []}, "lists no image"),
        ({**content(), "categories": []}, "categories: there are none|no category"),
        (put("images", 0, "id", "7"), r"images\[0\].id: expected a whole number, got '7'"),
        (put("images", 0, "id", True), r"images\[0\].id"),
        (put("images", 0, "id", [1]), r"images\[0\].id"),
        (put("images", 0, "id", 3), "3 is there twice"),
        (put("images", 0, "file_name", "sub/a.png"), "is there twice"),
        (put("images", 0, "file_name", "../b.png"), "a path within the folder"),
        (put("images", 0, "file_name", "/etc/passwd"), "a path within the folder"),
        (put("images", 0, "file_name", "a\0b"), "a path within the folder"),
        (put("images", 0, "file_name", 3), "a path within the folder"),
        (put("images", 0, "width", 0), "b.png is 0 x 10 pixels"),
        (put("images", 0, "width", 1e9), "b.png is 1000000000.0 x 10"),
        (put("images", 0, "height", 10**40), "b.png is 12 x a huge number"),
        (put("images", 0, "height", None), "b.png is 12 x None"),
        (put("categories", 0, "id", 2), "2 is there twice"),
        (put("categories", 0, "name", "bicycle"), "'bicycle' is there twice"),
        (put("categories", 0, "name", ""), "expected text"),
        (put("annotations", 1, "id", 1), "1 is there twice"),
        (put("annotations", 0, "image_id", 99), "there is no image 99"),
        (put("annotations", 0, "image_id", 10**60), "there is no image a huge number"),
        (put("annotations", 0, "image_id", {}), r"image_id: expected a whole number"),
        (put("annotations", 0, "category_id", 1), "there is no category 1"),
        (put("annotations", 0, "bbox", None), "expected \\[x, y, width, height\\], got None"),
        (put("annotations", 0, "bbox", [1, 2, 3]), "bbox"),
        (put("annotations", 0, "bbox", [1, 2, 3, "4"]), "bbox"),
        (put("annotations", 0, "bbox", [1, 2, 3, True]), "bbox"),
        (put("annotations", 0, "bbox", [1, 2, 3, 10**400]), "bbox"),
        (json.dumps(content()).replace("4.5", "1e999"), "bbox"),
        (put("annotations", 0, "iscrowd", "no"), "iscrowd"),
    ],
)
def test_json_that_is_not_what_it_should_be(coco, wrong, message):
    with pytest.raises(DataError, match=message) as caught:
        load_image_dataset(coco(wrong))
    assert len(str(caught.value)) < 2000


def test_a_thousand_problems_are_not_all_told(coco):
    made = content()
    made["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": 3}] * 1000
    with pytest.raises(DataError, match="and 95 more") as caught:
        load_image_dataset(coco(made))
    assert len(caught.value.problems) == 100
