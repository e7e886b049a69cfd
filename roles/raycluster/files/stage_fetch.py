# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fetching files by parallel ranged reads. Memory: one block of 1 MiB per stream."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pod_progress import Failure, foreseen
from stage_partial import Part, Wanted
from stage_reader import SILENCE_SECONDS, Interrupted, Reader, pause
from stage_source import Origin

# Staging ends when no stream got or checked a byte for this long: bounded by no progress, not by duration.
PATIENCE_SECONDS = 600.0
# A stream this much slower than the others, over this long, is reopened.
SLOW_SHARE, SLOW_SECONDS = 0.05, 20.0
WATCH_SECONDS = 1.0


class Fetch:
    """Several streams that fetch several files.

    finished: called by the stream that completes a file, after it lies in its place.
    """

    def __init__(
        self, origin: Origin, wanted: Sequence[Wanted], folder: Path, streams: int, finished: Callable[[Wanted], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._origin = origin
        self._folder = folder
        self._finished = finished
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._trouble: str | None = None
        self._parts = [Part(entry, folder) for entry in wanted]
        # Whole from the start: empty files, and those whose last step a kill took.
        self._whole = [part for part in self._parts if part.whole]
        self._left = len(self._parts)
        self._fetched_again: set[str] = set()
        self._began = self._progressed = time.monotonic()
        # Since when each stream waits for the file system.
        self._at_disk: dict[int, float] = {}
        self._threads = [threading.Thread(target=self._stream, name=f"stream {n}", daemon=True) for n in range(streams)]
        self.resumed = sum(part.held for part in self._parts)
        self.fetched = 0
        self.failure: Failure | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong, also while it is tried again."""
        return self.failure.cause if self.failure else self._trouble

    @property
    def step(self) -> str:
        """What the streams do: checking when every byte is there."""
        with self._lock:
            return "checking" if all(part.whole for part in self._parts) else "fetching"

    def run(self, watch: Callable[[], None]) -> None:
        """Fetch everything; `watch` is called about once a second, and at the end. Failure where it cannot be done."""
        try:
            for thread in self._threads:
                thread.start()
            while self._left and not self._stop.wait(WATCH_SECONDS):
                watch()
                if time.monotonic() - self._progressed > PATIENCE_SECONDS:
                    self._end(self._standstill())
        finally:
            self._stop.set()
        # What failed is told before streams are waited for: where the file system hangs, so do they.
        watch()
        end = time.monotonic() + SILENCE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self.failure:
            if not any(thread.is_alive() for thread in self._threads):
                # So that the next start begins where this one ended; a full disk takes no journal.
                with contextlib.suppress(OSError):
                    for part in self._parts:
                        part.commit()
            raise self.failure

    def _stream(self) -> None:
        reader = Reader(self._origin)
        try:
            while not self._stop.is_set():
                piece = self._next()
                if piece is None:
                    # A file that fails its check comes back, and wants all streams.
                    self._stop.wait(0.2)
                elif self._read(reader, *piece):
                    with self._disk():
                        self._complete(piece[0])
        except OSError as error:
            self._end(disk_failure(error, self._folder))
        except Exception as error:
            self._end(foreseen(error, "staging"))
        finally:
            reader.close()

    def _next(self) -> tuple[Part, int, int] | None:
        with self._lock:
            if self._whole:
                return self._whole.pop(), 0, 0
            for part in self._parts:
                if piece := part.take():
                    return (part, *piece)
        return None

    def _read(self, reader: Reader, part: Part, start: int, end: int) -> bool:
        """Read [start, end) of the file, however often it is cut; say whether the file is whole with it."""
        whole, attempt = start == end, 0
        while start < end and not self._stop.is_set():
            try:
                answer, blocks = reader.read(part.wanted.file.name, start, end)
                part.check(answer)
                if answer.whole:
                    # What comes anyway is not asked for once more.
                    end = part.extend(end)
                began, first = time.monotonic(), start
                for block in blocks:
                    block = block[: end - start]
                    if block:
                        with self._disk():
                            _write(part.descriptor, block, start)
                            whole = part.wrote(start, start + len(block))
                        start += len(block)
                        attempt = 0
                    else:
                        began = time.monotonic()
                    self._note(len(block))
                    if start < end:
                        self._compare(start - first, time.monotonic() - began)
                    if start == end or self._stop.is_set():
                        break
            except Interrupted as interruption:
                reader.close()
                attempt += 1
                self._trouble = f"{part.wanted.file.name}: {interruption}"
                self._stop.wait(pause(attempt, interruption.wait))
        return whole

    def _note(self, count: int) -> None:
        with self._lock:
            self.fetched += count
            self._progressed = time.monotonic()
            self._trouble = None

    def _checked(self) -> None:
        """Note that a block of a file was compared."""
        self._progressed = time.monotonic()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Note that this stream waits for the file system."""
        self._at_disk[threading.get_ident()] = time.monotonic()
        try:
            yield
        finally:
            del self._at_disk[threading.get_ident()]

    def _standstill(self) -> Failure:
        """Say why nothing makes progress. Whatever waits for the source is interrupted sooner."""
        since = min(self._at_disk.copy().values(), default=time.monotonic())
        if time.monotonic() - since > PATIENCE_SECONDS / 2:
            return Failure(
                "staging",
                f"nothing could be written or checked for {PATIENCE_SECONDS:.0f} s: the file system of {self._folder} hangs; see "
                "its volume or file server",
            )
        return Failure("staging", f"no byte from the source for {PATIENCE_SECONDS:.0f} s: {self._trouble}")

    def _compare(self, count: int, seconds: float) -> None:
        """Give up a connection that is much slower than the average stream: it would hold up the end."""
        if seconds < SLOW_SECONDS:
            return
        average = self.fetched / (time.monotonic() - self._began) / len(self._threads)
        if count / seconds < SLOW_SHARE * average:
            raise Interrupted(f"{count / seconds / 1000:.0f} kB/s where other streams have {average / 1000:.0f}")

    def _complete(self, part: Part) -> None:
        name = part.wanted.file.name
        difference = part.verify(self._checked)
        if difference is None:
            part.finish(self._finished)
            with self._lock:
                self._parts.remove(part)
                self._left -= 1
            if not self._left:
                self._stop.set()
            return
        part.discard()
        os.close(part.descriptor)
        with self._lock:
            self._parts.remove(part)
            again = name not in self._fetched_again
            self._fetched_again.add(name)
        if again:
            # Not under the lock: a file system that hangs must not hold up who tells of it.
            fresh = Part(part.wanted, self._folder)
            with self._lock:
                self.fetched -= part.wanted.size
                self._parts.append(fresh)
        else:
            raise Failure(
                "staging",
                f"{name} is corrupt: fetched twice, {difference}; upload it again at the source",
                lasting=True,
            )

    def _end(self, failure: Failure) -> None:
        with self._lock:
            self.failure = self.failure or failure
        self._stop.set()


def _write(descriptor: int, block: memoryview, offset: int) -> None:
    while block:
        count = os.pwrite(descriptor, block, offset)
        block, offset = block[count:], offset + count


def disk_failure(error: OSError, folder: Path) -> Failure:
    """Return what an error of the file system means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("staging", f"disk full while writing to {folder}", lasting=True)
    return Failure("staging", f"the model's files cannot be written: {error}")
