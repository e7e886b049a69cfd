# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's log shows: that it died, why, and whether its start moves on; and that clients' words show nothing."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import engine_process
import pytest
from engine_process import Engine
from pod_progress import Board, Failure

from tests.unit.runtime.pods import until

ERROR, SERVER_ERROR = (f"({process}) ERROR 11-27 21:40:00" for process in ("EngineCore pid=7", "APIServer pid=1"))
INFO = "(EngineCore pid=7) INFO 11-27 21:40:00"
DIED = "EngineDeadError: EngineCore encountered an issue."


class Child:
    """The engine's process, as far as it is looked at."""

    stdout = None
    code: int | None = None

    def poll(self) -> int | None:
        return self.code


class Watched(Engine):
    """An engine whose lines and time a test gives."""

    def __init__(self) -> None:
        group: Any = None
        super().__init__(group, Board())
        self.child: Any = Child()
        self._process = self.child

    def says(self, *lines: str) -> None:
        for line in lines:
            self._read(line)

    def end(self) -> Failure:
        self.child.code = 1
        failure = self.failure()
        assert failure is not None
        return failure


@pytest.fixture
def engine(clock: list[float]) -> Watched:
    return Watched()


@pytest.mark.parametrize(
    "line",
    [
        f"{ERROR} [ray_executor_v2.py:370] RayWorkerProc rank=[1, 2] died unexpectedly, shutting down executor.",
        f"{ERROR} [multiproc_executor.py:283] Worker proc VllmWorker-0 died unexpectedly, shutting down executor.",
        f"{ERROR} [multiproc_executor.py:283] Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
        f"{SERVER_ERROR} [core_client.py:605] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.",
        f"{SERVER_ERROR} [serving_chat.py:1278] vllm.v1.engine.exceptions.{DIED}",
        f"\x1b[0;36m(APIServer pid=1)\x1b[0;0m vllm.v1.engine.exceptions.{DIED}",
    ],
)
def test_what_vllm_says_of_its_death_ends_it(engine: Watched, clock: list[float], line: str) -> None:
    engine.note_serving()
    engine.says(line)
    assert engine.failure() is None
    clock[0] += 1
    failure = engine.failure()
    assert failure is not None and failure.cause.startswith("the engine died")


@pytest.mark.parametrize(
    "line",
    [
        f"{INFO} [logger.py:43] Received request cmpl-1: prompt: 'What is\\n{DIED}?'",
        f"{SERVER_ERROR} [serving.py:9] Error with 'Engine core proc x died unexpectedly, shutting down client'",
        f"(APIServer pid=1) WARNING 11-27 21:40:00 [protocol.py:1] unknown field {DIED}",
    ],
)
def test_what_a_client_says_of_it_does_not(engine: Watched, clock: list[float], line: str) -> None:
    engine.note_serving()
    engine.says(line)
    clock[0] += 10
    assert engine.failure() is None


def test_a_cause_while_it_serves_counts_for_an_end_that_follows_soon(engine: Watched, clock: list[float]) -> None:
    engine.note_serving()
    engine.says(
        f"{SERVER_ERROR} [serving.py:9] Error in template: 'vllm: error: No available memory for the cache blocks'"
    )
    clock[0] += engine_process.CAUSE_SECONDS + 1
    engine.says(f"{SERVER_ERROR} [x.py:1] torch.OutOfMemoryError: CUDA out of memory.")
    clock[0] += 5
    failure = engine.end()
    assert "the GPU ran out of memory" in failure.cause and not failure.lasting


def test_a_cause_long_before_the_end_is_none(engine: Watched, clock: list[float]) -> None:
    engine.note_serving()
    engine.says(f"{SERVER_ERROR} [serving.py:9] Error in template: 'No available memory for the cache blocks'")
    clock[0] += engine_process.CAUSE_SECONDS + 1
    failure = engine.end()
    assert failure.cause == "the engine ended with exit code 1" and not failure.lasting


def test_a_cause_of_a_long_start_is_kept(engine: Watched, clock: list[float]) -> None:
    engine.says("ValueError: No available memory for the cache blocks.")
    clock[0] += 600
    failure = engine.end()
    assert "no GPU memory is left" in failure.cause and failure.lasting


WAITS = f"{INFO} [shm_broadcast.py:501] No available shared memory broadcast block found in {{}} seconds."


@pytest.mark.parametrize(
    ("lines", "moves"),
    [
        ([WAITS.format(60 * number) for number in range(1, 5)], False),
        (
            [f"Loading safetensors checkpoint shards: 50% Completed | 2/4 [{number:02}:00<?]" for number in range(4)],
            False,
        ),
        ([f"Loading safetensors checkpoint shards: Completed | {number}/4 [00:00<?]" for number in range(4)], True),
        ([f"Capturing CUDA graphs (decode): {number}/67 [00:00<?]" for number in range(4)], True),
        (["compiling a", "compiling b", "compiling c", "compiling d"], True),
    ],
    ids=["waits", "stands", "shards", "graphs", "words"],
)
def test_a_start_that_says_nothing_new_does_not_move(
    engine: Watched, clock: list[float], lines: list[str], moves: bool
) -> None:
    for line in lines:
        assert engine.failure() is None
        engine.says(line)
        clock[0] += engine_process.SILENCE_SECONDS / (len(lines) - 1)
    clock[0] += 1
    failure = engine.failure()
    told = None if failure is None else failure.cause
    hangs = f"the engine has said nothing new for 2401 s while it starts; its last line: {lines[-1]}"
    assert told == (None if moves else hangs)


def test_its_python_does_not_write_unbuffered_whatever_the_image_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prints of several threads would end up in one line, which then shows no cause."""
    program = tmp_path / "vllm"
    program.write_text('#!/bin/sh\necho "unbuffered: [$PYTHONUNBUFFERED]"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setattr(engine_process, "STATE_FOLDER", tmp_path)
    group: Any = SimpleNamespace(model_path="/model", engine_arguments=())
    started = Engine(group, Board())
    started.start()
    until(lambda: started.tail() == ["unbuffered: []"], 10, "the engine's line")


def test_what_is_no_text_and_has_no_end_is_passed_on_and_read(
    engine: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ten megabytes without an end of line, bytes that are no UTF-8, and the cause behind them."""
    reading, writing = os.pipe()
    engine.child.stdout = os.fdopen(reading, "rb")
    said = b"a." * 5_000_000 + b"\xff\xfe\x00 \xc3(\r\n" + f"{ERROR} ValueError: --turbo wants --boost".encode()
    writer = threading.Thread(target=lambda: (os.fdopen(writing, "wb").write(said), None))
    writer.start()
    began = time.process_time()
    engine._pass_on()
    writer.join()
    assert time.process_time() - began < 10
    shown = capfd.readouterr().out
    assert shown.count("a.") >= 4_999_990 and "--turbo wants --boost" in shown
    assert all(len(line) <= engine_process.LINE_CHARACTERS for line in engine.tail())
    assert "ValueError: --turbo wants --boost" in engine.end().cause


def test_lines_that_are_all_different_are_not_remembered_for_ever(
    engine: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "SAID_LINES", 50)
    engine.says(*("word " * number for number in range(200)))
    assert len(engine._said) <= 50 and engine.failure() is None
