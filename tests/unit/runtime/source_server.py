# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server with objects below a pre-authenticated request, which can be told to cut, stall, refuse and lie."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "s3cr3t-part-of-the-url"
BASE = f"/p/{SECRET}/n/namespace/b/bucket/o/"
PREFIX = "org/name/"
HUB = "/org/name/resolve/abc123/"
SMALL_BYTES = 1000
# The weights of each stage of the small model that the tests stage.
SHARDS = [[f"model-{number:05}-of-00004.safetensors"] for number in range(1, 5)]
INDEX = "model.safetensors.index.json"


class Fault:
    """What happens to a request instead of the right answer.

    status: this status, with `headers`; cut: the connection ends after so many bytes of the body; rate: bytes per second;
    close: the connection ends after the answer, which says so; whole: the whole file, whatever range was asked for;
    length: whether the answer says how long it is.
    """

    def __init__(
        self,
        status: int | None = None,
        cut: int | None = None,
        rate: float | None = None,
        headers: dict[str, str] | None = None,
        close: bool = False,
        whole: bool = False,
        length: bool = True,
    ) -> None:
        self.status, self.cut, self.rate, self.headers = status, cut, rate, headers or {}
        self.close, self.whole, self.length = close, whole, length


class SourceServer:
    """Serves `files` by name. `fault(number, name, start)` may return a Fault for the request with that number (from 0)."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, int]] = []
        self.sent = 0
        self.redirects = 0
        # The links given before, which hold no longer, have another number.
        self.link = 0
        # Where the repository sends requests instead.
        self.location: str | None = None
        # What it says beside it.
        self.redirect_body = b""
        self.tokens: set[str | None] = set()
        self.fault: Callable[[int, str, int], Fault | None] = lambda number, name, start: None
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.handler = Handler

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Say nothing of those who went away: that is what some tests are about."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{BASE}"

    def speak_tls(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on, before the first request."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = self.url.replace("http:", "https:", 1)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET with a range, or one HEAD."""
        path, _, link = request.path.partition("?link=")
        name = path.removeprefix(BASE + PREFIX)
        if name.startswith(HUB):
            self._send_elsewhere(request, name.removeprefix(HUB))
            return
        start = 0
        if given := request.headers.get("Range"):
            first, _, last = given.removeprefix("bytes=").partition("-")
            start = int(first)
        with self._lock:
            number = len(self.requests)
            self.requests.append((name, start))
            fault = self.fault(number, name, start) or Fault()
        if link and link != str(self.link):
            request.send_error(403)
            return
        if fault.whole:
            start, given = 0, None
        data = self.files.get(name)
        end = len(data or b"") if not given else min(int(last) + 1, len(data or b""))
        if data is None or fault.status:
            body = b'{"code":"NotAuthenticated"}'
            request.send_response(fault.status or 404)
            for key, value in fault.headers.items():
                request.send_header(key, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(body)
            return
        request.send_response(206 if given else 200)
        if fault.length:
            request.send_header("Content-Length", str(end - start))
        if fault.close:
            request.send_header("Connection", "close")
        request.send_header("ETag", fault.headers.get("ETag", hashlib.sha1(data).hexdigest()))
        if given:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        request.end_headers()
        if request.command == "GET":
            self._send(request, data[start:end], fault)

    def _send_elsewhere(self, request: BaseHTTPRequestHandler, name: str) -> None:
        """Answer as the Hugging Face Hub does: what is small at once, by a link that holds for a while what is large."""
        self.tokens.add(request.headers.get("Authorization"))
        data = self.files[name]
        request.send_response(200 if len(data) < SMALL_BYTES else 302)
        if len(data) < SMALL_BYTES:
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
            return
        self.redirects += 1
        request.send_header("Location", self.location or f"{BASE}{PREFIX}{name}?link={self.link}")
        request.send_header("Content-Length", str(len(self.redirect_body)))
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(self.redirect_body)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, fault: Fault) -> None:
        limit = len(body) if fault.cut is None else min(fault.cut, len(body))
        step = 1 << 16 if fault.rate is None else max(1, int(fault.rate / 20))
        try:
            for position in range(0, limit, step):
                piece = body[position : min(position + step, limit)]
                request.wfile.write(piece)
                with self._lock:
                    self.sent += len(piece)
                if fault.rate:
                    time.sleep(len(piece) / fault.rate)
        except OSError:
            request.close_connection = True
            return
        if limit < len(body):
            request.close_connection = True
            request.connection.close()

    @contextmanager
    def running(self) -> Iterator[SourceServer]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join(5)


def md5(data: bytes) -> str:
    """The digest as Object Storage gives it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
