# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading configurations: the published ones exactly, odd ones honestly, any without a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.model.checkpoint import BESIDE, places
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.memory import memory_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import (
    check_parallelism,
    layers_per_stage,
)
from tests.unit.core.configurations import DATA, PUBLISHED, llama, published, without_quantization

NUMBERS = json.loads((DATA / "vllm_numbers.json").read_text())["rows"]
FAMILIES = json.loads((DATA / "families.json").read_text())
GIB = 1 << 30


def codes(model) -> list[str]:
    return [fault.code for fault in model.warnings]


@pytest.mark.parametrize(
    ("name", "tensor", "pipeline", "stage", "weights_gib", "kv_bytes", "bare"),
    NUMBERS,
    ids=[f"{row[0]}-tp{row[1]}-pp{row[2]}-stage{row[3]}" for row in NUMBERS],
)
def test_the_numbers_of_vllm_itself(name, tensor, pipeline, stage, weights_gib, kv_bytes, bare):
    config = published(name)
    model = read_model(without_quantization(config) if bare else config)
    per_stage = layers_per_stage(len(model.layers), pipeline)
    first = sum(per_stage[:stage])
    last = first + per_stage[stage]
    # Asked for: within 1 %.
    assert model.weight_bytes(tensor, first, last) / GIB == pytest.approx(weights_gib, rel=0.002)
    if kv_bytes is not None:
        assert sum(layer.kv_bytes_per_token(tensor, 2) for layer in model.layers[first:last]) == kv_bytes


@pytest.mark.parametrize("name", FAMILIES)
def test_families_as_vllm_builds_them(name):
    # Measured like the numbers above, with 8 layers of the published widths: [tensor, pipeline, stage, GiB, bytes].
    model = read_model(FAMILIES[name]["config"])
    assert model.certain
    for tensor, pipeline, stage, weights_gib, kv_bytes in FAMILIES[name]["rows"]:
        per_stage = layers_per_stage(len(model.layers), pipeline)
        first = sum(per_stage[:stage])
        last = first + per_stage[stage]
        assert model.weight_bytes(tensor, first, last) / GIB == pytest.approx(weights_gib, rel=0.0015)
        assert sum(layer.kv_bytes_per_token(tensor, 2) for layer in model.layers[first:last]) == kv_bytes


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_configuration_is_known(name):
    model = read_model(published(name))
    assert model.certain
    assert model.kv_known
    assert model.supports_pipeline
    # Neither an index nor a file list is given: that alone is warned of.
    assert codes(model) == ["size_computed"]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        # Checkpoint sizes in bytes: published on the model cards, or parameters times two.
        ("meta-llama--Meta-Llama-3.1-8B", 16_060_522_496),
        ("meta-llama--Meta-Llama-3.1-405B", 811_706_777_600),
        ("Qwen--Qwen3-235B-A22B", 470_187_269_120),
        ("mistralai--Mixtral-8x7B-v0.1", 93_405_585_408),
        ("openai--gpt-oss-120b", 65_248_815_744),
    ],
)
def test_the_size_of_the_checkpoint(name, total):
    model = read_model(published(name))
    assert model.checkpoint_bytes == pytest.approx(total, rel=1e-4)
    assert model.checkpoint_source == "computed"


def test_deepseek_holds_a_prediction_layer_that_is_not_served():
    # model.safetensors.index.json of DeepSeek-V3 states 688.6e9 bytes: 15.4e9 of them are the layer for speculation.
    config = published("deepseek-ai--DeepSeek-V3")
    model = read_model(config, {"metadata": {"total_size": 688_586_727_753}, "weight_map": {}})
    assert model.certain
    assert model.checkpoint_source == "index"
    assert codes(model) == []
    assert model.layer_scale == 1


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("meta-llama--Meta-Llama-3.1-8B", 131072),  # llama3 scaling: the stated length is the scaled one
        ("deepseek-ai--DeepSeek-V3", 163840),  # yarn: the same
        ("Qwen--Qwen3-VL-235B-A22B-Instruct", 262144),  # in text_config
        ("google--gemma-4-26B-A4B", 262144),
    ],
)
def test_the_longest_context(name, length):
    assert read_model(published(name)).max_length == length


def test_the_longest_context_of_odd_configurations():
    linear = llama(rope_scaling={"type": "linear", "factor": 4.0})
    assert read_model(linear).max_length == 4 * 32768
    assert read_model(llama(max_position_embeddings=None)).max_length is None
    long = llama(model_type="phi3", rope_scaling={"type": "longrope"}, original_max_position_embeddings=4096)
    assert read_model(long).default_length == 4096
    assert read_model(long).max_length == 32768


