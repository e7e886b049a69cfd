# SPDX-License-Identifier: GPL-3.0-or-later
"""Node pools made, changed, waited for and deleted by the module."""

from __future__ import annotations

import hashlib
from typing import Any

import oci
import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.ownership import pool_record
from ansible_collections.multinode.inference.plugins.modules import (
    oci_node_pool,
    oci_node_pool_info,
)
from tests.unit.oci.fakes import CLUSTER, Clock, ContainerEngine, service_error
from tests.unit.plugins.modules.module_runner import run_module
from tests.unit.plugins.modules.node_pool_runs import TAGS, absent, clock, codes, definition, engine, present

__all__ = ["clock", "engine"]  # fixtures


def test_life_of_a_pool(engine: ContainerEngine, clock: Clock) -> None:
    created = present()
    assert created["changed"]
    assert created["node_pool"]["lifecycle_state"] == "CREATING"
    assert created["node_pool"]["freeform_tags"] == {**TAGS, "multinode-inference-hash": "abc"}
    assert created["work_request_id"] in engine.requests

    assert not present()["changed"], "while it is being created"
    clock.sleep(100)
    again = present(wait=True)
    assert not again["changed"] and again["node_pool"]["lifecycle_state"] == "ACTIVE"

    scaled = present(3, wait=True)
    assert scaled["changed"]
    assert scaled["changes"] == [{"field": "node_config_details.size", "before": 2, "after": 3, "effect": "live"}]
    assert engine.made("update_node_pool") == [{"node_config_details": {"size": 3}}]
    assert not present(3)["changed"]

    deleted = absent(wait=True)
    assert deleted["changed"] and deleted["node_pool"] == {}
    assert engine.made("delete_node_pool")[0][1] == "PT0M"
    assert not absent(wait=True)["changed"]
    assert len(engine.pools) == 1


def test_check_mode_writes_nothing(engine: ContainerEngine, clock: Clock) -> None:
    would = present(check=True, diff=True)
    assert would["changed"] and would["diff"]["prepared"].startswith("node pool ")
    assert (
        "number of nodes: 2" in would["diff"]["prepared"]
        and "cloud-init of the nodes: (not shown)" in would["diff"]["prepared"]
    )
    user_data = would["node_pool"]["node_metadata"]["user_data"]
    assert user_data == "sha256:" + hashlib.sha256(b"Y2xvdWQ=").hexdigest()
    assert engine.writes() == 0
    present(wait=True)
    assert present(4, check=True)["changed"]
    assert absent(check=True)["changed"]
    assert engine.writes() == 1


def test_each_attempt_has_its_own_retry_token(engine: ContainerEngine) -> None:
    present(wait=True)
    absent(wait=True)
    present(wait=True)
    tokens = [call["token"] for call in engine.made("create_node_pool")]
    assert len(set(tokens)) == 2 and all(len(token) == 30 for token in tokens)


def test_lost_answer_of_a_create_is_found_again(engine: ContainerEngine) -> None:
    engine.lose_answer.add("create_node_pool")
    engine.visible_seconds = 5
    result = present()
    assert result["changed"] and result["adopted"]
    assert result["node_pool"]["id"] in engine.pools
    assert len(engine.pools) == 1
    assert not present()["changed"]


def test_create_that_surely_failed_is_reported(engine: ContainerEngine) -> None:
    engine.faults["create_node_pool"] = [oci.exceptions.RequestException("connection aborted")]
    result = present()
    assert codes(result) == ["cloud_unreachable"]
    assert "run again" in result["faults"][0]["remedy"]
    assert not engine.pools


def test_where_a_pool_is_shows_before_the_pool_does(engine: ContainerEngine, clock: Clock) -> None:
    """What is recorded of it at creation, the next run records again."""
    engine.visible_seconds = 60
    asked = pool_record(present()["node_pool"])
    clock.sleep(100)
    assert asked and pool_record(present()["node_pool"]) == asked


def test_pool_of_a_run_killed_just_now_is_adopted(engine: ContainerEngine) -> None:
    present()
    for pool in engine.pools.values():
        pool["_visible"] = 8  # asked for, not listed yet
    result = present()
    assert not result["changed"] and result["adopted"]
    assert len(engine.pools) == 1


def test_pool_of_a_run_killed_just_now_is_deleted(engine: ContainerEngine) -> None:
    present()
    (pool,) = engine.pools.values()
    pool["_visible"] = 8
    assert absent(wait=True)["changed"]
    assert pool["lifecycle_state"] == "DELETED"


def test_limit_is_an_answer_not_a_guess(engine: ContainerEngine) -> None:
    engine.faults["create_node_pool"] = [service_error(400, "LimitExceeded", "gpu-a10-count")]
    result = present()
    assert codes(result) == ["cloud_limit_exceeded"]
    assert result["faults"][0]["request_id"] == "REQUEST/1"
    assert "gpu-a10-count" in result["msg"]
    assert not result["changed"]


