# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is there to remove of a deployment, in the order in which it has to go."""

from __future__ import annotations

import functools
from typing import Any

from ..core.fault import Fault, Refused
from ..core.manifests.endpoint import KINDS as ENDPOINT_KINDS
from ..core.manifests.monitoring import KINDS as MONITORING_KINDS
from ..core.names import INSTANCE_LABEL, NODE_LABEL, label_selector
from ..core.ownership import is_ours, namespace_is_ours, not_ours, takes_name
from ..core.parts import head_pod_spec, inner
from ..core.source_request import recorded
from .client import Kubernetes, part, unless_forbidden
from .deployment import RAYCLUSTERS
from .operator import DEPLOYMENTS
from .operator import SELECTOR as OPERATOR_SELECTOR

# The disruption budget would hold the pods back, and the pods their volumes.
_KINDS = (
    ("policy/v1", "PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets"),
    ("ray.io/v1", "RayCluster", "/apis/ray.io/v1", "rayclusters"),
    ("v1", "PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims"),
    ("v1", "Service", "/api/v1", "services"),
    *((version, kind, f"/apis/{version}", plural) for version, kind, plural in ENDPOINT_KINDS),
    ("networking.k8s.io/v1", "NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
    ("v1", "ConfigMap", "/api/v1", "configmaps"),
    ("v1", "Secret", "/api/v1", "secrets"),
)
# Beside what deploy always makes: who watches the deployment, and a benchmark that is running.
_REMOVED = (
    ("batch/v1", "Job", "/apis/batch/v1", "jobs"),
    *((version, kind, f"/apis/{version}", plural) for version, kind, plural in MONITORING_KINDS),
    *_KINDS,
)
_OPTIONAL = {"jobs", *(plural for _version, _kind, plural in (*ENDPOINT_KINDS, *MONITORING_KINDS))}
_VOLUMES = "/api/v1/persistentvolumes"
_COSTING = ("PodDisruptionBudget", "RayCluster", "PersistentVolumeClaim", "Service")


def costs_money(item: dict[str, Any]) -> bool:
    """Say whether an object of `objects_of` stands for something that bills, or holds up the end of such."""
    return item["kind"] in _COSTING


def namespace_of(kubernetes: Kubernetes, name: str, given: str | None) -> str:
    """Return the namespace of a deployment: where its RayCluster is, or what there is of half a deployment, else the one
    given, else the one of its name. Raises Refused where another is given, or there are two.
    """
    clusters = kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(name))
    places = sorted({str(item["metadata"]["namespace"]) for item in clusters})
    places = places or [entry["namespace"] for entry in leftovers(kubernetes, name)]
    if not places or given in places:
        return given or name
    if given or len(places) > 1:
        raise Refused(
            [
                Fault(
                    "namespace_taken",
                    "namespace",
                    f"{given or 'not given'}, and the deployment {name} stands in {' and '.join(places)}",
                    places[0] if len(places) == 1 else "one of them",
                    f"give namespace: {places[0]} if that one is meant",
                )
            ]
        )
    return places[0]


