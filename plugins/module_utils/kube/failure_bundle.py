# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What support needs of a deployment that failed, read from its cluster; what cannot be read is left out with its reason."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..core.fault import Refused
from ..core.health.observation import container_statuses, node_ready, waiting
from ..core.names import object_names
from ..core.ownership import is_ours
from .client import Kubernetes, part
from .deployment import nodes_of, secret_values
from .logs import Pod, events_of, read_log
from .operator import DEPLOYMENTS
from .operator import SELECTOR as OPERATOR_SELECTOR

# Of each log the last lines and bytes; more than an engine prints from its start to its error.
LOG_LINES, LOG_CHARACTERS = 2000, 2**20
# All reads together: a log of a node that dies takes half a minute.
MOST_SECONDS = 120.0
# Kinds that a deployment has of its own, with the API that has them.
_NAMESPACED = {
    "services": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
}


class FailureBundle:
    """What was read of one deployment after another.

    objects  JSON by path in the bundle, not masked; of Secrets names, types and keys alone
    logs     text by path in the bundle, not masked
    secrets  what the Secrets hold, as text and in base64: to be masked everywhere
    missing  why a part is not there, by its path
    """

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.objects: dict[str, Any] = {}
        self.logs: dict[str, str] = {}
        self.secrets: list[str] = []
        self.missing: dict[str, str] = {}
        self._kubernetes = kubernetes
        self._away = ""
        self._end = time.monotonic() + MOST_SECONDS

    def collect(self, deployment: str, namespace: str) -> None:
        """Read the objects and logs of a deployment, and those of the operator."""
        self._read(f"{namespace}/{deployment}", self._collect, deployment, namespace)

    def _collect(self, deployment: str, namespace: str) -> None:
        kubernetes, folder, space = self._kubernetes, f"{namespace}/{deployment}", f"namespaces/{part(namespace)}"
        cluster = self._object(
            f"{folder}/raycluster", kubernetes.get, f"/apis/ray.io/v1/{space}/rayclusters/{part(deployment)}"
        )
        selector = f"ray.io/cluster={deployment}"
        pods = self._object(f"{folder}/pods", self._list, f"/api/v1/{space}/pods", selector) or []
        owners = {str(item["metadata"].get("uid")) for item in ([cluster, *pods] if cluster else pods)}
        for kind, group in _NAMESPACED.items():
            self._object(f"{folder}/{kind}", self._ours, f"{group}/{space}/{kind}", deployment, owners)
        nodes = self._object(f"{folder}/nodes", nodes_of, kubernetes, deployment, cluster)
        self._object(f"{folder}/events", events_of, kubernetes, deployment, namespace)
        operator = self._object("operator/deployments", self._list, DEPLOYMENTS, OPERATOR_SELECTOR) or []
        operator_pods = self._object("operator/pods", self._operator_pods, operator) or []
        named = {name for key, name in object_names(deployment).items() if key.endswith("_secret")}
        for name in sorted(named.union(_secret_names([cluster, pods, operator_pods]))):
            self._object(f"{folder}/secrets/{name}", self._secret, f"/api/v1/{space}/secrets/{part(name)}")
        # What a Secret holds can be masked only where it is known.
        if unread := [path for path in self.missing if path.startswith(f"objects/{folder}/secrets/")]:
            self.missing[f"logs/{folder}"] = f"{unread[0]} could not be read, so its values could not be masked"
        else:
            for pod in pods:
                self._read(f"logs/{folder}/{_file(pod['metadata']['name'])}", self._logs, folder, pod, nodes)
        for pod in operator_pods:
            self._read(f"logs/operator/{_file(pod['metadata']['name'])}", self._logs, "operator", pod, None)

    def _list(self, path: str, selector: str) -> list[dict[str, Any]]:
        return self._kubernetes.items(path, labelSelector=selector)

    def _ours(self, path: str, deployment: str, owners: set[str]) -> list[dict[str, Any]]:
        return [
            item
            for item in self._kubernetes.items(path)
            if is_ours(item, deployment, owners)
            or (item["metadata"].get("labels") or {}).get("ray.io/cluster") == deployment
        ]

    def _operator_pods(self, deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            pod
            for namespace in sorted({item["metadata"]["namespace"] for item in deployments})
            for pod in self._list(f"/api/v1/namespaces/{part(namespace)}/pods", OPERATOR_SELECTOR)
        ]

    def _secret(self, path: str) -> dict[str, Any] | None:
        item = self._kubernetes.get(path)
        if item is None:
            return None
        held = item.get("data") or {}
        self.secrets += [*secret_values(item).values(), *map(str, held.values())]
        return {"name": item["metadata"]["name"], "type": item.get("type"), "keys": sorted(held)}

    def _logs(self, folder: str, pod: Mapping[str, Any], nodes: list[dict[str, Any]] | None) -> None:
        name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName")
        ready = nodes is None or any(item["metadata"]["name"] == node and node_ready(item) for item in nodes)
        if node and not ready:
            self.missing[f"logs/{folder}/{_file(name)}"] = f"its node {node} is not ready"
            return
        for status in container_statuses(pod, init=True):
            source = Pod(pod["metadata"]["namespace"], name, status["name"])
            path = f"logs/{folder}/{_file(name)}/{_file(status['name'])}"
            if status.get("restartCount"):
                self._read(f"{path}.previous.log", self._log, f"{path}.previous.log", source, True)
            # One that never ran has no log.
            if status.get("restartCount") or not waiting(status):
                self._read(f"{path}.log", self._log, f"{path}.log", source, False)

    def _log(self, path: str, source: Pod, previous: bool) -> None:
        lines = read_log(self._kubernetes, source, LOG_LINES, previous, times=True)
        self.logs[path] = "\n".join(lines)[-LOG_CHARACTERS:] + "\n"

    def _object(self, path: str, read: Callable[..., Any], *arguments: Any) -> Any:
        found = self._read(f"objects/{path}", read, *arguments)
        if found is not None:
            self.objects[f"objects/{path}.json"] = found
        return found

    def _read(self, path: str, read: Callable[..., Any], *arguments: Any) -> Any:
        """Return what is read; None where it is not there, or could not be read, which is noted then."""
        if not self._away and time.monotonic() >= self._end:
            self._away = f"not read within {MOST_SECONDS:g} s"
        if self._away:
            self.missing[path] = self._away
            return None
        try:
            return read(*arguments)
        except Refused as refused:
            self.missing[path] = "; ".join(fault.line() for fault in refused.faults)
            # Nobody waits for an API server that is away once for each part; a log is the answer of a node.
            if any(fault.code == "unreachable" for fault in refused.faults) and not path.startswith("logs/"):
                self._away = self.missing[path]
        except Exception as error:
            # Whatever an object looks like: the rest is worth having.
            self.missing[path] = f"cannot be understood ({type(error).__name__})"
        return None


def _secret_names(value: Any) -> Iterator[str]:
    """Yield the names of the Secrets that pods refer to."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "secretName" and isinstance(inner, str):
                yield inner
            named = inner if key == "imagePullSecrets" else [inner] if key in ("secretKeyRef", "secretRef") else []
            yield from (str(entry["name"]) for entry in named or [] if isinstance(entry, Mapping) and "name" in entry)
            yield from _secret_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_names(inner)


def _file(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)
