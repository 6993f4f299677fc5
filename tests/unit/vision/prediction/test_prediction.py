"""Images in, tables and pictures out: every file is accounted for, and a table is there wholly or not at all."""

import csv
import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
import numpy as np  # noqa: E402  # after the check that torch is there
from PIL import Image  # noqa: E402

import picture_models as models  # noqa: E402
from holotype.errors import DataError, ImageError, ParameterError, UnknownPretrainedError  # noqa: E402
from holotype.vision.prediction import open_image, predict  # noqa: E402
from holotype.vision.prediction.classification import predict_files  # noqa: E402
from holotype.vision.prediction.detections import (  # noqa: E402
    DetectedObject,
    colour_of,
    detect_files,
    detect_images,
    draw_boxes,
)
from holotype.vision.prediction.embeddings import embed_files, embed_images  # noqa: E402
from holotype.vision.prediction.files import decoded, find_images, picture_paths  # noqa: E402
from holotype.vision.prediction.reconstructions import reconstruct_files, reconstruct_images  # noqa: E402
from holotype.vision.prediction.rows import row_file  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(folder):
    """Three pictures in two folders, a damaged one, a text and a hidden file."""
    models.plain("red", folder / "photos" / "b.png")
    models.plain("blue", folder / "photos" / "a.PNG")
    models.plain("lime", folder / "photos" / "more" / "c.jpg")
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    (folder / "photos" / "notes.txt").write_text("notes")
    (folder / "photos" / "._b.png").write_bytes(b"of another system")
    return folder / "photos"


@pytest.fixture
def colours(folder):
    return models.save("test_colours", folder / "colours.safetensors")


def read(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# Which files


def test_a_folder_is_taken_with_all_that_is_in_it(photos):
    found = find_images("photos")
    assert found.files == ("photos/a.PNG", "photos/b.png", "photos/broken.jpg", "photos/more/c.jpg")
    assert found.skipped == ("photos/._b.png", "photos/notes.txt")


def test_globs_and_files_each_once(photos):
    found = find_images(["photos/b.png", "photos/*.*g", "photos/**/*.jpg"])
    assert found.files == ("photos/b.png", "photos/broken.jpg", "photos/more/c.jpg")
    assert find_images(["photos/notes.txt", "nowhere.png"]).files == ("photos/notes.txt", "nowhere.png")


def test_a_name_that_looks_like_a_glob_is_a_file_if_it_is_there(folder):
    models.plain("red", folder / "a[1].png")
    assert find_images("a[1].png").files == ("a[1].png",)


@pytest.mark.parametrize("path", ["empty", "*.webp"])
def test_nothing_found_is_an_error(folder, path):
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="picture"):
        find_images(path)


def test_a_folder_that_links_to_itself_ends(photos):
    (photos / "loop").symlink_to(photos)
    assert len(find_images("photos").files) == 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 20])
def test_batches_keep_the_order_and_skip_what_cannot_be_read(batch_size):
    def take(path):
        if path in ("3", "9"):
            raise ImageError(f"{path} is damaged")
        return int(path)

    unreadable = []
    files = [str(at) for at in range(10)]
    batches = list(decoded(files, take, batch_size=batch_size, unreadable=unreadable))
    assert [value for batch in batches for _, value in batch] == [0, 1, 2, 4, 5, 6, 7, 8]
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert [one.path for one in unreadable] == ["3", "9"]
    with pytest.raises(ImageError, match="3 is damaged"):
        list(decoded(files, take, batch_size=batch_size))


def test_no_more_is_read_ahead_than_two_batches():
    seen = []
    batches = decoded(range(1000), lambda at: seen.append(at), batch_size=4)
    next(batches)
    batches.close()
    assert len(seen) <= 16


