# SPDX-License-Identifier: GPL-3.0-or-later
"""Real vLLM (its CPU build), asked what a plan asks: its refusals are the plan's, and its numbers those that are computed.

Run by `make soak`, which installs it (`make real-vllm`).
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.release import release
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.vllm.answer import (
    Question,
    read_answer,
    with_answer,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import layers_per_stage
from ansible_collections.multinode.inference.plugins.plugin_utils.vllm_python.asking import ask_vllm
from rig.configuration import REAL_VLLM_VERSION, real_vllm_folder
from tests.unit.core.configurations import DATA, llama, published

pytestmark = [pytest.mark.real_vllm, pytest.mark.soak]

WHOLE = json.loads((DATA / "whole_configurations.json").read_text())
# A machine that does other things beside this one.
SECONDS = 600.0


def ask(config: dict[str, Any], tensor: int, pipeline: int, *words: str) -> dict[str, Any]:
    python = real_vllm_folder() / "bin" / "python"
    assert (real_vllm_folder() / "complete").exists(), "real vLLM is not in the cache: run `make real-vllm`"
    arguments = (
        *("--tensor-parallel-size", str(tensor), "--pipeline-parallel-size", str(pipeline)),
        *("--distributed-executor-backend", "ray", "--skip-tokenizer-init", *words),
    )
    return ask_vllm(
        str(python), Question(REAL_VLLM_VERSION, arguments, {}, {"config.json": config}, "/models/m"), SECONDS
    )


@pytest.mark.parametrize(
    ("name", "tensor", "pipeline"),
    [
        ("meta-llama--Meta-Llama-3.1-8B", 2, 3),
        ("meta-llama--Meta-Llama-3.1-405B", 8, 2),
        ("Qwen--Qwen3-32B", 4, 2),
        ("Qwen--Qwen3-235B-A22B", 8, 2),
        ("Qwen--Qwen3-235B-A22B-FP8", 4, 2),
        ("mistralai--Mixtral-8x7B-v0.1", 2, 2),
        ("mistralai--Mixtral-8x22B-v0.1", 8, 1),
        ("deepseek-ai--DeepSeek-V3", 8, 2),
        ("MiniMaxAI--MiniMax-M2.5", 4, 2),
        ("moonshotai--Kimi-K2-Instruct", 8, 2),
    ],
)
def test_what_it_builds_is_what_is_computed(name: str, tensor: int, pipeline: int) -> None:
    config = WHOLE[name]["config"] if name in WHOLE else published(name)
    said = ask(copy.deepcopy(config), tensor, pipeline)
    assert said["ok"], said
    assert said.get("stages"), said.get("not_built")
    if "removed" in said:
        config = {key: value for key, value in config.items() if key != "quantization_config"}
    model = read_model(config, vllm=REAL_VLLM_VERSION)
    divided = layers_per_stage(len(model.layers), pipeline)
    assert said["layers_per_stage"] == divided
    assert said["max_model_len"] == model.default_length
    first = 0
    for stage, count in zip(said["stages"], divided, strict=True):
        planned = model.weight_bytes(tensor, first, first + count)
        assert planned == pytest.approx(stage["weights_bytes"], rel=0.01), f"stage from layer {first}"
        held = model.layers[first : first + count]
        kept = sum(cache["bytes_per_token"] for cache in stage["caches"])
        assert sum(layer.kv_bytes_per_token(tensor, 2) for layer in held) == kept
        first += count
    findings = Findings()
    read = read_answer(said, release(REAL_VLLM_VERSION), len(model.layers), pipeline, tensor, findings)
    assert not findings.faults and not findings.warnings
    assert with_answer(model, read, tensor, False).layers == model.layers, "a cache that agrees changes nothing"


@pytest.mark.parametrize(
    ("changes", "tensor", "words", "expected"),
    [
        (
            {"num_attention_heads": 30, "head_dim": 128, "hidden_size": 3840, "num_key_value_heads": 30},
            4,
            (),
            "divisible by tensor parallel size",
        ),
        ({}, 2, ("--max-model-len", "40000"), "greater than the derived max_model_len"),
        ({}, 2, ("--dtype", "bfloat17"), "invalid choice"),
        ({}, 2, ("--no-such-option",), "unrecognized arguments"),
        ({"intermediate_size": 14337}, 2, (), "tp_size"),
    ],
)
def test_what_it_refuses_is_a_fault(
    changes: dict[str, Any], tensor: int, words: tuple[str, ...], expected: str
) -> None:
    said = ask(llama(**changes), tensor, 2, *words)
    findings = Findings()
    read_answer(said, release(REAL_VLLM_VERSION), 8, 2, tensor, findings)
    assert [fault.code for fault in findings.faults] == ["vllm_refuses"], said
    assert expected in findings.faults[0].found


def test_a_class_that_it_does_not_have_is_refused() -> None:
    said = ask(llama(architectures=["NoSuchForCausalLM"], model_type="no_such"), 2, 2)
    assert said["ok"] is not True
