# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller of Ingresses and Gateways: `python -m rig.web_controller --rig FOLDER`, with Caddy as its proxy.

It serves the IngressClasses and GatewayClasses of the controller `rig.multinode.inference/web`, on two addresses of the rig's own. A test
that wants it starts it and makes the classes; no cluster has one from the start. RIG_IDLE_SCALE multiplies the proxy's time-outs.

Differences: it looks every half second instead of watching; of a route it serves the first rule.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from rig.cloud_controller.load_balancers import loopback_prefix, targets
from rig.cluster import ApiError, Cluster, ignore_missing, say
from rig.configuration import Rig
from rig.web_controller import routes
from rig.web_controller.classes import CONTROLLER
from rig.web_controller.routes import Object, Site

LOOK_SECONDS = 0.5
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
INGRESSES = "/apis/networking.k8s.io/v1"


class WebController:
    """Keeps the proxy's configuration at what the objects ask for, and their status at what it does."""

    def __init__(self, rig: Rig, cluster: Cluster) -> None:
        prefix = loopback_prefix(rig)
        self.ingress, self.gateway = f"{prefix}.255.1", f"{prefix}.255.2"
        self.admin = f"{prefix}.255.3:2019"
        self._cluster = cluster
        self._folder = rig.directory / "web"
        self._configuration: Object = {}
        self._scale = float(os.environ.get("RIG_IDLE_SCALE", "1"))

    async def run(self) -> None:
        """Run the proxy, and look without end."""
        self._folder.mkdir(exist_ok=True)
        program = shutil.which("caddy") or str(Path(sys.executable).with_name("caddy"))
        first = self._folder / "caddy.json"
        first.write_text(json.dumps(routes.caddy([], [], {}, self.admin, 1)))
        environment = {**os.environ, "HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder)}
        environment["XDG_CONFIG_HOME"] = str(self._folder)
        with (self._folder / "caddy.log").open("ab") as log:
            proxy = await asyncio.create_subprocess_exec(
                program, "run", "--config", str(first), stdout=log, stderr=log, env=environment
            )
        try:
            while proxy.returncode is None:
                try:
                    await self._look()
                except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    say(f"web controller: {error!r}; trying again")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                proxy.terminate()
            await proxy.wait()

    async def _look(self) -> None:
        classes = await self._items(f"{INGRESSES}/ingressclasses")
        served = {item["metadata"]["name"] for item in classes if item["spec"].get("controller") == CONTROLLER}
        ingresses = await self._items(f"{INGRESSES}/ingresses")
        sites, secrets = routes.ingress_sites(ingresses, served, self.ingress)
        of_routes, more = await self._routes()
        sites += of_routes
        pairs = [pair for name in sorted(secrets | more) if (pair := await self._pair(*name))]
        wanted = routes.caddy(sites, pairs, await self._upstreams(sites), self.admin, self._scale)
        if wanted != self._configuration:
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://{self.admin}/load", json=wanted) as answer,
            ):
                answer.raise_for_status()
            self._configuration = wanted
        for item in ingresses:
            if item["spec"].get("ingressClassName") in served:
                status = {"loadBalancer": {"ingress": [{"ip": self.ingress}]}}
                await self._tell(f"{INGRESSES}/namespaces/{{}}/ingresses/{{}}/status", item, status)

    async def _routes(self) -> tuple[list[Site], set[tuple[str, str]]]:
        classes = await self._items(f"{GATEWAYS}/gatewayclasses")
        served = {item["metadata"]["name"] for item in classes if item["spec"].get("controllerName") == CONTROLLER}
        gateways = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item
            for item in await self._items(f"{GATEWAYS}/gateways")
            if item["spec"].get("gatewayClassName") in served
        }
        secrets = set()
        for (namespace, _name), item in gateways.items():
            for listener in item["spec"]["listeners"]:
                for reference in (listener.get("tls") or {}).get("certificateRefs") or []:
                    secrets.add((reference.get("namespace") or namespace, reference["name"]))
            status = {
                "addresses": [{"type": "IPAddress", "value": self.gateway}],
                "conditions": [_condition(kind, True, kind) for kind in ("Accepted", "Programmed")],
            }
            await self._tell(f"{GATEWAYS}/namespaces/{{}}/gateways/{{}}/status", item, status)
        sites: list[Site] = []
        for route in await self._items(f"{GATEWAYS}/httproutes") if gateways else []:
            parent = route["spec"]["parentRefs"][0]
            gateway = gateways.get((parent.get("namespace") or route["metadata"]["namespace"], parent["name"]))
            if gateway is None:
                continue
            listeners, reason = routes.attach(route, gateway)
            sites += routes.route_sites(route, listeners, self.gateway)
            conditions = [
                _condition("Accepted", not reason, reason or "Accepted"),
                _condition("ResolvedRefs", True, "ResolvedRefs"),
            ]
            status = {"parents": [{"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}]}
            await self._tell(f"{GATEWAYS}/namespaces/{{}}/httproutes/{{}}/status", route, status)
        return sites, secrets

    async def _upstreams(self, sites: list[Site]) -> dict[tuple[str, str, Any], list[str]]:
        found = {}
        for backend in {site.backend for site in sites if site.backend}:
            namespace, name, port = backend
            with ignore_missing():
                service = await self._cluster.get(f"/api/v1/namespaces/{namespace}/services/{name}")
                slices = await self._items(
                    f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
                    labelSelector=f"kubernetes.io/service-name={name}",
                )
                number = next(
                    (one["port"] for one in service["spec"]["ports"] if port in (one["port"], one.get("name"))), 0
                )
                ready = targets(service, slices).get(number, [])
                found[backend] = [f"{address}:{target}" for address, target in sorted(ready)]
        return found

    async def _pair(self, namespace: str, name: str) -> tuple[str, str] | None:
        with ignore_missing():
            data = (await self._cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")).get("data") or {}
            if {"tls.crt", "tls.key"} <= data.keys():
                return base64.b64decode(data["tls.crt"]).decode(), base64.b64decode(data["tls.key"]).decode()
        return None

    async def _items(self, path: str, **parameters: str) -> list[Object]:
        with ignore_missing():
            return list((await self._cluster.get(path, **parameters)).get("items") or [])
        return []

    async def _tell(self, path: str, item: Object, status: Object) -> None:
        if {key: (item.get("status") or {}).get(key) for key in status} != status:
            with ignore_missing():
                place = path.format(item["metadata"]["namespace"], item["metadata"]["name"])
                await self._cluster.patch(place, {"status": status})


def _condition(kind: str, good: bool, reason: str) -> Object:
    return {
        "type": kind,
        "status": "True" if good else "False",
        "reason": reason,
        "message": reason,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


async def run(rig: Rig) -> None:
    """Run until SIGTERM."""
    cluster = Cluster.from_kubeconfig(rig.kubernetes.kubeconfig)
    task = asyncio.create_task(WebController(rig, cluster).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await cluster.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A rig's controller of Ingresses and Gateways.")
    parser.add_argument("--rig", required=True, help="the rig's folder")
    asyncio.run(run(Rig.load(parser.parse_args().rig)))
