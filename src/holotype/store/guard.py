"""Which machines may be connected to: no catalog and no redirect leads into a private network.

A name is resolved once, what it stands for is checked, and the connection goes to the address that was
checked. A name server that answers differently the second time gains nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from holotype.errors import FetchError, SourceError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def kind(address: str) -> str:
    """``"public"``, ``"private"``, ``"link-local"``, ``"loopback"`` or ``"reserved"``.

    >>> kind("169.254.169.254"), kind("::ffff:10.0.0.1")
    ('link-local', 'private')
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv6 address that embeds an IPv4 address leads to that one.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return kind(str(inner))
    if ip.is_loopback:
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved:
        return "reserved"
    return "public" if ip.is_global else "private"


class Guard:
    """Decides for one request and its redirects; the first address is the caller's own choice.

    Args:
        public_only: not even the first may be anything but public: it comes from a remote catalog.
    """

    def __init__(self, *, public_only: bool = False) -> None:
        self._allowed: frozenset[str] | None = frozenset({"public"}) if public_only else None
        self._public_only = public_only

    def connect(
        self, address: tuple[str, int], timeout: float | None = None, source_address: Any = None
    ) -> socket.socket:
        """Connect to an address that is allowed; used in place of `socket.create_connection`."""
        host, port = address
        addresses = self._check(host, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        error: OSError | None = None
        for target, family, type_, protocol, end in addresses:
            connection = socket.socket(family, type_, protocol)
            try:
                connection.settimeout(timeout)
                connection.connect(end)
            except OSError as failed:
                connection.close()
                error = failed
                continue
            self._reached(target)
            return connection
        raise error or OSError(f"{host} has no address")

    def check_behind_proxy(self, host: str) -> None:
        """Check a host that a proxy will connect to, as far as its name can be resolved here."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return  # only the proxy knows that name
        self._reached(self._check(host, found)[0][0])

    def _reached(self, target: str) -> None:
        self._allowed = frozenset({"public"}) if self._public_only else frozenset({"public", target})

    def _check(self, host: str, found: list[Any]) -> list[tuple[str, Any, Any, Any, Any]]:
        known = [
            (kind(str(end[0])), family, type_, protocol, end) for family, type_, protocol, _, end in found
        ]
        if self._allowed is None:
            return known
        good = [one for one in known if one[0] in self._allowed]
        if good:
            return good
        kinds = " and ".join(sorted({one[0] for one in known}))
        if self._public_only:
            raise SourceError(
                f"{host} is a {kinds} address, and an address from a remote catalog must be public.",
                given=host,
                hint="If you trust it, register the entry in a zoo of your own.",
            )
        raise FetchError(f"a redirect leads to {host}, a {kinds} address; refused.", given=host)


def handlers(guard: Guard, timeout_s: float) -> list[urllib.request.BaseHandler]:
    """Handlers of urllib for http and https, with connections that a guard makes.

    Args:
        guard: decides.
        timeout_s: how long the head of an answer may take, whole.
    """

    class Plain(http.client.HTTPConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            _prepare(self)

        def getresponse(self) -> http.client.HTTPResponse:
            return _in_time(self, super().getresponse)

    class Encrypted(http.client.HTTPSConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            _prepare(self)

        def getresponse(self) -> http.client.HTTPResponse:
            return _in_time(self, super().getresponse)

    # What is connected to is the proxy where there is one, and a proxy is the user's own choice.
    behind_proxy = False

    def _prepare(connection: Any) -> None:
        if not behind_proxy:
            connection._create_connection = guard.connect  # where http.client keeps socket.create_connection

    def _in_time(
        connection: Any, respond: Callable[[], http.client.HTTPResponse]
    ) -> http.client.HTTPResponse:
        # A time-out of the socket starts anew with each byte: a server could drip headers for days.
        line = connection.sock
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)  # of TLS too: the line, not the protocol

        watch = threading.Timer(2 * timeout_s, hang_up)
        watch.daemon = True
        watch.start()
        try:
            answer = respond()
        except (OSError, http.client.HTTPException):
            if not late.is_set():
                raise
        finally:
            watch.cancel()
        if late.is_set():  # also where http.client takes what there is of the head for all of it
            raise ConnectionError("the head of the answer took too long")
        return answer

    def decide(request: urllib.request.Request) -> None:
        nonlocal behind_proxy
        target = urlsplit(request.full_url)
        behind_proxy = request.host != target.netloc
        if behind_proxy:
            guard.check_behind_proxy(target.hostname or "")

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            decide(req)
            return self.do_open(Plain, req)

    class EncryptedHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            decide(req)
            return self.do_open(Encrypted, req)

    return [PlainHandler(), EncryptedHandler()]
