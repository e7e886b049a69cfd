# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches which port of a group: every pair of pod and port, for every exposure.

The rig's network enforces no policies; these tests evaluate the objects (network_policies.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameter_objects import STATUS_PORT

from ..plans import EXPOSURES, exposed, plan
from .network_policies import Pod, allowed

NAMESPACE = "rayclustervmtest"
# Of Ray, NCCL, Gloo and vLLM: taken as they come, and those that are fixed.
OTHER_PORTS = [22, 80, 443, 8081, 10002, 19999, 29500, 32768, 52365, 60999, 65535]


def made(**changes: Any) -> tuple[list[dict[str, Any]], dict[str, Pod], dict[str, int]]:
    """The policies of a plan, the pods around them, and the ports that it names."""
    made_plan = plan(**changes)
    objects = render(made_plan, {})
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    spec = next(item for item in objects if item["kind"] == "RayCluster")["spec"]
    ports = {**made_plan["pod"]["ports"], "status": STATUS_PORT}
    pods = {}
    for role, group in (("head", spec["headGroupSpec"]), ("worker", spec["workerGroupSpecs"][0])):
        # What KubeRay adds to a template's own labels (common/pod.go).
        own = {"ray.io/cluster": NAMESPACE, "ray.io/node-type": role, "ray.io/is-ray-node": "yes"}
        named = {
            entry["name"]: entry["containerPort"]
            for entry in group["template"]["spec"]["containers"][0].get("ports", ())
        }
        pods[role] = Pod(role, NAMESPACE, {**group["template"]["metadata"]["labels"], **own}, ports=named)
    strange = {"ray.io/cluster": "another", "ray.io/node-type": "head"}
    pods["neighbour"] = Pod("neighbour", NAMESPACE, strange)
    pods["elsewhere"] = Pod("elsewhere", "another", strange, {"kubernetes.io/metadata.name": "another"})
    # The same labels give no right in another namespace.
    pods["impostor"] = Pod("impostor", "another", pods["worker"].labels, {"kubernetes.io/metadata.name": "another"})
    pods["internet"] = Pod("internet", address="203.0.113.7")
    return policies, pods, ports


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_the_groups_own_pods_reach_each_other_on_every_port(exposure: str) -> None:
    policies, pods, ports = made(**exposed(exposure))
    for source in ("head", "worker"):
        for target in ("head", "worker"):
            for port in (*ports.values(), *OTHER_PORTS):
                assert allowed(policies, pods[source], pods[target], port)
                assert allowed(policies, pods[source], pods[target], port, "UDP")


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_others_reach_what_is_exposed_and_nothing_else(exposure: str) -> None:
    policies, pods, ports = made(**exposed(exposure))
    outside = exposure != "none"
    dashboard = {ports["dashboard"]} if outside else set()
    open_to = {
        "neighbour": {ports["api"]} | dashboard,
        "elsewhere": {ports["api"]} | dashboard,
        "impostor": {ports["api"]} | dashboard,
        "internet": ({ports["api"]} | dashboard) if outside else set(),
    }
    for source, wanted in open_to.items():
        for port in {*ports.values(), *OTHER_PORTS}:
            assert allowed(policies, pods[source], pods["head"], port) == (port in wanted), (source, port)
            assert not allowed(policies, pods[source], pods["head"], port, "UDP"), (source, port)


