# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a pod says of itself: log lines, progress lines, and the message that its container leaves when it ends.

A progress line is the word `multinode` and a JSON object {phase, state, done, total, unit, rate, eta, cause}. States: `waiting`,
`running`, `done`, `ended` (this try is over; another may succeed), `failed` (no restart fixes it). `step` says what is being done,
`remedy` what to do about the cause.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORD = "multinode"
HEARTBEAT_SECONDS = 30.0
# Numbers that change all the time are said this often at most.
NUMBERS_SECONDS = 5.0
# The kubelet keeps this much of /dev/termination-log.
MESSAGE_BYTES = 4096
TERMINATION_LOG = Path(os.environ.get("MULTINODE_TERMINATION_LOG", "/dev/termination-log"))

# How the lines begin that are read by the controller: progress, and what a benchmark measured.
_OURS = re.compile(rf"\b({WORD}|benchmark) \{{")
_output = threading.Lock()


class Failure(Exception):
    """A foreseen end: its cause in words, the phase in which it came, and whether a restart can fix it.

    evidence: the lines of a log that show it, last line last. remedy: what to do about it, where the cause does not say it.
    """

    def __init__(
        self, phase: str, cause: str, lasting: bool = False, evidence: Sequence[str] = (), remedy: str = ""
    ) -> None:
        super().__init__(cause)
        self.phase = phase
        self.cause = cause
        self.lasting = lasting
        self.evidence = tuple(evidence)
        self.remedy = remedy

    @property
    def state(self) -> str:
        """The state of the phase that this failure ends."""
        return "failed" if self.lasting else "ended"


def foreseen(error: Exception, phase: str) -> Failure:
    """Return the failure that an exception is; of one that nobody foresaw, where it came, with the calls that led there."""
    if isinstance(error, Failure):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = (
        f"the program failed: {type(error).__name__} in {last.name} ({os.path.basename(last.filename)}:{last.lineno})"
    )
    # What an exception says while files are fetched may hold the source's URL, or a token.
    if phase != "staging":
        words += f": {error}"
    words += "; please report it with this pod's log"
    calls = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    return Failure(phase, words, evidence=calls)


def emit(line: str) -> None:
    """Write one line to the pod's log, whole, whatever other threads write."""
    data = line.encode("utf-8", "replace") + b"\n"
    with _output:
        while data:
            data = data[os.write(1, data) :]


def pass_on(line: str) -> None:
    """Write a line of another program. What a client made it say is no line of ours, whatever it looks like."""
    emit(_not_ours(line))


def _not_ours(text: str) -> str:
    return _OURS.sub(r"\1: {", text)


def log(text: str) -> None:
    """Write a line for people, with the time (UTC)."""
    pass_on(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text)


class Board:
    """The latest entry of each phase. Says an entry when it changes, and every 30 s while it is not done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        self._said: dict[str, float] = {}
        # When each phase began, and when it was done.
        self._times: dict[str, tuple[float, float | None]] = {}

    def start(self) -> None:
        """Repeat unfinished entries in the background from now on."""
        threading.Thread(target=self._repeat, name="heartbeat", daemon=True).start()

    def tell(self, phase: str, **fields: Any) -> None:
        """Change fields of the phase's entry (state, done, total, unit, rate, eta, cause, step, ...)."""
        with self._lock:
            entry = self._entries.setdefault(phase, _blank(phase))
            before = dict(entry)
            entry.update(fields)
            now = time.monotonic()
            began, ended = self._times.get(phase, (now, None))
            self._times[phase] = (began, (ended or now) if entry["state"] == "done" else None)
            words = any(before.get(key) != entry.get(key) for key in ("state", "cause", "step", "warning"))
            due = time.monotonic() - self._said.get(phase, -HEARTBEAT_SECONDS) >= NUMBERS_SECONDS
            if words or (due and entry != before):
                self._say(phase)

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return a copy of all entries, by phase."""
        with self._lock:
            return {phase: dict(entry) for phase, entry in self._entries.items()}

    def seconds(self) -> dict[str, float]:
        """Return how long each phase took until it was done, or has taken."""
        now = time.monotonic()
        with self._lock:
            return {phase: (now if ended is None else ended) - began for phase, (began, ended) in self._times.items()}

    def _say(self, phase: str) -> None:
        self._said[phase] = time.monotonic()
        emit(progress_line(self._entries[phase]))

    def _repeat(self) -> None:
        while True:
            time.sleep(1)
            with self._lock:
                for phase, entry in self._entries.items():
                    if entry["state"] != "done" and time.monotonic() - self._said[phase] >= HEARTBEAT_SECONDS:
                        self._say(phase)


def progress_line(entry: dict[str, Any]) -> str:
    """Return the entry as it stands in the log."""
    return f"{WORD} {json.dumps(entry, separators=(',', ':'), ensure_ascii=False)}"


def leave_message(entry: dict[str, Any], evidence: Sequence[str] = ()) -> None:
    """Write the termination message: the entry's progress line, and below it as much of the evidence's end as fits."""
    first = progress_line(entry)
    if len(first.encode()) > MESSAGE_BYTES:
        entry = {**entry, "cause": entry["cause"][: MESSAGE_BYTES // 8]}
        first = progress_line(entry)
    room = MESSAGE_BYTES - len(first.encode()) - 1
    rest = _not_ours("\n".join(evidence)).encode()[-room:].decode("utf-8", "ignore") if room > 0 else ""
    try:
        TERMINATION_LOG.write_text(f"{first}\n{rest}" if rest else first)
    except OSError as error:
        log(f"the termination message cannot be written to {TERMINATION_LOG}: {error}")


def _blank(phase: str) -> dict[str, Any]:
    return {
        "phase": phase,
        "state": "waiting",
        "done": 0,
        "total": 0,
        "unit": "",
        "rate": None,
        "eta": None,
        "cause": None,
    }
