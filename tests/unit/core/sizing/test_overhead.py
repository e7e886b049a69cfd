# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies beside weights and cache, against public logs of vLLM: docs/sizing.md says where they are from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.memory import memory_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.options import MemoryOptions
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.overhead import (
    GIB,
    batched_tokens,
    overhead_of,
    requests_at_once,
)
from tests.unit.core.configurations import DATA, llama

WHOLE = json.loads((DATA / "whole_configurations.json").read_text())
TEXT = (Path(__file__).parents[4] / "docs" / "sizing.md").read_text(encoding="utf-8")
SMALL = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "tie_word_embeddings": True,
}
MODELS = {
    "Qwen3-0.6B": {**WHOLE["Qwen--Qwen3-8B"]["config"], **SMALL},
    "gpt-oss-20b": WHOLE["openai--gpt-oss-20b"]["config"],
    "gpt-oss-120b": WHOLE["openai--gpt-oss-120b"]["config"],
    "Llama-3.1-8B": WHOLE["meta-llama--Meta-Llama-3.1-8B"]["config"],
    "Llama-3.3-70B FP8": WHOLE["nvidia--Llama-3.1-70B-Instruct-FP8"]["config"],
    "Qwen3-32B": WHOLE["Qwen--Qwen3-32B"]["config"],
    "gemma-4-26B-A4B": WHOLE["google--gemma-4-26B-A4B"]["config"],
    "Qwen3.5-35B-A3B": WHOLE["Qwen--Qwen3.5-35B-A3B"]["config"],
}
GPUS = {"H100": "BM.GPU.H100.8", "A100-80": "BM.GPU.A100-v2.8", "A10": "BM.GPU.A10.4"}
# GiB that the logs say were left for the cache, in the order of the table.
LEFT = [64.45, 50.28, 50.0, 4.45, 34.4, 32.0, 3.33, 36.56, 21.5, 56.21, 2.09]
LOGS = [
    (*(cell.strip() for cell in line.strip("|").split("|")), left)
    for line, left in zip(re.findall(r"^\| .* \| (?:fitted|checked) \|$", TEXT, re.MULTILINE), LEFT, strict=True)
]


@pytest.mark.parametrize(("log", "vllm", "said", "stated", "_use", "left"), LOGS, ids=[entry[0] for entry in LOGS])
def test_logs_lie_inside_the_range(log, vllm, said, stated, _use, left):
    name, count, gpu = re.match(r"(.+), (\d) x ([\w-]+)", log).groups()
    shape = find_shape(GPUS[gpu])
    model = read_model(MODELS[name], vllm=f"{vllm}.0")
    options = MemoryOptions(eager="eager" in log, max_num_batched_tokens=4096 if gpu == "A10" else None)
    remaining = int((left + float(said)) * GIB)
    found = overhead_of(model, shape.gpu_memory_gib, shape.compute_capability, (int(count), 1), remaining, options)
    assert found.low <= float(said) * GIB <= found.high
    assert found.high - found.low <= max(2, 0.15 * left) * GIB + 1
    assert f"{found.low / GIB:.1f} to {found.high / GIB:.1f}" == stated
    assert not found.wide


@pytest.mark.parametrize(
    ("shape_name", "wide"), [("BM.GPU.L40S.4", True), ("BM.GPU.B200.8", True), ("BM.GPU.H200.8", False)]
)
def test_a_gpu_without_a_log_has_a_wider_range_and_says_so(shape_name, wide):
    shape = find_shape(shape_name)
    plan = memory_plan(read_model(llama(), vllm="0.26.0"), shape, shape.gpus, 1)
    assert ("memory_range_wide" in [fault.code for fault in plan.warnings]) is wide
    stage = plan.stages[0]
    assert (stage.overhead_bytes - stage.overhead_low_bytes > 2.2 * GIB) is wide or shape_name == "BM.GPU.H200.8"
    measured = memory_plan(read_model(llama(), vllm="0.26.0"), shape, shape.gpus, 1, MemoryOptions(overhead_gib=3.0))
    assert "memory_range_wide" not in [fault.code for fault in measured.warnings]


def test_a_version_without_a_log_has_a_wider_range():
    shape = find_shape("BM.GPU.H100.8")
    plans = [memory_plan(read_model(llama(), vllm=version), shape, 8, 1) for version in ("0.32.0", "0.40.0")]
    widths = [plan.stages[0].overhead_bytes - plan.stages[0].overhead_low_bytes for plan in plans]
    assert widths[1] > widths[0]
    assert "vLLM 0.40" in next(fault.found for fault in plans[1].warnings if fault.code == "memory_range_wide")


def test_batches_of_the_server():
    none = MemoryOptions()
    assert batched_tokens(79.1, (9, 0), none, (0, 26)) == 8192
    assert batched_tokens(79.1, (8, 0), none, (0, 26)) == 2048
    assert batched_tokens(22.0, (8, 6), none, (0, 26)) == 2048
    assert [batched_tokens(178.0, (10, 0), none, (0, minor)) for minor in (26, 29)] == [8192, 16384]
    assert batched_tokens(139.8, (9, 0), none, (0, 32)) == 8192
    assert batched_tokens(22.0, (8, 6), MemoryOptions(max_num_batched_tokens=512), (0, 26)) == 512
    assert [requests_at_once(*gpu, none) for gpu in ((79.1, (9, 0)), (79.1, (8, 0)), (22.0, (8, 6)))] == [
        1024,
        256,
        256,
    ]


def test_what_is_asked_for_moves_the_range():
    shape = find_shape("BM.GPU.H100.8")
    model = read_model(llama(), vllm="0.26.0")

    def most(**options):
        return memory_plan(model, shape, 8, 1, MemoryOptions(**options)).stages[0].overhead_bytes

    assert most(max_num_seqs=64) < most() - 3 * GIB
    assert most(eager=True) == pytest.approx(most() - 0.6 * 1.1 * GIB, abs=0.2 * GIB)
    assert most(max_num_seqs=64, max_num_batched_tokens=65536) > most(max_num_seqs=64) + GIB
