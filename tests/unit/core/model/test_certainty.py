# SPDX-License-Identifier: GPL-3.0-or-later
"""Certainty is earned: whole published configurations against vLLM's own numbers, and what makes a plan unsure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.model.facts import ModelFacts
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import layers_per_stage
from tests.unit.core.configurations import DATA, llama, published

WHOLE = json.loads((DATA / "whole_configurations.json").read_text())
NUMBERS = json.loads((DATA / "whole_numbers.json").read_text())["rows"]
GIB = 1 << 30
# Families and classes that the planner does not know, and quantizations whose bytes it cannot tell.
UNSURE = {
    "MiniMaxAI--MiniMax-M3": "model_type_unknown",
    "deepseek-ai--DeepSeek-V4-Flash": "model_type_unknown",
    "moonshotai--Kimi-K3": "model_type_unknown",
    "nvidia--Qwen3.6-35B-A3B-NVFP4": "quantization_uncertain",
    "stepfun-ai--Step-3.7-Flash-FP8": "model_type_unknown",
}


def codes(model: ModelFacts) -> list[str]:
    return [fault.code for fault in model.warnings]


def bare(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without its quantization, also in its text part."""
    return {
        name: bare(value) if name == "text_config" else value
        for name, value in config.items()
        if name != "quantization_config"
    }


@pytest.mark.parametrize("name", WHOLE)
def test_which_whole_configurations_are_certain(name):
    model = read_model(WHOLE[name]["config"], hf_quant_config=WHOLE[name].get("hf_quant_config"))
    assert model.certain is (name not in UNSURE)
    if not model.certain:
        assert UNSURE[name] in codes(model)


@pytest.mark.parametrize(
    ("name", "tensor", "pipeline", "stage", "weights_gib", "kv_bytes", "state_bytes", "form"),
    NUMBERS,
    ids=[f"{row[0]}-tp{row[1]}-pp{row[2]}-stage{row[3]}-{row[7]}" for row in NUMBERS],
)
def test_no_number_is_certain_and_wrong(name, tensor, pipeline, stage, weights_gib, kv_bytes, state_bytes, form):
    entry = WHOLE[name]
    model = read_model(
        bare(entry["config"]) if form == "removed" else entry["config"],
        hf_quant_config=entry.get("hf_quant_config") if form == "published" else None,
    )
    per_stage = layers_per_stage(len(model.layers), pipeline)
    first = sum(per_stage[:stage])
    held = model.layers[first : first + per_stage[stage]]
    if not model.certain:
        assert codes(model)
        return
    assert model.weight_bytes(tensor, first, first + len(held)) / GIB == pytest.approx(weights_gib, rel=0.01)
    element = model.kv_element()
    if kv_bytes is not None:
        assert sum(layer.kv_bytes_per_token(tensor, element) for layer in held) == kv_bytes
    if state_bytes is not None:
        assert sum(layer.state_bytes(tensor, 2, model.recurrent_element) for layer in held) == state_bytes


@given(
    st.sampled_from(sorted(set(WHOLE) - set(UNSURE))),
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=20).map("zz_".__add__),
    st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=3) | st.just({"depth": 2}),
    st.sampled_from(["text", "vision_config", "quantization_config"]),
)
def test_an_unknown_field_never_changes_a_certain_plan_in_silence(name, field, value, part):
    config = json.loads(json.dumps(WHOLE[name]["config"]))
    where = config.get("text_config", config) if part == "text" else config.get(part)
    if where is None or (part == "quantization_config" and not value):
        return
    where[field] = value
    model = read_model(config, hf_quant_config=WHOLE[name].get("hf_quant_config"))
    assert not model.certain
    assert any(field in warning.found for warning in model.warnings)


