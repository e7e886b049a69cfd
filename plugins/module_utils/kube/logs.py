# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs of a deployment's pods, found by what a person calls them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..core.fault import Fault, Refused
from ..core.health.observation import container_statuses
from ..core.names import label_selector
from ..core.parts import inner
from ..core.text import log_lines
from .client import Kubernetes, part
from .deployment import RAYCLUSTERS, missing_deployment
from .operator import DEPLOYMENTS
from .operator import SELECTOR as OPERATOR_SELECTOR

# As the kubelet writes it (RFC 3339, in UTC or in the node's zone).
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:\d\d)(?=\s|$)")


class Pod(NamedTuple):
    """Where a log is."""

    namespace: str
    name: str
    container: str


def find_pod(kubernetes: Kubernetes, deployment: str, component: str, worker: int = 1) -> Pod:
    """Return the pod of `component`: head, worker (the `worker`-th, from 1) or operator. Raises Refused."""
    return _place(_find(kubernetes, deployment, component, worker))


def _find(kubernetes: Kubernetes, deployment: str, component: str, worker: int) -> Mapping[str, Any]:
    if component == "operator":
        selector, owners = OPERATOR_SELECTOR, kubernetes.items(DEPLOYMENTS, labelSelector=OPERATOR_SELECTOR)
    else:
        selector = f"ray.io/cluster={deployment},ray.io/node-type={component}"
        owners = kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(deployment))
    # Whoever may deploy may list the pods of the deployment's namespace, not all.
    namespaces = sorted({owner["metadata"]["namespace"] for owner in owners})
    pods = [
        pod
        for namespace in namespaces
        for pod in kubernetes.items(f"/api/v1/namespaces/{part(namespace)}/pods", labelSelector=selector)
    ]
    if component == "worker":
        # KubeRay numbers the workers of a group from 0; without its label their names keep an order.
        label = "ray.io/worker-group-replica-index"
        pods.sort(key=lambda pod: (_number(pod["metadata"], label), pod["metadata"]["name"]))
        pods = pods[worker - 1 : worker]
    if not pods:
        what = f"worker {worker}" if component == "worker" else component
        if component != "operator" and not owners:
            # The code of a pod that is gone: one of the name may come while a log is followed.
            fault = missing_deployment(kubernetes, deployment, f"deployment {deployment}")
            raise Refused([replace(fault, code="no_pod")])
        where = "the KubeRay operator" if component == "operator" else f"deployment {deployment}"
        raise Refused([Fault("no_pod", where, f"no pod of the {what}", "one", "see the status playbook")])
    return pods[0]


def _place(pod: Mapping[str, Any]) -> Pod:
    """Return where a pod's log is: that of its first container."""
    containers = inner(pod, "spec").get("containers") or [{"name": ""}]
    return Pod(pod["metadata"]["namespace"], pod["metadata"]["name"], containers[0]["name"])


def _restarts(pod: Mapping[str, Any], container: str) -> int:
    counts = [status.get("restartCount") for status in container_statuses(pod) if status.get("name") == container]
    return counts[0] if counts and isinstance(counts[0], int) else 0


def _number(metadata: Mapping[str, Any], label: str) -> int:
    """Return the number in a label, which anybody may have written; 0 where it holds none."""
    text = (metadata.get("labels") or {}).get(label) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def read_log(kubernetes: Kubernetes, pod: Pod, lines: int, previous: bool = False, times: bool = False) -> list[str]:
    """Return the last `lines` lines of a pod's log, or of its container's former run; with `times`, each behind its time."""
    path = f"/api/v1/namespaces/{part(pod.namespace)}/pods/{part(pod.name)}/log"
    former = "true" if previous else None
    log = kubernetes.read(
        path, container=pod.container, tailLines=lines, previous=former, **({"timestamps": "true"} if times else {})
    )
    return log_lines(log)


class FollowedLog:
    """The log of a pod, read again and again; each line once. `source` is where it was read last."""

    def __init__(self, kubernetes: Kubernetes, deployment: str, component: str, worker: int, lines: int) -> None:
        """`lines`: how many are read at first; the others are those of `find_pod`."""
        self.source = ""
        self._kubernetes = kubernetes
        self._asked = (deployment, component, worker)
        self._lines = lines
        # Of the last line, as the kubelet writes it: with nine decimals.
        self._time = ""
        self._restarts = 0

    def read(self) -> list[str]:
        """Return the lines since the last read, each behind its time. Raises Refused."""
        found = _find(self._kubernetes, *self._asked)
        pod = _place(found)
        if self.source != "/".join(pod):
            self.source, self._time = "/".join(pod), ""
        before, self._restarts = self._restarts, _restarts(found, pod.container)
        former: list[str] = []
        if self._time and self._restarts > before:
            # The last lines of a run say why it ended. The kubelet keeps them apart, and not for ever.
            with contextlib.suppress(Refused):
                former = self._since(pod, previous=True)
        return former + self._since(pod)

    def _since(self, pod: Pod, previous: bool = False) -> list[str]:
        path = f"/api/v1/namespaces/{part(pod.namespace)}/pods/{part(pod.name)}/log"
        where: dict[str, Any] = {"sinceTime": self._time} if self._time else {"tailLines": self._lines}
        if previous:
            where["previous"] = "true"
        log = self._kubernetes.read(path, container=pod.container, timestamps="true", **where)
        lines = log_lines(log)
        # The kubelet counts in whole seconds.
        new = [line for line in lines if line.partition(" ")[0] > self._time]
        # The API server refuses to begin at what is no time.
        times = [match[0] for line in new if (match := _TIME.match(line))]
        self._time = times[-1] if times else self._time
        return new


def pods_of_group(kubernetes: Kubernetes, deployment: str) -> list[Pod]:
    """Return the deployment's pods, the head first."""
    return [
        _place(item)
        for kind in ("head", "worker")
        for namespace in _namespaces(kubernetes, deployment)
        for item in kubernetes.items(
            f"/api/v1/namespaces/{part(namespace)}/pods",
            labelSelector=f"ray.io/cluster={deployment},ray.io/node-type={kind}",
        )
    ]


def read_events(kubernetes: Kubernetes, deployment: str) -> list[dict[str, Any]]:
    """Return the events of the deployment's RayCluster and of what is named after it: pods, volume claims, Services."""
    return [
        event
        for namespace in _namespaces(kubernetes, deployment)
        for event in events_of(kubernetes, deployment, namespace)
    ]


def events_of(kubernetes: Kubernetes, deployment: str, namespace: str) -> list[dict[str, Any]]:
    """Return the events of the deployment's objects in this namespace."""
    return [
        event
        for event in kubernetes.items(f"/api/v1/namespaces/{part(namespace)}/events")
        if f"{(event.get('involvedObject') or {}).get('name')}-".startswith(f"{deployment}-")
    ]


def _namespaces(kubernetes: Kubernetes, deployment: str) -> list[str]:
    owners = kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(deployment))
    return sorted({owner["metadata"]["namespace"] for owner in owners})