def test_pictures_go_beside_nothing_that_is_read(photos):
    files = ["photos/b.png", "photos/more/c.jpg"]
    places = picture_paths(files, "drawn")
    assert [str(path) for path in places.values()] == ["drawn/b.png", "drawn/more/c.jpg"]
    with pytest.raises(DataError, match="is a picture that is read"):
        picture_paths(files, "photos", overwrite=True)
    assert len(set(picture_paths(["x.png", "x.gif", "a/../x.bmp"], "drawn").values())) == 3


# Classes


def test_a_table_of_classes(photos, colours):
    report = predict_files(colours, photos, output="out.csv", top_k=2, batch_size=2)
    rows = read("out.csv")
    assert list(rows[0]) == ["path", "class", "probability", "class_2", "probability_2"]
    assert [row["class"] for row in rows] == ["blue", "red", "green"]
    assert [row["path"].rpartition("/")[2] for row in rows] == ["a.PNG", "b.png", "c.jpg"]
    assert float(rows[0]["probability"]) == pytest.approx(
        float(torch.tensor([0.0, 0, 8]).softmax(0)[2]), abs=1e-5
    )
    assert (report.images, report.rows, len(report.skipped)) == (3, 3, 2)
    (broken,) = report.unreadable
    assert broken.path.endswith("broken.jpg") and "broken.jpg is not a picture" in broken.reason
    assert json.loads(json.dumps(report.to_dict()))["unreadable"][0]["path"] == broken.path


def test_lines_of_json_and_parquet_hold_the_same(photos, colours):
    predict_files(colours, photos, output="out.jsonl", top_k=9)
    lines = [json.loads(line) for line in (photos.parent / "out.jsonl").read_text().splitlines()]
    assert [line["classes"][0]["name"] for line in lines] == ["blue", "red", "green"]
    parquet = pytest.importorskip("pyarrow.parquet")
    predict_files(colours, photos, output="out.parquet", top_k=9)
    table = parquet.read_table("out.parquet").to_pylist()
    assert [row["class"] for row in table] == ["blue", "red", "green"] and "class_3" in table[0]
    assert table[1]["probability"] == pytest.approx(lines[1]["classes"][0]["probability"], rel=1e-6)


def test_without_a_table_the_predictions_are_returned(photos, colours):
    told = []
    report = predict_files(colours, photos, progress=lambda *one: told.append(one))
    assert [one.top.name for one in report.results] == ["blue", "red", "green"]
    assert report.output is None and told[-1] == ("classifying", 4, 4)


def test_a_table_that_is_there_stays(photos, colours, folder):
    (folder / "out.csv").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        predict_files(colours, photos, output="out.csv")
    assert (folder / "out.csv").read_text() == "mine"
    predict_files(colours, photos, output="out.csv", overwrite=True)
    assert len(read("out.csv")) == 3


def test_an_error_in_the_middle_leaves_the_old_table_and_nothing_else(photos, colours, folder):
    (folder / "out.csv").write_text("mine")

    def fail(*told):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        predict_files(colours, photos, output="out.csv", overwrite=True, progress=fail)
    assert (folder / "out.csv").read_text() == "mine" and not left_over(folder)


def test_a_table_taken_meanwhile_stays(folder):
    with (
        pytest.raises(DataError, match="exists already"),
        row_file("out.csv", {"path": "text"}) as table,
    ):
        table.write({"path": "a"})
        (folder / "out.csv").write_text("another's")
    assert (folder / "out.csv").read_text() == "another's" and not left_over(folder)


@pytest.mark.parametrize("output", ["out.xlsx", "out", "nowhere/out.csv"])
def test_tables_of_no_use(photos, colours, output):
    with pytest.raises(DataError, match="out"):
        predict_files(colours, photos, output=output)


def test_names_that_are_no_utf8(folder, colours):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        models.plain("red", folder / "photos" / name)
    except OSError:
        pytest.skip("this file system takes no such names")
    for output in ("out.csv", "out.jsonl"):
        predict_files(colours, "photos", output=output)
        assert "caf\\xe9.png" in (folder / output).read_text("utf-8").replace("\\\\", "\\")


