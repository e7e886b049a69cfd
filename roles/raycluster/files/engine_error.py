# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An error as an engine's log has it: its text in one line, the known cause that it shows, and whether it says anything at all."""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass, field

import engine_causes
from engine_cause import Cause

SHOWN_CHARACTERS = 400
# What is read of an error for its cause.
_CAUSE_CHARACTERS = 8000
# The kind of a refusal of argparse, which gives no exception.
ARGUMENT = "argument"
# What points elsewhere instead of saying something.
_POINTERS = re.compile(
    r"(?:,? ?(?:please )?(?:see|check)(?: the)? (?:stack trace|root cause|traceback|error|logs?)\b"
    r"[^.]*(?:above|root cause|details?)[^.]*\.?"
    r"|\(?for further information visit \S+|set TORCHDYNAMO_VERBOSE=1 .*$)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"Worker failed with error (['\"])(.+?)\1(?:, please check|$)")
_VALIDATION = re.compile(r"\d+ validation errors? for (\S+)\s*(.*)", re.DOTALL)
_INPUT = re.compile(
    r"\s*\[type=\w+(?:, input_value=.*?(?:, input_type=\w+\]|$)|$)|^\s*For further information visit \S+$"
)
# Kinds that do not say which file it was: the place in the code tells whose.
_OF_FILES = ("JSONDecodeError", "UnpicklingError", "EOFError", "UnicodeDecodeError")
# Errors that say nothing of why.
_HOLLOW = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|Engine process failed to start|Executor failed\b"
    r"|^(?:\w*Error: |Exception: )?cancelled$|EngineDeadError|EngineGenerateError|EngineCore (?:encountered|failed)"
    r"|ActorHandleNotFoundError"
    r"|Failed to kill actor|output_handler failed|WorkerProc (?:hit an exception|failed to start|failed\.)|Error executing method"
    r"|while running API servers|Exception in ASGI application|Application startup failed|Error in (?:inspecting|loading) model"
    r"|Ray workers have not started successfully|^(?:\w+\.)*(?:CancelledError|KeyboardInterrupt|SystemExit|GeneratorExit)\b"
    r"|^RayTaskError|Dumping (?:input data|scheduler)|^Scheduler(?:Output|Stats)\(|Process \w+ (?:\(PID: \d+\) )?died"
    r"|^(?:Base)?ExceptionGroup"
    r"|Error raised in subprocess:|models\.registry.{0,9} returned non-zero"
    r"|failed to be imported on the worker|Worker failed with error (?:''|\"\")"
    r"|failed to be inspected\. Please check",
    re.IGNORECASE,
)
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
    r"|(?:doesn't|no longer) support|\bdivisible\b|\bevenly divide|inconsistent with|mutually exclusive|not in supported"
    r"|\brequires?\b|\bunknown\b|\binvalid (?:value|option|config|choice)|not found in the (?:model|checkpoint)|tensor \S+ not found",
    re.IGNORECASE,
)
_PASSING_PLACES = re.compile(r"/dev/shm|/tmp/|/proc/|psm_|/run/|/\S*cache|Errno (?!2\])")
# Raised there, an error is of the cluster as it was at that time.
_PASSING_CODE = re.compile(
    r"^(?:ray|requests|urllib3|aiohttp|httpx|zmq|triton"
    r"|torch/_(?:inductor|dynamo|functorch)|vllm/compilation)/|/ray_\w+\.py"
)


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
    # The process appears to continue without what failed.
    aside: bool = False

    @property
    def text(self) -> str:
        """The error in one line, without prefixes, pointers to other lines, and what pydantic adds."""
        message = " ".join(" ".join(_INPUT.sub("", line) for line in self.lines).split())
        message = " ".join(_POINTERS.sub("", message).split()).rstrip(" ,")
        if quoted := _QUOTED.search(message):
            return _shown(quoted[2])
        if refused := _VALIDATION.match(message):
            return _shown(f"{refused[1]}: {refused[2].removeprefix('Value error, ')}")
        if self.kind == ARGUMENT:
            return _shown(message)
        if self.kind and not message:
            where = f" at `{' '.join(self.code)}`" if self.code else ""
            return _shown(f"{self.kind}{where}{f' ({self.frame})' if self.frame else ''}")
        if self.kind in _OF_FILES and self.frame:
            message += f" ({self.frame})"
        return _shown(f"{self.kind}: {message}" if self.kind else message)

    @functools.cached_property
    def known(self) -> Cause | None:
        """The known cause that it shows; to be asked once it is whole."""
        whole = f"{self.kind}: {' '.join(self.lines)[:_CAUSE_CHARACTERS]}"
        if self.kind in _OF_FILES:
            whole += f" ({self.frame})"
        return engine_causes.shown_by(self.text) or engine_causes.shown_by(whole)

    @property
    def hollow(self) -> bool:
        """Say whether it says nothing of why."""
        return bool(_HOLLOW.search(self.text))

    def comes_again(self, ranks_started: bool) -> bool:
        """Say whether it is lasting by its nature, where no cause of it is known."""
        kind, text = self.kind or self.text.partition(":")[0], self.text
        if _PASSING_CODE.search(self.frame):
            return False
        if kind == ARGUMENT or (_LASTING.search(kind) and not _PASSING_PLACES.search(text)):
            return True
        if kind.endswith("FileNotFoundError") and not _PASSING_PLACES.search(text):
            return True
        if not _REFUSALS.search(kind) or _PASSING_PLACES.search(text):
            return False
        return not ranks_started or (kind not in _OF_SYSTEMS and bool(_REFUSED.search(text)))


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1].rstrip() + "…"
