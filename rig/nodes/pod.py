# SPDX-License-Identifier: GPL-3.0-or-later
"""One pod on a process node, from its scheduling to its removal.

Facts imitated (kubelet):
- volumes, sandbox with the pod's network, init containers one after the other (sidecars go on), then all containers at once
- what cannot be had yet is tried again with back-off (0.5 s doubling to 2 min) and reported by FailedMount
- status is written when it changes, conditions with the time of their change
- deletion: all containers are stopped within the grace period, sidecars last; the last status; then the object goes
- a grace period that another deletion makes shorter counts from then
- a pod whose containers have all ended for good gives up its network and volumes

Differences: shareProcessNamespace, hostPID and hostIPC are refused; no eviction, no resource limits are enforced.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from rig.cluster import STRATEGIC, ApiError, Tasks, now, say
from rig.nodes import network, status
from rig.nodes.container import Container
from rig.nodes.environment import Context
from rig.nodes.payload import MountError, Sources
from rig.nodes.process import CannotStart, Process
from rig.nodes.volumes import FILE_SYSTEM_DRIVER, Volumes, file_system

if TYPE_CHECKING:
    from rig.nodes.kubelet import Kubelet
    from rig.nodes.machine import Machine

Object = dict[str, Any]

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 122
STATUS_RETRY_SECONDS = 1
SHARED_MEMORY = {"options": "mode=1777,size=64m"}


class Pod:
    """A pod that `machine` runs."""

    def __init__(self, kubelet: Kubelet, machine: Machine, found: Object) -> None:
        self.kubelet = kubelet
        self.machine = machine
        self.object = found
        self.tasks = Tasks()
        metadata, spec = found["metadata"], found["spec"]
        self.uid: str = metadata["uid"]
        self.label = f"{metadata['namespace']}/{metadata['name']}"
        self.host_network = bool(spec.get("hostNetwork"))
        self.hostname = (
            machine.name if self.host_network else spec.get("hostname") or metadata["name"][:63].rstrip("-.")
        )
        self.folder = kubelet.rig.directory / "pods" / self.uid
        self.log_folder = kubelet.rig.directory / "logs" / "pods" / f"{self.label.replace('/', '_')}_{self.uid[:8]}"
        self.shared_memory = self.folder / "shm"
        self.address = ""
        self.sandbox: Process
        self.grace_seconds: float = spec.get("terminationGracePeriodSeconds", 30)
        self.inits = [
            Container(self, one, "sidecar" if one.get("restartPolicy") == "Always" else "init")
            for one in spec.get("initContainers") or []
        ]
        self.mains = [Container(self, one, "main") for one in spec["containers"]]
        self.volumes = Volumes(
            found,
            self.folder / "volumes",
            machine.folder,
            Sources(self.context, self._request_token, [*(spec.get("initContainers") or []), *spec["containers"]]),
            self._volume_of_claim,
            kubelet.attachments,
        )
        self._started_at = found.get("status", {}).get("startTime") or now()
        self._ended = False
        self._terminating = False
        self._has_sandbox = False
        self._dirty = asyncio.Event()
        self._written: Object = {}
        self._life: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def containers(self) -> list[Container]:
        """All containers, init ones first."""
        return [*self.inits, *self.mains]

    def start(self) -> None:
        """Begin to run it."""
        self.changed()
        self._writer = self.tasks.start(self._write_statuses(), f"status of {self.label}")
        self._life = self.tasks.start(self._live(), f"pod {self.label}")

    def update(self, found: Object) -> None:
        """The object has changed: its deletion is carried out, labels and annotations are used from now on."""
        self.object = found
        metadata = found["metadata"]
        grace = metadata.get("deletionGracePeriodSeconds", self.grace_seconds)
        if metadata.get("deletionTimestamp") and not self._terminating:
            self._terminating = True
            self.grace_seconds = grace
            self.kubelet.tasks.start(self._terminate(), f"end of pod {self.label}")
        elif self._terminating and grace < self.grace_seconds:
            self.grace_seconds = grace
            for container in self.containers:
                self.kubelet.tasks.start(container.end_by(grace), f"sooner end of pod {self.label}")

    async def kill(self) -> None:
        """End all its processes at once and forget it; nothing is written to its object."""
        self._terminating = True
        for task in (self._life, self._writer):
            if task:
                task.cancel()
        await asyncio.gather(*(container.stop(0) for container in self.containers))
        await self.tasks.cancel()
        await self._release()

    def changed(self) -> None:
        """What its status says may have changed."""
        self._dirty.set()

    def event(self, kind: str, reason: str, message: str, container: str = "") -> None:
        """Report an event of this pod."""
        self.kubelet.events.report(self.object, "Pod", kind, reason, message, container, self.machine.name)

    def context(self) -> Context:
        """What the fields of its containers refer to."""
        namespace = self.object["metadata"]["namespace"]
        return Context(
            pod=self.object,
            pod_ip=self.address,
            host_ip=self.machine.address,
            allocatable=self.machine.allocatable,
            services=self.kubelet.services_for(self.host_network),
            secret=lambda name: self.kubelet.find(f"/api/v1/namespaces/{namespace}/secrets/{name}"),
            config_map=lambda name: self.kubelet.find(f"/api/v1/namespaces/{namespace}/configmaps/{name}"),
        )

    def network_files(self) -> dict[str, str]:
        """The files of /etc that tell of its network."""
        rig = self.kubelet.rig
        files = {"/etc/resolv.conf": network.resolv_file(self.object, rig.network.address, rig.cluster_domain)}
        if self.host_network:
            return files | {"/etc/hosts": Path("/etc/hosts").read_text()}
        hosts = network.hosts_file(self.object, self.address, rig.cluster_domain)
        return files | {"/etc/hosts": hosts, "/etc/hostname": f"{self.hostname}\n"}

    async def _live(self) -> None:
        spec = self.object["spec"]
        for refused in ("shareProcessNamespace", "hostPID", "hostIPC"):
            if spec.get(refused):
                self.event("Warning", "FailedCreatePodSandBox", f"process nodes have no {refused}")
                return
        self.machine.give_gpus(self.uid, spec["containers"])
        await self._again_and_again("FailedMount", self.volumes.prepare)
        await self._again_and_again("FailedCreatePodSandBox", self._make_sandbox)
        self.tasks.start(self._refresh_volumes(), f"volumes of {self.label}")
        if await self._initialize():
            await asyncio.wait([container.start() for container in self.mains])  # when cancelled, they go on
        if self._terminating:
            return
        self._ended = True
        for sidecar in reversed([one for one in self.inits if one.role == "sidecar"]):
            await sidecar.stop(self.grace_seconds)
        await self._release_network()
        self.changed()

    async def _again_and_again(self, reason: str, work: Any) -> None:
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                await work()
                return
            except (MountError, CannotStart, ApiError, aiohttp.ClientError, OSError) as error:
                attach = reason == "FailedMount" and "Multi-Attach" in str(error)
                self.event("Warning", "FailedAttachVolume" if attach else reason, str(error))
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_RETRY_SECONDS)

    async def _make_sandbox(self) -> None:
        self.shared_memory.mkdir(parents=True, exist_ok=True)
        memory = [*self.volumes.memory(), {"target": str(self.shared_memory), **SHARED_MEMORY}]
        specification = {"host_network": self.host_network, "hostname": self.hostname, "memory": memory}
        said = bytearray()
        sandbox = await Process.start("sandbox", specification, said.extend)
        try:
            if self.host_network:
                self.address = self.machine.address
            else:
                self.address = self.kubelet.addresses.take()
                rig = self.kubelet.rig
                await network.connect(rig.network, rig.name, sandbox.pid, self.address, self.kubelet.service_range)
        except BaseException:
            await sandbox.kill()
            self._give_back_address()
            raise
        self.sandbox = sandbox
        self._has_sandbox = True
        self.changed()

    async def _initialize(self) -> bool:
        """Run the init containers; whether the others may start."""
        for container in self.inits:
            task = container.start()
            if container.role == "sidecar":
                await container.has_started.wait()
                continue
            await asyncio.wait([task])
            if not container.state.is_initialized:
                return False
        return True

    async def _refresh_volumes(self) -> None:
        while True:
            await asyncio.sleep(self.kubelet.refresh_seconds)
            try:
                await self.volumes.refresh()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                say(f"volumes of {self.label} not refreshed: {error!r}")

    async def _terminate(self) -> None:
        """The object is being deleted: end everything, say how it ended, and let the object go."""
        metadata = self.object["metadata"]
        grace = self.grace_seconds
        if self._life:
            self._life.cancel()
            await asyncio.wait([self._life])
        first = [*self.mains, *(one for one in self.inits if one.role == "init")]
        await asyncio.gather(*(container.stop(grace) for container in first))
        for sidecar in reversed([one for one in self.inits if one.role == "sidecar"]):
            await sidecar.stop(grace)
        self._ended = True
        await self.tasks.cancel()
        await self._release()
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        try:
            await self._write_status()
            await self.kubelet.cluster.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _release(self) -> None:
        await self._release_network()
        self.machine.take_gpus_back(self.uid)
        if not self.machine.has_died:
            self.kubelet.attachments.detach(self.uid)
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    async def _release_network(self) -> None:
        if self._has_sandbox:
            self._has_sandbox = False
            await self.sandbox.kill()
            self._give_back_address()

    def _give_back_address(self) -> None:
        if self.address and not self.host_network:
            self.kubelet.addresses.give_back(self.address)

    async def _write_statuses(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write_status()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.status in (404, 409):
                    continue  # it has gone, or another one has its name: the watch will tell
                say(f"status of {self.label} not written: {error!r}")
                self._dirty.set()
                await asyncio.sleep(STATUS_RETRY_SECONDS)

    async def _write_status(self) -> None:
        new = self._status()
        if new == self._written:
            return
        metadata = self.object["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        await self.kubelet.cluster.patch(path, {"metadata": {"uid": self.uid}, "status": new}, STRATEGIC)
        self._written = new

    def _status(self) -> Object:
        inits = [container.state for container in self.inits]
        mains = [container.state for container in self.mains]
        phase = status.phase(self.object, inits, mains, self._ended)
        conditions = status.conditions(self.object, inits, mains, phase, self._has_sandbox)
        before = self._written.get("conditions") or self.object.get("status", {}).get("conditions", [])
        found = {
            "phase": phase,
            "observedGeneration": self.object["metadata"].get("generation", 1),
            "conditions": status.with_times(conditions, before, now()),
            "hostIP": self.machine.address,
            "hostIPs": [{"ip": self.machine.address}],
            "startTime": self._started_at,
            "containerStatuses": [one.as_status() for one in mains],
        }
        if inits:
            found["initContainerStatuses"] = [one.as_status() for one in inits]
        if self.address:
            found |= {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        return found

    async def _request_token(self, fields: Object) -> Object:
        metadata = self.object["metadata"]
        account = self.object["spec"].get("serviceAccountName", "default")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [fields["audience"]] if fields.get("audience") else [],
                "expirationSeconds": fields.get("expirationSeconds", 3600),
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": self.uid},
            },
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        return await self.kubelet.cluster.create(path, body)

    async def _volume_of_claim(self, name: str) -> tuple[Path, str, bool]:
        """The folder of a claim's volume, its handle, and whether one node at a time may have it."""
        namespace = self.object["metadata"]["namespace"]
        claim = await self.kubelet.find(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        if claim is None:
            raise MountError(f'persistentvolumeclaim "{name}" not found')
        if claim["status"].get("phase") != "Bound":
            raise MountError(f'persistentvolumeclaim "{name}" is not bound')
        volume = await self.kubelet.find(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        if volume is None or "csi" not in volume["spec"]:
            raise MountError(f'persistentvolume of claim "{name}" is of no driver that process nodes have')
        handle = volume["spec"]["csi"]["volumeHandle"]
        if volume["spec"]["csi"]["driver"] == FILE_SYSTEM_DRIVER:
            return file_system(handle, self.kubelet.rig.directory / "file_systems"), handle, False
        path = self.kubelet.rig.directory / "volumes" / handle
        if not path.is_dir():
            raise MountError(f"volume {handle} not found at {path}")
        return path, handle, "ReadWriteOnce" in volume["spec"]["accessModes"]
