# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine's log, read line by line for the error that ended it.

vLLM, Ray, PyTorch and NCCL write into one stream: prefixes say which process a line is from, and tracebacks of several processes
interleave. The API server's last line is nearly never the cause ("Engine core initialization failed. See root cause above."); the first
error of the engine's core or of a rank is.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

import engine_line
from engine_cause import Cause
from engine_error import ARGUMENT, Error
from engine_line import Line

# Lines of a message below its exception, and of code below its frame, that are kept.
_MESSAGE_LINES = 40
# So many errors, and so many sources of lines, are kept; no end of an engine has more.
_KEPT = 1000
_QUIET = ("DEBUG", "INFO", "WARNING")
_PACKAGES = re.compile(r"(?:site|dist)-packages/")
# The margin of a group of exceptions.
_MARGIN = re.compile(r" {2,20}[|+] ?")
_FRAME = re.compile(r'  File "(?P<path>.+?)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_EXCEPTION = re.compile(
    r"(?P<kind>(?:[A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Failure|Timeout|Unavailable|StopIteration"
    r"|Unsupported|Died|Crashed|Mismatch|NotFound|OfResources)\w*(?:\(\w+\))?)(?:: ?(?P<message>.*))?$"
)
# At the end of a traceback any name is one.
_ANY_EXCEPTION = re.compile(
    r"(?P<kind>(?:(?:[A-Za-z_]\w*|<locals>)\.)*[A-Za-z_]\w*(?:\(\w+\))?)(?:: ?(?P<message>.*))?$"
)
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
# Errors of a thread or a finalizer, after which the process continues.
_ASIDE = re.compile(
    r"Exception (?:ignored )?in (?:thread|callback|atexit)\b|Exception ignored in|exception was never retrieved|--- Logging error ---"
)
# Logged before a traceback that ends the process. After any other logged traceback the process continues.
_ANNOUNCES = re.compile(
    r"EngineCore|WorkerProc|hit an exception|Error executing method|Error in (?:inspecting|loading) model architecture"
    r"|Exception in worker|Engine (?:background task|core|loop|process)|output_handler failed|running API servers|failed to start",
    re.IGNORECASE,
)
# Lines without a level by which a program ends itself, or a compiler refuses; others may be advice.
_LAST_WORDS = re.compile(r"\(src/\S+:\d+\)$|^ptxas fatal|fatal error: |symbol lookup error|requires CUDA >=")
_RAY_NESTED = re.compile(r"RayTaskError|ActorDiedError")
_RAY_PLACE = re.compile(r"\(?pid=(\d+), ip=([\w.:]+)")
_DEAD_PLACE = re.compile(r"(?:\bip|Worker IP address|node id: \w+ and address): ([\d.]+)")
_ARGUMENTS = re.compile(r"(?:vllm(?: [\w-]+){0,3}|[\w./-]+\.py): error: .+")
_WORKER = re.compile(r"(?:Ray|Vllm)?Worker|pid=")
_STAGE = re.compile(r"Worker(?:_DP\d+)?_PP(\d{1,9})(?!\d)")
_NUMBERS = re.compile(r"(?<!\d)\d{1,9}(?!\d)")
_RANKS = re.compile(r"rank=\[([\d, ]+)\]")
_WARNS = re.compile(r"\S+\.py:\d+: \w*Warning\b|\s*warnings\.warn\(|.{0,100}\[\d+\] (?:\S+:\d+ )?NCCL INFO ")
_WARNS_ON = re.compile(r"\S+\.py:\d+: \w*Warning\b")
_CODE = re.compile(r"  \S")
# What the engine's core says when it ends, whatever others say.
_ENDS = re.compile(r"EngineCore (?:failed to start|encountered a fatal error)|EngineCore hit an exception")


@dataclass(frozen=True)
class Root:
    """What ended the engine. text: the error as it is, in one line; lasting: no restart helps; stage: of its pod, None where unknown."""

    text: str
    cause: Cause | None
    lasting: bool
    kind: str
    address: str | None
    stage: int | None
    ranks: tuple[int, ...]


class _Stream:
    """The lines of one process from one place of its code: at most one traceback is being read."""

    def __init__(self) -> None:
        self.state = ""
        self.code: list[str] = []
        self.frame = ""
        self.error: Error | None = None
        self.report: list[Error] = []
        self.chained = False
        # Whether the process continues after this traceback, and after the next one.
        self.is_aside = self.next_is_aside = False
        # The line before, where it is at the level of an error.
        self.said = ""
        self.place: tuple[str | None, str | None] = (None, None)


