# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health.paused import paused_record
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    COST_ANNOTATION,
    ENDPOINT_ANNOTATION,
    FIELDS_ANNOTATION,
    PRICE_ANNOTATION,
    VALUES_ANNOTATION,
)
from ansible_collections.multinode.inference.plugins.module_utils.kube.deployment import (
    MOST_PHASES,
    RAYCLUSTERS,
    Observer,
    list_deployments,
    nearest_deployment,
)
from ansible_collections.multinode.inference.plugins.module_utils.kube.operator import DEPLOYMENTS

STAGED = 'multinode {"phase": "staging", "state": "done"}'


class Cluster:
    """A pod on each of two nodes; what is asked of its log is noted."""

    def __init__(self, ready: str = "True", fault: Fault | None = None) -> None:
        self.fault = fault
        self.read_logs: list[str] = []
        self.nodes = [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}
            for name, status in (("a", "True"), ("b", ready))
        ]
        self.pods = [
            {
                "metadata": {"name": f"on-{name}"},
                "spec": {"nodeName": name},
                "status": {"containerStatuses": [{"name": "ray", "state": {"running": {"startedAt": "x"}}}]},
            }
            for name in ("a", "b")
        ]

    def get(self, path: str, **query: Any) -> Any:
        return None

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return {"nodes": self.nodes, "pods": self.pods}.get(path.rpartition("/")[2], [])

    def read(self, path: str, **query: Any) -> bytes:
        self.read_logs.append(path.split("/")[-2])
        if self.fault and "on-b" in path:
            raise Refused([self.fault])
        return STAGED.encode()


def look(cluster: Any) -> list[str]:
    seen = Observer(cluster, "llama", "llama").look()
    assert all(json.dumps(phases) for phases in seen.progress.values())
    return sorted(name for name, phases in seen.progress.items() if "staging" in phases)


def test_logs_of_pods_on_nodes_that_are_not_ready_are_not_waited_for() -> None:
    cluster = Cluster(ready="Unknown")
    assert look(cluster) == ["on-a"]
    assert cluster.read_logs == ["on-a"]


@pytest.mark.parametrize("code", ["kubernetes", "unreachable"])
def test_a_log_that_cannot_be_read_ends_no_wait(code: str) -> None:
    assert look(Cluster(fault=Fault(code, "Kubernetes API", "500 no preferred addresses found"))) == ["on-a"]


def test_a_log_that_may_not_be_read_is_a_fault() -> None:
    with pytest.raises(Refused):
        look(Cluster(fault=Fault("forbidden", "kubeconfig", "403")))


def raycluster(name: str, **annotations: str) -> dict[str, Any]:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "metadata": {
            "name": name, "namespace": name, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1,
            "annotations": annotations,
        },
        "spec": {"headGroupSpec": {"template": {"spec": {"containers": [limits]}}}, "workerGroupSpecs": []},
        "status": {"observedGeneration": 1},
    }  # fmt: skip


class Clusters(Cluster):
    """Deployments of any shape."""

    def __init__(self, *found: dict[str, Any]) -> None:
        super().__init__()
        self.found = list(found)

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return self.found if path == RAYCLUSTERS else super().items(path, **query)


def no_containers(item: dict[str, Any]) -> None:
    item["spec"]["headGroupSpec"]["template"]["spec"]["containers"] = []


def odd_gpus(item: dict[str, Any]) -> None:
    item["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1k"


def odd_time(item: dict[str, Any]) -> None:
    item["metadata"]["creationTimestamp"] = "x"


@pytest.mark.parametrize("change", [no_containers, odd_gpus, odd_time])
def test_a_deployment_that_cannot_be_understood_hides_no_other(change: Any) -> None:
    odd = raycluster("odd")
    change(odd)
    cluster: Any = Clusters(odd, raycluster("fine"))
    rows = list_deployments(cluster)
    assert [(row["name"], row["state"] == "Unknown") for row in rows] == [("odd", True), ("fine", False)]
    assert rows[0].keys() == rows[1].keys() and not rows[0]["ready"]
    assert "cannot be parsed" in rows[0]["failure"]["found"]


@pytest.mark.parametrize("name", [FIELDS_ANNOTATION, VALUES_ANNOTATION, COST_ANNOTATION, PRICE_ANNOTATION])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"total": 1e999}', "NaN", '{"nodes": "1"}', "[]", "\x1b", '{"total": true}']
)
def test_a_record_that_anybody_wrote_is_no_more_than_an_empty_one(name: str, text: str) -> None:
    cluster: Any = Clusters(raycluster("odd", **{name: text}))
    (row,) = list_deployments(cluster)
    assert row["state"] != "Unknown" and row["cost"] == {} and row["usd_per_hour"] is None


def test_the_recorded_cost_and_the_time_of_creation_are_read() -> None:
    record = '{"nodes": 4.0, "total": 4.1, "price_date": "2026-01", "file_systems": 1}'
    cluster: Any = Clusters(raycluster("a", **{COST_ANNOTATION: record}))
    (row,) = list_deployments(cluster)
    assert (row["cost"]["nodes"], row["cost"]["total"], row["cost"]["file_systems"]) == (4.0, 4.1, 1)
    assert row["created"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("code", "raised"), [("forbidden", False), ("unreachable", True)])
