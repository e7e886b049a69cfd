# SPDX-License-Identifier: GPL-3.0-or-later
"""A node pool that undeploy does not find where it looks first: it bills in whatever compartment it lies."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.modules import oci_node_pool
from tests.unit.oci.fakes import (
    CLUSTER,
    COMPARTMENT,
    ELSEWHERE,
    TENANCY,
    Clock,
    ContainerEngine,
    service_error,
)
from tests.unit.plugins.modules.module_runner import run_module
from tests.unit.plugins.modules.node_pool_runs import TAGS, clock, engine, present

__all__ = ["clock", "engine"]  # fixtures


def undeployed(**options: Any) -> dict[str, Any]:
    return run_module(oci_node_pool, {"name": "llama", "cluster_id": CLUSTER, "state": "absent", **options})


def codes(faults: list[dict[str, Any]]) -> list[str]:
    return [fault["code"] for fault in faults]


def test_by_the_ocid_that_was_recorded(engine: ContainerEngine) -> None:
    elsewhere = engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=ELSEWHERE)
    assert codes(undeployed(expected=True)["left"]) == ["node_pool_not_found"]
    assert engine.writes() == 0
    result = undeployed(expected=True, node_pool_id=elsewhere)
    assert result["changed"] and len(engine.made("delete_node_pool")) == 1
    assert result["compartment_id"] == ELSEWHERE and not result["left"]


@pytest.mark.parametrize("lies", [ELSEWHERE, TENANCY])
def test_without_any_record_of_it_by_a_search(engine: ContainerEngine, lies: str) -> None:
    """A run was killed before it wrote the record, or after it removed the RayCluster that had it."""
    engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=lies)
    result = undeployed(search_tenancy=True, wait=True)
    assert result["changed"] and result["compartment_id"] == lies and not result["unseen"]
    assert next(iter(engine.pools.values()))["lifecycle_state"] == "DELETED"
    again = undeployed(search_tenancy=True, wait=True)
    assert not again["changed"] and not again["left"] and not again["unseen"]


def test_where_the_cluster_lies_though_another_compartment_is_given(engine: ContainerEngine) -> None:
    engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=COMPARTMENT)
    result = undeployed(search_tenancy=True, compartment_id=ELSEWHERE)
    assert result["changed"] and result["compartment_id"] == COMPARTMENT


def test_a_busy_pool_elsewhere_is_not_taken_for_gone(engine: ContainerEngine) -> None:
    present(changes={"compartment_id": ELSEWHERE})
    assert undeployed(search_tenancy=True, wait=True)["changed"]
    assert [pool["lifecycle_state"] for pool in engine.pools.values()] == ["DELETED"]
    assert len(engine.made("delete_node_pool")) > 1


def test_one_that_is_asked_for_and_not_listed_yet(engine: ContainerEngine, clock: Clock) -> None:
    present(changes={"compartment_id": ELSEWHERE})
    (pool,) = engine.pools.values()
    pool["_visible"] = 8
    assert undeployed(search_tenancy=True, wait=True)["changed"] and pool["lifecycle_state"] == "DELETED"


def test_a_deletion_under_way_elsewhere_is_waited_for(engine: ContainerEngine) -> None:
    engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=ELSEWHERE)
    undeployed(search_tenancy=True)
    (pool,) = engine.pools.values()
    assert pool["lifecycle_state"] == "DELETING"
    result = undeployed(search_tenancy=True, expected=True, wait=True)
    assert not result["changed"] and not result["left"] and pool["lifecycle_state"] == "DELETED"


def test_two_of_them_are_refused(engine: ContainerEngine) -> None:
    for place in (ELSEWHERE, TENANCY):
        engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=place)
    assert codes(undeployed(search_tenancy=True)["faults"]) == ["node_pool_doubled"]
    assert engine.writes() == 0


def test_what_could_not_be_searched_is_said(engine: ContainerEngine) -> None:
    engine.closed = {ELSEWHERE}
    (fault,) = undeployed(search_tenancy=True)["unseen"]
    assert fault["code"] == "compartments_unseen" and ELSEWHERE in fault["found"] and "1 of 3" in fault["found"]
    assert "compartment_id" in fault["remedy"]
    engine.identity.error = service_error(404, "NotAuthorizedOrNotFound")
    (fault,) = undeployed(search_tenancy=True)["unseen"]
    assert fault["code"] == "compartments_unseen" and f"in {COMPARTMENT} only" in fault["found"]


def test_a_pool_of_another_deployment_or_cluster_is_left_alone(engine: ContainerEngine) -> None:
    engine.add_pool(name="llama", compartment_id=ELSEWHERE)
    engine.add_pool(
        name="llama", freeform_tags={**TAGS, "multinode-inference-deployment": "prod"}, compartment_id=ELSEWHERE
    )
    restored = {**TAGS, "multinode-inference-cluster": f"{CLUSTER}b"}
    engine.add_pool(name="llama", freeform_tags=restored, compartment_id=ELSEWHERE)
    result = undeployed(search_tenancy=True, expected=True)
    assert not result["changed"] and engine.writes() == 0
    assert codes(result["left"]) == ["node_pool_not_found"]


@pytest.mark.parametrize("tag", ["multinode-inference-deployment", "multinode-inference-cluster"])
def test_a_record_of_somebody_elses_pool_deletes_nothing(engine: ContainerEngine, tag: str) -> None:
    """Written by hand, or restored from a backup of another cluster."""
    theirs = engine.add_pool(name="llama", freeform_tags={**TAGS, tag: "other"}, compartment_id=ELSEWHERE)
    result = undeployed(expected=True, node_pool_id=theirs, search_tenancy=True)
    assert codes(result["unseen"]) == ["node_pool_not_ours"] and engine.writes() == 0
    # Nor does it hide the deployment's own.
    own = engine.add_pool(name="llama", freeform_tags=TAGS, compartment_id=TENANCY)
    assert undeployed(expected=True, node_pool_id=theirs, search_tenancy=True)["changed"]
    assert [ocid for ocid, _grace in engine.made("delete_node_pool")] == [own]


def test_a_record_that_leads_nowhere_is_said(engine: ContainerEngine) -> None:
    gone = undeployed(expected=True, node_pool_id="ocid1.nodepool.oc1.iad.gone")
    assert codes(gone["unseen"]) == ["node_pool_unseen"] and not gone["changed"]
    assert engine.writes() == 0


def test_a_pool_that_is_gone_and_was_recorded_is_no_fault(engine: ContainerEngine) -> None:
    deleted = engine.add_pool(name="llama", freeform_tags=TAGS, lifecycle_state="DELETED")
    result = undeployed(expected=True, node_pool_id=deleted)
    assert (result["changed"], result["left"], result["unseen"]) == (False, [], [])
    assert undeployed()["left"] == []
