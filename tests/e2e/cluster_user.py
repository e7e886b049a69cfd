# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of the rig's cluster of a test's own, and what the API server noted of its requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rig.control_plane.components import AUDIT_LOG
from rig.fixtures import RunningRig

NAMESPACE = "default"
RBAC = "rbac.authorization.k8s.io"


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
    with _bound(rig, name, _binding(name, "", "cluster-admin")) as user:
        yield user


@contextmanager
def holder(rig: RunningRig, name: str, rules: dict[str, list[dict[str, Any]]]) -> Iterator[ClusterUser]:
    """A user with the rights of `rules` alone: namespace (which is there) or "" for the whole cluster -> RBAC's rules."""
    objects = []
    for namespace, of_it in rules.items():
        kind = "Role" if namespace else "ClusterRole"
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        objects.append({"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": of_it})
        objects.append(_binding(name, namespace, name))
    with _bound(rig, name, *objects) as user:
        yield user


def _binding(name: str, namespace: str, role: str) -> dict[str, Any]:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
    }


@contextmanager
def _bound(rig: RunningRig, name: str, *objects: dict[str, Any]) -> Iterator[ClusterUser]:
    """The user with the roles and bindings of `objects`."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    rig.kubectl("create", "serviceaccount", name, "--namespace", NAMESPACE)
    rig.kubectl("create", "--filename", "-", stdin=text)
    try:
        yield ClusterUser(rig, name)
    finally:
        rig.kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=text)
        rig.kubectl("delete", "serviceaccount", name, "--namespace", NAMESPACE)
