"""What holds for every address, every list of mirrors, and every file in the store."""

import hashlib
import io
import tempfile
from pathlib import PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from holotype.errors import SourceError, VerificationError
from holotype.store.blobs import Blobs
from holotype.store.fetch import split_mirrors
from holotype.store.sources import SCHEMES, WheelSource, parse_source
from store_files import put

rest = st.text(st.sampled_from("ab1./\\=@:%?#-_ \0\n~"), max_size=40)


@given(st.sampled_from([*SCHEMES, "s3", "FILE", ""]), rest)
def test_an_address_is_a_source_or_an_error(scheme, text):
    try:
        source = parse_source(f"{scheme}://{text}", {})
    except SourceError:
        return
    if isinstance(source, WheelSource):
        parts = PurePosixPath(source.member).parts
        assert parts and ".." not in parts and not source.member.startswith("/")
        assert not source.package.startswith("-") and not source.version.startswith("-")


@given(st.text(max_size=30))
def test_any_text_is_a_source_or_an_error(text):
    try:
        parse_source(text, {})
    except SourceError as error:
        assert str(error)


folders = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1).map(
    lambda n: f"/srv/{n}"
)
urls = st.builds(
    lambda host, port, path: f"https://{host}{port}/{path}",
    st.from_regex(r"[a-z]{1,8}\.org", fullmatch=True),
    st.one_of(st.just(""), st.integers(1, 65535).map(lambda n: f":{n}")),
    st.from_regex(r"[a-z]{0,6}", fullmatch=True),
)


@given(st.lists(st.one_of(folders, urls), max_size=6))
def test_mirrors_survive_being_joined(mirrors):
    assert split_mirrors(":".join(mirrors), ":") == mirrors


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 10_000))
def test_what_is_put_is_found_and_what_is_changed_is_not(data, at):
    with tempfile.TemporaryDirectory() as folder:
        blobs = Blobs(folder)
        path = put(blobs, io.BytesIO(data), size=len(data))
        sha256 = hashlib.sha256(data).hexdigest()
        assert path.name == sha256 and path.read_bytes() == data and blobs.find(sha256) == path
        if data:
            changed = bytearray(data)
            changed[at % len(data)] ^= 1 + at % 255
            try:
                put(blobs, io.BytesIO(changed), sha256=sha256)
            except VerificationError:
                raise AssertionError("a good blob is there; nothing new is read") from None
            path.chmod(0o644)
            path.write_bytes(changed)
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert blobs.find(sha256) is None
