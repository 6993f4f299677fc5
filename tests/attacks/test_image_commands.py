"""The commands for images among files that mean harm, or that nobody had in mind."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
from PIL import Image  # noqa: E402  # after the check that Pillow is there

import picture_models as models  # noqa: E402
from holotype.cli import main  # noqa: E402
from holotype.errors import ImageError  # noqa: E402
from holotype.vision.data.decode import open_image, readable_formats  # noqa: E402
from holotype.vision.data.resize import resize_to  # noqa: E402
from holotype.vision.prediction.rows import row_file  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A model of each task, and a folder of one photograph."""
    monkeypatch.chdir(tmp_path)
    for kind in ("colours", "finder", "painter", "twin"):
        models.save(f"test_{kind}", tmp_path / f"{kind}.safetensors")
    models.plain("red", tmp_path / "photos" / "red.png")
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(folder, capsys):
    os.mkfifo(folder / "photos" / "pipe.png")
    words = [
        sys.executable,
        "-c",
        "import sys; from holotype.vision.data.decode import open_image as o; o(sys.argv[1])",
    ]
    done = subprocess.run([*words, "photos/pipe.png"], capture_output=True, text=True, timeout=60)
    assert "is a pipe or a device, not a file" in done.stderr
    assert main(["embed", "colours.safetensors", "photos", "-o", "e.csv"]) == 1
    assert "pipe.png is a pipe" in capsys.readouterr().err


def test_no_format_is_read_that_another_program_decodes(folder):
    (folder / "photos" / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    assert not {"EPS", "WMF"} & set(readable_formats())
    with pytest.raises(ImageError, match="not a picture of any format that is read here"):
        open_image(folder / "photos" / "a.png")


@pytest.mark.parametrize(
    "name",
    ["a\rb.png", "a\nb.png", "a\r\n.png", 'a"b,c.png', "-a.png", "--json.png", "[a].png", "\u56fe.png"],
)
def test_names_come_back_from_the_table(folder, name):
    models.plain("blue", folder / "odd" / name)
    assert main(["predict", "colours.safetensors", "odd", "-o", "out.csv"]) == 0
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        header, row = csv.reader(file)
    assert len(row) == len(header) and row[0] == os.path.join("odd", name)  # noqa: PTH118
    assert (
        (folder / "out.csv").read_bytes().startswith(b"path,class,probability,class_2,probability_2,class_3")
    )
    assert b"probability_3\n" in (folder / "out.csv").read_bytes()


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_drawn_never_replaces_what_is_read(folder, capsys, linked):
    before = (folder / "photos" / "red.png").read_bytes()
    place = folder / "photos" / "red.png"
    if linked:
        place = folder / "link.png"
        place.symlink_to(folder / "photos" / "red.png")
    words = ["predict", "colours.safetensors", "photos/red.png", "--saliency", str(place), "--overwrite"]
    assert main(words) == 1
    assert "would be replaced" in capsys.readouterr().err
    assert (folder / "photos" / "red.png").read_bytes() == before


def test_any_seed_masks(folder):
    for at, seed in enumerate((-5, 10**30)):
        words = ["predict", "painter.safetensors", "photos", "--pictures", f"p{at}", "--seed", str(seed)]
        assert main(words) == 0


def test_a_full_disk_is_told_with_the_file(folder, monkeypatch, capsys):
    def full(self, row):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as told, row_file("x.csv", {"path": "text"}) as table:
        monkeypatch.setattr(type(table), "write", full)
        table.write({"path": "a"})
    assert told.value.filename == "x.csv" and list(folder.glob("*x.csv*")) == []
    assert main(["embed", "colours.safetensors", "photos", "-o", "e.csv"]) == 1
    assert "e.csv: No space left on device" in capsys.readouterr().err


def test_every_proportion_can_be_cropped():
    # 32 / (32 / 49) / 49 is above 1 in double precision; a window must not be.
    for width in range(1, 110):
        pixels, placement = resize_to(Image.new("RGB", (width, 49)), (32, 32), "crop")
        assert pixels.shape == (3, 32, 32) and placement.left <= 0 and placement.top <= 0


@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_an_interruption_leaves_no_half_file(folder, ending):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import picture_models, torch\n"
        "from holotype.cli import main\n"
        "def slow(self, images):\n"
        "    print('begun', flush=True); time.sleep(60)\n"
        "picture_models.Colours.embedding = slow\n"
        f"sys.exit(main(['embed', 'colours.safetensors', 'photos', '-o', 'e.{ending}']))"
    )
    words = [sys.executable, "-c", code, os.path.dirname(models.__file__)]  # noqa: PTH120
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and err == "holotype embed: interrupted\n"
    assert not list(folder.glob(f"*e.{ending}*"))


def test_a_folder_that_may_not_be_read_is_not_passed_by(folder, monkeypatch, capsys):
    models.plain("blue", folder / "photos" / "locked" / "blue.png")
    scan = os.scandir

    def locked(path="."):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert main(["predict", "colours.safetensors", "photos"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "locked cannot be read: Permission denied" in err
