# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe says about containers, nodes and vLLM's arguments: one broken rule, its one message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.model_source import (
    model_prefix,
    model_source,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.vllm_arguments import (
    check_derived,
    merged,
)

from ...recipes import PAR, recipe

PARAMS = "recipe_raycluster_params"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe_image_uri": "my image"},
            (
                "recipe_image_uri: 'my image', expected an image's name, such as "
                "docker.io/rayproject/ray-llm:2.58.0-py312-cu130; correct it"
            ),
        ),
        (
            {"recipe_served_model_name": "--trust-remote-code"},
            (
                "recipe_served_model_name: '--trust-remote-code', expected a name that does not begin with a hyphen, such as "
                "qwen3-32b; vLLM would read it as an option; choose another"
            ),
        ),
        (
            {"recipe_container_secret_name": "hf_canary/def"},
            (
                "recipe_container_secret_name: text in the wrong format, expected the name of a Secret in the deployment's "
                "namespace, such as hugging-face; create the Secret and give its name here, never its value"
            ),
        ),
        (
            {"recipe_container_env": [{"key": "1X", "value": "a"}]},
            (
                "recipe_container_env[0].key: '1X', expected letters, digits and underscores, no digit first, such as "
                "NCCL_DEBUG; correct it"
            ),
        ),
        (
            {"recipe_container_env": [{"key": "VLLM_API_KEY", "value": "canary"}]},
            (
                "recipe_container_env[0].key: VLLM_API_KEY, which the deployment sets, expected another variable; "
                "remove it"
            ),
        ),
        (
            {"recipe_container_env": [{"key": "VLLM_USE_RUST_FRONTEND", "value": "1"}]},
            (
                "recipe_container_env[0].key: VLLM_USE_RUST_FRONTEND, which the deployment sets, expected another "
                "variable; remove it"
            ),
        ),
        (
            {"recipe_container_env": [{"key": "HF_TOKEN", "value": "canary"}]},
            (
                "recipe_container_env[0].key: HF_TOKEN with a value readable by everyone who sees the recipe, expected the "
                "name of a Secret; make a Secret in the deployment's namespace, and name it in recipe_environment_secrets"
            ),
        ),
        (
            {
                "recipe_container_env": [{"key": "A", "value": "1"}],
                "recipe_environment_secrets": [{"envvar_name": "A", "secret_name": "s", "secret_key": "k"}],
            },
            (
                "recipe_environment_secrets[0].envvar_name: A, expected another name than recipe_container_env[0].key has; "
                "remove one"
            ),
        ),
        (
            {"service_endpoint_domain": "https://example.com"},
            "service_endpoint_domain: 'https://example.com', expected a DNS name, such as example.com; correct it",
        ),
        (
            {"recipe_shared_memory_volume_size_limit_in_mb": 409600},
            (
                "recipe_shared_memory_volume_size_limit_in_mb: 409600, expected less than the pod's memory, 409600; "
                "lower it, or raise head_node_cpu_mem_in_gbs and worker_node_cpu_mem_in_gbs"
            ),
        ),
        (
            {"recipe_pod_subnet_ocid": "ocid1.vcn.oc1.iad.aaaa"},
            (
                "recipe_pod_subnet_ocid: 'ocid1.vcn.oc1.iad.aaaa', expected an OCID, such as ocid1.subnet.oc1..aaaa; "
                "correct it"
            ),
        ),
        (
            {"recipe_public_ssh_key": "-----BEGIN OPENSSH PRIVATE KEY----- canary"},
            (
                "recipe_public_ssh_key: text in the wrong format, expected a public key on one line, such as "
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5; give the public half"
            ),
        ),
        (
            {"local_filesystem": [{"node_directory_path": "mnt", "mount_location": "/cache"}]},
            (
                "local_filesystem[0].node_directory_path: 'mnt', expected an absolute folder, such as /mnt/nvme/models; "
                "correct it"
            ),
        ),
        (
            {"local_filesystem": [{"node_directory_path": "/mnt/x", "mount_location": "/models/llama"}]},
            (
                "local_filesystem[0].mount_location: /models/llama, expected a folder that input_object_storage[0] does not "
                "use; choose another"
            ),
        ),
        (
            {"local_filesystem": [{"node_directory_path": "/mnt/x", "mount_location": "/opt/multinode"}]},
            (
                "local_filesystem[0].mount_location: /opt/multinode, expected a folder that the deployment does not use; "
                "choose another"
            ),
        ),
    ],
)
def test_a_broken_rule_of_containers_and_nodes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes))
    assert [fault.line() for fault in refused.value.faults] == [message]
    assert "canary" not in message


def environment(value: Any, key: str = "MULTINODE_HANG_SECONDS") -> dict[str, Any]:
    return recipe(recipe_container_env=[{"key": key, "value": value}])


@pytest.mark.parametrize("value", ["10", "360", "999999"])
def test_after_how_many_seconds_an_engine_hangs_may_be_given(value: str) -> None:
    assert read_inputs(environment(value)).recipe["recipe_container_env"][0]["value"] == value


@pytest.mark.parametrize("value", ["9", "0", "-60", "1000000", "010", "60.5", "60s", "6e1", "sixty"])
def test_seconds_that_no_engine_can_be_judged_by_are_refused(value: str) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs(environment(value))
    (fault,) = refused.value.faults
    assert (fault.where, fault.expected) == ("recipe_container_env[0].key", "whole seconds, 10 to 999999")
    assert fault.found.startswith("MULTINODE_HANG_SECONDS with the value ")