def leftovers(kubernetes: Kubernetes, name: str | None = None) -> list[dict[str, Any]]:
    """Return the Secrets of deployments that have no RayCluster: of runs that stopped before it was made, or while removing.

    Each is `name` (of the deployment), `namespace`, `secrets` (their names), and `source_request`, the record of a
    pre-authenticated request that may be there. Who may not list the cluster's Secrets sees those of the namespace `name`.
    """
    selector = label_selector(name)
    secrets = unless_forbidden(lambda: kubernetes.metadata("/api/v1/secrets", labelSelector=selector))
    if secrets is None and name:
        path = f"/api/v1/namespaces/{part(name)}/secrets"
        secrets = unless_forbidden(lambda: kubernetes.metadata(path, labelSelector=selector))
    if not secrets:
        return []
    standing = {_place(item) for item in kubernetes.items(RAYCLUSTERS, labelSelector=selector)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for item in secrets:
        place = _place(item)
        if place in standing or not place[1]:
            continue
        entry = found.setdefault(place, {"name": place[1], "namespace": place[0], "secrets": [], "source_request": {}})
        entry["secrets"].append(item["metadata"]["name"])
        entry["source_request"] = recorded(item["metadata"].get("annotations")) or entry["source_request"]
    return [found[place] for place in sorted(found)]


def _place(item: dict[str, Any]) -> tuple[str, str]:
    """Namespace, and name of the deployment, of one of our objects."""
    return item["metadata"]["namespace"], str(inner(item, "metadata", "labels").get(INSTANCE_LABEL, ""))


def objects_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[dict[str, Any]]:
    """Return the objects of a deployment (without the namespace), each as apiVersion, kind and metadata."""
    found = []
    for api_version, kind, prefix, plural in _REMOVED:
        path = f"{prefix}/namespaces/{part(namespace)}/{plural}"
        read = functools.partial(kubernetes.items, path, labelSelector=label_selector(name))
        # Who may not read an optional kind has made none.
        for item in (unless_forbidden(read) or []) if plural in _OPTIONAL else read():
            metadata = {"name": item["metadata"]["name"], "namespace": namespace}
            found.append({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    # Those of file systems, after their claims; they belong to no namespace.
    for item in _volumes(kubernetes, name):
        # An administrator who takes a released volume into use again empties its claimRef.
        if inner(item, "spec", "claimRef").get("namespace") == namespace:
            metadata = {"name": item["metadata"]["name"]}
            found.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata})
    return found


def strange_objects(kubernetes: Kubernetes, name: str, namespace: str) -> list[Fault]:
    """Return a fault for each object that stands where the deployment makes one of its own, and is somebody else's.

    RayClusters first: KubeRay's objects are ours by them. What the user may not list he makes none of either.
    """
    kinds = [(kind, f"{prefix}/namespaces/{part(namespace)}/{plural}") for _api, kind, prefix, plural in _KINDS]
    kinds.sort(key=lambda entry: entry[0] != "RayCluster")
    owners: set[str] = set()
    found = []
    for kind, path in [*kinds, ("PersistentVolume", _VOLUMES)]:
        for item in unless_forbidden(functools.partial(kubernetes.metadata, path)) or []:
            if not takes_name(kind, item["metadata"]["name"], name, namespace):
                continue
            if not is_ours(item, name, owners):
                found.append(not_ours(kind, item["metadata"]["name"], name, namespace))
            elif kind == "RayCluster":
                owners.add(item["metadata"].get("uid", ""))
    return found


def _volumes(kubernetes: Kubernetes, name: str) -> list[dict[str, Any]]:
    # Who may not read them has made none either.
    return unless_forbidden(lambda: kubernetes.items(_VOLUMES, labelSelector=label_selector(name))) or []


def left_folders(kubernetes: Kubernetes, name: str, namespace: str) -> list[str]:
    """Return the folders that the deployment's pods have of nodes that were there before it, and stay."""
    item = kubernetes.get(f"/apis/ray.io/v1/namespaces/{part(namespace)}/rayclusters/{part(name)}")
    if item is None:
        return []
    pod = head_pod_spec(item)
    if NODE_LABEL in (pod.get("nodeSelector") or {}):
        return []
    paths = [inner(volume, "hostPath").get("path") for volume in pod.get("volumes") or ()]
    return [path for path in paths if path]


def pods_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[str]:
    """Return the names of the deployment's pods that are still there."""
    items = kubernetes.items(f"/api/v1/namespaces/{part(namespace)}/pods", labelSelector=f"ray.io/cluster={name}")
    return sorted(item["metadata"]["name"] for item in items)


def waiting_pods(kubernetes: Kubernetes, name: str, namespace: str) -> list[dict[str, Any]]:
    """Return the deployment's pods whose init containers have not ended: KubeRay's, which waits for the head, heeds no SIGTERM."""
    items = kubernetes.items(f"/api/v1/namespaces/{part(namespace)}/pods", labelSelector=f"ray.io/cluster={name}")
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": item["metadata"]["name"], "namespace": namespace}}
        for item in items
        if (item.get("status") or {}).get("phase") == "Pending" and is_ours(item, name)
    ]


def own_namespace(kubernetes: Kubernetes, name: str, namespace: str) -> bool | None:
    """Say whether the namespace was made for this deployment; None where there is no such namespace."""
    item = kubernetes.get(f"/api/v1/namespaces/{part(namespace)}")
    if item is None:
        return None
    return namespace_is_ours(item, name)


def shared_operator(kubernetes: Kubernetes) -> list[str]:
    """Return words for the KubeRay operator, which stays for the cluster's other deployments; none where there is none."""
    try:
        found = kubernetes.items(DEPLOYMENTS, labelSelector=OPERATOR_SELECTOR)
    except Refused:
        return []
    return [f"KubeRay operator in namespace {item['metadata']['namespace']} (deployments share it)" for item in found]
