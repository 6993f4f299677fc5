"""The commands for images: what they print, write, refuse, and the exit code."""

import csv
import json
import os
import pty
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
import numpy as np  # noqa: E402  # after the check that torch is there
from PIL import Image  # noqa: E402

import picture_models as models  # noqa: E402
from holotype.cli import main  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A model of each task, and photographs, one of them broken."""
    monkeypatch.chdir(tmp_path)
    for kind in ("colours", "finder", "painter", "twin"):
        models.save(f"test_{kind}", tmp_path / f"{kind}.safetensors")
    for colour in ("red", "blue"):
        models.plain(colour, tmp_path / "photos" / f"{colour}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    return tmp_path


@pytest.fixture
def command(capsys):
    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as done:
            code = done.code
        out, err = capsys.readouterr()
        if words[0] != "info" and "--json" not in words:
            assert all(len(line) <= 80 for line in out.splitlines()), out
        return code, out, err

    return run


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# predict


def test_a_table_and_what_could_not_be_read(folder, command):
    code, out, err = command("predict", "colours.safetensors", "photos", "-o", "out.csv")
    assert code == 1
    assert "out.csv  2 rows" in out and "1 other file skipped" in out
    assert "photos/broken.png is not a picture" in err and "1 image of 3 could not be read" in err
    assert [row["class"] for row in rows(folder / "out.csv")] == ["blue", "red"]
    words = ("predict", "colours.safetensors", "photos", "-o", "out.csv")
    code, out, err = command(*words)
    assert code == 1 and "exists already" in err
    code, out, err = command(*words, "--overwrite", "--skip-broken", "-k", "1", "--batch-size", "1")
    assert code == 0 and "broken.png" in err
    assert list(rows(folder / "out.csv")[0]) == ["path", "class", "probability"]


def test_without_a_table_it_is_printed(command):
    code, out, _ = command("predict", "colours.safetensors", "photos/red.png", "photos/blue.png")
    assert code == 0
    lines = out.splitlines()
    assert [lines[0], lines[1].split()[1], lines[4]] == ["photos/red.png", "red", "photos/blue.png"]
    code, out, err = command("predict", "colours.safetensors", "photos/red.png", "nowhere.png", "--json")
    assert code == 1 and "nowhere.png does not exist" in err
    assert [one["path"] for one in json.loads(out)] == ["photos/red.png"]


def test_a_report_as_json(command):
    code, out, _ = command("predict", "colours.safetensors", "photos", "-o", "out.jsonl", "--json")
    told = json.loads(out)
    assert code == 1 and told["rows"] == 2 and told["unreadable"][0]["path"] == "photos/broken.png"


def test_boxes_and_pictures(folder, command):
    models.with_box(folder / "box.png", (16, 16, 64, 48))
    code, out, _ = command("predict", "finder.safetensors", "box.png")
    assert code == 0 and out.splitlines()[1].split() == ["CLASS", "SCORE", "X1", "Y1", "X2", "Y2"]
    assert out.splitlines()[2].split()[:2] == ["red", "0.90"]
    words = ("predict", "finder.safetensors", "box.png", "-o", "boxes.csv", "--pictures", "drawn")
    code, out, _ = command(*words)
    assert code == 0 and "drawn/box.png" in out and (folder / "drawn" / "box.png").is_file()
    assert list(rows(folder / "boxes.csv")[0]) == ["path", "class", "score", "x1", "y1", "x2", "y2"]
    code, out, _ = command(*words, "--threshold", "0.95", "--overwrite", "--json")
    assert json.loads(out)["rows"] == 0


def test_masked_images(folder, command):
    code, out, _ = command("predict", "painter.safetensors", "photos/red.png", "--pictures", "painted")
    assert code == 0 and "masks drawn with seed 0" in out
    with Image.open(folder / "painted" / "red.png") as painted:
        assert painted.width == 160 // models.SIZE * (3 * models.SIZE + 8)  # enlarged to be seen
    code, _, err = command("predict", "painter.safetensors", "photos/red.png")
    assert code == 2 and "give --pictures FOLDER" in err


def test_saliency(folder, command):
    import holotype
    from holotype.weights.save import save_pretrained

    net = holotype.create_model("resnet_v1_18", num_classes=3, size=64)
    preprocessing = {**models.PLAIN, "size": [64, 64]}
    save_pretrained(net, "resnet.safetensors", preprocessing=preprocessing, classes=models.CLASSES)
    words = ("predict", "resnet.safetensors", "photos/red.png", "--saliency", "out.png")
    code, out, _ = command(*words, "--of-class", "blue")
    assert code == 0 and "out.png" in out
    with Image.open("out.png") as drawn:
        assert drawn.size == (40, 30)
    code, _, err = command(*words)
    assert code == 1 and "exists already" in err
    code, _, err = command("predict", "resnet.safetensors", "photos", "--saliency", "maps")
    assert code == 1 and "broken.png" in err and len(list((folder / "maps").glob("*.png"))) == 2
    code, _, err = command(*words[:-1], "new.png", "--of-class", "blau")
    assert code == 1 and "no class named 'blau'" in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["twin.safetensors", "photos"], 1, "holotype embed twin.safetensors"),
        (["finder.safetensors", "photos", "-k", "3"], 2, "is a detector, which -k is not for"),
        (
            ["colours.safetensors", "photos", "--pictures", "x"],
            2,
            "a classifier, which --pictures is not for",
        ),
        (["painter.safetensors", "photos", "--pictures", "x", "-o", "x.csv"], 2, "which -o is not for"),
        (["finder.safetensors", "photos", "--saliency", "x.png"], 2, "which --saliency is not for"),
        (
            ["colours.safetensors", "photos", "--saliency", "x.png", "-o", "x.csv"],
            2,
            "-o does not go with it",
        ),
        (["colours.safetensors", "photos", "--of-class", "red"], 2, "goes with --saliency"),
        (["colours.safetensors", "photos", "--picture", "x.png"], 2, "of images: --pictures"),
        (["colours.safetensors", "--skip-broken", "-o", "x.csv"], 2, "which images? give files"),
        (["colours.safetensors", "photos", "-o", "x.tsv"], 1, ".csv, .parquet or .jsonl"),
        (["colors.safetensors", "photos"], 1, "colors.safetensors does not exist"),
        (["resnet_v1_50", "photos"], 1, "is an architecture"),
        (["v1", "photos"], 1, "scores pairs of proteins"),
        (["colours.safetensors", "photos", "-o", ""], 1, "a file without an ending"),
        (["colours.safetensors", ""], 1, "path of an image is empty"),
        (["finder.safetensors", "photos", "--pictures", "photos/notes.txt"], 1, "is not a folder"),
        (
            ["colours.safetensors", "photos", "--saliency", "x.png", "-k", "3"],
            2,
            "-k does not go with it",
        ),
        (["colours.safetensors", "none/*.png"], 1, "no picture matches"),
    ],
)
def test_what_predict_refuses(command, words, code, told):
    got, out, err = command("predict", *words)
    assert (got, out) == (code, "") and told in err


def test_a_bar_on_a_terminal(folder):
    words = [sys.executable, "-m", "holotype", "embed", "vit.safetensors", "photos/red.png", "-o", "e.csv"]
    import holotype
    from holotype.weights.save import save_pretrained

    net = holotype.create_model("vit_t16", **holotype.get_model_class("vit_t16").small_parameters)
    save_pretrained(net, "vit.safetensors", preprocessing={**models.PLAIN, "size": [64, 64]})
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert child.wait() == 0
    assert b"embedding images  100%  1/1 images" in shown


# embed


def test_embeddings_of_images(folder, command):
    code, out, err = command("embed", "colours.safetensors", "photos", "-o", "e.npz")
    assert code == 1 and "broken.png" in err and "3 numbers an image" in out
    with np.load("e.npz", allow_pickle=False) as arrays:
        assert arrays["embeddings"].tolist() == [[0, 0, 1], [1, 0, 0]]
    code, out, _ = command("embed", "twin.safetensors", "photos/red.png", "-o", "e.csv", "--json")
    assert code == 0 and "without classes" in json.loads(out)["notes"][1]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["colours.safetensors"], 2, "give the images, too"),
        (["colours.safetensors", "photos"], 2, "-o OUT.parquet"),
        (
            ["colours.safetensors", "photos", "-o", "e.csv", "--pooling", "mean"],
            2,
            "--pooling is for proteins",
        ),
        (["colours.safetensors", "photos", "-o", "e.emb"], 1, ".parquet, .npz, .csv or .jsonl"),
        (["finder.safetensors", "photos", "-o", "e.csv"], 1, "embedding whole images is not for it"),
        (["unirep_256", "photos", "-o", "e.csv"], 1, "is a model of proteins, which reads sequences"),
        (["p.fasta", "-o", "e.csv"], 2, "p.fasta is not a model of images"),
        (["vit_b16", "photos", "-e", "unirep_256", "-o", "e.emb"], 2, "leave out -e"),
        (["p.fasta", "-e", "unirep_256", "-o", "e.emb", "--skip-broken"], 2, "--skip-broken is for images"),
    ],
)
def test_what_embed_refuses(folder, command, words, code, told):
    (folder / "p.fasta").write_text(">a\nMKV\n")
    got, out, err = command("embed", *words)
    assert (got, out) == (code, "") and told in err


# evaluate


@pytest.fixture
def labelled(folder):
    """Twelve images of each class to learn from, six to test; two of those are in the wrong folder."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for at, name in enumerate(models.CLASSES):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                wrong = part == "test" and name == "red" and number < 2
                pixels[..., (at + wrong) % 3] += 100
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def test_a_classifier_on_folders(labelled, command):
    code, out, _ = command("evaluate", "colours.safetensors", "--images", "test", "--json")
    told = json.loads(out)
    assert code == 0 and (told["images"], told["correct"]) == (18, 16)
    assert told["confusion"] == {
        "red": {"red": 4, "green": 2}, "green": {"green": 6}, "blue": {"blue": 6}
    }  # fmt: skip
    assert told["top_5"] is None and told["balanced_accuracy"] == pytest.approx((4 / 6 + 2) / 3)
    by_class = {one["class"]: one for one in told["per_class"]}
    assert by_class["green"]["precision"] == 6 / 8 and by_class["red"]["recall"] == 4 / 6
    low, high = told["interval"]
    assert low < 16 / 18 < high
    code, out, _ = command("evaluate", "colours.safetensors", "--images", "test")
    assert code == 0 and "0.889" in out and "PRECISION" in out


