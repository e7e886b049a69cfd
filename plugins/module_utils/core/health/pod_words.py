# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What pods say of themselves: the progress lines of their logs, and the line that a container leaves when it ends.

A log line may be anybody's: a field of a type that it does not have counts as not said.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..text import log_lines
from .observation import container_statuses, ended, with_pod_names

_NUMBERS = ("done", "total", "rate", "eta", "seconds", "failures", "tries", "fetched")
_TEXTS = ("state", "cause", "remedy", "step", "unit", "warning", "text")
# As many characters as a termination message may have.
_LONGEST = 4096
# What a terminal would take for a command.
_CONTROLS = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")


def progress_lines(log: str) -> dict[str, dict[str, Any]]:
    """Return the latest progress line of each phase in a pod's log: JSON after the word `multinode`."""
    latest: dict[str, dict[str, Any]] = {}
    for line in log_lines(log):
        if entry := progress_entry(line):
            latest[entry["phase"]] = entry
    return latest


def progress_entry(line: str) -> dict[str, Any] | None:
    """Return the entry of a progress line; None where the line is another."""
    # Container runtimes and our programs may put a time in front.
    before, word, text = line.partition("multinode {")
    if not word or len(before) > 40:
        return None
    try:
        entry = json.loads("{" + text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("phase"), str):
        return None
    return {
        key: value for key, value in ((key, _read(key, value)) for key, value in entry.items()) if value is not _UNREAD
    }


def last_failure(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the last failure that a container left and that a restart may still fix, with its number; None where there is none."""
    found: tuple[str, str] | None = None
    for pod in pods:
        for status in container_statuses(pod):
            terminated = ended(status)
            for entry in progress_lines(terminated.get("message") or "").values():
                # Without a number it is no failure of its own: it ended because the head did.
                if entry.get("state") == "ended" and entry.get("cause") and entry.get("failures"):
                    words = f"restart {entry['failures']:g} of {entry.get('tries') or 0:g}: {entry['cause']}"
                    found = max(found or ("", ""), (str(terminated.get("finishedAt") or ""), words))
    return with_pod_names(found[1], pods) if found else None


def final_entry(message: str) -> dict[str, Any] | None:
    """Return the entry of a termination message of our programs that no restart fixes; None where it is none."""
    return next(
        (entry for entry in progress_lines(message).values() if entry.get("state") == "failed" and entry.get("cause")),
        None,
    )


_UNREAD = object()


def _read(key: str, value: Any) -> Any:
    if value is None:
        return None
    if key in _NUMBERS:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return value if number else _UNREAD
    if key in _TEXTS:
        return _CONTROLS.sub(" ", value[:_LONGEST]) if isinstance(value, str) else _UNREAD
    return value