def test_what_a_field_left_out_means_is_vllms_default_or_unsure():
    # A list of layers under another name than the family's is a field that is not known.
    config = WHOLE["nvidia--Nemotron-H-56B-Base-8K"]["config"]
    renamed = {("layer_pattern" if name == "hybrid_override_pattern" else name): config[name] for name in config}
    model = read_model(renamed)
    assert not model.certain
    assert any("layer_pattern" in warning.found for warning in model.warnings)
    assert {layer.attention for layer in model.layers} == {"full"}


@pytest.mark.parametrize("name", ["layers_block_type", "layer_types"])
def test_layers_that_are_listed_decide(name):
    kinds = ["mamba", "moe", "mamba", "attention", "mlp"] * 4
    config = WHOLE["nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16"]["config"]
    config = {key: value for key, value in config.items() if key != "layers_block_type"} | {name: kinds}
    model = read_model(config)
    assert model.certain
    assert [layer.attention for layer in model.layers[:5]] == ["mamba", "none", "mamba", "full", "none"]
    assert [layer.feed_forward for layer in model.layers[:5]] == ["none", "experts", "none", "none", "dense"]
    assert len(model.layers) == 20
    other = read_model({**config, "num_hidden_layers": 4})
    assert len(other.layers) == 20
    assert codes(other)[0] == "layers_uncertain"


def index_of(layers: int, modules: tuple[str, ...] = ("self_attn.q_proj", "mlp.up_proj"), at: str = "model.layers"):
    names = [f"{at}.{layer}.{module}.weight" for layer in range(layers) for module in modules]
    return {"weight_map": {name: f"model-{number % 4}.safetensors" for number, name in enumerate(names)}}


@pytest.mark.parametrize(
    ("layers", "predicted", "fault"),
    [(8, 0, []), (9, 0, ["layers_beyond"]), (9, 1, []), (10, 1, ["layers_beyond"]), (7, 0, ["layers_missing"])],
)
def test_the_index_has_the_layers_that_the_configuration_says(layers, predicted, fault):
    model = read_model(llama(num_nextn_predict_layers=predicted), index_of(layers))
    assert [found.code for found in model.faults] == fault


def test_layers_of_a_tower_are_not_those_of_the_model():
    index = index_of(8)
    index["weight_map"] |= index_of(40, at="visual.blocks")["weight_map"]
    index["weight_map"] |= index_of(40, at="model.audio_tower.layers")["weight_map"]
    index["weight_map"] |= index_of(2, at="mtp.layers")["weight_map"]
    assert not read_model(llama(), index).faults


def test_a_layer_that_lacks_a_tensor_of_its_like():
    index = index_of(8)
    del index["weight_map"]["model.layers.5.mlp.up_proj.weight"]
    faults = read_model(llama(), index).faults
    assert [fault.code for fault in faults] == ["tensors_missing"]
    assert "layers.5.mlp.up_proj" in faults[0].found
    # Of a family that is not known it is a doubt: its layers may be of kinds that the planner cannot tell apart.
    unknown = read_model(llama(model_type="brandnew"), index)
    assert not unknown.faults
    assert "tensors_missing" in codes(unknown)


