"""The domain of proteins: whether two of them interact, and embeddings of their sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holotype.domains import DatasetKind, Domain
from holotype.splits import PARTS

_COMMANDS = ("predict", "evaluate", "embed", "split", "compare")


def _is_dataset(source: str) -> bool:
    from holotype.proteins.data.datasets import is_file

    return is_file(source)


def _problems(roles: frozenset[str], row: Mapping[str, Any]) -> list[str]:
    problems = []
    if not any(role.endswith("pairs") for role in roles):
        problems.append("files: no pairs")
    if not any(role.endswith("sequences") for role in roles):
        problems.append("files: no sequences")
    if "pairs" in roles and any(role.endswith("_pairs") for role in roles):
        problems.append("files: either 'pairs' or those of the parts")
    if row.get("protocol") not in (None, "c1", "c2", "c3"):
        problems.append(f"protocol: one of c1, c2, c3, not {row['protocol']!r}")
    return problems


def _described_by(info: Any, files: Mapping[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": info.name,
        **{role.removesuffix("_pairs"): name for role, name in files.items() if role.endswith("pairs")},
        "sequences": [name for role, name in files.items() if role.endswith("sequences")],
    }
    if info.metadata["protocol"] is not None:
        described["split"] = {"protocol": info.metadata["protocol"]}
    return described


_PAIRS = DatasetKind(
    holds="pairs",
    roles=frozenset(
        {"pairs", "sequences", *(f"{part}_{kind}" for part in PARTS for kind in ("pairs", "sequences"))}
    ),
    undivided=("pairs",),
    read="holotype.proteins.commands.data:read",
    metadata={"protocol": str, "species": list},
    claims=_is_dataset,
    problems=_problems,
    described_by=_described_by,
)

DOMAIN = Domain(
    name="proteins",
    recipe="holotype.proteins.training.recipe:ProteinRecipe",
    job="holotype.proteins.training.job:ProteinJob",
    commands={verb: f"holotype.proteins.commands.{verb}:COMMAND" for verb in _COMMANDS},
    datasets=(_PAIRS,),
)
