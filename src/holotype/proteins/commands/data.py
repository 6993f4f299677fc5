"""``holotype data info --read`` of pairs of proteins: what the files hold, and whether the split is kept."""

from __future__ import annotations

import sys

from holotype.domains import Reading
from holotype.printing import prose
from holotype.proteins.data.audit import audit_splits
from holotype.proteins.data.datasets import load_dataset
from holotype.text import plain


def read(source: str) -> Reading:
    """Read a dataset by name or file, and audit its split."""
    dataset = load_dataset(source)
    audit = audit_splits(dataset.splits, dataset.sequences, protocol=dataset.protocol)
    stated = len(dataset.info.notes) if dataset.info is not None else 0  # the record shows these
    lines = (*dataset.notes[: len(dataset.notes) - stated], *audit.lines())
    return Reading(
        name=dataset.name,
        facts={
            "sequences": len(dataset.sequences),
            "digests": dict(dataset.digests),
            "reports": {part: one.report.to_dict() for part, one in dataset.splits.items() if one.report},
            "notes": list(dataset.notes),
            "split_by": dataset.split_by,
            "audit": audit.to_dict(),
        },
        text="\n".join(prose(line, 0) if sys.stdout.isatty() else plain(line) for line in lines),
        ok=audit.ok,
    )
