# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipe and facts in, plan out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.planning.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.planning.plan import Facts

from .plans import SHARDS, facts, plan
from .recipes import PAR

PARAMS = "recipe_raycluster_params"


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_the_published_sample() -> None:
    made = plan()
    assert made["deployment"]["name"] == made["deployment"]["namespace"] == "rayclustervmtest"
    assert made["parallelism"] == {"tensor": 2, "pipeline": 4, "layers_per_stage": [8, 8, 8, 8]}
    arguments = made["engine"]["args"]
    assert option(arguments, "--tensor-parallel-size") == "2"
    assert option(arguments, "--pipeline-parallel-size") == "4"
    assert option(arguments, "--distributed-executor-backend") == "ray"
    assert option(arguments, "--port") == "8000"
    # The path itself is served as a name too: that is how clients of the published sample call the model.
    assert made["model"]["served_names"] == ["Meta-Llama-3.1-8B-Instruct", made["model"]["path"]]
    assert made["pod"]["cpu"] == 52, "26 OCPUs of x86 are 52 vCPUs"
    assert made["pod"]["memory_gib"] == 400
    assert made["expected"]["cost"]["nodes"] == pytest.approx(4 * 2 * 2.0)
    # Four boot volumes of 800 GB and four model volumes of 500, balanced, 730 hours a month.
    volumes = 4 * (800 + 500) * (0.0255 + 10 * 0.0017) / 730
    assert made["expected"]["usd_per_hour"] == pytest.approx(16 + volumes, abs=0.001)
    assert made["limit"] == {"name": "gpu-a10-count", "gpus": 8}
    assert made["image"] == {
        "name": "docker.io/rayproject/ray-llm:2.58.0-py312-cu130",
        "ray": "2.58.0",
        "vllm": "0.26.0",
        "python": "3.12",
        "cuda": "13.0",
        "least_driver": 580,
        "least_compute_capability": "7.5",
    }
    assert made["staging"]["by_stage"] and [files[0] for files in made["staging"]["shards_per_stage"]] == SHARDS


def test_the_node_pool_is_what_oci_is_asked_for() -> None:
    pool = plan()["node_pool"]
    assert pool["node_source_details"]["boot_volume_size_in_gbs"] == 800
    assert pool["node_config_details"]["size"] == 4
    assert pool["freeform_tags"]["multinode-inference-deployment"] == "rayclustervmtest"
    script = base64.b64decode(pool["node_metadata"]["user_data"]).decode()
    assert script.index("oci-growfs") < script.index("oke_init_script"), "the kubelet reports the disk that it sees"


def test_no_secret_is_in_the_plan() -> None:
    assert PAR not in json.dumps(plan()) and "s3cr3t" not in json.dumps(plan())


def test_the_same_recipe_gives_the_same_hash_and_another_does_not() -> None:
    assert plan()["deployment"]["hash"] == plan()["deployment"]["hash"]
    assert plan()["deployment"]["hash"] != plan(recipe_container_port=9000)["deployment"]["hash"]


def test_what_a_deployment_was_made_with_is_kept_and_todays_choice_said() -> None:
    found = facts(deployment={"choices": {"image": "docker.io/rayproject/ray-llm:2.57.0-py312-cu128"}})
    made = plan(found)
    assert made["pod"]["image"].endswith(":2.57.0-py312-cu128")
    assert made["pod"]["ray_version"] == "2.57.0"
    assert {warning["where"] for warning in made["warnings"] if warning["code"] == "newer_choice"} == {"image"}
    assert plan(found, recipe_image_uri="docker.io/me/vllm:1")["pod"]["image"] == "docker.io/me/vllm:1"


def test_without_a_provisioner_no_pool_is_planned() -> None:
    made = plan(facts(cloud=None), node_provisioner="none", oke_cluster_id=None)
    assert made["node_pool"] is None
    assert made["pod"]["node_selector"] == {"node.kubernetes.io/instance-type": "VM.GPU.A10.2"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"recipe_node_shape": "VM.Standard.E5.Flex"}, "shape"),
        ({"recipe_node_shape": "BM.GPU.MI300X.8"}, "vendor"),
        ({"recipe_node_shape": "VM.GPU.A10.1"}, "gpu_count"),
        ({f"{PARAMS}__head_node_num_cpus": 40, f"{PARAMS}__worker_node_num_cpus": 40}, "cpu"),
        ({f"{PARAMS}__head_node_cpu_mem_in_gbs": 479, f"{PARAMS}__worker_node_cpu_mem_in_gbs": 479}, "memory"),
        ({"recipe_ephemeral_storage_size": 790}, "ephemeral_storage"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(**changes)
    assert code in [fault.code for fault in refused.value.faults]


def test_a_volume_that_cannot_hold_the_model_is_refused() -> None:
    found = facts()
    big = {**found.model, "files": [{"name": "model.safetensors", "size": 600 * 2**30}]}
    with pytest.raises(Refused) as refused:
        plan(Facts(model=big, cloud=found.cloud))
    (fault,) = [fault for fault in refused.value.faults if fault.code == "volume_too_small"]
    assert fault.line() == (
        "input_object_storage[0].volume_size_in_gbs: 500, expected at least 632 for the model's 644.2 GB; raise it"
    )
