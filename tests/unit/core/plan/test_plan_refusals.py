# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan refuses: one thing that is wrong, and its message."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts

from ..plans import DOMAINS, LLAMA_70B, LLAMA_405B, PARAMS, RAY_LLM, cluster, facts, of, on, plan

REFUSED: list[tuple[Facts | None, dict[str, Any], str]] = [
    (
        None,
        on("BM.GPU.MI300X.8", 8, 2),
        "recipe_node_shape: BM.GPU.MI300X.8 has MI300X GPUs, expected NVIDIA GPUs; AMD is not supported yet",
    ),
    (
        None,
        on("VM.GPU.A10.1", 2, 4, 10, 100),
        (
            "recipe_nvidia_gpu_count: 2, expected 1, since the shape VM.GPU.A10.1 has 1; the pods take whole nodes; choose the "
            "shape by the GPUs you want"
        ),
    ),
    (
        None,
        on("VM.GPU.A10.2", 2, 4, cpus=30),
        f"{PARAMS}.head_node_num_cpus: 30, expected at most 29 OCPUs on VM.GPU.A10.2; lower it, and worker_node_num_cpus",
    ),
    (
        None,
        on("VM.GPU.A10.2", 2, 4, memory=453),
        (
            f"{PARAMS}.head_node_cpu_mem_in_gbs: 453, expected at most 452 on VM.GPU.A10.2; lower it, and "
            "worker_node_cpu_mem_in_gbs"
        ),
    ),
    (
        None,
        {"recipe_ephemeral_storage_size": 681},
        (
            "recipe_ephemeral_storage_size: 681, expected at most 680 with a boot volume of 800 GB; lower it, or raise "
            "recipe_node_boot_volume_size_in_gbs"
        ),
    ),
    (
        of(LLAMA_405B),
        on("BM.GPU.A10.4", 4, 4),
        (
            "4 x BM.GPU.A10.4: 47.5 GiB of weights for each GPU of stage 1, expected at most 19.1 GiB; use 12 nodes of "
            "BM.GPU.A10.4; or choose 2 x BM.GPU.A100-v2.8, 3 x BM.GPU.B4.8, 1 x BM.GPU.H200.8"
        ),
    ),
    (
        of(LLAMA_70B),
        on("BM.GPU.A10.4", 4, 2, recipe_max_model_length=131072),
        (
            "2 x BM.GPU.A10.4: KV cache for 18416 tokens beside the weights, at best for 70848, expected at least 131072; use 3 "
            "nodes of BM.GPU.A10.4; or choose 6 x VM.GPU.A10.2, 1 x BM.GPU.B4.8, 2 x BM.GPU.L40S-NC.4; or ask for at most 18416 "
            "tokens of context"
        ),
    ),
    (
        None,
        {"recipe_max_model_length": 200000},
        (
            "recipe_max_model_length: 200000 tokens, expected at most 131072, for which the model was made; ask for a shorter "
            "context; vLLM refuses a longer one"
        ),
    ),
    (
        of(num_hidden_layers=3),
        {},
        (
            "recipe_node_pool_size: 4 pipeline stages, expected from 1 to 3, the model's layers; use fewer nodes; "
            "1 x VM.GPU.A10.2, 1 x VM.GPU.A10.1, 1 x BM.GPU.L40S-NC.4, 1 x BM.GPU.B4.8 would serve it"
        ),
    ),
    (
        of(architectures=["Gemma3nForCausalLM"]),
        {},
        (
            "config.json architectures: Gemma3nForCausalLM, which vLLM does not run with pipeline parallelism, expected a class "
            "that supports it; use one node whose GPUs hold the model; 1 x VM.GPU.A10.2, 1 x VM.GPU.A10.1, 1 x BM.GPU.L40S-NC.4, "
            "1 x BM.GPU.B4.8 would serve it"
        ),
    ),
    (
        of(num_attention_heads=36, num_key_value_heads=4, head_dim=128),
        on("BM.GPU.H100.8", 8, 2),
        (
            "recipe_nvidia_gpu_count: 8 GPUs for 36 attention heads, expected a divisor of 36; choose a shape with such a number "
            "of GPUs; 1 x VM.GPU.A10.1, 1 x BM.GPU.L40S-NC.4 would serve it"
        ),
    ),
    (
        of(num_attention_heads=24, num_key_value_heads=6, head_dim=128),
        on("BM.GPU.A10.4", 4, 2),
        (
            "recipe_nvidia_gpu_count: 4 GPUs for 6 key/value heads, expected a divisor or a multiple of 6; choose a shape with "
            "such a number of GPUs; 1 x VM.GPU.A10.1 would serve it"
        ),
    ),
    (
        of(intermediate_size=14337),
        {},
        (
            "recipe_nvidia_gpu_count: 2 GPUs for 14337 columns of the feed-forward, expected a divisor of 14337; choose a shape "
            "with such a number of GPUs; 1 x VM.GPU.A10.1 would serve it"
        ),
    ),
    (
        of(quantization_config={"quant_method": "hqq"}),
        {},
        (
            "config.json quantization_config: hqq, which the image's vLLM does not have, expected a method that it has; use the "
            "model in another form, or another image"
        ),
    ),
    (
        None,
        on("VM.GPU3.2", 2, 2, 10, 120, recipe_container_command_args=["--dtype", "bfloat16"]),
        (
            "recipe_node_shape: V100, compute capability 7.0, for a model in bfloat16, expected at least 8.0; choose a shape "
            "with newer GPUs, or give vLLM --dtype half; 1 x VM.GPU.A10.1, 1 x BM.GPU.L40S-NC.4, 1 x BM.GPU.B4.8 would serve it"
        ),
    ),
    (
        None,
        on("VM.GPU2.1", 1, 4, 8, 50),
        (
            "recipe_node_shape: P100, compute capability 6.0, expected at least 7.0; choose a shape with newer GPUs; "
            "1 x VM.GPU.A10.1, 1 x BM.GPU.L40S-NC.4, 1 x BM.GPU.B4.8 would serve it"
        ),
    ),
    (
        of("openai--gpt-oss-120b"),
        on("BM.GPU3.8", 8, 2, 40, 500, recipe_container_command_args=["--dtype", "half"]),
        (
            "recipe_node_shape: V100, compute capability 7.0, for mxfp4 weights, expected at least 8.0; choose a shape with "
            "newer GPUs, or the model in another form; 1 x BM.GPU.A10.4, 1 x BM.GPU.L40S-NC.4, 1 x BM.GPU.B4.8 would serve it"
        ),
    ),
    (
        of(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128}, intermediate_size=29568),
        {},
        (
            "recipe_nvidia_gpu_count: 14784 columns of the feed-forward for each of 2 GPUs, expected a multiple of 128, the awq "
            "group; use fewer GPUs a node and more nodes, or the model in another form; 1 x VM.GPU.A10.1 would serve it"
        ),
    ),
    (
        of(architectures=["OwnForCausalLM"], auto_map={"AutoModel": "own.Own"}),
        {},
        (
            "recipe_trust_remote_code: not given, and OwnForCausalLM comes with Python code of its own, expected true, since "
            "vLLM may not know the class otherwise; read the code in the model's folder; set it if you trust it to run in the "
            "pods"
        ),
    ),
    (
        of(architectures=["BaichuanForCausalLM"]),
        {},
        (
            "config.json architectures: BaichuanForCausalLM, which vLLM 0.26.0 no longer has, expected an image with vLLM 0.23.0 "
            "or older; name one in recipe_image_uri, or use another model"
        ),
    ),
    (
        None,
        on("BM.GPU.GB200.4", 4, 2),
        (
            f"recipe_image_uri: {RAY_LLM}:2.58.0-py312-cu130, which is for x86, and BM.GPU.GB200.4 has Arm processors, expected "
            "an image for Arm with Ray and vLLM; name one, or choose a shape with x86 processors"
        ),
    ),
    (
        of(num_hidden_layers=None),
        {},
        (
            "config.json num_hidden_layers: None, expected a number from 1 to 2048; give the configuration of a decoder model; "
            "without its layers no pipeline stage can be planned"
        ),
    ),
    (
        None,
        {"prices": {"gpu_hour": "much"}},
        "prices.gpu_hour: 'much', expected US dollars, a number; correct prices.gpu_hour",
    ),
    (
        None,
        {
            **on("BM.GPU.X9.2", 2, 4),
            "recipe_node_pool_size": "auto",
            f"{PARAMS}__num_worker_nodes": None,
        },
        (
            "recipe_node_pool_size: auto, and how many nodes of BM.GPU.X9.2 it takes is not known, expected a number; give the "
            "number of nodes"
        ),
    ),
]


