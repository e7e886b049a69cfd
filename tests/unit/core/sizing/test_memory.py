# SPDX-License-Identifier: GPL-3.0-or-later
"""What fits: capacity, context, fewest nodes, ways out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import SHAPES, find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.memory import (
    alternatives,
    fewest_nodes,
    memory_plan,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.options import MemoryOptions
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.overhead import GIB
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import check_parallelism
from tests.unit.core.configurations import DATA, llama, published

GLM = json.loads((DATA / "whole_configurations.json").read_text())["zai-org--GLM-5.2"]["config"]
QWEN25_72B = llama(
    model_type="qwen2",
    architectures=["Qwen2ForCausalLM"],
    num_hidden_layers=80,
    hidden_size=8192,
    num_attention_heads=64,
    intermediate_size=29568,
    vocab_size=152064,
)
MODELS = {
    "Llama-3.3-70B": published("meta-llama--Meta-Llama-3.1-70B"),
    "Qwen2.5-72B": QWEN25_72B,
    "Llama-3.1-405B": published("meta-llama--Meta-Llama-3.1-405B"),
    "Qwen3-235B-A22B": published("Qwen--Qwen3-235B-A22B"),
    "Mixtral-8x7B": published("mistralai--Mixtral-8x7B-v0.1"),
    "Mixtral-8x22B": {**published("mistralai--Mixtral-8x22B-v0.1"), "vocab_size": 32768},
    "DeepSeek-V3": published("deepseek-ai--DeepSeek-V3"),
    "gpt-oss-120b": published("openai--gpt-oss-120b"),
}


def shape(name):
    found = find_shape(name)
    assert found is not None
    return found


def plan(config, name, pipeline, **options):
    found = shape(name)
    return memory_plan(read_model(config, vllm="0.26.0"), found, found.gpus, pipeline, MemoryOptions(**options))


def beside(name):
    """GiB beside weights and cache that the figures below were computed with: a round number by the GPU's memory."""
    memory = shape(name).gpu_memory_gib
    return next(gib for least, gib in ((160, 6), (100, 5), (60, 4), (30, 3), (0, 2)) if memory >= least)