def test_folders_that_are_no_classes_of_the_model(labelled, command):
    (labelled / "test" / "red").rename(labelled / "test" / "rot")
    code, _, err = command("evaluate", "colours.safetensors", "--images", "test")
    assert code == 1 and "1 of 3 classes of the images are none of" in err and ": rot." in err
    assert "red, green, blue" in err


@pytest.mark.parametrize("method", ["knn", "linear"])
def test_probes(labelled, command, method):
    words = ("evaluate", "twin.safetensors", "--train", "train", "--test", "test", "--method", method)
    code, out, _ = command(*words, "--json")
    told = json.loads(out)
    assert code == 0 and (told["method"], told["correct"], told["total"]) == (method, 16, 18)
    assert (told["train"], told["width"]) == (36, 3)
    code, out, _ = command(*words)
    assert code == 0 and "0.889" in out and "36 images of 3 classes" in out


def test_a_detector_on_coco_boxes(folder, command):
    pytest.importorskip("pycocotools")
    (folder / "images").mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        models.with_box(folder / "images" / name, (0, 0, 64, 32), colour, size=(64, 64))
    annotations = {
        "images": [{"id": at, "file_name": name, "width": 64, "height": 64} for at, name in enumerate(("a.png", "b.png"))],
        "categories": [{"id": at + 1, "name": name} for at, name in enumerate(models.CLASSES)],
        "annotations": [
            {"id": at + 1, "image_id": at, "category_id": label, "bbox": [0, 0, 64, 32], "area": 2048, "iscrowd": 0}
            for at, label in enumerate((1, 3))
        ],
    }  # fmt: skip
    (folder / "boxes.json").write_text(json.dumps(annotations))
    words = ("evaluate", "finder.safetensors", "--images", "images", "--coco", "boxes.json")
    code, out, _ = command(*words, "--json")
    told = json.loads(out)
    assert code == 0 and told["boxes"] == 2 and told["metrics"]["map_50"] == pytest.approx(1.0)
    code, out, _ = command(*words)
    assert code == 0 and "mAP 50  1.000" in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["colours.safetensors"], 2, "which images?"),
        (["--images", "test"], 2, "which model?"),
        (["colours.safetensors", "--train", "train", "--method", "knn"], 2, "which images?"),
        (["colours.safetensors", "--test", "test"], 2, "--train DIR --test DIR"),
        (["colours.safetensors", "--images", "test", "--data", "digits"], 2, "not --data and --images"),
        (["colours.safetensors", "--images", "test", "--sequences", "x"], 2, "for pairs of proteins"),
        (["colours.safetensors", "--data", "digits", "--threshold", "0.2"], 2, "--threshold is for pairs"),
        (["colours.safetensors", "--data", "x", "--coco", "x"], 2, "--coco FILE describes"),
        (
            ["colours.safetensors", "--images", "test", "--method", "knn"],
            2,
            "a probe needs images to learn from",
        ),
        (["colours.safetensors", "--images", "photos"], 1, "a class for each image"),
        (["twin.safetensors", "--images", "test"], 1, "measuring how it classifies is not for it"),
        (["finder.safetensors", "--images", "test"], 1, "needed: boxes"),
        (["twin.safetensors", "--data", "train"], 1, "--split train; or a whole folder: --images DIR"),
        (["colours.safetensors", "--images", "test", "-k", "3"], 2, "-k are the neighbours of a probe"),
        (
            ["twin.safetensors", "--train", "train", "--test", "test", "--method", "linear", "-k", "3"],
            2,
            "-k are the neighbours of a probe",
        ),
    ],
)
def test_what_evaluate_refuses(labelled, command, words, code, told):
    (labelled / "photos" / "broken.png").unlink()
    got, out, err = command("evaluate", *words)
    assert (got, out) == (code, "") and told in err


