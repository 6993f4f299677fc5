"""Servers for the attacks on fetching: all on this machine, each as bad as it is told to be."""

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes(range(256)) * 2048
SHA = hashlib.sha256(DATA).hexdigest()


class Server:
    """Answers each request by the next of its behaviours, the last one for good."""

    def __init__(self, *behaviours, context=None, host="127.0.0.1"):
        self.behaviours = list(behaviours)
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.requests.append((self.path, dict(self.headers)))
                self.close_connection = True
                at = min(len(outer.requests), len(outer.behaviours)) - 1
                with contextlib.suppress(OSError):
                    outer.behaviours[at](self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.server.sent = 0
        scheme = "http"
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        host = "localhost" if context is not None else host
        self.url = f"{scheme}://{host}:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve(data=None, *, etag='"1"', ignore_range=False, only=None, abrupt=False, extra=()):
    """As a good server does: ranges, If-Range. `only` bytes of each answer come, then its end, or a reset."""

    def behave(handler):
        whole = DATA if data is None else data
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        if asked and not ignore_range and condition in (None, etag):
            start = int(asked[1])
            if start >= len(whole):
                return send(b"", status=416, extra=[("Content-Range", f"bytes */{len(whole)}")])(handler)
        headers = [("ETag", etag)] if etag else []
        if start:
            headers.append(("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}"))
        rest = whole[start:]
        handler.server.sent += min(len(rest), only or len(rest))
        send(rest, status=206 if start else 200, extra=[*headers, *extra], only=only)(handler)
        if abrupt and only < len(rest):
            handler.wfile.flush()
            time.sleep(0.02)  # what was sent is to arrive before the reset
            hang_up(handler)

    return behave


def hang_up(handler):
    """No orderly end: the other side gets a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def send(data=DATA, *, status=200, length=True, extra=(), only=None):
    def behave(handler):
        handler.send_response(status)
        if length is not False:
            handler.send_header("Content-Length", str(len(data) if length is True else length))
        for name, value in extra:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data[:only])

    return behave


def redirect(url, status=302):
    return send(b"", status=status, extra=[("Location", url)])
