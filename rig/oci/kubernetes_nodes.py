# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes side of a node pool: Node objects on the rig's API server.

Facts imitated:
- a Node's name is its private IP, its providerID the instance's OCID;
- it joins with the taint node.cloudprovider.kubernetes.io/uninitialized and, with GPUs, nvidia.com/gpu:NoSchedule
  (empty value);
- a preemptible node bears label and taint of the key oci.oraclecloud.com/oke-is-preemptible;
- nvidia.com/gpu appears some time after Ready;
- a drain evicts pods, all but those of DaemonSets, and honours disruption budgets.

A Node is served by the rig's kubelet stand-in (kind `process`) or by KWOK (kind `kwok`); see the annotations below.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Protocol

from rig.cluster import ApiError, Cache, Cluster, Object, ignore_missing
from rig.oci.machines import Capacity
from rig.oci.shapes import SHAPES
from rig.oci.state import Node, Tenancy

KIND_ANNOTATION = "rig.multinode.inference/kind"
CAPACITY_ANNOTATION = "rig.multinode.inference/capacity"
DEAD_ANNOTATION = "rig.multinode.inference/dead"
POOL_ANNOTATION = "oci.oraclecloud.com/node-pool-id"
KWOK_ANNOTATION = "kwok.x-k8s.io/node"
GPU = "nvidia.com/gpu"
PREEMPTIBLE = "oci.oraclecloud.com/oke-is-preemptible"
NODES = "/api/v1/nodes"
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
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
    elif tenancy.node_kind == "kwok":  # a pod that is to run for real, such as the operator's, must not come here
        own_taints.append({"key": KWOK_ANNOTATION, "value": "fake", "effect": "NoSchedule"})
    if node.preemptible:
        own_taints.append({"key": PREEMPTIBLE, "value": "true", "effect": "NoSchedule"})
        labels = {PREEMPTIBLE: "true", **labels}
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
    """The registry that is the rig's API server; Nodes are watched, so that nothing is asked for twice."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes = Cache(cluster, NODES, self._changed)
        self._ready: dict[str, asyncio.Event] = {}
        self._system_node: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    async def watch(self) -> None:
        """Keep up with the Nodes, without end."""
        await self._nodes.run()

    async def server_version(self) -> str:
        """The API server's version, such as v1.37.2."""
        return str((await self._cluster.get("/version"))["gitVersion"])

    async def system_node(self) -> tuple[str, str]:
        return await asyncio.shield(self._system_node)

    async def names(self) -> set[str]:
        await self._nodes.synced.wait()
        return {name for _, name in self._nodes.objects}

    async def create(self, manifest: dict[str, Any]) -> None:
        await self._cluster.create(NODES, manifest)

    async def delete(self, name: str) -> None:
        with ignore_missing():
            await self._cluster.delete(f"{NODES}/{name}")

    async def add_labels(self, name: str, labels: dict[str, str]) -> None:
        with ignore_missing():
            await self._cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": labels}})

    async def annotate(self, name: str, annotations: dict[str, str]) -> None:
        await self._cluster.patch(f"{NODES}/{name}", {"metadata": {"annotations": annotations}})

    async def set_gpus(self, name: str, gpus: int) -> None:
        amounts = {GPU: str(gpus) if gpus else None}
        with ignore_missing():
            await self._cluster.patch(
                f"{NODES}/{name}/status", {"status": {"capacity": amounts, "allocatable": amounts}}
            )

    async def ready(self, name: str) -> None:
        await self._ready.setdefault(name, asyncio.Event()).wait()

    async def drain(self, name: str, seconds: float) -> list[str]:
        with ignore_missing():
            await self._cluster.patch(f"{NODES}/{name}", {"spec": {"unschedulable": True}})
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            left = await self._evict(name)
            if not left or loop.time() >= deadline:
                return left
            await asyncio.sleep(EVICTION_INTERVAL_S)

    async def _evict(self, name: str) -> list[str]:
        """Ask for the eviction of all pods on a node; those still there."""
        pods = await self._cluster.get("/api/v1/pods", fieldSelector=f"spec.nodeName={name}")
        left = []
        for pod in pods["items"]:
            metadata = pod["metadata"]
            if any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences", [])):
                continue
            names = {"name": metadata["name"], "namespace": metadata["namespace"]}
            left.append("{namespace}/{name}".format(**names))
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names}
            try:
                await self._cluster.create(
                    "/api/v1/namespaces/{namespace}/pods/{name}/eviction".format(**names), eviction
                )
            except ApiError as error:
                if error.status not in (404, 429):  # gone, or forbidden by a disruption budget
                    raise
        return left

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._ready.pop(old["metadata"]["name"], None)
            return
        name, annotations = new["metadata"]["name"], new["metadata"].get("annotations", {})
        if annotations.get(KIND_ANNOTATION) == "process" and POOL_ANNOTATION not in annotations:
            if not self._system_node.done():
                self._system_node.set_result((name, new["spec"].get("providerID", "")))
        event = self._ready.setdefault(name, asyncio.Event())
        conditions = new.get("status", {}).get("conditions", [])
        if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
            event.set()
        else:
            event.clear()
