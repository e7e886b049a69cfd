# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a pool's nodes, with a clock of the test's own."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.node_health import (
    Wanted,
    quantity,
    small_disks,
    unmatched,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.health.node_repair import (
    EMPTY_SECONDS,
    Decision,
    Limits,
    Repair,
)

BEGIN = 1_700_000_000.0
WANTED = Wanted(size=2, gpus=1, boot_volume_gb=200, join_seconds=900, gpu_seconds=600)
LIMITS = Limits(repairs=2, keep_seconds=1800, usd_per_node_hour=2.0)
AD = [[{"availability_domain": f"x:AD-{number}", "subnet_id": "s"}] for number in (1, 2, 3)]
CAPACITY = {"code": "node_out_of_host_capacity", "where": "node b", "found": "FAILING: Out of host capacity."}
SHORT = {**CAPACITY, "code": "node_pool_out_of_host_capacity", "found": "work request FAILED: Out of host capacity."}
FAILED = {"code": "node_failed", "where": "node b", "found": "FAILING: InternalError", "remedy": "see"}


def entry(name: str, state: str = "ACTIVE", fault: Any = None) -> dict[str, Any]:
    return {"id": f"ocid1.instance.{name}", "private_ip": name, "lifecycle_state": state, "fault": fault}


def pool(*nodes: dict[str, Any], state: str = "ACTIVE", work: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    faults = [node["fault"] for node in nodes if node["fault"]]
    return {
        "id": "ocid1.nodepool.p",
        "lifecycle_state": state,
        "nodes": list(nodes),
        "faults": faults,
        "work_request": {"status": work},
        "node_config_details": {"placement_configs": AD[0]},
        **more,
    }


def when(seconds: float) -> str:
    return datetime.fromtimestamp(BEGIN + seconds, timezone.utc).isoformat()


def node(name: str, gpus: int = 1, ready: bool = True, disk: str = "180Gi", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": when(0)},
        "spec": {"providerID": f"ocid1.instance.{name}", **spec},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": when(0)}],
            "capacity": {"ephemeral-storage": disk},
            "allocatable": {"nvidia.com/gpu": str(gpus)} if gpus else {},
        },
    }


class Looks:
    """A repair that is asked at times of the test's own, seconds after the beginning."""

    def __init__(self, others: list[Any] | None = None, **changes: Any) -> None:
        self.repair = Repair(WANTED, Limits(**{**LIMITS.__dict__, **changes}), others or [])
        self.deadline = BEGIN + 7200

    def __call__(self, seen: dict[str, Any], nodes: list[dict[str, Any]], at: float, pods: int = 0) -> Decision:
        return self.repair.look(seen, nodes, pods, BEGIN + at, self.deadline)


def replaced(decision: Decision) -> list[tuple[str, str]]:
    return [(found.node_id.rpartition(".")[2], found.code) for found in decision.replace]


def codes(decision: Decision) -> list[str]:
    return [fault["code"] for fault in decision.faults]


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_nothing_is_done_about_nodes_that_are_well_or_on_their_way(looks: Looks) -> None:
    for seen, nodes in [
        (pool(entry("a"), entry("b")), [node("a"), node("b")]),
        (pool(entry("a", "CREATING"), entry("b", "DELETING"), state="UPDATING"), []),
        (pool(state="CREATING", work="IN_PROGRESS"), []),
        (pool(entry("b", "FAILING", FAILED), work="IN_PROGRESS"), []),
    ]:
        decision = looks(seen, nodes, 100_000)
        assert decision == Decision(decision.text)


def test_a_node_that_never_joins_is_replaced_after_the_bound_and_said_before(looks: Looks) -> None:
    seen = pool(entry("a"), entry("b"))
    early = looks(seen, [node("a")], 0)
    assert not early.replace
    assert looks(seen, [node("a")], 300).text.endswith(
        "node b is ACTIVE in Oracle Cloud and not in Kubernetes for 5m00s, 15m00s at most"
    )
    assert not looks(seen, [node("a")], 899).replace
    assert replaced(looks(seen, [node("a")], 900)) == [("b", "node_not_joined")]


def test_a_run_that_goes_on_counts_from_the_end_of_the_launch(looks: Looks) -> None:
    seen = pool(entry("a"), entry("b"))
    seen["work_request"]["time_finished"] = when(-800)
    assert not looks(seen, [node("a")], 0).replace
    assert replaced(looks(seen, [node("a")], 100)) == [("b", "node_not_joined")]


