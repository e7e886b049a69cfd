# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait's watch over the nodes, through the modules, against a service with state; time is virtual."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused, fault_of
from ansible_collections.multinode.inference.plugins.module_utils.core.health.observation import Observation
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.oci import node_pools
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from ansible_collections.multinode.inference.plugins.modules import (
    oci_node_pool,
    oci_node_pool_info,
    oci_node_replacement,
)
from ansible_collections.multinode.inference.plugins.plugin_utils import node_watch
from tests.unit.core.plans import cluster, facts, plan
from tests.unit.core.recipes import recipe
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, Clock, Connection, ContainerEngine, service_error
from tests.unit.plugins.modules.module_runner import run_module

MODULES = {
    "oci_node_pool": oci_node_pool,
    "oci_node_pool_info": oci_node_pool_info,
    "oci_node_replacement": oci_node_replacement,
}
NODES = 4


class Action:
    """What the watch needs of an action."""

    def __init__(self) -> None:
        self.done: dict[str, Any] = {}
        self.ran: list[str] = []

    def run_module(self, name: str, arguments: dict[str, Any], _task_vars: dict[str, Any]) -> dict[str, Any]:
        short = name.rpartition(".")[2]
        self.ran.append(short)
        result = run_module(MODULES[short], {key: value for key, value in arguments.items() if value is not None})
        if result.get("failed"):
            raise Refused([fault_of(fault) for fault in result["faults"]])
        return result


class Lines(list[str]):
    def say(self, phase: str, text: str, final: bool = False) -> None:
        self.append(text)


class Wait30:
    """A deployment's node pool in a service with state, and a wait that looks every two seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.clock = Clock()
        self.engine = ContainerEngine(self.clock)
        quick = functools.partial(Wait, clock=self.clock, sleep=self.clock.sleep)
        for module in MODULES.values():
            monkeypatch.setattr(module, "connect", lambda module, ocid: Connection(container_engine=self.engine))
        monkeypatch.setattr(oci_node_pool, "Wait", quick)
        monkeypatch.setattr(node_pools, "Wait", quick)
        monkeypatch.setattr(
            node_watch, "time", SimpleNamespace(monotonic=self.clock, time=lambda: 1.8e9 + self.clock())
        )
        found = facts(cluster=cluster(compartment_id=COMPARTMENT))
        inputs = read_inputs(recipe(oke_cluster_id=CLUSTER, **settings))
        self.plan = plan(found, oke_cluster_id=CLUSTER, **settings)
        self.action, self.lines = Action(), Lines()
        self.nodes: list[dict[str, Any]] = []
        kubernetes: Any = SimpleNamespace(items=lambda path: self.nodes)
        action: Any = self.action
        lines: Any = self.lines
        self.watch = node_watch.NodeWatch(action, kubernetes, self.plan, inputs.settings, lines, {})
        self.texts: list[str] = []

    def add_pool(self, *nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
        definition = {**self.plan["node_pool"], "lifecycle_state": "ACTIVE", "nodes": list(nodes), **more}
        return self.engine.pools[self.engine.add_pool(**definition)]

    def wait(self, minutes: float, nodes_ready: bool = False, left_after: float = 3600) -> None:
        """`left_after`: seconds of the whole wait that are left then."""
        until = self.clock() + minutes * 60
        while self.clock() < until:
            left = until - self.clock() + left_after
            self.texts.append(self.watch.look(Observation(nodes=self.nodes), nodes_ready, left))
            self.clock.sleep(2)


def entry(name: str, state: str = "ACTIVE") -> dict[str, Any]:
    return {"id": f"ocid1.instance.{name}", "name": name, "private_ip": name, "lifecycle_state": state}


def joined(name: str, gpus: int = 2) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"providerID": f"ocid1.instance.{name}"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"ephemeral-storage": "700Gi"},
            "allocatable": {"nvidia.com/gpu": str(gpus)},
        },
    }


def test_calls_of_a_wait_of_thirty_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of bare metal take that long; the facts allow a look at work requests every ten seconds."""
    wait = Wait30(monkeypatch)
    wait.engine.work_seconds = 3600
    present = {"definition": wait.plan["node_pool"]}
    run_module(oci_node_pool, present)
    wait.engine.calls.clear()
    times: list[float] = []
    calls = wait.engine._call

    def noted(operation: str, arguments: Any) -> None:
        if operation == "list_work_requests":
            times.append(wait.clock())
        calls(operation, arguments)

    monkeypatch.setattr(wait.engine, "_call", noted)
    wait.wait(30)
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) >= 10
    counts = {name: len(wait.engine.made(name)) for name in ("list_node_pools", "get_node_pool", "list_work_requests")}
    assert all(85 <= count <= 91 for count in counts.values()), counts
    assert len(wait.engine.calls) == sum(counts.values()), "and no others"
    assert wait.engine.writes() == 0


def test_nothing_is_asked_once_kubernetes_has_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch)
    wait.nodes = [joined(name) for name in "abcd"]
    wait.wait(30, nodes_ready=True)
    assert wait.action.ran == []
    assert set(wait.texts) == {""}
    wait.nodes[0]["status"]["capacity"]["ephemeral-storage"] = "40Gi"
    wait.add_pool(*(entry(name) for name in "abcd"))
    wait.wait(1, nodes_ready=True)
    assert [call["node"] for call in wait.engine.made("delete_node")] == ["ocid1.instance.a"]


