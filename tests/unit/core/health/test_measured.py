# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM measured is compared with the plan: within its range a line, beyond it a warning that names the term."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.measured import GIB, beside_plan
from tests.unit.core.plans import plan


def as_planned() -> dict[str, float]:
    memory = plan()["memory"]
    assert memory is not None
    return {
        "weights_gib": max(stage["weights_bytes"] for stage in memory["per_gpu"]) / GIB,
        "cache_gib": min(stage["available_bytes"] for stage in memory["per_gpu"]) / GIB,
        "cache_tokens": memory["kv_tokens_high"],
        "concurrency": 8.01,
    }


def test_what_agrees_is_a_line_with_the_range() -> None:
    lines, warnings = beside_plan(as_planned(), plan())
    assert not warnings and len(lines) == 4 and "(plan: " in lines[0] and lines[3].endswith("once: 8.0 requests")
    assert not any("plan" in line for line in beside_plan(as_planned())[0])


@pytest.mark.parametrize(
    ("name", "factor", "term"),
    [
        ("weights_gib", 1.2, "weights on the fullest GPU"),
        ("cache_gib", 0.5, "memory for the KV cache on the fullest GPU"),
        ("cache_tokens", 2.0, "KV cache of the group"),
    ],
)
def test_what_lies_beyond_the_range_is_a_warning_that_names_it(name: str, factor: float, term: str) -> None:
    measured = as_planned()
    (warning,) = beside_plan({**measured, name: measured[name] * factor}, plan())[1]
    assert (warning.code, warning.where) == ("measured_differs", term)


def test_a_planned_range_never_begins_below_nothing() -> None:
    made = plan()
    for stage in made["memory"]["per_gpu"]:
        stage.update(available_bytes=-GIB // 5, available_high_bytes=GIB // 3)
    (line,), _warnings = beside_plan({"cache_gib": 0.1}, made)
    assert line.endswith("(plan: 0.0 to 0.3 GiB)")


def test_many_requests_are_counted_in_whole_ones() -> None:
    (line,) = beside_plan({"concurrency": 38991.74})[0]
    assert line.endswith(": 38,992 requests")
