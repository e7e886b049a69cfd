# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines in vLLM's form: `(EngineCore pid=7) INFO 11-23 21:40:00 [core.py:93] text`."""

from __future__ import annotations

import os
import sys
import time
import traceback

ENGINE = "EngineCore"
SERVER = "APIServer"


def write(place: str, text: str, level: str = "INFO", process: str = "") -> None:
    """Print `text`; `place` is vLLM's file and line, `process` what stands in front (nothing in Ray actors: Ray writes it)."""
    prefix = f"({process} pid={os.getpid()}) " if process else ""
    stamp = time.strftime("%m-%d %H:%M:%S")
    for line in text.splitlines() or [""]:
        # In one piece, as Python's logging does.
        sys.stdout.write(f"{prefix}{level} {stamp} [{place}] {line}\n")
        sys.stdout.flush()


def write_failure(place: str, error: BaseException, process: str = ENGINE) -> None:
    """Print an exception with its traceback, as vLLM does before it gives up."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    write(place, text, "ERROR", process)


def uvicorn(text: str) -> None:
    """A line in the form of the HTTP server's own log."""
    print(f"({SERVER} pid={os.getpid()}) INFO:     {text}", flush=True)


def bar(label: str, done: int, total: int, seconds: float) -> None:
    """One line of a progress bar, on standard error."""
    elapsed = _clock(seconds)
    left = _clock(seconds / done * (total - done)) if done else "?"
    rate = f"{done / seconds:.2f}it/s" if done and seconds > 0 else "?it/s"
    line = f"{label}: {100 * done // total:3d}% Completed | {done}/{total} [{elapsed}<{left}, {rate}]"
    print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
