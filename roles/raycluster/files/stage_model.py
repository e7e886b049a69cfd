# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Staging: bring the model files that a pipeline stage needs to this node, and nothing twice.

Also a program of its own: `python3 stage_model.py [--group group.json] [--stage 0]`.

In the model's folder the folder `.multinode` keeps the record of what is complete (size and time of each file, so that a restart
reads none of them), the files on their way, and the index as the source has it where a trimmed one lies in its place.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import group_file
from group_file import ModelFile, Staging, inside, write_whole
from pod_progress import Board, Failure, foreseen, leave_message, log
from stage_fetch import Fetch, disk_failure
from stage_partial import Wanted, part_name
from stage_reader import Interrupted, Reader, pause
from stage_source import Origin, open_origin
from stage_tensors import INDEX_SUFFIX, check_tensors, no_index

# By far the largest files; the others are fetched before them, for vLLM is asked as soon as those are there.
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")
# Left free on the disk: the file system's own needs, and what else is written there.
DISK_MARGIN_BYTES = 64 << 20
# What is recorded of a complete file.
RECORDED = ("size", "modified", "md5", "sha256")
RATE_SECONDS = 10.0
SIZE_ATTEMPTS = 8
# How often who stages into a folder shows that it lives, and how long others wait without a sign of it.
SIGN_SECONDS = 10.0
SILENT_SECONDS = 600.0


