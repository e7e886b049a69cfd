# SPDX-License-Identifier: GPL-3.0-or-later
"""One process node: what the kubelet of such a machine says of it to the API server.

Facts imitated (kubelet, OKE):
- on joining: addresses, capacity and allocatable, conditions, node information, the port of its API; Ready within a second
- a lease in kube-node-lease, renewed every 10 s; a machine that dies just stops, and the control plane notices later
- the labels for host name, operating system and architecture
- GPUs are given to containers one by one and are free again when their pod has gone

The machine's size is in the annotation rig.multinode.inference/capacity: {"capacity": {…}, "allocatable": {…}}.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from rig.cluster import STRATEGIC, ApiError, Object, now, say
from rig.nodes import network
from rig.nodes.images import Image

if TYPE_CHECKING:
    from rig.nodes.kubelet import Kubelet

KIND = "rig.multinode.inference/kind"
CAPACITY = "rig.multinode.inference/capacity"
DEAD = "rig.multinode.inference/dead"
GPU = "nvidia.com/gpu"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

LEASE_SECONDS = 40
RENEW_SECONDS = 10
HEALTHY = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def is_process_node(node: Object) -> bool:
    """Whether a Node is one of ours."""
    return node["metadata"].get("annotations", {}).get(KIND) == "process"


def is_dead(node: Object) -> bool:
    """Whether the machine behind a Node is to be seen as dead."""
    return node["metadata"].get("annotations", {}).get(DEAD) == "true"


class Machine:
    """The machine behind the Node `node`."""

    def __init__(self, kubelet: Kubelet, node: Object) -> None:
        self.node = node
        self.name: str = node["metadata"]["name"]
        self.address = self.name
        self.folder: Path = kubelet.rig.directory / "nodes" / self.name
        self.images: dict[str, Image] = {}
        self._kubelet = kubelet
        self.has_died = False
        self._gpus: dict[str, dict[str, list[int]]] = {}

    @property
    def allocatable(self) -> dict[str, str]:
        """What its pods may use, as last seen."""
        return self.node.get("status", {}).get("allocatable", {})

    @property
    def shape(self) -> str:
        """The machine's type."""
        return self.node["metadata"].get("labels", {}).get(INSTANCE_TYPE, "")

    def give_gpus(self, pod: str, containers: list[Object]) -> None:
        """Choose the GPUs of a pod's containers among the free ones."""
        taken = {gpu for given in self._gpus.values() for gpus in given.values() for gpu in gpus}
        free = [gpu for gpu in range(int(self.allocatable.get(GPU, "0"))) if gpu not in taken]
        given = {}
        for container in containers:
            count = int(container.get("resources", {}).get("limits", {}).get(GPU, "0"))
            given[container["name"]], free = free[:count], free[count:]
        self._gpus[pod] = given

    def gpus_of(self, pod: str, container: str) -> list[int]:
        """The GPUs given to a container of a pod (its uid)."""
        return self._gpus.get(pod, {}).get(container, [])

    def take_gpus_back(self, pod: str) -> None:
        """The pod has gone."""
        self._gpus.pop(pod, None)

    async def live(self) -> None:
        """Join the cluster and send heartbeats, until cancelled."""
        rig = self._kubelet.rig
        await network.add_node(rig.network, self.address)
        stop_serving = await self._kubelet.serve(self.address)
        try:
            await self._keep_trying(self._join)
            say(f"node {self.name} has joined")
            while True:
                await asyncio.sleep(RENEW_SECONDS)
                await self._keep_trying(self._renew)
        finally:
            await stop_serving()
            await network.remove_node(rig.network, self.address)

    async def _keep_trying(self, work: Any) -> None:
        while True:
            try:
                await work()
                return
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                say(f"node {self.name}: {error!r}")
            await asyncio.sleep(1)

    async def _join(self) -> None:
        cluster, path = self._kubelet.cluster, f"/api/v1/nodes/{self.name}"
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64" if platform.machine() == "x86_64" else "arm64",
        }
        await cluster.patch(path, {"metadata": {"labels": labels}})
        await self._renew()
        await cluster.patch(f"{path}/status", {"status": self._status()}, STRATEGIC)

    def _status(self) -> Object:
        size = json.loads(self.node["metadata"].get("annotations", {}).get(CAPACITY, "{}"))
        conditions = [
            {"type": kind, "status": "False", "reason": reason, "message": message} for kind, reason, message in HEALTHY
        ]
        conditions.append(
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
        )
        for condition in conditions:
            condition |= {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
        return {
            "addresses": [
                {"type": "InternalIP", "address": self.address},
                {"type": "Hostname", "address": self.name},
            ],
            "capacity": size.get("capacity", {}),
            "allocatable": size.get("allocatable", size.get("capacity", {})),
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.rig.kubelet_port}},
            "nodeInfo": {
                "machineID": self.node["metadata"]["uid"].replace("-", ""),
                "systemUUID": self.node["metadata"]["uid"],
                "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                "kernelVersion": platform.release(),
                "osImage": "Oracle Linux Server 8.10",
                "containerRuntimeVersion": "cri-o://1.37.0",
                "kubeletVersion": self._kubelet.version,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64" if platform.machine() == "x86_64" else "arm64",
            },
        }

    async def _renew(self) -> None:
        cluster, leases = self._kubelet.cluster, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": moment}
        try:
            await cluster.patch(f"{leases}/{self.name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self.node["metadata"]["uid"]}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "ownerReferences": [owner]},
                "spec": spec,
            }
            await cluster.create(leases, lease)
