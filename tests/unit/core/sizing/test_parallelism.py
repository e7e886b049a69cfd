# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers over stages, heads over GPUs, files over nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.options import MemoryOptions
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import (
    check_parallelism,
    layers_per_stage,
    stage_files,
    ways_to_divide,
)
from tests.unit.core import checkpoints
from tests.unit.core.configurations import PUBLISHED, llama, published


def check(config, shape="BM.GPU.H100.8", tensor=8, pipeline=2, vllm="0.26.0", **options):
    found = find_shape(shape)
    assert found is not None
    return check_parallelism(read_model(config, vllm=vllm), found, tensor, pipeline, MemoryOptions(**options))


def codes(faults) -> list[str]:
    return [fault.code for fault in faults]


@pytest.mark.parametrize(
    ("layers", "stages", "parts"),
    [
        (61, 2, [31, 30]),
        (61, 3, [20, 21, 20]),
        (61, 4, [15, 15, 16, 15]),
        (80, 3, [27, 27, 26]),
        (126, 4, [31, 32, 32, 31]),
        (94, 4, [23, 24, 24, 23]),
        (32, 1, [32]),
        (7, 7, [1] * 7),
    ],
)
def test_layers_as_vllm_divides_them(layers, stages, parts):
    assert layers_per_stage(layers, stages) == parts


def test_layers_as_they_are_asked_for():
    assert layers_per_stage(61, 3, (22, 20, 19)) == [22, 20, 19]
    # Where another number of nodes is tried the wish says nothing.
    assert layers_per_stage(61, 2, (22, 20, 19)) == [31, 30]


@given(st.integers(1, 300), st.integers(1, 40))
def test_stages_cover_all_layers_once(layers, stages):
    if stages > layers:
        with pytest.raises(Refused, match="pipeline stages"):
            layers_per_stage(layers, stages)
        return
    parts = layers_per_stage(layers, stages)
    assert len(parts) == stages
    assert sum(parts) == layers
    assert max(parts) - min(parts) <= 1
    # The last stage has the head and never more layers than the others.
    assert parts[-1] == min(parts)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_run_on_eight_gpus_and_two_nodes(name):
    assert codes(check(published(name), vllm="0.32.0").faults) == []