def test_an_expert_and_a_scale_that_lack():
    modules = tuple(f"mlp.experts.{expert}.up_proj" for expert in range(16))
    index = index_of(8, modules)
    index["weight_map"] |= {f"{name}_scale_inv": file for name, file in index["weight_map"].items()}
    config = llama(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    assert not read_model(config, index).faults
    whole = dict(index["weight_map"])
    del index["weight_map"]["model.layers.3.mlp.experts.7.up_proj.weight_scale_inv"]
    assert "layers.3.mlp.experts.*.up_proj, its scale" in read_model(config, index).faults[0].found
    lacking = {name: file for name, file in whole.items() if ".3.mlp.experts.7.up_proj.weight" not in name}
    assert "layers.3.mlp.experts.*.up_proj" in read_model(config, {"weight_map": lacking}).faults[0].found
    # A layer that the quantization leaves out has no scale.
    left_out = {**config["quantization_config"], "modules_to_not_convert": ["model.layers.3"]}
    plain = {name: file for name, file in whole.items() if not (".3." in name and name.endswith("_inv"))}
    assert not read_model(llama(quantization_config=left_out), {"weight_map": plain}).faults


def test_an_unknown_family_keeps_all_tokens_in_every_layer():
    config = llama(model_type="brandnew", sliding_window=128, layer_types=["sliding_attention"] * 8)
    model = read_model(config)
    assert {layer.attention for layer in model.layers} == {"full"}
    assert not model.known


def test_a_known_family_with_a_class_of_its_own_is_not_known():
    model = read_model(llama(architectures=["SomebodysLlamaForCausalLM"]))
    assert not model.certain
    assert not model.known
    assert codes(model)[0] == "class_unknown"


def test_a_tower_that_is_not_known_lies_whole_on_each_gpu():
    text = {**llama(), "hidden_size": 8192}
    vision = {"hidden_size": 3200, "num_hidden_layers": 45, "intermediate_size": 12800, "num_attention_heads": 25}
    config = {"architectures": ["InternVLForConditionalGeneration"], "model_type": "internvl", "text_config": text}
    model = read_model({**config, "vision_config": vision})
    alone = read_model({**config, "architectures": ["LlamaForCausalLM"]})
    tower = 45 * (4 * 3200**2 + 2 * 3200 * 12800) * 2
    assert model.weight_bytes(8, 0, 8) - alone.weight_bytes(8, 0, 8) == pytest.approx(tower, rel=0.02)
    assert not model.certain


def test_blocks_of_several_widths_are_planned_as_they_are():
    model = read_model(WHOLE["nvidia--Llama-3_3-Nemotron-Super-49B-v1"]["config"])
    assert model.certain
    assert sum(1 for layer in model.layers if layer.attention == "full") == 49
    assert {layer.kv_heads for layer in model.layers if layer.kv_heads} == {8}
    assert model.checkpoint_bytes == pytest.approx(99.73e9, rel=0.001)
    widths = [sum(layer.width for layer in model.layers[start : start + 40]) for start in (0, 40)]
    assert widths[0] > 1.5 * widths[1]


def test_an_index_of_sparse_attention_lies_on_some_layers_only():
    config = WHOLE["zai-org--GLM-5.2"]["config"]
    assert sum(1 for layer in read_model(config).layers if layer.indexer_bytes) == 21
    # vLLM before it shared the index builds one on every layer.
    assert all(layer.indexer_bytes for layer in read_model(config, vllm="0.22.0").layers)
    pattern = {**config, "index_topk_pattern": "F" + "S" * 77}
    assert sum(1 for layer in read_model(pattern).layers if layer.indexer_bytes) == 1


def test_a_tied_model_with_a_head_of_its_own():
    index = {"weight_map": {"lm_head.weight": "a", "model.embed_tokens.weight": "a"}}
    assert read_model(llama(tie_word_embeddings=True), index, vllm="0.26.0").tied
    assert not read_model(llama(tie_word_embeddings=True), index, vllm="0.29.0").tied


def test_a_cache_of_the_checkpoints_own_type():
    scheme = {"dynamic": False, "num_bits": 8, "type": "float"}
    for quantization, element in (
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": scheme}, 1),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {**scheme, "dynamic": True}}, 2),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "NVFP4"}, 0.5625),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, 2),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": scheme}, 1),
        ({"quant_method": "fp8"}, 2),
    ):
        assert read_model(llama(quantization_config=quantization)).kv_element() == element
    stated = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    assert read_model(llama(), hf_quant_config=stated).kv_element() == 1
    assert read_model(llama(), hf_quant_config=stated).kv_element("bfloat16") == 2
    assert read_model(llama()).kv_element("fp8_e4m3") == 1


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model.", "model.", ""])
def test_patterns_of_modules_that_are_left_out_whatever_their_prefix(prefix):
    config = llama(
        quantization_config={
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "ignore": [f"{prefix}layers.0.self_attn*", f"{prefix}layers.1.mlp.up_proj", "re:.*layers\\.2\\..*"],
        }
    )
    first, second, third, fourth = read_model(config).inventory.layers[:4]
    plain = [
        {weight.name for weight in group if weight.columns > 1 and not weight.converted} for group in (first, second)
    ]
    assert plain[0] == {f"self_attn.{name}_proj.weight" for name in "qkvo"}
    assert plain[1] == {"mlp.up_proj.weight"}
    assert not any(weight.converted for weight in third)
    assert any(weight.converted for weight in fourth)


