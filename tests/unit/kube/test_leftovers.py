# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a deployment that has no RayCluster: found by its Secrets, whoever looks."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    REQUEST_ANNOTATION,
    common_labels,
)
from ansible_collections.multinode.inference.plugins.module_utils.kube.removal import (
    leftovers,
    namespace_of,
    waiting_pods,
)

RECORD = {"name": "multinode-inference-a-1", "bucket": "models", "namespace": "tenancy"}


def item(name: str, deployment: str, namespace: str, **annotations: str) -> dict[str, Any]:
    labels = common_labels(deployment)
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}}


class Cluster:
    """The API server with Secrets and RayClusters; `whole`: whether those of all namespaces may be listed."""

    def __init__(self, secrets: list[dict[str, Any]], clusters: list[dict[str, Any]], whole: bool = True) -> None:
        self._secrets, self._clusters, self._whole = secrets, clusters, whole

    def metadata(self, path: str, **query: str) -> list[dict[str, Any]]:
        namespaced = "/namespaces/" in path
        if not namespaced and not self._whole:
            raise Refused([Fault("forbidden", "kubeconfig", "403")])
        found = [one for one in self._secrets if not namespaced or one["metadata"]["namespace"] in path.split("/")]
        return [one for one in found if self._selected(one, query["labelSelector"])]

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        return [one for one in self._clusters if self._selected(one, query["labelSelector"])]

    @staticmethod
    def _selected(one: dict[str, Any], selector: str) -> bool:
        return all(one["metadata"]["labels"].get(key) == value for key, value in (
            part.split("=") for part in selector.split(",")
        ))  # fmt: skip


def test_secrets_without_a_raycluster_are_named_with_the_request() -> None:
    secrets = [
        item("a-source", "a", "team", **{REQUEST_ANNOTATION: json.dumps(RECORD)}),
        item("a-api-key", "a", "team"),
        item("b-api-key", "b", "b"),
        item("a-api-key", "a", "a"),
    ]
    cluster: Any = Cluster(secrets, [item("b", "b", "b")])
    elsewhere, in_its_own = sorted(leftovers(cluster), key=lambda entry: str(entry["namespace"]), reverse=True)
    assert elsewhere["namespace"] == "team" and elsewhere["secrets"] == ["a-source", "a-api-key"]
    assert elsewhere["source_request"] == RECORD
    assert in_its_own["secrets"] == ["a-api-key"] and in_its_own["source_request"] == {}
    assert leftovers(cluster, "b") == []


def test_undeploy_goes_where_half_a_deployment_is() -> None:
    half: Any = Cluster([item("a-source", "a", "team")], [])
    assert namespace_of(half, "a", None) == namespace_of(half, "a", "team") == "team"
    assert namespace_of(half, "nothing", "given") == "given"
    whole: Any = Cluster([item("a-source", "a", "team")], [item("a", "a", "other")])
    assert namespace_of(whole, "a", None) == "other"


@pytest.mark.parametrize("where", [["team"], ["a", "other"]])
def test_undeploy_goes_nowhere_else_than_where_the_deployment_is(where: list[str]) -> None:
    cluster: Any = Cluster([], [item("a", "a", namespace) for namespace in where])
    for given in ("given", None) if len(where) > 1 else ("given",):
        with pytest.raises(Refused) as refused:
            namespace_of(cluster, "a", given)
        (fault,) = refused.value.faults
        assert fault.code == "namespace_taken" and all(name in fault.found for name in where)
    assert namespace_of(cluster, "a", where[-1]) == where[-1]


def test_who_may_not_list_all_secrets_sees_those_of_the_deployments_own_namespace() -> None:
    cluster: Any = Cluster([item("a-source", "a", "a"), item("b-source", "b", "team")], [], whole=False)
    assert leftovers(cluster) == []
    assert [entry["name"] for entry in leftovers(cluster, "a")] == ["a"]
    assert namespace_of(cluster, "b", None) == "b"


def test_pods_that_only_wait_are_ours_and_pending() -> None:
    def pod(name: str, phase: str, labels: dict[str, str]) -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}

    ours = common_labels("llama")
    found = [pod("w0", "Pending", ours), pod("w1", "Running", ours), pod("another", "Pending", {})]
    kubernetes: Any = SimpleNamespace(items=lambda path, **query: found)
    assert [item["metadata"]["name"] for item in waiting_pods(kubernetes, "llama", "llama")] == ["w0"]
