# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import processes
from rig.configuration import RigError


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A rig's folder; what was started for it is ended."""
    yield tmp_path
    processes.end(processes.members(tmp_path), grace_s=0)


def _started(directory: Path, script: str, name: str = "part") -> processes.Process:
    """A Python process that has said it is ready."""
    ready = directory / f"{name}.ready"
    code = (
        f"import pathlib, signal, subprocess, sys, time\n{script}\npathlib.Path({str(ready)!r}).touch()\nsignal.pause()"
    )
    process = processes.start(directory, name, [sys.executable, "-c", code])
    processes.wait_until(ready.exists, [process], 20, "the process")
    return process


def test_a_started_process_is_recorded_and_ended(directory: Path) -> None:
    process = _started(directory, "print('hello', flush=True)")
    assert processes.recorded(directory) == [process]
    assert process.is_running()
    assert Path(process.log).read_text() == "hello\n"
    assert processes.end([process], grace_s=20) == []
    assert not process.is_running()


def test_one_that_does_not_want_to_end_is_killed(directory: Path) -> None:
    process = _started(directory, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert processes.end([process], grace_s=0.2) == [process]
    assert not process.is_running()


def test_an_identifier_that_is_another_process_now_is_not_signalled(directory: Path) -> None:
    process = _started(directory, "")
    stale = dataclasses.replace(process, started=process.started - 1)
    assert not stale.is_running()
    assert processes.end([stale], grace_s=0) == []
    assert process.is_running()


def test_a_record_of_an_earlier_boot_is_of_no_process(directory: Path) -> None:
    process = _started(directory, "")
    assert not dataclasses.replace(process, boot="another").is_running()


def test_the_child_of_a_killed_part_is_found(directory: Path) -> None:
    process = _started(directory, "subprocess.Popen(['sleep', '300'], start_new_session=True)")
    processes.end([process], grace_s=0)
    orphans = processes.members(directory)
    assert [orphan.name for orphan in orphans] == ["sleep"]
    processes.end(orphans, grace_s=0)
    assert processes.members(directory) == []


def test_a_shell_that_only_knows_the_rig_is_no_member(directory: Path) -> None:
    with subprocess.Popen(["sleep", "300"], env=os.environ | {"RIG_DIR": str(directory)}) as shell:
        try:
            assert processes.members(directory) == []
        finally:
            shell.kill()


def test_waiting_ends_with_the_process_waited_for(directory: Path) -> None:
    process = processes.start(directory, "part", ["sh", "-c", "exit 3"])
    with pytest.raises(processes.PartEnded, match="part .* ended"):
        processes.wait_until(lambda: False, [process], 20, "nothing")


def test_waiting_has_an_end(directory: Path) -> None:
    process = _started(directory, "")
    with pytest.raises(RigError, match="the answer not there"):
        processes.wait_until(lambda: False, [process], 0.1, "the answer")
