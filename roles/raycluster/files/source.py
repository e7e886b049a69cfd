# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where model files are read from: ranges of objects over HTTP.

A source gives the address of each file; a `Reader` is one kept-alive connection and belongs to one thread. No address is ever
part of a message: a pre-authenticated request's URL is a secret.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from group import Staging
from progress import Failure

BLOCK_BYTES = 1 << 20
# Without a byte for this long a connection is given up.
SILENCE_SECONDS = 30.0
# Answers after which the same request may succeed.
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Interrupted(Exception):
    """A read that may succeed when tried again; `wait` seconds where the source asked for a pause."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Address:
    """How one file is asked for."""

    secure: bool
    host: str
    port: int | None
    path: str
    headers: dict[str, str]


class Source(Protocol):
    """What a kind of source has to know."""

    def address(self, name: str) -> Address:
        """Return how the file `name` is asked for."""

    def refusal(self, status: int, name: str) -> str:
        """Return the cause to tell when the source answers `status` (4xx) for the file."""


class PreauthenticatedRequest:
    """Objects below a prefix, read through the URL of an OCI Object Storage pre-authenticated request (PAR)."""

    def __init__(self, url: str, prefix: str) -> None:
        parts = urllib.parse.urlsplit(url)
        # An AnyObjectRead URL ends with /o/; the names of objects follow it, also where the PAR is for a prefix.
        base, marker, _object = parts.path.partition("/o/")
        if parts.scheme not in ("http", "https") or not parts.hostname or not marker:
            raise ValueError("it is not the URL of a pre-authenticated request (https://…/p/…/n/…/b/…/o/)")
        self._parts = parts
        self._base = base + marker
        self._prefix = prefix if not prefix or prefix.endswith("/") else prefix + "/"

    def address(self, name: str) -> Address:
        path = self._base + urllib.parse.quote(self._prefix + name, safe="/")
        return Address(self._parts.scheme == "https", str(self._parts.hostname), self._parts.port, path, {})

    def refusal(self, status: int, name: str) -> str:
        file = self._prefix + name
        if status in (401, 403, 404):
            # Object Storage answers the same for a request that has expired, was deleted, or does not cover the object.
            return (
                f"PAR invalid, expired or out of scope: {self._parts.hostname} answered {status} for {file}; make a new "
                "pre-authenticated request that allows reading the objects below the prefix, and deploy again with it"
            )
        return f"{self._parts.hostname} answered {status} for {file}"


def open_source(staging: Staging) -> Source:
    """Return the source of the group; its URL is read anew each time, since a Secret may have changed."""
    if staging.source != "par":
        raise Failure("staging", f"these programs cannot read from a source of kind {staging.source!r}", lasting=True)
    try:
        return PreauthenticatedRequest(staging.url_file.read_text().strip(), staging.prefix)
    except OSError as error:
        raise Failure("staging", f"the source's URL cannot be read: {error}", lasting=True) from None
    except ValueError as error:
        raise Failure("staging", f"the source's URL in {staging.url_file}: {error}", lasting=True) from None


@dataclass(frozen=True)
class Answer:
    """What the source said of a file: its whole size in bytes, and its ETag (empty where it has none)."""

    size: int
    etag: str


class Reader:
    """One connection to the source, for one thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
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
        if response.status != 206:
            self._refuse(response, name)
        answer = _answer(response, name, start, end)
        return answer, self._blocks(response, end - start)

    def _ask(self, method: str, name: str, byte_range: str | None) -> http.client.HTTPResponse:
        address = self._source.address(name)
        target = (address.secure, address.host, address.port)
        if self._connection is None or self._target != target:
            self.close()
            kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
            self._connection = kind(address.host, address.port, timeout=SILENCE_SECONDS)
            self._target = target
        headers = {**address.headers, **({"Range": byte_range} if byte_range else {})}
        self._connection.request(method, address.path, headers=headers)
        return self._connection.getresponse()

    def _refuse(self, response: http.client.HTTPResponse, name: str) -> None:
        """Raise what an answer that is not the wanted one means."""
        self.close()
        status = response.status
        if status in RETRIED_STATUSES:
            raise Interrupted(f"HTTP {status} {response.reason}", _seconds(response.headers.get("Retry-After")))
        if status == 416:
            raise Failure("staging", f"{name} is shorter at the source than the plan says; deploy again", lasting=True)
        if status == 200:
            raise Failure("staging", f"the source answers range requests of {name} with the whole file", lasting=True)
        raise Failure("staging", self._source.refusal(status, name), lasting=True)

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


def _answer(response: http.client.HTTPResponse, name: str, start: int, end: int) -> Answer:
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
    return Answer(int(size), response.headers.get("ETag", ""))


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
