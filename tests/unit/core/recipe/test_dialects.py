# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes in another spelling become today's, with a list of what changed; what is not served is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.dialects import convert
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import (
    converted_recipe,
    read_inputs,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE

from ..recipes import CLUSTER, PAR, recipe

PARAMS = "recipe_raycluster_params"


def leader_and_workers(**changes: Any) -> dict[str, Any]:
    return {
        "recipe_id": "vllm_multinode_inference",
        "recipe_mode": "service",
        "deployment_name": "multinode_inference",
        "recipe_node_shape": "BM.GPU.A10.4",
        "recipe_image_uri": "registry.example.com/ray2430_vllmv083",
        "input_object_storage": [
            {"par": PAR, "mount_location": "/models", "volume_size_in_gbs": 500, "include": ["org/model"]}
        ],
        "recipe_replica_count": 1,
        "recipe_nvidia_gpu_count": 4,
        "recipe_ephemeral_storage_size": 150,
        "recipe_shared_memory_volume_size_limit_in_mb": 10000,
        "recipe_container_port": "8000",
        "recipe_use_shared_node_pool": True,
        "multinode_num_nodes_to_use_from_shared_pool": 2,
        "recipe_container_command_args": [
            "--port", "8000", "--model", "/models", "--tensor-parallel-size", "4", "--pipeline-parallel-size", "2",
            "--gpu-memory-utilization", "0.90", "--distributed-executor-backend", "ray",
        ],
        "recipe_readiness_probe_params": {"endpoint_path": "/health", "port": 8000, "period_seconds": 10},
        **changes,
    }  # fmt: skip


def faults_of(variables: dict[str, Any]) -> list[str]:
    try:
        read_inputs(variables)
    except Refused as refused:
        # Whether the product serves a parameter yet is another matter.
        return [fault.line() for fault in refused.faults if fault.code != "not_served"]
    return []


def test_blueprint_spellings_are_the_same_recipe() -> None:
    spelled = {key.replace("recipe_", "blueprint_", 1): value for key, value in recipe().items()}
    inputs = read_inputs(spelled)
    assert inputs.recipe == read_inputs(recipe()).recipe
    assert "blueprint_mode: recipe_mode; its name today" in [change.line() for change in inputs.changes]
    assert inputs.given == read_inputs(recipe()).given, "nobody asked for other pods"
    nested = {key: value for key, value in spelled.items() if key != "oke_cluster_id"}
    assert read_inputs({"recipe": nested, "oke_cluster_id": CLUSTER}).recipe == inputs.recipe


def test_both_spellings_of_one_key_are_refused() -> None:
    assert faults_of(recipe(blueprint_mode="raycluster")) == [
        "blueprint_mode: given beside recipe_mode, expected one of the two; remove blueprint_mode"
    ]


def test_an_unknown_blueprint_key_is_a_fault() -> None:
    assert faults_of(recipe(blueprint_colour="red")) == [
        "blueprint_colour: a key that is not known, expected a known parameter; remove blueprint_colour"
    ]


def test_leader_and_workers_become_head_and_workers() -> None:
    findings = Findings()
    converted, changes = convert(leader_and_workers(), findings)
    assert not findings.faults
    assert converted["recipe_mode"] == "raycluster"
    assert converted["recipe_node_pool_size"] == 2
    assert converted["recipe_node_boot_volume_size_in_gbs"] == 350
    assert converted["recipe_container_command_args"] == ["--gpu-memory-utilization", "0.90"]
    assert converted["recipe_readiness_probe_params"] == {"period_seconds": 10}
    assert converted[PARAMS]["model_path_in_container"] == "/models/org/model"
    assert converted[PARAMS]["num_worker_nodes"] == 1
    # The published sample of this shape asks for 60 and 960.
    assert converted[PARAMS]["head_node_num_cpus"] >= 60
    assert converted[PARAMS]["worker_node_cpu_mem_in_gbs"] >= 960
    assert {name.partition(" ")[0] for name in (change.where for change in changes)} == {
        "recipe_mode",
        "multinode_num_nodes_to_use_from_shared_pool",
        "recipe_image_uri",
        "recipe_readiness_probe_params",
        "recipe_container_command_args",
        "recipe_ephemeral_storage_size",
        "recipe_node_shape",
    }
    assert faults_of(leader_and_workers()) == []
    # Converting is done once.
    assert convert(converted, findings) == (converted, [])
    assert converted_recipe({**leader_and_workers(), "kubeconfig": "x"}) == converted


def test_arguments_that_contradict_the_recipe_are_refused() -> None:
    args = ["--model", "/models/org/model", "--tensor-parallel-size", "8"]
    assert faults_of(leader_and_workers(recipe_container_command_args=args)) == [
        ("recipe_container_command_args --tensor-parallel-size: '8', expected 4, as recipe_nvidia_gpu_count says; "
        "correct one of the two")
    ]  # fmt: skip


def test_a_model_by_name_is_a_repository() -> None:
    given_ = leader_and_workers(recipe_container_command_args=["--model", "org/model", "--max-model-len=4096"])
    del given_["input_object_storage"]
    converted = convert(given_, Findings())[0]
    assert converted["input_hugging_face"] == {"repository": "org/model", "mount_location": "/models"}
    assert converted["recipe_max_model_length"] == "4096"
    with pytest.raises(Refused):  # How large the volume has to be, nobody has said.
        read_inputs(given_)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (
            "service",
            (
                "give multinode_num_nodes_to_use_from_shared_pool, the number of nodes; a model on one node needs no group"
            ),
        ),
        ("job", "a job ends; this deploys a model that keeps serving"),
        ("update", "it changes a node of a cluster; this deploys a model"),
        ("shared_node_pool", "it creates nodes without a model; deploy creates the model's node pool itself"),
        ("team", "it divides a cluster among teams; this deploys a model"),
    ],
)
def test_another_mode_is_refused_by_name_with_the_reason(mode: str, reason: str) -> None:
    assert faults_of(recipe(recipe_mode=mode)) == [f"recipe_mode: {mode}, expected raycluster; {reason}"]
    with pytest.raises(Refused):
        converted_recipe(recipe(recipe_mode=mode))