@pytest.mark.parametrize(
    ("changes", "tensor", "code"),
    [
        ({"num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}, 8, "heads_not_divisible"),
        ({"num_attention_heads": 40, "num_key_value_heads": 10, "hidden_size": 5120}, 4, "kv_heads_not_divisible"),
        ({"intermediate_size": 18_900}, 8, "intermediate_not_divisible"),
        ({"vocab_size": 64}, 128, "vocabulary_not_divisible"),
    ],
)
def test_what_tensor_parallelism_must_divide(changes, tensor, code):
    config = llama(**{"num_attention_heads": 128, "num_key_value_heads": 8, **changes})
    assert code in codes(check(config, tensor=tensor).faults)


def test_heads_are_repeated_where_there_are_more_gpus():
    assert codes(check(llama(num_key_value_heads=2), tensor=8).faults) == []
    assert codes(check(llama(num_key_value_heads=8), tensor=2).faults) == []


def test_the_text_of_a_fault():
    fault = check(llama(num_attention_heads=36, hidden_size=4608, num_key_value_heads=4), tensor=8).faults[0]
    assert fault.line() == (
        "recipe_nvidia_gpu_count: 8 GPUs for 36 attention heads, expected a divisor of 36; "
        "choose a shape with such a number of GPUs"
    )


def test_hybrid_layers_must_be_divisible_too():
    config = published("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    assert codes(check(config, tensor=16, pipeline=1).faults) == ["mamba_groups_not_divisible"]
    assert codes(check({**config, "n_groups": 1}, tensor=16, pipeline=1).faults) == []


def test_pipeline_parallelism_of_the_class():
    without = llama(architectures=["Gemma3nForCausalLM"])
    assert codes(check(without).faults) == ["pipeline_not_supported"]
    assert codes(check(without, pipeline=1).faults) == []
    unknown = llama(architectures=["NewForCausalLM"], model_type="new")
    assert codes(check(unknown).warnings) == ["pipeline_unknown"]
    assert codes(check(llama(), pipeline=9).faults) == ["too_many_stages"]


def test_mla_is_repeated_on_every_gpu():
    assert "mla_repeated" in codes(check(published("deepseek-ai--DeepSeek-V3")).warnings)
    assert "mla_repeated" not in codes(check(published("deepseek-ai--DeepSeek-V3"), tensor=1).warnings)


FP8, INT4 = {"num_bits": 8, "type": "float"}, {"num_bits": 4, "type": "int", "group_size": 128}


def compressed(weights, inputs=None):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("quantization", "shape", "tensor", "vllm", "faults"),
    [
        ({"quant_method": "fp8"}, "BM.GPU.H100.8", 8, "0.26.0", []),
        ({"quant_method": "fp8"}, "BM.GPU.A10.4", 4, "0.26.0", []),
        ({"quant_method": "fp8"}, "BM.GPU3.8", 8, "0.12.0", ["quantization_needs_newer_gpu"]),
        ({"quant_method": "mxfp4"}, "BM.GPU3.8", 8, "0.12.0", ["quantization_needs_newer_gpu"]),
        # By version: ModelOpt's FP8 wants 8.9, and 8.0 from 0.27 on.
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "BM.GPU4.8", 8, "0.26.0", ["quantization_needs_newer_gpu"]),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8"},
            "BM.GPU.A10.4",
            4,
            "0.26.0",
            ["quantization_needs_newer_gpu"],
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "BM.GPU.L40S.4", 4, "0.26.0", []),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "BM.GPU4.8", 8, "0.32.0", []),
        # By scheme: the method itself runs on 7.0.
        (compressed(INT4), "BM.GPU3.8", 8, "0.12.0", ["quantization_needs_newer_gpu"]),
        (compressed(FP8, FP8), "BM.GPU3.8", 8, "0.12.0", ["quantization_needs_newer_gpu"]),
        (compressed(FP8, FP8), "BM.GPU4.8", 8, "0.12.0", []),
        (
            compressed({"num_bits": 8, "type": "int"}, {"num_bits": 8}),
            "BM.GPU3.8",
            8,
            "0.12.0",
            ["quantization_needs_newer_gpu"],
        ),
        # A method that came or went.
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "BM.GPU.H100.8", 8, "0.26.0", []),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            "BM.GPU.H100.8",
            8,
            "0.32.0",
            ["quantization_not_supported"],
        ),
        ({"quant_method": "somethingnew"}, "BM.GPU.H100.8", 8, "0.26.0", ["quantization_not_supported"]),
        ({"quant_method": "somethingnew"}, "BM.GPU.H100.8", 8, None, []),
        ({"quant_method": "auto-round", "bits": 4}, "BM.GPU.H100.8", 8, "0.26.0", []),
        (None, "BM.GPU2.2", 2, "0.12.0", ["gpu_too_old"]),
    ],
)
def test_quantization_and_gpu_by_version_and_scheme(quantization, shape, tensor, vllm, faults):
    assert codes(check(llama(quantization_config=quantization), shape, tensor, vllm=vllm or "").faults) == faults


def test_weights_that_are_unpacked_at_each_use_are_said():
    findings = check(llama(quantization_config={"quant_method": "fp8"}), "BM.GPU.A10.4", 4)
    assert codes(findings.warnings) == ["quantization_not_native"]


def test_bfloat16_on_a_v100_needs_another_type():
    # vLLM falls back by itself where nobody asks for bfloat16, but for families that float16 does not serve.
    assert codes(check(llama(), "BM.GPU3.8").warnings) == ["bfloat16_not_supported"]
    assert codes(check(llama(), "BM.GPU3.8").faults) == []
    assert codes(check(llama(), "BM.GPU3.8", dtype="bfloat16").faults) == ["bfloat16_not_supported"]
    assert codes(check(llama(model_type="gemma2"), "BM.GPU3.8").faults) == ["bfloat16_not_supported"]
    assert check(llama(), "BM.GPU3.8", dtype="half").warnings == []
    assert codes(check(llama(torch_dtype="float16"), "BM.GPU3.8").faults) == []


def test_what_shares_a_scale_is_not_cut():
    # Qwen2.5-72B with groups of 128: 29568 = 231 x 128 cannot be divided.
    awq = llama(intermediate_size=29568, quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})
    assert codes(check(awq, tensor=8).faults) == ["group_cut"]
    assert codes(check(awq, tensor=1).faults) == []


BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}
GROUPS = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}
COMPRESSED = {"quant_method": "compressed-tensors", "config_groups": {"a": {"targets": ["Linear"], "weights": GROUPS}}}


