# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading what a cluster has that a deployment needs; `core/plan/prerequisites.py` judges it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..core.catalog.kuberay import is_older
from ..core.catalog.kubernetes_rights import Right, rights
from ..core.fault import Fault, Findings, Refused
from ..core.parts import inner
from ..core.recipe.secret_references import PULL_KEY, check_references
from .client import Kubernetes, unless_forbidden
from .deployment import secret_keys
from .monitoring import missing_definitions
from .operator import SHOWN, find_helm, find_operator
from .removal import strange_objects

try:
    from kubernetes.utils.quantity import parse_quantity
except ImportError:  # reported when a client is asked for (client.py)
    parse_quantity = None

# The label of whatever serves the cluster's DNS, CoreDNS included (kubernetes/cluster/addons/dns).
_DNS_LABEL = "k8s-app=kube-dns"
# Parts of the images of NVIDIA's device plugin as OKE, NVIDIA's chart and the GPU operator have it; other programs come in
# the same image.
_DEVICE_PLUGIN_IMAGES = ("nvidia-gpu-device-plugin", "k8s-device-plugin")
_NO_ADVERTISERS = ("mps-control-daemon", "gpu-feature-discovery")
# DaemonSets of the network plugins that enforce NetworkPolicies, each with the names of its project's manifests.
_POLICY_ENGINES = {
    "calico-node": "Calico",
    "canal": "Calico",
    "cilium": "Cilium",
    "antrea-agent": "Antrea",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
    "ovnkube-node": "OVN-Kubernetes",
    "kube-ovn-cni": "Kube-OVN",
}
_GIB = 2**30
_EVERYTHING = Right("*", "*", "*")
_SIDECAR = "Always"


def read_surroundings(
    kubernetes: Kubernetes,
    name: str,
    namespace: str,
    operator_namespace: str,
    helm_binary: str | None = None,
    kubernetes_core: str = "",
    upgraded_to: str = "",
    node_selector: str = "",
    file_systems: bool = False,
    pull_secret: str = "",
    endpoint: Collection[str] = (),
) -> dict[str, Any]:
    """Return what `kubernetes_info` does, read at once.

    name           DNS name of the deployment: its own pods do not count as taking room
    kubernetes_core  version of the collection that runs Helm, "" where it is not known
    upgraded_to    version that an older operator is upgraded to, "" where it is left alone
    pull_secret    Secret that an operator that is still to be installed pulls its image with
    endpoint       optional kinds of objects that its endpoint and its monitoring take
    node_selector  with it the nodes that it selects are described, with what other pods take of them
    """
    nodes = unless_forbidden(lambda: kubernetes.items("/api/v1/nodes"))
    with ThreadPoolExecutor(max_workers=8) as threads:

        def read(path: str, **query: str) -> Any:
            return threads.submit(unless_forbidden, lambda: kubernetes.items(path, **query))

        dns = read("/apis/apps/v1/namespaces/kube-system/deployments", labelSelector=_DNS_LABEL)
        daemons = read("/apis/apps/v1/daemonsets")
        classes = read("/apis/storage.k8s.io/v1/storageclasses")
        # Pods that ended hold nothing.
        living = "status.phase!=Succeeded,status.phase!=Failed"
        pods = read("/api/v1/pods", fieldSelector=living) if node_selector else None
        operator = threads.submit(_operator, kubernetes, helm_binary, kubernetes_core, upgraded_to)
        strange = threads.submit(strange_objects, kubernetes, name, namespace)
        missing = _missing_rights(kubernetes, threads, rights(namespace, "", file_systems, endpoint))
        found, against = operator.result()
        if found is not None and _is_installed(found, upgraded_to):
            installing = [right for right in rights(namespace, operator_namespace) if right not in rights(namespace)]
            missing += _missing_rights(kubernetes, threads, installing)
            against += _pull_secret(kubernetes, operator_namespace, pull_secret)
        described = None
        if node_selector and nodes is not None:
            key, _equals, value = node_selector.partition("=")
            selected = [node for node in nodes if (node["metadata"].get("labels") or {}).get(key) == value]
            others = [pod for pod in pods.result() or [] if not _is_own(pod, name, namespace)] if pods else []
            described = [_node(node, others) for node in selected]
        all_daemons = daemons.result()
        return {
            "missing_rights": [right.as_dict() for right in missing],
            "nodes": None if nodes is None else len(nodes),
            "system_nodes": None if nodes is None else [node["metadata"]["name"] for node in nodes if _takes_all(node)],
            "dns": _all(dns.result(), _replicas),
            "advertisers": None
            if all_daemons is None
            else [_full_name(item) for item in all_daemons if _advertises(item)],
            "policy_engines": None if all_daemons is None else _policy_engines(all_daemons),
            "storage_classes": _all(classes.result(), lambda item: item["metadata"]["name"]),
            "operator": {key: found[key] for key in SHOWN} if found and found["installed"] else None,
            "operator_available": bool(found and found["available"]),
            "raycluster_fields": found["fields"] if found and found["usable"] else None,
            "operator_faults": [fault.as_dict() for fault in against],
            "not_ours": [fault.as_dict() for fault in strange.result()],
            "gpu_nodes": described,
            "definitions_missing": missing_definitions(kubernetes) if "podmonitors" in endpoint else [],
        }


