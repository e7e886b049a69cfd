# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes side of a node pool: Node objects on the rig's API server.

Facts imitated:
- a Node's name is its private IP, its providerID the instance's OCID;
- it joins with the taint node.cloudprovider.kubernetes.io/uninitialized and, with GPUs, nvidia.com/gpu:NoSchedule
  (empty value);
- nvidia.com/gpu appears some time after Ready;
- a drain evicts pods, all but those of DaemonSets, and honours disruption budgets.

A Node is served by the rig's kubelet stand-in (kind `process`) or by KWOK (kind `kwok`); see the annotations below.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from tests.rig.oci.machines import Capacity
from tests.rig.oci.shapes import SHAPES
from tests.rig.oci.state import Node, Tenancy

KIND_ANNOTATION = "rig.multinode.inference/kind"
CAPACITY_ANNOTATION = "rig.multinode.inference/capacity"
DEAD_ANNOTATION = "rig.multinode.inference/dead"
POOL_ANNOTATION = "oci.oraclecloud.com/node-pool-id"
KWOK_ANNOTATION = "kwok.x-k8s.io/node"
GPU = "nvidia.com/gpu"
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
WATCH_SECONDS = 300
EVICTION_INTERVAL_S = 0.5


class NodeRegistry(Protocol):
    """Where Nodes are registered; unit tests have one in memory."""

    async def system_node(self) -> tuple[str, str]:
        """Name and providerID of the rig's CPU-only node, once there is one."""

    async def names(self) -> set[str]: ...

    async def create(self, manifest: dict[str, Any]) -> None: ...

    async def delete(self, name: str) -> None: ...

    async def add_labels(self, name: str, labels: dict[str, str]) -> None: ...

    async def annotate(self, name: str, annotations: dict[str, str]) -> None: ...

    async def set_gpus(self, name: str, gpus: int) -> None: ...

    async def ready(self, name: str) -> None:
        """Return when the Node is Ready."""

    async def drain(self, name: str, seconds: float) -> list[str]:
        """Cordon and evict for at most so long; the pods (namespace/name) that are still there."""


def manifest(
    tenancy: Tenancy, node: Node, machine: Capacity, labels: dict[str, str], taints: list[dict[str, str]]
) -> dict[str, Any]:
    """The Node object that the kubelet of this machine registers."""
    assert node.private_ip is not None
    shape = SHAPES[node.pool["nodeShape"]]
    zone = tenancy.zones[node.availability_domain]
    own_taints = [{"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}]
    if shape.gpus:
        own_taints.append({"key": GPU, "value": "", "effect": "NoSchedule"})
    annotations = {
        CAPACITY_ANNOTATION: json.dumps({"capacity": machine.capacity, "allocatable": machine.allocatable}),
        "oci.oraclecloud.com/compartment-id": tenancy.compartment_id,
        POOL_ANNOTATION: node.pool["id"],
    }
    if tenancy.node_kind == "kwok":
        annotations[KWOK_ANNOTATION] = "fake"
    else:
        annotations[KIND_ANNOTATION] = "process"
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.private_ip,
            "annotations": annotations,
            "labels": {
                "beta.kubernetes.io/arch": shape.architecture,
                "beta.kubernetes.io/instance-type": shape.name,
                "beta.kubernetes.io/os": "linux",
                "displayName": node.name,
                "failure-domain.beta.kubernetes.io/region": "iad",
                "failure-domain.beta.kubernetes.io/zone": zone,
                "hostname": node.name,
                "internal_addr": node.private_ip,
                "kubernetes.io/arch": shape.architecture,
                "kubernetes.io/hostname": node.private_ip,
                "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/node": "",
                "node.info/compartment.name": tenancy.name,
                "node.info/kubeletVersion": node.kubernetes_version.rpartition(".")[0],
                "node.kubernetes.io/instance-type": shape.name,
                "oci.oraclecloud.com/fault-domain": node.fault_domain,
                "oke.oraclecloud.com/node.info.private_subnet": "true",
                "topology.kubernetes.io/region": "iad",
                "topology.kubernetes.io/zone": zone,
                **labels,
            },
        },
        "spec": {"providerID": node.id, "taints": own_taints + taints},
    }
    if tenancy.node_kind == "kwok":
        document["status"] = {"capacity": machine.capacity, "allocatable": machine.allocatable}
    return document