def test_listing_forbidden_is_not_absence(engine: ContainerEngine) -> None:
    engine.faults["list_node_pools"] = [service_error(404, "NotAuthorizedOrNotFound")]
    result = present()
    assert codes(result) == ["cloud_not_found_or_not_authorized"]
    assert "inspect cluster-node-pools" in result["msg"]
    assert engine.writes() == 0


def test_two_pools_are_refused_with_both_ids(engine: ContainerEngine) -> None:
    first = engine.add_pool(name="llama", freeform_tags=TAGS)
    engine.add_pool(name="other")
    second = engine.add_pool(name="llama", freeform_tags=TAGS, lifecycle_state="NEEDS_ATTENTION")
    for result in (present(), absent()):
        assert codes(result) == ["node_pool_doubled"]
        assert first in result["msg"] and second in result["msg"]
    assert engine.writes() == 0


def test_foreign_pool_of_the_name_is_left_alone(engine: ContainerEngine) -> None:
    engine.add_pool(name="llama", freeform_tags={"multinode-inference-deployment": "llama"})
    for result in (present(), absent()):
        assert codes(result) == ["node_pool_not_ours"]
    assert engine.writes() == 0


@pytest.mark.parametrize(
    ("tagged", "required", "code"),
    [
        ("Llama", False, ""),
        ("Llama", True, ""),
        ("L_lama", False, "name_taken"),
        ("", False, ""),
        ("", True, "node_pool_owner_unknown"),
    ],
)
def test_a_pool_of_another_deployment_of_the_same_dns_name_is_not_deleted(
    engine: ContainerEngine, tagged: str, required: bool, code: str
) -> None:
    name_tag = {"multinode-inference-name": tagged} if tagged else {}
    engine.add_pool(name="llama", freeform_tags={**TAGS, **name_tag})
    options = {"name": "llama", "cluster_id": CLUSTER, "state": "absent", "deployment_name": "Llama"}
    result = run_module(oci_node_pool, {**options, "name_tag_required": required})
    assert [fault["code"] for fault in result.get("faults", [])] == ([code] if code else [])
    assert bool(engine.made("delete_node_pool")) == (not code)


def test_deleted_pools_do_not_count(engine: ContainerEngine) -> None:
    engine.add_pool(name="llama", freeform_tags=TAGS, lifecycle_state="DELETED")
    engine.add_pool(name="llama", freeform_tags=TAGS, lifecycle_state="DELETING")
    assert present()["changed"]
    assert len(engine.made("create_node_pool")) == 1


def test_what_needs_another_pool_is_refused(engine: ContainerEngine) -> None:
    present(wait=True)
    result = present(changes={"node_shape": "VM.GPU.A10.2"})
    assert codes(result) == ["new_node_pool_needed"]
    assert result["faults"][0]["found"] == "is VM.GPU.A10.1"
    assert engine.made("update_node_pool") == []


def test_new_image_is_for_new_nodes(engine: ContainerEngine) -> None:
    present(wait=True)
    newer = {"source_type": "IMAGE", "image_id": "ocid1.image.oc1.iad.newer", "boot_volume_size_in_gbs": 200}
    result = present(changes={"node_source_details": newer}, wait=True)
    assert [change["effect"] for change in result["changes"]] == ["new_nodes"]
    assert "from now on" in str(result["warnings"][0])
    assert engine.made("update_node_pool") == [{"node_source_details": newer}]


def test_tags_of_others_stay(engine: ContainerEngine) -> None:
    present(wait=True)
    pool = next(iter(engine.pools.values()))
    pool["freeform_tags"]["owner"] = "somebody"
    assert not present()["changed"]
    present(changes={"freeform_tags": {"multinode-inference-hash": "def"}}, wait=True)
    assert pool["freeform_tags"] == {**TAGS, "multinode-inference-hash": "def", "owner": "somebody"}


def test_equal_durations_and_orders_are_no_change(engine: ContainerEngine) -> None:
    placements = [
        {"availability_domain": f"Uocm:IAD-AD-{number}", "subnet_id": "ocid1.subnet.oc1.iad.a"} for number in (1, 2)
    ]
    config = {"size": 2, "placement_configs": placements, "nsg_ids": ["b", "a"]}
    present(changes={"node_config_details": config}, wait=True)
    pool = next(iter(engine.pools.values()))
    pool["node_eviction_node_pool_settings"]["eviction_grace_duration"] = "PT1H"
    config = {"size": 2, "placement_configs": placements[::-1], "nsg_ids": ["a", "b"]}
    assert not present(changes={"node_config_details": config})["changed"]


