# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud's word on a new node: the taint node.cloudprovider.kubernetes.io/uninitialized goes a moment after the node has come.

Facts imitated (cloud-provider node controller): a kubelet that expects a cloud provider registers with the taint, which keeps pods away
until the provider has looked at the machine.
"""

from __future__ import annotations

import asyncio

from rig.cluster import ApiError, Cache, Cluster, Object, Tasks, key

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
DELAY_SECONDS = 1.0


class Nodes:
    """Removes the taint of each new node."""

    def __init__(self, cluster: Cluster, tasks: Tasks) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self._busy: set[str] = set()
        self._cache = Cache(cluster, "/api/v1/nodes", self._changed)

    async def start(self) -> None:
        """Watch nodes."""
        self._tasks.start(self._cache.run(), "cache")
        await self._cache.synced.wait()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new and is_uninitialized(new) and key(new)[1] not in self._busy:
            self._busy.add(key(new)[1])
            self._tasks.start(self._initialize(key(new)[1]), f"node {key(new)[1]}")

    async def _initialize(self, name: str) -> None:
        try:
            await asyncio.sleep(DELAY_SECONDS)
            while (node := self._cache.get("", name)) and is_uninitialized(node):
                taints = [taint for taint in node["spec"]["taints"] if taint["key"] != UNINITIALIZED]
                version = {"resourceVersion": node["metadata"]["resourceVersion"]}
                try:
                    await self._cluster.patch(
                        f"/api/v1/nodes/{name}", {"metadata": version, "spec": {"taints": taints}}
                    )
                    return
                except ApiError as error:
                    if error.status != 409:  # changed meanwhile: the watch has or will have the newer one
                        raise
                await asyncio.sleep(DELAY_SECONDS / 10)
        finally:
            self._busy.discard(name)


def is_uninitialized(node: Object) -> bool:
    """Whether the node still bears the taint."""
    return any(taint["key"] == UNINITIALIZED for taint in node["spec"].get("taints") or [])