@pytest.mark.parametrize(
    "changes", [{"endpoint_tls": "none"}, {"endpoint_dashboard": False}, {"endpoint_tls_to_pod": True}]
)
def test_a_dashboard_that_is_not_exposed_is_closed_to_others(changes: dict[str, Any]) -> None:
    policies, pods, ports = made(**exposed("load_balancer", **changes))
    assert not allowed(policies, pods["internet"], pods["head"], ports["dashboard"])
    assert not allowed(policies, pods["neighbour"], pods["head"], ports["dashboard"])
    assert allowed(policies, pods["internet"], pods["head"], ports["api"])


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_nobody_else_reaches_a_worker(exposure: str) -> None:
    """The endpoint's Service selects the head alone; a worker has nothing to offer."""
    policies, pods, ports = made(**exposed(exposure))
    for source in ("neighbour", "elsewhere", "impostor", "internet"):
        for port in {*ports.values(), *OTHER_PORTS}:
            assert not allowed(policies, pods[source], pods["worker"], port), (source, port)


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_metrics_are_read_from_the_namespaces_that_are_named(exposure: str) -> None:
    policies, pods, ports = made(**exposed(exposure), metrics_namespaces=["another"])
    others = {*ports.values(), *OTHER_PORTS} - {ports["api"], ports["dashboard"]}
    for target in ("head", "worker"):
        for port in others:
            assert allowed(policies, pods["elsewhere"], pods[target], port) == (port in (ports["metrics"], STATUS_PORT))
            assert not allowed(policies, pods["neighbour"], pods[target], port)
            assert not allowed(policies, pods["internet"], pods[target], port)


def test_other_pods_of_the_namespace_are_left_as_they_are() -> None:
    policies, pods, ports = made()
    assert all(allowed(policies, pods["elsewhere"], pods["neighbour"], port) for port in ports.values())


class TestTheEvaluator:
    """What it says of policies whose meaning the API's documentation spells out."""

    HERE = Pod("here", "a", {"app": "x"}, {"name": "a"}, {"web": 8080})
    THERE = Pod("there", "b", {"app": "y"}, {"name": "b"})
    OUTSIDE = Pod("outside", address="192.0.2.5")

    def policy(self, *rules: dict[str, Any], selector: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return [{"metadata": {"namespace": "a"}, "spec": {"podSelector": selector or {}, "ingress": list(rules)}}]

    def test_no_rule_is_nothing_and_an_empty_rule_everything(self) -> None:
        assert not allowed(self.policy(), self.THERE, self.HERE, 80)
        assert allowed(self.policy({}), self.OUTSIDE, self.HERE, 80)
        assert allowed([], self.OUTSIDE, self.HERE, 80)
        assert allowed(self.policy(selector={"matchLabels": {"app": "other"}}), self.THERE, self.HERE, 80)

    def test_selectors_of_a_peer_are_joined_and_peers_are_alternatives(self) -> None:
        both = {"namespaceSelector": {"matchLabels": {"name": "b"}}, "podSelector": {"matchLabels": {"app": "x"}}}
        assert not allowed(self.policy({"from": [both]}), self.THERE, self.HERE, 80)
        either = [{"namespaceSelector": {"matchLabels": {"name": "b"}}}, {"podSelector": {}}]
        assert allowed(self.policy({"from": either}), self.THERE, self.HERE, 80)
        assert not allowed(self.policy({"from": [{"podSelector": {}}]}), self.THERE, self.HERE, 80)
        expression = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["y"]}]}
        assert not allowed(
            self.policy({"from": [{"namespaceSelector": {}, "podSelector": expression}]}), self.THERE, self.HERE, 80
        )

    def test_ports_and_addresses(self) -> None:
        assert allowed(self.policy({"ports": [{"port": "web"}]}), self.THERE, self.HERE, 8080)
        assert not allowed(self.policy({"ports": [{"port": "web"}]}), self.THERE, self.HERE, 8081)
        between = self.policy({"ports": [{"port": 9000, "endPort": 9010}]})
        assert [allowed(between, self.THERE, self.HERE, port) for port in (8999, 9000, 9010, 9011)] == [
            False, True, True, False,
        ]  # fmt: skip
        block = self.policy({"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}]})
        assert allowed(block, self.OUTSIDE, self.HERE, 80)
        assert not allowed(block, Pod("outside", address="192.0.2.200"), self.HERE, 80)
        assert not allowed(self.policy({"from": [{"namespaceSelector": {}}]}), self.OUTSIDE, self.HERE, 80)
