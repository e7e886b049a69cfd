# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipe and facts in, plan out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import are_model_facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import Facts, make_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ..configurations import published
from ..plans import SHARDS, facts, plan
from ..recipes import PAR, recipe

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
    made = plan(facts(cluster=None), node_provisioner="none", oke_cluster_id=None)
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
        plan(Facts(model=big, cluster=found.cluster))
    (fault,) = [fault for fault in refused.value.faults if fault.code == "volume_too_small"]
    assert fault.line() == (
        "input_object_storage[0].volume_size_in_gbs: 500, expected at least 632 for the model's 644.2 GB; raise it"
    )


def automatic(found: Facts, **changes: Any) -> dict[str, Any]:
    """The plan where the planner is asked for the number of nodes."""
    inputs = read_inputs(recipe(**changes))
    inputs.recipe.update(recipe_node_pool_size="auto")
    inputs.recipe["recipe_raycluster_params"]["num_worker_nodes"] = None
    return make_plan(inputs, found)


def of_model(name: str, **changes: Any) -> Facts:
    """The sample's facts with the configuration of a published model, whose files are not known."""
    found = facts()
    return facts(model={**found.model, "config": published(name), "index": None, "files": []}, **changes)


def test_the_planner_is_asked_for_the_number_of_nodes() -> None:
    made = automatic(facts())
    assert made["nodes"]["count"] == made["node_pool"]["node_config_details"]["size"] == 1
    # Llama 3.1 70B: 141 GB of weights on GPUs of 22 GiB, two a node.
    made = automatic(of_model("meta-llama--Meta-Llama-3.1-70B"))
    fewer = plan(
        of_model("meta-llama--Meta-Llama-3.1-70B"),
        recipe_node_pool_size=made["nodes"]["count"] + 1,
        recipe_raycluster_params__num_worker_nodes=made["nodes"]["count"],
    )
    assert "fewer_nodes_suffice" in [warning["code"] for warning in fewer["warnings"]]
    with pytest.raises(Refused):
        plan(
            of_model("meta-llama--Meta-Llama-3.1-70B"),
            recipe_node_pool_size=made["nodes"]["count"] - 2,
            recipe_raycluster_params__num_worker_nodes=made["nodes"]["count"] - 3,
        )


def with_pool(size: int, nodes: Any) -> Facts:
    """Facts of a deployment whose pool has `size` nodes, and whose record says `nodes`."""
    return facts(deployment={"choices": {"nodes": nodes}}, own_pool={"size": size})


def test_the_number_of_nodes_is_kept() -> None:
    made = automatic(with_pool(3, 3))
    assert made["nodes"]["count"] == 3
    assert {"field": "nodes", "value": 3, "why": "the deployment was made with it"} in made["choices"]


@pytest.mark.parametrize(("size", "recorded"), [(1, 30), (0, 2), (2, "2"), (2, True), (2, -1), (2, {"a": 1})])
def test_more_nodes_than_the_pool_has_are_not_asked_for_by_an_annotation(size: int, recorded: Any) -> None:
    made = automatic(with_pool(size, recorded))
    assert made["nodes"]["count"] == 1
    (warning,) = [warning for warning in made["warnings"] if warning["code"] == "recorded_choice"]
    assert warning["where"] == "nodes"


@pytest.mark.parametrize(
    "image", ["evil.example/rayproject/ray-llm:2.57.0-py312-cu128", "docker.io/me/vllm:1", 7, ["a"], ""]
)
def test_a_recorded_image_is_another_tag_of_the_default_or_not_taken(image: Any) -> None:
    made = plan(facts(deployment={"choices": {"image": image}}))
    assert made["pod"]["image"] == plan()["pod"]["image"]
    assert "recorded_choice" in [warning["code"] for warning in made["warnings"]]


def test_where_no_number_of_nodes_serves_the_model_other_shapes_are_named() -> None:
    with pytest.raises(Refused) as refused:
        automatic(of_model("deepseek-ai--DeepSeek-V3"))
    (fault,) = refused.value.faults
    assert fault.code == "does_not_fit" and "BM.GPU" in fault.remedy


def test_prices_can_be_given() -> None:
    made = plan(prices={"gpu_hour": "1.5", "volume_gb_month": 0, "volume_vpu_month": 0})
    assert made["expected"]["usd_per_hour"] == pytest.approx(4 * 2 * 1.5)
    assert made["deployment"]["hash"] == plan()["deployment"]["hash"], "a price restarts nothing"
    with pytest.raises(Refused) as refused:
        plan(prices={"gpu_hour": "much", "gpu": "1"})
    assert [fault.where for fault in refused.value.faults] == ["prices.gpu_hour", "prices.gpu"]


def test_a_volume_that_holds_up_the_start_is_said() -> None:
    found = of_model("meta-llama--Meta-Llama-3.1-405B")
    shards = [{"name": f"model-{number:05}.safetensors", "size": 4_250_000_000} for number in range(191)]
    big = {**found.model, "files": shards}
    changes = {
        f"recipe_raycluster_params__{role}_node_{what}": value
        for role in ("head", "worker")
        for what, value in (("num_gpus", 8), ("num_cpus", 100), ("cpu_mem_in_gbs", 1800))
    }
    changes |= {
        "recipe_node_shape": "BM.GPU.H200.8",
        "recipe_nvidia_gpu_count": 8,
        "recipe_node_pool_size": 2,
        "recipe_raycluster_params__num_worker_nodes": 1,
        "input_object_storage__0__volume_size_in_gbs": 900,
    }
    made = plan(facts(model=big), **changes)
    (warning,) = [warning for warning in made["warnings"] if warning["code"] == "volume_slow"]
    assert warning["found"] == "a volume of 900 GB writes 432 MB/s, which makes staging 18 minutes longer"
    minutes = made["expected"]["minutes"]
    # Without an index every node stages the whole: 812 GB at 432 MB/s.
    assert minutes["staging"] == pytest.approx(811_750_000_000 / 432e6 / 60, abs=0.1)
    # It fits in half of the pod's memory, so that a restart reads the page cache at 1 GB/s.
    assert minutes["engine"] == pytest.approx(811_750_000_000 / 1e9 / 60 + 2, abs=0.1)
    assert minutes["restart"] == pytest.approx(minutes["ray"] + minutes["engine"] + minutes["token"], abs=0.11)