def test_targets_of_a_scheme():
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    group = {"targets": ["re:.*mlp.*"], "weights": weights}
    config = llama(quantization_config={"quant_method": "compressed-tensors", "config_groups": {"group_0": group}})
    model = read_model(config)
    assert model.certain
    names = {weight.name.split(".")[0] for weight in model.inventory.layers[0] if weight.converted}
    assert names == {"mlp"}
    odd = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {**group, "targets": ["LlamaMLP"]}}}
    assert "quantization_uncertain" in codes(read_model(llama(quantization_config=odd)))


def test_kernels_fill_up_the_experts_of_mxfp4():
    # Logs: gpt-oss-20b 13.47 GiB and gpt-oss-120b 64.38 to 65.97 on one H100, 20b 13.72 on one A100; 17.22 a GPU on four A100.
    small, large = (read_model(published(name)) for name in ("openai--gpt-oss-120b", "openai--gpt-oss-120b"))
    assert large.served((9, 0)).weight_bytes(1, 0, 36) / GIB == pytest.approx(64.4, rel=0.01)
    assert large.served((8, 0)).weight_bytes(4, 0, 36) / GIB == pytest.approx(17.22, rel=0.01)
    twenty = read_model(WHOLE["openai--gpt-oss-20b"]["config"])
    assert twenty.served((9, 0)).weight_bytes(1, 0, 24) / GIB == pytest.approx(13.47, rel=0.01)
    assert twenty.served((8, 0)).weight_bytes(1, 0, 24) / GIB == pytest.approx(13.72, rel=0.01)
    assert small.weight_bytes(1, 0, 36) < small.served((10, 0)).weight_bytes(1, 0, 36)