class Log:
    """What was read since the last `clear`."""

    def __init__(self) -> None:
        self.clear()
        # Whether a process of a rank has said something, and what is known of their processes.
        self.ranks_started = False
        # By address and process ID: containers count their processes each for itself.
        self._stages: dict[tuple[str | None, str | None], int] = {}

    def clear(self) -> None:
        """Forget the errors, not the processes."""
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._reports: list[tuple[bool, list[Error]]] = []
        self._alone: list[Error] = []
        # Lines without a level, which may show a known cause.
        self._bare: deque[Error] = deque(maxlen=_KEPT)
        self._fatal: set[str] = set()
        # By process, how many lines may still belong to a warning.
        self._warnings: dict[str, int] = {}
        self._child, self._child_begins = "", False

    def read(self, line: str) -> None:
        """Take in a line."""
        for each in engine_line.read(line):
            self._take(each)

    def _take(self, line: Line) -> None:
        text, process = line.text, line.process
        if process:
            self._note_process(line)
        elif text.startswith("Process ") and text.endswith(":"):
            # multiprocessing's words before an uncaught exception, which has no prefix.
            self._child, self._child_begins = text[8:-1], True
            return
        key = (f"{process}{line.pid or ''}{line.ranks or ''}", line.source)
        if not process:
            process = self._child
        origin = _origin(process) if line.ranks is None else "rank"
        if line.level in _QUIET or self._of_a_warning(key[0], line) or _WARNS.match(text):
            if not line.level and _WARNS_ON.match(text):
                self._warnings = {key[0]: _MESSAGE_LINES}
            return
        if _ENDS.search(text) and len(self._fatal) < _KEPT:
            self._fatal.add(key[0] + key[1])
        self._trace(key, text, Error("", [], origin, line.address, line.pid, line.ranks), line.level)

    def root(self, since: float | None = None) -> Root | None:
        """Return what ended the engine, as far as its log says it. since: where it served, when its end began (monotonic)."""
        error = self._first(since)
        if error is None:
            return None
        known = error.known
        address = error.address
        # Ray gives the address of a process that is not on the driver's node, which has the first stage.
        stage = self._stages.get((address, error.pid), self._stages.get((None, error.pid)))
        if stage is None and address is None and error.origin == "rank":
            stage = 0
        if address is None and error.origin in ("core", "ray") and (place := _DEAD_PLACE.search(" ".join(error.lines))):
            address = place[1]
        text = error.text
        found = _RANKS.search(text) or _RANKS.search(" ".join(error.lines))
        ranks = tuple(map(int, _NUMBERS.findall(found[1] if found else error.ranks or "")))
        kind = error.kind or text.partition(":")[0]
        # An engine that served has started with these settings and files: what ends it then comes of a request, or of the node.
        lasting = (
            since is None and not error.aside and (known.lasting if known else error.comes_again(self.ranks_started))
        )
        return Root(text, known, lasting, kind, address, stage, ranks)

    def _first(self, since: float | None) -> Error | None:
        """Return the first error that says why, by how much its place in the log tells."""
        found = self._weighed()
        if since is not None:
            # What the API server of an engine that serves says is of a request.
            found = [(weight + 10 * (error.origin == "server"), error) for weight, error in found if error.at >= since]
        return min(found, key=lambda entry: entry[0])[1] if found else None

    def _weighed(self) -> list[tuple[int, Error]]:
        found: list[tuple[int, Error]] = []
        for fatal, report in list(self._reports):
            if error := _cause_of(report):
                inner = error.origin in ("core", "rank", "ray")
                # The core's own exception may be what became of a rank's, unless it shows a cause.
                weight = (0 if error.known or error.origin != "core" else 2) if fatal else 1 if inner else 3
                found.append((7 if error.aside else _weight(error, weight), error))
        # Another thread reads on: what is gone through is a copy.
        bare = [error for error in list(self._bare) if error.known]
        for error in sorted([*self._alone, *bare], key=lambda error: error.at):
            if not error.hollow:
                weight = (2 if error.origin != "server" else 3) if error.known or error.kind else 8
                if error.aside and error.known and error.known.lasting:
                    weight = 7
                found.append((_weight(error, weight), error))
        return found

    def _trace(self, key: tuple[str, str], text: str, made: Error, level: str) -> None:
        """Follow the traceback that the line may belong to."""
        if key not in self._streams and len(self._streams) >= _KEPT:
            del self._streams[next(iter(self._streams))]
        stream = self._streams.setdefault(key, _Stream())
        if margin := _MARGIN.match(text):
            text = text[margin.end() :]
        if _ASIDE.search(text):
            stream.next_is_aside = True
        if text.endswith("Traceback (most recent call last):"):
            if not stream.chained:
                goes_on = bool(stream.said) and not _ANNOUNCES.search(stream.said)
                stream.is_aside = stream.next_is_aside or goes_on
                stream.next_is_aside, stream.said, stream.report = False, "", []
                if not key[0]:
                    # The next traceback without a process is the API server's again.
                    self._child, self._child_begins = self._child if self._child_begins else "", False
                del self._reports[:-_KEPT]
                self._reports.append((key[0] + key[1] in self._fatal, stream.report))
                stream.place = (None, None)
            stream.state, stream.code, stream.frame, stream.chained = "frames", [], "", False
            return
        if _CHAINED.search(text):
            stream.state, stream.chained = "", True
            return
        if stream.state == "frames":
            self._frame(stream, text, made, level)
            return
        if stream.state == "message" and stream.error is not None:
            if _RAY_NESTED.match(stream.error.kind) and _FRAME.match(text):
                # The traceback of the process in which it came follows.
                if place := _RAY_PLACE.search(" ".join(stream.error.lines)):
                    stream.place = (place[1], place[2])
                stream.state, stream.code = "frames", []
                self._frame(stream, text, made, level)
                return
            if text and len(stream.error.lines) < _MESSAGE_LINES and not _WARNS.match(text) and (key[1] or not level):
                if not _begins(text):
                    stream.error.lines.append(text)
                    return
            if text or not stream.error.lines[0].endswith((".", ":")):
                stream.state = ""
        self._line(stream, text, made, level)

    def _frame(self, stream: _Stream, text: str, made: Error, level: str) -> None:
        if match := _FRAME.match(text):
            stream.code = []
            path = _PACKAGES.split(match["path"])[-1]
            if "/json/" not in path:
                stream.frame = f"{path}:{match['line']}" + (f", {match['function']}" if match["function"] else "")
            return
        if not text or text[0] == " ":
            if (code := text.strip().strip("^~ ")) and len(stream.code) < _MESSAGE_LINES:
                stream.code.append(code)
            return
        match = _ANY_EXCEPTION.match(text)
        if match is None:
            stream.state = ""
            self._line(stream, text, made, level)
            return
        stream.state = "message"
        made.kind, made.lines = match["kind"].rpartition(".")[2], [match["message"] or ""]
        made.code, made.frame = list(stream.code), stream.frame
        if stream.place[1]:
            made.pid, made.address, made.origin = stream.place[0], stream.place[1], "rank"
        made.aside = stream.is_aside
        stream.error = made
        del stream.report[:-_MESSAGE_LINES]
        stream.report.append(made)

    def _line(self, stream: _Stream, text: str, made: Error, level: str) -> None:
        """A line outside a traceback: an exception alone, a refused argument, or one that shows a known cause."""
        stream.said = ""
        if not text:
            return
        if match := _ARGUMENTS.match(text):
            made.kind, made.lines, made.origin = ARGUMENT, [match[0]], "core"
        elif match := _EXCEPTION.match(text):
            made.kind, made.lines = match["kind"].rpartition(".")[2], [match["message"] or ""]
        elif level:
            made.lines, made.aside = [text], True
            stream.said = text
        else:
            made.lines, made.aside = [text], not _LAST_WORDS.search(text)
            self._bare.append(made)
            return
        del self._alone[:-_KEPT]
        self._alone.append(made)

    def _of_a_warning(self, process: str, line: Line) -> bool:
        """Say whether the line continues a Python warning, whose last line is a line of code."""
        left = self._warnings.pop(process, 0)
        if not left or line.level or _begins(line.text) or line.text.endswith("Traceback (most recent call last):"):
            return False
        if not _CODE.match(line.text):
            self._warnings[process] = left - 1
        return True

    def _note_process(self, line: Line) -> None:
        if not _WORKER.match(line.process):
            return
        self.ranks_started = True
        if len(self._stages) < _KEPT and (stage := _STAGE.match(line.process)):
            self._stages[line.address, line.pid] = int(stage[1])


def _cause_of(report: list[Error]) -> Error | None:
    """Return the exception of a chain that says why: the last that shows a known cause, or else the last that says anything."""
    telling = [error for error in report if not error.hollow]
    known = [error for error in telling if (cause := error.known) and not cause.follows]
    said = known or telling
    return said[-1] if said else None


def _weight(error: Error, weight: int) -> int:
    cause = error.known
    if cause and cause.follows:
        # Ray does not say which rank it was.
        return weight + (5 if error.origin == "ray" else 4)
    return weight


def _origin(process: str) -> str:
    if process.startswith("EngineCore"):
        return "core"
    if process.startswith(("raylet", "autoscaler")):
        return "ray"
    return "rank" if _WORKER.match(process) else "server"


def _begins(text: str) -> bool:
    """Say whether a line without a prefix begins something else than the message above it goes on with."""
    return bool(
        _EXCEPTION.match(text) or _ARGUMENTS.match(text) or text.startswith(("Loading ", "[W", "*** ", "Fatal Python"))
    )