# Nodes needed for 8192 tokens (of 1, 2, 3, 4, 6, 8; 0: more than 8), GiB of weights per GPU of the largest stage, and
# thousands of tokens of KV cache, computed by hand with 0.92 of the GPU's memory. What differs from the figures that
# were computed before, and why:
#  - L40S: 3.0 GiB beside weights and cache instead of 2.5: fewer tokens (72 -> 65).
#  - Qwen3-235B, Mixtral: vLLM builds embedding and head on every stage (measured: 27.60 GiB for TP 8 x PP 2).
#  - DeepSeek: the projections into the latent are on every GPU as a whole, as is what vLLM absorbs of them
#    (0.03 GiB a layer): 79.3 instead of 78.4.
#  - gpt-oss: windowed layers have their reserve of (PP + 1) batches, and full ones no other half.
NODES = [
    ("Llama-3.3-70B", "BM.GPU.A10.4", 2, 16.4, 47),
    ("Llama-3.3-70B", "BM.GPU.L40S.4", 1, 32.9, 65),
    ("Llama-3.3-70B", "BM.GPU4.8", 1, 16.4, 440),
    ("Llama-3.3-70B", "BM.GPU.H100.8", 1, 16.4, 1370),
    ("Llama-3.3-70B", "BM.GPU.H200.8", 1, 16.4, 2800),
    ("Llama-3.3-70B", "BM.GPU.B200.8", 1, 16.4, 3700),
    ("Llama-3.3-70B", "BM.GPU.MI300X.8", 1, 16.4, 4000),
    ("Qwen2.5-72B", "BM.GPU.A10.4", 2, 16.9, 34),
    ("Qwen2.5-72B", "BM.GPU.L40S.4", 1, 33.9, 52),
    ("Qwen2.5-72B", "BM.GPU4.8", 1, 16.9, 427),
    ("Qwen2.5-72B", "BM.GPU.A100-v2.8", 1, 16.9, 1360),
    ("Llama-3.1-405B", "BM.GPU.A10.4", 0, 0, 0),
    ("Llama-3.1-405B", "BM.GPU.L40S.4", 6, 32.2, 284),
    ("Llama-3.1-405B", "BM.GPU4.8", 3, 31.7, 79),
    ("Llama-3.1-405B", "BM.GPU.H100.8", 2, 47.2, 716),
    ("Llama-3.1-405B", "BM.GPU.H200.8", 1, 94.5, 484),
    ("Llama-3.1-405B", "BM.GPU.B200.8", 1, 94.5, 1050),
    ("Qwen3-235B-A22B", "BM.GPU.A10.4", 8, 14.5, 655),
    ("Qwen3-235B-A22B", "BM.GPU.L40S.4", 3, 37.7, 11),
    ("Qwen3-235B-A22B", "BM.GPU4.8", 2, 27.6, 252),
    ("Qwen3-235B-A22B", "BM.GPU.H100.8", 1, 54.9, 309),
    ("Mixtral-8x7B", "BM.GPU.A10.4", 2, 10.9, 480),
    ("Mixtral-8x7B", "BM.GPU.L40S.4", 1, 21.7, 527),
    ("Mixtral-8x7B", "BM.GPU4.8", 1, 10.9, 1470),
    ("Mixtral-8x22B", "BM.GPU.A10.4", 4, 16.5, 129),
    ("Mixtral-8x22B", "BM.GPU.L40S.4", 2, 32.8, 188),
    ("Mixtral-8x22B", "BM.GPU4.8", 1, 32.7, 19),
    ("Mixtral-8x22B", "BM.GPU.H100.8", 1, 32.7, 1350),
    ("DeepSeek-V3", "BM.GPU.A10.4", 0, 0, 0),
    ("DeepSeek-V3", "BM.GPU.L40S.4", 6, 29.6, 689),
    ("DeepSeek-V3", "BM.GPU4.8", 3, 28.5, 209),
    ("DeepSeek-V3", "BM.GPU.H100.8", 2, 40.9, 863),
    ("DeepSeek-V3", "BM.GPU.H200.8", 1, 79.3, 674),
    ("DeepSeek-V3", "BM.GPU.B200.8", 1, 79.3, 1195),
    ("gpt-oss-120b", "BM.GPU.A10.4", 1, 17.2, 81),
    ("gpt-oss-120b", "BM.GPU.L40S.4", 1, 17.2, 1586),
]


@pytest.mark.parametrize(("name", "shape_name", "nodes", "weights_gib", "thousands"), NODES)
def test_nodes_needed(name, shape_name, nodes, weights_gib, thousands):
    for count in (1, 2, 3, 4, 6, 8):
        found = plan(MODELS[name], shape_name, count, max_model_len=8192, overhead_gib=beside(shape_name))
        if found.fits:
            break
        assert count != nodes
    else:
        assert nodes == 0
        return
    assert count == nodes
    assert max(stage.weights_bytes for stage in found.stages) / GIB == pytest.approx(weights_gib, abs=0.06)
    assert found.kv_tokens / 1000 == pytest.approx(thousands, rel=0.02, abs=0.6)


