# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bundle of a failed run reads, and what becomes of what cannot be read."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube import failure_bundle
from ansible_collections.multinode.inference.plugins.module_utils.kube.failure_bundle import FailureBundle

CANARY = "canary-value-0123"
SPACE = "namespaces/models"


def status(name: str, count: int = 0, **state: Any) -> dict[str, Any]:
    return {"name": name, "restartCount": count, "state": state or {"running": {}}}


def pod(name: str, node: str = "n1", namespace: str = "models", *statuses: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "ray", "env": [{"valueFrom": {"secretKeyRef": {"name": "hf", "key": "t"}}}]}],
            "imagePullSecrets": [{"name": "pull"}],
        },
        "status": {"containerStatuses": list(statuses or [status("ray")])},
    }


class Cluster:
    """Answers by path; a Fault is refused, and a Secret that is not there is None."""

    def __init__(self, **other: Any) -> None:
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        own = {"metadata": {"name": "llama-api", "labels": common_labels("llama")}}
        claim = {"metadata": {"name": "c", "ownerReferences": [{"uid": "uid-llama-head"}]}}
        foreign = {"metadata": {"name": "other"}}
        self.asked: list[str] = []
        self.lists: dict[str, Any] = {
            f"/api/v1/{SPACE}/pods": [pod("llama-head", "n1", "models", status("ray", 2)), pod("llama-w", "n2")],
            f"/api/v1/{SPACE}/services": [own, foreign],
            f"/api/v1/{SPACE}/persistentvolumeclaims": [claim, foreign],
            f"/apis/networking.k8s.io/v1/{SPACE}/networkpolicies": [],
            f"/apis/policy/v1/{SPACE}/poddisruptionbudgets": [],
            f"/api/v1/{SPACE}/events": [{"involvedObject": {"name": "llama-head"}}, {"involvedObject": {"name": "x"}}],
            "/api/v1/nodes": [{"metadata": {"name": "n1"}, "status": ready}, {"metadata": {"name": "n2"}}],
            "/apis/apps/v1/deployments": [{"metadata": {"name": "op", "namespace": "kuberay"}}],
            "/api/v1/namespaces/kuberay/pods": [pod("op", "m", "kuberay", status("manager", 1, waiting={}))],
            f"/apis/ray.io/v1/{SPACE}/rayclusters/llama": None,
            f"/api/v1/{SPACE}/secrets/hf": {
                "metadata": {"name": "hf"},
                "data": {"t": base64.b64encode(CANARY.encode()).decode()},
            },
            **other,
        }

    def items(self, path: str, **_query: Any) -> Any:
        return self.get(path)

    def get(self, path: str, **_query: Any) -> Any:
        self.asked.append(path)
        found = self.lists.get(path)
        if isinstance(found, Fault):
            raise Refused([found])
        return found

    def read(self, path: str, **query: Any) -> bytes:
        self.asked.append(path)
        if isinstance(found := self.lists.get(path), Fault):
            raise Refused([found])
        return f"{query['container']} {query.get('previous')}".encode()


def collected(**other: Any) -> tuple[FailureBundle, Cluster]:
    cluster: Any = Cluster(**other)
    bundle = FailureBundle(cluster)
    bundle.collect("llama", "models")
    return bundle, cluster


def test_objects_of_the_deployment_and_logs_current_and_former() -> None:
    bundle, _cluster = collected()
    names = {
        path: [item["metadata"]["name"] for item in bundle.objects[f"objects/{path}.json"]]
        for path in (
            "models/llama/services",
            "models/llama/persistentvolumeclaims",
            "models/llama/pods",
            "operator/pods",
        )
    }
    assert list(names.values()) == [["llama-api"], ["c"], ["llama-head", "llama-w"], ["op"]]
    assert len(bundle.objects["objects/models/llama/events.json"]) == 1
    assert bundle.logs == {
        "logs/models/llama/llama-head/ray.previous.log": "ray true\n",
        "logs/models/llama/llama-head/ray.log": "ray None\n",
        "logs/operator/op/manager.previous.log": "manager true\n",
        "logs/operator/op/manager.log": "manager None\n",
    }
    assert bundle.missing == {"logs/models/llama/llama-w": "its node n2 is not ready"}


def test_of_a_secret_its_keys_and_its_values_to_be_masked() -> None:
    bundle, cluster = collected()
    assert bundle.objects["objects/models/llama/secrets/hf.json"] == {"name": "hf", "type": None, "keys": ["t"]}
    assert CANARY in bundle.secrets and CANARY not in str(bundle.objects)
    assert (
        f"/api/v1/{SPACE}/secrets/pull" in cluster.asked and f"/api/v1/{SPACE}/secrets/llama-api-key" in cluster.asked
    )


def test_logs_stay_out_where_a_secret_could_not_be_read() -> None:
    forbidden = Fault("forbidden", "kubeconfig", "403")
    bundle, _cluster = collected(**{f"/api/v1/{SPACE}/secrets/hf": forbidden})
    assert "could not be masked" in bundle.missing["logs/models/llama"]
    assert [path for path in bundle.logs if "models" in path] == []


@pytest.mark.parametrize("path", [f"/api/v1/{SPACE}/services", "/api/v1/nodes", "/apis/apps/v1/deployments"])
@pytest.mark.parametrize(
    "odd", [Fault("forbidden", "kubeconfig", "403"), [{"metadata": {"name": "x", "labels": 1}}], 7]
)
def test_one_part_that_cannot_be_read_hides_no_other(path: str, odd: Any) -> None:
    bundle, _cluster = collected(**{path: odd})
    assert "objects/models/llama/pods.json" in bundle.objects and "objects/models/llama/events.json" in bundle.objects


def test_an_odd_pod_hides_no_other_object() -> None:
    bundle, _cluster = collected(
        **{f"/api/v1/{SPACE}/pods": [pod("llama-head"), {"metadata": {"name": "y"}, "spec": 5}]}
    )
    assert "AttributeError" in bundle.missing["logs/models/llama/y"]
    assert "logs/models/llama/llama-head/ray.log" in bundle.logs


def test_an_api_server_that_is_away_is_asked_once() -> None:
    away = Fault("unreachable", "Kubernetes API", "no answer")
    bundle, cluster = collected(**{f"/api/v1/{SPACE}/pods": away})
    assert len(cluster.asked) == 2 and bundle.objects == bundle.logs == {}
    assert "no answer" in bundle.missing["objects/models/llama/events"]


def test_all_reads_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_bundle, "MOST_SECONDS", 0.0)
    bundle, cluster = collected()
    assert cluster.asked == [] and "not read within" in bundle.missing["models/llama"]
