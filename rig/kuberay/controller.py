# SPDX-License-Identifier: GPL-3.0-or-later
"""The KubeRay stand-in: makes of a RayCluster (ray.io/v1) what KubeRay 1.7 makes.

It imitates what the modules beside it list; it does not imitate autoscaling, GCS fault tolerance, ingress, network
policy, mTLS, history server, RayJob and RayService. Only `kopf.on.event` handlers are used: all others would put a
finalizer on the RayCluster, which KubeRay does not. Events only name the clusters to look at; each look reads the
objects anew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import kopf

from rig.kuberay import names, reconcile, services, status, validation
from rig.kuberay.api import CORE, Api, ApiError, connect, now
from rig.kuberay.ray_cluster import Object, Settings, spec_hash

log = logging.getLogger("kuberay")

# KubeRay looks at every cluster again after this time (RAYCLUSTER_DEFAULT_REQUEUE_SECONDS_ENV), and sooner after an
# error.
REQUEUE_SECONDS = 300.0
RETRY_SECONDS = 2.0
Key = tuple[str, str]


class Controller:
    """Looks at one RayCluster after the other, as events name them."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()
        self._refused: dict[Key, str] = {}

    def look_at(self, namespace: str, name: str, delay: float = 0.0) -> None:
        """Have the cluster looked at within `delay` seconds."""
        when = asyncio.get_running_loop().time() + delay
        self._due[namespace, name] = min(when, self._due.get((namespace, name), when))
        self._wake.set()

    async def run(self) -> None:
        """Serve what is due, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            next_due = min(self._due.values(), default=clock() + REQUEUE_SECONDS)
            if (wait := next_due - clock()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
                continue
            key = min(self._due, key=lambda candidate: self._due[candidate])
            del self._due[key]
            await self._serve(key)

    async def _serve(self, key: Key) -> None:
        try:
            again = await self._reconcile(*key)
        except (ApiError, aiohttp.ClientError, OSError) as error:
            # A conflict, or an API server that is away, is no end of the operator: say it and come back.
            log.warning("%s/%s: %s: %s", *key, type(error).__name__, error)
            again = RETRY_SECONDS
        except Exception:
            # A fault of the stand-in met with one cluster does not take the others with it.
            log.exception("%s/%s", *key)
            again = RETRY_SECONDS
        if again:
            self.look_at(*key, delay=again)

    async def _reconcile(self, namespace: str, name: str) -> float | None:
        """One look at a cluster; the seconds until the next one, None when it is gone or refused."""
        cluster = await self._api.cluster(namespace, name)
        if cluster is None or cluster["metadata"].get("deletionTimestamp"):
            self._refused.pop((namespace, name), None)
            return None
        if cluster["spec"].get("managedBy", "ray.io/kuberay-operator") != "ray.io/kuberay-operator":
            return None
        if refusal := validation.refusal(cluster):
            if self._refused.get((namespace, name)) != refusal.message:
                self._refused[namespace, name] = refusal.message
                await self._api.event(cluster, "Warning", refusal.reason, refusal.message)
                log.warning("%s/%s: %s: %s", namespace, name, refusal.reason, refusal.message)
            return None
        self._refused.pop((namespace, name), None)
        await self._ensure(cluster, services.token_secret(cluster), "Secret")
        service = await self._ensure(cluster, services.head_service(cluster, self._settings), "Service")
        await self._ensure(cluster, services.headless_workers_service(cluster), "Service")
        selector = f"{names.LABEL_CLUSTER}={name}"
        existing = await self._api.pods(namespace, selector)
        failure = await self._take(cluster, reconcile.decide(cluster, existing, self._settings))
        existing = await self._api.pods(namespace, selector)
        new = status.calculate(cluster, existing, service, failure, now())
        if new != cluster.get("status"):
            await self._api.write_status(cluster, new)
        return RETRY_SECONDS if failure else REQUEUE_SECONDS

    async def _ensure(self, cluster: Object, wanted: Object | None, kind: str) -> Object | None:
        """Make the object if there is none of its name; what is there is left as it is."""
        if wanted is None:
            return None
        metadata = wanted["metadata"]
        path = f"{CORE}/namespaces/{metadata['namespace']}/{kind.lower()}s/{metadata['name']}"
        if found := await self._api.read(path):
            return found
        made = await self._api.create(wanted)
        await self._api.event(cluster, "Normal", f"Created{kind}", f"Created {kind.lower()} {metadata['name']}")
        return made

    async def _take(self, cluster: Object, steps: reconcile.Steps) -> tuple[str, str] | None:
        """Take the steps; reason and text of one that failed, or None. Each step is tried whatever the others do."""
        failure = None
        if steps.adopt:
            await self._adopt(cluster, steps.adopt)
        for pod, reason in steps.delete:
            failure = await self._step(cluster, pod, "Delete", self._api.delete_pod, reason) or failure
        for pod in steps.create:
            failure = await self._step(cluster, pod, "Create", self._api.create, "") or failure
        return failure

    async def _step(
        self, cluster: Object, pod: Object, verb: str, act: Callable[[Object], Awaitable[Any]], reason: str
    ) -> tuple[str, str] | None:
        role = f"{pod['metadata']['labels'][names.LABEL_NODE_TYPE].capitalize()}Pod"
        name = pod["metadata"].get("name")
        namespace = cluster["metadata"]["namespace"]
        try:
            made = await act(pod)
        except ApiError as error:
            message = f"Failed to {verb.lower()} {role} {namespace}/{name or pod['metadata']['generateName']}, {error}"
            await self._api.event(cluster, "Warning", f"FailedTo{verb}{role}", message)
            log.warning("%s", message)
            return f"Failed{verb}{role}", str(error)
        name = name or made["metadata"]["name"]
        message = f"{verb}d {role} {namespace}/{name}" + (f": {reason}" if reason else "")
        await self._api.event(cluster, "Normal", f"{verb}d{role}", message)
        log.info("%s", message)
        return None

    async def _adopt(self, cluster: Object, head: Object) -> None:
        """After an operator upgrade the hash is written anew once, so that the upgrade alone restarts nothing."""
        annotations = {names.ANNOTATION_SPEC_HASH: spec_hash(cluster), names.ANNOTATION_OPERATOR_VERSION: names.VERSION}
        metadata = head["metadata"]
        path = f"{CORE}/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await self._api.request("PATCH", path, {"metadata": {"annotations": annotations}})


def registry(operator_settings: Settings) -> kopf.OperatorRegistry:
    """The handlers: they hand the names of changed clusters to the controller."""
    handlers = kopf.OperatorRegistry()
    running: dict[str, Any] = {}

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connect()

    @kopf.on.startup(registry=handlers)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        api = Api()
        controller = Controller(api, operator_settings)
        running.update(api=api, controller=controller, task=asyncio.create_task(controller.run()))

    @kopf.on.cleanup(registry=handlers)
    async def end(**_: Any) -> None:
        running["task"].cancel()
        await running["api"].close()

    @kopf.on.event("ray.io", "v1", "rayclusters", registry=handlers)
    async def cluster_changed(namespace: str, name: str, **_: Any) -> None:
        running["controller"].look_at(namespace, name)

    async def owned_changed(namespace: str, labels: kopf.Labels, **_: Any) -> None:
        running["controller"].look_at(namespace, labels[names.LABEL_CLUSTER])

    for plural in ("pods", "services"):
        owned = {names.LABEL_CLUSTER: kopf.PRESENT}
        kopf.on.event("", "v1", plural, labels=owned, id=plural, registry=handlers)(owned_changed)
    return handlers


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metrics-addr", default=":8080", help="where /metrics answers while the operator lives")
    parser.add_argument(
        "--health-probe-bind-address", choices=["0"], help="KubeRay's second page: only off is known here"
    )
    parser.add_argument("--enable-leader-election", choices=["false"], help="only off is known here: one replica")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for quiet in ("kopf", "aiohttp.access"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    kopf.run(
        registry=registry(Settings.from_environment()),
        standalone=True,
        clusterwide=True,
        liveness_endpoint=f"http://0.0.0.0{arguments.metrics_addr}/metrics",
    )


if __name__ == "__main__":
    main()