def test_kinds_of_layers():
    def kinds(name: str) -> list[str]:
        return [layer.attention for layer in read_model(published(name)).layers]

    assert kinds("meta-llama--Meta-Llama-3.1-8B") == ["full"] * 32
    assert kinds("deepseek-ai--DeepSeek-V3") == ["mla"] * 61
    assert kinds("openai--gpt-oss-120b")[:4] == ["sliding", "full", "sliding", "full"]
    assert kinds("Qwen--Qwen3.5-122B-A10B")[:4] == ["linear"] * 3 + ["full"]
    assert kinds("meta-llama--Llama-4-Scout-17B-16E-Instruct")[:4] == ["chunked"] * 3 + ["full"]
    hybrid = read_model(published("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8"))
    assert [layer.attention for layer in hybrid.layers][:8] == ["mamba", "none"] * 3 + ["mamba", "full"]
    assert hybrid.layers[1].feed_forward == "experts"


def test_dense_layers_among_experts():
    model = read_model(published("deepseek-ai--DeepSeek-V3"))
    assert [layer.feed_forward for layer in model.layers[:5]] == ["dense"] * 3 + ["experts"] * 2


def test_windows_of_families_that_list_no_layer_types():
    gemma = read_model(llama(model_type="gemma3_text", sliding_window=1024, num_hidden_layers=12))
    assert [layer.window for layer in gemma.layers] == ([1024] * 5 + [0]) * 2
    mistral = read_model(llama(model_type="mistral", sliding_window=4096))
    assert {layer.attention for layer in mistral.layers} == {"sliding"}
    unused = read_model(llama(model_type="qwen2", sliding_window=4096, use_sliding_window=False))
    assert {layer.attention for layer in unused.layers} == {"full"}


@pytest.mark.parametrize(
    ("quantization", "method", "bytes_per_weight"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 1 + 4 / 16384),
        ({"quant_method": "fp8"}, "fp8", 1),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 0.5 + 2.5 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 1),
        ({"quant_method": "mxfp4"}, "mxfp4", 0.53125),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
            },
            "compressed-tensors",
            0.5625,
        ),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}, "modelopt_fp4", 0.5625),
        ({"quant_method": "somethingnew"}, "somethingnew", 0),
    ],
)
def test_quantizations(quantization, method, bytes_per_weight):
    model = read_model(llama(quantization_config=quantization))
    assert model.quantization is not None
    assert model.quantization.method == method
    assert model.quantization.bytes_per_weight == pytest.approx(bytes_per_weight)
    assert model.certain == (bytes_per_weight > 0)


def test_modules_that_are_not_converted():
    config = llama(
        quantization_config={"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0", "re:.*o_proj"]}
    )
    model = read_model(config)
    first, second = model.inventory.layers[0], model.inventory.layers[1]
    assert not any(weight.converted for weight in first)
    assert {weight.name for weight in second if weight.columns > 1 and not weight.converted} == {
        "self_attn.o_proj.weight"
    }


def test_a_separate_modelopt_file():
    config = published("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    stated = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    half = read_model(config, hf_quant_config=stated).checkpoint_bytes
    assert half == pytest.approx(read_model(config).checkpoint_bytes / 2, rel=0.05)


def test_an_unknown_family_goes_by_its_files():
    files = [{"name": "model-00001-of-00002.safetensors", "size": 9 * GIB}, {"name": "b.safetensors", "size": GIB}]
    model = read_model(llama(model_type="brandnew", architectures=["BrandNewForCausalLM"]), None, files)
    assert not model.certain
    assert codes(model) == ["model_type_unknown"]
    assert model.supports_pipeline is None
    whole = model.weight_bytes(1, 0, 8)
    assert whole == pytest.approx(10 * GIB, rel=0.01)
    assert model.weight_bytes(8, 0, 8) == pytest.approx(whole / 8, rel=0.01)


def test_an_unknown_family_without_sizes_of_its_parts():
    config = {"architectures": ["Odd"], "model_type": "odd", "num_hidden_layers": 10}
    model = read_model(config, {"metadata": {"total_size": 20 * GIB}, "weight_map": {}})
    assert not model.certain
    assert not model.kv_known
    assert {"model_type_unknown", "kv_unknown"} <= set(codes(model))
    assert model.weight_bytes(2, 0, 5) == pytest.approx(5 * GIB, rel=0.01)


def test_layers_are_counted_in_the_index_where_the_configuration_does_not_say():
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(7)] + ["visual.blocks.31.attn.weight"]
    model = read_model({"model_type": "odd"}, {"weight_map": dict.fromkeys(names, "a.safetensors")})
    assert len(model.layers) == 7


