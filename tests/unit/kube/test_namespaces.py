# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a namespace that is not the deployment's: it is neither written over, nor deleted with the namespace."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube.namespace_contents import NamespaceContents
from ansible_collections.multinode.inference.plugins.module_utils.kube.removal import own_namespace, strange_objects

KINDS = {
    "/api/v1": {
        "Secret": "secrets",
        "Pod": "pods",
        "ConfigMap": "configmaps",
        "Event": "events",
        "ServiceAccount": "serviceaccounts",
    },
    "/apis/ray.io/v1": {"RayCluster": "rayclusters"},
    "/apis/example.org/v1": {"Widget": "widgets"},
}


def item(name: str, deployment: str = "", uid: str = "", owner: str = "") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": uid or name}
    if deployment:
        metadata["labels"] = common_labels(deployment)
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"metadata": metadata}


class Cluster:
    """Objects by their plurals; None: the user may not list them."""

    def __init__(self, **lists: list[dict[str, Any]] | None) -> None:
        self.lists = lists

    def get(self, path: str) -> Any:
        if path == "/apis":
            groups = [prefix.removeprefix("/apis/") for prefix in KINDS if prefix.startswith("/apis/")]
            entries = [{"name": one.split("/")[0], "preferredVersion": {"groupVersion": one}} for one in groups]
            metrics = {"name": "metrics.k8s.io", "preferredVersion": {"groupVersion": "metrics.k8s.io/v1beta1"}}
            return {"groups": [*entries, metrics]}
        if path == "/api/v1/namespaces/a":
            return {"metadata": {"name": "a", "labels": common_labels("a")}}
        resources = [
            {"kind": kind, "name": plural, "namespaced": True, "verbs": ["list"]}
            for kind, plural in KINDS[path].items()
        ]
        odd = [
            {"kind": "Pod", "name": "pods/log", "namespaced": True, "verbs": ["get"]},
            {"kind": "Node", "name": "nodes", "namespaced": False, "verbs": ["list"]},
        ]
        return {"resources": [*resources, *odd]}

    def metadata(self, path: str, **_query: Any) -> list[dict[str, Any]]:
        found = self.lists.get(path.rpartition("/")[2], [])
        if found is None:
            raise Refused([Fault("forbidden", "kubeconfig", "403")])
        return found


OWN = {
    "rayclusters": [item("a", "a", uid="1")],
    "pods": [item("a-head", uid="2", owner="1")],
    "secrets": [item("a-api-key", "a")],
    "configmaps": [item("kube-root-ca.crt"), item("note", owner="2")],
    "serviceaccounts": [item("default")],
    "events": [item("a.17")],
}


def reason(**lists: Any) -> str:
    cluster: Any = Cluster(**{**OWN, **lists})
    return NamespaceContents(cluster, "a", "a").reason_to_stay()


def test_a_namespace_with_the_deployments_own_things_alone_may_go() -> None:
    assert reason() == ""


@pytest.mark.parametrize(
    ("lists", "named"),
    [
        ({"rayclusters": [*OWN["rayclusters"], item("two", "two")]}, "RayCluster/two"),
        ({"secrets": [item("hub")]}, "Secret/hub"),
        ({"pods": [*OWN["pods"], item("notebook")]}, "Pod/notebook"),
        ({"widgets": [item("theirs")]}, "Widget/theirs"),
        ({"configmaps": [item("note", owner="9")]}, "ConfigMap/note"),
        ({"serviceaccounts": [item("default"), item("builder")]}, "ServiceAccount/builder"),
    ],
)
def test_whatever_is_somebody_elses_keeps_it(lists: dict[str, Any], named: str) -> None:
    assert reason(**lists) == f"it holds {named}, not of this deployment"


def test_what_may_not_be_listed_may_be_somebody_elses() -> None:
    assert reason(widgets=None) == "it may hold widgets, which could not be listed"


def test_what_its_owners_left_behind_stays_the_deployments() -> None:
    cluster: Any = Cluster(**OWN)
    contents = NamespaceContents(cluster, "a", "a")
    assert contents.reason_to_stay() == ""
    cluster.lists = {"pods": OWN["pods"]}
    assert contents.reason_to_stay() == ""


def test_own_is_only_the_namespace_of_the_deployments_name() -> None:
    cluster: Any = Cluster()
    assert own_namespace(cluster, "a", "a")
    cluster.get = lambda path: {"metadata": {"name": "shared", "labels": common_labels("a")}}
    assert own_namespace(cluster, "a", "shared") is False


def test_objects_of_our_names_without_our_labels_are_told() -> None:
    cluster: Any = Cluster(
        rayclusters=[item("a")],
        services=[item("a-api", "other"), item("a-head-svc", owner="1"), item("b-api")],
        secrets=[item("a-api-key", "a"), item("a-source")],
        configmaps=[item("a-runtime-0123456789")],
        persistentvolumes=None,
    )
    found = strange_objects(cluster, "a", "a")
    assert {fault.code for fault in found} == {"not_ours"}
    assert [fault.where.removesuffix(" in namespace a") for fault in found] == [
        "RayCluster a",
        "Service a-api",
        "Service a-head-svc",
        "ConfigMap a-runtime-0123456789",
        "Secret a-source",
    ]
    cluster.lists.update(rayclusters=[item("a", "a", uid="1")], services=[item("a-head-svc", owner="1")])
    cluster.lists.update(secrets=[], configmaps=[])
    assert strange_objects(cluster, "a", "a") == []