@pytest.mark.parametrize(
    ("width", "tensor", "vllm", "quantization", "faults"),
    [
        # Qwen3-235B-A22B-FP8: 1536 / 8 = 192 is no multiple of 128. Finer blocks of 64 since vLLM 0.29.
        (1536, 8, "0.26.0", BLOCKS, ["expert_group_cut"]),
        (1536, 8, "0.28.0", BLOCKS, ["expert_group_cut"]),
        (1536, 8, "0.29.0", BLOCKS, []),
        (1536, 8, "0.32.0", BLOCKS, []),
        (1536, 4, "0.26.0", BLOCKS, []),
        # 1200 / 8 = 150: no common divisor with 128 of at least 32.
        (1200, 8, "0.32.0", BLOCKS, ["expert_group_cut"]),
        (1536, 8, "0.32.0", COMPRESSED, ["expert_group_cut"]),
    ],
)
def test_experts_in_blocks_are_cut_by_the_images_vllm(width, tensor, vllm, quantization, faults):
    config = {
        **published("Qwen--Qwen3-235B-A22B-FP8"),
        "moe_intermediate_size": width,
        "quantization_config": quantization,
    }
    assert codes(check(config, tensor=tensor, vllm=vllm).faults) == faults
    assert not check(config, tensor=tensor, vllm=vllm, expert_parallel=True).faults


def test_a_remedy_was_tried_before_it_is_named():
    shape = find_shape("BM.GPU.H100.8")
    fp8 = read_model(published("Qwen--Qwen3-235B-A22B-FP8"), vllm="0.26.0")
    assert ways_to_divide(fp8, shape, 8, 2, MemoryOptions()) == ["--enable-expert-parallel"]
    assert ways_to_divide(read_model(GLM_V, vllm="0.26.0"), shape, 8, 1, MemoryOptions()) == [
        "--mm-encoder-tp-mode data"
    ]
    assert ways_to_divide(read_model(SHARED, vllm="0.26.0"), shape, 8, 1, MemoryOptions()) == []


# The shared expert is 512 wide: 64 on each of 8 GPUs, half a block of 128.
SHARED = {
    **published("Qwen--Qwen3.5-122B-A10B"),
    "quantization_config": {**BLOCKS, "modules_to_not_convert": ["model.visual"]},
}
SHARED["text_config"] = {
    **SHARED["text_config"],
    "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 512,
}
GLM_V = {
    "architectures": ["Glm4vMoeForConditionalGeneration"],
    "model_type": "glm4v_moe",
    "text_config": {"model_type": "glm4v_moe_text", "dtype": "bfloat16"},
    "vision_config": {
        "depth": 24,
        "hidden_size": 1536,
        "num_heads": 12,
        "intermediate_size": 10944,
        "out_hidden_size": 4096,
        "patch_size": 14,
        "image_size": 336,
        "spatial_merge_size": 2,
    },
}


@pytest.mark.parametrize("expert_parallel", [False, True])
@pytest.mark.parametrize("vllm", ["0.26.0", "0.32.0"])
def test_the_shared_expert_is_cut_whether_or_not_experts_are(expert_parallel, vllm):
    findings = check(SHARED, tensor=8, vllm=vllm, expert_parallel=expert_parallel)
    assert codes(findings.faults) == ["group_cut"]
    assert "the shared expert" in findings.faults[0].found
    assert not check(SHARED, "BM.GPU.L40S.4", tensor=4, vllm=vllm, expert_parallel=expert_parallel).faults


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"intermediate_size": 18432 + 512}, "the feed-forward"),
        # 128 heads of 136 + 128: 4224 rows on each of 8 GPUs are 33 blocks, of 140 + 128 they are none.
        ({"qk_nope_head_dim": 141}, "the attention"),
        (
            {"moe_intermediate_size": 2048, "n_shared_experts": 1, "shared_expert_intermediate_size": 640},
            "the shared expert",
        ),
    ],
)
def test_every_part_is_cut_at_its_blocks(changes, part):
    findings = check({**published("deepseek-ai--DeepSeek-V3"), **changes}, tensor=8)
    assert codes(findings.faults) == ["group_cut"]
    assert part in findings.faults[0].found


def test_linear_attention_is_cut_at_its_blocks():
    config = {**SHARED, "text_config": {**SHARED["text_config"], "shared_expert_intermediate_size": 1024}}
    assert not check(config, tensor=8).faults
    config["text_config"] |= {"linear_key_head_dim": 96}
    assert [fault.found for fault in check(config, tensor=8).faults] == [
        "192 columns of the linear attention for each of 8 GPUs"
    ]