class KubernetesNodes:
    """The registry that is the rig's API server. One thread watches the Nodes for their readiness."""

    def __init__(self, kubeconfig: Path, loop: asyncio.AbstractEventLoop) -> None:
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        self._api = kubernetes.client.CoreV1Api(client)
        self._loop = loop
        self._ready: dict[str, asyncio.Event] = {}
        self._system_node: asyncio.Future[tuple[str, str]] = loop.create_future()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-nodes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def server_version(self) -> str:
        """The API server's version, such as v1.37.2."""
        return kubernetes.client.VersionApi(self._api.api_client).get_code().git_version

    async def system_node(self) -> tuple[str, str]:
        return await asyncio.shield(self._system_node)

    async def names(self) -> set[str]:
        nodes = await asyncio.to_thread(self._api.list_node)
        return {node.metadata.name for node in nodes.items}

    async def create(self, manifest: dict[str, Any]) -> None:
        await asyncio.to_thread(self._api.create_node, manifest)

    async def delete(self, name: str) -> None:
        self._ready.pop(name, None)
        await self._tolerate_absence(self._api.delete_node, name)

    async def add_labels(self, name: str, labels: dict[str, str]) -> None:
        await self._tolerate_absence(self._api.patch_node, name, {"metadata": {"labels": labels}})

    async def annotate(self, name: str, annotations: dict[str, str]) -> None:
        await asyncio.to_thread(self._api.patch_node, name, {"metadata": {"annotations": annotations}})

    async def set_gpus(self, name: str, gpus: int) -> None:
        amounts = {GPU: str(gpus) if gpus else None}
        await self._tolerate_absence(
            self._api.patch_node_status, name, {"status": {"capacity": amounts, "allocatable": amounts}}
        )

    async def ready(self, name: str) -> None:
        await self._ready.setdefault(name, asyncio.Event()).wait()

    async def drain(self, name: str, seconds: float) -> list[str]:
        await self._tolerate_absence(self._api.patch_node, name, {"spec": {"unschedulable": True}})
        deadline = self._loop.time() + seconds
        while True:
            left = await asyncio.to_thread(self._evict, name)
            if not left or self._loop.time() >= deadline:
                return left
            await asyncio.sleep(EVICTION_INTERVAL_S)

    def _evict(self, name: str) -> list[str]:
        """Ask for the eviction of all pods on a node; those still there."""
        pods = self._api.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={name}").items
        left = []
        for pod in pods:
            if any(owner.kind == "DaemonSet" for owner in pod.metadata.owner_references or []):
                continue
            left.append(f"{pod.metadata.namespace}/{pod.metadata.name}")
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            }
            try:
                self._api.create_namespaced_pod_eviction(pod.metadata.name, pod.metadata.namespace, eviction)
            except ApiException as error:
                if error.status not in (404, 429):
                    raise
        return left

    @staticmethod
    async def _tolerate_absence(function: Callable[..., Any], *arguments: Any) -> None:
        """A Node may be gone before its machine is; then nothing is left to do to it."""
        try:
            await asyncio.to_thread(function, *arguments)
        except ApiException as error:
            if error.status != 404:
                raise

    def _watch(self) -> None:
        while not self._stop.is_set():
            # The API server ends watches in its own time, and refuses connections while it starts or stops.
            with contextlib.suppress(ApiException, urllib3.exceptions.HTTPError, OSError):
                watch = kubernetes.watch.Watch()
                for event in watch.stream(self._api.list_node, timeout_seconds=WATCH_SECONDS):
                    if self._stop.is_set():
                        return
                    self._loop.call_soon_threadsafe(self._seen, event["type"], event["object"])
            if not self._stop.is_set():
                time.sleep(0.2)

    def _seen(self, kind: str, node: Any) -> None:
        name = node.metadata.name
        if kind == "DELETED":
            self._ready.pop(name, None)
            return
        annotations = node.metadata.annotations or {}
        if annotations.get(KIND_ANNOTATION) == "process" and POOL_ANNOTATION not in annotations:
            if not self._system_node.done():
                self._system_node.set_result((name, node.spec.provider_id or ""))
        conditions = (node.status.conditions if node.status else None) or []
        event = self._ready.setdefault(name, asyncio.Event())
        if any(condition.type == "Ready" and condition.status == "True" for condition in conditions):
            event.set()
        else:
            event.clear()
