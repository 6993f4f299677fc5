"""Fetching: from an address and a hash to a file that has been checked.

The order is always the same: the cache, then the mirrors (by hash alone), then the source itself.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from holotype.errors import (
    FetchError,
    MissingExtraError,
    OfflineError,
    SourceError,
    StoreError,
    VerificationError,
)
from holotype.progress import Bar, Progress, reporter
from holotype.store.blobs import Blobs, Expected
from holotype.store.incoming import Incoming
from holotype.store.locks import at_most_one, no_growth
from holotype.store.sources import BACKENDS, SCHEMES, Source, blob_source, flag, parse_source

_MIRROR_ATTEMPTS = 2
_HUNG_S = 120.0
_Error = TypeVar("_Error", bound=Exception)


@dataclass(frozen=True)
class Request:
    """What will be fetched, decided before anything is touched.

    Attributes:
        source: where it comes from in the end.
        expected: what is known of it.
        mirrors: what to try first.
        offline: leave the source alone if it is not on this machine.
        public_only: the source's address comes from a remote catalog; only public machines are asked.
    """

    source: Source
    expected: Expected
    mirrors: tuple[Source, ...]
    offline: bool
    public_only: bool = False


def fetch(
    address: str,
    *,
    sha256: str | None,
    size: int | None = None,
    size_mib: float | None = None,
    allow_unverified: bool = False,
    progress: Progress | bool | None = None,
    timeout_s: float = 30.0,
    from_remote_catalog: bool = False,
) -> Path:
    """The path of a file with these bytes: from the cache if it is there, fetched otherwise.

    Args:
        address: where the file is; see `holotype.store.sources`.
        sha256: its hash. None only with `allow_unverified`, or for a file of this machine.
        size: its exact size in bytes, where known.
        size_mib: its size in MiB rounded to 0.1, as published, where the exact one is not known.
        allow_unverified: take a remote file without a hash, with a warning, anew each time.
        progress: a function of (bytes so far, total or None); True or False for a bar or none; None
            for a bar if stderr is a terminal.
        timeout_s: how long to wait for a connection and for each next piece.
        from_remote_catalog: a stranger chose the address: no file of this machine, and no machine of
            a private network, is read.

    Returns:
        A read-only file in the cache. It stays where it is; copy it to change it.

    Raises:
        SourceError: the address cannot be used.
        VerificationError: the bytes are not the published ones, or no hash was published.
        OfflineError: HOLOTYPE_OFFLINE is set and the file is neither cached nor mirrored.
        FetchError: it could not be fetched.
        StoreError: the cache cannot be written.
    """
    request = decide(
        address,
        sha256=sha256,
        size=size,
        size_mib=size_mib,
        allow_unverified=allow_unverified,
        from_remote_catalog=from_remote_catalog,
    )
    return _fetch(request, progress, timeout_s)


def fetch_open(
    request: Request, *, progress: Progress | bool | None = None, timeout_s: float = 30.0
) -> BinaryIO:
    """Fetch, and open the file: what is read is what was hashed, whatever happens to its path.

    The caller closes it. Its ``name`` is its path.

    Args:
        request: what `decide` returned.
        progress: as for `fetch`.
        timeout_s: as for `fetch`.

    Raises:
        StoreError: what `fetch` raises, or the file vanishes as often as it is fetched.
    """
    for _ in range(3):
        path = _fetch(request, progress, timeout_s)
        # The name of a blob is its hash, even if no hash was published.
        file = Blobs().open_verified(path.name)
        if file is not None:
            return file
    raise StoreError(f"{path} is removed or changed as soon as it is there.", given=request.source.address)


def find_cached(sha256: str) -> Path | None:
    """The file of this hash if it is in the cache, verified; else None."""
    return Blobs().find(Expected(sha256).sha256 or "")


def decide(
    address: str,
    *,
    sha256: str | None,
    size: int | None = None,
    size_mib: float | None = None,
    allow_unverified: bool = False,
    from_remote_catalog: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Request:
    """What `fetch` would do with these arguments. Touches neither disk nor network.

    Raises:
        SourceError: the address, or a mirror's, cannot be used.
        VerificationError: no hash was published, and `allow_unverified` is False.
    """
    environ = os.environ if environ is None else environ
    source = parse_source(address, environ)
    if from_remote_catalog and not source.remote:
        raise SourceError(
            f"{source.shown} is a file of this machine, and a remote catalog names it; refused.",
            given=address,
        )
    expected = Expected(sha256, size, size_mib)
    if expected.sha256 is None and not allow_unverified and source.remote:
        raise VerificationError(
            f"{source.shown} has no published sha256, so what comes could not be verified.",
            given=address,
            hint="Ask the publisher for it, or pass allow_unverified=True to take whatever comes.",
        )
    mirrors: tuple[Source, ...] = ()
    if expected.sha256 is not None:
        bases = split_mirrors(environ.get("HOLOTYPE_MIRRORS", ""))
        mirrors = tuple(blob_source(base, expected.sha256, environ) for base in bases)
    public_only = from_remote_catalog and not source.trusted_host
    return Request(source, expected, mirrors, flag(environ, "HOLOTYPE_OFFLINE"), public_only)


def split_mirrors(value: str, separator: str = os.pathsep) -> list[str]:
    """The stores in HOLOTYPE_MIRRORS: folders and URLs, split as the system splits PATH.

    >>> split_mirrors("/srv/models:https://models.lab.org:8443/store", ":")
    ['/srv/models', 'https://models.lab.org:8443/store']
    """
    mirrors: list[str] = []
    for piece in value.split(separator):
        before = mirrors[-1] if mirrors else ""
        # The separator may be the colon of a URL.
        after_scheme = piece.startswith("//") and before.lower() in {*SCHEMES, *BACKENDS}
        after_host = re.fullmatch(r"https?://[^/]+", before.lower()) and re.match(r"\d+(/|$)", piece)
        if separator == ":" and (after_scheme or after_host):
            mirrors[-1] = f"{before}:{piece}"
        else:
            mirrors.append(piece)
    return [mirror.strip() for mirror in mirrors if mirror.strip()]


def _fetch(request: Request, progress: Progress | bool | None, timeout_s: float) -> Path:
    blobs = Blobs()
    found = _cached(blobs, request)
    if found is not None:
        return found
    if request.expected.sha256 is None:
        if request.source.remote:
            warnings.warn(
                f"{request.source.shown} has no published sha256, so the file cannot be verified.",
                stacklevel=3,
            )
        return _bring(blobs, request, progress, timeout_s)
    lock = blobs.root / "locks" / f"{request.expected.sha256}.lock"
    blob = blobs.path(request.expected.sha256)
    hung = no_growth(blobs.partial, request.expected.sha256, max(_HUNG_S, 2 * timeout_s))
    with at_most_one(lock, give_up=lambda: blob.exists() or hung()):
        # The other process may have fetched it meanwhile.
        found = _cached(blobs, request)
        return found if found is not None else _bring(blobs, request, progress, timeout_s)


def _cached(blobs: Blobs, request: Request) -> Path | None:
    if request.expected.sha256 is None:
        return None
    found = blobs.find(request.expected.sha256)
    if found is not None and not request.expected.size_fits(size := found.stat().st_size):
        raise VerificationError(
            f"{request.source.shown}: the file with that sha256 has {size} bytes, and {request.expected} is "
            "published; one of the two is wrong.",
            given=request.source.address,
        )
    return found


def _bring(blobs: Blobs, request: Request, progress: Progress | bool | None, timeout_s: float) -> Path:
    """Mirrors, then the source; into the cache."""
    blobs.sweep()
    report = reporter(progress, request.source.file_name)
    try:
        return _from_anywhere(blobs, request, report, timeout_s)
    finally:
        if isinstance(report, Bar):
            report.close()


def _from_anywhere(blobs: Blobs, request: Request, report: Progress | None, timeout_s: float) -> Path:
    tried = []
    for mirror in request.mirrors:
        try:
            return _receive(mirror, blobs, request.expected, report, timeout_s, attempts=_MIRROR_ATTEMPTS)
        except VerificationError as error:
            warnings.warn(f"a mirror is wrong: {error}", stacklevel=6)
            tried.append(f"{mirror.shown}: not the published bytes")
        except FetchError as error:
            tried.append(str(error).splitlines()[0])
    source = request.source
    if request.offline and source.remote:
        mirrors = "no mirror is set" if not tried else "the mirrors do not have it"
        offline = OfflineError(
            f"HOLOTYPE_OFFLINE is set, {source.shown} ({request.expected}) is not in the cache "
            f"{blobs.root}, and {mirrors}.",
            given=source.address,
            hint="Fetch it once without HOLOTYPE_OFFLINE, or name a store that has it in HOLOTYPE_MIRRORS.",
        )
        raise _note(offline, tried)
    try:
        return _receive(source, blobs, request.expected, report, timeout_s, public_only=request.public_only)
    except (FetchError, MissingExtraError) as error:
        _note(error, tried)
        raise


def _note(error: _Error, tried: list[str]) -> _Error:
    if tried:
        error.add_note("Tried before:\n" + "\n".join(f"  {line}" for line in tried))
    return error


def _receive(
    source: Source,
    blobs: Blobs,
    expected: Expected,
    report: Progress | None,
    timeout_s: float,
    *,
    attempts: int | None = None,
    public_only: bool = False,
) -> Path:
    """From one source into the cache."""
    options: dict[str, Any] = {"timeout_s": timeout_s, "attempts": attempts, "public_only": public_only}
    with Incoming(blobs, expected, source.shown, report, resumable=source.resumable) as incoming:
        try:
            source.receive(incoming, **options)
            return incoming.commit()
        except VerificationError:
            if not incoming.mixed:
                raise
        # The parts do not make one file: the disk, or a server that replaced it. Once, from nothing.
        incoming.forget()
        source.receive(incoming, **options)
        return incoming.commit()
