# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One line of an engine's log: which process wrote it, how grave it says it is, and what it says.

vLLM puts the process before each line, Ray its own before that; collectors of logs put the time before both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# Longer lines, and longer lines of JSON, are cut: a log is untrusted input.
_LINE_CHARACTERS = 4000
_JSON_CHARACTERS = 200_000
# With the escape character, or without, as some collectors leave them.
COLOURS = re.compile(
    r"\x1b\[[\d;?]*[A-Za-z]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|(?:\x1b|#033)?\[\d{1,2}(?:;\d{1,3})*m"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# What a collector of logs writes before a line.
_STAMP = re.compile(
    r"\[?\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\]?(?: std(?:out|err) [FP])? ?"
    r"|[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S{1,60} [\w.-]{1,60}\[\d+\]: |(?:\d{4}-\d\d-\d\d )?[\w.:-]{1,60} +\| "
)
# A bar that did not end its line.
_BAR = re.compile(r"[^\[\]]{0,300}\d%[^\[\]]{0,300}\[[\d:]+<[^\]]{0,100}\]\s*(?=\S)")
# (EngineCore pid=7), (RayWorkerProc pid=7, ip=192.0.2.7), (VllmWorker rank=0 pid=7), (pid=7), (raylet, ip=192.0.2.7)
_TAG = re.compile(
    r"\((?:(raylet|autoscaler[^)]*?|EngineCore\w*|APIServer\w*)|(?:([A-Za-z]\w*) )?(?:rank=\d+ )?pid=(\d+))(?:, ip=([\w.:]+))?\) ?"
)
_JSON_LINE = re.compile(r"((?:\([^()]*\) ?)*)(\{.*\})\s*$", re.DOTALL)
_JSON_NAMES = (
    ("levelname", "level", "severity"),
    ("message", "msg", "event", "log"),
    ("exc_info", "exc_text", "exception", "traceback"),
)
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL"
_PREFIXES = (
    # vLLM, with and without brackets; uvicorn; Ray's Python; Ray's C++; PyTorch's C++ and its hook for uncaught exceptions.
    re.compile(rf"(?P<level>{_LEVELS}) \d\d-\d\d(?: [\d:.]+)? (?:\[?(?P<source>[\w./-]+:\d+)\] ?)?"),
    re.compile(rf"(?P<level>{_LEVELS}):\s+"),
    re.compile(rf"\d{{4}}-\d\d-\d\d [\d:,.]+\s+(?P<level>{_LEVELS}) (?P<source>\S+:\d+) -- "),
    re.compile(r"\[[\d-]+ [\d:,.]+ (?P<letter>[DIWEFC]) \d+ \d+\] (?:\(\w+\) )?(?P<source>\S+:\d+): "),
    re.compile(r"(?:\[rank(?P<rank>\d+)\]:)?\[?(?P<letter>[IWEF])\d{3,4} [\d:.]+ (?:\d+ )?(?P<source>[\w./-]+:\d+)\] "),
    re.compile(r"\[rank(?P<rank>\d+)\]: ?"),
)
_LETTERS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "F": "FATAL", "C": "CRITICAL"}
_REPEATED = re.compile(r"\s*\[repeated \d+x across cluster\].*$")


@dataclass(frozen=True)
class Line:
    """process: as it is named, with its ID and its pod's address; level: "" where none is given; ranks: that PyTorch gives."""

    text: str
    process: str = ""
    pid: str | None = None
    address: str | None = None
    level: str = ""
    source: str = ""
    ranks: str | None = None


def read(line: str) -> list[Line]:
    """Return what a line says: one entry, or as many as a record in JSON has lines."""
    text = COLOURS.sub("", line[:_JSON_CHARACTERS])
    for before in (_STAMP, _BAR):
        if match := before.match(text):
            text = text[match.end() :]
    if "{" in text and (parts := _of_json(text)):
        return [_read(part) for part in parts]
    return [_read(text)]


def _read(text: str) -> Line:
    text = _REPEATED.sub("", _CONTROLS.sub("", text[:_LINE_CHARACTERS])).rstrip()
    process, pid, address = "", None, None
    while tag := _TAG.match(text):
        process = tag[2] or tag[1] or process or "pid="
        pid, address = tag[3] or pid, tag[4] or address
        text = text[tag.end() :]
    for prefix in _PREFIXES:
        if match := prefix.match(text):
            found = match.groupdict()
            level = found.get("level") or _LETTERS.get(found.get("letter") or "", "")
            return Line(text[match.end() :], process, pid, address, level, found.get("source") or "", found.get("rank"))
    return Line(text, process, pid, address)


def _of_json(text: str) -> list[str]:
    """Return the lines that would have been written without JSON; none where the line is no record of a log."""
    match = _JSON_LINE.match(text)
    try:
        record = json.loads(match[2]) if match else None
    except (ValueError, RecursionError):
        return []
    if match is None or not isinstance(record, dict):
        return []
    level, message, error = (next((record[name] for name in names if record.get(name)), "") for names in _JSON_NAMES)
    text = f"{message}\n{error}"
    if not level and isinstance(message, str):
        # A collector's record, around a line as it was.
        return [f"{match[1]}{line}" for line in text.splitlines() if line]
    if str(level).upper() not in _LEVELS.split("|") or not (message or error):
        return []
    return [f"{match[1]}{str(level).upper()} 01-01 [log:1] {line}" for line in text.splitlines() if line]
