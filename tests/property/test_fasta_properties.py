"""Whatever proteins there are, writing them in any style of FASTA and reading them gives them back."""

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holotype.errors import DataError
from holotype.proteins.data.fasta import read_proteins

NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("C", "Z")), min_size=1
)
SEQUENCES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=60)
PROTEINS = st.dictionaries(NAMES, SEQUENCES, min_size=1, max_size=6)
quickly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(PROTEINS, st.data())
def test_styles_of_fasta_change_nothing(tmp_path, proteins, data):
    ending = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    width = data.draw(st.integers(1, 70))
    lines = []
    for name, sequence in proteins.items():
        lines.append(f">{name}{data.draw(st.sampled_from(['', ' told', chr(9) + 'of >it']))}")
        text = sequence.lower() if data.draw(st.booleans()) else sequence
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(["", "-", "..", " "])) + text[at:]
        text += data.draw(st.sampled_from(["", "*"]))
        lines += [text[start : start + width] for start in range(0, len(text), width)]
        lines += [""] * data.draw(st.integers(0, 2))
    content = ending.join(lines).encode()
    path = tmp_path / "any"
    path.write_bytes(gzip.compress(content, mtime=0) if data.draw(st.booleans()) else content)
    assert dict(read_proteins(path)) == proteins


@quickly
@given(st.binary(max_size=200))
def test_any_bytes_are_proteins_or_a_data_error(tmp_path, content):
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        found = read_proteins(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert found
        assert all(s.isascii() and s.isalpha() and s.isupper() for s in found.values())


@quickly
@given(PROTEINS, st.text(">\n\tAB*-. 1;é\r", max_size=30))
def test_nothing_is_lost_in_silence(tmp_path, proteins, noise):
    """Each header either gives a protein, or an error."""
    text = noise + "".join(f"\n>{name}\n{sequence}\n" for name, sequence in proteins.items())
    path = tmp_path / "any"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        found = read_proteins(path)
    except DataError:
        return
    for name, sequence in proteins.items():
        assert found[name] == sequence


def test_an_empty_gzip_is_no_proteins(tmp_path):
    path = tmp_path / "empty.gz"
    path.write_bytes(gzip.compress(b"", mtime=0))
    with pytest.raises(DataError, match="no sequence"):
        read_proteins(path)