def test_a_checkpoint_that_is_larger_than_its_configuration_says():
    model = read_model(llama(), {"metadata": {"total_size": 40 * GIB}, "weight_map": {}})
    assert codes(model) == ["size_differs"]
    assert not model.certain
    assert model.weight_bytes(1, 0, 8) == pytest.approx(40 * GIB, rel=0.01)


def test_only_what_is_served_counts():
    size = read_model(llama()).checkpoint_bytes
    files = [
        {"name": "model-00001-of-00001.safetensors", "size": size + 40_000},
        {"name": "original/consolidated.00.pth", "size": size},
        {"name": "consolidated.safetensors", "size": size},
        {"name": "pytorch_model.bin", "size": size},
    ]
    model = read_model(llama(), None, files)
    assert model.checkpoint_bytes == size + 40_000
    assert model.certain


def test_what_is_stored_in_32_bits_is_served_in_16():
    config = llama(torch_dtype="float32")
    size = 2 * read_model(llama()).checkpoint_bytes
    model = read_model(config, {"metadata": {"total_size": size}, "weight_map": {}})
    assert model.certain
    assert model.dtype == "bfloat16"
    assert model.weight_bytes(1, 0, 8) == pytest.approx(size / 2, rel=0.001)


@pytest.mark.parametrize(
    ("given_top", "weight_map", "tied"),
    [
        (True, None, True),
        (False, None, False),
        (None, None, False),
        (None, {"a": "f"}, True),
        (None, {"lm_head.weight": "f"}, False),
    ],
)
def test_tied_embeddings(given_top, weight_map, tied):
    config = llama(tie_word_embeddings=given_top)
    assert read_model(config, weight_map and {"weight_map": weight_map}).tied is tied


@pytest.mark.parametrize(
    "config", [{}, {"num_hidden_layers": 0}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": "80"}]
)
def test_a_configuration_without_layers_is_refused(config):
    with pytest.raises(Refused, match="num_hidden_layers"):
        read_model(config)


FIELDS = sorted(
    {
        name
        for stem in PUBLISHED
        for part in (published(stem), published(stem).get("text_config", {}), published(stem).get("vision_config", {}))
        for name in part
    }
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
SIZES = st.integers(0, 3) | st.sampled_from([8, 16, 61, 64, 128, 1000, 4096, 152064])


@st.composite
def odd_configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A published configuration in which some fields are anything at all."""
    config = published(draw(st.sampled_from(PUBLISHED)))
    parts = [config, *[config[name] for name in ("text_config", "vision_config") if name in config]]
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=6)):
        draw(st.sampled_from(parts))[name] = draw(ANYTHING | SIZES)
    return config


@given(odd_configurations(), st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 2, 5]), ANYTHING, ANYTHING)
def test_no_configuration_gives_a_traceback(config, tensor, pipeline, index, files):
    shape = find_shape("BM.GPU.H100.8")
    assert shape is not None
    try:
        model = read_model(
            config,
            index if isinstance(index, dict) else None,
            files if isinstance(files, list) else (),
        )
        check_parallelism(model, shape, tensor, pipeline)
        plan = memory_plan(model, shape, tensor, pipeline)
    except Refused as refused:
        assert refused.faults
        assert all(fault.line() for fault in refused.faults)
        return
    assert model.certain or model.warnings
    assert plan.kv_tokens >= 0
    assert plan.max_context >= 0
    assert plan.fits or plan.faults
    if not model.kv_known:
        assert "kv_unknown" in codes(model)


@pytest.mark.parametrize(
    "name",
    [
        "vision_model.encoder.layers.44.attn.qkv.weight",
        "model.vision_tower.transformer.layers.23.attention.q_proj.weight",
        "projector.layers.2.weight",
        "model.connector.layers.0.weight",
        "aligner.layers.0.weight",
        "patch_merger.layers.0.weight",
        "perceive_sampler.layers.1.weight",
        "model.video_tower.layers.33.weight",
        "model.moonvit.blocks.26.weight",
        "talker.model.layers.19.mlp.gate.weight",
        "encoder.layers.15.attn.to_q.weight",
    ],
)
def test_layers_of_what_stands_beside_the_language_model(name: str) -> None:
    assert list(places([name])) == [BESIDE]


@pytest.mark.parametrize(
    "name",
    [
        "model.language_model.layers.3.mlp.up_proj.weight",
        "thinker.model.layers.3.mlp.gate.weight",
        "transformer.h.3.attn.c_attn.weight",
        "model.transformer.blocks.3.ff_proj.weight",
        "transformer.encoder.layers.3.mlp.dense_h_to_4h.weight",
        "model.layers.3.adapter.weight",
        "model.layers.3.feed_forward.merger.weight",
    ],
)
def test_layers_of_the_decoder(name: str) -> None:
    assert list(places([name])) == [3]