def test_a_node_joins_by_its_address_where_it_names_no_instance() -> None:
    seen = pool(entry("10.0.0.5"))
    for joined in (
        {"metadata": {"name": "10.0.0.5"}},
        {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.5"}]}},
        {"metadata": {"name": "n"}, "spec": {"providerID": "oci://ocid1.instance.10.0.0.5"}},
    ):
        assert unmatched(seen, [joined]) == []
    assert unmatched(seen, [{"metadata": {"name": "10.0.0.6"}}]) == ["ocid1.instance.10.0.0.5"]


@pytest.mark.parametrize(
    ("broken", "code", "bound"),
    [
        (node("b", ready=False), "node_not_ready", 900),
        (node("b", gpus=0), "node_without_gpus", 600),
        (node("b", disk="46Gi"), "node_small_disk", 0),
        (node("b", disk="45900000Ki", gpus=0), "node_small_disk", 0),
    ],
)
def test_what_is_wrong_with_a_node_that_joined(looks: Looks, broken: dict[str, Any], code: str, bound: float) -> None:
    seen = pool(entry("a"), entry("b"))
    if bound:
        assert not looks(seen, [node("a"), broken], 0).replace
        assert not looks(seen, [node("a"), broken], bound - 1).replace
    assert replaced(looks(seen, [node("a"), broken], bound)) == [("b", code)]


def test_gpus_that_were_away_for_a_moment_begin_to_count_anew(looks: Looks) -> None:
    seen = pool(entry("a"), entry("b"))
    looks(seen, [node("a"), node("b", gpus=0)], 0)
    looks(seen, [node("a"), node("b")], 500)
    looks(seen, [node("a"), node("b", gpus=0)], 550)
    assert not looks(seen, [node("a"), node("b", gpus=0)], 1000).replace


def test_a_failed_launch_is_replaced_at_once_and_not_twice(looks: Looks) -> None:
    seen = pool(entry("a"), entry("b", "FAILING", FAILED), work="FAILED")
    assert replaced(looks(seen, [node("a")], 0)) == [("b", "node_failed")]
    leaving = pool(entry("a"), entry("b", "DELETING"), state="UPDATING", work="IN_PROGRESS")
    assert looks(leaving, [node("a")], 20).replace == ()
    # Another run that begins now sees the same and does nothing either.
    assert Looks()(leaving, [node("a")], 20).replace == ()


def test_repairs_are_bounded(looks: Looks) -> None:
    for number, name in enumerate("bc"):
        assert replaced(looks(pool(entry("a"), entry(name, "FAILING", FAILED)), [node("a")], number))
    refused = looks(pool(entry("a"), entry("d", "FAILING", FAILED)), [node("a")], 3)
    assert not refused.replace and codes(refused) == ["node_failed", "group_incomplete"]
    assert "node_repair_limit" in refused.faults[0]["remedy"]
    assert "cost 2.00 US dollars an hour and serve nothing" in refused.faults[1]["found"]
    assert codes(Looks(repairs=0)(pool(entry("b", "FAILING", FAILED)), [], 0)) == ["node_failed", "group_incomplete"]


def test_more_failures_than_may_be_repaired_are_refused_before_any_is(looks: Looks) -> None:
    nodes = [entry(name, "FAILING", FAILED) for name in "abc"]
    refused = looks(pool(*nodes), [], 0)
    assert not refused.replace and codes(refused) == ["node_failed"] * 3 + ["group_incomplete"]


def test_a_node_that_fails_as_the_one_before_it_is_a_common_cause(looks: Looks) -> None:
    first = [node("a"), node("b", disk="40Gi")]
    assert replaced(looks(pool(entry("a"), entry("b")), first, 0)) == [("b", "node_small_disk")]
    refused = looks(pool(entry("a"), entry("c")), [node("a"), node("c", disk="40Gi")], 200)
    assert not refused.replace and codes(refused) == ["node_small_disk", "group_incomplete"]
    assert "common" in refused.faults[0]["remedy"]


def test_a_repair_that_the_service_did_not_begin_is_not_counted() -> None:
    looks = Looks(repairs=1)
    seen = pool(entry("a"), entry("b", "FAILING", FAILED))
    (found,) = looks(seen, [node("a")], 0).replace
    looks.repair.not_replaced(found)
    assert replaced(looks(seen, [node("a")], 20)) == [("b", "node_failed")]


@pytest.mark.parametrize("code", ["node_pool_work_request_failed", "node_pool_not_active"])
def test_what_no_node_stands_for_is_refused_in_its_own_words(looks: Looks, code: str) -> None:
    fault = {"code": code, "where": "pool", "found": "said by the cloud"}
    refused = looks(pool(entry("a"), work="CANCELED", faults=[fault]), [node("a")], 0)
    assert codes(refused) == [code, "group_incomplete"] and refused.faults[0]["found"] == "said by the cloud"


def short(work: str = "FAILED", **more: Any) -> dict[str, Any]:
    seen = pool(entry("a"), entry("b", "FAILING", CAPACITY), work=work, **more)
    return {**seen, "faults": [CAPACITY, SHORT]}


def test_short_of_hosts_the_pool_goes_to_the_next_domain_by_way_of_zero() -> None:
    looks = Looks(others=AD[1:])
    first = looks(short(), [node("a")], 0)
    assert first.empty and not first.replace and "x:AD-2" in first.reason
    assert "work request FAILED: Out of host capacity." in first.reason
    assert looks.repair.emptying
    for state in ("UPDATING", "ACTIVE"):
        waiting = looks(pool(entry("a", "DELETING"), state=state), [], 20)
        assert not waiting.empty and waiting.move is None and "1 nodes left" in waiting.text
    assert looks(pool(), [], 40, pods=1).move is None, "it would come up on a node of the same address"
    assert looks(pool(), [], 60).move == AD[1]
    assert not looks.repair.emptying
    moved_there = {"node_config_details": {"placement_configs": AD[1]}}
    assert looks(short(**moved_there), [node("a")], 120).empty
    assert looks(pool(**moved_there), [], 180).move == AD[2]
    there = {"node_config_details": {"placement_configs": AD[2]}}
    assert not looks(short(**there), [node("a")], 240).empty, "no domain is left: kept"


def test_short_of_hosts_a_part_is_kept_asked_for_again_and_given_back(looks: Looks) -> None:
    first = looks(short(), [node("a")], 0)
    assert not first.empty and not first.again
    assert "1 of 2 nodes cost 2.00 US dollars an hour and serve nothing, kept for 30m00s more" in first.text
    asked = [at for at in range(20, 1800, 20) if looks(short(), [node("a")], at).again]
    assert asked == [300, 600, 900, 1200, 1500]
    assert looks(short(), [node("a")], 1800).empty
    assert looks.repair.emptying
    released = looks(pool(), [], 1860)
    assert codes(released) == [CAPACITY["code"], SHORT["code"], "node_pool_released"]


def test_capacity_that_comes_back_ends_the_keeping(looks: Looks) -> None:
    looks(short(), [node("a")], 0)
    looks(pool(entry("a"), entry("c")), [node("a"), node("c")], 1000)
    assert not looks(short(), [node("a")], 1900).empty


def test_release_is_at_once_where_asked() -> None:
    assert Looks(keep_seconds=0)(short(), [node("a")], 0).empty


def test_the_end_of_the_wait_is_the_end_of_keeping(looks: Looks) -> None:
    looks.deadline = BEGIN + 100
    assert not looks(short(), [node("a")], 90).empty
    assert looks(short(), [node("a")], 100).empty


def test_a_later_run_asks_once_before_it_gives_back(looks: Looks) -> None:
    seen = short()
    seen["work_request"]["time_finished"] = when(-90_000)
    assert looks(seen, [node("a")], 0).again
    assert looks(short(work="IN_PROGRESS"), [node("a")], 20).again == ()
    assert looks(short(), [node("a")], 40).empty


def test_nodes_that_do_not_leave_are_said_to_bill() -> None:
    looks = Looks(keep_seconds=0)
    looks(short(), [node("a")], 0)
    refused = looks(pool(entry("a", "DELETING")), [], EMPTY_SECONDS)
    assert codes(refused)[-1] == "node_pool_not_released" and "bill" in refused.faults[-1]["remedy"]


def launching(since: float, *nodes: dict[str, Any]) -> dict[str, Any]:
    seen = pool(*nodes, state="UPDATING", work="IN_PROGRESS")
    seen["work_request"]["time_accepted"] = when(since)
    return seen


def launched(*nodes: dict[str, Any], since: float = 0, **more: Any) -> dict[str, Any]:
    seen = pool(*nodes, **more)
    seen["work_request"] |= {"time_accepted": when(since), "time_finished": when(since)}
    return seen


def test_a_launch_that_outlasts_the_wait_is_given_back_once_it_takes_a_change(looks: Looks) -> None:
    looks.deadline = BEGIN + 7200
    assert not looks(launching(0), [], 7199).empty and not looks.repair.emptying
    waiting = looks(launching(0, entry("a"), entry("b", "CREATING")), [], 7200)
    assert not waiting.empty and looks.repair.emptying and "released" in waiting.text
    assert looks(launched(entry("a"), entry("b")), [node("a")], 7220).empty
    released = looks(pool(), [], 7240)
    assert codes(released) == ["timeout", "node_pool_released"]
    assert "wait_timeout_minutes" in released.faults[0]["expected"]
    assert not looks.repair.emptying


def test_a_young_launch_is_kept_for_the_next_run_unless_release_is_asked_for() -> None:
    kept = Looks()
    kept.deadline = BEGIN + 600
    decision = kept(launching(0, entry("a")), [], 600)
    assert decision == Decision(decision.text) and not kept.repair.emptying, "the wait may end"
    assert kept(launched(entry("a"), entry("b")), [node("a")], 600) == Decision(
        "node pool ACTIVE, 2/2 of its nodes ACTIVE; node b is ACTIVE in Oracle Cloud and not in Kubernetes for 10m00s, "
        "15m00s at most"
    )
    released = Looks(keep_seconds=0)
    released.deadline = BEGIN + 600
    released(launching(0, entry("a")), [], 600)
    assert released.repair.emptying
    at_once = Looks(keep_seconds=0)
    at_once.deadline = BEGIN + 600
    assert at_once(launched(entry("a"), entry("b")), [node("a")], 600).empty


def test_a_group_that_is_whole_after_all_is_not_given_back() -> None:
    looks = Looks(keep_seconds=0)
    looks.deadline = BEGIN + 600
    looks(launching(0, entry("a")), [], 600)
    whole = looks(launched(entry("a"), entry("b")), [node("a"), node("b", gpus=0)], 640)
    assert whole == Decision(whole.text) and not looks.repair.emptying


def test_nodes_that_may_have_served_are_not_taken_for_being_late() -> None:
    looks = Looks(keep_seconds=0)
    looks.deadline = BEGIN + 60
    decision = looks(launched(entry("a"), entry("b"), since=-1e6), [node("a"), node("b", ready=False)], 60)
    assert decision == Decision(decision.text)


def test_when_the_wait_is_over_nothing_is_launched_any_more() -> None:
    looks = Looks(others=AD[1:])
    looks.deadline = BEGIN + 100
    assert looks(short(), [node("a")], 90).empty
    assert codes(looks(pool(), [], 110))[-1] == "node_pool_released", "not moved"
    late = Looks(others=AD[1:])
    late.deadline = BEGIN + 100
    assert "no other availability domain" in late(short(), [node("a")], 100).reason
    failed = launched(entry("a"), entry("b", "FAILING", FAILED))
    young = Looks()
    young.deadline = BEGIN + 100
    assert not young(failed, [node("a")], 100).replace


def test_a_launch_that_never_ends_is_said_to_bill() -> None:
    looks = Looks(keep_seconds=0)
    looks.deadline = BEGIN
    looks(launching(0, entry("a")), [], 0)
    refused = looks(launching(0, entry("a")), [], EMPTY_SECONDS)
    assert codes(refused) == ["timeout", "node_pool_not_released"] and not looks.repair.emptying


def test_a_small_disk_is_told_by_the_boot_volume() -> None:
    def small(disk: str, boot_volume: int) -> bool:
        wanted = Wanted(1, 1, boot_volume, 900, 600)
        return bool(small_disks([node("a", disk=disk)], wanted))

    assert small("46Gi", 100) and small("36Gi", 200)
    assert not small("82Gi", 100) and not small("46Gi", 60) and not small("", 200)
    assert not small_disks([node("a", disk="40Gi", ready=False)], WANTED)


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("1Ki", 1024), ("2k", 2000), ("1.5Gi", 1.5 * 2**30), ("", 0)])
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == value
