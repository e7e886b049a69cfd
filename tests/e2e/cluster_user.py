# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of the rig's cluster of a test's own, and what the API server noted of its requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunningRig
from tests.rig.control_plane.components import AUDIT_LOG

NAMESPACE = "default"


class ClusterUser:
    """A service account of the cluster; `token` is its own."""

    def __init__(self, rig: RunningRig, name: str) -> None:
        self.name = name
        self.token = rig.kubectl("create", "token", name, "--namespace", NAMESPACE).strip()
        self._rig = rig

    def kubeconfig(self, folder: Path, server: str = "") -> str:
        """The path of a kubeconfig in which it is the user; `server`: another address of the API server."""
        config = json.loads(self._rig.kubeconfig.read_text(encoding="utf-8"))
        config["users"][0]["user"] = {"token": self.token}
        if server:
            config["clusters"][0]["cluster"]["server"] = server
        path = folder / f"{self.name}.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return str(path)

    def requests(self, since: float, until: float = float("inf")) -> list[dict[str, Any]]:
        """Its requests that the API server got between two times, oldest first: audit.k8s.io's events."""
        own = f'"system:serviceaccount:{NAMESPACE}:{self.name}"'
        lines = (self._rig.directory / "logs" / AUDIT_LOG).read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if own in line]
        return [event for event in events if since <= received(event) < until]


def received(event: dict[str, Any]) -> float:
    """When the API server got the request, as time.time() counts."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()


@contextmanager
def administrator(rig: RunningRig, name: str) -> Iterator[ClusterUser]:
    """A user with every right in the cluster."""
    rig.kubectl("create", "serviceaccount", name, "--namespace", NAMESPACE)
    rig.kubectl(
        "create", "clusterrolebinding", name, "--clusterrole=cluster-admin", f"--serviceaccount={NAMESPACE}:{name}"
    )
    try:
        yield ClusterUser(rig, name)
    finally:
        rig.kubectl("delete", "clusterrolebinding", name)
        rig.kubectl("delete", "serviceaccount", name, "--namespace", NAMESPACE)
