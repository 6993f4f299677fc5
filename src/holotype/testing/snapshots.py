"""Snapshots: what published weights rely on, written down for each architecture with default parameters.

A published weight file fits only as long as the names, dtypes and shapes of the tensors and the config stay
as they are. A change to them is a decision, which shows as a change to ``<zoo>.json``: for each architecture
the numbers of its parameters and tensors, a hash of the tensors' names, dtypes and shapes, one of the config.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.network_record import record_of
from holotype.catalog.values import fingerprint
from holotype.files import sha256_of_parts, write_file
from holotype.testing.subjects import ConformanceError, Subject, described, subjects

if TYPE_CHECKING:
    from torch import nn

    from holotype.catalog.registry import Zoo

_WORDS = {
    "params": "learnable parameters",
    "tensors": "tensors",
    "state": "names, dtypes, shapes or order of the tensors",
    "config": "default parameters",
}


def write_snapshots(zoo: str | Zoo, folder: str | Path, *, names: Iterable[str] | None = None) -> list[str]:
    """Write the snapshots of a zoo, and remove those of architectures that it no longer has.

    Args:
        zoo: its name, or itself.
        folder: where the file goes, ``snapshots`` beside the test file.
        names: only these architectures; none is removed then.

    Returns:
        The names of the architectures whose snapshots changed.

    Raises:
        UnknownZooError, UnknownModelError: no such zoo, no such name in it.
        ConformanceError: an architecture cannot be built; the others are written.
    """
    found = subjects(zoo, names=names)
    path = path_of(found[0].zoo, Path(folder))
    before = read_snapshots(path) if path.exists() else {}
    now, failed = {}, []
    for subject in found:
        try:
            now[subject.name] = take(subject)
        except ConformanceError as error:
            failed.append(f"{subject.name}: {error}")
    listed = {subject.name for subject in found}
    kept = {name: one for name, one in before.items() if names is not None or name in listed}
    after = {**kept, **now}
    if after != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, f"{json.dumps(dict(sorted(after.items())), indent=1)}\n".encode())
    if failed:
        raise ConformanceError("no snapshot of\n" + "\n".join(failed))
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def path_of(zoo: Zoo, folder: Path) -> Path:
    """The file of a zoo's snapshots."""
    return folder / f"{zoo.name}.json"


def read_snapshots(path: Path) -> dict[str, Any]:
    """The snapshots in a file, by the names of architectures.

    Raises:
        ConformanceError: it is not a file of snapshots.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(set(one) <= set(_WORDS) for one in found.values()):
            raise ValueError("it has keys that no snapshot has")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConformanceError(
            f"{path} holds no snapshots: {described(error)}", hint="Remove it, and write it anew."
        ) from None
    return dict(found)


def take(subject: Subject) -> dict[str, Any]:
    """The snapshot of an architecture as it is now."""
    net = _build(subject)
    lines = lines_of(net)
    config = (record_of(net) or {}).get("config", {})
    return {
        "params": sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad),
        "tensors": len(lines),
        "state": sha256_of_parts("\n".join(lines))[:32],
        "config": fingerprint(config)[:32],
    }


def show(subject: Subject) -> str:
    """What a snapshot is a hash of: the config, then a line for each tensor."""
    net = _build(subject)
    config = (record_of(net) or {}).get("config", {})
    return "\n".join([*(f"{key}={value!r}" for key, value in config.items()), *lines_of(net)])


def lines_of(net: nn.Module) -> list[str]:
    """A line for each tensor of a network, in its order: ``head.weight: float32 (5, 6)``.

    Raises:
        ConformanceError: it has no state dict.
    """
    import torch

    try:
        return [
            f"{name}: {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            for name, value in net.state_dict().items()
            if isinstance(value, torch.Tensor)
        ]
    except Exception as error:
        raise ConformanceError(f"state_dict() raised {described(error)}") from error


def _build(subject: Subject) -> nn.Module:
    import torch

    try:
        with torch.device("meta"):
            return subject.build(small=False)
    except ConformanceError:
        return subject.build(small=False)


def check_stale(zoo: Zoo, found: Iterable[Subject], folder: Path) -> None:
    """Check that every snapshot belongs to an architecture.

    Raises:
        ConformanceError: the architectures of some are gone.
    """
    path = path_of(zoo, folder)
    names = {subject.name for subject in found}
    command = command_for(zoo.name, folder)
    gone = [name for name in (read_snapshots(path) if path.exists() else {}) if name not in names]
    if gone:
        raise ConformanceError(
            f"snapshots of architectures that the zoo {zoo.name!r} no longer has: {', '.join(gone)}.",
            hint=f"Their weights have lost their name. If that is on purpose: {command}",
        )


def compare(subject: Subject, folder: Path) -> None:
    """Check that an architecture is what its snapshot says.

    Raises:
        ConformanceError: it lists what differs.
    """
    path = path_of(subject.zoo, folder)
    command = command_for(subject.zoo.name, folder, subject.name)
    then = (read_snapshots(path) if path.exists() else {}).get(subject.name)
    if then is None:
        raise ConformanceError(f"{subject.name!r} has no snapshot in {path}.", hint=f"Write it: {command}")
    now = take(subject)
    differing = [key for key in _WORDS if now[key] != then.get(key)]
    if differing:
        lines = [f"  {_difference(key, now[key], then.get(key))}" for key in differing]
        raise ConformanceError(
            f"{subject.name!r} differs from its snapshot; weights saved before do not fit it:\n"
            + "\n".join(lines),
            hint=f"See its tensors and config, here and at the commit of {path.name}: {command} --show\n"
            f"  If the change is on purpose: {command}",
        )


def _difference(key: str, now: object, then: object) -> str:
    if isinstance(now, int) and isinstance(then, int):
        return f"{now:,} {_WORDS[key]}, {then:,} in the snapshot"
    return f"other {_WORDS[key]}"


def command_for(zoo: str, folder: Path, name: str = "") -> str:
    """What to type to write snapshots."""
    try:
        shown = folder.relative_to(Path.cwd())
    except ValueError:
        shown = folder
    return f"python -m holotype.testing {zoo} {shown.as_posix()} {name}".rstrip()