def test_failed_launch_speaks_the_work_requests_words(engine: ContainerEngine) -> None:
    words = "2 node(s) launch failure. Reason for failure on one of the nodes : Out of host capacity."
    engine.fail_work["NODEPOOL_CREATE"] = [words]
    result = present(wait=True)
    assert codes(result) == ["node_pool_out_of_host_capacity"]
    assert words in result["msg"]
    assert result["faults"][0]["work_request"] in engine.requests
    assert result["changed"], "the pool is there and bills"
    # The next run adopts it.
    assert not present()["changed"]


def test_wait_ends(engine: ContainerEngine) -> None:
    engine.work_seconds = 10_000
    result = run_module(oci_node_pool, {"definition": definition(), "wait": True, "wait_timeout": 600})
    assert codes(result) == ["node_pool_wait_timeout"]
    assert "CREATING after 600 s" in result["msg"]
    looks = len(engine.made("get_work_request"))
    assert looks <= 61, "a work request is looked at every ten seconds at most"


def test_delete_of_a_busy_pool(engine: ContainerEngine) -> None:
    present()
    assert codes(absent()) == ["cloud_conflict"]
    assert absent(wait=True)["changed"]
    assert next(iter(engine.pools.values()))["lifecycle_state"] == "DELETED"


def test_delete_waits_for_the_deletion_of_a_killed_run(engine: ContainerEngine) -> None:
    present(wait=True)
    absent()
    result = absent(wait=True)
    assert not result["changed"]
    assert next(iter(engine.pools.values()))["lifecycle_state"] == "DELETED"


def test_failed_drain_is_reported(engine: ContainerEngine) -> None:
    present(wait=True)
    engine.fail_work["NODEPOOL_DELETE"] = ["Pod(s) {a} of Node n could not be evicted."]
    result = absent(wait=True)
    assert codes(result) == ["node_pool_work_request_failed"]
    assert "could not be evicted" in result["msg"]


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"node_shap": "x"}, "unknown_field", "definition.node_shap"),
        (
            {"node_source_details": {"source_type": "IMAGE", "image": "x"}},
            "unknown_field",
            "definition.node_source_details.image",
        ),
        ({"node_config_details": {"size": "two"}}, "wrong_type", "definition.node_config_details.size"),
        ({"initial_node_labels": {"a": "b"}}, "wrong_type", "definition.initial_node_labels"),
    ],
)
def test_wrong_definition(engine: ContainerEngine, changes: dict[str, Any], code: str, where: str) -> None:
    result = present(changes=changes)
    assert [(fault["code"], fault["where"]) for fault in result["faults"]] == [(code, where)]
    assert engine.writes() == 0


def test_identity_given_twice_must_agree(engine: ContainerEngine) -> None:
    result = run_module(oci_node_pool, {"name": "mistral", "definition": definition()})
    assert result["failed"] and "definition.name is llama" in result["msg"]
    result = run_module(oci_node_pool, {"definition": {"name": "llama"}})
    assert result["failed"] and result["msg"].startswith("cluster_id is missing")


def test_a_change_waits_for_one_that_is_under_way(engine: ContainerEngine, clock: Clock) -> None:
    present(wait=True)
    present(3)
    began = clock.now
    assert present(4)["changed"] and clock.now - began >= 60
    engine.work_seconds = 10_000
    clock.sleep(100)
    present(5)
    assert codes(present(6)) == ["cloud_conflict"]


def test_nodes_are_asked_for_again_while_the_former_still_go(engine: ContainerEngine, clock: Clock) -> None:
    """A pause that was killed, and a resume right after it: bare metal takes a quarter of an hour to end."""
    present(wait=True)
    engine.work_seconds = 900
    assert present(0)["changed"]
    began = clock.now
    resumed = present(2)
    assert resumed["changed"] and clock.now - began >= 900
    (pool,) = engine.pools.values()
    assert pool["node_config_details"]["size"] == 2


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("InternalError", "Out of host capacity.", "out_of_host_capacity"),
        ("LimitExceeded", "limits were exceeded: gpu-a10-count", "limit_exceeded"),
        ("InternalError", "(400, QuotaExceeded, false) no more", "limit_exceeded"),
        ("InternalError", "something", ""),
    ],
)
def test_why_a_launch_failed(engine: ContainerEngine, clock: Clock, code: str, message: str, expected: str) -> None:
    engine.fail_work["NODEPOOL_CREATE"] = [message]
    present()
    clock.sleep(100)
    pool = next(iter(engine.pools.values()))
    pool["nodes"] = [
        {"id": "a", "lifecycle_state": "FAILING", "node_error": {"code": code, "message": message}},
        {"id": "b", "lifecycle_state": "ACTIVE"},
    ]
    (shown,) = run_module(oci_node_pool_info, {"cluster_id": CLUSTER})["node_pools"]
    failed, well = shown["nodes"]
    assert failed["fault"]["code"] == f"node_{expected or 'failed'}" and message in failed["fault"]["found"]
    assert well["fault"] is None
    if code == "InternalError":
        assert shown["faults"][-1]["code"] == f"node_pool_{expected or 'work_request_failed'}"
