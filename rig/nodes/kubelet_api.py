# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTPS API of the kubelet, as far as the API server asks it for `kubectl logs`.

Facts imitated (kubelet/server, kubelet_pods.go):
- only clients with a certificate of the cluster's CA are answered
- /containerLogs/<namespace>/<pod>/<container> with the options of PodLogOptions; the kubelet's words where there is no log (yet)

Differences: no exec, attach and port forwarding (501).
"""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from rig.nodes import logs
from rig.nodes.container import Container

if TYPE_CHECKING:
    from rig.nodes.kubelet import Kubelet

NOT_HERE = ("exec", "attach", "portForward", "run")


def application(kubelet: Kubelet) -> web.Application:
    """The API of all nodes: a pod is found whatever node is asked."""

    async def container_logs(request: web.Request) -> web.StreamResponse:
        where = request.match_info
        pod = kubelet.pod_of((where["namespace"], where["pod"]))
        if pod is None:
            return web.Response(status=404, text=f'pod "{where["pod"]}" not found\n')
        container = next((one for one in pod.containers if one.spec["name"] == where["container"]), None)
        if container is None:
            return web.Response(
                status=404, text=f'container "{where["container"]}" not found in pod "{where["pod"]}"\n'
            )
        try:
            options = logs.Options.from_query(request.query, datetime.datetime.now(datetime.timezone.utc))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        log = container.previous_log if options.previous else container.log
        if log is None:
            return web.Response(status=400, text=_why_none(container, where["pod"], options.previous))
        return await _send(request, log, options)

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def not_here(request: web.Request) -> web.Response:
        return web.Response(status=501, text="process nodes offer pod logs only: no exec, attach or port forwarding\n")

    made = web.Application()
    made.router.add_get("/healthz", healthz)
    made.router.add_get("/containerLogs/{namespace}/{pod}/{container}", container_logs)
    for name in NOT_HERE:
        made.router.add_route("*", f"/{name}/{{rest:.*}}", not_here)
    return made


async def _send(request: web.Request, log: logs.ContainerLog, options: logs.Options) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for text in logs.read(log, options):
            await response.write(text)
        await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):  # the reader has seen enough
        if request.transport:
            request.transport.close()
    return response


def _why_none(container: Container, pod: str, previous: bool) -> str:
    name = container.spec["name"]
    if previous:
        return f'previous terminated container "{name}" in pod "{pod}" not found\n'
    waiting = container.state.state.get("waiting", {})
    reason = waiting.get("reason", "PodInitializing")
    message = waiting.get("message")
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        return f'container "{name}" in pod "{pod}" is waiting to start: trying and failing to pull image\n'
    return f'container "{name}" in pod "{pod}" is waiting to start: {message or reason}\n'