def test_capacity_by_hand():
    # docs/sizing.md: Llama-3.1-70B on two BM.GPU.A10.4.
    found = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2, max_model_len=8192, overhead_gib=2)
    first, last = found.stages
    assert (first.layers, last.layers) == (40, 40)
    # 40 layers x 2 (key, value) x 2 heads x 128 x 2 bytes.
    assert first.kv_bytes_per_token == 40 * 2 * 2 * 128 * 2 == 40960
    # An eighth of 80 layers of 2 x 8192^2 + 2 x 8192 x 1024 + 3 x 8192 x 28672 weights, two norms each as a whole, then
    # a quarter of the head of 128256 rows, and the last norm: two bytes each.
    assert last.weights_bytes == 2 * (40 * (855_638_016 // 4 + 2 * 8192) + 128256 * 8192 // 4 + 8192) == 17_639_424_000
    available = int(22.0 * GIB * 0.92) - first.weights_bytes - 2 * GIB
    assert first.available_bytes == available
    blocks = available // (40960 * 16) - 1
    assert found.kv_tokens in (blocks * 16, blocks * 16 - 1)
    assert found.concurrent == pytest.approx(blocks * 16 / 8192, abs=0.01)


def test_the_context_that_is_served():
    asked = plan(llama(), "VM.GPU.A10.2", 2, max_model_len=4096)
    assert (asked.context, asked.fits, asked.warnings) == (4096, True, asked.warnings)
    whole = plan(llama(), "VM.GPU.A10.2", 2)
    assert whole.context == whole.max_context == 32768
    known = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2, overhead_gib=2)
    # 47,472 tokens fit; in steps of 1024.
    assert (known.max_context, known.max_context_high, known.context) == (47472, 47472, 47104)
    assert [fault.code for fault in known.warnings] == ["context_shortened"]
    assert known.concurrent >= 1


def test_the_context_starts_at_the_worse_end_of_the_range():
    found = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2)
    assert found.context <= found.max_context < found.max_context_high
    between = (found.max_context + found.max_context_high) // 2
    inside = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2, max_model_len=between)
    assert (inside.fits, inside.context) == (True, between)
    assert [fault.code for fault in inside.warnings] == ["context_uncertain"]
    beyond = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2, max_model_len=found.max_context_high + 1024)
    assert [fault.code for fault in beyond.faults] == ["context_does_not_fit"]


def test_a_context_that_does_not_fit_is_refused_with_the_ways_out():
    found = plan(MODELS["Llama-3.3-70B"], "BM.GPU.A10.4", 2, max_model_len=131072)
    assert not found.fits
    (fault,) = found.faults
    assert fault.code == "context_does_not_fit"
    assert "use 3 nodes of BM.GPU.A10.4" in fault.remedy
    assert f"at most {found.max_context} tokens" in fault.remedy


def test_a_model_that_does_not_fit_is_refused_with_the_ways_out():
    found = plan(MODELS["DeepSeek-V3"], "BM.GPU.A100-v2.8", 1)
    (fault,) = found.faults
    assert fault.code == "does_not_fit"
    assert fault.where == "1 x BM.GPU.A100-v2.8"
    assert "GiB of weights for each GPU" in fault.found
    assert "use 2 nodes of BM.GPU.A100-v2.8" in fault.remedy
    assert "or choose 5 x BM.GPU.L40S" in fault.remedy
    assert "1 x BM.GPU.H200.8" in fault.remedy
    assert "GB" not in fault.remedy, "Arm has no image of ours"


def test_a_context_longer_than_the_model_is_refused():
    (fault,) = plan(llama(), "BM.GPU.H100.8", 1, max_model_len=40000).faults
    assert fault.code == "context_beyond_model"


def test_fewer_nodes_would_do():
    found = plan(llama(), "VM.GPU.A10.2", 4)
    (warning,) = [fault for fault in found.warnings if fault.code == "fewer_nodes_suffice"]
    assert "4 nodes, and 1 would do" in warning.found


def test_fewest_nodes_and_alternatives():
    model = read_model(MODELS["Llama-3.1-405B"])
    fewest = fewest_nodes(model, shape("BM.GPU.H100.8"))
    assert fewest is not None
    assert fewest.pipeline == 2
    assert fewest_nodes(model, shape("VM.GPU.A10.1"), limit=8) is None
    found = alternatives(model)
    prices = [item.usd_per_hour for item in found if item.usd_per_hour is not None]
    assert prices == sorted(prices)
    assert [item.usd_per_hour for item in found[len(prices) :]] == [None] * (len(found) - len(prices))
    by_name = {item.shape: item.nodes for item in found}
    assert by_name["BM.GPU.H200.8"] == 1
    assert by_name["BM.GPU.H100.8"] == 2
    assert "BM.GPU.MI300X.8" not in by_name


def test_a_model_without_pipeline_parallelism_gets_one_node():
    model = read_model({**MODELS["Llama-3.3-70B"], "architectures": ["Gemma3nForCausalLM"]})
    assert fewest_nodes(model, shape("BM.GPU.A10.4")) is None
    assert fewest_nodes(model, shape("BM.GPU.H100.8")) is not None


