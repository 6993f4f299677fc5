"""Similar proteins: clusters for splitting, and a k-mer screen that needs nothing installed.

mmseqs2 and cd-hit align sequences. Where neither is installed, shared k-mers approximate the identity of an
alignment: the share of the shorter protein's 5-mers that the other protein has, too, is mapped to identity by
a curve fitted to 8,126 alignments among Guo's 2,497 yeast proteins (mmseqs2; identical residues over the
length of the shorter protein). At a threshold of 0.4 the screen finds nine in ten of the pairs that these
alignments put at 40 % or more, and seven in ten of the pairs it finds are right; at 0.8, nine in ten and
eight in ten.

mmseqs2 and the k-mers use single linkage: no two proteins of different clusters are similar, as far as the
tool detects.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holotype.errors import DataError

__all__ = [
    "NEAR_DUPLICATE",
    "Clusters",
    "SimilarPairs",
    "cluster_sequences",
    "installed_tools",
    "similar_pairs",
]

NEAR_DUPLICATE = 0.8
TOOLS = ("mmseqs", "cd-hit", "kmer")
K = 5
_BASE = 26
_MIN_SHARED = 4
_WINDOW = 512
_BLOCK_CELLS = 4_000_000
# Share of 5-mers, fifth root -> identity: medians over Guo's yeast proteins, in steps of a tenth.
_ROOTS = (0.0, 0.488, 0.574, 0.654, 0.737, 0.811, 0.878, 0.977, 1.0)
_IDENTITIES = (0.0, 0.34, 0.442, 0.537, 0.63, 0.753, 0.839, 0.967, 1.0)
_CHANCE = (
    2.0 / 20**K
)  # that two places of unrelated proteins hold the same 5-mer; twice that of uniform letters


@dataclass(frozen=True)
class SimilarPairs:
    """Proteins that share k-mers.

    Shapes: S pairs of proteins, numbered as `names`.

    Attributes:
        names: the proteins.
        a: (S,) int32; ``a < b``.
        b: (S,) int32.
        identity: (S,) float32, estimated over the shorter of the two; 1.0 exactly where the sequences are
            identical.
        min_identity: the threshold.
    """

    names: tuple[str, ...]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    identity: NDArray[np.float32]
    min_identity: float

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Clusters(Mapping[str, int]):
    """Name -> number of its cluster. Clusters are numbered in the order of their first name.

    Attributes:
        of: the mapping itself.
        tool: the method that made them.
        max_identity: the greatest identity of proteins in different clusters.
        approximate: True where k-mers replace an alignment.
        notes: how they were made.
    """

    of: Mapping[str, int] = field(repr=False)
    tool: str
    max_identity: float
    approximate: bool = False
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> int:
        return self.of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)

    @property
    def count(self) -> int:
        """The number of clusters."""
        return len(set(self.of.values()))

    @property
    def largest(self) -> int:
        """The number of proteins in the largest cluster."""
        return int(np.bincount(list(self.of.values())).max()) if self.of else 0


def installed_tools() -> list[str]:
    """The methods that `cluster_sequences` can use here, the best first; ``"kmer"`` is always among them."""
    return [tool for tool in TOOLS if tool == "kmer" or shutil.which(tool)]


def cluster_sequences(
    sequences: Mapping[str, str], *, max_identity: float = 0.4, tool: str | None = None
) -> Clusters:
    """Group proteins so that any two with an identity above `max_identity` are in one cluster.

    With every tool, near-duplicates by the k-mer screen (identity of at least `NEAR_DUPLICATE`, or
    `max_identity` if that is higher) are in one cluster, too: a split by these clusters passes the audit.

    Args:
        sequences: name -> sequence.
        max_identity: between 0 and 1.
        tool: ``"mmseqs"`` (identical residues of an alignment that covers 80 % of the shorter protein,
            connected components), ``"cd-hit"`` (its own greedy clusters, which leave some pairs above the
            threshold in different ones; thresholds of 0.4 or more; proteins of fewer than 11 residues stay
            alone) or ``"kmer"`` (an approximation, see above); None for the first that is installed.

    Raises:
        DataError: the tool is not installed or fails, or the threshold is out of its range.
    """
    if not (isinstance(max_identity, (int, float)) and 0 < max_identity <= 1):
        raise DataError(f"max_identity is above 0 and at most 1, not {max_identity!r}.", given=max_identity)
    if tool is None:
        tool = next(one for one in installed_tools() if one != "cd-hit" or max_identity >= 0.4)
    if tool not in TOOLS:
        raise DataError(f"no tool named {tool!r}.", given=tool, nearest=TOOLS)
    if tool != "kmer" and shutil.which(tool) is None:
        raise DataError(
            f"{tool} is not installed, or not on the PATH.",
            given=tool,
            hint=f"apt-get install {'mmseqs2' if tool == 'mmseqs' else tool}, or use the approximation: kmer",
        )
    # Sorted, with identical sequences merged: the result depends neither on the order nor on the names.
    groups: dict[str, list[str]] = {}
    for name in sorted(sequences):
        groups.setdefault(sequences[name], []).append(name)
    texts = sorted(groups)
    a, b, _ = _shared(texts, max_identity if tool == "kmer" else max(max_identity, NEAR_DUPLICATE))
    if tool == "kmer":
        what = f"shared {K}-mers are an approximation of alignments; install mmseqs2 for real ones"
    elif len(texts) < 2:
        what = tool
    else:
        (more_a, more_b), what = _run_tool(tool, texts, max_identity)
        a, b = np.concatenate([a, more_a]), np.concatenate([b, more_b])
    root = _components(len(texts), a, b)
    number: dict[int, int] = {}
    component = {name: int(root[at]) for at, text in enumerate(texts) for name in groups[text]}
    of = {name: number.setdefault(component[name], len(number)) for name in sorted(sequences)}
    made = Clusters(of, tool, float(max_identity), approximate=tool == "kmer")
    notes = (f"{len(of):,} proteins in {made.count:,} clusters, the largest of {made.largest:,}", what)
    return replace(made, notes=notes)


def similar_pairs(sequences: Mapping[str, str], *, min_identity: float = NEAR_DUPLICATE) -> SimilarPairs:
    """All pairs of proteins that are similar by their k-mers; identical sequences always are.

    For a k-mer in more than 512 proteins, each protein is compared with 512 neighbours, so that huge families
    take linear time; their members remain linked, but not each with each. k-mers with an X, or of fewer than
    three different residues, do not count.

    Args:
        sequences: name -> sequence.
        min_identity: the least identity, estimated over the shorter protein.

    Returns:
        Sorted pairs of indices into the names in the order of `sequences`. Of proteins with one sequence,
        only the first is compared with others; each of the rest is paired with that first.
    """
    names = tuple(sequences)
    first: dict[str, int] = {}
    same: list[tuple[int, int]] = []
    for at, name in enumerate(names):
        before = first.setdefault(sequences[name], at)
        if before != at:
            same.append((before, at))
    texts = sorted(first)
    a, b, identity = _shared(texts, min_identity)
    place = np.fromiter((first[text] for text in texts), np.int32, len(texts))
    one, other = place[a], place[b]
    low = np.concatenate([np.minimum(one, other), np.array([s[0] for s in same], np.int32)])
    high = np.concatenate([np.maximum(one, other), np.array([s[1] for s in same], np.int32)])
    score = np.concatenate([np.minimum(identity, np.float32(0.9999)), np.ones(len(same), np.float32)])
    order = np.lexsort((high, low))
    return SimilarPairs(
        names,
        low[order].astype(np.int32),
        high[order].astype(np.int32),
        score[order].astype(np.float32),
        min_identity,
    )


def _shared(
    texts: list[str], min_identity: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Indices of different texts that share enough k-mers, a < b, and the estimated identity."""
    count = len(texts)
    least = float(np.interp(min_identity, _IDENTITIES, _ROOTS)) ** K
    # Neighbours (see _WINDOW) in an order unrelated to names and families.
    order = np.argsort(np.random.Generator(np.random.PCG64(0)).random(count), kind="stable")
    found = [_kmers(texts[at]) for at in order.tolist()]
    sizes = np.array([len(one) for one in found], np.int64)
    kmers = np.concatenate(found) if found else np.zeros(0, np.int32)
    del found
    posting, start, width = _later_neighbours(kmers, np.repeat(np.arange(count, dtype=np.int32), sizes))
    del kmers

    offsets = np.concatenate([[0], np.cumsum(sizes)])
    work = np.concatenate([[0], np.cumsum(width, dtype=np.int64)])[offsets]
    parts: list[tuple[NDArray[Any], ...]] = []
    for here, stop in _blocks(count, work):
        rows = slice(offsets[here], offsets[stop])
        widths = width[rows]
        total = int(widths.sum())
        if total:
            base = np.repeat(start[rows] - (np.cumsum(widths, dtype=np.int64) - widths), widths)
            other = posting[base + np.arange(total)]
            mine = np.repeat(np.arange(stop - here), np.add.reduceat(
                np.concatenate([widths, [0]]), offsets[here:stop] - offsets[here]
            ) * (sizes[here:stop] > 0))  # fmt: skip
            shared = np.bincount(mine * count + other, minlength=(stop - here) * count)
            cells = np.flatnonzero(shared >= _MIN_SHARED)
            i, j, n = cells // count + here, cells % count, shared[cells]
            small = np.minimum(sizes[i], sizes[j])
            chance = _CHANCE * sizes[i] * sizes[j]
            enough = (n >= least * small) & (n >= chance + 4 * np.sqrt(chance))
            parts.append((i[enough], j[enough], n[enough] / small[enough]))
    if not parts:
        empty = np.zeros(0, np.int32)
        return empty, empty, np.zeros(0, np.float32)
    i, j = (order[np.concatenate([part[at] for part in parts])] for at in (0, 1))
    share = np.concatenate([part[2] for part in parts])
    low, high = np.minimum(i, j).astype(np.int32), np.maximum(i, j).astype(np.int32)
    sort = np.lexsort((high, low))
    identity = np.interp(share[sort] ** (1 / K), _ROOTS, _IDENTITIES)
    return low[sort], high[sort], identity.astype(np.float32)


