# SPDX-License-Identifier: GPL-3.0-or-later
"""Block volumes for claims of the StorageClass oci-bv: a folder each, in the place of OCI's Block Volume and its CSI driver.

Facts imitated (OKE documentation "Provisioning Persistent Volume Claims", kubernetes-csi external-provisioner):
- WaitForFirstConsumer: a volume is made when a pod that uses the claim was given a node, in that node's availability domain
- the least size is 50 GB: a smaller claim gets 50 Gi, and its status says so
- a fresh filesystem belongs to root, mode 0755, and has lost+found
- reclaim policy Delete: when the claim has gone, the volume goes, with all that is on it; with Retain it stays

Difference: a volume is there at once; attaching it takes no time either.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
from pathlib import Path

import aiohttp

from rig.cluster import ApiError, Cache, Cluster, Object, Tasks, key, say
from rig.configuration import Rig
from rig.events import Events
from rig.nodes.quantities import parse

DRIVER = "blockvolume.csi.oraclecloud.com"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
ZONE = "topology.kubernetes.io/zone"
LEAST_GIB = 50
GIB = 1024**3
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0


class Volumes:
    """Makes and removes volumes as claims come and go."""

    def __init__(self, rig: Rig, cluster: Cluster, tasks: Tasks, events: Events) -> None:
        self._folder = rig.directory / "volumes"
        self._control = rig.oci.control
        self._cluster = cluster
        self._tasks = tasks
        self._events = events
        self._busy: set[str] = set()
        classes = "/apis/storage.k8s.io/v1/storageclasses"
        self._classes = Cache(cluster, classes, lambda old, new: self._look_at_all_claims())
        self._claims = Cache(cluster, "/api/v1/persistentvolumeclaims", self._claim_changed)
        self._volumes = Cache(cluster, "/api/v1/persistentvolumes", self._volume_changed)

    async def start(self) -> None:
        """Watch classes, claims and volumes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for cache in (self._classes, self._claims, self._volumes):
            self._tasks.start(cache.run(), "cache")
            await cache.synced.wait()

    def _look_at_all_claims(self) -> None:
        for claim in self._claims.objects.values():
            self._claim_changed(None, claim)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new and self._is_due(new) and new["metadata"]["uid"] not in self._busy:
            self._busy.add(new["metadata"]["uid"])
            self._tasks.start(self._provide(key(new)), f"volume of claim {'/'.join(key(new))}")

    def _is_due(self, claim: Object) -> bool:
        """Whether a volume is to be made for this claim now."""
        found = self._classes.get("", claim["spec"].get("storageClassName") or "")
        if found is None or found["provisioner"] != DRIVER or claim["spec"].get("volumeName"):
            return False
        if claim["metadata"].get("deletionTimestamp") or claim["spec"].get("volumeMode", "Filesystem") != "Filesystem":
            return False
        waits = found.get("volumeBindingMode") == "WaitForFirstConsumer"
        return not waits or SELECTED_NODE in claim["metadata"].get("annotations", {})

    async def _provide(self, name: tuple[str, str]) -> None:
        """Make the volume of a claim, trying again while that fails and the claim is still there."""
        wait = FIRST_RETRY_SECONDS
        uid = self._claims.objects[name]["metadata"]["uid"]
        try:
            while (claim := self._claims.get(*name)) and claim["metadata"]["uid"] == uid and self._is_due(claim):
                self._event(claim, "Normal", "Provisioning", "External provisioner is provisioning volume for claim")
                try:
                    volume = await self._make(claim)
                    self._event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume}")
                    return
                except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    text = f"failed to provision volume with StorageClass: {error}"
                    self._event(claim, "Warning", "ProvisioningFailed", text)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY_SECONDS)
        finally:
            self._busy.discard(uid)

    async def _make(self, claim: Object) -> str:
        """Make the volume and its object; the object's name."""
        metadata = claim["metadata"]
        name = f"csi-{metadata['uid']}"
        if self._volumes.get("", name):
            return name
        node = metadata.get("annotations", {}).get(SELECTED_NODE, "")
        zone = ""
        if node:
            labels = (await self._cluster.get(f"/api/v1/nodes/{node}"))["metadata"].get("labels", {})
            zone = labels.get(ZONE, "")
        gib = size_gib(claim)
        asked = {
            "name": name,
            "size_gb": gib,
            "namespace": metadata["namespace"],
            "claim": metadata["name"],
            "node": node,
        }
        handle = (await self._oci("POST", "/rig/volumes", asked))["id"]
        make_folder(self._folder / handle)
        storage_class = self._classes.objects[("", claim["spec"]["storageClassName"])]
        try:
            await self._cluster.create(
                "/api/v1/persistentvolumes", manifest(claim, storage_class, name, handle, gib, zone)
            )
        except ApiError as error:
            await self._remove(handle)
            if error.status != 409:
                raise
        return name

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or new["spec"].get("csi", {}).get("driver") != DRIVER:
            return
        released = new.get("status", {}).get("phase") == "Released"
        if released and new["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            uid = new["metadata"]["uid"]
            if uid not in self._busy:
                self._busy.add(uid)
                self._tasks.start(self._reclaim(new), f"removal of volume {new['metadata']['name']}")

    async def _reclaim(self, volume: Object) -> None:
        path = f"/api/v1/persistentvolumes/{volume['metadata']['name']}"
        wait = FIRST_RETRY_SECONDS
        try:
            while True:
                try:
                    await self._remove(volume["spec"]["csi"]["volumeHandle"])
                    await self._let_go(path)
                    return
                except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    say(f"{volume['metadata']['name']} not removed, trying again: {error!r}")
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY_SECONDS)
        finally:
            self._busy.discard(volume["metadata"]["uid"])

    async def _let_go(self, path: str) -> None:
        """Delete the volume's object, and take our finalizer off it."""
        try:
            await self._cluster.delete(path)
            found = (await self._cluster.get(path))["metadata"]
            kept = [entry for entry in found.get("finalizers", []) if entry != FINALIZER]
            version = found["resourceVersion"]
            await self._cluster.patch(path, {"metadata": {"resourceVersion": version, "finalizers": kept}})
        except ApiError as error:
            if error.status == 409:  # another controller took its own finalizer off meanwhile
                await self._let_go(path)
            elif error.status != 404:
                raise

    async def _remove(self, handle: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder / handle, True)
        await self._oci("DELETE", f"/rig/volumes/{handle}")

    async def _oci(self, method: str, path: str, body: Object | None = None) -> Object:
        """One request to the OCI stand-in, which lists the volumes; what is not there need not be removed."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self._control + path, json=body) as answer,
        ):
            if answer.status == 404 and method == "DELETE":
                return {}
            if answer.status >= 400:
                raise ApiError(method, path, answer.status, answer.reason or "", await answer.text())
            return await answer.json()

    def _event(self, claim: Object, kind: str, reason: str, message: str) -> None:
        self._events.report(claim, "PersistentVolumeClaim", kind, reason, message)


def size_gib(claim: Object) -> int:
    """The size of the volume that a claim gets, in GiB."""
    asked = claim["spec"]["resources"]["requests"]["storage"]
    return max(math.ceil(parse(asked) / GIB), LEAST_GIB)


def make_folder(path: Path) -> None:
    """A fresh filesystem."""
    path.mkdir()
    path.chmod(0o755)
    (path / "lost+found").mkdir()
    (path / "lost+found").chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)


def manifest(claim: Object, storage_class: Object, name: str, handle: str, gib: int, zone: str) -> Object:
    """The PersistentVolume of the volume `handle`, bound to its claim."""
    metadata = claim["metadata"]
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: DRIVER}, "finalizers": [FINALIZER]},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": f"{gib}Gi"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "csi": {"driver": DRIVER, "fsType": "ext4", "volumeHandle": handle},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": claim["spec"]["storageClassName"],
        },
    }
    if zone:
        here = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
        volume["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [here]}}
    return volume
