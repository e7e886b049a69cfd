# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine: `vllm serve` as a child of the head's program, its log passed on and read for progress and causes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import engine_causes
import pod_processes
from group_file import STATE_FOLDER, Group, write_whole
from pod_progress import Board, Failure, emit

# A start says something new at least this often: compilation of a large model is the longest silence known.
SILENCE_SECONDS = 1800.0
# A cause that is seen while the engine serves ended it only where the end followed soon: the line may quote a request.
CAUSE_SECONDS = 60.0
TAIL_LINES = 200
_ENDS = re.compile(rb"\r\n|\n|\r")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
# What varies in a line that says the same again: times, process IDs, addresses. How far a bar is, is no such thing.
_VARYING = re.compile(r"\S*\d\S*")
_FAR = re.compile(r"\d+/\d+")
_SHARDS = re.compile(r"[Ll]oading .*shards.*?(\d+)/(\d+)")
_GRAPHS = re.compile(r"Capturing CUDA graphs.*?(\d+)/(\d+)")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b.*|\b(?:ERROR|CRITICAL|FATAL)\b.*")
# vLLM's log lines in the order of a start (vLLM 0.32), and what is being done after each.
_STEPS = (
    ("Starting to load model", "loading weights"),
    ("Loading weights took", "compiling and measuring memory"),
    ("GPU KV cache size", "capturing graphs"),
    ("Graph capturing finished", "starting the API server"),
)
_SERVING = "Application startup complete"
# The engine behind the API server is gone; the server itself needs some seconds more to see it (vLLM's watchdog, 5 s). Nothing but
# vLLM's own words where its log has them, for any line may quote a request.
_DEAD = re.compile(
    r"^(?:\([^()]*\) )*(?:ERROR (?:[\d-]+ [\d:.]+ )?(?:\[\S+:\d+\] )?)?"
    r"(?:(?:RayWorkerProc|Worker proc|Engine core proc) [\w\[\], =-]+ died unexpectedly, shutting down (?:executor|client)"
    r"|(?:[\w.]+\.)?EngineDeadError: EngineCore encountered an issue)"
)
DEAD_SECONDS = 0.5
GUARD = [Path(__file__).with_name(name) for name in ("engine_key_guard.py", "engine_keys.py")]
# A line of the guard: it quotes what a client sent, and is no part of what the engine says.
_REQUEST = "request {"


class Engine:
    """One run of the engine; `start` once."""

    def __init__(self, group: Group, board: Board) -> None:
        self._group = group
        self._board = board
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        # Lines of the tail since the engine serves.
        self._fresh = 0
        self._cause: engine_causes.Cause | None = None
        self._cause_at = 0.0
        # What was said while it starts, without what varies.
        self._said: set[tuple[str, ...]] = set()
        self._last_new = time.monotonic()
        self._last_line = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._dead_since: float | None = None
        self.serving = False

    def start(self, more: Sequence[str] = ()) -> None:
        """Start vLLM, with `more` arguments than the group's, on the group's Ray cluster, which it finds by RAY_ADDRESS."""
        command = ["vllm", "serve", self._group.model_path, *self._group.engine_arguments, *more]
        environment = {
            # Empty is off, whatever the image has: unbuffered, the prints of several threads end up in one line. vLLM and Ray flush.
            "PYTHONUNBUFFERED": "",
            "PYTHONPATH": _with_guard(os.environ.get("PYTHONPATH")),
            # vLLM's server in Rust takes no --middleware, and so would be without the guard.
            "VLLM_USE_RUST_FRONTEND": "0",
        }
        self._board.tell("engine", state="running", step="starting", total=1)
        self._last_new = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(
                "engine", f"`vllm` cannot be started: {error.strerror}; use an image that holds vLLM", lasting=True
            ) from None
        self._pump = threading.Thread(target=self._pass_on, name="engine log", daemon=True)
        self._pump.start()

    def failure(self) -> Failure | None:
        """Return how the engine ended, whatever its exit code; None while it runs and moves on."""
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            if self._dead_since is not None and time.monotonic() - self._dead_since > DEAD_SECONDS:
                return self._failure("the engine died")
            silent = time.monotonic() - self._last_new
            if not self.serving and silent > SILENCE_SECONDS:
                last = f"; its last line: {self._last_line[:300]}" if self._last_line else ""
                return self._failure(f"the engine has said nothing new for {silent:.0f} s while it starts{last}")
            return None
        if self._pump is not None:
            # What the engine said last is still in the pipe; its children may hold it open.
            self._pump.join(2)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return self._failure(f"the engine ended {how}")

    def note_serving(self) -> None:
        """Note that the engine answered, whatever its log says."""
        self.serving = True
        # What was amiss while it started did not keep it from starting.
        self._cause = None
        self._fresh = 0
        self._board.tell("engine", state="done", step=None, done=1, total=1, unit="")

    def drain(self) -> None:
        """Ask the engine to finish the requests it has (`--shutdown-timeout`) and end; return when it has."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def kill(self) -> None:
        """End the engine and what it started here at once."""
        if self._process is not None:
            pod_processes.end_session(self._process)

    def tail(self) -> list[str]:
        """The last lines of the engine's log."""
        return list(self._tail)

    def _failure(self, how: str) -> Failure:
        lines = self.tail()
        if self._cause and not self._stale:
            return Failure("engine", f"{how}: {self._cause.text}", self._cause.lasting, lines)
        fresh = lines[max(0, len(lines) - self._fresh) :]
        errors = [match[0].strip() for match in map(_ERROR.search, fresh) if match]
        last = f"; its last error: {errors[-1][:300]}" if errors else ""
        return Failure("engine", how + last, evidence=lines)

    @property
    def _stale(self) -> bool:
        """Say whether the engine went on serving after its cause was seen."""
        return self.serving and time.monotonic() - self._cause_at > CAUSE_SECONDS

    def _pass_on(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        descriptor, rest = self._process.stdout.fileno(), b""
        while data := os.read(descriptor, 65536):
            *lines, rest = _ENDS.split(rest + data)
            for line in lines:
                if line:
                    self._read(line.decode("utf-8", "replace"))
        if rest:
            self._read(rest.decode("utf-8", "replace"))

    def _read(self, line: str) -> None:
        emit(line)
        if line.startswith(_REQUEST):
            return
        self._tail.append(line)
        self._fresh += 1
        line = _COLOURS.sub("", line)
        if self._cause is None or self._stale:
            self._cause, self._cause_at = engine_causes.known(line), time.monotonic()
        if self._dead_since is None and _DEAD.search(line):
            self._dead_since = time.monotonic()
        if self.serving:
            return
        self._last_line = line
        said = (_VARYING.sub("", line), *_FAR.findall(line))
        if said not in self._said:
            self._said.add(said)
            self._last_new = time.monotonic()
        if match := _SHARDS.search(line):
            self._board.tell("engine", step="loading weights", done=int(match[1]), total=int(match[2]), unit="shards")
        elif match := _GRAPHS.search(line):
            self._board.tell("engine", step="capturing graphs", done=int(match[1]), total=int(match[2]), unit="graphs")
        elif _SERVING in line:
            self.note_serving()
        else:
            for words, step in _STEPS:
                if words in line:
                    self._board.tell("engine", step=step)


def _with_guard(python_path: str | None) -> str:
    """Put the guard of the API where vLLM can import it: alone in a folder, since the programs beside it would hide modules of vLLM's."""
    folder = STATE_FOLDER / "middleware"
    for program in GUARD:
        write_whole(folder / program.name, program.read_text())
    return f"{folder}{os.pathsep}{python_path}" if python_path else str(folder)