def test_a_deployment_whose_pods_may_not_be_read_hides_no_other_where_all_are_listed(code: str, raised: bool) -> None:
    class Closed(Clusters):
        def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
            if "/namespaces/closed/pods" in path:
                raise Refused([Fault(code, "pods", "no")])
            return super().items(path, **query)

    cluster: Any = Closed(raycluster("closed"), raycluster("fine"))
    with pytest.raises(Refused):
        list_deployments(cluster)
    if raised:
        with pytest.raises(Refused):
            list_deployments(cluster, with_endpoint=True)
        return
    rows = list_deployments(cluster, with_endpoint=True)
    assert [(row["name"], row["state"] == "Unknown") for row in rows] == [("closed", True), ("fine", False)]
    assert rows[0]["failure"]["code"] == "forbidden" and rows[0].keys() == rows[1].keys()


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [('{"tls": "none"}', {"tls": "none"}), ("nonsense", {}), ("[]", {}), ("[" * 9000, {}), (None, {})],
)
def test_the_endpoint_is_what_the_service_says_where_it_is_asked_for(
    text: str | None, endpoint: dict[str, Any]
) -> None:
    class WithService(Clusters):
        def get(self, path: str, **query: Any) -> Any:
            if path.endswith("/services/fine-api"):
                return {"metadata": {"annotations": {ENDPOINT_ANNOTATION: text} if text else {}}}
            return super().get(path, **query)

    cluster: Any = WithService(raycluster("fine"))
    assert list_deployments(cluster, with_endpoint=True)[0]["endpoint"] == endpoint
    assert "endpoint" not in list_deployments(cluster)[0]


@pytest.mark.parametrize("price", ["abc", "nan", "1e999", ""])
def test_a_price_that_is_no_number_is_none(price: str) -> None:
    cluster: Any = Clusters(raycluster("fine", **{PRICE_ANNOTATION: price}))
    [row] = list_deployments(cluster)
    assert row["usd_per_hour"] is None and row["state"] != "Unknown"


def test_a_paused_one_costs_what_it_keeps_and_not_its_nodes() -> None:
    class Balanced(Clusters):
        def get(self, path: str, **query: Any) -> Any:
            return {"metadata": {"annotations": {ENDPOINT_ANNOTATION: '{"exposure": "load_balancer"}'}}}

    item = raycluster("night", **{PRICE_ANNOTATION: "160", **paused_record("2026-11-30T20:00:00Z", "alice@ws1")})
    item["spec"]["suspend"] = True
    cluster: Any = Balanced(item)
    [row] = list_deployments(cluster, with_endpoint=True)
    assert (row["state"], row["ready"], row["usd_per_hour"], row["failure"]) == ("Paused", False, 0.0113, None)
    assert row["paused"]["by"] == "alice@ws1" and row["paused"]["kept"][0]["usd_per_hour"] == 0.0113
    [row] = list_deployments(cluster)
    assert row["usd_per_hour"] == 0 and row["paused"]["since"] == "2026-11-30T20:00:00Z"


@pytest.mark.parametrize(
    ("asked", "nearest"), [("lama", "llama"), ("llama2", "llama"), ("qwen", ""), ("llama", "llama-7b")]
)
def test_the_nearest_name_is_that_of_another_deployment(asked: str, nearest: str) -> None:
    class Named(Cluster):
        def metadata(self, path: str, **query: Any) -> list[dict[str, Any]]:
            return [{"metadata": {"name": name}} for name in ("llama", "llama-7b", "mistral")]

    cluster: Any = Named()
    assert nearest_deployment(cluster, asked) == nearest


class WithOperator(Cluster):
    """The operator's pod, which ended."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self.refusal = fault

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        if path == DEPLOYMENTS or path.startswith("/api/v1/namespaces/kuberay"):
            if self.refusal:
                raise Refused([self.refusal])
            status = {"containerStatuses": [{"name": "op", "restartCount": 2}]}
            return [{"metadata": {"name": "op", "namespace": "kuberay"}, "status": status}]
        return super().items(path, **query)

    def read(self, path: str, **query: Any) -> bytes:
        return b"its last words" if "/kuberay/" in path and query["previous"] else super().read(path, **query)


def test_the_operator_is_looked_at_until_it_has_acted() -> None:
    cluster: Any = WithOperator()
    acted = raycluster("llama")
    unseen = {**acted, "status": {}}
    seen = Observer(cluster, "llama", "llama").look(unseen)
    assert [pod["metadata"]["name"] for pod in seen.operator] == ["op"] and seen.operator_words == "its last words"
    assert not Observer(cluster, "llama", "llama").look(acted).operator


def test_an_operator_that_may_not_be_seen_ends_no_wait() -> None:
    cluster: Any = WithOperator(Fault("forbidden", "kubeconfig", "403"))
    assert not Observer(cluster, "llama", "llama").look({**raycluster("llama"), "status": {}}).operator


@pytest.mark.parametrize("price", ["1e300", "-5", "inf", "1e9"])
def test_no_forged_price_is_shown(price: str) -> None:
    cluster: Any = Clusters(raycluster("odd", **{PRICE_ANNOTATION: price}))
    assert list_deployments(cluster)[0]["usd_per_hour"] is None


def test_a_log_that_names_ever_more_phases_takes_no_more_memory() -> None:
    class Talking(Cluster):
        def read(self, path: str, **query: Any) -> bytes:
            number = len(self.read_logs) * 1000
            self.read_logs.append(path)
            lines = (f'multinode {{"phase": "p{number + line}", "cause": "{"x" * 9000}"}}' for line in range(100))
            return "\n".join([*lines, STAGED]).encode()

    cluster: Any = Talking()
    observer = Observer(cluster, "llama", "llama")
    for _look in range(3):
        seen = observer.look()
    assert all(len(phases) <= MOST_PHASES for phases in seen.progress.values())
    assert all(len(entry["cause"]) <= 4096 for entry in seen.progress["on-a"].values() if entry.get("cause"))