def test_no_other_variable_of_the_programs_may_be_given_nor_this_one_by_a_secret() -> None:
    by_secret = {"secret_name": "s", "secret_key": "k", "envvar_name": "MULTINODE_HANG_SECONDS"}
    for given in (environment("60", "MULTINODE_TERMINATION_LOG"), recipe(recipe_environment_secrets=[by_secret])):
        with pytest.raises(Refused) as refused:
            read_inputs(given)
        assert "which the deployment sets" in refused.value.faults[0].line()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--max-num-seqs", "64"], []),
        (["--tensor-parallel-size", "2"], ["--tensor-parallel-size"]),
        (["--tensor_parallel_size=2"], ["--tensor-parallel-size"]),
        (["--tensor-par", "2"], ["--tensor-parallel-size"]),
        (["-tp", "2", "--api-key", "canary"], ["--tensor-parallel-size", "--api-key"]),
        (["--grpc"], ["--grpc"]),
        (["canary"], ["a word without an option"]),
        (["--seed", "-1", "--disable-log-stats"], []),
    ],
)
def test_arguments_that_are_derived_are_refused(arguments: list[str], found: list[str]) -> None:
    findings = Findings()
    check_derived(arguments, findings)
    assert [fault.found for fault in findings.faults] == found
    assert "canary" not in "".join(fault.line() for fault in findings.faults)


def test_a_derived_argument_says_what_to_give_instead() -> None:
    findings = Findings()
    check_derived(["--port", "80"], findings)
    assert [fault.line() for fault in findings.faults] == [
        (
            "recipe_container_command_args: --port, expected an option that is not derived; "
            "remove it: recipe_container_port says it"
        )
    ]


def test_given_arguments_take_the_place_of_derived_ones() -> None:
    derived = ["--port", "8000", "--served-model-name", "a", "/m/a", "--gpu-memory-utilization", "0.9"]
    assert merged(derived, ["--gpu_memory_utilization=0.8", "--seed", "-1"]) == [
        "--port", "8000", "--served-model-name", "a", "/m/a", "--gpu_memory_utilization=0.8", "--seed", "-1",
    ]  # fmt: skip
    assert merged(derived, []) == derived


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe_node_pool_size": "auto"},
            (
                f"{PARAMS}.num_worker_nodes: 3 beside recipe_node_pool_size auto, expected no such parameter; "
                "leave it out, or give recipe_node_pool_size as a number"
            ),
        ),
        (
            {f"{PARAMS}__num_worker_nodes": None},
            (
                f"{PARAMS}.num_worker_nodes: not given, expected 3, one less than recipe_node_pool_size (4), since the head "
                "is a node too; add it, or let recipe_node_pool_size be auto"
            ),
        ),
        (
            {"recipe_replica_count": 2},
            "recipe_replica_count: 2, expected 1; correct recipe_replica_count",
        ),
        (
            {"recipe_node_shape": "VM.Standard.E5.Flex"},
            (
                "recipe_node_shape: VM.Standard.E5.Flex, expected an OCI shape with GPUs, such as BM.GPU.H100.8; "
                "choose another shape"
            ),
        ),
        (
            {"input_object_storage": None},
            (
                "input_object_storage: not given, expected a list with one mapping; say where the model's files are: "
                "input_object_storage, or input_hugging_face"
            ),
        ),
        (
            {"input_object_storage__0__bucket_name": "models"},
            "input_object_storage[0].bucket_name: given beside par, expected one of the two; remove one of the two",
        ),
        (
            {"node_provisioner": "oke", "recipe_use_shared_node_pool": True},
            "node_provisioner: oke beside recipe_use_shared_node_pool, expected none; remove one of the two",
        ),
    ],
)
def test_a_broken_rule_of_the_recipe(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes))
    # Whether the product serves the parameter yet is another matter.
    assert [fault.line() for fault in refused.value.faults if fault.code != "not_served"] == [message]


def test_the_given_secret_is_in_no_message() -> None:
    for given in (PAR, [PAR], [[PAR]], {"par": PAR}, [{"par": [PAR]}]):
        with pytest.raises(Refused) as refused:
            read_inputs(recipe(input_object_storage=given))
        assert "s3cr3t" not in str(refused.value)


def test_objects_may_be_given_as_json_text() -> None:
    given = recipe()
    given[PARAMS] = json.dumps(given[PARAMS])
    assert read_inputs(given).recipe == read_inputs(recipe()).recipe


def test_a_shared_node_pool_needs_no_cluster_ocid() -> None:
    inputs = read_inputs(recipe(recipe_use_shared_node_pool="true", oke_cluster_id=None))
    assert inputs.settings["node_provisioner"] == "none"


def test_the_source_of_the_model() -> None:
    inputs = read_inputs(recipe(recipe_raycluster_params__model_path_in_container="/models/"))
    assert model_source(inputs.recipe)["kind"] == "par"
    assert model_prefix(inputs.recipe) == ""
    repository = {"input_hugging_face": {"repository": "a/b", "mount_location": "/models"}, PARAMS: {}}
    repository[PARAMS] = {"model_path_in_container": "/models/a/b"}
    assert model_source(repository)["kind"] == "hugging_face"
    assert model_prefix(repository) == ""
