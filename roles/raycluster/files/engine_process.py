# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine: `vllm serve` as a child of the head's program, its log passed on and read for progress and causes."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import pod_processes
from engine_line import COLOURS
from engine_log import Log, Root
from engine_measures import measured
from group_file import STATE_FOLDER, Group, write_whole
from pod_progress import Board, Failure, emit, pass_on

# A start says something new at least this often: compilation of a large model is the longest silence known.
SILENCE_SECONDS = 1800.0
# A cause that is seen while the engine serves ended it only where the end followed soon: the line may quote a request.
CAUSE_SECONDS = 60.0
TAIL_LINES = 200
# Of a line, what is kept of it, and what is read of it for progress; more bytes without an end are lines of their own.
LINE_CHARACTERS = 4000
LINE_BYTES = 1 << 20
# So many different lines are remembered.
SAID_LINES = 100_000
_ENDS = re.compile(rb"\r\n|\n|\r")
# What varies in a line that says the same again: times, process IDs, addresses. How far a bar is, is no such thing.
_VARYING = re.compile(r"\S*\d\S*")
_FAR = re.compile(r"\d+/\d+")
_SHARDS = re.compile(r"[Ll]oading .*shards.*?(\d{1,9})/(\d{1,9})(?!\d)")
_GRAPHS = re.compile(r"Capturing CUDA graphs.*?(\d{1,9})/(\d{1,9})(?!\d)")
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
    r"(?:(?:RayWorkerProc|Worker proc|Engine core proc) [\w\[\], =-]+ died unexpectedly"
    r"(?: \(exit code: \S+\))?, shutting down (?:executor|client)"
    r"|(?:[\w.]+\.)?EngineDeadError: EngineCore encountered an issue)"
)
DEAD_SECONDS = 0.5
# While it starts no request waits for the end, and Ray passes on what a rank said with a delay.
DEAD_STARTING_SECONDS = 4.0
# argparse's, and Python's for a program that is not there: nothing was started.
REFUSED_CODE = 2
GUARD = [Path(__file__).with_name(name) for name in ("engine_key_guard.py", "engine_keys.py")]
# How lines of the guard begin: one quotes what a client sent, and none is a part of what the engine says. The guard begins each with
# a mark that no client knows.
_OF_THE_GUARD = re.compile(r"(request|keys) \{")
MARK = "MULTINODE_GUARD_MARK"


class Engine:
    """One run of the engine; `start` once."""

    def __init__(self, group: Group, board: Board) -> None:
        self._group = group
        self._board = board
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = Log()
        # By the address of each pod, what it is in the group.
        self.places: Mapping[str, str] = {}
        # What was said while it starts, without what varies.
        self._said: set[int] = set()
        self._last_new = time.monotonic()
        self._last_line = ""
        self._mark = f"{secrets.token_hex(8)} "
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._dead_since: float | None = None
        self._measured: dict[str, float] = {}
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
            MARK: self._mark,
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
            bound = DEAD_SECONDS if self.serving else DEAD_STARTING_SECONDS
            if self._dead_since is not None and time.monotonic() - self._dead_since > bound:
                return self._failure("the engine died")
            silent = time.monotonic() - self._last_new
            if not self.serving and silent > SILENCE_SECONDS:
                last = f"; its last line: {self._last_line[:300]}" if self._last_line else ""
                return self._failure(f"the engine has said nothing new for {silent:.0f} s while it starts{last}")
            return None
        if self._pump is not None:
            # What the engine said last is still in the pipe; its children may hold it open.
            self._pump.join(2)
        how = f"by signal {-code} ({_signal(-code)})" if code < 0 else f"with exit code {code}"
        failure = self._failure(f"the engine ended {how}")
        if code == REFUSED_CODE and not self.serving and not self._log.ranks_started:
            failure.lasting = True
        if code == -signal.SIGKILL:
            # Whatever it said before, something else ended it.
            failure.lasting = False
        return failure

    def note_serving(self) -> None:
        """Note that the engine answered, whatever its log says."""
        self.serving = True
        # What was amiss while it started did not keep it from starting.
        self._log.clear()
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
        root = self._log.root(time.monotonic() - CAUSE_SECONDS if self.serving else None)
        if root is None:
            return Failure("engine", how, evidence=self.tail())
        where, error = self._place(root), root.text + self._broken_json(root)
        if root.cause is None:
            return Failure("engine", f"{how}: {where}{error}", root.lasting, self.tail())
        words = f"{how}: {root.cause.cause} ({where}{error})"
        return Failure("engine", words, root.lasting, self.tail(), root.cause.remedy)

    def _place(self, root: Root) -> str:
        """Return where in the group it came, as far as the log and the group say it."""
        tensor = self._group.tensor if self._group else 1
        stage = root.ranks[0] // tensor if root.ranks else root.stage
        words = self.places.get(root.address or "") or next(
            (place for place in self.places.values() if stage is not None and place.startswith(f"stage {stage} ")), None
        )
        if words is None and stage is not None:
            words = f"stage {stage}"
        return f"{words}: " if words else ""

    def _broken_json(self, root: Root) -> str:
        """Return which JSON file of the model cannot be read: Python's error does not say it."""
        if root.kind not in ("JSONDecodeError", "UnicodeDecodeError"):
            return ""
        broken = []
        for path in sorted(Path(self._group.model_path).glob("*.json")):
            try:
                json.loads(path.read_bytes())
            except ValueError:
                broken.append(str(path))
            except OSError:
                continue
        return f"; not valid JSON: {', '.join(broken)}" if broken else ""

    def _pass_on(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        descriptor, rest = self._process.stdout.fileno(), b""
        while data := os.read(descriptor, 65536):
            *lines, rest = _ENDS.split(rest + data)
            if len(rest) > LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if line:
                    self._read(line.decode("utf-8", "replace"))
        if rest:
            self._read(rest.decode("utf-8", "replace"))

    def _read(self, line: str) -> None:
        # The guard's line may stand behind one that has no end yet.
        line, marked, guards = line.partition(self._mark)
        if marked:
            emit(guards)
            if not line:
                return
        if _OF_THE_GUARD.match(line):
            line = line.replace(" {", ": {", 1)
        pass_on(line)
        self._log.read(line)
        line = line[:LINE_CHARACTERS]
        self._tail.append(line)
        line = COLOURS.sub("", line)
        if self._dead_since is None and _DEAD.search(line):
            self._dead_since = time.monotonic()
        if self.serving:
            return
        self._last_line = line
        if (found := measured(line, self._measured)) != self._measured:
            self._measured = found
            self._board.tell("engine", measured=found)
        said = hash((_VARYING.sub("", line), *_FAR.findall(line)))
        if said not in self._said:
            if len(self._said) >= SAID_LINES:
                self._said.clear()
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


def _signal(number: int) -> str:
    """Return a signal's name, with what sends it to an engine."""
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    return f"{name}: for lack of memory in the pod, or from outside" if number == signal.SIGKILL else name


def _with_guard(python_path: str | None) -> str:
    """Put the guard of the API where vLLM can import it: alone in a folder, since the programs beside it would hide modules of vLLM's."""
    folder = STATE_FOLDER / "middleware"
    for program in GUARD:
        write_whole(folder / program.name, program.read_text())
    return f"{folder}{os.pathsep}{python_path}" if python_path else str(folder)