def test_eight_bit_cache_holds_twice_as_much():
    sixteen = plan(MODELS["Llama-3.3-70B"], "BM.GPU.H100.8", 2, max_model_len=8192)
    eight = plan(MODELS["Llama-3.3-70B"], "BM.GPU.H100.8", 2, max_model_len=8192, kv_cache_dtype="fp8")
    assert eight.kv_tokens == pytest.approx(2 * sixteen.kv_tokens, rel=0.001)


def test_windowed_layers_take_their_window_only():
    config = llama(num_hidden_layers=12, max_position_embeddings=131072)
    windowed = {**config, "layer_types": ["sliding_attention", "full_attention"] * 6, "sliding_window": 1024}
    full = plan(config, "BM.GPU.A10.4", 1, max_model_len=131072)
    half = plan(windowed, "BM.GPU.A10.4", 1, max_model_len=131072)
    assert half.stages[0].kv_bytes_per_token == full.stages[0].kv_bytes_per_token
    # 6 full layers of 131072 tokens, and 6 with 1023 tokens and two batches of 2048.
    per_request = 131072 + -(-(1023 + 2 * 2048) // 16) * 16 + 16
    assert half.kv_tokens / full.kv_tokens == pytest.approx(2 * 131072 / per_request, rel=0.001)


def test_layers_of_several_widths_share_one_pool():
    # Gemma 4 26B: of 30 layers 5 see everything (2 heads of 512), 25 a window (8 heads of 256).
    found = plan(published("google--gemma-4-26B-A4B"), "BM.GPU.H100.8", 1, max_model_len=65536)
    (stage,) = found.stages
    assert stage.kv_bytes_per_token == 25 * 1 * 256 * 2 * 2 + 5 * 1 * 512 * 2 * 2
    # Six groups of five layers; a block is as large as 16 tokens of a wide layer, or 32 of a narrow one.
    blocks = stage.available_bytes // (5 * 512 * 2 * 2 * 16) - 1
    window = -(-(1023 + 2 * 8192) // 32) + 1
    assert found.concurrent == pytest.approx(blocks / (65536 // 16 + 5 * window), abs=0.01)


def test_constant_states_are_counted():
    found = plan(published("Qwen--Qwen3.5-122B-A10B"), "BM.GPU.H100.8", 1, max_model_len=8192)
    (stage,) = found.stages
    # 36 linear layers: 3 tokens of convolution over 2 x 16 x 128 + 64 x 128 values, and 64 x 128 x 128 of 4 bytes.
    state = (3 * (2 * 16 * 128 + 64 * 128) * 2 + 64 * 128 * 128 * 4) // 8
    assert stage.state_bytes_per_request == 36 * state
    assert found.fits


def test_mamba_layers_keep_a_third_state_since_checkpoints_of_a_prefill():
    config = published("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    old, new = (
        memory_plan(read_model(config, vllm=version), shape("BM.GPU.H100.8"), 8, 2, MemoryOptions(overhead_gib=4))
        for version in ("0.26.0", "0.32.0")
    )
    assert new.concurrent < old.concurrent
    # The states of a linear layer stay two.
    qwen = published("Qwen--Qwen3.5-122B-A10B")
    before, after = (
        memory_plan(read_model(qwen, vllm=version), shape("BM.GPU.H100.8"), 8, 2, MemoryOptions(overhead_gib=4))
        for version in ("0.26.0", "0.32.0")
    )
    assert before.concurrent == after.concurrent


def test_sparse_attention_in_8_bits():
    model = read_model(GLM, vllm="0.26.0")

    def per_token(name, **options):
        return memory_plan(model, shape(name), 8, 2, MemoryOptions(**options)).stages[0].kv_bytes_per_token

    layers, indexed = 39, 12
    assert per_token("BM.GPU.H200.8") == layers * 576 * 2 + indexed * 132
    assert per_token("BM.GPU.H200.8", kv_cache_dtype="fp8") == layers * 656 + indexed * 132
    assert per_token("BM.GPU.B200.8") == layers * 576 + indexed * 132


def test_a_shape_whose_gpu_memory_is_not_known():
    model = read_model(llama())
    unknown = replace(shape("BM.GPU.A10.4"), gpu_memory_gib=None, gpu="")
    found = memory_plan(model, unknown, 4, 2)
    assert found.fits
    assert [fault.code for fault in found.warnings] == ["gpu_memory_unknown"]
    assert memory_plan(model, unknown, 4, 2, MemoryOptions(gpu_memory_gib=22.0)).kv_tokens > 0
    assert fewest_nodes(model, unknown) is None


def test_a_model_whose_cache_is_not_known():
    model = read_model({"model_type": "odd", "num_hidden_layers": 4}, {"metadata": {"total_size": 4 * GIB}})
    found = memory_plan(model, shape("BM.GPU.A10.4"), 4, 2)
    assert found.fits
    assert found.kv_tokens == 0


def test_mla_absorbs_copies():
    model = read_model(published("deepseek-ai--DeepSeek-V3"))
    (stage,) = memory_plan(model, shape("BM.GPU.H200.8"), 8, 1, MemoryOptions(overhead_gib=5)).stages
    # Per layer 128 heads x (128 + 128) x 512 in 16 bits, divided by 8 GPUs.
    assert stage.overhead_bytes == 5 * GIB + 61 * 128 * 256 * 512 * 2 // 8


@st.composite
def uniform_models(draw: st.DrawFn):
    """Models all of whose layers are alike, dense or with experts, with full attention or MLA."""
    heads = draw(st.sampled_from([8, 16, 32, 64]))
    config = llama(
        num_hidden_layers=draw(st.integers(1, 96)),
        hidden_size=draw(st.sampled_from([1024, 4096, 8192])),
        num_attention_heads=heads,
        num_key_value_heads=draw(st.sampled_from([1, 2, 4, 8])),
        head_dim=128,
        intermediate_size=draw(st.sampled_from([2048, 14336, 28672])),
        vocab_size=draw(st.integers(1000, 200_000)),
        tie_word_embeddings=draw(st.booleans()),
        max_position_embeddings=draw(st.sampled_from([2048, 32768, 131072])),
    )
    if draw(st.booleans()):
        config |= {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8}
    if draw(st.booleans()):
        config |= {"model_type": "deepseek_v3", "kv_lora_rank": 512, "q_lora_rank": None, "n_routed_experts": 0}
        config |= {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "first_k_dense_replace": 0}
    return read_model(config)


@given(uniform_models(), st.sampled_from(SHAPES), st.integers(1, 11))
def test_another_node_never_lowers_the_capacity(model, found, nodes):
    # Not so for windowed layers: each further stage has one more batch in flight, which they hold.
    assume(len(model.layers) > nodes)
    options = MemoryOptions(max_model_len=min(2048, model.max_length or 2048))
    before = memory_plan(model, found, found.gpus, nodes, options)
    after = memory_plan(model, found, found.gpus, nodes + 1, options)
    assert after.kv_tokens >= before.kv_tokens
    assert after.max_context >= before.max_context
    assert after.fits or not before.fits


@given(uniform_models(), st.sampled_from(SHAPES), st.integers(1, 6))
def test_a_plan_that_fits_keeps_its_word(model, found, nodes):
    assume(len(model.layers) >= nodes)
    assume(not check_parallelism(model, found, found.gpus, nodes).faults)
    result = memory_plan(model, found, found.gpus, nodes)
    assert bool(result.faults) == (not result.fits)
    if not result.fits or any(fault.code == "may_not_fit" for fault in result.warnings):
        return
    for stage in result.stages:
        assert 0 < stage.available_bytes == stage.usable_bytes - stage.weights_bytes - stage.overhead_bytes
        assert result.context * stage.kv_bytes_per_token <= stage.available_bytes
    assert result.context <= (model.max_length or 0)
    assert result.concurrent >= 1
    assert sum(stage.layers for stage in result.stages) == len(model.layers)
