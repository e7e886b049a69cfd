# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server on loopback whose answers a test gives, with a log of what was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Asked:
    """One request: its path decoded, its query, its headers in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """One answer; `cut` ends the connection without it, `cut_body` in the middle of it; `seconds` pass before each byte."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    cut_body: bool = False
    seconds: float = 0


@dataclass
class Served:
    """A server that runs: where, and what it was asked."""

    address: str
    asked: list[Asked]


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[Served]:
    """Serve `answer` on a free port of loopback."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request = Asked(unquote(parts.path), query, headers, body)
            asked.append(request)
            reply = answer(request)
            if reply.cut:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.seconds:
                with suppress(OSError):
                    for byte in reply.body:
                        time.sleep(reply.seconds)
                        self.wfile.write(bytes([byte]))
                return
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut_body else reply.body)
            self.close_connection = self.close_connection or reply.cut_body

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing on the screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Served(f"127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