@pytest.mark.parametrize(
    "given_",
    [
        {"recipe_mode": "update", "recipe_node_name": "192.0.2.4", "recipe_node_labels": {"a": "b"}},
        {"recipe_mode": "shared_node_pool", "shared_node_pool_size": 2, "shared_node_pool_shape": "BM.GPU.H100.8"},
        {"recipe_mode": "service", "recipe_node_shape": "VM.GPU.A10.2", "recipe_node_pool_size": 1, "colour": "red"},
        {"blueprint_mode": "team"},
    ],
)
@pytest.mark.parametrize("below_recipe", [False, True])
def test_what_a_recipe_of_another_mode_lacks_for_this_one_is_not_listed(
    given_: dict[str, Any], below_recipe: bool
) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs({"recipe": given_} if below_recipe else given_)
    assert [fault.code for fault in refused.value.faults] == ["mode"]


def test_the_conversion_names_the_setting_that_brings_rdma_back() -> None:
    spelling = "multinode_rdma_enabled_in_shared_pool"
    changes = convert(leader_and_workers(**{spelling: True}), Findings())[1]
    (line,) = [change.line() for change in changes if change.where == spelling]
    assert line == f"{spelling}: left out; RDMA is a setting: give rdma: host_network to use it"


_names = [*(parameter.name for parameter in RECIPE), *leader_and_workers()]
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted({*_names, "blueprint_mode", "blueprint_id"})), _junk))
def test_no_recipe_in_another_spelling_gives_a_traceback(changes: dict[str, Any]) -> None:
    for base in (leader_and_workers(), recipe()):
        try:
            read_inputs({**base, **changes})
        except Refused as refused:
            assert all(fault.where and fault.found for fault in refused.faults)
