# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM itself says of a plan goes before what is computed; what it cannot say here stays computed, and the plan says so."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import describe
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.vllm.beginning import vllm_question
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from tests.unit.core.plans import LLAMA_8B, facts, of, plan
from tests.unit.core.recipes import recipe

GIB = 1 << 30
# The sample: Llama 3.1 8B on four nodes of two GPUs.
STAGES, TENSOR, LAYERS = 4, 2, 8


def cache(layer: int, **changes: Any) -> dict[str, Any]:
    """What a layer of the sample keeps on one GPU: 4 heads of 128 values, twice, of 2 bytes."""
    kept = {"kind": "FullAttentionSpec", "window": 0, "bytes_per_token": 2048, "value_bytes": 2, "state_bytes": 0}
    return {"layer": layer, **kept, **changes}


def answer(weights: int = 2 * GIB, **changes: Any) -> dict[str, Any]:
    """vLLM's answer for the sample."""
    stages = [
        {"weights_bytes": weights, "caches": [cache(layer) for layer in range(stage * LAYERS, (stage + 1) * LAYERS)]}
        for stage in range(STAGES)
    ]
    said = {"ok": True, "layers_per_stage": [LAYERS] * STAGES, "max_model_len": 131072, "stages": stages}
    return {**said, **changes}


def asked(said: dict[str, Any], found: Facts | None = None, **changes: Any) -> Any:
    found = found or facts()
    return plan(Facts(**{**found.__dict__, "answer": said}), **changes)


