# SPDX-License-Identifier: GPL-3.0-or-later
"""Another address of the API server, which a test can shut: what asks there finds nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Gate:
    """Forwards each connection to `target`, an https URL of loopback, as long as it is open."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 443))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._shut = threading.Event()

    def shut(self) -> None:
        """Cut all connections, and each new one."""
        self._shut.set()
        for connection in self._connections:
            _end(connection)
        self._connections.clear()

    def open(self) -> None:
        """Forward again."""
        self._shut.clear()

    @contextmanager
    def running(self) -> Iterator[Gate]:
        """Forward until the block ends."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shut()
            _end(self._listener)
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            if self._shut.is_set():
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._connections += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
