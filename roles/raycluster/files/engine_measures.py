# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What vLLM measures while it starts, read from its log: it is what the plan's figures are compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

# By name, the words of vLLM 0.12 to 0.32, and which of several ranks' numbers counts: the fullest GPU bounds the group.
_MEASURES: dict[str, tuple[re.Pattern[str], Callable[[float, float], float]]] = {
    "weights_gib": (re.compile(r"(?<!\w)Model loading took ([\d.]+) GiB"), max),
    "cache_gib": (re.compile(r"Available KV cache memory: (-?[\d.]+) GiB"), min),
    "cache_tokens": (re.compile(r"\b[A-Z]+(?: \+ host)? KV cache size: ([\d,]+) tokens"), min),
    "concurrency": (re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x"), min),
}


def measured(line: str, before: dict[str, float]) -> dict[str, float]:
    """Return what was measured with what the line adds.

    weights_gib and cache_gib are of one GPU: the most weights, the least memory left for the KV cache; concurrency is in requests of the
    longest kind.
    """
    after = dict(before)
    for name, (pattern, chosen) in _MEASURES.items():
        if match := pattern.search(line):
            try:
                value = float(match[1].replace(",", ""))
            except ValueError:
                continue
            if not math.isfinite(value):
                continue
            after[name] = chosen(before[name], value) if name in before else value
    return after
