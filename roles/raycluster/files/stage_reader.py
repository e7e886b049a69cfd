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

from pod_progress import Failure
from stage_source import Address, Origin

BLOCK_BYTES = 1 << 20
# Without a byte for this long a connection is given up.
SILENCE_SECONDS = 30.0
# What came within this long is given on, even less than a block: a slow source's bytes count as they come.
GATHER_SECONDS = 1.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5
# A redirect says what it means in its header; of a longer body the connection is given up rather than read.
REDIRECT_BYTES = 64 << 10
# Answers below 500 after which the same request may succeed; of 5xx (mirrors have up to 527) any may.
RETRIED_STATUSES = frozenset({408, 425, 429})


class Interrupted(Exception):
    """A read that may succeed when tried again; `wait` seconds where the source asked for a pause."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """What the source said of a file: its whole size in bytes, and its ETag (empty where it has none).

    whole: it sends the file from its first byte to its last, whatever was asked for.
    """

    size: int
    etag: str
    whole: bool = False


class Reader:
    """One connection to the source, for one thread."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._connection: http.client.HTTPConnection | None = None
        # The connection's own: http.client lets go of it where the other side announces that it closes after its answer.
        self._socket: socket.socket | None = None
        # The answer that is not yet read to its end.
        self._response: http.client.HTTPResponse | None = None
        self._address: Address | None = None
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    def close(self) -> None:
        """Drop the connection; the next read opens another."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        self._response = self._connection = self._socket = None

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
        self._free(response)
        return Answer(_length(response, name), response.headers.get("ETag", ""))

    def read(self, name: str, start: int, end: int) -> tuple[Answer, Iterator[memoryview]]:
        """Ask for bytes [start, end); return what is known of the file, and the blocks as they come.

        Where the source sends the whole file instead (`Answer.whole`), the blocks go on to the file's end, and an empty one
        stands for bytes before `start`. Interrupted where it may be tried again, from the first byte not seen; Failure where
        not. A block is valid until the next is taken.
        """
        try:
            response = self._ask("GET", name, f"bytes={start}-{end - 1}")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Interrupted(_words(error)) from None
        etag = response.headers.get("ETag", "") if self._origin.tagged else ""
        if response.status == 200:
            # The Hub answers so for small files, some mirrors for all.
            size = _length(response, name)
            return Answer(size, etag, whole=True), self._blocks(response, size, start)
        if response.status != 206:
            self._refuse(response, name)
        return Answer(_whole_size(response, name, start, end), etag), self._blocks(response, end - start, 0)

    def _ask(self, method: str, name: str, byte_range: str | None) -> http.client.HTTPResponse:
        for _try in range(MOST_REDIRECTS):
            address = self._origin.address(name)
            if self._response is not None or self._address is None or self._address.target != address.target:
                self.close()
            self._address = address
            if self._connection is None:
                kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
                self._connection = kind(address.host, address.port, timeout=SILENCE_SECONDS)
            headers = {**address.headers, **({"Range": byte_range} if byte_range else {})}
            self._connection.request(method, address.path, headers=headers)
            self._socket = self._connection.sock
            response = self._response = self._connection.getresponse()
            if response.status not in REDIRECTS:
                return response
            response.read(REDIRECT_BYTES)
            if response.isclosed():
                self._free(response)
            else:
                self.close()
            self._origin.redirected(name, response.headers.get("Location", ""))
        self.close()
        raise Failure("staging", f"{name} is redirected more than {MOST_REDIRECTS} times", lasting=True)

    def _refuse(self, response: http.client.HTTPResponse, name: str) -> None:
        """Raise what an answer that is not the wanted one means."""
        self.close()
        status = response.status
        if status >= 500 or status in RETRIED_STATUSES:
            raise Interrupted(f"HTTP {status} {response.reason}", _seconds(response.headers.get("Retry-After")))
        if self._address is not None and self._address.passing:
            # The link has expired; the origin gives another. Another stream may have asked for it already.
            if self._origin.address(name) == self._address:
                self._origin.forget(name)
            raise Interrupted(f"HTTP {status} where the request was sent to")
        if status == 416:
            raise Failure("staging", f"{name} is shorter at the source than the plan says; deploy again", lasting=True)
        raise Failure("staging", self._origin.refusal(status, name), lasting=True)

    def _blocks(self, response: http.client.HTTPResponse, wanted: int, skipped: int) -> Iterator[memoryview]:
        """Give `wanted` bytes of body block by block, read from the socket itself: http.client takes twice the CPU.

        The first `skipped` bytes are read and left out.
        """
        connection = self._socket
        assert connection is not None and response.fp is not None
        try:
            # What came together with the headers stands in the response's own buffer.
            count = response.fp.readinto1(self._buffer[: min(len(response.fp.peek()), wanted)])
            while wanted:
                if not count:
                    raise Interrupted(f"the connection was cut {wanted} bytes before the end of the range")
                wanted -= count
                if not wanted:
                    self._free(response)
                yield self._buffer[min(skipped, count) : count]
                skipped -= min(skipped, count)
                count = _fill(connection, self._buffer[: min(BLOCK_BYTES, wanted)])
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Interrupted(_words(error)) from None

    def _free(self, response: http.client.HTTPResponse) -> None:
        """The answer is read to its end: the connection is free for the next request, unless the other side closes it."""
        response.close()
        self._response = None
        if response.will_close:
            self.close()


def _fill(connection: socket.socket, buffer: memoryview) -> int:
    """Receive until the buffer is full, the other side has ended or a second is over; return how many bytes came."""
    count, end = 0, time.monotonic() + GATHER_SECONDS
    while count < len(buffer) and (received := connection.recv_into(buffer[count:])):
        count += received
        if time.monotonic() > end:
            break
    return count


def _length(response: http.client.HTTPResponse, name: str) -> int:
    """Read the Content-Length of an answer that is the whole file."""
    given = response.headers.get("Content-Length", "")
    if not given.isdigit():
        raise Failure("staging", f"the source does not say how many bytes {name} has (Content-Length)", lasting=True)
    return int(given)


def _whole_size(response: http.client.HTTPResponse, name: str, start: int, end: int) -> int:
    """Read the file's size from Content-Range: bytes <start>-<end - 1>/<size>."""
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
    return int(size)


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
