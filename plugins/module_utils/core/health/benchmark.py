# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a benchmark measures: at which loads, what of its pod's log counts, what is kept, and how it compares with the plan. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..names import BENCHMARK_ANNOTATION, PLANNED_ANNOTATION
from ..text import plain, read_json

WORD = "benchmark "
# vLLM's own default for sequences at once is 256 or more; a client in one process measures itself beyond that.
MOST_AT_ONCE = 256
STEP = 4
# From 1 in steps of four, and the largest.
MOST_LOADS = 6
_LONGEST_LINE, _LONGEST_RECORD = 16384, 8192
_LONGEST_TEXT = 300
# vLLM's names (vllm/benchmarks/serve.py), ours, and the unit.
FIGURES = {
    "ttft_ms": "median_ttft_ms",
    "ttft_p99_ms": "p99_ttft_ms",
    "tpot_ms": "median_tpot_ms",
    "tpot_p99_ms": "p99_tpot_ms",
    "itl_ms": "median_itl_ms",
    "itl_p99_ms": "p99_itl_ms",
    "latency_ms": "median_e2el_ms",
    "latency_p99_ms": "p99_e2el_ms",
    "tokens_per_second": "output_throughput",
    "all_tokens_per_second": "total_token_throughput",
    "requests_per_second": "request_throughput",
    "seconds": "duration",
}
COUNTS = {"completed": "completed", "failed": "failed", "at_once": "max_concurrent_requests"}
_PLANNED = ("context", "concurrent", "kv_tokens", "kv_tokens_high")


