# SPDX-License-Identifier: GPL-3.0-or-later
"""Events, as the kubelet and other components report them: the same one again is counted, not repeated."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

from rig.cluster import ApiError, Cluster, now, say

Object = dict[str, Any]
REMEMBERED = 500


class Events:
    """Reports events, in order, without keeping anyone waiting."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        self._cluster = cluster
        self._component = component
        self._queue: asyncio.Queue[tuple[Object, str]] = asyncio.Queue()
        self._known: dict[tuple[str, ...], Object] = {}

    def report(
        self, about: Object, about_kind: str, kind: str, reason: str, message: str, container: str = "", host: str = ""
    ) -> None:
        """Something happened to the object `about`; kind is Normal or Warning, container a field path."""
        metadata = about["metadata"]
        reference = {
            "apiVersion": "v1",
            "kind": about_kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
        if container:
            reference["fieldPath"] = container
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{os.urandom(8).hex()}", "namespace": metadata["namespace"]},
            "involvedObject": reference,
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": self._component, "host": host},
            "reportingComponent": self._component,
            "reportingInstance": host,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        self._queue.put_nowait((event, container))

    async def run(self) -> None:
        """Write what was reported, without end."""
        while True:
            event, container = await self._queue.get()
            try:
                await self._write(event, container)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if not (isinstance(error, ApiError) and error.status in (403, 404)):  # its namespace is going
                    say(f"event {event['reason']} of {event['involvedObject']['name']} not written: {error!r}")

    async def _write(self, event: Object, container: str) -> None:
        namespace = event["metadata"]["namespace"]
        identity = (event["involvedObject"]["uid"], container, event["type"], event["reason"], event["message"])
        path = f"/api/v1/namespaces/{namespace}/events"
        known = self._known.get(identity)
        if known is not None:
            known["count"] += 1
            change = {"count": known["count"], "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._cluster.patch(f"{path}/{known['name']}", change)
                return
            except ApiError as error:
                if error.status != 404:
                    raise
        await self._cluster.create(path, event)
        self._known[identity] = {"name": event["metadata"]["name"], "count": event["count"]}
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