@pytest.mark.parametrize(("found", "changes", "message"), REFUSED, ids=[entry[2][:60] for entry in REFUSED])
def test_one_thing_that_forbids_the_plan(found: Facts | None, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(found, **changes)
    assert [fault.line() for fault in refused.value.faults] == [message]


def test_a_shape_that_is_not_in_the_table_is_taken_as_the_service_lists_it() -> None:
    listed = {
        "shape": "VM.GPU.L40S.2",
        "gpus": 2,
        "gpu_description": "NVIDIA L40S",
        "ocpus": 56,
        "memory_in_gbs": 512,
        "processor_description": "2.0 GHz Intel Xeon",
    }
    found = facts(cluster=cluster(shapes={DOMAINS[0]: listed}))
    made = plan(found, **on("VM.GPU.L40S.2", 2, 2, 50, 400))
    assert "shape_unknown" not in [warning["code"] for warning in made["warnings"]]
    assert made["memory"]["kv_tokens"] and made["expected"]["usd_per_hour"] is None
    with pytest.raises(Refused) as refused:
        plan(found, **on("VM.GPU.L40S.2", 2, 2, 56, 400))
    assert [fault.line() for fault in refused.value.faults] == [
        f"{PARAMS}.head_node_num_cpus: 56, expected at most 55 OCPUs on VM.GPU.L40S.2; lower it, and worker_node_num_cpus"
    ]


def test_estimates_give_way_to_what_is_given() -> None:
    usual, given = plan()["memory"]["per_gpu"][0], plan(gpu_overhead_mib=3072)["memory"]["per_gpu"][0]
    assert usual["overhead_low_bytes"] < usual["overhead_bytes"]
    assert given["overhead_low_bytes"] == given["overhead_bytes"] == 3 * 2**30
    unknown = on("BM.GPU.X9.2", 2, 4)
    assert plan(**unknown)["memory"]["kv_tokens"] == 0
    same = {"gpu_overhead_mib": 3072}
    assert plan(**unknown, gpu_memory_mib=22528, **same)["memory"]["kv_tokens"] == plan(**same)["memory"]["kv_tokens"]
    tight = on("VM.GPU.A10.2", 2, 4, cpus=29, memory=452)
    plan(**tight)
    for setting in ({"node_pods_vcpus": 3}, {"node_pods_memory_gb": 4}):
        with pytest.raises(Refused):
            plan(**tight, **setting)
    # The GPUs of other shapes are what they are.
    with pytest.raises(Refused) as refused:
        plan(of(LLAMA_405B), **on("BM.GPU.A10.4", 4, 4), gpu_memory_mib=23000)
    assert "1 x BM.GPU.H200.8" in str(refused.value)
