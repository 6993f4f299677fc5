"""What every layer uses: whole files, words for counts, progress, mappings that people write."""

import errno
import hashlib
import io

import pytest

from holotype import files, text
from holotype.errors import ConfigError, DataError, LoadingError
from holotype.mappings import as_yaml, key_problems, read_mapping, read_yaml
from holotype.progress import Bar, stage_bar


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = files.write_file(tmp_path / "a.txt", b"one")
    with pytest.raises(RuntimeError), files.writing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["a.txt"]


def test_nothing_is_replaced_unasked(tmp_path):
    path = files.write_file(tmp_path / "a.txt", b"one")
    with pytest.raises(DataError, match=r"a\.txt exists already"):
        files.write_file(path, b"two", overwrite=False)
    with (
        pytest.raises(LoadingError, match=r"exists already"),
        files.writing(path, overwrite=False, error=LoadingError),
    ):
        pytest.fail("refused before anything is written")
    assert path.read_bytes() == b"one"


def test_nor_what_appears_while_it_is_written(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match="exists already"), files.writing(path, overwrite=False) as file:
        file.write(b"mine")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.txt"]


def test_what_the_disk_refuses_names_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(OSError) as caught:
        files.write_file(path, b"")
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.ENOENT)
    with pytest.raises(LoadingError, match=r"a\.txt cannot be written: No such file"):
        files.write_file(path, b"", error=LoadingError)


def test_a_folder_is_no_place_to_write_a_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        files.write_file(tmp_path, b"")


def test_a_file_that_cannot_be_read_names_its_neighbours(tmp_path):
    files.write_file(tmp_path / "yeast.tsv", b"")
    problem = FileNotFoundError(errno.ENOENT, "No such file or directory")
    error = files.unreadable(tmp_path / "yeasts.tsv", problem)
    assert "yeasts.tsv cannot be read: No such file" in str(error)
    assert error.nearest == (str(tmp_path / "yeast.tsv"),)
    assert files.unreadable(tmp_path / "yeasts.tsv", PermissionError(13, "Permission denied")).nearest == ()


def test_hashes(tmp_path):
    content = "Äpfel".encode()
    path = files.write_file(tmp_path / "a", content)
    expected = hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        assert (
            files.sha256_of(path) == files.sha256_of(file) == files.sha256_of_parts("Ä", b"pfel") == expected
        )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (text.listed("abc"), "a, b, c"),
        (text.listed(range(1234), 2), "0, 1 and 1,232 more"),
        (text.bulleted(["x", "y", "z"], 2), "  - x\n  - y\n  … and 1 more"),
        (text.counted(1, "pair"), "1 pair"),
        (text.counted(3227, "entry", "entries"), "3,227 entries"),
        (text.counted(0, "pair"), "0 pairs"),
        (text.size(812), "812 B"),
        (text.size(1.5 * 2**20), "1.5 MiB"),
        (text.size(5 * 2**30), "5.0 GiB"),
        (text.size(None), "–"),
        (text.duration(7.9), "0:07"),
        (text.duration(3723), "1:02:03"),
        (text.did_you_mean("lrr", ["lr", "seed"]), "; did you mean 'lr'?"),
        (text.did_you_mean(12, ["lr"], "; there is lr"), "; there is lr"),
        (text.plain("a\x1b[2J\n b"), "a [2J b"),
        (text.clean("a\x07\n  b"), "a \n  b"),
    ],
)
def test_words(given, expected):
    assert given == expected


def test_a_bar_counts_what_this_process_does():
    bar = Bar("scoring", "pairs")
    bar._base = 100
    assert bar.line(300, 500, 2.0) == "scoring  60%  300/500 pairs  100/s  0:02 left"
    assert bar.line(500, 500, 4.0, "loss 0.1") == "scoring  100%  500/500 pairs  loss 0.1  100/s"
    assert Bar("x.pt", "MiB").line(2**20, None, 0) == "x.pt  1.0 MiB"


def test_a_bar_of_several_stages(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    with stage_bar({"scoring": "pairs"}) as show:
        assert show is None, "nobody looks"
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with stage_bar({"scoring": "pairs"}) as show:
        show("reading", 1, 1)
        show("scoring", 50, 50)
    assert "reading  100%  1/1" in terminal.getvalue()
    assert "scoring  100%  50/50 pairs" in terminal.getvalue()
    assert "\n" not in terminal.getvalue(), "a bar that is done leaves no line"


def test_so_many_a_second():
    assert [text.rate(value) for value in (0.2512, 12.34, 27_800.4)] == ["0.251", "12.3", "27,800"]


def test_numbers_with_an_exponent_are_numbers():
    source = "{a: 1e-3, b: 1E5, c: .5, d: 1.e3, e: -2e+3, f: 1e3x, g: '1e-3', h: e5, i: 12, j: [2e0]}"
    assert read_yaml(source) == {
        "a": 0.001, "b": 1e5, "c": 0.5, "d": 1000.0, "e": -2000.0, "f": "1e3x", "g": "1e-3", "h": "e5", "i": 12, "j": [2.0],
    }  # fmt: skip


def test_a_file_that_holds_no_mapping_says_what_it_should_hold(tmp_path):
    path = files.write_file(tmp_path / "a.yaml", b"[1, 2]")
    with pytest.raises(ConfigError, match=r"a\.yaml holds \[1, 2\], not a mapping; a recipe holds model"):
        read_mapping(path, "a recipe holds model")
    files.write_file(path, as_yaml({"x": {"y": 1e-5}}))
    assert read_mapping(path) == {"x": {"y": 1e-5}}


def test_unknown_keys():
    assert key_problems({"lr": 1, "wieght_decay": 2}, ("lr", "weight_decay"), "optimizer") == [
        "optimizer.wieght_decay: no such key; did you mean 'weight_decay'?"
    ]