def test_a_repair_is_said_and_stands_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch)
    pool = wait.add_pool(*(entry(name) for name in "abcd"))
    wait.nodes = [joined(name) for name in "abc"]
    wait.wait(14)
    assert wait.watch.repairs == [] and wait.engine.writes() == 0
    assert "node d is ACTIVE in Oracle Cloud and not in Kubernetes for 13m" in wait.texts[-1]
    wait.wait(2)
    assert [call["node"] for call in wait.engine.made("delete_node")] == ["ocid1.instance.d"]
    (repair,) = wait.watch.repairs
    assert (repair["code"], repair["action"], repair["id"]) == ("node_not_joined", "replaced", "ocid1.instance.d")
    assert wait.action.done == {"changed": True, "repairs": wait.watch.repairs}
    assert [line for line in wait.lines if "replaced" in line]
    assert pool["node_config_details"]["size"] == NODES


def test_a_conflict_puts_a_repair_off(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch, node_repair_limit=1)
    wait.add_pool(entry("a", "FAILING"), *(entry(name) for name in "bcd"))
    wait.nodes = [joined(name) for name in "bcd"]
    wait.engine.faults["delete_node"] = [service_error(409, "IncorrectState")]
    wait.wait(0.5)
    assert len(wait.engine.made("delete_node")) == 2
    assert len(wait.watch.repairs) == 1


def test_short_of_hosts_the_pool_is_scaled_to_zero_and_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch)
    elsewhere = [{"availability_domain": "x:IAD-AD-2", "subnet_id": "s"}]
    wait.watch._repair._others.append(elsewhere)
    error = {"code": "InternalError", "message": "Out of host capacity."}
    pool = wait.add_pool(entry("a"), {**entry("b", "FAILING"), "node_error": error})
    wait.wait(0.5)
    assert wait.engine.made("update_node_pool") == [{"node_config_details": {"size": 0}}]
    pool["nodes"] = []
    wait.wait(2)
    update = wait.engine.made("update_node_pool")[1]
    assert update["node_config_details"]["size"] == NODES
    (placement,) = update["node_config_details"]["placement_configs"]
    assert placement["availability_domain"] == "x:IAD-AD-2"
    assert update["freeform_tags"] != wait.plan["node_pool"]["freeform_tags"], "the hash follows the place"
    assert [entry["action"] for entry in wait.watch.repairs] == ["scaled to zero", "moved to x:IAD-AD-2"]


def test_released_in_the_work_requests_words(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch, on_shortfall="release")
    error = {"code": "InternalError", "message": "Out of host capacity."}
    pool = wait.add_pool(entry("a"), {**entry("b", "FAILING"), "node_error": error})
    wait.wait(0.5)
    pool["nodes"] = []
    with pytest.raises(Refused) as refused:
        wait.wait(2)
    assert [fault.code for fault in refused.value.faults] == ["node_out_of_host_capacity", "node_pool_released"]
    assert wait.action.done["changed"]


def test_a_cloud_that_is_away_for_a_while_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch)
    wait.add_pool(*(entry(name) for name in "abcd"))
    wait.engine.faults["list_node_pools"] = [service_error(503, "ServiceUnavailable")] * 3
    wait.wait(0.9)
    assert "503" in wait.texts[-1]
    wait.wait(0.5)
    assert "4/4 of its nodes ACTIVE" in wait.texts[-1]
    wait.engine.faults["list_node_pools"] = [service_error(404, "NotAuthorizedOrNotFound")]
    with pytest.raises(Refused):
        wait.wait(1)


def test_what_is_still_launched_when_the_wait_ends_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch, on_shortfall="release")
    wait.engine.work_seconds = 600
    run_module(oci_node_pool, {"definition": wait.plan["node_pool"]})
    wait.wait(1, left_after=-60)
    assert wait.watch.emptying and wait.engine.made("update_node_pool") == []
    assert "released once this change has finished" in wait.texts[-1]
    with pytest.raises(Refused) as refused:
        wait.wait(30, left_after=-3600)
    assert [fault.code for fault in refused.value.faults] == ["timeout", "node_pool_released"]
    assert [call["node_config_details"]["size"] for call in wait.engine.made("update_node_pool")] == [0]
    assert [entry["action"] for entry in wait.watch.repairs] == ["scaled to zero"]


def test_a_pool_that_is_not_seen_any_more_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch, on_shortfall="release")
    wait.add_pool(entry("a"), lifecycle_state="UPDATING")
    wait.wait(0.1, left_after=-60)
    assert wait.watch.emptying
    wait.engine.pools.clear()
    wait.wait(14, left_after=-3600)
    assert wait.watch.emptying
    wait.wait(2, left_after=-3600)
    assert not wait.watch.emptying


def test_without_a_pool_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Wait30(monkeypatch)
    wait.watch._pool = None
    wait.wait(1)
    assert wait.action.ran == []
