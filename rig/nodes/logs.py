# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of containers, in the format that container runtimes write and the kubelet reads: `TIME stdout F line`.

Facts imitated (CRI log format, kubelet):
- each line bears the time at which it came; a line longer than 16 KiB is cut into parts (P) that are joined when read
- standard output and error are one log, in the order in which they came
- the options of the pod log API: tailLines, sinceSeconds, sinceTime, limitBytes, timestamps, previous, follow
- `follow` ends when the container does
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

LONGEST = 16 * 1024
"""Bytes of one entry, as in containerd and CRI-O."""


class ContainerLog:
    """The log of one run of a container: written by `write`, read while it is written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.closed = False
        self._stream = path.open("ab", buffering=0)
        self._rest = b""
        self._changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Add what a container wrote; what follows the last line break waits for its own."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = b"".join(self._entries(lines))
        while len(self._rest) >= LONGEST:
            entries += self._entry(self._rest[:LONGEST], b"P")
            self._rest = self._rest[LONGEST:]
        if entries:
            self._stream.write(entries)
            self._wake()

    def close(self) -> None:
        """The container has ended."""
        if self._rest:
            self._stream.write(self._entry(self._rest, b"F"))
        self._stream.close()
        self.closed = True
        self._wake()

    async def changed(self) -> None:
        """Wait until there is more, or the container has ended."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _entries(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            while len(line) > LONGEST:
                yield self._entry(line[:LONGEST], b"P")
                line = line[LONGEST:]
            yield self._entry(line, b"F")

    @staticmethod
    def _entry(line: bytes, tag: bytes) -> bytes:
        time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        return b"%s stdout %s %s\n" % (time.encode(), tag, line)


@dataclasses.dataclass(frozen=True)
class Options:
    """What a reader asks for (PodLogOptions)."""

    tail: int | None = None
    since: str = ""
    limit: int | None = None
    timestamps: bool = False
    follow: bool = False
    previous: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str], now: datetime.datetime) -> Options:
        """The options of a request's query; ValueError for those that are no number or time."""
        moment = None
        if query.get("sinceTime"):
            moment = datetime.datetime.fromisoformat(query["sinceTime"].replace("Z", "+00:00"))
        elif query.get("sinceSeconds"):
            moment = now - datetime.timedelta(seconds=int(query["sinceSeconds"]))
        since = moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else ""
        return cls(
            tail=int(query["tailLines"]) if query.get("tailLines") else None,
            since=since,
            limit=int(query["limitBytes"]) if query.get("limitBytes") else None,
            timestamps=query.get("timestamps") == "true",
            follow=query.get("follow") == "true",
            previous=query.get("previous") == "true",
        )


def render(entries: list[bytes], options: Options) -> bytes:
    """Entries (whole, without the line break) as the reader gets them; the limit on bytes and the tail are not applied here."""
    out = []
    line_begins = True
    for entry in entries:
        time, _, tag, line = entry.split(b" ", 3)
        if options.since and time.decode() < options.since:
            continue
        out.append(
            (time + b" " if options.timestamps and line_begins else b"") + line + (b"\n" if tag == b"F" else b"")
        )
        line_begins = tag == b"F"
    return b"".join(out)


async def read(log: ContainerLog, options: Options) -> AsyncIterator[bytes]:
    """What is in the log now and, with `follow`, what comes until the container ends."""
    left = options.limit
    with log.path.open("rb") as stream:
        first = True
        while True:
            closed = log.closed
            text = stream.read()
            end = text.rfind(b"\n") + 1
            stream.seek(end - len(text), 1)
            entries = text[:end].split(b"\n")[:-1]
            if first and options.tail is not None:
                entries = _tail(entries, options.tail)
            first = False
            out = render(entries, options)
            if left is not None:
                out = out[:left]
                left -= len(out)
            if out:
                yield out
            if closed or not options.follow or left == 0:
                return
            if not end:
                await log.changed()


def _tail(entries: list[bytes], count: int) -> list[bytes]:
    """The last `count` whole lines: a line's parts count as one."""
    start = len(entries)
    while start and count:
        start -= 1
        while start and entries[start - 1].split(b" ", 3)[2] == b"P":
            start -= 1
        count -= 1
    return entries[start:]