def planned(annotations: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what the plan said of memory and requests, as deploy recorded it; {} where nothing usable is recorded."""
    value = _json((annotations or {}).get(PLANNED_ANNOTATION))
    if not isinstance(value, dict) or not all(_number(value.get(name)) for name in _PLANNED):
        return {}
    return {name: value[name] for name in _PLANNED}


def requests_that_fit(plan: Mapping[str, float], tokens: int) -> int | None:
    """Return how many requests of so many tokens the planned KV cache is sure to hold at once; None where that is not known."""
    return max(1, int(plan["kv_tokens"] // max(tokens, 1))) if plan else None


def loads(most: int) -> list[int]:
    """Return the numbers of requests at once that are measured: 1, 4, 16 and so on, and `most`."""
    most = max(1, min(most, MOST_AT_ONCE))
    steps = [STEP**power for power in range(MOST_LOADS)]
    return [*(step for step in steps if step < most), most]


def read_log(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return what each load came to, by the lines of the benchmark's log; what is no line of it is left out.

    Each is `concurrency` with the figures of FIGURES and COUNTS, or with an `error`.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        if not line.startswith(WORD) or len(line) > _LONGEST_LINE:
            continue
        entry = _json(line.removeprefix(WORD))
        if not isinstance(entry, dict) or not _count(entry.get("concurrency"), MOST_AT_ONCE):
            continue
        concurrency = int(entry["concurrency"])
        result = _figures(entry.get("result"))
        words = entry.get("error")
        if result is None:
            text = plain(words)[:_LONGEST_TEXT] if isinstance(words, str) and words else "vLLM's figures cannot be read"
            found[concurrency] = {"concurrency": concurrency, "error": text}
        else:
            # vLLM counts all that were under way in one second, those that ended and began in it too.
            at_once = min(result["at_once"], concurrency)
            found[concurrency] = {"concurrency": concurrency, **result, "at_once": at_once}
    return [found[concurrency] for concurrency in sorted(found)][: MOST_LOADS + 1]


def _figures(result: Any) -> dict[str, Any] | None:
    """Return our figures of a result of vLLM's; None where one is missing, is no number, or nothing came back."""
    if not isinstance(result, dict):
        return None
    made: dict[str, Any] = {}
    for ours, theirs in (*FIGURES.items(), *COUNTS.items()):
        value: Any = result.get(theirs)
        if not _number(value):
            return None
        made[ours] = int(value) if ours in COUNTS else round(float(value), 3)
    return made if made["completed"] else None


def record(at: str, input_tokens: int, output_tokens: int, measured: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the annotation that keeps a benchmark for `status`: what was measured, no words of others."""
    kept = [dict(entry) for entry in measured if "error" not in entry]
    value = {"at": at, "input_tokens": input_tokens, "output_tokens": output_tokens, "loads": kept}
    return {BENCHMARK_ANNOTATION: json.dumps(value, separators=(",", ":"))}


def recorded(annotations: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the last benchmark as it was kept; {} where there is none, or what is there is not ours: who may write may forge."""
    text = (annotations or {}).get(BENCHMARK_ANNOTATION)
    value = _json(text) if isinstance(text, str) and len(text) <= _LONGEST_RECORD else None
    if not isinstance(value, dict) or not isinstance(value.get("loads"), list) or not value["loads"]:
        return {}
    at, sizes = value.get("at"), (value.get("input_tokens"), value.get("output_tokens"))
    if not isinstance(at, str) or len(at) > 32 or not all(_count(size, 2**24) for size in sizes):
        return {}
    entries = []
    for entry in value["loads"][: MOST_LOADS + 1]:
        if not isinstance(entry, dict) or not _count(entry.get("concurrency"), MOST_AT_ONCE):
            return {}
        if not all(_number(entry.get(name)) for name in (*FIGURES, *COUNTS)):
            return {}
        entries.append({name: entry[name] for name in ("concurrency", *FIGURES, *COUNTS)})
    return {"at": plain(at), "input_tokens": sizes[0], "output_tokens": sizes[1], "loads": entries}


def table(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table: a row for each load."""
    rows: list[tuple[str, ...]] = [("REQUESTS", "AT ONCE", "TTFT", "P99", "TPOT", "P99", "TOKENS/S", "REQ/S", "FAILED")]
    failures = []
    for entry in measured:
        if "error" in entry:
            failures.append(f"{entry['concurrency']} at once: {entry['error']}")
            continue
        times = (f"{entry[name]:,.1f} ms" for name in ("ttft_ms", "ttft_p99_ms", "tpot_ms", "tpot_p99_ms"))
        speed = (f"{entry['tokens_per_second']:,.1f}", f"{entry['requests_per_second']:,.2f}")
        rows.append((str(entry["concurrency"]), str(entry["at_once"]), *times, *speed, str(entry["failed"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [*lines, *failures]


def reported(result: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what the module's result adds to the playbook's, and the printed lines: the table and its remarks."""
    names = ("at", "input_tokens", "output_tokens", "loads", "planned", "at_start", "measured")
    details = {name: result.get(name) for name in names}
    if not (measured := result.get("measured")):
        loads = ", ".join(map(str, result.get("loads") or ()))
        return details, [f"Would measure {loads} requests at once."] if loads else []
    return details, [*table(measured), "", *beside_plan(details)]


def beside_plan(result: Mapping[str, Any]) -> list[str]:
    """Return lines that put the largest load of a result beside what the plan and vLLM's own start say fits."""
    tokens = result["input_tokens"] + result["output_tokens"]
    return _compared(result["measured"], result["planned"], tokens, result["at_start"])


def _compared(
    measured: Sequence[Mapping[str, Any]], plan: Mapping[str, float], tokens: int, at_start: Mapping[str, float]
) -> list[str]:
    good = [entry for entry in measured if "error" not in entry]
    if not good:
        return []
    largest = max(good, key=lambda entry: entry["at_once"])
    lines = [f"Requests at once: {largest['at_once']}, each of {tokens:,} tokens"]
    if plan:
        low, high = (max(1, int(plan[name] // max(tokens, 1))) for name in ("kv_tokens", "kv_tokens_high"))
        lines.append(f"The plan's KV cache holds {low:,} to {high:,} of them: {plan['kv_tokens']:,.0f} tokens and more")
    if cache := at_start.get("cache_tokens"):
        lines.append(f"vLLM's KV cache holds {max(1, int(cache // max(tokens, 1))):,}: {cache:,.0f} tokens")
    best = max(good, key=lambda entry: entry["tokens_per_second"])
    lines.append(f"Most tokens: {best['tokens_per_second']:,.1f} a second, at {best['concurrency']} requests")
    return lines


def in_short(kept: Mapping[str, Any]) -> str:
    """Return one line of a benchmark that was kept, for `status`."""
    first, best = kept["loads"][0], max(kept["loads"], key=lambda entry: entry["tokens_per_second"])
    return (
        f"benchmark of {kept['at']}: first token after {first['ttft_ms']:,.0f} ms and {first['tpot_ms']:,.1f} ms a token at "
        f"{first['concurrency']} request, {best['tokens_per_second']:,.1f} tokens/s at {best['concurrency']} requests"
    )


def _json(text: Any) -> Any:
    try:
        return read_json(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e15
    )


def _count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
