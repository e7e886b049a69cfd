# SPDX-License-Identifier: GPL-3.0-or-later
"""The staging program as a process: killed, out of room, and how much memory it takes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.pods import PROGRAMS
from tests.unit.runtime.source_server import SECRET, SHARDS, Fault, SourceServer, md5

pytestmark = pytest.mark.processes

MEMORY_BYTES = 300 << 20


class StageProgram:
    """`stage_model.py` for stage 0 of a model of one shard, whose content the test gives."""

    def __init__(self, document: dict[str, Any], folder: Path, root: Path | None = None) -> None:
        self.document, self.folder = document, folder
        self.root = root or folder / "model"
        document["staging"]["root"] = str(self.root)
        self.environment = {**os.environ, "MULTINODE_TERMINATION_LOG": str(folder / "termination")}

    def describe(self, source: SourceServer, digests: bool = True) -> None:
        """Take what the source has as the plan."""
        self.document["staging"]["files"] = [
            {"name": name, "size": len(data), "md5": md5(data) if digests else None}
            for name, data in source.files.items()
        ]
        self.document["staging"]["by_stage"] = False

    def start(self, commit_seconds: float = 2.0) -> subprocess.Popen[str]:
        """Start the program."""
        path = self.folder / "group.json"
        path.write_text(json.dumps(self.document))
        run = f"import stage_partial, stage_model; stage_partial.COMMIT_SECONDS = {commit_seconds}; raise SystemExit(stage_model.main())"
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PROGRAMS)!r}); {run}", "--group", str(path)],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self) -> tuple[int, list[dict[str, Any]]]:
        """Run it to its end: the exit code and the progress lines."""
        process = self.start()
        output, _ = process.communicate(timeout=120)
        assert "Traceback" not in output and SECRET not in output, output
        lines = [line for line in output.splitlines() if line.startswith("multinode ")]
        return process.returncode, [json.loads(line.removeprefix("multinode ")) for line in lines]


@pytest.fixture
def program(group_document: dict[str, Any], tmp_path: Path) -> StageProgram:
    """The staging program in a folder of the test's own."""
    return StageProgram(group_document, tmp_path)


def kill_and_resume(program: StageProgram, source: SourceServer, kills: int, chance: random.Random) -> None:
    """Kill the program when the source has sent so many bytes, again and again; then let it end."""
    size = 12_000_000
    source.files = {name: chance.randbytes(size // 4) for [name] in SHARDS}
    source.fault = lambda number, name, start: Fault(rate=size / 8)
    program.describe(source, digests=chance.random() < 0.5)
    for _ in range(kills):
        # Committed all the time: a kill may come anywhere in a commit.
        process = program.start(commit_seconds=0.01)
        sent, moment = source.sent, chance.randrange(size // (2 * kills))
        reached = threading.Event()
        while process.poll() is None and source.sent - sent < moment:
            reached.wait(0.005)
        process.kill()
        process.communicate()
    code, lines = program.run()
    assert (code, lines[-1]["state"], lines[-1]["done"]) == (0, "done", size)
    for name, data in source.files.items():
        assert (program.root / name).read_bytes() == data, name
    assert not list((program.root / ".multinode" / "parts").iterdir())


def test_killed_in_the_middle_no_byte_differs(program: StageProgram, source: SourceServer) -> None:
    kill_and_resume(program, source, 3, random.Random(3))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_killed_many_times_no_byte_differs(program: StageProgram, source: SourceServer, seed: int) -> None:
    kill_and_resume(program, source, 20, random.Random(seed))


def test_a_kill_costs_two_seconds_of_work_at_most(program: StageProgram, source: SourceServer) -> None:
    size = 6_000_000
    source.files = {SHARDS[0][0]: random.Random(5).randbytes(size)}
    program.document["staging"]["streams"] = 1
    program.describe(source)
    source.fault = lambda number, name, start: Fault(rate=1_000_000)
    process = program.start()
    threading.Event().wait(4.5)
    process.kill()
    process.communicate()
    before = source.sent
    source.fault = lambda number, name, start: None
    code, lines = program.run()
    assert code == 0
    assert before > 2_500_000
    # The source counts what it sent, not what arrived: a socket's buffers may hold some.
    assert lines[-1]["fetched"] <= size - before + 3_500_000 + (4 << 20)
    assert lines[-1]["fetched"] < size - 1_000_000


def test_memory_stays_small(program: StageProgram, source: SourceServer) -> None:
    source.files = {SHARDS[0][0]: bytes(200_000_000)}
    program.document["staging"]["streams"] = 16
    program.describe(source)
    path = program.folder / "group.json"
    path.write_text(json.dumps(program.document))
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, sys.executable, str(PROGRAMS / "stage_model.py"), "--group", str(path)],
        env=program.environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert int(done.stdout) < MEMORY_BYTES


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes; needs root."""
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root to be mounted")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_small_is_told_before_it_is_filled(
    group_document: dict[str, Any], source: SourceServer, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        program = StageProgram(group_document, tmp_path, disk / "model")
        source.files = {SHARDS[0][0]: bytes(20 << 20)}
        program.describe(source)
        code, lines = program.run()
    assert code == 1 and source.requests == []
    assert lines[-1]["state"] == "failed"
    assert lines[-1]["cause"].startswith("disk full: 0.02 GB are still to be fetched")
    message = (tmp_path / "termination").read_text()
    assert message.startswith("multinode {") and "disk full" in message


def test_a_disk_that_fills_meanwhile_is_told(
    group_document: dict[str, Any], source: SourceServer, tmp_path: Path
) -> None:
    size = 80 << 20
    with small_disk(tmp_path / "disk", 2 * size) as disk:
        program = StageProgram(group_document, tmp_path, disk / "model")
        source.files = {SHARDS[0][0]: bytes(size)}
        program.describe(source)
        other = disk / "other"

        def fill(number: int, name: str, start: int) -> None:
            if number == 1:
                other.write_bytes(bytes(size + (size >> 1)))

        source.fault = fill
        code, lines = program.run()
    assert code == 1
    assert lines[-1]["state"] == "failed" and "disk full while writing" in lines[-1]["cause"]