def test_a_refusal_tells_the_command_with_the_name_that_was_given(labelled, command):
    _, _, err = command("evaluate", "twin.safetensors", "--images", "test")
    assert "holotype evaluate twin.safetensors --method knn --train DIR --test DIR" in err
    code, out, _ = command("predict", "colours.safetensors", "train/red", "-o", "out.jsonl", "--json")
    assert code == 0 and json.loads(out)["model"] == "colours.safetensors"


def test_no_probe_learns_from_one_class(labelled, command):
    for part in ("train", "test"):
        for name in ("green", "blue"):
            (labelled / part / name).rename(labelled / f"{part}-{name}")
    for method in ("knn", "linear"):
        words = ("evaluate", "twin.safetensors", "--train", "train", "--test", "test", "--method", method)
        code, out, err = command(*words)
        assert (code, out) == (1, "") and "all of one class" in err


def test_three_ways_to_one_accuracy(labelled, command):
    _, out, _ = command("evaluate", "colours.safetensors", "--images", "test", "--json")
    by_images = json.loads(out)["accuracy"]
    _, out, _ = command("evaluate", "colours.safetensors", "--data", "test", "--split", "train", "--json")
    assert json.loads(out)["accuracy"] == by_images
    assert command("predict", "colours.safetensors", "test", "-o", "out.csv")[0] == 0
    right = [row["class"] == row["path"].split("/")[1] for row in rows(labelled / "out.csv")]
    assert sum(right) / len(right) == by_images


