# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan makes of models and arguments whose truth does not stand in the usual fields."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts
from tests.unit.core.configurations import DATA, llama, published
from tests.unit.core.plans import facts, on, plan

GIB = 1 << 30
WHOLE = json.loads((DATA / "whole_configurations.json").read_text())


def of(config: dict[str, Any], **model: Any) -> Facts:
    """Facts with this configuration and nothing of files, but for what is given."""
    found = facts()
    return replace(found, model={**found.model, "config": config, "index": None, "files": [], **model})


def given(*words: str, **changes: Any) -> dict[str, Any]:
    return {"recipe_container_command_args": list(words), **changes}


def codes(made: Any) -> list[str]:
    return [warning["code"] for warning in made["warnings"]]


def refused(found: Facts, **changes: Any) -> list[str]:
    with pytest.raises(Refused) as refusal:
        plan(found, **changes)
    return [fault.code for fault in refusal.value.faults]


def argument(made: Any, name: str) -> str | None:
    words = made["engine"]["args"]
    return words[words.index(name) + 1] if name in words else None


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
QWEN = llama(
    architectures=["Qwen3ForCausalLM"],
    model_type="qwen3",
    hidden_size=5120,
    num_attention_heads=64,
    head_dim=128,
    intermediate_size=25600,
    num_hidden_layers=64,
    vocab_size=151936,
    max_position_embeddings=40960,
)


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
def test_a_model_that_yarn_made_longer(name: str) -> None:
    longer = of({**QWEN, name: YARN})
    made = plan(longer, **on("BM.GPU.H100.8", 8, 1), recipe_max_model_length=131072)
    assert made["memory"]["context"] == 131072
    short = plan(longer, **on("VM.GPU.A10.2", 2, 2))
    # What vLLM would take by itself does not fit: it is told what does.
    assert argument(short, "--max-model-len") == str(short["memory"]["context"])
    assert "context_shortened" in codes(short)
    assert refused(longer, **on("BM.GPU.H100.8", 8, 1), recipe_max_model_length=131073) == ["context_beyond_model"]


def test_a_longer_context_on_purpose() -> None:
    node = on("BM.GPU.H100.8", 8, 1)
    wish = {"recipe_max_model_length": 131072}
    assert refused(of(QWEN), **node, **wish) == ["context_beyond_model"]
    overrides = '{"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}'
    made = plan(of(QWEN), **node, **wish, **given("--hf-overrides", overrides))
    assert made["memory"]["context"] == 131072
    variable = [{"key": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}]
    assert "context_beyond_model" in codes(plan(of(QWEN), **node, **wish, recipe_container_env=variable))


def test_overrides_change_what_is_planned() -> None:
    made = plan(of(QWEN), **on("BM.GPU.H100.8", 8, 1), **given("--hf-overrides", '{"num_hidden_layers": 128}'))
    assert made["parallelism"]["layers_per_stage"] == [128]
    inner = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "vision_config": {"depth": 1},
    }
    nested = of({**inner, "text_config": {**QWEN, "model_type": "qwen3_vl_text"}})
    words = given("--hf-overrides", '{"text_config": {"num_hidden_layers": 32}}')
    assert plan(nested, **on("BM.GPU.H100.8", 8, 1), **words)["parallelism"]["layers_per_stage"] == [32]


def test_options_that_change_the_memory() -> None:
    node = on("VM.GPU.A10.2", 2, 1)
    usual = plan(of(llama(num_hidden_layers=32)), **node)["memory"]["per_gpu"][0]

    def with_words(*words: str) -> Any:
        return plan(of(llama(num_hidden_layers=32)), **node, **given(*words))["memory"]

    wide = with_words("--dtype", "float32")["per_gpu"][0]
    assert wide["weights_bytes"] == 2 * usual["weights_bytes"]
    assert wide["kv_bytes_per_token"] == 2 * usual["kv_bytes_per_token"]
    assert with_words("--cpu-offload-gb", "4")["per_gpu"][0]["weights_bytes"] == usual["weights_bytes"] - 4 * GIB
    small = with_words("--kv-cache-memory-bytes", str(GIB))
    assert small["max_context"] == GIB // usual["kv_bytes_per_token"] - 16
    assert small["context"] <= small["max_context"] < 32768


