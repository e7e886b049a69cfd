# SPDX-License-Identifier: GPL-3.0-or-later
"""Startup, readiness and liveness probes of one run of a container.

Facts imitated (kubelet/prober):
- exec in the container's namespaces as its user, httpGet and tcpSocket from the node to the pod's address; 200 to 399 is success
- a startup probe holds the others back; a container with one is not started, one with a readiness probe not ready, before it succeeds
- thresholds count successes or failures in a row; a failed startup or liveness probe restarts the container
- the first check comes after initialDelaySeconds, and a check that takes longer than timeoutSeconds has failed

Differences: grpc probes fail and say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Object = dict[str, Any]
Execute = Callable[[list[str], float], Awaitable[tuple[int | None, str]]]
"""Runs a command in the container for at most so many seconds: exit code (None: took too long), output."""
LONGEST_OUTPUT = 1024


class Prober:
    """Checks one container; `execute` runs a command in it, `address` is the pod's."""

    def __init__(self, container: Object, address: str, execute: Execute) -> None:
        self._container = container
        self._address = address
        self._execute = execute

    async def check(self, probe: Object) -> tuple[bool, str]:
        """One check: whether it succeeded, and what to say when it did not."""
        seconds = probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            command = probe["exec"]["command"]
            code, output = await self._execute(command, seconds)
            if code is None:
                return False, f'command timed out: "{" ".join(command)}" timed out after {seconds}s'
            return code == 0, output[:LONGEST_OUTPUT]
        if "httpGet" in probe:
            return await self._get(probe["httpGet"], seconds)
        if "tcpSocket" in probe:
            return await self._connect(probe["tcpSocket"], seconds)
        return False, "process nodes have no grpc probes"

    async def _get(self, fields: Object, seconds: float) -> tuple[bool, str]:
        host = fields.get("host") or self._address
        scheme = fields.get("scheme", "HTTP").lower()
        path = fields.get("path", "/")
        url = f"{scheme}://{host}:{self._port(fields['port'])}{path if path.startswith('/') else '/' + path}"
        headers = {"User-Agent": "kube-probe/1.37", "Accept": "*/*"}
        headers |= {header["name"]: header["value"] for header in fields.get("httpHeaders", [])}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
                session.get(url, headers=headers, ssl=False) as answer,
            ):
                return 200 <= answer.status < 400, f"HTTP probe failed with statuscode: {answer.status}"
        except TimeoutError:
            return False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        except (aiohttp.ClientError, OSError) as error:
            return False, f'Get "{url}": dial tcp {host}:{self._port(fields["port"])}: {_words(error)}'

    async def _connect(self, fields: Object, seconds: float) -> tuple[bool, str]:
        host, port = fields.get("host") or self._address, self._port(fields["port"])
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), seconds)
        except TimeoutError:
            return False, f"dial tcp {host}:{port}: i/o timeout"
        except OSError as error:
            return False, f"dial tcp {host}:{port}: {_words(error)}"
        writer.close()
        return True, ""

    def _port(self, port: int | str) -> int:
        return number_of_port(port, self._container)


def number_of_port(port: int | str, container: Object) -> int:
    """A port given by number or by the name that the container has for it; 0 (which nothing answers) when it has none."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    ports = (entry for entry in container.get("ports", []) if entry.get("name") == port)
    return next((entry["containerPort"] for entry in ports), 0)


async def watch(
    prober: Prober,
    kind: str,
    probe: Object,
    started: asyncio.Event,
    result: Callable[[str, bool, str], None],
    failed_check: Callable[[str, str], None],
) -> None:
    """Check without end (a startup probe: until it succeeds), and tell `result` whenever a threshold is reached.

    `failed_check` is told of each failed check.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    if kind != "Startup":
        await started.wait()
    successes = failures = 0
    while True:
        good, said = await prober.check(probe)
        successes, failures = (successes + 1, 0) if good else (0, failures + 1)
        if not good:
            failed_check(kind, said)
        if successes == probe.get("successThreshold", 1):
            result(kind, True, said)
            if kind == "Startup":
                return
        elif failures >= probe.get("failureThreshold", 3):
            result(kind, False, said)
        await asyncio.sleep(probe.get("periodSeconds", 10))


def _words(error: BaseException) -> str:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ConnectionRefusedError):
        return "connect: connection refused"
    return str(getattr(cause, "strerror", None) or cause)
