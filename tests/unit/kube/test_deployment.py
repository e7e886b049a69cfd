# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.deployment import Observer

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
