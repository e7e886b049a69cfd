# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The small status port of each pod: how the pods of a group tell each other how far they are.

A status is a JSON object with no secret in it:
  role, run (a new one for each start of the container's program), phases, cause
  state: forming (workers may join), starting (the engine), serving, draining, ending, given_up; of a worker forming, draining, given_up
  machine: versions, driver and GPU of the pod, {} before they were looked at
  worker: stage (held or being staged; null unknown), staged (a stage number, -1 for the common files alone, null not yet), node_id,
    reaches (whether it reached the head's door)
  head: joinable (its Ray runs, and the group forms), door (a free port, for workers to reach), unserved (tries that
    failed since it last served), quiet (seconds since the engine gave a token to anyone; null before it served), stages {address of a
    node: stage}, from the cluster as it formed; empty before; layers (how many each stage has, by which the files are staged)
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import group_metrics
from pod_progress import Failure

Status = dict[str, Any]

ASK_SECONDS = 2.0
# Of a status; a longer answer is none.
MOST_BYTES = 2**20
WATCH_SECONDS = 0.5
# A refused connection is sure: nothing listens there. Silence may be a busy network.
REFUSED_SECONDS, SILENT_SECONDS = 3.0, 8.0


def new_run() -> str:
    """Return the name of this start of a program."""
    return secrets.token_hex(8)


def own_address() -> str:
    """Return the address of this pod."""
    return os.environ.get("POD_IP") or "127.0.0.1"


def serve(port: int, status: Callable[[], Status], metrics: Callable[[], str] | None = None) -> None:
    """Answer every GET at `port` of this pod's address with the status, in the background. Failure where the port is taken.

    metrics: the head's page at /metrics, for those who have a key.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = ASK_SECONDS

        def do_GET(self) -> None:
            if metrics is None or self.path.partition("?")[0] != "/metrics":
                self._answer(200, "application/json", json.dumps(status()))
            elif group_metrics.has_key(self.headers.get("Authorization")):
                self._answer(200, group_metrics.CONTENT_TYPE, metrics())
            else:
                self._answer(401, "text/plain", "send the header `Authorization: Bearer <API key>`\n")

        def _answer(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: it is asked twice a second."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None:
            """Say nothing of who went away before the answer."""

    try:
        server = Server((own_address(), port), Handler)
    except OSError as error:
        raise Failure("ray", f"the status port {own_address()}:{port} cannot be opened: {error.strerror}") from None
    threading.Thread(target=server.serve_forever, name="status", daemon=True).start()


def ask(host: str, port: int, seconds: float = ASK_SECONDS) -> Status:
    """Return the status of the pod at `host`. OSError or ValueError where there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/")
        status = json.loads(connection.getresponse().read(MOST_BYTES))
    except RecursionError:
        raise ValueError(f"{host}:{port} answered no status") from None
    except http.client.HTTPException as error:
        raise ConnectionError(f"no status from {host}:{port}: {type(error).__name__}") from None
    finally:
        connection.close()
    if not isinstance(status, dict) or not all(isinstance(status.get(name), str) for name in ("role", "run")):
        raise ValueError(f"{host}:{port} answered no status")
    return status


class Watch:
    """Asks one pod twice a second, in the background: an answer may take longer than a decision can wait.

    It is asked at the address that its name was last resolved to. The name is resolved again where it does not answer, for it may be
    another pod by now; and beside the asking, for a cluster's DNS that fails or hangs says nothing of a pod that lives.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._address: str | None = None
        self._seen = time.monotonic()
        self._refused_since: float | None = None
        self._trouble = "no answer yet"
        self._stop = threading.Event()
        self._unresolved = threading.Event()
        self._unresolved.set()
        threading.Thread(target=self._resolve, name=f"name of {host}", daemon=True).start()
        threading.Thread(target=self._run, name=f"watch {host}", daemon=True).start()

    @property
    def status(self) -> Status | None:
        """The last status that came; None before the first."""
        with self._lock:
            return self._status

    @property
    def lost(self) -> str | None:
        """How the pod was lost; None while it answers, and before it first did."""
        with self._lock:
            if self._status is None:
                return None
            now = time.monotonic()
            if self._refused_since is not None and now - self._refused_since >= REFUSED_SECONDS:
                return f"{self._host} refuses connections"
            if now - self._seen >= SILENT_SECONDS:
                return f"{self._host} has not answered for {now - self._seen:.0f} s: {self._trouble}"
        return None

    @property
    def trouble(self) -> str:
        """Why the last try got no answer."""
        with self._lock:
            return self._trouble

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._unresolved.set()

    def _run(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            address = self._address
            if address is None:
                continue
            try:
                status = ask(address, self._port)
            except (OSError, ValueError) as error:
                with self._lock:
                    self._trouble = str(error)
                    if not isinstance(error, ConnectionRefusedError):
                        self._refused_since = None
                    elif self._refused_since is None:
                        self._refused_since = time.monotonic()
                self._unresolved.set()
            else:
                with self._lock:
                    self._status, self._seen = status, time.monotonic()
                    self._refused_since = None

    def _resolve(self) -> None:
        while self._unresolved.wait() and not self._stop.is_set():
            self._unresolved.clear()
            try:
                address = str(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][4][0])
            except OSError as error:
                with self._lock:
                    self._trouble = str(error)
                self._unresolved.set()
            else:
                if address != self._address:
                    with self._lock:
                        # That the former one refuses says nothing of this one.
                        self._address, self._refused_since = address, None
            self._stop.wait(WATCH_SECONDS)
