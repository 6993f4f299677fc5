"""Files under their hash: put, found, verified once, set aside when they change."""

import hashlib
import io
import os
import stat

import pytest

from holotype.errors import StoreError, VerificationError
from holotype.store.blobs import Blobs, Expected
from store_files import put

DATA = b"some weights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "home")


@pytest.fixture
def hashed(monkeypatch):
    """How often a whole file was hashed."""
    calls = []
    real = hashlib.file_digest

    def counting(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return calls


def leftovers(blobs):
    return list(blobs.partial.iterdir()) if blobs.partial.exists() else []


def overwrite(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


def test_put_and_find(blobs, hashed):
    assert blobs.find(SHA) is None
    assert not blobs.root.exists(), "looking creates nothing"
    path = put(blobs, io.BytesIO(DATA), sha256=SHA, size=len(DATA))
    assert path == blobs.root / "blobs" / "sha256" / SHA[:2] / SHA
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert blobs.find(SHA) == path
    assert hashed == [], "it was hashed on the way in, and not changed since"
    assert not leftovers(blobs)


def test_folders_are_private(blobs):
    path = put(blobs, io.BytesIO(DATA))
    for folder in [path.parent, *path.parents]:
        if folder == blobs.root.parent:
            break
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_verified_once(blobs, hashed):
    path = blobs.path(SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert blobs.find(SHA) == path
    assert len(hashed) == 1
    assert blobs.find(SHA) == path
    assert len(hashed) == 1
    os.utime(path)
    assert blobs.find(SHA) == path
    assert len(hashed) == 2, "a file that was touched is looked at again"


@pytest.mark.parametrize("receipt", [b"", b"{", b"[]", b"null", b'{"size": 1}', b"\xff"])
def test_a_broken_receipt_only_costs_time(blobs, hashed, receipt):
    path = put(blobs, io.BytesIO(DATA))
    (blobs.root / "receipts" / SHA[:2] / SHA).write_bytes(receipt)
    assert blobs.find(SHA) == path
    assert len(hashed) == 1


def test_put_the_same_twice(blobs):
    first = put(blobs, io.BytesIO(DATA))
    inode = first.stat().st_ino
    assert put(blobs, io.BytesIO(DATA), sha256=SHA.upper()) == first
    assert put(blobs, io.BytesIO(DATA)) == first
    assert first.stat().st_ino == inode
    assert not leftovers(blobs)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 1])
def test_wrong_size(blobs, size):
    with pytest.raises(VerificationError, match="expected"):
        put(blobs, io.BytesIO(DATA), sha256=SHA, size=size)
    assert not blobs.path(SHA).exists()
    assert not leftovers(blobs)


def test_wrong_hash_says_both(blobs):
    wrong = "0" * 64
    with pytest.raises(VerificationError) as caught:
        put(blobs, io.BytesIO(DATA), sha256=wrong)
    assert wrong in str(caught.value) and SHA in str(caught.value)
    assert not blobs.path(wrong).exists() and not blobs.path(SHA).exists()
    assert not leftovers(blobs)


@pytest.mark.parametrize("bad", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "../" + "0" * 61, 5])
def test_not_a_hash(blobs, bad):
    with pytest.raises(VerificationError, match="64 hex digits"):
        put(blobs, io.BytesIO(DATA), sha256=bad)


def test_a_flipped_bit_is_quarantined(blobs):
    path = put(blobs, io.BytesIO(DATA))
    damaged = bytearray(DATA)
    damaged[777] ^= 4
    overwrite(path, damaged)
    with pytest.warns(UserWarning, match="moved to"):
        assert blobs.find(SHA) is None
    assert not path.exists()
    (aside,) = (blobs.root / "quarantine").iterdir()
    assert aside.read_bytes() == damaged
    assert put(blobs, io.BytesIO(DATA), sha256=SHA).read_bytes() == DATA


def test_a_flipped_bit_with_the_old_times_is_quarantined(blobs):
    path = put(blobs, io.BytesIO(DATA))
    looked = path.stat()
    overwrite(path, DATA[:-1] + b"X")
    os.utime(path, ns=(looked.st_atime_ns, looked.st_mtime_ns))
    with pytest.warns(UserWarning, match="sha256 is"):
        assert blobs.find(SHA) is None


def test_a_truncated_blob_is_quarantined_when_put_again(blobs):
    path = put(blobs, io.BytesIO(DATA))
    overwrite(path, DATA[:100])
    with pytest.warns(UserWarning), pytest.raises(StoreError, match="try again"):
        put(blobs, io.BytesIO(DATA))  # without a hash it is written first, and then found to be there
    assert put(blobs, io.BytesIO(DATA)).read_bytes() == DATA


def test_the_size_as_published():
    expected = Expected(SHA, size_mib=18.0)
    assert expected.size_fits(18826032)
    assert not expected.size_fits(18826032 * 2)
    assert expected.at_most > 18826032
    assert Expected(SHA, size_bytes=5, size_mib=18.0).size_fits(5), "the exact size counts"


def test_sweep_removes_what_is_old(blobs):
    put(blobs, io.BytesIO(DATA))
    old, new, folder = blobs.partial / "old", blobs.partial / "new", blobs.partial / "wheel-x"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    folder.mkdir()
    (folder / "x.whl").write_bytes(b"x")
    for path in (old, folder):
        os.utime(path, (0, 0))
    assert blobs.sweep() == 2
    assert leftovers(blobs) == [new]
    assert Blobs(blobs.root / "nowhere").sweep() == 0


def test_an_interrupted_stream_leaves_nothing(blobs):
    class Broken(io.BytesIO):
        def read(self, *args):
            if self.tell():
                raise KeyboardInterrupt
            return super().read(10)

    with pytest.raises(KeyboardInterrupt):
        put(blobs, Broken(DATA), sha256=SHA)
    assert not leftovers(blobs) and not blobs.path(SHA).exists()


def test_where_hard_links_do_not_exist(blobs, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = put(blobs, io.BytesIO(DATA))
    assert path.read_bytes() == DATA
    assert put(blobs, io.BytesIO(DATA)) == path
    assert blobs.find(SHA) == path
    assert not leftovers(blobs)
