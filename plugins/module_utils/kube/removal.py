# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is there to remove of a deployment, in the order in which it has to go."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ..core.fault import Refused
from ..core.names import INSTANCE_LABEL, NODE_LABEL, common_labels, label_selector
from ..core.source_request import recorded
from .client import Kubernetes, unless_forbidden
from .deployment import RAYCLUSTERS
from .operator import DEPLOYMENTS
from .operator import SELECTOR as OPERATOR_SELECTOR

# The disruption budget would hold the pods back, and the pods their volumes.
_KINDS = (
    ("policy/v1", "PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets"),
    ("ray.io/v1", "RayCluster", "/apis/ray.io/v1", "rayclusters"),
    ("v1", "PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims"),
    ("v1", "Service", "/api/v1", "services"),
    ("networking.k8s.io/v1", "NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
    ("v1", "ConfigMap", "/api/v1", "configmaps"),
    ("v1", "Secret", "/api/v1", "secrets"),
)
_VOLUMES = "/api/v1/persistentvolumes"
_COSTING = ("PodDisruptionBudget", "RayCluster", "PersistentVolumeClaim", "Service")


def costs_money(item: dict[str, Any]) -> bool:
    """Say whether an object of `objects_of` stands for something that bills, or holds up the end of such."""
    return item["kind"] in _COSTING


def namespace_of(kubernetes: Kubernetes, name: str, given: str | None) -> str:
    """Return the namespace of a deployment: the one given, else where its RayCluster is, or what there is of half a
    deployment, else the one of its name.
    """
    if given:
        return given
    if clusters := kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(name)):
        return str(clusters[0]["metadata"]["namespace"])
    return next((entry["namespace"] for entry in leftovers(kubernetes, name)), name)


def leftovers(kubernetes: Kubernetes, name: str | None = None) -> list[dict[str, Any]]:
    """Return the Secrets of deployments that have no RayCluster: of runs that stopped before it was made, or while removing.

    Each is `name` (of the deployment), `namespace`, `secrets` (their names), and `source_request`, the record of a
    pre-authenticated request that may be there. Who may not list the cluster's Secrets sees those of the namespace `name`.
    """
    selector = label_selector(name)
    secrets = unless_forbidden(lambda: kubernetes.metadata("/api/v1/secrets", labelSelector=selector))
    if secrets is None and name:
        path = f"/api/v1/namespaces/{quote(name)}/secrets"
        secrets = unless_forbidden(lambda: kubernetes.metadata(path, labelSelector=selector))
    if not secrets:
        return []
    standing = {_place(item) for item in kubernetes.items(RAYCLUSTERS, labelSelector=selector)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for item in secrets:
        place = _place(item)
        if place in standing:
            continue
        entry = found.setdefault(place, {"name": place[1], "namespace": place[0], "secrets": [], "source_request": {}})
        entry["secrets"].append(item["metadata"]["name"])
        entry["source_request"] = recorded(item["metadata"].get("annotations")) or entry["source_request"]
    return [found[place] for place in sorted(found)]


def _place(item: dict[str, Any]) -> tuple[str, str]:
    """Namespace, and name of the deployment, of one of our objects."""
    return item["metadata"]["namespace"], item["metadata"]["labels"][INSTANCE_LABEL]


def objects_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[dict[str, Any]]:
    """Return the objects of a deployment (without the namespace), each as apiVersion, kind and metadata."""
    found = []
    for api_version, kind, prefix, plural in _KINDS:
        path = f"{prefix}/namespaces/{quote(namespace)}/{plural}"
        for item in kubernetes.items(path, labelSelector=label_selector(name)):
            metadata = {"name": item["metadata"]["name"], "namespace": namespace}
            found.append({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    # Those of file systems, after their claims; they belong to no namespace.
    for item in _volumes(kubernetes, name):
        if item["spec"]["claimRef"]["namespace"] == namespace:
            metadata = {"name": item["metadata"]["name"]}
            found.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata})
    return found


def _volumes(kubernetes: Kubernetes, name: str) -> list[dict[str, Any]]:
    # Who may not read them has made none either.
    return unless_forbidden(lambda: kubernetes.items(_VOLUMES, labelSelector=label_selector(name))) or []


def left_folders(kubernetes: Kubernetes, name: str, namespace: str) -> list[str]:
    """Return the folders that the deployment's pods have of nodes that were there before it, and stay."""
    item = kubernetes.get(f"/apis/ray.io/v1/namespaces/{quote(namespace)}/rayclusters/{quote(name)}")
    if item is None:
        return []
    pod = item["spec"]["headGroupSpec"]["template"]["spec"]
    if NODE_LABEL in (pod.get("nodeSelector") or {}):
        return []
    return [volume["hostPath"]["path"] for volume in pod.get("volumes") or () if "hostPath" in volume]


def pods_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[str]:
    """Return the names of the deployment's pods that are still there."""
    items = kubernetes.items(f"/api/v1/namespaces/{quote(namespace)}/pods", labelSelector=f"ray.io/cluster={name}")
    return sorted(item["metadata"]["name"] for item in items)


def own_namespace(kubernetes: Kubernetes, name: str, namespace: str) -> bool | None:
    """Say whether the namespace was made for this deployment; None where there is no such namespace."""
    item = kubernetes.get(f"/api/v1/namespaces/{quote(namespace)}")
    if item is None:
        return None
    labels = item["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in common_labels(name).items())


def shared_operator(kubernetes: Kubernetes) -> list[str]:
    """Return words for the KubeRay operator, which stays for the cluster's other deployments; none where there is none."""
    try:
        found = kubernetes.items(DEPLOYMENTS, labelSelector=OPERATOR_SELECTOR)
    except Refused:
        return []
    return [f"KubeRay operator in namespace {item['metadata']['namespace']} (deployments share it)" for item in found]
