# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of node pools, and of what failed in them."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.names import DEPLOYMENT_TAG
from ansible_collections.multinode.inference.plugins.modules import (
    oci_node_pool_info,
)
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, ELSEWHERE, Clock, ContainerEngine, service_error
from tests.unit.plugins.modules.module_runner import run_module
from tests.unit.plugins.modules.node_pool_runs import TAGS, clock, codes, engine, present

__all__ = ["clock", "engine"]  # fixtures


def test_info_shows_nodes_and_errors(engine: ContainerEngine) -> None:
    engine.fail_work["NODEPOOL_CREATE"] = ["Out of host capacity."]
    present()
    engine.add_pool(name="workers")
    pool = next(iter(engine.pools.values()))
    pool["nodes"] = [
        {
            "id": "ocid1.instance.oc1.iad.a",
            "private_ip": "10.0.0.5",
            "node_error": {"code": "InternalError", "message": "Out of host capacity.", "opc_request_id": "R"},
        }
    ]
    engine.clock.sleep(100)
    result = run_module(oci_node_pool_info, {"cluster_id": CLUSTER})
    (shown,) = result["node_pools"]
    assert shown["deployment"] == "llama"
    assert shown["nodes"][0]["node_error"]["message"] == "Out of host capacity."
    assert shown["work_request"]["errors"][0]["message"] == "Out of host capacity."
    assert [fault["code"] for fault in shown["faults"]] == [
        "node_out_of_host_capacity",
        "node_pool_out_of_host_capacity",
    ]
    assert shown["faults"][0]["request_id"] == "R"
    assert run_module(oci_node_pool_info, {"cluster_id": CLUSTER, "deployment": "x"})["node_pools"] == []


def test_old_failure_of_a_whole_pool_is_forgotten(engine: ContainerEngine, clock: Clock) -> None:
    engine.fail_work["NODEPOOL_CREATE"] = ["Out of host capacity."]
    present()
    clock.sleep(100)
    pool = next(iter(engine.pools.values()))
    nodes = [{"id": f"node {number}", "lifecycle_state": "ACTIVE"} for number in (1, 2)]

    def faults(**state: Any) -> list[str]:
        pool.update(state)
        (shown,) = run_module(oci_node_pool_info, {"cluster_id": CLUSTER})["node_pools"]
        return codes(shown)

    assert faults(lifecycle_state="ACTIVE", nodes=nodes[:1]) == ["node_pool_out_of_host_capacity"]
    assert faults(nodes=nodes) == []
    assert faults(lifecycle_state="NEEDS_ATTENTION") == []
    engine.requests.clear()
    assert faults(lifecycle_state="CREATING", nodes=[]) == []
    assert faults(lifecycle_state="NEEDS_ATTENTION") == ["node_pool_not_active"]
    nodes[0]["lifecycle_state"] = "FAILING"
    assert faults(lifecycle_state="UPDATING", nodes=nodes) == ["node_failed"]


def test_pools_are_found_wherever_a_record_says(engine: ContainerEngine) -> None:
    elsewhere = engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=ELSEWHERE)
    here = engine.add_pool(name="qwen", freeform_tags={**TAGS, DEPLOYMENT_TAG: "qwen"}, compartment_id=COMPARTMENT)
    engine.add_pool(name="strange", freeform_tags={}, compartment_id=ELSEWHERE)

    def found(**given: Any) -> tuple[list[str], list[str]]:
        result = run_module(oci_node_pool_info, {"cluster_id": CLUSTER, **given})
        return sorted(pool["id"] for pool in result["node_pools"]), [fault["where"] for fault in result["unseen"]]

    assert found() == ([here], [])
    both = sorted([here, elsewhere])
    assert found(other_compartments=[ELSEWHERE]) == (both, [])
    assert found(compartment_id=ELSEWHERE) == ([elsewhere], [])
    assert found(compartment_id=ELSEWHERE, other_compartments=[ELSEWHERE]) == (both, [])


def test_a_compartment_of_a_forged_record_hides_no_other(engine: ContainerEngine) -> None:
    here = engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=COMPARTMENT)
    engine.closed.add(ELSEWHERE)
    result = run_module(oci_node_pool_info, {"cluster_id": CLUSTER, "other_compartments": [ELSEWHERE]})
    assert [pool["id"] for pool in result["node_pools"]] == [here]
    assert [(fault["code"], fault["where"]) for fault in result["unseen"]] == [("compartment_unseen", ELSEWHERE)]
    refused = run_module(oci_node_pool_info, {"cluster_id": CLUSTER, "compartment_id": ELSEWHERE})
    assert refused["failed"]


def test_a_cluster_that_may_not_be_read_is_told_where_its_compartment_counts(engine: ContainerEngine) -> None:
    here = engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=ELSEWHERE)
    engine.faults["get_cluster"] = [service_error(404, "NotAuthorizedOrNotFound")] * 3
    given = {"cluster_id": CLUSTER, "compartment_id": ELSEWHERE}
    result = run_module(oci_node_pool_info, {**given, "other_compartments": [ELSEWHERE]})
    assert [pool["id"] for pool in result["node_pools"]] == [here]
    assert [(fault["code"], fault["where"]) for fault in result["unseen"]] == [("compartment_unseen", CLUSTER)]
    assert run_module(oci_node_pool_info, given)["unseen"] == []
    assert run_module(oci_node_pool_info, {"cluster_id": CLUSTER})["failed"]