def test_where_models_are(folder, colours, photos):
    (folder / "run").mkdir()
    colours.rename(folder / "run" / "model.safetensors")
    for name in ("run", folder / "run" / "model.safetensors", "./run"):
        assert predict(name, photos / "b.png")[0].top.name == "red"
    with pytest.raises(UnknownPretrainedError, match="a weight file or the folder"):
        predict("colors", photos / "b.png")
    with pytest.raises(UnknownPretrainedError, match="is an architecture"):
        predict("test_colours", photos / "b.png")


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("test_finder", "--pictures"), ("test_painter", "--pictures"), ("test_twin", "holotype embed")],
)
def test_models_that_know_no_classes_say_what_they_are_for(folder, photos, kind, hint):
    path = models.save(kind, folder / "m.safetensors")
    with pytest.raises(DataError) as error:
        predict(path, photos / "b.png")
    assert hint in error.value.hint


# Boxes


@pytest.mark.parametrize("size", [(160, 80), (50, 200), (32, 32), (20, 10)])
def test_boxes_are_in_pixels_of_the_picture_as_it_is(folder, size):
    model = models.save("test_finder", folder / "m.safetensors")
    box = (0, size[1] // 2, size[0] // 2, size[1])
    path = models.with_box(folder / "a.png", box, size=size)
    (found,) = detect_images(model, path)
    (one,) = found.objects
    scale = max(size) / models.SIZE
    assert (one.x1, one.y1, one.x2, one.y2) == pytest.approx(box, abs=1.5 * max(scale, 0.5))
    assert (one.name, one.label, found.size) == ("red", 0, size)
    assert one.x2 <= size[0] and one.y2 <= size[1]


def test_a_table_of_boxes_and_pictures(folder):
    model = models.save("test_finder", folder / "m.safetensors")
    (folder / "in").mkdir()
    models.with_box(folder / "in" / "a.png", (16, 16, 64, 48))
    models.with_box(folder / "in" / "b.png", (16, 16, 64, 48), "blue")
    (folder / "in" / "c.png").write_bytes(b"no")
    report = detect_files(model, "in", output="boxes.csv", pictures="drawn", batch_size=1)
    (row,) = read("boxes.csv")
    assert list(row) == ["path", "class", "score", "x1", "y1", "x2", "y2"]
    assert (row["path"], row["class"], row["score"]) == ("in/a.png", "red", "0.9")
    assert (report.images, report.rows, len(report.unreadable)) == (2, 1, 1)
    assert report.pictures == ("drawn/a.png", "drawn/b.png")
    assert report.notes == ("nothing scores above 0.5 in 1 of 2 images",)
    a, b, drawn_a, drawn_b = (open_image(f"{where}/{name}.png") for where in ("in", "drawn") for name in "ab")
    assert drawn_a.size == (640, 320)  # enlarged, for the names to have room
    drawn_a, drawn_b = (one.reduce(4) for one in (drawn_a, drawn_b))
    assert drawn_a.tobytes() != a.tobytes()
    assert drawn_b.tobytes() == b.tobytes()
    assert detect_files(model, "in/b.png", threshold=0.1).results[0].objects[0].name == "blue"
    detect_files(model, "in", output="boxes.jsonl", threshold=0.1)
    lines = (folder / "boxes.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["objects"]) for line in lines] == [1, 1]


def test_numbers_out_of_range(folder):
    model = models.save("test_finder", folder / "m.safetensors")
    models.plain("red", folder / "a.png")
    for wrong in ({"threshold": 1.5}, {"iou_threshold": -1}, {"max_detections": 0}, {"batch_size": 0}):
        with pytest.raises(ParameterError):
            detect_images(model, "a.png", **wrong)


def test_drawn_boxes_stay_in_the_picture_and_show_their_class():
    image = Image.new("RGB", (100, 60), "white")
    one = DetectedObject("a class of a very long name indeed", 0.9, -20, -5, 90, 55, 3)
    drawn = draw_boxes(image, [one])
    assert drawn.size == image.size and image.getcolors() == [(6000, (255, 255, 255))]
    assert drawn.getpixel((89, 40)) == colour_of(3) and drawn.getpixel((91, 40)) == (255, 255, 255)
    empty = draw_boxes(image, [])
    assert empty.tobytes() == image.tobytes()
    found = models.Finder().detect(torch.tensor([0.0, 0, 1])[None, :, None, None].expand(1, 3, 20, 30))[0]
    assert draw_boxes(image, found, models.CLASSES).getpixel((29, 19)) == colour_of(2)


def test_colours_of_the_first_classes_differ():
    assert len({colour_of(at) for at in range(100)}) == 100


# Masked images


def test_reconstructions_are_seeded_and_do_not_depend_on_their_neighbours(folder):
    model = models.save("test_painter", folder / "m.safetensors")
    files = [str(models.plain("red", folder / f"{at}.png")) for at in range(2)]
    before = torch.random.get_rng_state()
    first, second = reconstruct_images(model, files, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.mask, reconstruct_images(model, files[0], seed=3)[0].mask)
    assert not torch.equal(first.mask, second.mask)
    assert not torch.equal(first.mask, reconstruct_images(model, files[0], seed=4)[0].mask)
    report = reconstruct_files(model, files, pictures="painted", seed=3)
    joined = open_image(report.pictures[0])
    joined = joined.reduce(160 // models.SIZE)
    assert joined.size == (3 * models.SIZE + 8, models.SIZE)
    red, black, white = (255, 0, 0), (0, 0, 0), (255, 255, 255)
    hidden = first.mask[0, 0] > 0
    at = models.SIZE + 4
    assert [joined.getpixel((x, 0)) for x in (0, at, 2 * at)] == [
        red, black if hidden else red, white if hidden else red
    ]  # fmt: skip


# Embeddings


def test_embeddings_of_every_kind_of_model(folder, photos, colours):
    red = [1.0, 0.0, 0.0]
    for kind in ("test_colours", "test_painter", "test_twin"):
        names, vectors = embed_images(models.save(kind, folder / f"{kind}.safetensors"), photos / "b.png")
        assert names == (str(photos / "b.png"),) and vectors.tolist() == [red]
        assert vectors.dtype == np.float32
    with pytest.raises(DataError, match="embedding whole images"):
        embed_images(models.save("test_finder", folder / "f.safetensors"), photos / "b.png")
    with pytest.raises(ImageError, match="broken"):
        embed_images(colours, photos / "broken.jpg")


def test_files_of_embeddings(photos, colours):
    report = embed_files(colours, photos, output="e.npz", batch_size=2)
    assert (report.rows, len(report.unreadable)) == (3, 1)
    with np.load("e.npz", allow_pickle=False) as arrays:
        assert arrays["embeddings"].shape == (3, 3) and arrays["paths"][1].endswith("b.png")
        vectors = arrays["embeddings"]
    embed_files(colours, photos, output="e.csv")
    rows = read("e.csv")
    assert list(rows[0]) == ["path", "embedding_0", "embedding_1", "embedding_2"]
    assert [float(rows[2][f"embedding_{at}"]) for at in range(3)] == pytest.approx(vectors[2], rel=1e-5)
    parquet = pytest.importorskip("pyarrow.parquet")
    embed_files(colours, photos, output="e.parquet")
    table = parquet.read_table("e.parquet")
    assert table.schema.field("embedding").type.list_size == 3
    assert np.allclose(table.column("embedding").to_pylist(), vectors)
    with pytest.raises(DataError, match="exists already"):
        embed_files(colours, photos, output="e.npz")
    assert not left_over(photos.parent)


def test_names_have_room_on_a_small_picture() -> None:
    image = Image.new("RGB", (40, 30), "white")
    one = DetectedObject("cat", 0.9, 5, 5, 25, 20, 0)
    drawn = draw_boxes(image, [one], at_least=90)
    assert drawn.size == (120, 90)
    assert drawn.getpixel((15, 59)) == colour_of(0) == drawn.getpixel((74, 40))