def test_files_that_are_shorter_than_the_index_states():
    config, whole = llama(), read_model(llama()).checkpoint_bytes
    index = {"metadata": {"total_size": whole}, "weight_map": {"lm_head.weight": "a.safetensors"}}
    short = read_model(config, index, [{"name": "a.safetensors", "size": whole // 2}])
    assert [fault.code for fault in short.faults] == ["weights_short"]
    assert not read_model(config, index, [{"name": "a.safetensors", "size": whole + 40_000}]).faults
    # An index that was written for another form of the weights: the files are as the configuration says.
    index["metadata"]["total_size"] = 2 * whole
    stale = read_model(config, index, [{"name": "a.safetensors", "size": whole + 40_000}])
    assert not stale.faults
    assert codes(stale) == ["size_differs"]
    assert not stale.certain


def test_checkpoints_of_terabytes():
    model = read_model(llama(), {"metadata": {"total_size": 3 * 10**12}, "weight_map": {}})
    assert model.checkpoint_bytes == 3 * 10**12
    assert read_model(llama(), None, [{"name": "a.safetensors", "size": 2 * 10**12}]).checkpoint_bytes == 2 * 10**12


@pytest.mark.parametrize(
    ("model_type", "architecture", "changes", "kinds", "certain"),
    [
        ("qwen3", "Qwen3ForCausalLM", {"max_window_layers": 8}, {"full"}, True),
        ("qwen3", "Qwen3ForCausalLM", {"max_window_layers": 4}, {"full"}, False),
        ("qwen3_moe", "Qwen3MoeForCausalLM", {}, {"full"}, False),
        ("llama", "LlamaForCausalLM", {}, {"full", "sliding"}, True),
        ("mistral", "MistralForCausalLM", {}, {"full", "sliding"}, True),
    ],
)
def test_windows_of_some_layers_count_where_the_class_gives_each_layer_its_own(
    model_type: str, architecture: str, changes: dict, kinds: set, certain: bool
) -> None:
    types = {"layer_types": ["sliding_attention", "full_attention"] * 4, "sliding_window": 1024}
    config = llama(model_type=model_type, architectures=[architecture], use_sliding_window=True, **types, **changes)
    model = read_model(config, vllm="0.32.0")
    assert {layer.attention for layer in model.layers} == kinds
    assert ("layers_uncertain" not in [warning.code for warning in model.warnings]) == certain


@pytest.mark.parametrize(
    ("model_type", "architecture", "changes", "certain"),
    [
        (
            "granitemoe",
            "GraniteMoeForCausalLM",
            {"head_dim": 80, "num_local_experts": 4, "num_experts_per_tok": 2},
            False,
        ),
        ("qwen2", "Qwen2ForCausalLM", {"head_dim": 80}, False),
        ("qwen2", "Qwen2ForCausalLM", {"head_dim": 128}, True),
        ("qwen3", "Qwen3ForCausalLM", {"head_dim": 80}, True),
        ("llama", "LlamaForCausalLM", {"layer_types": ["full_attention"] * 9}, False),
        ("llama", "LlamaForCausalLM", {"layer_types": ["full_attention"] * 8}, True),
    ],
)
def test_what_the_class_reads_otherwise_is_not_certain(
    model_type: str, architecture: str, changes: dict[str, Any], certain: bool
) -> None:
    model = read_model(llama(model_type=model_type, architectures=[architecture], **changes), vllm="0.32.0")
    assert ("layers_uncertain" not in [warning.code for warning in model.warnings]) == certain


@pytest.mark.parametrize(("vllm", "window"), [("0.26.0", 1024), ("0.29.0", 1025)])
def test_a_window_of_cohere_is_as_long_as_the_version_makes_it(vllm: str, window: int) -> None:
    config = llama(
        model_type="cohere2", architectures=["Cohere2ForCausalLM"], sliding_window=1024, sliding_window_pattern=4
    )
    assert {layer.window for layer in read_model(config, vllm=vllm).layers} == {0, window}


@pytest.mark.parametrize(
    ("algorithm", "vllm", "supported"),
    [
        ("FP8", "0.12.0", True),
        ("NVFP4", "0.32.0", True),
        ("FP8_PB_WO", "0.18.0", True),
        ("FP8_PB_WO", "0.12.0", False),
        # vLLM has the method, and does not read it in this form.
        ("MXFP8", "0.32.0", False),
        ("NVFP4_AWQ", "0.32.0", False),
        ("MIXED_PRECISION", "0.32.0", False),
        ("MIXED_PRECISION", "0.33.0", True),
    ],
)
def test_the_older_form_of_modelopt_has_few_algorithms(algorithm: str, vllm: str, supported: bool):
    stated = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": algorithm}}
    read = read_model(llama(quantization_config=stated), vllm=vllm).quantization
    assert read is not None and bool(read.supported) is supported
    # In a file of its own each is read.
    beside = read_model(llama(), hf_quant_config=stated, vllm="0.33.0").quantization
    assert beside is not None and beside.supported is not False


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
@pytest.mark.parametrize("nested", [False, True])
def test_where_the_quantization_may_stand(key: str, nested: bool):
    fp8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    text = llama(model_type="mistral", **({key: fp8} if nested else {}))
    whole = {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "text_config": text}
    read = read_model({**whole, **({} if nested else {key: fp8})}).quantization
    assert read is not None and read.method == "fp8"
