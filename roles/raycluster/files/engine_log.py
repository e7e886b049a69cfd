# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine's log, read line by line for the error that ended it.

vLLM, Ray, PyTorch and NCCL write into one stream: prefixes say which process a line is from, and tracebacks of several processes
interleave. The API server's last line is nearly never the cause ("Engine core initialization failed. See root cause above."); the first
error of the engine's core or of a rank is.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import engine_causes
from engine_causes import Cause

SHOWN_CHARACTERS = 400
# Lines of a message below its exception that are kept.
_MESSAGE_LINES = 12
# So many errors are kept; no end of an engine has more.
_KEPT = 1000
COLOURS = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
# (EngineCore pid=7), (RayWorkerProc pid=7, ip=192.0.2.7), (pid=7), (raylet, ip=192.0.2.7)
_TAG = re.compile(
    r"\((?:(raylet|autoscaler[^)]*?|EngineCore\w*|APIServer\w*)|(?:([A-Za-z]\w*) )?pid=(\d+))(?:, ip=([\w.:]+))?\) ?"
)
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL"
_PREFIXES = (
    # vLLM, with and without brackets; uvicorn; Ray's Python; Ray's C++; PyTorch's C++ and its hook for uncaught exceptions.
    re.compile(rf"(?P<level>{_LEVELS}) \d\d-\d\d(?: [\d:.]+)? (?:\[?(?P<source>[\w./-]+:\d+)\] ?)?"),
    re.compile(rf"(?P<level>{_LEVELS}):\s+"),
    re.compile(rf"\d{{4}}-\d\d-\d\d [\d:,.]+\s+(?P<level>{_LEVELS}) (?P<source>\S+:\d+) -- "),
    re.compile(r"\[[\d-]+ [\d:,.]+ (?P<letter>[DIWEFC]) \d+ \d+\] (?:\(\w+\) )?(?P<source>\S+:\d+): "),
    re.compile(r"(?:\[rank(?P<rank>\d+)\]:)?\[(?P<letter>[IWEF])\d{4} [\d:.]+ (?P<source>[\w./-]+:\d+)\] "),
    re.compile(r"\[rank(?P<rank>\d+)\]: ?"),
)
_LETTERS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "F": "FATAL", "C": "CRITICAL"}
_QUIET = ("DEBUG", "INFO", "WARNING")
_FRAME = re.compile(r'  File "(?P<path>.+?)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_EXCEPTION = re.compile(
    r"(?P<kind>(?:[A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Failure|Timeout|Unavailable|Warning|StopIteration"
    r"|Unsupported|Died|Crashed|Mismatch|NotFound)\w*(?:\(\w+\))?)(?:: ?(?P<message>.*))?$"
)
# At the end of a traceback any name is one.
_ANY_EXCEPTION = re.compile(r"(?P<kind>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:\(\w+\))?)(?:: ?(?P<message>.*))?$")
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
_RAY_TASK = re.compile(r"RayTaskError")
_RAY_PLACE = re.compile(r"\(?pid=(\d+), ip=([\w.:]+)")
# Of argparse, which gives no exception.
_ARGUMENT = "argument"
_ARGUMENTS = re.compile(r"[\w./-]+(?: \w+)?: error: .+")
_WORKER = re.compile(r"(?:Ray)?Worker|pid=")
_STAGE = re.compile(r"Worker(?:_DP\d+)?_PP(\d+)")
_RANKS = re.compile(r"rank=\[([\d, ]+)\]")
_WARNS = re.compile(r"\S+\.py:\d+: \w*Warning\b|\s*warnings\.warn\(")
_REPEATED = re.compile(r"\s*\[repeated \d+x across cluster\].*$")
# What points elsewhere instead of saying something.
_POINTERS = re.compile(
    r"(?:,? ?(?:please )?(?:see|check)(?: the)? (?:stack trace|root cause|traceback|error|logs?)\b"
    r"[^.]*(?:above|root cause|details?)[^.]*\.?"
    r"|\(?for further information visit \S+|set TORCHDYNAMO_VERBOSE=1 .*$)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"Worker failed with error (['\"])(.+?)\1(?:, please check|$)")
_VALIDATION = re.compile(r"\d+ validation errors? for (\S+)\s*(.*)", re.DOTALL)
_INPUT = re.compile(r"\[type=\w+, .*|\[type=\w+$", re.DOTALL)
# Errors that say nothing of why.
_HOLLOW = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|Engine process failed to start|Executor failed\b"
    r"|^(?:\w*Error: |Exception: )?cancelled$|EngineDeadError|EngineGenerateError|EngineCore (?:encountered|failed)"
    r"|ActorHandleNotFoundError"
    r"|Failed to kill actor|output_handler failed|WorkerProc (?:hit an exception|failed to start)|Error executing method"
    r"|Ray workers have not started successfully|^(?:\w+\.)*(?:CancelledError|KeyboardInterrupt|SystemExit|GeneratorExit)\b"
    r"|^RayTaskError|Dumping (?:input data|scheduler)|Process \w+ died"
    r"|failed to be inspected\. Please check",
    re.IGNORECASE,
)
# What the engine's core says when it ends, whatever others say.
_ENDS = re.compile(r"EngineCore (?:failed to start|encountered a fatal error)|EngineCore hit an exception")
# Refused before a rank was started, these come again; the others by their nature, wherever they come.
_REFUSALS = re.compile(
    r"(?:\w*(?:Value|Type|Key|Attribute|Assertion|Index|Lookup|Name|Syntax|Validation|Config\w*|Indentation|Unicode\w*|Recursion|ZeroDivision)"
    r"Error|NotImplementedError|OSError|EnvironmentError)$"
)
_OF_SYSTEMS = ("OSError", "EnvironmentError")
_LASTING = re.compile(
    r"(?:ModuleNotFound|Import|NotImplemented|Safetensor|JSONDecode|UnicodeDecode|Validation|Syntax|NotADirectory|HFValidation|EntryNotFound"
    r"|RepositoryNotFound|GatedRepo|ArgumentType)Error$"
)
# A refusal of a rank's, by its words: what was asked for cannot be, whenever it is asked.
_REFUSED = re.compile(
    r"\b(?:not|un|only|does not|do not|are|is) ?support|\bmust (?:be|have|match|not)\b|incompatible|not compatible|not implemented"
    r"|\brequires?\b|\bunknown\b|\binvalid (?:value|option|config|choice)|not found in the (?:model|checkpoint)|tensor \S+ not found",
    re.IGNORECASE,
)
_PASSING_PLACES = re.compile(r"/dev/shm|/tmp/|/proc/|psm_|/run/|Errno (?!2\])")


def _now() -> float:
    return time.monotonic()


@dataclass
class Error:
    """An exception, or a line that shows a known cause. address: of the pod of its process, None where it is the head's or not known."""

    kind: str
    lines: list[str]
    origin: str
    address: str | None = None
    pid: str | None = None
    ranks: str | None = None
    code: list[str] = field(default_factory=list)
    frame: str = ""
    at: float = field(default_factory=_now)

    @property
    def text(self) -> str:
        """The error in one line, without prefixes, pointers to other lines, and what pydantic adds."""
        message = _INPUT.sub("", " ".join("\n".join(self.lines).split()))
        message = " ".join(_POINTERS.sub("", message).split()).rstrip(" ,")
        if quoted := _QUOTED.search(message):
            return _shown(quoted[2])
        if refused := _VALIDATION.match(message):
            return _shown(f"{refused[1]}: {refused[2].removeprefix('Value error, ')}")
        if self.kind == _ARGUMENT:
            return _shown(message)
        if self.kind and not message:
            where = f" at `{' '.join(self.code)}`" if self.code else ""
            return _shown(f"{self.kind}{where}{f' ({self.frame})' if self.frame else ''}")
        if self.kind == "JSONDecodeError" and self.frame:
            message += f" ({self.frame})"
        return _shown(f"{self.kind}: {message}" if self.kind else message)

    @property
    def known(self) -> Cause | None:
        """The known cause that it shows."""
        return engine_causes.shown_by(self.text) or engine_causes.shown_by(f"{self.kind}: {' '.join(self.lines)}")

    @property
    def hollow(self) -> bool:
        """Say whether it says nothing of why."""
        return bool(_HOLLOW.search(self.text))


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
        self.place: tuple[str | None, str | None] = (None, None)


class Log:
    """What was read since the last `clear`."""

    def __init__(self) -> None:
        self.clear()
        # Whether a process of a rank has said something, and what is known of their processes.
        self.ranks_started = False
        self._addresses: dict[str, str] = {}
        self._stages: dict[str, int] = {}

    def clear(self) -> None:
        """Forget the errors, not the processes."""
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._reports: list[tuple[bool, list[Error]]] = []
        self._alone: list[Error] = []
        self._fatal: set[str] = set()
        self._child, self._child_begins = "", False

    def read(self, line: str) -> bool:
        """Take in a line; say whether it shows an error that may be the cause."""
        text = _REPEATED.sub("", COLOURS.sub("", line)).rstrip()
        process, pid, address = "", None, None
        while tag := _TAG.match(text):
            process = tag[2] or tag[1] or process or "pid="
            pid, address = tag[3] or pid, tag[4] or address
            text = text[tag.end() :]
            self._note_process(process, pid, address)
        level, source, ranks = "", "", None
        for prefix in _PREFIXES:
            if match := prefix.match(text):
                found = match.groupdict()
                level = found.get("level") or _LETTERS.get(found.get("letter") or "", "")
                source, ranks = found.get("source") or "", found.get("rank")
                text = text[match.end() :]
                break
        if not process and text.startswith("Process ") and text.endswith(":"):
            # multiprocessing's words before an uncaught exception, which has no prefix.
            self._child, self._child_begins = text[8:-1], True
            return False
        key = (f"{process}{pid or ''}{ranks or ''}", source)
        if not process:
            process = self._child
        origin = _origin(process) if ranks is None else "rank"
        if level in _QUIET or _WARNS.match(text):
            return False
        if _ENDS.search(text):
            self._fatal.add(key[0] + key[1])
        return self._trace(key, text, Error("", [], origin, address, pid, ranks), level)

    def root(self, since: float | None = None) -> Root | None:
        """Return what ended the engine, as far as its log says it. since: where it served, when its end began (monotonic)."""
        error = self._first(since)
        if error is None:
            return None
        known = error.known
        stage = self._stages.get(error.pid or "")
        address = error.address or self._addresses.get(error.pid or "")
        text = error.text
        found = _RANKS.search(text) or _RANKS.search(" ".join(error.lines))
        ranks = tuple(int(rank) for rank in (found[1] if found else error.ranks or "").split(",") if rank.strip())
        kind = error.kind or text.partition(":")[0]
        # An engine that served has started with these settings and files: what ends it then comes of a request, or of the node.
        lasting = since is None and (known.lasting if known else self._by_nature(kind, text))
        return Root(text, known, lasting, kind, address, stage, ranks)

    def _by_nature(self, kind: str, text: str) -> bool:
        if kind == _ARGUMENT or (_LASTING.search(kind) and not _PASSING_PLACES.search(text)):
            return True
        if kind.endswith("FileNotFoundError") and not _PASSING_PLACES.search(text):
            return True
        if not _REFUSALS.search(kind) or _PASSING_PLACES.search(text):
            return False
        return not self.ranks_started or (kind not in _OF_SYSTEMS and bool(_REFUSED.search(text)))

    def _first(self, since: float | None) -> Error | None:
        """Return the first error that says why, by how much its place in the log tells."""
        found = [(weight, error) for weight, error in self._weighed() if since is None or error.at >= since]
        return min(found, key=lambda entry: entry[0])[1] if found else None

    def _weighed(self) -> list[tuple[int, Error]]:
        found: list[tuple[int, Error]] = []
        for fatal, report in self._reports:
            if error := _cause_of(report):
                inner = error.origin in ("core", "rank", "ray")
                # The core's own exception may be what became of a rank's, unless it shows a cause.
                weight = (0 if error.known or error.origin != "core" else 2) if fatal else 1 if inner else 3
                found.append((_weight(error, weight), error))
        for error in self._alone:
            if not error.hollow:
                known = error.known
                found.append(
                    (_weight(error, (2 if error.origin != "server" else 3) if known or error.kind else 8), error)
                )
        return found

    def _trace(self, key: tuple[str, str], text: str, made: Error, level: str) -> bool:
        """Follow the traceback that the line may belong to."""
        stream = self._streams.setdefault(key, _Stream())
        if text.lstrip("| +").startswith("Traceback (most recent call last)"):
            if not stream.chained:
                if not key[0]:
                    # The next traceback without a process is the API server's again.
                    self._child, self._child_begins = self._child if self._child_begins else "", False
                stream.report = []
                del self._reports[:-_KEPT]
                self._reports.append((key[0] + key[1] in self._fatal, stream.report))
                stream.place = (None, None)
            stream.state, stream.code, stream.frame, stream.chained = "frames", [], "", False
            return False
        if _CHAINED.search(text):
            stream.state, stream.chained = "", True
            return False
        if stream.state == "frames":
            return self._frame(stream, text, made, level)
        if stream.state == "message" and stream.error is not None:
            if _RAY_TASK.match(stream.error.kind) and text[:1] == " ":
                # The traceback of the process in which it came follows.
                if place := _RAY_PLACE.search(" ".join(stream.error.lines)):
                    stream.place = (place[1], place[2])
                stream.state, stream.code = "frames", []
                return self._frame(stream, text, made, level)
            if text and len(stream.error.lines) < _MESSAGE_LINES and not _WARNS.match(text) and (key[1] or not level):
                if not _begins(text):
                    stream.error.lines.append(text)
                    return True
            if text or not stream.error.lines[0].endswith((".", ":")):
                stream.state = ""
            if not text:
                return False
        return self._line(text, made, level)

    def _frame(self, stream: _Stream, text: str, made: Error, level: str) -> bool:
        if match := _FRAME.match(text):
            stream.code = []
            path = match["path"].rpartition("site-packages/")[2]
            if "/json/" not in path:
                stream.frame = f"{path}:{match['line']}" + (f", {match['function']}" if match["function"] else "")
            return False
        if not text or text[0] == " ":
            if code := text.strip().strip("^~ "):
                stream.code.append(code)
            return False
        match = _ANY_EXCEPTION.match(text)
        if match is None:
            stream.state = ""
            return self._line(text, made, level)
        stream.state = "message"
        made.kind, made.lines = match["kind"].rpartition(".")[2], [match["message"] or ""]
        made.code, made.frame = list(stream.code), stream.frame
        if stream.place[1]:
            made.pid, made.address, made.origin = stream.place[0], stream.place[1], "rank"
        stream.error = made
        stream.report.append(made)
        return True

    def _line(self, text: str, made: Error, level: str) -> bool:
        """A line outside a traceback: an exception alone, a refused argument, or one that shows a known cause."""
        if not text:
            return False
        if match := _ARGUMENTS.match(text):
            made.kind, made.lines, made.origin = _ARGUMENT, [match[0]], "core"
        elif match := _EXCEPTION.match(text):
            made.kind, made.lines = match["kind"].rpartition(".")[2], [match["message"] or ""]
        elif level or engine_causes.shown_by(text):
            made.lines = [text]
        else:
            return False
        del self._alone[:-_KEPT]
        self._alone.append(made)
        return True

    def _note_process(self, process: str, pid: str | None, address: str | None) -> None:
        if not _WORKER.match(process):
            return
        self.ranks_started = True
        if pid and address:
            self._addresses[pid] = address
        if pid and (stage := _STAGE.match(process)):
            self._stages[pid] = int(stage[1])


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


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1].rstrip() + "…"
