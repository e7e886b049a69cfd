# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark measures, what of its log and of its record is believed, and how both are shown."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health import benchmark
from ansible_collections.multinode.inference.plugins.module_utils.core.health.benchmark_page import benchmark_page
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    BENCHMARK_ANNOTATION,
    PLANNED_ANNOTATION,
)
from tests.unit.core.plans import plan

RESULT = {
    **dict.fromkeys(benchmark.FIGURES.values(), 12.5),
    **dict.fromkeys(benchmark.COUNTS.values(), 8.0),
    "failed": 0.0,
}
WORSE: list[Any] = [
    None,
    [],
    "x",
    {},
    {**RESULT, "completed": 0},
    {**RESULT, "duration": -1},
    {**RESULT, "failed": True},
]


def said(concurrency: Any, result: Any = RESULT, **more: Any) -> str:
    return f"benchmark {json.dumps({'concurrency': concurrency, 'result': result, **more})}"


def measured(*concurrencies: int) -> list[dict[str, Any]]:
    return benchmark.read_log([said(concurrency) for concurrency in concurrencies])


@pytest.mark.parametrize(
    ("most", "loads"),
    [(1, [1]), (4, [1, 4]), (5, [1, 4, 5]), (64, [1, 4, 16, 64]), (10**9, [1, 4, 16, 64, 256]), (0, [1])],
)
def test_loads_go_up_to_the_most_and_no_further_than_a_client_can(most: int, loads: list[int]) -> None:
    assert benchmark.loads(most) == loads


def test_the_most_is_what_the_plan_is_sure_to_hold() -> None:
    made = plan()
    cluster = next(item for item in render(made, {}) if item["kind"] == "RayCluster")
    found = benchmark.planned(cluster["metadata"]["annotations"])
    assert made["memory"] and found == {name: made["memory"][name] for name in found} and len(found) == 4
    assert benchmark.requests_that_fit(found, 640) == made["memory"]["kv_tokens"] // 640
    assert benchmark.requests_that_fit({}, 640) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "x", '{"context": NaN}', '{"context": 1, "concurrent": true}', 7, None]
)
def test_a_plan_that_is_not_recorded_is_not_known(text: Any) -> None:
    assert benchmark.planned({PLANNED_ANNOTATION: text}) == {}


def test_the_log_is_read_by_its_lines() -> None:
    lines = [
        "INFO noise",
        said(4),
        said(1),
        "benchmark",
        "benchmark {",
        said(16, None, error="no\x1b[2J time"),
        said(4),
    ]
    found = benchmark.read_log(lines)
    assert [entry["concurrency"] for entry in found] == [1, 4, 16]
    assert found[0]["ttft_ms"] == 12.5 and found[0]["at_once"] == 1 and found[1]["at_once"] == 4
    assert found[2] == {"concurrency": 16, "error": "no?[2J time"}


@pytest.mark.parametrize("result", WORSE)
def test_a_result_that_is_cut_or_odd_is_an_error_of_that_load(result: Any) -> None:
    assert benchmark.read_log([said(1, result)]) == [{"concurrency": 1, "error": "vLLM's figures cannot be read"}]


@pytest.mark.parametrize(
    "line",
    [
        'benchmark {"concurrency": 1, "result": {"duration": NaN}}',
        'benchmark {"concurrency": 1, "result": {"duration": 1e999}}',
        said(0),
        said(True),
        said("4"),
        said(10**6),
        said(1, {**RESULT, "more": "x" * 20000}),
        "benchmark " + "[" * 10000,
    ],
)
def test_a_line_that_is_none_is_left_out(line: str) -> None:
    assert benchmark.read_log([line]) == []


def test_what_is_kept_is_read_again() -> None:
    kept = benchmark.record("2026-01-01T00:00:00.000Z", 512, 128, [*measured(1, 4), {"concurrency": 16, "error": "x"}])
    found = benchmark.recorded(kept)
    assert found["loads"] == measured(1, 4) and (found["input_tokens"], found["output_tokens"]) == (512, 128)
    assert "12 ms" in benchmark.in_short(found) and len(kept[BENCHMARK_ANNOTATION]) < 4096
    # As many loads as there can be fit.
    assert benchmark.recorded(benchmark.record("x", 1, 1, measured(1, 4, 16, 64, 255, 256)))["loads"]


@pytest.mark.parametrize(
    "change",
    [
        {"at": 7},
        {"at": "x" * 100},
        {"input_tokens": "many"},
        {"input_tokens": -1},
        {"loads": []},
        {"loads": {}},
        {"loads": [7]},
        {"loads": [{"concurrency": 1}]},
        {"loads": [{**measured(1)[0], "ttft_ms": "<script>"}]},
        {"loads": [{**measured(1)[0], "concurrency": 10**9}]},
        {"more": "x" * 10000},
    ],
)
def test_a_record_that_somebody_forged_counts_as_none(change: dict[str, Any]) -> None:
    (text,) = benchmark.record("2026-01-01T00:00:00.000Z", 512, 128, measured(1)).values()
    assert benchmark.recorded({BENCHMARK_ANNOTATION: json.dumps({**json.loads(text), **change})}) == {}


@pytest.mark.parametrize("annotations", [None, {}, {BENCHMARK_ANNOTATION: "{"}, {BENCHMARK_ANNOTATION: 7}])
def test_no_record_is_none(annotations: Any) -> None:
    assert benchmark.recorded(annotations) == {}


def test_the_table_has_a_row_for_each_load_and_words_for_those_that_failed() -> None:
    lines = benchmark.table([*measured(1, 16), {"concurrency": 64, "error": "the time is over"}])
    assert len(lines) == 4 and lines[0].split()[0] == "REQUESTS" and lines[3] == "64 at once: the time is over"
    assert len({len(line) for line in lines[:3]}) == 1 and max(map(len, lines)) <= 100


def test_the_largest_load_stands_beside_the_plan() -> None:
    planned = {"context": 4096, "concurrent": 2.0, "kv_tokens": 6400, "kv_tokens_high": 12800}

    def lines_of(found: list[dict[str, Any]], planned: Any, **at_start: float) -> list[str]:
        sizes = {"input_tokens": 512, "output_tokens": 128}
        return benchmark.beside_plan({**sizes, "measured": found, "planned": planned, "at_start": at_start})

    lines = lines_of(measured(1, 16), planned, cache_tokens=8000)
    assert lines[0] == "Requests at once: 8, each of 640 tokens"
    assert "10 to 20 of them" in lines[1] and "holds 12: 8,000 tokens" in lines[2]
    assert lines_of([], planned) == []
    assert len(lines_of(measured(1), {})) == 2


@pytest.mark.parametrize("loads", [(1,), (1, 4, 16, 64), ()])
def test_the_page_is_whole_and_escaped(loads: tuple[int, ...]) -> None:
    found = [*measured(*loads), {"concurrency": 256, "error": "<script>&\x00"}]
    page = benchmark_page("<b>", "512 & 128", found, ["a <line>"])
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert len(root.findall(".//svg")) == (3 if loads else 0)
    assert len(root.findall(".//circle")) == 5 * len(loads)
    assert "<script" not in page and "http" not in page and "src=" not in page