def test_the_heads_of_a_vision_tower():
    for vllm in ("0.26.0", "0.32.0"):
        assert codes(check(GLM_V, tensor=8, pipeline=1, vllm=vllm).faults) == ["vision_heads_not_divisible"]
    assert not check(GLM_V, tensor=4, pipeline=1).faults
    assert not check(GLM_V, tensor=8, pipeline=1, encoder_whole=True).faults
    # 3422 columns of its feed-forward do not divide either.
    odd = {**GLM_V, "vision_config": {**GLM_V["vision_config"], "num_heads": 16, "intermediate_size": 3422}}
    assert codes(check(odd, tensor=8, pipeline=1).faults) == ["part_not_divisible"]
    # Kimi's tower falls back by itself: each GPU has all of it.
    kimi = {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "model_type": "kimi_k25",
        "text_config": published("moonshotai--Kimi-K2-Instruct"),
        "vision_config": {
            "vt_hidden_size": 1152,
            "vt_intermediate_size": 4304,
            "vt_num_hidden_layers": 27,
            "vt_num_attention_heads": 12,
        },
    }
    assert not check(kimi, tensor=8).faults
    model = read_model(kimi)
    assert model.tower_is_whole(8)
    assert not model.tower_is_whole(4)
    whole, cut = (model.served((9, 0), tower_whole=flag).weight_bytes(8, 0, 31) for flag in (True, False))
    assert whole - cut == pytest.approx(7 / 8 * 27 * 2 * (4 * 1152**2 + 2 * 1152 * 4304), rel=0.01)


@pytest.mark.parametrize(
    ("changes", "vllm", "pipeline", "faults"),
    [
        (
            {"architectures": ["Ernie4_5_MoeForCausalLM"], "tie_word_embeddings": True},
            "0.26.0",
            2,
            ["tied_with_pipeline"],
        ),
        ({"architectures": ["Ernie4_5_MoeForCausalLM"], "tie_word_embeddings": True}, "0.26.0", 1, []),
        ({"architectures": ["Ernie4_5_MoeForCausalLM"], "tie_word_embeddings": False}, "0.26.0", 2, []),
        ({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}, "0.26.0", 2, []),
    ],
)
def test_classes_that_tie_on_a_stage_without_embedding(changes, vllm, pipeline, faults):
    assert codes(check(llama(**changes), pipeline=pipeline, vllm=vllm).faults) == faults


def test_a_stage_without_experts():
    kinds = ["mamba", "moe", "attention", "mlp"]
    config = {**published("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8"), "layers_block_type": kinds}
    del config["hybrid_override_pattern"]
    assert codes(check(config, vllm="0.32.0").faults) == ["stage_without_experts"]
    assert codes(check(config, vllm="0.29.0").faults) == []
    assert codes(check(config, vllm="0.32.0", pipeline=1).faults) == []


SMALL = {
    "llama": llama(num_hidden_layers=10),
    "llama tied": llama(num_hidden_layers=10, tie_word_embeddings=True),
    "mixtral": {**published("mistralai--Mixtral-8x7B-v0.1"), "num_hidden_layers": 6},
    "qwen3-moe": {**published("Qwen--Qwen3-235B-A22B"), "num_hidden_layers": 5, "num_experts": 16},
    "deepseek": {
        **published("deepseek-ai--DeepSeek-V3"),
        "num_hidden_layers": 7,
        "n_routed_experts": 16,
        "num_nextn_predict_layers": 0,
    },
}


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_bytes_per_stage_are_the_sum_over_its_tensors(family, stages):
    config = SMALL[family]
    sizes = checkpoints.tensors(config)
    model = read_model(config, checkpoints.index(sizes, 1 << 30))
    assert model.certain
    assert model.warnings == ()
    assert model.checkpoint_bytes == sum(sizes.values())
    inventory = model.inventory
    first = 0
    for stage, count in enumerate(layers_per_stage(len(model.layers), stages)):
        held = tuple(f"model.layers.{layer}." for layer in range(first, first + count))
        is_first, is_last = stage == 0, stage == stages - 1
        expected = sum(
            size
            for name, size in sizes.items()
            if name.startswith(held)
            or (
                name.startswith("model.embed_tokens")
                and (is_first or inventory.embedding_everywhere or (model.tied and is_last))
            )
            or (name.startswith("lm_head") and (is_last or inventory.head_everywhere))
            or (name.startswith("model.norm") and is_last)
        )
        assert model.weight_bytes(1, first, first + count) == expected
        first += count


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_stage_has_the_files_of_its_tensors(family, stages):
    config = SMALL[family]
    index = checkpoints.index(checkpoints.tensors(config), 1 << 28)
    per_stage = layers_per_stage(config["num_hidden_layers"], stages)
    files = stage_files(index["weight_map"], per_stage, config["tie_word_embeddings"], False, False)
    assert set().union(*files) == set(index["weight_map"].values())
    first = 0
    for stage, count in enumerate(per_stage):
        held = {
            file
            for name, file in index["weight_map"].items()
            if name.startswith(tuple(f"model.layers.{layer}." for layer in range(first, first + count)))
            or (
                name.startswith("model.embed")
                and (stage == 0 or (config["tie_word_embeddings"] and stage == stages - 1))
            )
            or (name.startswith(("model.norm", "lm_head")) and stage == stages - 1)
        }
        assert files[stage] == sorted(held)
        first += count


