# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What vLLM measured at its start, beside what the plan computed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..fault import Fault
from ..plan.types import Plan

GIB = 2**30
NAMES = ("weights_gib", "cache_gib", "cache_tokens", "concurrency")
# vLLM's figure for the weights counts what the allocator took: whole blocks, buffers of layers, and two digits after the point.
_WEIGHTS_SHARE, _WEIGHTS_GIB = 0.02, 0.25


def measures(value: Any) -> dict[str, float]:
    """Return the measures that a progress line of the engine carries; those that are no numbers count as not said."""
    if not isinstance(value, dict):
        return {}
    return {
        name: value[name]
        for name in NAMES
        if isinstance(value.get(name), (int, float))
        and not isinstance(value[name], bool)
        and math.isfinite(value[name])
    }


def beside_plan(
    measured: Mapping[str, float], plan: Plan | None = None, planned: Mapping[str, float] | None = None
) -> tuple[list[str], list[Fault]]:
    """Return a line for each measure, with the plan's figure where there is one, and a warning for each beyond the plan's range.

    planned: what deploy recorded of the plan (`benchmark.planned`), for where there is no plan
    """
    memory = plan["memory"] if plan else None
    lines: list[str] = []
    warnings: list[Fault] = []
    ranges: dict[str, tuple[float, float]] = {}
    if memory and (stages := memory["per_gpu"]):
        weights = max(stage["weights_bytes"] for stage in stages) / GIB
        room = max(_WEIGHTS_SHARE * weights, _WEIGHTS_GIB)
        ranges = {
            "weights_gib": (weights - room, weights + room),
            "cache_gib": (_least(stages, "available_bytes"), _least(stages, "available_high_bytes")),
            "cache_tokens": (memory["kv_tokens"], memory["kv_tokens_high"]),
        }
    elif planned:
        ranges = {"cache_tokens": (planned["kv_tokens"], planned["kv_tokens_high"])}
    for name, (words, unit) in _WORDS.items():
        if name not in measured:
            continue
        value = f"{_number(name, measured[name])} {unit}"
        if name not in ranges:
            lines.append(f"{words}: {value}")
            continue
        low, high = ranges[name]
        span = f"{_number(name, low)} to {_number(name, high)} {unit}"
        lines.append(f"{words}: {value} (plan: {span})")
        # What is shown as the bound is within.
        if not float(f"{low:.1f}") <= round(measured[name], 1) <= float(f"{high:.1f}"):
            warnings.append(
                Fault(
                    "measured_differs",
                    words,
                    value,
                    f"{span}, by the plan",
                    "report it with the head's log and the model's config.json; --max-model-len bounds what is served",
                )
            )
    return lines, warnings


_WORDS = {
    "weights_gib": ("weights on the fullest GPU", "GiB"),
    "cache_gib": ("memory for the KV cache on the fullest GPU", "GiB"),
    "cache_tokens": ("KV cache of the group", "tokens"),
    "concurrency": ("requests of the longest kind at once", "requests"),
}


def _least(stages: list[dict[str, int]], key: str) -> float:
    # Less than nothing is left where the weights may not fit: vLLM then says nothing, or a little.
    return max(0, min(stage[key] for stage in stages)) / GIB


def _number(name: str, value: float) -> str:
    whole = name == "cache_tokens" or (name == "concurrency" and value >= 10)
    return f"{value:,.0f}" if whole else f"{value:.1f}"
