# SPDX-License-Identifier: GPL-3.0-or-later
"""The Services and the Secret that KubeRay makes of a RayCluster (KubeRay 1.7, controllers/ray/common/service.go)."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from rig.kuberay import names, ray_cluster
from rig.kuberay.ray_cluster import Object, Settings


def head_ports(cluster: Object) -> dict[str, int]:
    """The named ports of the first head container; only where none is declared KubeRay's defaults; `metrics` always."""
    container = ray_cluster.head_group(cluster)["template"]["spec"]["containers"][0]
    declared = {port["name"]: port["containerPort"] for port in container.get("ports") or [] if port.get("name")}
    ports = declared or dict(names.DEFAULT_HEAD_PORTS)
    ports.setdefault("metrics", names.METRICS_PORT)
    return ports


def head_service(cluster: Object, settings: Settings) -> Object:
    """The Service in front of the head: headless, with addresses that are published before the head is Ready."""
    name = cluster["metadata"]["name"]
    selector = {
        names.LABEL_CLUSTER: name,
        names.LABEL_NODE_TYPE: "head",
        names.LABEL_IDENTIFIER: names.bounded(f"{name}-head", 63),
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    spec: dict[str, Any] = {
        "selector": selector,
        "publishNotReadyAddresses": True,
        "ports": [
            {"name": port, "port": number, "targetPort": number, "protocol": "TCP", "appProtocol": "tcp"}
            for port, number in sorted(head_ports(cluster).items())
        ],
    }
    service_type = ray_cluster.head_group(cluster).get("serviceType")
    if service_type in ("NodePort", "LoadBalancer"):
        spec["type"] = service_type
    elif not settings.head_cluster_ip:
        spec["clusterIP"] = "None"
    metadata = _metadata(cluster, names.head_service(name), selector)
    metadata["annotations"] = dict(cluster["spec"].get("headServiceAnnotations") or {})
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def headless_workers_service(cluster: Object) -> Object | None:
    """The headless Service that groups of several hosts get, else None."""
    if not any(group.hosts > 1 for group in ray_cluster.worker_groups(cluster)):
        return None
    name = cluster["metadata"]["name"]
    selector = {names.LABEL_CLUSTER: name, names.LABEL_NODE_TYPE: "worker"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(cluster, names.bounded(f"{name}-headless"), selector),
        "spec": {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": True},
    }


def token_secret(cluster: Object) -> Object | None:
    """The Secret with a fresh token (32 random bytes), or None where none is asked for or the user has one."""
    options = cluster["spec"].get("authOptions")
    if options is None or options.get("mode") == "disabled" or options.get("secretName"):
        return None
    name = cluster["metadata"]["name"]
    token = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(cluster, names.token_secret(name), {names.LABEL_CLUSTER: name}),
        "type": "Opaque",
        "stringData": {names.TOKEN_KEY: token},
    }


def _metadata(cluster: Object, name: str, labels: dict[str, str]) -> Object:
    return {
        "name": name,
        "namespace": cluster["metadata"]["namespace"],
        "labels": dict(labels),
        "ownerReferences": [ray_cluster.owner_reference(cluster)],
    }
