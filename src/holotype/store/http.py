"""Downloading a file over HTTP, from servers that stall, break off, redirect or ask to wait.

Received bytes are kept over every failure: the next request asks for the rest only (``Range``), and only of
the same version of the file (``If-Range``).
"""

from __future__ import annotations

import http.client
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from holotype.errors import FetchError, SourceError, StoreError
from holotype.store.guard import Guard, handlers
from holotype.store.incoming import Incoming
from holotype.store.sources import HttpSource, S3Source, check_http_url, is_loopback, without_query

ATTEMPTS = 5
_BACKOFF_S = 0.5
_BACKOFF_MOST_S = 30.0
_RETRY_AFTER_MOST_S = 120.0
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK = 2**18
# Slower than this for a whole time-out is a server that drips to keep the line open.
_SLOWEST_BYTES_PER_S = 256
# A try that got so much further than any before does not count as a failure.
_AHEAD_BYTES = 2**20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_DATE = re.compile(r"[A-Za-z0-9,: +-]{10,40}", re.ASCII)


class TryAgainError(Exception):
    """What went wrong may be right in a moment."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


def receive(
    source: HttpSource, incoming: Incoming, *, timeout_s: float, attempts: int | None, public_only: bool
) -> None:
    """Write the file behind a URL to `incoming`, or what that lacks of it; see `Source.receive`.

    Raises:
        FetchError: it did not come.
        SourceError: it is at an address that is refused.
        StoreError, VerificationError: what `incoming` raises passes through.
    """
    with_retries(lambda: _once(source, incoming, timeout_s, public_only), source, incoming, attempts)


def with_retries(
    once: Callable[[], None], source: HttpSource | S3Source, incoming: Incoming, attempts: int | None
) -> None:
    """Try, and again after what may pass; a try that got ahead does not count.

    Raises:
        FetchError: it was tried often enough.
    """
    attempts = attempts or ATTEMPTS
    failed = 0
    furthest = incoming.size
    while True:
        try:
            return once()
        except TryAgainError as error:
            failed += 1
            if incoming.size - furthest >= _AHEAD_BYTES:
                failed = 1
            furthest = max(furthest, incoming.size)
            if error.after_s is not None and error.after_s > _RETRY_AFTER_MOST_S:
                raise FetchError(
                    f"{source.shown}: {error}; it asks to wait {error.after_s:.0f} s.",
                    given=source.address,
                    hint="Try again then.",
                ) from error.__cause__
            if failed >= attempts:
                tries = "once" if attempts == 1 else f"{attempts} times"
                raise FetchError(
                    f"{source.shown}: {error} (tried {tries}).", given=source.address
                ) from error.__cause__
            _sleep(max(_delay(failed), error.after_s or 0.0))


def _delay(attempt: int) -> float:
    # Between half and all of it, so that many that failed together do not return together.
    whole = min(_BACKOFF_MOST_S, _BACKOFF_S * 2.0 ** (attempt - 1))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311  # nothing secret about it


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _once(source: HttpSource, incoming: Incoming, timeout_s: float, public_only: bool) -> None:
    headers = {"User-Agent": "holotype", "Accept": "*/*", "Accept-Encoding": "identity"}
    start = incoming.size if incoming.can_go_on else 0
    if start:
        headers["Range"] = f"bytes={start}-"
        if incoming.validator is not None:
            headers["If-Range"] = incoming.validator
    request = urllib.request.Request(source.url, headers=headers)  # noqa: S310  # checked by parse_source
    if source.token:
        request.add_unredirected_header("Authorization", f"Bearer {source.token}")
    try:
        with _opener(source.url, timeout_s, public_only).open(request, timeout=timeout_s) as response:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding.lower() != "identity":
                raise FetchError(
                    f"{source.shown}: the server packed the file ({encoding}) though it was asked not to.",
                    given=source.address,
                )
            length = _content_length(response)
            validator = _validator(response.headers)
            if start and response.status == 206:
                total = _go_on(response, incoming, start, validator)
            else:
                total = length
                incoming.begin(total, validator)
            _copy(response, incoming, length, timeout_s)
            if total is not None and incoming.size < total:
                raise TryAgainError(f"the server sent {incoming.size} of {total} bytes")
    except StoreError:
        raise  # ours, though an OSError too: the disk, or a decision; no second try helps
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                # The file is shorter than what there is of it, so that belongs to something else.
                incoming.forget()
                raise TryAgainError("the server has no such part of the file") from error
            raise _refused(source, error) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, StoreError):
            raise error.reason from None  # a refused address, which urllib reports as a broken connection
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise FetchError(
                f"{source.shown}: the server's certificate is not trusted: {error.reason.verify_message}.",
                given=source.address,
            ) from error
        raise TryAgainError(_text(error.reason, timeout_s)) from error
    except (OSError, http.client.HTTPException) as error:
        raise TryAgainError(_text(error, timeout_s)) from error


def _go_on(response: Any, incoming: Incoming, start: int, validator: str | None) -> int | None:
    """Check that an answer is the part that was asked for; the length of the whole file."""
    given = response.headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(given.strip())
    total = int(found[3]) if found and found[3] != "*" else None
    if not found or int(found[1]) != start or int(found[2]) < start or (total or start + 1) <= start:
        incoming.forget()
        raise TryAgainError(f"the server was asked for bytes {start}-, and sent {given!r}")
    if None not in (incoming.validator, validator) and incoming.validator != validator:
        # It should have sent the whole new file.
        incoming.forget()
        raise TryAgainError("the file on the server was replaced meanwhile")
    incoming.go_on(total)
    return total


def _validator(headers: Message) -> str | None:
    """What the server recognises this version of the file by; weak ones say nothing about bytes."""
    tag = headers.get("ETag", "").strip()
    if _STRONG_TAG.fullmatch(tag):
        return tag
    date = headers.get("Last-Modified", "").strip()
    return date if _DATE.fullmatch(date) else None


def _copy(response: Any, incoming: Incoming, length: int | None, timeout_s: float) -> None:
    done = 0
    since, then = time.monotonic(), 0
    # `read1` returns what is there; `read` would wait for a full piece and never notice a drip.
    while chunk := response.read1(_CHUNK):
        incoming.write(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - since >= timeout_s:
            if done - then < _SLOWEST_BYTES_PER_S * timeout_s:
                raise TryAgainError(f"only {done - then} bytes came in {now - since:.0f} s")
            since, then = now, done
    if length is not None and done < length:
        raise TryAgainError(f"the connection ended after {done} of {length} bytes")


def _content_length(response: Any) -> int | None:
    given = response.headers.get("Content-Length")
    if given is None or response.headers.get("Transfer-Encoding"):
        return None
    return int(given) if given.isascii() and given.isdigit() else None


def _refused(source: HttpSource, error: urllib.error.HTTPError) -> Exception:
    reason = f"the server answered {error.code} {error.reason}".rstrip()
    if error.code in _RETRIED:
        return TryAgainError(reason, _retry_after(error.headers))
    hint = None
    if error.code in (401, 403) and source.token_variable and not source.token:
        hint = f"It may need a token: set {source.token_variable}."
    elif error.code in (404, 410):
        hint = "The file was moved or removed; whoever publishes the entry has to say where it is now."
    return FetchError(f"{source.shown}: {reason}.", given=source.address, hint=hint)


def _retry_after(headers: Message | None) -> float | None:
    given = (headers.get("Retry-After") if headers is not None else None) or ""
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _text(reason: object, timeout_s: float) -> str:
    if isinstance(reason, TimeoutError):
        return f"nothing came for {timeout_s:g} s"
    return str(reason) or type(reason).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that never lead out of encryption and never carry a token to another host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, target = urlsplit(req.full_url), urljoin(req.full_url, newurl)
        try:
            new = urlsplit(check_http_url(target, os.environ))
        except SourceError as error:
            raise FetchError(
                f"{without_query(req.full_url)} redirects to an address that is refused: {error}",
                given=req.full_url,
            ) from error
        if old.scheme == "https" and new.scheme != "https":
            raise FetchError(
                f"{without_query(req.full_url)} redirects to {without_query(target)}, "
                "which is not encrypted; refused.",
                given=req.full_url,
            )
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.remove_header("Authorization")
            authorization = req.unredirected_hdrs.get("Authorization")
            if authorization and (old.scheme, old.netloc) == (new.scheme, new.netloc):
                following.add_unredirected_header("Authorization", authorization)
        return following


def _opener(url: str, timeout_s: float, public_only: bool) -> urllib.request.OpenerDirector:
    # Put together by hand: the default one would also follow file: and ftp: and keep cookies.
    opener = urllib.request.OpenerDirector()
    loopback = is_loopback(urlsplit(url).hostname or "")
    for handler in (
        urllib.request.ProxyHandler({} if loopback else None),
        *handlers(Guard(public_only=public_only), timeout_s),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
