"""The split audit: what the parts of a split have in common.

===========================================  ======  ======  ======
found between two parts                      ``c1``  ``c2``  ``c3``
===========================================  ======  ======  ======
the same pair, in either order               leak    leak    leak
… with another label                         leak    leak    leak
a held-out pair of two proteins in training          leak    leak
the same protein                                             leak
one sequence under two names                                 leak
near-duplicates                                              leak
===========================================  ======  ======  ======

Proteins with the same sequence count as the same. Under c2 a near-duplicate of a training protein counts as
seen. The audit lists everything it finds, forbidden or not. Near-duplicates come from the k-mer screen of
`holotype.proteins.data.similarity`, which needs nothing installed, or from clusters of mmseqs2 or cd-hit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holotype.errors import DataError, LeakageError
from holotype.proteins.data.pairs import PairTable, align, counts_in_words
from holotype.proteins.data.similarity import NEAR_DUPLICATE, TOOLS, cluster_sequences, similar_pairs
from holotype.proteins.data.splits import PROTOCOLS, check_protocol
from holotype.splits import PARTS
from holotype.text import SHOWN, bulleted

__all__ = ["Audit", "Finding", "audit_splits"]

_FORBIDDEN = {
    "shared_pair": PROTOCOLS,
    "contradiction": PROTOCOLS,
    "seen_pair": ("c2",),
    "shared_protein": ("c3",),
    "identical_sequence": ("c3",),
    "near_duplicate": ("c3",),
}
_RULE = {
    "c1": "c1 forbids the same pair in two parts",
    "c2": "c2 forbids held-out pairs both of whose proteins are in training, near-duplicates included",
    "c3": "c3 forbids any protein, or a near-duplicate of one, in two parts",
}


@dataclass(frozen=True)
class Finding:
    """Something that two parts have in common.

    Attributes:
        kind: ``"shared_pair"``, ``"contradiction"``, ``"seen_pair"``, ``"shared_protein"``,
            ``"identical_sequence"``, ``"near_duplicate"`` or ``"not_screened"``.
        parts: the two parts; information leaks from the first into the second.
        count: how many pairs or proteins of the second part are affected.
        of: how many pairs or proteins the second part has.
        forbidden: whether the protocol forbids it.
        message: one sentence with the counts.
        examples: the first or worst few.
    """

    kind: str
    parts: tuple[str, str]
    count: int
    of: int
    forbidden: bool
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message + (f": {'; '.join(self.examples)}" if self.examples else "")


@dataclass(frozen=True)
class Audit:
    """What a split audit found.

    Attributes:
        protocol: the protocol that the split was checked against; with None only repeated pairs are
            forbidden.
        parts: part -> pairs, proteins, positives, positive_rate, and the degrees of its proteins (mean,
            median, max, and the share of all pairs that involve the busiest hundredth of proteins).
        classes: held-out part -> number of pairs in C1, C2 and C3 with respect to training, by name.
        classes_by_sequence: the same, where a protein counts as seen if training has its sequence or a
            near-duplicate.
        findings: everything that two parts have in common, the worst first.
        similarity: the method that found near-duplicates.
        min_identity: the least identity of near-duplicates.
    """

    protocol: str | None
    parts: Mapping[str, Mapping[str, Any]]
    classes: Mapping[str, Mapping[str, int]]
    classes_by_sequence: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...] = field(repr=False)
    similarity: str = "kmer"
    min_identity: float = NEAR_DUPLICATE

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that the protocol forbids."""
        return tuple(one for one in self.findings if one.forbidden)

    @property
    def ok(self) -> bool:
        """Whether the split keeps to its protocol."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "protocol": self.protocol,
            "ok": self.ok,
            "similarity": self.similarity,
            "min_identity": self.min_identity,
            "parts": {name: dict(values) for name, values in self.parts.items()},
            "classes": {name: dict(values) for name, values in self.classes.items()},
            "classes_by_sequence": {n: dict(v) for n, v in self.classes_by_sequence.items()},
            "findings": [
                {**asdict(one), "parts": list(one.parts), "examples": list(one.examples)}
                for one in self.findings
            ],
        }

    def lines(self) -> list[str]:
        """The audit as text, a line for each part, class and finding."""
        lines = [
            f"{name}: {counts_in_words(part)}; degree {part['degree_median']:g} (median) to "
            f"{part['degree_max']:,}"
            for name, part in self.parts.items()
        ]
        for name, counts in self.classes.items():
            lines.append(f"{name}: {_classes_in_words(counts)}")
            others = self.classes_by_sequence[name]
            if others != counts:
                lines.append(f"{name}, counting near-duplicates as seen: {_classes_in_words(others)}")
        lines += [f"{'LEAK' if one.forbidden else 'note'}: {one}" for one in self.findings]
        promise = f"protocol {self.protocol}" if self.protocol else "no promise"
        return [*lines, f"{promise}: {'kept' if self.ok else 'broken'}"]

    def raise_if_leaking(self) -> None:
        """Refuse a split that breaks its protocol.

        Raises:
            LeakageError: the message lists what the protocol forbids and what was found.
        """
        if self.ok:
            return
        protocol = self.protocol or "c1"
        lines = [str(one) for one in self.problems]
        raise LeakageError(
            f"the parts of this split overlap: {_RULE[protocol]}.\n{bulleted(lines)}",
            given=self.protocol,
            problems=lines,
            hint=f"Split the pairs again: holotype split PAIRS --protocol {protocol} --seed 1"
            + (" --sequences FASTA --max-identity 0.4" if protocol != "c1" else "")
            + ("; or state that the split is of protocol c1" if protocol != "c1" and self._fits_c1() else "")
            + ".",
        )

    def _fits_c1(self) -> bool:
        return not any(one.kind in ("shared_pair", "contradiction") for one in self.findings)


def audit_splits(
    splits: Mapping[str, PairTable],
    sequences: Mapping[str, str],
    *,
    protocol: str | None,
    similarity: str | Mapping[str, Any] = "kmer",
    min_identity: float = NEAR_DUPLICATE,
) -> Audit:
    """Find what the parts of a split have in common.

    Args:
        splits: some of ``"train"``, ``"val"`` and ``"test"``.
        sequences: of the proteins, by name. A protein without one is compared by its name alone.
        protocol: what the split promises: ``"c1"``, ``"c2"``, ``"c3"``, or None for nothing.
        similarity: the method that finds near-duplicates: ``"kmer"``, ``"mmseqs"``, ``"cd-hit"``,
            ``"none"``, or a mapping from name to cluster.
        min_identity: the least identity of near-duplicates.

    Raises:
        DataError: an unknown protocol or similarity, or a tool that is not installed.
    """
    if protocol is not None:
        check_protocol(protocol)
    if isinstance(similarity, str) and similarity not in (*TOOLS, "none"):
        raise DataError(f"no similarity named {similarity!r}.", given=similarity, nearest=(*TOOLS, "none"))
    names = [name for name in PARTS if name in splits] + [name for name in splits if name not in PARTS]
    tables = dict(zip(names, align(*(splits[name] for name in names)), strict=True))
    search = _Search(tables, sequences, protocol or "c1")
    search.screen(similarity, min_identity)
    for one, other in combinations(names, 2):
        search.compare(one, other)
    findings = sorted(search.findings, key=lambda f: (not f.forbidden, "train" not in f.parts, -f.count))
    held_out = [name for name in names if name != "train"] if "train" in tables else []
    return Audit(
        protocol=protocol,
        parts={name: _described(table) for name, table in tables.items()},
        classes={name: search.classes(name, by="name") for name in held_out},
        classes_by_sequence={name: search.classes(name, by="near") for name in held_out},
        findings=tuple(findings),
        similarity=search.similarity,
        min_identity=min_identity,
    )


class _Search:
    """The findings so far.

    Shapes: N proteins of all parts; U units: different sequences, and proteins without one.
    """

    def __init__(self, tables: dict[str, PairTable], sequences: Mapping[str, str], protocol: str) -> None:
        self.tables, self.protocol = tables, protocol
        self.findings: list[Finding] = []
        self.names = next(iter(tables.values())).proteins if tables else ()
        numbers: dict[tuple[bool, str], int] = {}
        texts = [(name in sequences, sequences.get(name, name)) for name in self.names]
        self.unit = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64)  # (N,)
        self.count = len(numbers)
        self.first = np.full(self.count, len(self.names), np.int64)  # (U,) the first name of each sequence
        np.minimum.at(self.first, self.unit, np.arange(len(self.names)))
        self.texts = {at: text for (known, text), at in numbers.items() if known}
        self.used = {name: table.used() for name, table in tables.items()}
        self.holds = {name: self._units(used) for name, used in self.used.items()}  # (U,) bool
        lost = sum(not known for known, _ in texts)
        if lost:
            first = [name for name, (known, _) in zip(self.names, texts, strict=True) if not known][:SHOWN]
            message = f"{lost:,} proteins have no sequence, and were compared by name alone"
            self.findings.append(
                Finding("not_screened", ("", ""), lost, len(self.names), False, message, tuple(first))
            )

    def _units(self, proteins: NDArray[np.int32]) -> NDArray[np.bool_]:
        held = np.zeros(self.count, bool)
        held[self.unit[proteins]] = True
        return held

    def screen(self, similarity: str | Mapping[str, Any], min_identity: float) -> None:
        """Find near-duplicates among all sequences: links from one unit to another."""
        self.low = self.high = np.zeros(0, np.int64)
        self.identity = np.zeros(0, np.float32)
        self.similarity = similarity if isinstance(similarity, str) else "clusters"
        if similarity == "none":
            return
        if similarity == "kmer":
            units = list(self.texts)
            found = similar_pairs({str(at): self.texts[at] for at in units}, min_identity=min_identity)
            number = np.array(units, np.int64)
            self.low, self.high, self.identity = number[found.a], number[found.b], found.identity
            return
        if isinstance(similarity, str):
            named = {str(at): text for at, text in self.texts.items()}
            made = cluster_sequences(named, max_identity=min_identity, tool=similarity)
            cluster: dict[int, Any] = {at: made[str(at)] for at in self.texts}
        else:
            self.similarity = str(getattr(similarity, "tool", "clusters"))
            cluster = {
                at: similarity[name] for name, at in zip(self.names, self.unit.tolist(), strict=True)
                if name in similarity
            }  # fmt: skip
        self._link_clusters(cluster)

    def _link_clusters(self, cluster: Mapping[int, Any]) -> None:
        """In each cluster, link every unit with one unit of each part: enough to find what is shared."""
        members: dict[Any, list[int]] = {}
        for at, one in cluster.items():
            members.setdefault(one, []).append(at)
        links = set()
        for group in members.values():
            if len(group) > 1:
                chosen = {next((at for at in group if held[at]), None) for held in self.holds.values()}
                links |= {tuple(sorted((at, to))) for at in group for to in chosen if to not in (None, at)}
        rows = np.array(sorted(links), np.int64).reshape(-1, 2)
        self.low, self.high = rows[:, 0], rows[:, 1]
        self.identity = np.full(len(rows), np.nan, np.float32)

    def near(self, part: str) -> NDArray[np.bool_]:
        """(U,) whether the part has this sequence or a near-duplicate."""
        held = self.holds[part]
        reached = held.copy()
        reached[self.high[held[self.low]]] = True
        reached[self.low[held[self.high]]] = True
        return reached

    def classes(self, part: str, *, by: str) -> dict[str, int]:
        """The number of pairs of a part in C1, C2 and C3 with respect to training."""
        if by == "name":
            seen = np.zeros(len(self.names), bool)
            seen[self.used["train"]] = True
        else:
            seen = self.near("train")[self.unit]
        table = self.tables[part]
        known = seen[table.a].astype(np.int64) + seen[table.b]
        counts = np.bincount(2 - known, minlength=3).tolist()
        return {f"C{at}": count for at, count in enumerate(counts, 1)}

    def compare(self, one: str, other: str) -> None:
        """Add the findings of two parts."""
        self._compare_pairs(one, other)
        if one == "train" and self.protocol == "c2":  # c1 expects it, c3 reports the proteins
            self._compare_seen(other)
        shared = np.intersect1d(self.used[one], self.used[other])
        self._note("shared_protein", one, other, len(shared), f"proteins of {other} are in {one}",
                   [self.names[at] for at in shared[:SHOWN].tolist()])  # fmt: skip
        self._compare_identical(one, other, shared)
        self._compare_near(one, other)

    def _compare_pairs(self, one: str, other: str) -> None:
        mine, theirs = self._keys(one), self._keys(other)
        rows = np.flatnonzero(np.isin(theirs, mine))
        table = self.tables[other]
        self._note("shared_pair", one, other, len(rows), f"pairs of {other} are in {one}",
                   table.examples(rows), of=len(table))  # fmt: skip
        before = self.tables[one].labels
        if table.labels is None or before is None or not len(rows):
            return
        # All labels a pair has in `one`; a pair may stand there under several names.
        labelled = np.unique(mine * 2 + before)
        opposite = rows[np.isin(theirs[rows] * 2 + 1 - table.labels[rows], labelled)]
        self._note("contradiction", one, other, len(opposite),
                   f"pairs of {other} have the other label in {one}", table.examples(opposite),
                   of=len(table))  # fmt: skip

    def _compare_seen(self, other: str) -> None:
        table = self.tables[other]
        seen = self.near("train")[self.unit]
        rows = np.flatnonzero(seen[table.a] & seen[table.b])
        self._note("seen_pair", "train", other, len(rows),
                   f"pairs of {other} have both proteins, or near-duplicates of them, in train",
                   table.examples(rows), of=len(table))  # fmt: skip

    def _compare_identical(self, one: str, other: str, shared: NDArray[Any]) -> None:
        theirs = np.setdiff1d(self.used[other], shared)
        same = theirs[self.holds[one][self.unit[theirs]]]
        name_in_one = dict(zip(self.unit[self.used[one]].tolist(), self.used[one].tolist(), strict=True))
        examples = [
            f"{self.names[at]} is {self.names[name_in_one[int(self.unit[at])]]}"
            for at in same[:SHOWN].tolist()
        ]
        self._note("identical_sequence", one, other, len(same),
                   f"proteins of {other} are in {one} under another name", examples)  # fmt: skip

    def _compare_near(self, one: str, other: str) -> None:
        first, second = self.holds[one], self.holds[other]
        # From the side of `other`: the best partner in `one` of each sequence that is not itself in `one`.
        ends = [(self.low, self.high), (self.high, self.low)]
        best: dict[int, tuple[float, int]] = {}
        for mine, theirs in ends:
            for row in np.flatnonzero(second[mine] & ~first[mine] & first[theirs]).tolist():
                identity = float(self.identity[row])
                before = best.get(int(mine[row]))
                if before is None or identity > before[0]:
                    best[int(mine[row])] = (identity, int(theirs[row]))
        worst = sorted(best.items(), key=lambda item: (-np.nan_to_num(item[1][0]), item[0]))
        examples = [
            f"{self._name(at, other)} and {self._name(to, one)}"
            + ("" if np.isnan(identity) else f" ({identity:.0%})")
            for at, (identity, to) in worst[:SHOWN]
        ]
        concerned = int(np.isin(self.unit[self.used[other]], list(best)).sum())
        self._note("near_duplicate", one, other, concerned,
                   f"proteins of {other} are near-duplicates of some in {one}", examples)  # fmt: skip

    def _name(self, unit: int, part: str) -> str:
        used = self.used[part]
        return self.names[int(used[np.flatnonzero(self.unit[used] == unit)[0]])]

    def _keys(self, part: str) -> NDArray[np.int64]:
        table = self.tables[part]
        a, b = self.unit[table.a], self.unit[table.b]
        return np.minimum(a, b) * max(self.count, 1) + np.maximum(a, b)

    def _note(
        self,
        kind: str,
        one: str,
        other: str,
        count: int,
        what: str,
        examples: Sequence[str],
        of: int | None = None,
    ) -> None:
        if not count:
            return
        total = len(self.used[other]) if of is None else of
        forbidden = self.protocol in _FORBIDDEN[kind]
        if count == 1:
            what = what.replace(" are near-duplicates", " is a near-duplicate").replace(" are ", " is ", 1)
            what = what.replace(" have ", " has ", 1)
        text = f"{count:,} of {total:,} {what}"
        more = ("…",) if count > len(examples) else ()
        self.findings.append(Finding(kind, (one, other), count, total, forbidden, text, (*examples, *more)))


def _classes_in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items())


def _described(table: PairTable) -> dict[str, Any]:
    counts = table.counts()
    if "positives" in counts:
        counts["negatives"] = counts["pairs"] - counts["positives"]
    degrees = np.sort(table.degrees()[table.used()])[::-1]
    busiest = table.degrees() >= (degrees[max(len(degrees) // 100 - 1, 0)] if len(degrees) else 1)
    return counts | {
        "degree_mean": float(degrees.mean()) if len(degrees) else 0.0,
        "degree_median": float(np.median(degrees)) if len(degrees) else 0.0,
        "degree_max": int(degrees[0]) if len(degrees) else 0,
        "busiest_hundredth": float((busiest[table.a] | busiest[table.b]).mean()) if len(table) else 0.0,
    }
