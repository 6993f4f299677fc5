"""Protein sequences as they are found: FASTA, or a table of names and sequences, plain or gzipped.

::

    >sp|P04637|P53_HUMAN Cellular tumor antigen p53      P04637<tab>MEEPQSDPSVEPPLSQ…
    MEEPQSDPSVEPPLSQETFSDLWKLLPENNVLSPLPSQAM

Harmless deviations are corrected, counted and listed in `Proteins.notes`: lower case, gaps, a ``*`` at the
end, Windows line ends, blank lines, a repeated record. The letters B J O U X Z are kept: each encoder
documents what it does with them. Whatever could change which protein is meant raises a `DataError` that
names file and line.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters

from holotype.errors import DataError
from holotype.files import unreadable
from holotype.proteins.data.tables import GZIP, damaged_gzip
from holotype.text import bulleted, counted

_UNUSUAL = "BJOUXZ"
_LETTERS = frozenset(ascii_letters)
_GAPS = "-."
_TITLES = frozenset({"sequence", "seq", "protein_sequence", "aa_sequence"})
_PACKED = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_SURELY = 30  # a sequence of so many letters, all of them A C G T U N, is hardly a protein
_SHOWN = 8  # further problems are only counted


class Proteins(Mapping[str, str]):
    """Sequences by name, in the order of the file; upper-case letters A–Z only, none empty.

    Attributes:
        notes: what was corrected while reading, a line for each kind; empty if nothing was.
        source: the files, for messages.
    """

    def __init__(
        self, sequences: Mapping[str, str], *, notes: Iterable[str] = (), source: str = "memory"
    ) -> None:
        self._sequences = dict(sequences)
        self.notes = tuple(notes)
        self.source = source

    def __getitem__(self, name: str) -> str:
        return self._sequences[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sequences)

    def __len__(self) -> int:
        return len(self._sequences)

    def __contains__(self, name: object) -> bool:
        return name in self._sequences

    def __repr__(self) -> str:
        return (
            f"<{len(self)} proteins of {self.source}, {sum(map(len, self._sequences.values())):,} residues>"
        )


def read_proteins(*paths: str | Path) -> Proteins:
    r"""Read FASTA files, or tables of two columns, name and sequence.

    A protein's name is the first word of its header, whole (``sp|P04637|P53_HUMAN``), or the first cell of
    its row. The content of a file decides its kind, and whether it is gzip. A repeated name with the same
    sequence counts once, within a file and among files.

    Args:
        *paths: one file or more; their proteins are joined.

    Returns:
        The sequences, with notes of what was corrected.

    Raises:
        DataError: a file cannot be read; a record is empty, has no name or holds a character that is not a
            residue; a name has two sequences. The message names file and line of each.

    Example:
        >>> import tempfile
        >>> file = tempfile.NamedTemporaryFile("w", suffix=".fasta", delete=False)
        >>> with file: _ = file.write(">P1 first\nmkt-AY\nV*\n>P2\nGGUX\n")
        >>> dict(read_proteins(file.name))
        {'P1': 'MKTAYV', 'P2': 'GGUX'}
    """
    if not paths:
        raise DataError("no file of sequences was given.", hint="read_proteins('proteins.fasta')")
    reading = _Reading()
    for path in paths:
        reading.read(Path(path))
    source = ", ".join(map(str, paths))
    if reading.problems:
        raise DataError(
            f"{source} cannot be used:\n{bulleted(reading.problems, _SHOWN)}",
            problems=reading.problems,
            given=source,
        )
    return Proteins(reading.sequences, notes=reading.counts.notes(), source=source)


@dataclass
class _Counts:
    """How often each kind of deviation was found."""

    lower: int = 0
    stops: int = 0
    gapped: int = 0
    gaps: int = 0
    spaced: int = 0
    blank: int = 0
    comments: int = 0
    repeated: int = 0
    titles: int = 0
    unusual: Counter[str] = field(default_factory=Counter)
    with_unusual: int = 0
    nucleotides: int = 0
    files: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        letters = ", ".join(f"{letter} {self.unusual[letter]:,}" for letter in sorted(self.unusual))
        corrected = [
            (self.lower, "{} had lower-case letters: made upper case"),
            (self.stops, "{} ended in '*': removed"),
            (self.gapped, f"{{}} had gaps: {self.gaps:,} signs '-' or '.' removed"),
            (self.spaced, "{} had spaces among the residues: removed"),
            (self.with_unusual, f"{{}} hold letters beyond the twenty ({letters}): kept"),
            (self.repeated, "{} repeated under the same name: kept once"),
            (
                self.nucleotides,
                "{} hold only the letters A C G T U N and may be DNA or RNA: kept",
            ),
        ]
        found = [text.format(counted(count, "sequence")) for count, text in corrected if count]
        lines = [
            (self.blank, "blank line"),
            (self.comments, "comment line"),
            (self.titles, "header line"),
        ]
        found += [f"{counted(count, what)} skipped" for count, what in lines if count]
        return found + self.files


class _Reading:
    """The sequences, problems and counts of the files read so far."""

    def __init__(self) -> None:
        self.sequences: dict[str, str] = {}
        self.problems: list[str] = []
        self.counts = _Counts()
        self._places: dict[str, str] = {}

    def read(self, path: Path) -> None:
        text = self._text(path)
        start = next((line for line in text if line.strip() and line[0] != ";"), None)
        if start is None:
            self.problems.append(f"{path}: no sequence in it")
            return
        text.seek(0)
        if start.lstrip().startswith(">"):
            self._read_fasta(path, text)
        elif "\t" in start:
            self._read_table(path, text)
        else:
            self.problems.append(
                f"{path}: neither FASTA (a first line '>name') nor a table of two columns (name, tab, "
                f"sequence); it begins with {start.strip()[:40]!r}"
            )

    def _text(self, path: Path) -> io.StringIO:
        """The text of a file, its line ends normalized."""
        data = _bytes(path)
        kind = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
        if kind is not None:
            raise DataError(
                f"{path} is compressed with {kind}; plain text and gzip can be read.",
                given=str(path),
                hint="Decompress it first.",
            )
        if b"\0" in data:
            raise DataError(
                f"{path} is not plain text: it holds NUL bytes, as UTF-16 does.",
                given=str(path),
                hint=f"iconv -f UTF-16 -t UTF-8 {path} > proteins.fasta",
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
            self.counts.files.append(f"{path.name} is not in UTF-8: read as Latin-1")
        if "\r" in text:
            self.counts.files.append(f"{path.name} has line ends of Windows or old Macs: read as line ends")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return io.StringIO(text, newline="\n")

    def _read_fasta(self, path: Path, text: io.StringIO) -> None:
        name: str | None = None
        begun = 0
        lines: list[tuple[int, str]] = []
        for number, line in enumerate(text, 1):
            if line[0] == ">":
                if begun:
                    self._add(name, path, begun, lines)
                words = line[1:].split(maxsplit=1)
                name, begun, lines = words[0] if words else None, number, []
            elif line[0] == ";":
                self.counts.comments += 1
            elif stripped := line.strip():
                if stripped[0] == ">":
                    self.problems.append(f"{path}:{number}: spaces before the '>' of a header")
                else:
                    lines.append((number, stripped))
            else:
                self.counts.blank += 1
        if begun:
            self._add(name, path, begun, lines)

    def _read_table(self, path: Path, text: io.StringIO) -> None:
        first = True
        for number, line in enumerate(text, 1):
            if not line.strip():
                self.counts.blank += 1
                continue
            if line[0] == ";":
                self.counts.comments += 1
                continue
            cells = [cell.strip() for cell in line.rstrip("\n").split("\t")]
            while len(cells) > 2 and not cells[-1]:
                cells.pop()
            titles, first = first and len(cells) == 2 and cells[1].lower() in _TITLES, False
            if titles:
                self.counts.titles += 1
            elif len(cells) == 2:
                self._add(cells[0] or None, path, number, [(number, cells[1])] if cells[1] else [])
            else:
                self.problems.append(
                    f"{path}:{number}: expected two columns (name, tab, sequence), got {len(cells)}"
                )

    def _add(self, name: str | None, path: Path, begun: int, lines: list[tuple[int, str]]) -> None:
        place = f"{path}:{begun}"
        if name is None:
            self.problems.append(f"{place}: a sequence without a name")
            return
        sequence = self._clean(name, path, lines)
        if sequence is None:
            return
        if not sequence:
            self.problems.append(f"{place}: {name!r} has no residues")
            return
        before = self.sequences.get(name)
        if before is None:
            self.sequences[name] = sequence
            self._places[name] = place
        elif before == sequence:
            self.counts.repeated += 1
        else:
            self.problems.append(
                f"{place}: {name!r} has another sequence at {self._places[name]} "
                f"({len(sequence):,} residues here, {len(before):,} there)"
            )

    def _clean(self, name: str, path: Path, lines: list[tuple[int, str]]) -> str | None:
        """One corrected sequence; None after noting why it cannot be used."""
        counts = self.counts
        raw = "".join(line for _, line in lines)
        if not (raw.isascii() and raw.isalpha()):
            compact = "".join(raw.split())
            counts.spaced += compact != raw
            ungapped = compact.replace("-", "").replace(".", "")
            counts.gapped += ungapped != compact
            counts.gaps += len(compact) - len(ungapped)
            raw = ungapped.rstrip("*")
            counts.stops += raw != ungapped
            if raw and not (raw.isascii() and raw.isalpha()):
                self.problems.append(_wrong(name, path, lines))
                return None
        sequence = raw.upper()
        counts.lower += sequence != raw
        unusual = {letter: count for letter in _UNUSUAL if (count := sequence.count(letter))}
        if len(sequence) >= _SURELY and not sequence.strip("ACGTUN"):
            counts.nucleotides += 1
        if unusual:
            counts.with_unusual += 1
            counts.unusual.update(unusual)
        return sequence


def _wrong(name: str, path: Path, lines: list[tuple[int, str]]) -> str:
    """A line for the first character of a sequence that is not a residue."""
    signs = [(number, sign) for number, line in lines for sign in line if not sign.isspace()]
    while signs[-1][1] in "*-.":  # allowed at the end
        signs.pop()
    number, sign = next((n, sign) for n, sign in signs if sign not in _LETTERS and sign not in _GAPS)
    why = ": a stop inside the sequence" if sign == "*" else ", which is not a residue"
    return f"{path}:{number}: {name!r} holds {sign!r}{why}"


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged_gzip(path, error) from error
