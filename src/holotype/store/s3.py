"""Downloading a file from an S3-compatible object store, with the package obstore.

The variables ``AWS_ACCESS_KEY_ID``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` and so on count as they do for other
tools. Without credentials in the environment, requests are not signed, which public buckets accept, and no
machine is asked for credentials; set ``AWS_SKIP_SIGNATURE=false`` to ask for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from holotype.errors import FetchError, StoreError
from holotype.extras import missing_extra
from holotype.store.http import TryAgainError, with_retries
from holotype.store.incoming import Incoming
from holotype.store.sources import S3Source, flag, is_loopback

_CHUNK = 2**18
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_FINAL = ("PermissionDeniedError", "UnauthenticatedError", "InvalidPathError")


def receive(
    source: S3Source, incoming: Incoming, *, timeout_s: float, attempts: int | None, public_only: bool
) -> None:
    """Write a file of an object store to `incoming`, or what that lacks of it.

    The endpoint is the user's own choice, so `public_only` does not count.

    Raises:
        MissingExtraError: obstore is not installed.
        FetchError: it could not be fetched.
        StoreError, VerificationError: what `incoming` raises passes through.
    """
    try:
        import obstore
        from obstore.store import S3Store
    except ImportError as error:
        raise missing_extra(error, f"{source.shown}") or error from error
    try:
        store = S3Store(source.bucket, **_options(source, os.environ, timeout_s))
    except Exception as error:  # whatever it holds against what the environment says
        raise FetchError(
            f"{source.shown}: the store cannot be used: {_first_line(error)}", given=source.address
        ) from error
    with_retries(lambda: _once(obstore, store, source, incoming), source, incoming, attempts)


def _options(source: S3Source, environ: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=timeout_s),
            "read_timeout": timedelta(seconds=timeout_s),
            "timeout": timedelta(days=7),
        },
        # Tries are counted here, where the bytes that came are kept.
        "retry_config": {"max_retries": 0},
    }
    if source.endpoint is not None:
        options["endpoint"] = source.endpoint
        parts = urlsplit(source.endpoint)
        allowed = is_loopback(parts.hostname or "") or flag(environ, "HOLOTYPE_ALLOW_HTTP")
        options["client_options"]["allow_http"] = parts.scheme == "http" and allowed
    if not any(environ.get(name) for name in _CREDENTIALS):
        options["skip_signature"] = True
    return options


def _once(obstore: Any, store: Any, source: S3Source, incoming: Incoming) -> None:
    start = incoming.size if incoming.can_go_on else 0
    asked: dict[str, Any] = {}
    if start:
        asked["range"] = {"offset": start}
        if incoming.validator is not None:
            asked["if_match"] = incoming.validator
    try:
        answer = obstore.get(store, source.key, options=asked)
        total = int(answer.meta["size"])
        if start and answer.range[0] == start:
            incoming.go_on(total)
        else:
            incoming.begin(total, answer.meta.get("e_tag"))
        for chunk in answer.stream(min_chunk_size=_CHUNK):
            incoming.write(bytes(chunk))
    except StoreError:
        raise  # what `incoming` raises
    except Exception as error:
        if not (type(error).__module__.startswith("obstore") or isinstance(error, OSError)):
            raise
        if isinstance(error, FileNotFoundError) or type(error).__name__ in _FINAL:
            raise FetchError(f"{source.shown}: {_first_line(error)}", given=source.address) from error
        if start and (type(error).__name__ == "PreconditionError" or "416" in str(error)):
            # The file was replaced, or has no such part: what there is of it is of no use.
            incoming.forget()
        raise TryAgainError(_first_line(error)) from error
    if incoming.size < total:
        raise TryAgainError(f"the store sent {incoming.size} of {total} bytes")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
