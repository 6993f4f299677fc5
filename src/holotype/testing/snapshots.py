"""Snapshots: the tensors of an architecture with default parameters, written down.

A published weight file fits only as long as names, dtypes and shapes stay; so a change to them is a decision,
which shows as a change to a file. One architecture is one file, ``<name>.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.testing.subjects import ConformanceError, Subject, described, subjects

if TYPE_CHECKING:
    from holotype.catalog.registry import Zoo

_SHOWN = 6


def write_snapshots(zoo: str | Zoo, folder: str | Path, *, names: Iterable[str] | None = None) -> list[Path]:
    """Write the snapshots of a zoo, and remove those of architectures that it no longer has.

    Args:
        zoo: its name, or itself.
        folder: where they go, ``snapshots`` beside the test file.
        names: only these architectures; nothing is removed then.

    Returns:
        The files that changed.

    Raises:
        UnknownZooError, UnknownModelError: no such zoo, no such name in it.
        ConformanceError: an architecture cannot be built; the others are written.
    """
    folder = Path(folder)
    found = subjects(zoo, names=names)
    changed, failed = [], []
    for subject in found:
        try:
            text = json.dumps(take(subject), indent=1) + "\n"
        except ConformanceError as error:
            failed.append(f"{subject.name}: {error}")
            continue
        path = folder / f"{subject.name}.json"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    if names is None:
        for path in stale(found, folder):
            path.unlink()
            changed.append(path)
    if failed:
        raise ConformanceError("no snapshot of\n" + "\n".join(failed))
    return changed


def take(subject: Subject) -> dict[str, Any]:
    """The snapshot of an architecture as it is now."""
    import torch

    try:
        with torch.device("meta"):
            net = subject.build(small=False)
    except ConformanceError:
        net = subject.build(small=False)
    try:
        state = {
            name: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            for name, value in net.state_dict().items()
            if isinstance(value, torch.Tensor)
        }
    except Exception as error:
        raise ConformanceError(f"state_dict() raised {described(error)}") from error
    params = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    return {"zoo": subject.zoo.name, "name": subject.name, "params": params, "state": state}


def stale(found: Iterable[Subject], folder: Path) -> list[Path]:
    """Snapshots in a folder that belong to the same zoo and to no architecture in it."""
    listed = list(found)
    names, zoos = {subject.name for subject in listed}, {subject.zoo.name for subject in listed}
    left = []
    for path in sorted(folder.glob("*.json")):
        if path.stem not in names:
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                continue
            if isinstance(kept, dict) and kept.get("zoo") in zoos:
                left.append(path)
    return left


def compare(subject: Subject, folder: Path) -> None:
    """Is the architecture what its snapshot says?

    Raises:
        ConformanceError: it lists what differs.
    """
    path = folder / f"{subject.name}.json"
    command = command_for(subject.zoo.name, folder, subject.name)
    if not path.exists():
        raise ConformanceError(
            f"{subject.name!r} has no snapshot: {path} is not there.", hint=f"Write it: {command}"
        )
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        then, params = dict(kept["state"]), kept["params"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConformanceError(
            f"{path} is not a snapshot: {described(error)}", hint=f"Write it anew: {command}"
        ) from None
    now = take(subject)
    lines = _differences(then, now["state"])
    if now["params"] != params:
        lines.append(f"  {now['params']:,} learnable parameters, {params:,} in the snapshot")
    if not lines and list(then) != list(now["state"]):
        lines = ["  the tensors stand in another order"]
    if lines:
        raise ConformanceError(
            f"{subject.name!r} differs from its snapshot {path.name}; weights saved before do not fit it:\n"
            + "\n".join(lines),
            hint=f"If that is on purpose: {command}",
        )


def command_for(zoo: str, folder: Path, name: str = "") -> str:
    """What to type to write snapshots."""
    try:
        shown = folder.relative_to(Path.cwd())
    except ValueError:
        shown = folder
    return f"python -m holotype.testing {zoo} {shown.as_posix()} {name}".rstrip()


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    gone = [f"{name}: {then[name]}" for name in then if name not in now]
    new = [f"{name}: {now[name]}" for name in now if name not in then]
    other = [
        f"{name}: {now[name]}, in the snapshot {then[name]}"
        for name in then
        if now.get(name, then[name]) != then[name]
    ]
    lines = []
    for what, names in (("gone", gone), ("new", new), ("changed", other)):
        if names:
            lines.append(f"  {len(names)} {what}:")
            lines.extend(f"    {name}" for name in names[:_SHOWN])
            if len(names) > _SHOWN:
                lines.append(f"    … and {len(names) - _SHOWN} more")
    return lines