def _later_neighbours(
    kmers: NDArray[np.int32], owner: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[Any]]:
    """For each k-mer of each protein: the later proteins that have it, at most about `_WINDOW`.

    Shapes: E k-mers of all proteins, protein by protein.

    Args:
        kmers: (E,).
        owner: (E,) the protein of each.

    Returns:
        posting, start and width, (E,) each: the proteins of entry e are ``posting[start[e]:][:width[e]]``.
        Only later proteins, so each pair is counted once, from the side of the earlier one.
    """
    by_kmer = np.argsort(kmers, kind="stable")
    posting = owner[by_kmer]
    index = np.int32 if len(kmers) < 2**31 else np.int64
    at = np.empty(len(kmers), index)
    at[by_kmer] = np.arange(len(kmers), dtype=index)
    # For each entry, in the order of `kmers`: where the run of its k-mer begins and ends, in a window.
    edges = np.flatnonzero(np.diff(kmers[by_kmer])) + 1
    begins: NDArray[Any] = np.concatenate([[0], edges]).astype(index)
    ends: NDArray[Any] = np.concatenate([edges, [len(kmers)]]).astype(index)
    run = np.empty(len(kmers), np.int32)
    run[by_kmer] = np.repeat(np.arange(len(begins), dtype=np.int32), ends - begins) if len(kmers) else 0
    del by_kmer
    first, last = begins[run], ends[run]
    del run
    start = np.clip(at - _WINDOW // 2, first, np.maximum(first, last - _WINDOW))
    width = np.minimum(last - start, _WINDOW)
    width -= at + 1 - start
    return posting, at + 1, width


def _blocks(count: int, work: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of proteins, each of at least one, that are compared at once within `_BLOCK_CELLS`."""
    here = 0
    while here < count:
        stop = here + 1
        while (
            stop < count
            and (stop - here + 1) * count <= _BLOCK_CELLS
            and work[stop + 1] - work[here] <= _BLOCK_CELLS
        ):
            stop += 1
        yield here, stop
        here = stop


def _kmers(text: str) -> NDArray[np.int32]:
    """The k-mers of a sequence, each once, as numbers, without those of low complexity."""
    letters = np.frombuffer(text.encode("latin-1", "replace"), np.uint8).astype(np.int32) - 65
    letters = np.where((letters < 0) | (letters >= _BASE), 23, letters)  # anything else counts as an X
    if len(letters) < K:
        return np.zeros(0, np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(letters, K)
    codes = np.zeros(len(windows), np.int32)
    for at in range(K):
        codes = codes * _BASE + windows[:, at]
    bits = np.bitwise_or.reduce(np.left_shift(np.int32(1), windows), axis=1)
    varied = bits & (bits - 1)  # clearing the two lowest bits leaves some if there are three residues
    keep = (varied & (varied - 1)).astype(bool) & ~(bits >> 23 & 1).astype(bool)
    return np.unique(codes[keep])


def _components(count: int, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int32]:
    """The smallest member of each element's component."""
    root = list(range(count))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        one, other = find(one), find(other)
        if one != other:
            root[max(one, other)] = min(one, other)
    return np.fromiter((find(one) for one in range(count)), np.int32, count)


def _run_tool(
    tool: str, texts: list[str], max_identity: float
) -> tuple[tuple[NDArray[np.int32], NDArray[np.int32]], str]:
    """Links between texts from an installed tool, and its name with its settings."""
    if tool == "cd-hit" and max_identity < 0.4:
        raise DataError(
            f"cd-hit takes thresholds of 0.4 or more, not {max_identity}.",
            given=max_identity,
            hint="Use mmseqs or kmer.",
        )
    with tempfile.TemporaryDirectory(prefix="holotype-") as name:
        folder = Path(name)
        fasta = folder / "in.fasta"
        fasta.write_text("".join(f">{at}\n{text}\n" for at, text in enumerate(texts)), "ascii", "replace")
        words = (_mmseqs_words if tool == "mmseqs" else _cd_hit_words)(folder, fasta, max_identity)
        _call(tool, words)
        links = _mmseqs_links(folder) if tool == "mmseqs" else _cd_hit_links(folder)
        return links, f"{tool} {' '.join(w for w in words if not w.startswith(name))}"


def _mmseqs_words(folder: Path, fasta: Path, max_identity: float) -> list[str]:
    return [
        "easy-cluster", str(fasta), str(folder / "out"), str(folder / "tmp"),
        "--min-seq-id", str(max_identity), "-c", "0.8", "--cov-mode", "1", "--cluster-mode", "1",
        "--cluster-reassign", "0", "--threads", str(os.cpu_count() or 1), "-v", "1",
    ]  # fmt: skip


def _mmseqs_links(folder: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    lines = (folder / "out_cluster.tsv").read_text("ascii").splitlines()
    rows = np.array([line.split("\t") for line in lines], np.int32).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _cd_hit_words(folder: Path, fasta: Path, max_identity: float) -> list[str]:
    word = next(size for least, size in ((0.7, 5), (0.6, 4), (0.5, 3), (0.4, 2)) if max_identity >= least)
    return [
        "-i", str(fasta), "-o", str(folder / "out"), "-c", str(max_identity), "-n", str(word),
        "-T", str(os.cpu_count() or 1), "-M", "0", "-d", "0", "-l", "10", "-g", "1",
    ]  # fmt: skip


def _cd_hit_links(folder: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    a, b, leader = [], [], None
    for line in (folder / "out.clstr").read_text("ascii").splitlines():
        if line.startswith(">"):
            leader = None
            continue
        member = int(line.partition(">")[2].partition("...")[0])
        leader = member if leader is None else leader
        a.append(leader)
        b.append(member)
    return np.array(a, np.int32), np.array(b, np.int32)


def _call(tool: str, words: list[str]) -> None:
    done = subprocess.run(  # noqa: S603  # an argument list, no shell
        [shutil.which(tool) or tool, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise DataError(
            f"{tool} failed ({done.returncode}): " + " / ".join(line.strip() for line in last),
            given=tool,
            hint="Use the approximation: kmer",
        )