def _operator(
    kubernetes: Kubernetes, helm_binary: str | None, kubernetes_core: str, upgraded_to: str
) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Return the operator (None where it may not be looked for), and what forbids to use or to install it."""
    found = None
    try:
        found = unless_forbidden(lambda: find_operator(kubernetes))
        if found is not None and _is_installed(found, upgraded_to):
            find_helm(helm_binary, kubernetes_core)
    except Refused as refused:
        return found, refused.faults
    return found, []


def _is_installed(operator: Mapping[str, Any], upgraded_to: str) -> bool:
    """Tell whether deploy installs the operator: there is none that serves, or an older one is to be upgraded."""
    return not operator["usable"] or (bool(upgraded_to) and is_older(operator, {"kuberay_chart_version": upgraded_to}))


def _pull_secret(kubernetes: Kubernetes, namespace: str, name: str) -> list[Fault]:
    """Return a fault where the operator could not pull its image: nodes would wait for pods that nobody makes."""
    place, found = "kuberay_image_pull_secret", {}
    if name:
        keys = unless_forbidden(lambda: {name: secret_keys(kubernetes, namespace, name)})
        if keys is None:
            return []
        found = keys
    findings = Findings()
    check_references([(place, name, PULL_KEY)] if name else [], namespace, found, findings)
    return findings.faults


def _missing_rights(kubernetes: Kubernetes, threads: ThreadPoolExecutor, wanted: list[Right]) -> list[Right]:
    """Return those of the rights that the user has not; an administrator is asked one question only."""
    if kubernetes.allows(_EVERYTHING.as_dict()):
        return []
    answers = threads.map(lambda right: kubernetes.allows(right.as_dict()), wanted)
    return [right for right, allowed in zip(wanted, answers, strict=True) if not allowed]


def _all(items: Iterable[Mapping[str, Any]] | None, part: Callable[[Mapping[str, Any]], Any]) -> list[Any] | None:
    return None if items is None else [part(item) for item in items]


def _replicas(deployment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": deployment["metadata"]["name"],
        "ready": (deployment.get("status") or {}).get("readyReplicas") or 0,
        "wanted": inner(deployment, "spec").get("replicas", 1),
    }


def _full_name(item: Mapping[str, Any]) -> str:
    return f"DaemonSet {item['metadata']['namespace']}/{item['metadata']['name']}"


def _advertises(daemon: Mapping[str, Any]) -> bool:
    if any(part in daemon["metadata"]["name"] for part in _NO_ADVERTISERS):
        return False
    containers = inner(daemon, "spec", "template", "spec").get("containers") or ()
    images = [container.get("image") or "" for container in containers]
    return any(part in image for image in images for part in _DEVICE_PLUGIN_IMAGES)


def _policy_engines(daemons: Iterable[Mapping[str, Any]]) -> list[str]:
    names = {daemon["metadata"]["name"] for daemon in daemons}
    return sorted({engine for name, engine in _POLICY_ENGINES.items() if name in names})


def _is_own(pod: Mapping[str, Any], name: str, namespace: str) -> bool:
    metadata = pod["metadata"]
    return metadata["namespace"] == namespace and (metadata.get("labels") or {}).get("ray.io/cluster") == name


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _taints(node: Mapping[str, Any]) -> list[str]:
    """Keys of the taints that keep pods away."""
    return [taint["key"] for taint in inner(node, "spec").get("taints") or [] if taint["effect"] != "PreferNoSchedule"]


def _takes_all(node: Mapping[str, Any]) -> bool:
    return _is_ready(node) and not inner(node, "spec").get("unschedulable") and not _taints(node)


def _node(node: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A node with what it has for pods, and what the pods on it have asked for."""
    name = node["metadata"]["name"]
    on_it = [_requests(pod) for pod in pods if inner(pod, "spec").get("nodeName") == name]
    return {
        "name": name,
        "labels": node["metadata"].get("labels") or {},
        "ready": _is_ready(node),
        "schedulable": not inner(node, "spec").get("unschedulable"),
        "taints": _taints(node),
        "allocatable": _amounts((node.get("status") or {}).get("allocatable") or {}),
        "requested": {key: sum(requests[key] for requests in on_it) for key in _amounts({})},
    }


def _requests(pod: Mapping[str, Any]) -> dict[str, float]:
    """What the scheduler reckons for a pod: its containers together, or its greediest init container."""

    def of(container: Mapping[str, Any]) -> dict[str, float]:
        return _amounts((container.get("resources") or {}).get("requests") or {})

    spec = inner(pod, "spec")
    inits = spec.get("initContainers") or []
    together = [*(spec.get("containers") or ()), *(one for one in inits if one.get("restartPolicy") == _SIDECAR)]
    sums = {key: sum(of(container)[key] for container in together) for key in _amounts({})}
    return {key: max([value, *(of(container)[key] for container in inits)]) for key, value in sums.items()}


def _amounts(quantities: Mapping[str, Any]) -> dict[str, float]:
    """GPUs, CPUs, and memory and disk in GiB."""

    def amount(name: str) -> float:
        try:
            found = float(parse_quantity(quantities.get(name, 0)))
        except (ValueError, ArithmeticError):
            return 0.0
        return found if math.isfinite(found) else 0.0

    return {
        "gpus": amount("nvidia.com/gpu"),
        "cpu": amount("cpu"),
        "memory_gib": amount("memory") / _GIB,
        "ephemeral_gib": amount("ephemeral-storage") / _GIB,
    }
