# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan warns of: one thing that is odd, and its message."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import Facts

from ..plans import LLAMA_70B, RAY_LLM, facts, of, on, plan

WARNED: list[tuple[str, Facts | None, dict[str, Any], str]] = [
    (
        "fewer_nodes_suffice",
        None,
        {},
        "recipe_node_pool_size: 4 nodes, and 1 would do; 1 of VM.GPU.A10.2 hold 161552 tokens of KV cache, these hold 983408",
    ),
    (
        "pipeline_deep",
        None,
        {},
        (
            "recipe_node_pool_size: 4 stages: each token of a request crosses 3 node boundaries, one after the other; "
            "it takes at least 4 concurrent requests to keep all GPUs busy"
        ),
    ),
    (
        "context_shortened",
        of(LLAMA_70B),
        on("BM.GPU.A10.4", 4, 2),
        (
            "context: 17408 tokens, the model was made for 131072; 18416 are sure to fit, and 70848 may; more nodes or GPUs with "
            "more memory hold more"
        ),
    ),
    (
        "mla_repeated",
        of("deepseek-ai--DeepSeek-V3"),
        on("BM.GPU.H200.8", 8, 2),
        (
            "recipe_nvidia_gpu_count: the latent KV cache of this model lies on each of the 8 GPUs of a node as a whole; more "
            "nodes give more cache, more GPUs a node do not"
        ),
    ),
    (
        "pipeline_unknown",
        of(architectures=["NewForCausalLM"]),
        {},
        (
            "config.json architectures: NewForCausalLM, of which the planner does not know whether vLLM divides it over nodes; "
            "vLLM says at its start if it does not"
        ),
    ),
    (
        "image_without_ray",
        None,
        {"recipe_image_uri": "docker.io/vllm/vllm-openai:v0.26.0"},
        (
            "recipe_image_uri: docker.io/vllm/vllm-openai:v0.26.0, which comes without Ray since 0.18; a group needs Ray: use "
            f"{RAY_LLM}:2.58.0-py312-cu130, or add Ray to the image (docs/images.md)"
        ),
    ),
    (
        "image_unknown",
        None,
        {"recipe_image_uri": "docker.io/me/vllm:1"},
        (
            "recipe_image_uri: docker.io/me/vllm:1, whose Ray, vLLM and CUDA are not known; say in image_contents what it holds, "
            "and the plan checks the model and the options against its vLLM"
        ),
    ),
    (
        "image_old",
        None,
        on("VM.GPU.A10.2", 2, 2, recipe_image_uri=f"{RAY_LLM}:2.55.1-py312-cu128"),
        (
            f"recipe_image_uri: {RAY_LLM}:2.55.1-py312-cu128 with vLLM 0.18.0; the programs in the pods are tried with vLLM 0.22 "
            "and newer"
        ),
    ),
    (
        "quantization_not_native",
        of("Qwen--Qwen3-235B-A22B-FP8"),
        on("BM.GPU.A100-v2.8", 8, 1, recipe_container_command_args=["--enable-expert-parallel"]),
        (
            "recipe_node_shape: A100-80 has no arithmetic for fp8: the weights are unpacked at each use; GPUs of compute "
            "capability 8.9 compute in it and are faster"
        ),
    ),
    (
        "expert_group_cut",
        of("Qwen--Qwen3-235B-A22B", quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128}),
        on("BM.GPU.A100-v2.8", 8, 1),
        (
            "recipe_nvidia_gpu_count: 192 columns of an expert for each of 8 GPUs, expected a multiple of 128, the awq group; not "
            "every kernel can; give vLLM --enable-expert-parallel, or use fewer GPUs a node and more nodes"
        ),
    ),
    (
        "model_type_unknown",
        of(model_type="brandnew"),
        {},
        (
            "config.json model_type: brandnew, which the planner does not know, expected a known family; its memory is estimated "
            "from the files' sizes, with full attention in every layer; leave a margin"
        ),
    ),
    (
        "layers_uncertain",
        of(layer_types=["odd_attention"] * 32),
        {},
        (
            "config.json, the kinds of its layers: odd_attention, expected kinds that the planner knows; these layers are planned "
            "with full attention, which needs the most memory"
        ),
    ),
    (
        "quantization_uncertain",
        of(quantization_config={"quant_method": "somethingnew"}),
        {"recipe_image_uri": "docker.io/me/vllm:1"},
        (
            "config.json quantization_config: somethingnew, whose bytes per weight the planner cannot tell; the weights' size is "
            "taken from the files; leave a margin"
        ),
    ),
    (
        "kv_unknown",
        of(num_attention_heads=None, num_key_value_heads=None, hidden_size=None),
        {},
        (
            "config.json num_attention_heads: no usable sizes of the attention; the KV cache cannot be planned; vLLM says at its "
            "start what fits"
        ),
    ),
    (
        "size_computed",
        of(),
        {},
        (
            "the model's files: no sizes given, expected an index or a file list; the weights are computed from config.json "
            "alone; a quantization it does not name would not be seen"
        ),
    ),
    (
        "size_differs",
        facts(model={**facts().model, "index": {**facts().model["index"], "metadata": {"total_size": 40 * 2**30}}}),
        {},
        (
            "model.safetensors.index.json: 42.9 GB of weights, expected 16.1 GB, as the files have and the configuration says; "
            "the plan goes by the files; check whether the index belongs to them"
        ),
    ),
    (
        "variable_overridden",
        None,
        {"recipe_container_env": [{"key": "NCCL_SOCKET_IFNAME", "value": "eth1"}]},
        "recipe_container_env[0].key: NCCL_SOCKET_IFNAME, in place of the plan's eth0",
    ),
    (
        "shape_unknown",
        None,
        on("BM.GPU.X9.2", 2, 4),
        (
            "recipe_node_shape: BM.GPU.X9.2, whose CPUs and memory are not known; whether the pods fit on such nodes is not known "
            "either; those that do not stay Pending"
        ),
    ),
    (
        "shape_unknown",
        None,
        on("VM.GPU.A1.2", 2, 4),
        (
            "recipe_node_shape: VM.GPU.A1.2, whose CPUs and memory are not known; did you mean VM.GPU.A10.2? If not: whether the "
            "pods fit on such nodes is not known either; those that do not stay Pending"
        ),
    ),
    (
        "gpu_memory_unknown",
        None,
        on("BM.GPU.X9.2", 2, 4),
        (
            "recipe_node_shape: BM.GPU.X9.2, whose GPU memory is not known; whether the model fits is not known; vLLM tells "
            "at its start"
        ),
    ),
    (
        "newer_choice",
        facts(deployment={"choices": {"image": f"{RAY_LLM}:2.57.0-py312-cu128"}}),
        {},
        (
            f"image: {RAY_LLM}:2.57.0-py312-cu128, kept, expected {RAY_LLM}:2.58.0-py312-cu130 for a new deployment; take it with "
            "adopt_defaults: true"
        ),
    ),
]


@pytest.mark.parametrize(("code", "found", "changes", "message"), WARNED, ids=[entry[0] for entry in WARNED])
def test_one_thing_that_a_plan_warns_of(code: str, found: Facts | None, changes: dict[str, Any], message: str) -> None:
    made = plan(found, **changes)
    assert [Fault(**entry).line() for entry in made["warnings"] if entry["code"] == code] == [message]


@pytest.mark.parametrize(("endpoint", "warned"), [("http://mirror.example", True), ("https://mirror.example", False)])
def test_a_mirror_that_anybody_on_the_way_can_change_is_warned_of(endpoint: str, warned: bool) -> None:
    found = facts()
    found.model = {**found.model, "source": {**found.model["source"], "endpoint": endpoint}}
    assert ("source_without_tls" in [warning["code"] for warning in plan(found)["warnings"]]) == warned
