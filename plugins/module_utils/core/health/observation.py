# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One look at a deployment, and what its objects say, whatever shape they have: what cannot be read counts as unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Observation:
    """One look at a deployment; every object as the Kubernetes API gives it.

    progress: by pod name, the latest progress line of each phase (`pod_words.progress_lines`).
    warnings: Warning events that concern the RayCluster, its pods, their volume claims, and the operator's pods.
    operator: the KubeRay operator's pods, read while it has not acted on the RayCluster; operator_words: the last lines of one that ended.
    """

    raycluster: Mapping[str, Any] | None = None
    pods: Sequence[Mapping[str, Any]] = ()
    nodes: Sequence[Mapping[str, Any]] = ()
    progress: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, Any]] = ()
    operator: Sequence[Mapping[str, Any]] = ()
    operator_words: str = ""


def living(pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the pods that are not being deleted."""
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def head_pod(pods: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the living head pod."""
    return next((pod for pod in living(pods) if _label(pod, "ray.io/node-type") == "head"), None)


def condition(item: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of this type; {} where there is none."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def node_ready(node: Mapping[str, Any]) -> bool:
    """Say whether the node's Ready condition is True."""
    return condition(node, "Ready").get("status") == "True"


def node_gpus(node: Mapping[str, Any]) -> int:
    """Return how many GPUs the node offers; 0 where it says no whole number."""
    offered = str(((node.get("status") or {}).get("allocatable") or {}).get("nvidia.com/gpu", 0))
    return int(offered) if offered.isascii() and offered.isdigit() else 0


def container_statuses(pod: Mapping[str, Any], init: bool = False) -> list[Mapping[str, Any]]:
    """Return the statuses of the pod's containers; with `init`, those of its init containers first."""
    status = pod.get("status") or {}
    found = list(status.get("containerStatuses") or [])
    return list(status.get("initContainerStatuses") or []) + found if init else found


def ended(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container ended last; {} where it has not."""
    return (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}


def waiting(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return why a container waits; {} where it does not."""
    return (status.get("state") or {}).get("waiting") or {}


def restarts(pods: Iterable[Mapping[str, Any]]) -> int:
    """Return how often containers of these pods have started again."""
    return sum(status.get("restartCount", 0) for pod in pods for status in container_statuses(pod))


def taken_up(cluster: Mapping[str, Any]) -> bool:
    """Say whether KubeRay has acted on the RayCluster as it is now; before, its pods may be of a former one."""
    seen = (cluster.get("status") or {}).get("observedGeneration")
    return seen is not None and seen >= cluster["metadata"].get("generation", 0)


def last_event(
    warnings: Iterable[Mapping[str, Any]], names: Iterable[str], reasons: Sequence[str]
) -> tuple[str, str] | None:
    """Return the object's name and the words of the last warning of these objects with one of these reasons; None where there is none."""
    wanted = set(names)
    said = [
        event
        for event in warnings
        if event.get("reason") in reasons and (event.get("involvedObject") or {}).get("name") in wanted
    ]
    if not said:
        return None
    last = max(said, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return str(last["involvedObject"]["name"]), " ".join(str(last.get("message")).split())[:300]


def with_pod_names(text: str, pods: Iterable[Mapping[str, Any]]) -> str:
    """Return the text with the pod's name beside each address of one: the programs in the pods know each other by address."""
    for pod in living(pods):
        if address := (pod.get("status") or {}).get("podIP"):
            text = text.replace(f"({address})", f"({pod['metadata']['name']}, {address})")
    return text


def _label(item: Mapping[str, Any], name: str) -> str | None:
    value = (item["metadata"].get("labels") or {}).get(name)
    return None if value is None else str(value)
