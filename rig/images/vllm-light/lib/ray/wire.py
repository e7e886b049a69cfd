# SPDX-License-Identifier: GPL-3.0-or-later
"""How the processes talk: calls with pickled arguments, and pages for others, both by HTTP and guarded by the cluster's token.

As in Ray (RAY_AUTH_MODE=token): 401 without a token, 403 with another; the health pages are open.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ray.exceptions import AuthenticationError, RayTaskError

# Open without a token (ray/dashboard/http_server_head.py).
OPEN = frozenset(("/", "/api/authentication_mode", "/api/healthz", "/api/gcs_healthz", "/api/local_raylet_healthz"))
CONNECT_SECONDS = 5.0
Address = tuple[str, int]
# A page: what the query asks for, as text or as what becomes JSON.
Page = Callable[[dict[str, str]], Any]


def own_address() -> str:
    """This pod's address."""
    return socket.gethostbyname(socket.gethostname())


def split(address: str) -> Address:
    """Host and port of `host:port`."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def token() -> str | None:
    """The cluster's token, where there is authentication."""
    return os.environ.get("RAY_AUTH_TOKEN", "") if os.environ.get("RAY_AUTH_MODE") == "token" else None


def _refusal(headers: Mapping[str, str]) -> tuple[int, str] | None:
    """Status and text for a request that is not let in."""
    wanted = token()
    if wanted is None:
        return None
    given = headers.get("Authorization") or headers.get("X-Ray-Authorization")
    if not given:
        return 401, "Unauthorized: Missing authentication token"
    if given != f"Bearer {wanted}":
        return 403, "Forbidden: Invalid authentication token"
    return None


class Server(http.server.ThreadingHTTPServer):
    """Answers calls and pages in threads of its own, from `start` to the end of the process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: Address,
        calls: Mapping[str, Callable[..., Any]] | None = None,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        super().__init__(address, _Handler)
        self.calls = calls or {}
        self.pages = pages or {}

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.server_address[1]

    def start(self) -> Server:
        """Answer from now on."""
        threading.Thread(target=self.serve_forever, args=(0.2,), daemon=True).start()
        return self

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no fault."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """A page."""
        url = urlsplit(self.path)
        if url.path not in OPEN and (refusal := _refusal(self.headers)):
            self._send(refusal[0], refusal[1].encode(), "text/plain")
        elif (page := self.server.pages.get(url.path)) is None:
            self._send(404, b"404: Not Found", "text/plain")
        else:
            found = page({name: values[-1] for name, values in parse_qs(url.query).items()})
            if isinstance(found, str):
                self._send(200, found.encode(), "text/plain")
            else:
                self._send(200, json.dumps(found).encode(), "application/json")

    def do_POST(self) -> None:
        """A call."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if refusal := _refusal(self.headers):
            self._send(refusal[0], refusal[1].encode(), "text/plain")
            return
        name = self.path[1:]
        try:
            answer = (True, self.server.calls[name](*pickle.loads(body)))
        except Exception as error:
            answer = (False, (type(error).__name__, traceback.format_exc()))
        self._send(200, pickle.dumps(answer), "application/octet-stream")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def call(address: Address, name: str, *arguments: Any, seconds: float | None = CONNECT_SECONDS) -> Any:
    """The result of a call; OSError when nobody answers within `seconds` (None: while the other side lives)."""
    connection = http.client.HTTPConnection(*address, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        assert connection.sock is not None
        connection.sock.settimeout(seconds)
        # The other machine may vanish without a word: as late as Ray's health checks would, the kernel finds out.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 3), (socket.TCP_KEEPINTVL, 3), (socket.TCP_KEEPCNT, 4)):
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        given = token()
        headers = {} if given is None else {"Authorization": f"Bearer {given}"}
        connection.request("POST", f"/{name}", pickle.dumps(arguments), headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(type(error).__name__) from None
    finally:
        connection.close()
    if response.status in (401, 403):
        raise AuthenticationError(body.decode())
    if response.status != 200:
        raise ConnectionError(f"{address[0]}:{address[1]} answered {response.status}")
    done, value = pickle.loads(body)
    if not done:
        raise RayTaskError.of(*value)
    return value


def answers(address: Address) -> bool:
    """Whether a process answers there."""
    with contextlib.suppress(OSError, ValueError):
        return call(address, "ping") is None
    return False
