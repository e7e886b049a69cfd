# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM measures at its start is read in the words of each version, of the rank that bounds the group."""

from __future__ import annotations

from typing import Any

import pytest
from engine_measures import measured
from engine_process import Engine
from pod_progress import Board

RANKS = ("(EngineCore pid=7) (RayWorkerProc pid=9, ip=192.0.2.7) INFO 11-27 21:40:00 ", "INFO 11-27 21:40:00 ")
OLD = (
    "[gpu_model_runner.py:3549] Model loading took 16.5000 GiB memory and 12.123456 seconds",
    "[gpu_worker.py:359] Available KV cache memory: 51.28 GiB",
    "[kv_cache_utils.py:1286] GPU KV cache size: 1,049,600 tokens",
    "[kv_cache_utils.py:1291] Maximum concurrency for 131,072 tokens per request: 8.01x",
)
NEW = (
    "[model_runner.py:425] Model loading took 16.5 GiB and 12.123456 seconds",
    "[gpu_worker.py:759] Available KV cache memory: 51.28 GiB",
    "[kv_cache_utils.py:2328] GPU KV cache size: 1,049,600 tokens, Maximum concurrency for 131,072 tokens per request: 8.01x",
)
FOUND = {"weights_gib": 16.5, "cache_gib": 51.28, "cache_tokens": 1049600, "concurrency": 8.01}


@pytest.mark.parametrize("lines", [OLD, NEW])
@pytest.mark.parametrize("prefix", RANKS)
def test_each_version_says_it_in_its_words(lines: tuple[str, ...], prefix: str) -> None:
    found: dict[str, float] = {}
    for line in lines:
        found = measured(prefix + line, found)
    assert found == FOUND


def test_of_several_ranks_the_fullest_counts() -> None:
    found: dict[str, float] = {}
    for weights, left in ((16.5, 51.0), (18.0, 49.5), (17.0, 50.0)):
        found = measured(f"Model loading took {weights} GiB memory and 1.0 seconds", found)
        found = measured(f"Available KV cache memory: {left} GiB", found)
    assert found == {"weights_gib": 18.0, "cache_gib": 49.5}


def test_online_quantization_is_no_measure_of_weights() -> None:
    assert measured("Online quantization as part of model loading took 3.10 seconds", {}) == {}


def test_the_progress_of_the_engine_carries_it() -> None:
    group: Any = None
    board = Board()
    engine = Engine(group, board)
    for line in (*NEW, "INFO: Application startup complete.", "GPU KV cache size: 5 tokens"):
        engine._read(line)
    entry = board.entries()["engine"]
    assert entry["state"] == "done" and entry["measured"] == FOUND
