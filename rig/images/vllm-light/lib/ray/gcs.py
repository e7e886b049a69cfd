# SPDX-License-Identifier: GPL-3.0-or-later
"""The process gcs_server of the head: which nodes there are, what they have, who has taken it; and the dashboard's pages.

Facts: health checks (ray/src/ray/common/ray_config_def.h: health_check_period_ms, health_check_failure_threshold); the state
API's form (ray/util/state/common.py); the pages that need no token (wire.py).
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from ray import wire

PERIOD_SECONDS = int(os.environ.get("RAY_health_check_period_ms", "3000")) / 1000  # noqa: SIM112
THRESHOLD = int(os.environ.get("RAY_health_check_failure_threshold", "5"))  # noqa: SIM112
DRIVER_SECONDS = 1.0
Node = dict[str, Any]


class Gcs:
    """The state of one cluster, from this start of the head to its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[str, Node] = {}
        # By the group's ID: the driver's address, and the node of each bundle with what the bundle takes.
        self._groups: dict[str, tuple[wire.Address, list[tuple[str, dict[str, float]]]]] = {}
        self.session = f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_000000_{os.getpid()}"

    def calls(self) -> dict[str, Any]:
        """What the cluster's processes ask."""
        return {
            "ping": lambda: None,
            "register": self.register,
            "nodes": self.nodes,
            "place": self.place,
            "remove": self.remove,
        }

    def pages(self) -> dict[str, wire.Page]:
        """What the dashboard shows."""
        return {
            "/": lambda _: "Ray Dashboard",
            "/api/gcs_healthz": lambda _: "success",
            "/api/healthz": lambda _: "success",
            "/api/authentication_mode": lambda _: {"authentication_mode": "token" if wire.token() else "disabled"},
            "/api/version": lambda _: {"version": "4", "ray_version": "2.58.0", "session_name": self.session},
            "/api/v0/nodes": self._state_api,
            "/nodes": self._summary,
        }

    def register(self, node: Node) -> None:
        """Take a node into the cluster, and look after it."""
        with self._lock:
            if (old := self._nodes.get(node["node_id"])) and old["state"] == "ALIVE":
                raise ValueError(f"a node with the ID {node['node_id']} lives already")
            self._nodes[node["node_id"]] = {**node, "state": "ALIVE", "state_message": None, "end_time_ms": 0}
        threading.Thread(target=self._look_after, args=(node["node_id"],), daemon=True).start()

    def nodes(self) -> list[Node]:
        """All nodes, the dead ones too."""
        with self._lock:
            return [dict(node) for node in self._nodes.values()]

    def place(self, bundles: list[dict[str, float]], driver: wire.Address) -> tuple[str, dict[int, str]] | None:
        """A place for each bundle, on as few nodes as possible; None while there is not enough."""
        with self._lock:
            free = {name: dict(node["resources_total"]) for name, node in self._nodes.items() if _lives(node)}
            for _, taken in self._groups.values():
                for name, resources in taken:
                    if name in free:
                        _take(free[name], resources)
            found = _pack(bundles, free)
            if found is None:
                return None
            identifier = secrets.token_hex(18)
            self._groups[identifier] = (driver, list(zip(found, bundles, strict=True)))
        threading.Thread(target=self._keep_group, args=(identifier, driver), daemon=True).start()
        return identifier, dict(enumerate(found))

    def remove(self, identifier: str) -> None:
        """Give back what a placement group took."""
        with self._lock:
            self._groups.pop(identifier, None)

    def _look_after(self, identifier: str) -> None:
        with self._lock:
            node = self._nodes[identifier]
        missed = 0
        while missed < THRESHOLD:
            time.sleep(PERIOD_SECONDS)
            missed = 0 if wire.answers(node["raylet"]) else missed + 1
        with self._lock:
            node.update(
                state="DEAD",
                state_message="Unexpected termination: health check failed due to missing too many heartbeats",
                end_time_ms=round(time.time() * 1000),
            )

    def _keep_group(self, identifier: str, driver: wire.Address) -> None:
        """A group ends with its driver."""
        while wire.answers(driver):
            time.sleep(DRIVER_SECONDS)
        self.remove(identifier)

    def _state_api(self, query: Mapping[str, str]) -> Any:
        shown = [{key: value for key, value in node.items() if key != "raylet"} for node in self.nodes()]
        limit = int(query.get("limit", "100"))
        result = {
            "total": len(shown),
            "num_after_truncation": len(shown),
            "num_filtered": len(shown),
            "result": shown[:limit],
            "partial_failure_warning": "",
            "warnings": None,
        }
        return {"result": True, "msg": "", "data": {"result": result}}

    def _summary(self, query: Mapping[str, str]) -> Any:
        summary = [
            {
                "ip": node["node_ip"],
                "hostname": node["node_name"],
                "raylet": {"nodeId": node["node_id"], "state": node["state"], "isHeadNode": node["is_head_node"]},
            }
            for node in self.nodes()
        ]
        return {"result": True, "msg": "Node summary fetched.", "data": {"summary": summary}}


def _lives(node: Node) -> bool:
    return node["state"] == "ALIVE"


def _take(free: dict[str, float], wanted: Mapping[str, float]) -> bool:
    """Take `wanted` out of `free` where all of it is there."""
    if any(free.get(name, 0) < amount for name, amount in wanted.items()):
        return False
    for name, amount in wanted.items():
        free[name] -= amount
    return True


def _pack(bundles: list[dict[str, float]], free: dict[str, dict[str, float]]) -> list[str] | None:
    """The node of each bundle: the one that holds most of the rest, again and again (strategy PACK)."""
    found: list[str] = []
    while len(found) < len(bundles):
        best: tuple[int, str] | None = None
        for name in sorted(free):
            left = dict(free[name])
            count = 0
            while len(found) + count < len(bundles) and _take(left, bundles[len(found) + count]):
                count += 1
            if count and (best is None or count > best[0]):
                best = (count, name)
        if best is None:
            return None
        for bundle in bundles[len(found) : len(found) + best[0]]:
            _take(free[best[1]], bundle)
        found += [best[1]] * best[0]
    return found


def run(port: int, dashboard: wire.Address | None) -> Gcs:
    """Serve the cluster's state at `port`, and the dashboard where it is wanted."""
    gcs = Gcs()
    wire.Server(("0.0.0.0", port), gcs.calls()).start()
    if dashboard is not None:
        wire.Server(dashboard, pages=gcs.pages()).start()
    return gcs