def refused(said: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refusal:
        asked(said, **changes)
    return [(fault.code, fault.found) for fault in refusal.value.faults]


def test_weights_that_vllm_says_go_before_those_that_are_computed() -> None:
    made = asked(answer())
    assert [stage["weights_bytes"] for stage in made["memory"]["per_gpu"]] == [2 * GIB] * STAGES
    assert made["answer"] == {
        "vllm": "0.26.0",
        "says": ["layers of each stage", "context", "weights", "KV cache"],
        "lacks": "",
    }
    assert any("from vLLM 0.26.0 itself: layers of each stage, context, weights" in line for line in describe(made))
    assert plan()["answer"] is None


def test_a_cache_that_vllm_says_goes_before_the_one_that_is_computed() -> None:
    said = answer()
    half = [
        {**stage, "caches": [{**kept, "bytes_per_token": 1024} for kept in stage["caches"]]} for stage in said["stages"]
    ]
    made, computed = asked({**said, "stages": half}), asked(said)
    assert [stage["kv_bytes_per_token"] for stage in made["memory"]["per_gpu"]] == [LAYERS * 1024] * STAGES
    assert made["memory"]["kv_tokens"] > 1.9 * computed["memory"]["kv_tokens"]
    assert computed["memory"]["per_gpu"] == [
        {
            **stage,
            **{key: other[key] for key in ("weights_bytes", "available_bytes", "available_high_bytes", "kv_tokens")},
        }
        for stage, other in zip(plan()["memory"]["per_gpu"], computed["memory"]["per_gpu"], strict=True)
    ], "a cache that agrees changes nothing"


@pytest.mark.parametrize(
    ("kept", "attention_bytes", "state_bytes"),
    [
        ({"kind": "SlidingWindowSpec", "window": 4096}, 2048, 0),
        ({"kind": "MLAAttentionSpec", "bytes_per_token": 1152}, 1152, 0),
        ({"kind": "MambaSpec", "bytes_per_token": 0, "state_bytes": 1 << 20}, 0, 1 << 20),
        ({"kind": "SomethingNewSpec", "bytes_per_token": 132, "value_bytes": 1}, 132, 0),
    ],
)
def test_each_kind_of_cache_is_planned_as_it_is_said(
    kept: dict[str, Any], attention_bytes: int, state_bytes: int
) -> None:
    said = answer()
    stages = [{**stage, "caches": [{**each, **kept} for each in stage["caches"]]} for stage in said["stages"]]
    stage = asked({**said, "stages": stages})["memory"]["per_gpu"][0]
    assert stage["kv_bytes_per_token"] == LAYERS * attention_bytes
    assert stage["state_bytes_per_request"] == LAYERS * state_bytes


def test_layers_that_keep_nothing_are_planned_so() -> None:
    said = answer()
    stages = [{**stage, "caches": stage["caches"][::2]} for stage in said["stages"]]
    assert asked({**said, "stages": stages})["memory"]["per_gpu"][1]["kv_bytes_per_token"] == LAYERS // 2 * 2048


def test_layers_are_staged_as_vllm_divides_them() -> None:
    made = asked({**answer(), "stages": [], "layers_per_stage": [9, 8, 8, 7]})
    assert made["parallelism"]["layers_per_stage"] == [9, 8, 8, 7]
    assert [stage["layers"] for stage in made["memory"]["per_gpu"]] == [9, 8, 8, 7]
    assert len(made["staging"]["shards_per_stage"][0]) == 2, "its ninth layer is in the second shard"


def test_other_layers_than_the_plan_counts_are_a_fault() -> None:
    assert refused({**answer(), "layers_per_stage": [9, 9, 9, 9]})[0][0] == "vllm_counts_otherwise"


def test_the_context_that_vllm_derives_is_the_models() -> None:
    made = asked({**answer(), "max_model_len": 32768})
    assert made["memory"]["context"] == 32768 and "--max-model-len" not in made["engine"]["args"]
    # A context that is asked for is only repeated.
    asked_for = asked({**answer(), "max_model_len": 16384}, recipe_max_model_length=16384)
    assert asked_for["memory"]["context"] == 16384


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("argument", "vllm serve: error: argument --dtype: invalid choice: 'half-a-device'"),
        ("ValueError", "Total number of attention heads (32) must be divisible by tensor parallel size (3)."),
        ("AssertionError", "assert all(output_size % self.tp_size == 0 for output_size in output_sizes)"),
        ("ValueError", "weight columns 96 are not divisible by weight quantization block_n = 128"),
        (
            "ValidationError",
            "1 validation error for ModelConfig\n  Value error, max_model_len (9) is greater [type=value_error]",
        ),
    ],
)
def test_a_refusal_that_holds_everywhere_is_a_fault_in_vllms_words(kind: str, words: str) -> None:
    (code, found), *_more = refused({"ok": False, "kind": kind, "error": words})
    assert code == "vllm_refuses"
    assert found == words or (found == "max_model_len (9) is greater" and "[type" in words)


@pytest.mark.parametrize(
    "said",
    [
        {"ok": False, "kind": "ValueError", "error": "awq quantization is currently not supported in cpu."},
        {"ok": False, "kind": "ValueError", "error": "Failed to find a kernel that can implement the linear layer"},
        {"ok": False, "kind": "ValueError", "error": "--mamba-block-size can only be set with --enable-prefix-caching"},
        {"ok": False, "kind": "ValueError", "error": "it contains custom code; pass trust_remote_code=True"},
        {"ok": None, "error": "no answer within 90 s"},
    ],
)
def test_what_depends_on_the_platform_counts_as_not_answered(said: dict[str, Any]) -> None:
    made = asked(said)
    assert [warning["code"] for warning in made["warnings"]].count("vllm_not_answered") == 1
    assert made["answer"]["says"] == [] and made["answer"]["lacks"] == said["error"]
    assert made["memory"] == plan()["memory"], "the plan is computed"


def test_a_model_that_cannot_be_built_here_is_computed() -> None:
    said = {**answer(), "stages": [], "not_built": {"kind": "RuntimeError", "error": "no kernel for this"}}
    made = asked(said)
    assert made["answer"]["says"] == ["layers of each stage", "context"] and "no kernel" in made["answer"]["lacks"]
    assert made["memory"] == plan()["memory"]
    split = {"kind": "AssertionError", "error": "14336 is not divisible by 3"}
    assert refused({**said, "not_built": split})[0][0] == "vllm_refuses"