def test_further_arguments_of_vllm_follow_the_plans_own() -> None:
    made = plan(recipe_container_command_args=["--max-num-seqs", "64", "--enable-prefix-caching"])
    assert made["engine"]["args"][-5:-2] == ["--max-num-seqs", "64", "--enable-prefix-caching"]


@pytest.mark.parametrize("given", [[], ["--middleware", "team.Log", "--middleware=team.Count", "--max-num-seqs", "64"]])
def test_the_guard_of_the_api_stands_before_all_other_middleware(given: list[str]) -> None:
    arguments = plan(recipe_container_command_args=given)["engine"]["args"]
    assert arguments[-2 - len(given) :] == [*given, "--middleware", "engine_key_guard.KeyGuard"]


def test_the_memory_is_reckoned_with_the_arguments_that_bear_on_it() -> None:
    usual = plan()["memory"]
    less = plan(recipe_container_command_args=["--gpu-memory-utilization=0.5"])["memory"]
    small = plan(recipe_container_command_args=["--kv_cache_dtype", "fp8"])["memory"]
    assert less["per_gpu"][0]["usable_bytes"] == pytest.approx(
        usual["per_gpu"][0]["usable_bytes"] * 0.5 / 0.92, rel=1e-6
    )
    assert small["per_gpu"][0]["kv_bytes_per_token"] * 2 == usual["per_gpu"][0]["kv_bytes_per_token"]
    with pytest.raises(Refused) as refused:
        plan(recipe_container_command_args=["--gpu-memory-utilization", "92"])
    (fault,) = refused.value.faults
    assert fault.line() == (
        "recipe_container_command_args --gpu-memory-utilization: '92', expected a number above 0, at most 1; correct it"
    )


def test_a_load_format_that_reads_all_files_everywhere_is_staged_whole() -> None:
    made = plan(recipe_container_command_args=["--load-format", "fastsafetensors"])
    assert made["staging"]["by_stage"] is False and made["staging"]["shards_per_stage"] == []
    assert made["expected"]["bytes_per_node"] == [made["model"]["bytes"]] * 4
    assert [choice["why"] for choice in made["choices"] if choice["field"] == "staging.by_stage"] == [
        "the load format fastsafetensors reads all files on every node"
    ]


def test_length_and_name_that_are_asked_for() -> None:
    made = plan(recipe_max_model_length=4096, recipe_served_model_name="llama")
    assert option(made["engine"]["args"], "--max-model-len") == "4096"
    assert made["memory"]["context"] == 4096
    assert made["model"]["served_names"] == ["llama", made["model"]["path"]]
    with pytest.raises(Refused) as refused:
        plan(recipe_max_model_length=1_000_000)
    assert [fault.code for fault in refused.value.faults] == ["context_beyond_model"]


def test_code_of_the_model_runs_only_where_it_is_trusted() -> None:
    found = facts()
    config = {**found.model["config"], "architectures": ["OwnForCausalLM"], "auto_map": {"AutoModel": "own.Own"}}
    own = facts(model={**found.model, "config": config})
    with pytest.raises(Refused) as refused:
        plan(own)
    assert [fault.code for fault in refused.value.faults] == ["remote_code"]
    assert "--trust-remote-code" in plan(own, recipe_trust_remote_code=True)["engine"]["args"]
    assert "--trust-remote-code" not in plan()["engine"]["args"]


def test_a_key_for_the_nodes() -> None:
    assert plan(recipe_public_ssh_key="ssh-ed25519 AAAA")["node_pool"]["ssh_public_key"] == "ssh-ed25519 AAAA"
    assert "ssh_public_key" not in plan()["node_pool"]


@pytest.mark.parametrize(
    "change",
    [{"config": 1}, {"index": [1]}, {"index": {"weight_map": {"a": 1}}}, {"files": [{"size": 1}]}, {"source": "par"}],
)
def test_a_file_that_holds_no_facts_of_a_model_is_told_from_one_that_does(change: dict[str, Any]) -> None:
    assert are_model_facts(facts().model) and are_model_facts({"config": {}})
    assert not are_model_facts({**facts().model, **change})
    assert not are_model_facts([]) and not are_model_facts(None)


def test_secrets_that_the_recipe_names_have_to_be_there() -> None:
    named = {
        "recipe_environment_secrets": [{"envvar_name": "WANDB_TOKEN", "secret_name": "wandb", "secret_key": "token"}],
        "recipe_container_secret_name": "registry",
    }

    def faults(found: Any) -> list[str]:
        try:
            plan(facts(secrets=found), **named)
        except Refused as refused:
            return [f"{fault.where}: {fault.found}" for fault in refused.faults]
        return []

    assert faults(None) == [], "nobody looked"
    assert faults({"wandb": ["token"], "registry": [".dockerconfigjson"]}) == []
    assert faults({"wandb": None, "registry": ["password"]}) == [
        "recipe_environment_secrets[0].secret_name: wandb, which the namespace rayclustervmtest has not",
        "recipe_container_secret_name: registry, which holds password",
    ]
