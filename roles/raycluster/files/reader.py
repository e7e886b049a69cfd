# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading ranges of model files over HTTP: a `Reader` is one kept-alive connection, and belongs to one thread."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from origin import Origin
from progress import Failure

BLOCK_BYTES = 1 << 20
# Without a byte for this long a connection is given up.
SILENCE_SECONDS = 30.0
# Answers after which the same request may succeed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Interrupted(Exception):
    """A read that may succeed when tried again; `wait` seconds where the source asked for a pause."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """What the source said of a file: its whole size in bytes, and its ETag (empty where it has none)."""

    size: int
    etag: str


class Reader:
    """One connection to the source, for one thread."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._connection: http.client.HTTPConnection | None = None
        self._target: tuple[bool, str, int | None] | None = None
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    def close(self) -> None:
        """Drop the connection; the next read opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def size(self, name: str) -> Answer:
        """Return what the source says of the file, without reading it."""
        try:
            response = self._ask("HEAD", name, None)
            response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Interrupted(_words(error)) from None
        if response.status != 200:
            self._refuse(response, name)
        return Answer(int(response.headers["Content-Length"]), response.headers.get("ETag", ""))

    def read(self, name: str, start: int, end: int) -> tuple[Answer, Iterator[memoryview]]:
        """Ask for bytes [start, end); return what is known of the file, and the blocks as they come.

        Interrupted where it may be tried again, from the first byte not seen; Failure where not. A block is valid until
        the next is taken.
        """
        try:
            response = self._ask("GET", name, f"bytes={start}-{end - 1}")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Interrupted(_words(error)) from None
        whole = response.status == 200 and start == 0 and response.headers.get("Content-Length") == str(end)
        if whole:
            # The Hub answers so for small files; the plan's size says whether it is the whole.
            return Answer(end, ""), self._blocks(response, end)
        if response.status != 206:
            self._refuse(response, name)
        answer = _answer(response, name, start, end, self._origin.tagged)
        return answer, self._blocks(response, end - start)

    def _ask(self, method: str, name: str, byte_range: str | None) -> http.client.HTTPResponse:
        for _try in range(MOST_REDIRECTS):
            address = self._origin.address(name)
            target = (address.secure, address.host, address.port)
            if self._connection is None or self._target != target:
                self.close()
                kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
                self._connection = kind(address.host, address.port, timeout=SILENCE_SECONDS)
                self._target = target
            headers = {**address.headers, **({"Range": byte_range} if byte_range else {})}
            self._connection.request(method, address.path, headers=headers)
            response = self._connection.getresponse()
            if response.status not in REDIRECTS:
                return response
            response.read()
            self._origin.redirected(name, response.headers.get("Location", ""))
        self.close()
        raise Failure("staging", f"{name} is redirected more than {MOST_REDIRECTS} times", lasting=True)

    def _refuse(self, response: http.client.HTTPResponse, name: str) -> None:
        """Raise what an answer that is not the wanted one means."""
        self.close()
        status = response.status
        if status in RETRIED_STATUSES:
            raise Interrupted(f"HTTP {status} {response.reason}", _seconds(response.headers.get("Retry-After")))
        if self._origin.address(name).passing:
            # The link has expired; the origin gives another.
            self._origin.forget(name)
            raise Interrupted(f"HTTP {status} where the request was sent to")
        if status == 416:
            raise Failure("staging", f"{name} is shorter at the source than the plan says; deploy again", lasting=True)
        if status == 200:
            raise Failure("staging", f"the source answers range requests of {name} with the whole file", lasting=True)
        raise Failure("staging", self._origin.refusal(status, name), lasting=True)

    def _blocks(self, response: http.client.HTTPResponse, wanted: int) -> Iterator[memoryview]:
        """Give the body block by block, read from the socket itself: http.client takes twice the CPU."""
        connection = self._connection
        assert connection is not None and response.fp is not None
        try:
            # What came together with the headers stands in the response's own buffer.
            count = response.fp.readinto1(self._buffer[: min(len(response.fp.peek()), wanted)])
            while count or wanted:
                if not count:
                    raise Interrupted(f"the connection was cut {wanted} bytes before the end of the range")
                wanted -= count
                yield self._buffer[:count]
                count = _fill(connection.sock, self._buffer[: min(BLOCK_BYTES, wanted)])
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Interrupted(_words(error)) from None
        # The connection is free for the next request.
        response.close()


def _fill(connection: socket.socket, buffer: memoryview) -> int:
    """Receive until the buffer is full or the other side has ended; return how many bytes came."""
    count = 0
    while count < len(buffer) and (received := connection.recv_into(buffer[count:])):
        count += received
    return count


def _answer(response: http.client.HTTPResponse, name: str, start: int, end: int, tagged: bool) -> Answer:
    """Read Content-Range: bytes <start>-<end - 1>/<size>."""
    given = response.headers.get("Content-Range", "")
    span, _slash, size = given.removeprefix("bytes ").partition("/")
    if span != f"{start}-{end - 1}" or not size.isdigit():
        raise Failure(
            "staging",
            f"the source answered bytes {start}-{end - 1} of {name} with {given!r}; deploy again",
            lasting=True,
        )
    if response.headers.get("Content-Length") != str(end - start):
        raise Failure("staging", f"the source did not say how long its answer for {name} is", lasting=True)
    return Answer(int(size), response.headers.get("ETag", "") if tagged else "")


def _seconds(retry_after: str | None) -> float:
    """Read Retry-After in its form as seconds; the form as a date is not waited for."""
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"the source's name does not resolve: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the source's certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no byte for {SILENCE_SECONDS:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def pause(attempt: int, asked: float) -> float:
    """Return how long to wait before attempt `attempt` (from 1): doubling from 0.5 to 30 s, or what the source asked for, up to 60 s.

    A share that differs from thread to thread keeps the streams from coming back all at once.
    """
    spread = 0.75 + 0.5 * (time.monotonic_ns() // 1000 % 1000) / 1000
    return max(min(asked, 60.0), min(30.0, 0.5 * 2.0 ** min(attempt - 1, 6)) * spread)
