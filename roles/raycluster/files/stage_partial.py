# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files on their way, so that a kill at any byte loses two seconds of work at most.

A file grows in a `.part` beside a journal of the ranges that are on the disk; when it is whole and checked it is renamed to its
place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from group_file import ModelFile
from pod_progress import Failure
from stage_reader import Answer

RANGE_BYTES = 32 << 20
# How much work a kill may cost.
COMMIT_SECONDS = 2.0
VERIFY_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Wanted:
    """A file to fetch, its size in bytes, and where it belongs."""

    file: ModelFile
    size: int
    path: Path


def part_name(name: str) -> str:
    """Return a file's name as one of a single folder; no two files share it."""
    return name.replace("%", "%25").replace("/", "%2F")


class Part:
    """A file on its way: which ranges are still to be given out, which are on the disk."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self.wanted = wanted
        base = folder / part_name(wanted.file.name)
        self.path = base.with_name(base.name + ".part")
        self.journal = base.with_name(base.name + ".journal")
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._committed = time.monotonic()
        self._pending: list[tuple[int, int]] = []
        self._etag, held = self._read_journal()
        if self._in_place(held):
            os.replace(wanted.path, self.path)
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self.descriptor, wanted.size)
        self._open_ranges = _gaps(held, wanted.size)
        self.held = wanted.size - sum(end - start for start, end in self._open_ranges)
        self._missing = wanted.size - self.held

    def take(self) -> tuple[int, int] | None:
        """Give out a range [start, end) that nobody reads yet."""
        with self._lock:
            if not self._open_ranges:
                return None
            start, end = self._open_ranges.pop(0)
            if end - start > RANGE_BYTES:
                self._open_ranges.insert(0, (start + RANGE_BYTES, end))
                end = start + RANGE_BYTES
            return start, end

    def extend(self, end: int) -> int:
        """Give out what follows `end` too, as far as nobody reads it; return the new end."""
        with self._lock:
            for number, (start, stop) in enumerate(self._open_ranges):
                if start == end:
                    del self._open_ranges[number]
                    return stop
        return end

    def check(self, answer: Answer) -> None:
        """See that the source still has the file whose ranges are held. Failure where not."""
        if answer.size != self.wanted.size:
            raise Failure(
                "staging",
                f"{self.wanted.file.name} has {answer.size} bytes at the source, the plan says {self.wanted.size}: it changed "
                "since the plan was made; deploy again",
                lasting=True,
            )
        with self._lock:
            if self._etag is None:
                self._etag = answer.etag
            same = self._etag == answer.etag
        if not same:
            self.discard()
            raise Failure("staging", f"{self.wanted.file.name} changed at the source while it was read")

    def wrote(self, start: int, end: int) -> bool:
        """Note that [start, end) is written; say whether the file is whole with it."""
        with self._lock:
            if self._pending and self._pending[-1][1] == start:
                self._pending[-1] = (self._pending[-1][0], end)
            else:
                self._pending.append((start, end))
            self._missing -= end - start
            whole = self._missing == 0
        if whole or time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit(wait=whole)
        return whole

    @property
    def whole(self) -> bool:
        """Say whether no byte is missing."""
        with self._lock:
            return self._missing == 0

    def commit(self, wait: bool = True) -> None:
        """Bring what is written to the disk, then note it in the journal: a journal never promises what a crash could take."""
        if not self._committing.acquire(blocking=wait):
            return
        try:
            with self._lock:
                ranges, self._pending = self._pending, []
            if not ranges:
                return
            os.fdatasync(self.descriptor)
            lines = "".join(f"{start} {end}\n" for start, end in ranges)
            if not self.journal.exists():
                lines = json.dumps({**self._identity(), "etag": self._etag}) + "\n" + lines
            with self.journal.open("a") as stream:
                stream.write(lines)
            self._committed = time.monotonic()
        finally:
            self._committing.release()

    def verify(self, progress: Callable[[], None]) -> str | None:
        """Compare the digest where the source gives one; return what differs. `progress` is called as it goes on."""
        file = self.wanted.file
        if file.sha256:
            digest, expected = hashlib.sha256(), file.sha256.lower()
        elif file.md5 and "-" not in file.md5:
            # `<digest>-<parts>` is that of an upload in parts, whose sizes are not known.
            digest, expected = hashlib.md5(usedforsecurity=False), base64.b64decode(file.md5).hex()
        else:
            return None
        with self.path.open("rb") as stream:
            while block := stream.read(VERIFY_BLOCK_BYTES):
                digest.update(block)
                progress()
        found = digest.hexdigest()
        return None if found == expected else f"{digest.name} {found}, expected {expected}"

    def finish(self, finished: Callable[[Wanted], None]) -> None:
        """Put the checked file in its place, call `finished`, and forget how it was fetched."""
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        self.wanted.path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path, self.wanted.path)
        _sync_folder(self.wanted.path.parent)
        finished(self.wanted)
        self.journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what is held, on the disk too."""
        self.path.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def _read_journal(self) -> tuple[str | None, list[tuple[int, int]]]:
        """Return the ETag and ranges of an earlier try; a last line without its end was being written."""
        try:
            header, *lines = (text := self.journal.read_text()).split("\n")
            known = json.loads(header)
            etag = known.pop("etag")
            ranges = [(int(start), int(end)) for start, end in (line.split() for line in lines[:-1])]
            if lines[-1]:
                # What is appended must begin a line.
                os.truncate(self.journal, len(text.encode()) - len(lines[-1].encode()))
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            known = None
        if known != self._identity():
            self.discard()
            return None, []
        if not self.path.exists() and not self._in_place(ranges):
            self.discard()
            return None, []
        return etag, ranges

    def _identity(self) -> dict[str, object]:
        file = self.wanted.file
        return {"size": self.wanted.size, "md5": file.md5, "sha256": file.sha256}

    def _in_place(self, held: list[tuple[int, int]]) -> bool:
        """Say whether a kill came after the whole file was put in its place, and before that was recorded."""
        place = self.wanted.path
        return (
            bool(held)
            and not _gaps(held, self.wanted.size)
            and not self.path.exists()
            and place.exists()
            and place.stat().st_size == self.wanted.size
        )


def _gaps(held: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Return the ranges of [0, size) that `held` does not cover, in order."""
    gaps, position = [], 0
    for start, end in sorted(held):
        if start > position:
            gaps.append((position, start))
        position = max(position, end)
    if position < size:
        gaps.append((position, size))
    return gaps


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
