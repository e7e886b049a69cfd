# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for Oracle Cloud, in this process, with the real SDK against the rig's services."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.placement import choose_placement
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.modules import model_info, oci_node_pool, oci_node_pool_info
from ansible_collections.multinode.inference.plugins.modules import oke_cluster_info as oci_cluster_info
from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.unit.core.recipes import recipe
from tests.unit.plugins.modules.module_runner import run_module

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def tenancy(rig: RunningRig) -> Tenancy:
    """A tenancy whose nodes are KWOK's: quick, and there without root."""
    answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok"})
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture
def ask(tenancy: Tenancy) -> Ask:
    """Runs a module, signed in to the tenancy."""
    sign_in = {name: tenancy.settings[name] for name in ("config_file_location", "oci_service_endpoint")}

    def run(module: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        return run_module(module, {**sign_in, **options}, check=check)

    return run


@pytest.fixture
def definition(ask: Ask, tenancy: Tenancy) -> Callable[[int], dict[str, Any]]:
    """A node pool of so many nodes, as it is found out from the cluster's OCID."""
    cluster = ask(oci_cluster_info, cluster_id=tenancy.oke_cluster_id, node_shape="VM.GPU.A10.1")["cluster"]
    findings = Findings()
    chosen = choose_placement(read_inputs(recipe()), cluster, None, None, findings).values
    assert not findings.faults

    def of(size: int) -> dict[str, Any]:
        return {
            "name": "llama",
            "cluster_id": tenancy.oke_cluster_id,
            "compartment_id": chosen["compartment_id"],
            "node_shape": "VM.GPU.A10.1",
            "kubernetes_version": chosen["kubernetes_version"],
            "node_source_details": {
                "source_type": "IMAGE",
                "image_id": chosen["image_id"],
                "boot_volume_size_in_gbs": 200,
            },
            "node_config_details": {
                "size": size,
                "placement_configs": chosen["placement_configs"],
                "node_pool_pod_network_option_details": chosen["node_pool_pod_network_option_details"],
                "freeform_tags": {"multinode-inference-deployment": "llama"},
            },
            "initial_node_labels": [{"key": "multinode.inference/deployment", "value": "llama"}],
            "node_metadata": {"user_data": "IyEvYmluL2Jhc2gK"},
            "node_eviction_node_pool_settings": {
                "eviction_grace_duration": "PT60M",
                "is_force_delete_after_grace_duration": True,
            },
        }

    return of


@pytest.fixture
def scenario(rig: RunningRig, tenancy: Tenancy) -> Callable[..., None]:
    """Asks for a fault in this tenancy: scenario(operation, what it does...)."""

    def make(operation: str, **does: Any) -> None:
        match = {"tenancy": tenancy.compartment_id, "operation": operation}
        rig.steer("POST", "/scenarios", {"match": match, "do": does})

    return make


def calls(rig: RunningRig, tenancy: Tenancy, *operations: str) -> int:
    """How many calls of the tenancy were of these operations."""
    log = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}")
    return sum(call["operation"] in operations for call in log)


def codes(result: dict[str, Any]) -> list[str]:
    return [fault["code"] for fault in result["faults"]]


def test_life_of_a_pool(rig: RunningRig, tenancy: Tenancy, ask: Ask, definition: Any) -> None:
    assert ask(oci_node_pool, check=True, definition=definition(2))["changed"]
    assert calls(rig, tenancy, "CreateNodePool") == 0
    made = ask(oci_node_pool, definition=definition(2))
    assert made["changed"] and made["work_request_id"] and made["node_pool"]["id"]
    assert not ask(oci_node_pool, definition=definition(2))["changed"]

    settled = ask(oci_node_pool, definition=definition(2), wait=True)
    assert not settled["changed"] and settled["node_pool"]["lifecycle_state"] == "ACTIVE"
    scaled = ask(oci_node_pool, definition=definition(3), wait=True)
    assert [change["field"] for change in scaled["changes"]] == ["node_config_details.size"]
    (shown,) = ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"]
    assert shown["deployment"] == "llama" and shown["faults"] == []
    assert len(shown["nodes"]) == 3 and all(node["private_ip"] for node in shown["nodes"])
    assert shown["work_request"]["operation_type"] == "NODEPOOL_UPDATE"

    since = time.time()
    assert not ask(oci_node_pool, definition=definition(3))["changed"]
    log = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={since}")
    assert [call["operation"] for call in log] == ["ListNodePools", "GetNodePool"]

    gone = {"name": "llama", "cluster_id": tenancy.oke_cluster_id, "state": "absent", "wait": True}
    assert ask(oci_node_pool, **gone)["changed"]
    assert not ask(oci_node_pool, **gone)["changed"]
    assert ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"] == []


