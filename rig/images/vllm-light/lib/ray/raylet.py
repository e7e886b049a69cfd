# SPDX-License-Identifier: GPL-3.0-or-later
"""The process raylet of each node: it joins the cluster, answers the health checks, and keeps the node's actors.

Facts: a raylet that does not see its GCS for 60 s ends (RAY_gcs_rpc_server_reconnect_timeout_s); its actors end with it; the
pages of the node's agent (ray/dashboard/modules/reporter/healthz_agent.py).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from ray import wire

GCS_SECONDS = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112
LOOK_SECONDS = 1.0


class Raylet:
    """One node."""

    def __init__(self, node: dict[str, Any], gcs: wire.Address) -> None:
        self._node = node
        self._gcs = gcs
        self._actors: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, port: int, agent_port: int) -> None:
        """Join the cluster."""
        calls = {"ping": lambda: None, "start_actor": self.start_actor, "kill_actor": self.kill_actor}
        server = wire.Server(("0.0.0.0", port), calls).start()
        pages = {
            "/api/local_raylet_healthz": lambda _: "success",
            "/api/healthz": lambda _: "raylet: success",
        }
        wire.Server(("0.0.0.0", agent_port), pages=pages).start()
        wire.call(self._gcs, "register", {**self._node, "raylet": (self._node["node_ip"], server.port)})

    def run(self) -> None:
        """Return when the GCS has been gone for too long."""
        seen = time.monotonic()
        while time.monotonic() - seen < GCS_SECONDS:
            time.sleep(LOOK_SECONDS)
            if wire.answers(self._gcs):
                seen = time.monotonic()
        for pid in list(self._actors):
            self.kill_actor(pid)

    def start_actor(self, specification: bytes, label: str, driver: wire.Address) -> tuple[int, wire.Address]:
        """Start an actor for a driver; its process ID and address once it is made."""
        reading, writing = os.pipe()
        environment = {**os.environ, "RAY_NODE_ID": self._node["node_id"], "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.actor", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writing,),
            env=environment,
        )
        os.close(writing)
        self._actors[process.pid] = process
        prefix = f"({label} pid={process.pid}, ip={self._node['node_ip']}) "
        assert process.stdin and process.stdout and process.stderr
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=_pass_on, args=(stream, prefix, driver), daemon=True).start()
        threading.Thread(target=self._end_with, args=(process.pid, driver), daemon=True).start()
        process.stdin.write(specification)
        process.stdin.close()
        with os.fdopen(reading, "rb") as answer:
            port = answer.read()
        if not port:
            raise RuntimeError(f"the actor ended with exit code {process.wait()} before it was made")
        return process.pid, (self._node["node_ip"], int(port))

    def kill_actor(self, pid: int) -> None:
        """End an actor at once."""
        if process := self._actors.pop(pid, None):
            process.kill()
            process.wait()

    def _end_with(self, pid: int, driver: wire.Address) -> None:
        """An actor ends with its driver."""
        while pid in self._actors and self._actors[pid].poll() is None and wire.answers(driver):
            time.sleep(LOOK_SECONDS)
        self.kill_actor(pid)


def _pass_on(stream: BinaryIO, prefix: str, driver: wire.Address) -> None:
    """Give the driver what an actor says."""
    for lines in _lines(stream):
        with contextlib.suppress(OSError):
            wire.call(driver, "log", [prefix + line for line in lines])


def _lines(stream: BinaryIO) -> Iterator[list[str]]:
    rest = b""
    while data := os.read(stream.fileno(), 65536):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield [line.decode("utf-8", "replace") for line in lines]
    if rest:
        yield [rest.decode("utf-8", "replace")]


def specify(kind: type, arguments: tuple[Any, ...]) -> bytes:
    """What an actor is made of; the class is found by its name on the other node."""
    return pickle.dumps((kind, arguments))