class Stager:
    """Stages the files of one stage into the model's folder; `run` may be called again for another stage."""

    def __init__(self, staging: Staging, board: Board) -> None:
        self._staging = staging
        self._board = board
        self._folder = staging.root / ".multinode"
        self._record_path = self._folder / "complete.json"
        self._record: dict[str, Any] = {}
        self._small_left: set[str] = set()
        # Streams may finish files at the same time.
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque()
        self._lock_path = self._folder / "lock"
        # Set when all but the weights lie there.
        self.small_files = threading.Event()

    def run(self, stage: int | None) -> int:
        """Stage what `stage` needs (None: what every stage needs) and return how many bytes were fetched.

        Failure where it cannot be done.
        """
        self._board.tell("staging", state="running", unit="bytes", cause=None, step="looking at what is there")
        if self._staging.source == "folder":
            return self._look()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                return self._stage(stage)
        except PermissionError as error:
            raise Failure(
                "staging", f"the model's folder is not writable for user {os.getuid()}: {error}", lasting=True
            ) from None
        except OSError as error:
            raise disk_failure(error, self._folder) from None
        except Exception as error:
            # Its caller waits for an end in a thread of its own: one without a cause would be waited for in vain.
            raise foreseen(error, "staging") from None

    def _look(self) -> int:
        """See that the files lie where another has put them."""
        root, files = self._staging.root, self._staging.files
        for file in files:
            size = (root / file.name).stat().st_size if (root / file.name).is_file() else None
            if size is None or file.size not in (None, size):
                found = "is missing" if size is None else f"has {size} bytes, expected {file.size}"
                raise Failure("staging", f"{file.name} {found} in {root}, which the plan takes as it is", lasting=True)
        self.small_files.set()
        check_tensors(self._staging)
        total = sum(file.size or 0 for file in files)
        self._board.tell("staging", state="done", done=total, total=total, eta=0, step=None, fetched=0)
        return 0

    def _stage(self, stage: int | None) -> int:
        self._record = self._read_record()
        files = self._files(stage)
        missing = sorted((file for file in files if not self._complete(file)), key=_is_weights)
        self._small_left = {file.name for file in missing if not _is_weights(file)}
        if not self._small_left:
            self.small_files.set()
        origin = open_origin(self._staging) if missing else None
        wanted = [Wanted(file, self._size(origin, file), self._place(file.name)) for file in missing] if origin else []
        self._delete_others(files, wanted)
        present = sum(self._record[file.name]["size"] for file in files if file not in missing)
        total = present + sum(entry.size for entry in wanted)
        fetched = 0
        if origin:
            self._check_disk(wanted)
            fetched = self._fetch(origin, wanted, present, total)
        self._trim_indexes(stage)
        check_tensors(self._staging)
        self._board.tell(
            "staging", state="done", done=total, total=total, rate=None, eta=0, cause=None, step=None, fetched=fetched
        )
        return fetched

    def _files(self, stage: int | None) -> list[ModelFile]:
        """Return the files that this stage holds; the weights of other stages are left out only where that is agreed."""
        staging = self._staging
        if not staging.by_stage:
            return list(staging.files)
        shards = frozenset().union(*staging.shards_per_stage)
        own = frozenset() if stage is None else staging.shards_per_stage[stage]
        return [file for file in staging.files if file.name in own or file.name not in shards]

    def _place(self, name: str) -> Path:
        if self._staging.by_stage and name.endswith(INDEX_SUFFIX):
            return self._folder / "index" / name
        return self._staging.root / name

    def _complete(self, file: ModelFile) -> bool:
        """Say whether the file lies there as it was checked: its size and time tell, none is read."""
        entry = self._record.get(file.name)
        if entry is None or (file.size is not None and file.size != entry["size"]):
            return False
        if (entry["md5"], entry["sha256"]) != (file.md5, file.sha256):
            return False
        try:
            found = self._place(file.name).stat()
        except FileNotFoundError:
            return False
        return (found.st_size, found.st_mtime_ns) == (entry["size"], entry["modified"])

    def _size(self, origin: Origin, file: ModelFile) -> int:
        if file.size is not None:
            return file.size
        reader = Reader(origin)
        try:
            for attempt in range(1, SIZE_ATTEMPTS + 1):
                try:
                    return reader.size(file.name).size
                except Interrupted as interruption:
                    self._board.tell("staging", cause=f"{file.name}: {interruption}")
                    reason = interruption
                    time.sleep(pause(attempt, interruption.wait))
        finally:
            reader.close()
        raise Failure("staging", f"the size of {file.name} could not be asked: {reason}")

    def _delete_others(self, files: list[ModelFile], wanted: list[Wanted]) -> None:
        """Delete what was held for another stage or an earlier plan. Files that staging did not bring are left alone."""
        kept = {file.name for file in files}
        others = [name for name in self._record if name not in kept]
        for name in others:
            self._place(name).unlink(missing_ok=True)
            del self._record[name]
        parts, fetched = self._folder / "parts", {part_name(entry.file.name) for entry in wanted}
        for path in parts.iterdir() if parts.is_dir() else ():
            if path.name.rpartition(".")[0] not in fetched:
                path.unlink()
        if others:
            log(f"deleted {len(others)} model files that this stage no longer holds")
            self._write_record()

    def _check_disk(self, wanted: list[Wanted]) -> None:
        """Say that the disk is too small before a byte is fetched."""
        taken = 0
        for entry in wanted:
            part = self._folder / "parts" / (part_name(entry.file.name) + ".part")
            taken += part.stat().st_blocks * 512 if part.exists() else 0
        needed = sum(entry.size for entry in wanted) - taken
        disk = os.statvfs(self._staging.root)
        free = disk.f_bavail * disk.f_frsize
        if needed + DISK_MARGIN_BYTES > free:
            raise Failure(
                "staging",
                f"disk full: {needed / 1e9:.2f} GB are still to be fetched to {self._staging.root}, and {free / 1e9:.2f} GB are "
                "free; give more room (volume_size_in_gbs or the boot volume's size)",
                lasting=True,
            )

    def _fetch(self, origin: Origin, wanted: list[Wanted], present: int, total: int) -> int:
        fetch = Fetch(origin, wanted, self._folder / "parts", self._staging.streams, self._finished)
        self._samples.clear()

        def watch() -> None:
            done = present + fetch.resumed + fetch.fetched
            rate = self._rate(fetch.fetched)
            eta = round((total - done) / rate) if rate else None
            state = fetch.failure.state if fetch.failure else "running"
            self._board.tell(
                "staging", state=state, done=done, rate=rate, eta=eta, cause=fetch.trouble, step=fetch.step
            )

        self._board.tell("staging", step=fetch.step, done=present + fetch.resumed, total=total)
        fetch.run(watch)
        return fetch.fetched

    def _rate(self, fetched: int) -> int | None:
        """Bytes per second over the last seconds."""
        now = time.monotonic()
        self._samples.append((now, fetched))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        return round((fetched - before) / (now - since)) if now > since else None

    def _finished(self, entry: Wanted) -> None:
        found = entry.path.stat()
        with self._lock:
            self._record[entry.file.name] = {
                "size": entry.size,
                "modified": found.st_mtime_ns,
                "md5": entry.file.md5,
                "sha256": entry.file.sha256,
            }
            self._write_record()
            self._small_left.discard(entry.file.name)
            if not self._small_left:
                self.small_files.set()

    def _trim_indexes(self, stage: int | None) -> None:
        """Write each index with the shards alone that lie here: vLLM refuses one that names a file that does not."""
        staging = self._staging
        if not staging.by_stage:
            return
        for file in staging.files:
            if not file.name.endswith(INDEX_SUFFIX):
                continue
            shards = frozenset().union(*staging.shards_per_stage)
            others = shards - (frozenset() if stage is None else staging.shards_per_stage[stage])
            below = Path(file.name).parent
            try:
                index = json.loads(self._place(file.name).read_text())
                index["weight_map"] = {
                    tensor: name for tensor, name in index["weight_map"].items() if str(below / name) not in others
                }
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise no_index(file.name) from None
            text = json.dumps(index, indent=2) + "\n"
            if not (staging.root / file.name).exists() or (staging.root / file.name).read_text() != text:
                write_whole(staging.root / file.name, text)

    def _read_record(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record_path.read_text())["files"]
            # The folder may be shared, and the record written by others: a name that leads out of it would be deleted there.
            return {name: {key: entry[key] for key in RECORDED} for name, entry in record.items() if inside(name)}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            log(f"{self._record_path} is not readable; the files are fetched again")
            return {}

    def _write_record(self) -> None:
        write_whole(self._record_path, json.dumps({"files": self._record}, indent=1))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others out that stage into the same folder: a file system shared by all nodes is filled once."""
        lock, over = self._locked(), threading.Event()
        living = threading.Thread(target=_live, args=(lock, over), name="lock", daemon=True)
        living.start()
        try:
            self._board.tell("staging", step="looking at what is there")
            yield
        finally:
            over.set()
            # No longer: a file system that hangs must not hold up who tells of it.
            living.join(SIGN_SECONDS)

    def _locked(self) -> int:
        """Wait for the folder's lock and return its descriptor. Failure where its holder gives no sign of life."""
        sign, seen = None, time.monotonic()
        while True:
            # Reopened each time: so a file system over the network tells what it knows now.
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                found, holder = os.fstat(lock).st_mtime_ns, os.pread(lock, 300, 0).decode("utf-8", "replace")
                os.close(lock)
            else:
                os.ftruncate(lock, 0)
                os.pwrite(lock, socket.gethostname().encode(), 0)
                return lock
            # The clocks of other nodes do not matter: only whether the time changes.
            if found != sign:
                sign, seen = found, time.monotonic()
            elif time.monotonic() - seen > SILENT_SECONDS:
                raise self._silent(holder)
            self._board.tell("staging", step="another pod is staging into this folder")
            time.sleep(1)

    def _silent(self, holder: str) -> Failure:
        return Failure(
            "staging",
            f"the pod that stages into this folder, {holder or 'of unknown name'}, has shown no sign of life for "
            f"{SILENT_SECONDS:.0f} s: delete it; where it or its node is gone already, delete {self._lock_path}, which the file "
            "system still holds for it",
        )


def _is_weights(file: ModelFile) -> bool:
    return file.name.endswith(WEIGHT_SUFFIXES)


def _live(lock: int, over: threading.Event) -> None:
    """Show those who wait for the lock that its holder lives; let go of it when all is over."""
    while not over.wait(SIGN_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(lock)
    os.close(lock)


def main() -> int:
    """Stage once; the exit code is 1 where it failed."""
    parser = argparse.ArgumentParser(description="Bring the model files that a pipeline stage needs to this node.")
    parser.add_argument("--group", type=Path, default=group_file.GROUP_FILE, help="the group.json to read")
    parser.add_argument("--stage", type=int, help="the pipeline stage; without it this worker's own, else 0")
    arguments = parser.parse_args()
    group = group_file.load(arguments.group)
    stage = arguments.stage
    if stage is None:
        stage = group_file.worker_stage(group.pipeline) or 0
    board = Board()
    board.start()
    try:
        Stager(group.staging, board).run(stage)
    except Failure as failure:
        board.tell(failure.phase, state=failure.state, cause=failure.cause)
        leave_message(board.entries()[failure.phase])
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
