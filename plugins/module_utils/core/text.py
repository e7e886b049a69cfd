# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Text that comes from outside: read within bounds, shown without what a terminal would act on."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Deeper than any file or answer that is read here; each level costs a frame in what walks through it.
DEEPEST = 64
# C0 and C1 controls but tab and line feed, what turns the direction of the text around (Unicode Bidi_Control), and halves of
# surrogate pairs, which no encoding takes.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class TooDeep(ValueError):
    """JSON with more levels than are read."""


def plain(text: str) -> str:
    """Return the text with everything that a terminal would act on, or not show, as a question mark."""
    return _UNSEEN.sub("?", text)


def escaped(text: str) -> str:
    """Return the text on one line, with what a terminal would act on, or not show, as an escape of JSON (\\u001b)."""
    return _UNSEEN.sub(_escape, text.replace("\n", "\\n").replace("\t", "\\t"))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def log_lines(text: str | bytes | None) -> list[str]:
    """Return the lines of a pod's log.

    The kubelet ends a line with a line feed. What Unicode calls an end of a line beside it is a part of one, and may be a client's.
    """
    whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
    return [line.rstrip("\r") for line in whole.removesuffix("\n").split("\n")] if whole else []


def read_json(text: str | bytes) -> Any:
    """Return the JSON value of a text that anybody may have written. Raises ValueError, and nothing else.

    Refused beside what is no JSON: numbers that are none (NaN, 1e999), and more than DEEPEST levels.
    """
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise TooDeep(f"more than {DEEPEST} levels") from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST + 1:
            raise TooDeep(f"more than {DEEPEST} levels")
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