# numbers


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
@pytest.mark.parametrize(
    "words",
    [
        ("predict", "colours.safetensors", "photos/red.png", "--batch-size"),
        ("predict", "colours.safetensors", "photos/red.png", "-k"),
        ("embed", "colours.safetensors", "photos/red.png", "-o", "e.csv", "--batch-size"),
        ("evaluate", "colours.safetensors", "--images", "photos", "--batch-size"),
        ("info", "colours.safetensors", "--measure", "--batch"),
    ],
)
def test_a_number_of_things_is_from_1_on(command, words, number):
    code, out, err = command(*words, number)
    assert (code, out) == (2, "") and "a whole number from 1 on" in err


# info --measure


def test_measured(command):
    code, out, _ = command("info", "colours.safetensors", "--measure", "--batch", "2")
    assert code == 0 and "measured" in out and "images/s" in out and "2 images at once" in out
    code, out, _ = command("info", "colours.safetensors", "--measure", "--json")
    told = json.loads(out)["measured"]
    assert code == 0 and told["params"] == 1 and told["batch"] == 1 and told["device"] == "cpu"
    assert command("info", "colours.safetensors", "--batch", "2")[0] == 2
    assert command("info", "v1", "--measure")[0] == 1


def test_the_folder_of_a_run_is_described_and_measured(folder, command):
    (folder / "run").mkdir()
    (folder / "colours.safetensors").rename(folder / "run" / "model.safetensors")
    code, out, _ = command("info", "run", "--measure")
    assert code == 0 and "test_colours" in out and "images/s" in out


def test_too_large_a_batch_to_measure(command):
    code, out, err = command("info", "vit_t16", "--measure", "--batch", "100000000000")
    assert (code, out) == (1, "") and "do not fit into the memory" in err


@pytest.mark.parametrize("verb", ["predict", "embed", "evaluate", "info"])
def test_help_fits_a_narrow_terminal_and_needs_no_torch(verb):
    code = (
        f"import sys; from holotype.cli import main\ntry: main(['{verb}', '--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "60"},
        check=True,
    )
    lines = done.stdout.splitlines()
    assert sum(len(line) > 60 for line in lines) <= 2 and max(map(len, lines)) <= 70