def test_classes_that_build_embedding_and_head_everywhere_get_them():
    weight_map = {
        "model.embed_tokens.weight": "embedding",
        "model.layers.0.a.weight": "first",
        "model.layers.1.a.weight": "last",
        "model.norm.weight": "norm",
        "lm_head.weight": "head",
    }
    assert stage_files(weight_map, [1, 1], False) == [
        ["embedding", "first", "head"],
        ["embedding", "head", "last", "norm"],
    ]
    assert stage_files(weight_map, [1, 1], False, False, False) == [["embedding", "first"], ["head", "last", "norm"]]
    assert stage_files(weight_map, [1, 1], True, False, False)[1] == ["embedding", "head", "last", "norm"]


def test_files_beside_the_layers():
    weight_map = {
        "model.visual.blocks.0.attn.weight": "vision",
        "multi_modal_projector.linear.weight": "projector",
        "model.language_model.layers.0.a.weight": "first",
        "model.language_model.layers.1.a.weight": "last",
        "model.language_model.layers.2.a.weight": "speculation",
        "mtp.layers.0.a.weight": "prediction",
    }
    assert stage_files(weight_map, [1, 1], False) == [["first", "projector", "vision"], ["last", "projector", "vision"]]


def test_alphabetical_files_are_scattered_but_found():
    names = sorted(f"model.layers.{layer}.a.weight" for layer in range(12))
    weight_map = {name: f"model-{place // 3}.safetensors" for place, name in enumerate(names)}
    # 0 1 10 | 11 2 3 | 4 5 6 | 7 8 9
    assert stage_files(weight_map, [6, 6], False) == [
        ["model-0.safetensors", "model-1.safetensors", "model-2.safetensors"],
        ["model-0.safetensors", "model-1.safetensors", "model-2.safetensors", "model-3.safetensors"],
    ]


TENSOR_NAMES = st.builds(
    lambda prefix, number, suffix: f"{prefix}.{number}.{suffix}",
    st.sampled_from(["model.layers", "layers", "h", "visual.blocks", "mtp.layers", "model", ""]),
    st.integers(0, 30),
    st.sampled_from(["a.weight", "norm.weight", "lm_head.weight", ""]),
)


@given(
    st.dictionaries(TENSOR_NAMES | st.text(max_size=4), st.sampled_from("abcd"), max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.booleans(),
)
def test_any_index_is_read(weight_map, per_stage, tied):
    files = stage_files(weight_map, per_stage, tied)
    assert len(files) == len(per_stage)
    assert all(names == sorted(set(names)) for names in files)


@given(st.integers(1, 16), st.integers(1, 6), st.integers(1, 256), st.integers(1, 64), st.integers(1, 40))
def test_an_accepted_division_satisfies_vllm(tensor, pipeline, heads, keys, layers):
    config = llama(
        num_attention_heads=heads,
        num_key_value_heads=keys,
        hidden_size=heads * 64,
        num_hidden_layers=layers,
        intermediate_size=heads * 256,
    )
    shape = find_shape("BM.GPU.H100.8")
    assert shape is not None
    model = read_model(config)
    if check_parallelism(model, replace(shape, gpus=tensor), tensor, pipeline).faults:
        return
    assert heads % tensor == 0
    assert keys % tensor == 0 if keys >= tensor else tensor % keys == 0
    assert heads * 256 % tensor == 0
    assert 128256 % tensor == 0
    assert pipeline <= layers