def test_weights_without_their_quantization_are_not_those_of_the_model() -> None:
    made = asked({**answer(weights=9 * GIB), "removed": "no kernel for fp8"})
    assert made["memory"]["per_gpu"][0]["weights_bytes"] == plan()["memory"]["per_gpu"][0]["weights_bytes"]
    assert made["answer"]["says"] == ["layers of each stage", "context", "KV cache"]
    assert "no kernel for fp8" in made["answer"]["lacks"]


def test_what_vllm_has_built_is_certain_whatever_key_is_not_known() -> None:
    strange = of("", a_new_size=7)
    for memory in (4 * GIB, 40 * GIB):
        said = answer(weights=memory)
        if memory < 10 * GIB:
            assert asked(said, strange)["memory"]["per_gpu"][0]["weights_bytes"] == memory
        else:
            with pytest.raises(Refused) as refusal:
                asked(said, strange)
            assert "does_not_fit" in [fault.code for fault in refusal.value.faults]


def test_a_division_that_vllm_has_built_is_no_fault() -> None:
    heads = of("", num_attention_heads=33, head_dim=128)
    with pytest.raises(Refused) as refusal:
        plan(heads)
    assert "heads_not_divisible" in [fault.code for fault in refusal.value.faults]
    assert asked(answer(), heads)["answer"]["says"]


def test_the_question_has_the_plans_arguments_and_variables_and_nothing_secret() -> None:
    given = recipe(
        recipe_container_command_args=["--max-num-seqs", "64", "--tokenizer=/models/other"],
        recipe_trust_remote_code=True,
        recipe_container_env=[{"key": "VLLM_PP_LAYER_PARTITION", "value": "8,8,8,8"}, {"key": "OTHER", "value": "x"}],
        recipe_environment_secrets=[{"envvar_name": "VLLM_LOGGING_LEVEL", "secret_name": "s", "secret_key": "k"}],
        recipe_max_model_length=8192,
    )
    found = facts()
    model = {**found.model, "index": {**found.model["index"], "file": "model.safetensors.index.json"}}
    question = vllm_question(read_inputs(given), Facts(**{**found.__dict__, "model": model}))
    assert question is not None and question.version == "0.26.0"
    words = " ".join(question.arguments)
    for part in ("--tensor-parallel-size 2 --pipeline-parallel-size 4", "--max-num-seqs 64", "--max-model-len 8192"):
        assert part in words
    assert question.arguments[-1] == "--skip-tokenizer-init"
    assert "trust" not in words and "--tokenizer" not in words
    assert question.environment["VLLM_PP_LAYER_PARTITION"] == "8,8,8,8"
    assert not question.environment.keys() & {"OTHER", "VLLM_CACHE_ROOT", "HF_HUB_OFFLINE"}
    assert "VLLM_LOGGING_LEVEL" not in question.environment, "it is in a Secret"
    assert question.files.keys() == {"config.json", "model.safetensors.index.json"}
    assert question.files["config.json"] == LLAMA_8B


def test_a_draft_model_of_the_pods_is_not_asked_about() -> None:
    speculative = '{"model": "/drafts/a", "method": "eagle", "num_speculative_tokens": 2}'
    given = recipe(
        recipe_container_command_args=["--speculative-config", speculative],
        recipe_image_uri="example.com/own:1",
        image_contents={"vllm": "0.32.0", "ray": "2.58.0"},
    )
    question = vllm_question(read_inputs(given), facts())
    assert question is not None and "/drafts/a" not in " ".join(question.arguments)


def test_nothing_is_asked_where_there_is_no_plan() -> None:
    assert vllm_question(read_inputs(recipe()), of("", num_hidden_layers=None)) is None
