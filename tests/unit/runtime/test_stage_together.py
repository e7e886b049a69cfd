# SPDX-License-Identifier: GPL-3.0-or-later
"""Several pods that stage into one folder, as that of a file system shared by all nodes: one fills it, the others wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import stage_model
from pod_progress import Failure

from tests.unit.runtime.pods import until
from tests.unit.runtime.source_server import Fault, SourceServer
from tests.unit.runtime.staged import Document, check, run
from tests.unit.runtime.test_stage_program import StageProgram

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("quick_staging")]

HOLD = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
lock.write("llm-worker-2")
lock.flush()
print("held", flush=True)
# With a clock of its own, far from that of others.
for second in range(int(sys.argv[2])):
    time.sleep(0.25)
    os.utime(lock.fileno(), (second, second))
if not int(sys.argv[2]):
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(folder: Path, signs: int) -> Iterator[Path]:
    """Another pod that has the folder's lock: it gives so many signs of life and ends, or none and stays. Yields the lock."""
    lock = folder / ".multinode" / "lock"
    lock.parent.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock), str(signs)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield lock
    finally:
        process.kill()
        process.communicate()


def test_two_pods_fill_one_folder_once(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    size = sum(map(len, source.files.values()))
    source.fault = lambda number, name, start: Fault(rate=size / 2)
    programs = []
    for number in (1, 2):
        (tmp_path / f"pod-{number}").mkdir()
        programs.append(StageProgram(group_document, tmp_path / f"pod-{number}", tmp_path / "model"))
        programs[-1].describe(source)
    processes = [program.start() for program in programs]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert source.sent == size, "the second found what the first had fetched"
    assert sum('"step":"another pod is staging into this folder"' in output for output in outputs) == 1, outputs
    for name, data in source.files.items():
        assert (tmp_path / "model" / name).read_bytes() == data, name


def test_a_holder_that_gives_no_sign_of_life_is_named(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_model, "SILENT_SECONDS", 1.0)
    with holder(tmp_path / "model", signs=0) as lock:
        with pytest.raises(Failure) as caught:
            run(group_document, 0, tmp_path)
        assert caught.value.cause.startswith(
            "the pod that stages into this folder, llm-worker-2, has shown no sign of life for 1 s: delete it"
        )
        assert str(lock) in caught.value.cause and not caught.value.lasting
        # What it says to do helps.
        lock.unlink()
        run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


def test_a_holder_that_lives_is_waited_for(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_model, "SILENT_SECONDS", 2.0)
    with holder(tmp_path / "model", signs=16):
        run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


def test_who_stages_shows_that_it_lives(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_model, "SIGN_SECONDS", 0.05)
    asked, seen = threading.Event(), threading.Event()

    def wait(number: int, name: str, start: int) -> None:
        asked.set()
        seen.wait()

    source.fault = wait
    staging = threading.Thread(target=run, args=(group_document, 0, tmp_path), daemon=True)
    staging.start()
    assert asked.wait(5)
    lock = tmp_path / "model" / ".multinode" / "lock"
    try:
        first = lock.stat().st_mtime_ns
        until(lambda: lock.stat().st_mtime_ns != first, 5, "touched")
        assert lock.read_text() == os.uname().nodename
    finally:
        seen.set()
        staging.join(20)
    check(tmp_path, source.files, 0)