@pytest.mark.parametrize("times", [1, 9], ids=["once", "always"])
def test_lost_answer_makes_one_pool(tenancy: Tenancy, ask: Ask, definition: Any, scenario: Any, times: int) -> None:
    scenario("CreateNodePool", lose_answer=True, times=times)
    made = ask(oci_node_pool, definition=definition(1))
    assert made["changed"] and made["adopted"] == (times > 1)
    assert not ask(oci_node_pool, definition=definition(1), wait=True)["changed"]
    (shown,) = ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"]
    assert shown["id"] == made["node_pool"]["id"]


def test_undeploy_right_after_deploy_leaves_nothing(tenancy: Tenancy, ask: Ask, definition: Any) -> None:
    ask(oci_node_pool, definition=definition(1))
    gone = {"name": "llama", "cluster_id": tenancy.oke_cluster_id, "state": "absent", "wait": True}
    assert ask(oci_node_pool, **gone)["changed"]
    assert ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"] == []


def test_no_host_is_said_in_the_work_requests_words(tenancy: Tenancy, ask: Ask, definition: Any, scenario: Any) -> None:
    scenario("LaunchInstance", capacity=1)
    failed = ask(oci_node_pool, definition=definition(2), wait=True)
    assert codes(failed) == ["node_pool_out_of_host_capacity"]
    assert "Out of host capacity" in failed["msg"] and failed["faults"][0]["work_request"]
    (shown,) = ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"]
    assert codes(shown) == ["node_out_of_host_capacity", "node_pool_out_of_host_capacity"]
    assert not ask(oci_node_pool, definition=definition(2))["changed"], "the next run adopts it"


def test_service_that_is_busy(rig: RunningRig, tenancy: Tenancy, ask: Ask, scenario: Any) -> None:
    scenario("ListNodePools", status=429, code="TooManyRequests", message="Too many requests for the user", times=2)
    assert ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"] == []
    assert calls(rig, tenancy, "ListNodePools") == 3


@pytest.mark.parametrize(
    ("operation", "answer", "code"),
    [
        ("ListNodePools", (404, "NotAuthorizedOrNotFound"), "cloud_not_found_or_not_authorized"),
        ("CreateNodePool", (400, "LimitExceeded"), "cloud_limit_exceeded"),
        ("CreateNodePool", (400, "QuotaExceeded"), "cloud_limit_exceeded"),
        ("CreateNodePool", (403, "NotAuthorized"), "cloud_not_authorized"),
    ],
)
def test_refusals(
    tenancy: Tenancy,
    ask: Ask,
    definition: Any,
    scenario: Any,
    operation: str,
    answer: tuple[int, str],
    code: str,
) -> None:
    wanted = definition(1)
    scenario(operation, status=answer[0], code=answer[1], message="said by the scenario", times=1)
    refused = ask(oci_node_pool, definition=wanted)
    assert codes(refused) == [code] and not refused["changed"]
    assert refused["faults"][0]["request_id"] and "said by the scenario" in refused["msg"]
    assert ask(oci_node_pool_info, cluster_id=tenancy.oke_cluster_id)["node_pools"] == []


def test_model_from_bucket_and_par(rig: RunningRig, tenancy: Tenancy, ask: Ask) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration)
    by_par = ask(model_info, par=par, prefix=samples.MODEL)["model"]
    by_bucket = ask(model_info, bucket_name="models", prefix=samples.MODEL, region="us-ashburn-1")["model"]
    assert by_par["files"] == by_bucket["files"] and by_par["index"] == by_bucket["index"]
    assert by_par["config"]["architectures"] == ["LlamaForCausalLM"]
    assert all(file["md5"] for file in by_par["files"])
    unlisted = samples.make_par(tenancy.json, rig.configuration, listing=False)
    assert codes(ask(model_info, par=unlisted, prefix=samples.MODEL)) == ["par_without_listing"]
    wrong = ask(model_info, par=par.replace("/p/", "/p/x"), prefix=samples.MODEL)
    assert codes(wrong) == ["par_invalid"]


def test_where_a_file_system_can_be_mounted(ask: Ask, tenancy: Tenancy) -> None:
    names = {"file_system_ocid": tenancy.json["file_system_id"], "mount_target_ocid": tenancy.json["mount_target_id"]}
    given = {**names, "mount_target_ip": "10.9.9.9", "export_path": "/x"}
    found = ask(oci_cluster_info, cluster_id=tenancy.oke_cluster_id, file_systems=[names, given])["cluster"]["exports"]
    assert found == [{**names, "ip": "10.0.96.5", "export_path": "/models", "gbps": 1}]
    other = {**names, "file_system_ocid": names["file_system_ocid"][:-4] + "zzzz"}
    (found,) = ask(oci_cluster_info, cluster_id=tenancy.oke_cluster_id, file_systems=[other])["cluster"]["exports"]
    assert (found["ip"], found["export_path"]) == ("10.0.96.5", "")
    absent = {**names, "mount_target_ocid": names["mount_target_ocid"][:-4] + "zzzz"}
    failed = ask(oci_cluster_info, cluster_id=tenancy.oke_cluster_id, file_systems=[absent])
    assert failed["failed"] and "file-family" in failed["msg"]
