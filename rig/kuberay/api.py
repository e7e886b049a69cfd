# SPDX-License-Identifier: GPL-3.0-or-later
"""The few calls to the API server that the KubeRay stand-in makes, over the connection that kopf has logged in with."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import aiohttp
import kopf

from rig.kuberay.ray_cluster import Object

MERGE_PATCH = "application/merge-patch+json"
RAY = "/apis/ray.io/v1"
CORE = "/api/v1"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ApiError(Exception):
    """The API server answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def connect() -> kopf.ConnectionInfo:
    """How to reach the API server: in a pod by its service account, else by KUBECONFIG."""
    if (host := os.environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").exists():
        return kopf.ConnectionInfo(
            server=f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}",
            ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
            token=(SERVICE_ACCOUNT / "token").read_text().strip(),
        )
    connection = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    if connection is None:
        raise ApiError(0, "no service account in this pod and no KUBECONFIG: cannot reach an API server")
    return connection


class Api:
    """One HTTP session with the API server."""

    def __init__(self) -> None:
        connection = connect()
        self._server = connection.server.rstrip("/")
        connector = aiohttp.TCPConnector(ssl=connection.as_ssl_context())
        self._session = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        """End the session."""
        await self._session.close()

    async def request(self, method: str, path: str, body: Object | None = None, **query: str) -> Any:
        """The decoded answer of one call; ApiError when the server refuses it."""
        # The kubelet renews the service account's token in its file: read it each time.
        headers = connect().as_http_headers()
        headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        async with self._session.request(
            method, self._server + path, json=body, params=query, headers=headers
        ) as answer:
            content = await answer.json()
            if answer.status >= 400:
                raise ApiError(answer.status, content.get("message", str(content)))
            return content

    async def read(self, path: str) -> Object | None:
        """The object at `path`, or None when there is none."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def cluster(self, namespace: str, name: str) -> Object | None:
        """One RayCluster, or None."""
        return await self.read(f"{RAY}/namespaces/{namespace}/rayclusters/{name}")

    async def write_status(self, cluster: Object, status: Object) -> None:
        """Replace the status, unless someone changed the object meanwhile (409, tried again with the next event)."""
        metadata = cluster["metadata"]
        path = f"{RAY}/namespaces/{metadata['namespace']}/rayclusters/{metadata['name']}/status"
        await self.request("PUT", path, {**cluster, "status": status})

    async def pods(self, namespace: str, selector: str) -> list[Object]:
        """The pods of a namespace with these labels."""
        return (await self.request("GET", f"{CORE}/namespaces/{namespace}/pods", labelSelector=selector))["items"]

    async def create(self, namespaced: Object) -> Object:
        """Make a core object (Pod, Service, Secret)."""
        plural = namespaced["kind"].lower() + "s"
        namespace = namespaced["metadata"]["namespace"]
        return await self.request("POST", f"{CORE}/namespaces/{namespace}/{plural}", namespaced)

    async def delete_pod(self, pod: Object) -> None:
        """Delete a pod; one that is gone already is no error."""
        metadata = pod["metadata"]
        path = f"{CORE}/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        try:
            await self.request("DELETE", path, {"preconditions": {"uid": metadata["uid"]}})
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def event(self, cluster: Object, kind: str, reason: str, message: str) -> None:
        """Write an event about a RayCluster; `kind` is Normal or Warning."""
        metadata, time = cluster["metadata"], now()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "ray.io/v1",
                "kind": "RayCluster",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "raycluster-controller"},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        await self.request("POST", f"{CORE}/namespaces/{metadata['namespace']}/events", event)
