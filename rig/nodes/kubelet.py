# SPDX-License-Identifier: GPL-3.0-or-later
"""All process nodes of a rig in one process: which nodes there are, which pods are theirs, and what both share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from rig.cluster import ApiError, Cache, Cluster, Key, Object, Tasks, ignore_missing, key, say
from rig.configuration import Rig
from rig.events import Events
from rig.nodes import kubelet_api
from rig.nodes.dns import Zone
from rig.nodes.machine import Machine, is_dead, is_process_node
from rig.nodes.network import Addresses
from rig.nodes.pod import Pod
from rig.nodes.volumes import Attachments

REFRESH_SECONDS = 30.0
"""How soon a changed Secret is in the pods that mount it: the kubelet takes up to a minute or so."""


class Kubelet:
    """The nodes, the pods on them, and what they share: caches, addresses, events, the HTTPS server."""

    refresh_seconds = REFRESH_SECONDS

    def __init__(self, rig: Rig, cluster: Cluster, version: str) -> None:
        self.rig = rig
        self.cluster = cluster
        self.version = version
        self.tasks = Tasks()
        self.events = Events(cluster, "kubelet")
        self.addresses = Addresses(rig.network)
        self.attachments = Attachments()
        self.machines: dict[str, Machine] = {}
        self.pods: dict[str, Pod] = {}
        self.service_range = ""
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._node_cache = Cache(cluster, "/api/v1/nodes", self._node_changed)
        self._pod_cache = Cache(cluster, "/api/v1/pods", self._pod_changed)
        self._service_cache = Cache(cluster, "/api/v1/services", self._service_changed)
        slices = "/apis/discovery.k8s.io/v1/endpointslices"
        self._slice_cache = Cache(cluster, slices, self._slice_changed)
        self.zone = Zone(rig.cluster_domain, self._service_cache.objects, self._slice_cache.objects)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Watch services, nodes and pods, in this order: a pod's environment names the services."""
        self._runner = web.AppRunner(kubelet_api.application(self), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        self.tasks.start(self.events.run(), "events")
        for cache in (self._service_cache, self._slice_cache, self._node_cache, self._pod_cache):
            self.tasks.start(cache.run(), "cache")
            await cache.synced.wait()

    async def stop(self) -> None:
        """End all pods' processes, and take the nodes' addresses back."""
        await self.tasks.cancel()
        await asyncio.gather(*(pod.kill() for pod in self.pods.values()))
        if self._runner:
            await self._runner.cleanup()

    async def find(self, path: str) -> Object | None:
        """The object at `path`, None when there is none."""
        try:
            return await self.cluster.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def services_for(self, host_network: bool) -> list[Object]:
        """All services; for pods in the host's network the service `kubernetes` is where the API server really is."""
        services = dict(self._service_cache.objects)
        if host_network and (master := services.get(("default", "kubernetes"))):
            url = urlsplit(self.rig.kubernetes.url)
            ports = [{**master["spec"]["ports"][0], "port": url.port}]
            services[("default", "kubernetes")] = {
                "metadata": master["metadata"],
                "spec": {"clusterIP": url.hostname, "ports": ports},
            }
        return list(services.values())

    def pod_of(self, name: Key) -> Pod | None:
        """The running pod of that namespace and name."""
        return next((pod for pod in self.pods.values() if key(pod.object) == name), None)

    async def serve(self, address: str) -> Callable[[], Awaitable[None]]:
        """Answer the kubelet API at a node's address; returns how to stop."""
        assert self._runner
        pki = self.rig.kubernetes.pki
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
        context.verify_mode = ssl.CERT_REQUIRED
        site = web.TCPSite(self._runner, address, self.rig.kubelet_port, ssl_context=context, reuse_address=True)
        await site.start()
        return site.stop

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        name = key(new or old or {})[1]
        machine = self.machines.get(name)
        if new and is_process_node(new) and not is_dead(new):
            if machine is None:
                machine = self.machines[name] = Machine(self, new)
                self._lives[name] = self.tasks.start(machine.live(), f"node {name}")
                for found in self._pod_cache.objects.values():
                    self._adopt(found)
            machine.node = new
        elif machine is not None:
            say(f"node {name} {'has died' if new else 'is gone'}")
            machine.has_died = new is not None
            del self.machines[name]
            self._lives.pop(name).cancel()
            for pod in [pod for pod in self.pods.values() if pod.machine is machine]:
                del self.pods[pod.uid]
                self.tasks.start(pod.kill(), f"end of pod {pod.label}")
        if new is None:
            self.attachments.detach(name)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        uid = (new or old or {})["metadata"]["uid"]
        pod = self.pods.get(uid)
        if new is None:
            if pod is not None:
                del self.pods[uid]
                self.tasks.start(pod.kill(), f"end of pod {pod.label}")
        elif pod is not None:
            pod.update(new)
        else:
            self._adopt(new)

    def _adopt(self, found: Object) -> None:
        """Run a pod that was given to one of our nodes; one that is being deleted already only goes."""
        machine = self.machines.get(found["spec"].get("nodeName", ""))
        phase = found.get("status", {}).get("phase")
        if machine is None or found["metadata"]["uid"] in self.pods:
            return
        if found["metadata"].get("deletionTimestamp"):
            self.tasks.start(self._let_go(found), "deletion of a pod")
        elif phase not in ("Succeeded", "Failed"):
            pod = self.pods[found["metadata"]["uid"]] = Pod(self, machine, found)
            pod.start()

    async def _let_go(self, found: Object) -> None:
        metadata = found["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        with ignore_missing():
            await self.cluster.delete(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", options)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        if new and key(new) == ("default", "kubernetes"):
            self.service_range = ".".join(new["spec"]["clusterIP"].split(".")[:2]) + ".0.0/16"
        self.zone.changed()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        self.zone.changed()
