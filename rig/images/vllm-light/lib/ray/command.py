# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `ray`: start, health-check, --version (ray/scripts/scripts.py).

Exit codes as in Ray: 2 for options that it does not know, 1 when the cluster cannot be reached.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ray import __version__, gcs, raylet, wire
from ray.exceptions import RayError

# The options of `ray start` in Ray 2.58, by what they take.
VALUES = (
    "node-ip-address address port object-manager-port node-manager-port min-worker-port max-worker-port worker-port-list "
    "ray-client-server-port object-store-memory num-cpus num-gpus resources include-dashboard dashboard-host dashboard-port "
    "dashboard-agent-listen-port dashboard-agent-grpc-port runtime-env-agent-port plasma-directory "
    "object-spilling-directory autoscaling-config temp-dir metrics-export-port include-log-monitor system-reserved-cpu "
    "system-reserved-memory cgroup-path proxy-server-url log-style log-color memory labels labels-file"
)
FLAGS = "head block no-redirect-output ray-debugger-external disable-usage-stats enable-resource-isolation"
LOGS = Path("/tmp/ray/session_latest/logs")
JOIN_SECONDS = 60.0
LOOK_SECONDS = 0.5
AGENT_PORT = 52365
MEBIBYTE = 2**20


def main(words: list[str]) -> int:
    """Run one command; its exit code."""
    command = words[0] if words else "--help"
    if command in ("--version", "-v"):
        print(f"ray, version {__version__}")
        return 0
    if command == "start":
        return start(words[1:])
    if command == "health-check":
        return health_check(words[1:])
    print(f"Error: No such command {command!r}: the light image knows start and health-check.", file=sys.stderr)
    return 2


def start(words: list[str]) -> int:
    """Start this node's processes and leave them running, or watch them with --block."""
    parser = argparse.ArgumentParser(prog="ray start", allow_abbrev=False)
    for name in VALUES.split():
        parser.add_argument(f"--{name}")
    for name in FLAGS.split():
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args(words)
    if options.head == bool(options.address):
        parser.error("give either --head or --address")
    LOGS.mkdir(parents=True, exist_ok=True)
    own = options.node_ip_address or wire.own_address()
    port = int(options.port or 6379)
    running = []
    try:
        if options.head:
            address = (own, port)
            shown = options.include_dashboard not in ("false", "False", "0")
            dashboard = (options.dashboard_host or "127.0.0.1", int(options.dashboard_port or 8265)) if shown else None
            running.append(_leave("gcs_server", lambda: _serve_gcs(port, dashboard)))
        else:
            address = wire.split(options.address)
            _join(address)
        running.append(_leave("raylet", lambda: _serve_node(options, own, address)))
    except (OSError, RayError) as error:
        print(f"ray start: {error}", file=sys.stderr)
        return 1
    print(f"Local node IP: {own}\n\n--------------------\nRay runtime started.\n--------------------", flush=True)
    return _watch(running) if options.block else 0


def _join(address: wire.Address) -> None:
    """Wait for the head as Ray does; a wrong token is said at once."""
    end = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            wire.call(address, "ping")
            return
        except OSError as error:
            if time.monotonic() > end:
                raise ConnectionError(f"Failed to connect to GCS at {address[0]}:{address[1]}: {error}") from None
            time.sleep(LOOK_SECONDS)


def _serve_gcs(port: int, dashboard: wire.Address | None) -> Callable[[], object]:
    gcs.run(port, dashboard)
    return signal.pause


def _serve_node(options: argparse.Namespace, own: str, address: wire.Address) -> Callable[[], object]:
    cpus = float(options.num_cpus or os.cpu_count() or 1)
    resources = {
        "CPU": cpus,
        "memory": float(options.memory or 1024 * MEBIBYTE),
        "object_store_memory": float(options.object_store_memory or 100 * MEBIBYTE),
        f"node:{own}": 1.0,
    }
    if options.head:
        resources["node:__internal_head__"] = 1.0
    if float(options.num_gpus or 0):
        resources["GPU"] = float(options.num_gpus)
    node = {
        # For tests only, as Ray says; else random.
        "node_id": os.environ.get("RAY_OVERRIDE_NODE_ID_FOR_TESTING") or secrets.token_hex(28),
        "node_ip": own,
        "node_name": socket.gethostname(),
        "is_head_node": bool(options.head),
        "resources_total": resources,
        "labels": {},
        "start_time_ms": round(time.time() * 1000),
    }
    found = raylet.Raylet(node, address)
    found.start(int(options.node_manager_port or 0), int(options.dashboard_agent_listen_port or AGENT_PORT))
    return found.run


def _leave(name: str, prepare: Callable[[], Callable[[], object]]) -> int:
    """Leave a process of that name running whose `prepare` has been done; its ID. OSError with its words where it was not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        if said != "ready":
            os.waitpid(pid, 0)
            raise OSError(f"{name} did not start: {said}")
        return pid
    try:
        os.close(reading)
        # Ray's processes are known by their names.
        Path("/proc/self/comm").write_text(name)
        log = os.open(LOGS / f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        try:
            serve = prepare()
        except Exception as error:
            os.write(writing, (str(error) or type(error).__name__).encode())
            os._exit(1)
        os.write(writing, b"ready")
        os.close(writing)
        serve()
    finally:
        os._exit(1)


def _watch(running: list[int]) -> int:
    """--block: end with the first of the processes that ends."""
    print("--block: this command will run until a subprocess ends.", flush=True)
    os.wait()
    print("Some Ray subprocesses exited unexpectedly.", file=sys.stderr)
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return 1


def health_check(words: list[str]) -> int:
    """0 when the GCS answers."""
    parser = argparse.ArgumentParser(prog="ray health-check")
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS", "127.0.0.1:6379"))
    options = parser.parse_args(words)
    try:
        wire.call(wire.split(options.address), "ping")
    except (OSError, RayError) as error:
        print(f"ray health-check: {options.address}: {error}", file=sys.stderr)
        return 1
    return 0