def test_a_cache_in_the_checkpoints_own_type() -> None:
    scheme = {"dynamic": False, "num_bits": 8, "type": "float"}
    quantized = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": scheme, "ignore": ["lm_head"]}
    model, node = of(llama(quantization_config=quantized)), on("BM.GPU.H100.8", 8, 1)
    own = plan(model, **node)["memory"]["per_gpu"][0]["kv_bytes_per_token"]
    wide = plan(model, **node, **given("--kv-cache-dtype", "bfloat16"))["memory"]["per_gpu"][0]["kv_bytes_per_token"]
    assert wide == 2 * own


def test_a_quantization_in_a_file_of_its_own() -> None:
    stated = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    config, node = published("Qwen--Qwen3-235B-A22B"), on("BM.GPU.A100-v2.8", 8, 1)
    made = plan(of(config, hf_quant_config=stated), **node)
    assert (
        made["memory"]["per_gpu"][0]["weights_bytes"]
        < plan(of(config), **node)["memory"]["per_gpu"][0]["weights_bytes"] / 3
    )
    assert "quantization_not_native" in codes(made)


def test_a_model_without_a_tokenizer() -> None:
    bare = of(llama(), tokenizer=[])
    assert "tokenizer_missing" in codes(plan(bare))
    assert "tokenizer_missing" not in codes(plan(bare, **given("--skip-tokenizer-init")))
    assert "tokenizer_missing" not in codes(plan(of(llama(), tokenizer=["tokenizer.json"])))


def test_files_that_were_found_for_another_load_format() -> None:
    files = [{"name": "config.json", "size": 300}, {"name": "model.safetensors", "size": 4 * GIB}]
    assert "weights_not_read" in refused(of(llama(), files=files), **given("--load-format", "mistral"))
    assert "weights_not_read" in refused(of(llama(), files=files), **given("--load-format", "npcache"))
    files[1]["name"] = "consolidated.safetensors"
    plan(of(llama(), files=files), **given("--load-format", "mistral"))


def test_what_is_only_estimated_refuses_nothing() -> None:
    huge = {**published("meta-llama--Meta-Llama-3.1-405B"), "model_type": "brandnew"}
    node = on("BM.GPU.A10.4", 4, 4)
    made = plan(of(huge), **node)
    assert {"model_type_unknown", "may_not_fit"} <= set(codes(made))
    assert not made["staging"]["by_stage"]
    # Half of the files are more than all GPUs have: that is proved.
    files = [{"name": "model.safetensors", "size": 1600 * 10**9}]
    assert "does_not_fit" in refused(of(huge, files=files), **node)
    assert "does_not_fit" in refused(of({**huge, "model_type": "llama"}), **node)


def test_requests_are_lowered_to_the_states_that_the_cache_holds() -> None:
    hybrid = WHOLE["nvidia--Nemotron-H-56B-Base-8K"]["config"]
    node = on("VM.GPU.A10.2", 2, 4)
    made = plan(of(hybrid), **node)
    assert "requests_lowered" in codes(made)
    most = int(argument(made, "--max-num-seqs") or 0)
    assert 0 < most < 256
    assert "requests_beyond_states" in refused(of(hybrid), **node, **given("--max-num-seqs", "400"))
    assert argument(plan(of(hybrid), **node, **given("--max-num-seqs", "8")), "--max-num-seqs") == "8"


@pytest.mark.parametrize(
    ("changes", "fault"), [({"num_hidden_layers": 31}, "layers_beyond"), ({"num_hidden_layers": 33}, "layers_missing")]
)
def test_an_index_with_other_layers_than_the_configuration(changes: dict[str, Any], fault: str) -> None:
    found = facts()
    config = {**found.model["config"], **changes}
    assert fault in refused(replace(found, model={**found.model, "config": config}))


def test_a_cache_of_a_type_whose_size_is_not_known_counts_16_bits() -> None:
    image = {"recipe_image_uri": "docker.io/me/vllm:1", "image_contents": {"vllm": "0.32.0", "ray": "2.60.0"}}
    node = {**on("BM.GPU.H100.8", 8, 1), **image}
    usual = plan(of(llama()), **node)["memory"]["per_gpu"][0]["kv_bytes_per_token"]
    for name, share in (("fp8", 0.5), ("nvfp4_4over6", 0.28125), ("int8_per_token_head", 1), ("turboquant_3bit_nc", 1)):
        made = plan(of(llama()), **node, **given("--kv-cache-dtype", name))
        assert made["memory"]["per_gpu"][0]["kv_bytes_per_token"] == usual * share
        assert ("argument_not_reckoned" in codes(made)) is (share == 1)
