# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pod a log is read of, found without a right on all namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.deployment import RAYCLUSTERS
from ansible_collections.multinode.inference.plugins.module_utils.kube.logs import (
    FollowedLog,
    Pod,
    find_pod,
    pods_of_group,
    read_events,
)
from ansible_collections.multinode.inference.plugins.module_utils.kube.operator import DEPLOYMENTS


def pod(name: str, namespace: str, index: str = "0") -> dict[str, Any]:
    labels = {"ray.io/worker-group-replica-index": index}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "ray"}]},
    }


class Cluster:
    """Answers lists by their path; another path than those is not to be asked for."""

    def __init__(self, lists: dict[str, list[dict[str, Any]]]) -> None:
        self.lists = lists

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        return self.lists[path]

    def metadata(self, path: str, **query: str) -> list[dict[str, Any]]:
        return self.lists[f"{path} of all"]


def test_a_worker_is_found_in_the_deployments_namespace() -> None:
    workers = [pod("b", "models", "1"), pod("a", "models", "0")]
    owner = {"metadata": {"namespace": "models"}}
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/pods": workers})
    assert find_pod(cluster, "llama", "worker", 2) == Pod("models", "b", "ray")


def test_a_label_that_is_no_number_hides_no_worker() -> None:
    workers = [pod("a", "models", "x" * 63), pod("b", "models", "\u0663"), {**pod("c", "models")}]
    del workers[2]["metadata"]["labels"]
    cluster: Any = Cluster(
        {RAYCLUSTERS: [{"metadata": {"namespace": "models"}}], "/api/v1/namespaces/models/pods": workers}
    )
    assert [find_pod(cluster, "llama", "worker", number).name for number in (1, 2, 3)] == ["a", "b", "c"]


def test_the_operator_is_found_by_its_deployment() -> None:
    owner = {"metadata": {"namespace": "kuberay-system"}}
    cluster: Any = Cluster(
        {DEPLOYMENTS: [owner], "/api/v1/namespaces/kuberay-system/pods": [pod("o", "kuberay-system")]}
    )
    assert find_pod(cluster, "llama", "operator").name == "o"


@pytest.mark.parametrize(
    ("others", "remedy"),
    [(["lama", "qwen"], "did you mean lama?"), (["qwen"], "run deploy, or correct deployment_name and namespace")],
)
def test_no_deployment_has_no_pod(others: list[str], remedy: str) -> None:
    all_of_them = [{"metadata": {"name": name}} for name in others]
    cluster: Any = Cluster({RAYCLUSTERS: [], f"{RAYCLUSTERS} of all": all_of_them})
    with pytest.raises(Refused) as refused:
        find_pod(cluster, "llama", "head")
    assert [(fault.code, fault.remedy) for fault in refused.value.faults] == [("no_pod", remedy)]


def test_events_of_what_is_named_after_the_deployment() -> None:
    def event(name: str) -> dict[str, Any]:
        return {"involvedObject": {"name": name}}

    owner = {"metadata": {"namespace": "models"}}
    found = [event(name) for name in ("llama", "llama-head-x", "llama2-head-y", "another")]
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/events": found})
    assert read_events(cluster, "llama") == found[:2]


def test_all_pods_of_the_group_the_head_first() -> None:
    owner = {"metadata": {"namespace": "models"}}
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/pods": [pod("p", "models")]})
    assert pods_of_group(cluster, "llama") == [Pod("models", "p", "ray")] * 2


def test_a_followed_log_gives_each_line_once_also_of_the_pod_in_its_place() -> None:
    owner = {"metadata": {"namespace": "models"}}
    pods = [pod("p", "models")]
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/pods": pods})
    asked: list[dict[str, Any]] = []
    content = ["2026-01-01T00:00:00.100000000Z a", "2026-01-01T00:00:00.200000000Z b"]

    def read(path: str, **query: Any) -> bytes:
        asked.append(query)
        return "\n".join(content).encode()

    cluster.read = read
    log = FollowedLog(cluster, "llama", "head", 1, 7)
    assert log.read() == content and log.read() == []
    content.append("2026-01-01T00:00:00.300000000Z c")
    assert log.read() == content[2:]
    pods[0] = pod("q", "models")
    assert log.read() == content and log.source == "models/q/ray"
    assert [query.get("tailLines") for query in asked] == [7, None, None, 7]
    assert asked[1]["sinceTime"] == "2026-01-01T00:00:00.200000000Z"


def test_a_followed_log_shows_the_end_of_a_run_that_was_ended_between_two_looks() -> None:
    owner = {"metadata": {"namespace": "models"}}
    item = pod("p", "models")
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/pods": [item]})
    begin, end, again = (f"2026-01-01T00:00:00.{number}00000000Z {text}" for number, text in enumerate("abc", 1))
    former: list[str] | None = [begin, end]
    current = [begin]

    def read(path: str, previous: str = "", **query: Any) -> bytes:
        if previous and former is None:
            raise Refused([Fault("bad_request", path, "previous terminated container not found", "a log", "-")])
        return "\n".join(former or [] if previous else current).encode()

    cluster.read = read
    log = FollowedLog(cluster, "llama", "head", 1, 7)
    assert log.read() == [begin]
    item["status"] = {"containerStatuses": [{"name": "ray", "restartCount": 1}]}
    current[:] = [again]
    assert log.read() == [end, again] and log.read() == []
    item["status"]["containerStatuses"][0]["restartCount"] = 2
    former = None
    assert log.read() == []


def test_what_is_no_time_is_shown_and_never_asked_for() -> None:
    """The API server refuses such a `sinceTime`, and the log would end there."""
    owner = {"metadata": {"namespace": "models"}}
    cluster: Any = Cluster({RAYCLUSTERS: [owner], "/api/v1/namespaces/models/pods": [pod("p", "models")]})
    asked: list[dict[str, Any]] = []
    lines = ["2026-01-01T00:00:00.1Z a", "unable to retrieve container logs", "2026-01-01T00:00:01.5+02:00 b\x0czzz"]

    def read(path: str, **query: Any) -> bytes:
        asked.append(query)
        return "\n".join(lines).encode()

    cluster.read = read
    log = FollowedLog(cluster, "llama", "head", 1, 7)
    assert log.read() == lines
    log.read()
    assert asked[1]["sinceTime"] == "2026-01-01T00:00:01.5+02:00"
