# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that printed some lines and ended, and the prefixes of its processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine_process import Engine
from pod_progress import Board, Failure

CORE = "(EngineCore pid=210) ERROR 11-30 13:44:53 [core.py:1510]"
RANK = "\x1b[36m(RayWorkerProc pid=238, ip=192.0.2.8)\x1b[0m (Worker_PP1 pid=238) ERROR 11-30 14:04:25 [multiproc_executor.py:1063]"
HOLLOW = (
    "see root cause",
    "Engine core initialization failed",
    "see stack trace",
    "validation error for",
    "\x1b[",
    "RayTaskError",
)


class Child:
    """The engine's process, ended."""

    stdout = None

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code


def end(lines: list[str], code: int = 1, serves: bool = False, model: Path = Path("/models/m")) -> Failure:
    """The failure of an engine that printed the lines and ended."""
    group: Any = SimpleNamespace(model_path=str(model), tensor=1)
    engine = Engine(group, Board())
    child: Any = Child(code)
    engine._process = child
    engine.places = {"192.0.2.7": "stage 0 (192.0.2.7)", "192.0.2.8": "stage 1 (192.0.2.8)"}
    if serves:
        engine.note_serving()
    for line in lines:
        engine._read(line)
    failure = engine.failure()
    assert failure is not None
    assert not [words for words in HOLLOW if words.lower() in failure.cause.lower()], failure.cause
    assert "\n" not in failure.cause
    return failure


def frames(prefix: str, *code: str) -> list[str]:
    """Frames of a traceback, the last one with these lines of code."""
    lines = [
        '  File "/opt/venv/lib/python3.12/site-packages/vllm/model_executor/layers/linear.py", line 12, in __init__'
    ]
    return [
        f"{prefix} {line}" if prefix else line
        for line in (*lines, *(f"    {each}" for each in code), "    ^^^^^^^^^^^^")
    ]


def raised(prefix: str, *message: str, code: str = "f()", place: str = "") -> list[str]:
    """A traceback as the process of that prefix writes it."""
    lines = frames(prefix, code)
    if place:
        lines[0] = lines[0].replace("vllm/model_executor/layers/linear.py", place)
    return [
        f"{prefix} Traceback (most recent call last):".lstrip(),
        *lines,
        *(f"{prefix} {line}".strip() for line in message),
    ]
