# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is seen of a deployment, judged: how far each phase is, in which state the whole is, and whether it can succeed.

Pure: the caller reads the cluster and passes what it saw. `deploy`'s wait and `status` use the same judgement.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Fault
from ..names import MODEL_FOLDER

# The phases after the objects were applied, in the order in which the last of them ends.
PHASES = ("nodes", "pods", "staging", "ray", "engine", "token")

# Waiting reasons that no waiting mends; the image ones are tried again by the kubelet, so they have to persist.
_TERMINAL_REASONS = {
    "InvalidImageName": "the image's name is not valid",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "CreateContainerConfigError": "the container cannot be made",
    "CreateContainerError": "the container cannot be made",
    "RunContainerError": "the container cannot be started",
}
# A volume that cannot be attached or mounted (kubelet and attach-detach controller, events).
_VOLUME_REASONS = ("FailedMount", "FailedAttachVolume")
_IMAGE_REASONS = {"ImagePullBackOff"}
# So many restarts of a container whose program says nothing when it ends show that there will be no other.
_SILENT_ENDS = 3


@dataclass
class Observation:
    """One look at a deployment; every object as the Kubernetes API gives it.

    progress: by pod name, the latest progress line of each phase (`progress_lines`).
    warnings: Warning events that concern the RayCluster or its pods.
    """

    raycluster: Mapping[str, Any] | None = None
    pods: Sequence[Mapping[str, Any]] = ()
    nodes: Sequence[Mapping[str, Any]] = ()
    progress: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Step:
    """How far one phase is. `text` says it in words, without the phase's name."""

    phase: str
    done: float
    total: float
    text: str

    @property
    def finished(self) -> bool:
        return self.total > 0 and self.done >= self.total


@dataclass(frozen=True)
class Judgement:
    """state: one of the words of docs (Deploying Staging Starting Ready Restarting Failed Removing)."""

    state: str
    steps: tuple[Step, ...]
    failure: Fault | None = None

    @property
    def ready(self) -> bool:
        return self.state == "Ready"

    @property
    def current(self) -> Step | None:
        """The first phase that is not finished; None when all are."""
        return next((step for step in self.steps if not step.finished), None)


def progress_lines(log: str) -> dict[str, dict[str, Any]]:
    """Return the latest progress line of each phase in a pod's log: JSON after the word `multinode`."""
    latest: dict[str, dict[str, Any]] = {}
    for line in log.splitlines():
        # Container runtimes and our programs may put a time in front.
        before, word, text = line.partition("multinode {")
        if not word or len(before) > 40:
            continue
        try:
            entry = json.loads("{" + text)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("phase"), str):
            latest[entry["phase"]] = entry
    return latest


def judge(observation: Observation, nodes: int, gpus: int) -> Judgement:
    """Return how far a deployment of `nodes` nodes with `gpus` GPUs each is."""
    steps = (
        _nodes(observation, nodes, gpus),
        _pods(observation, nodes),
        _staging(observation, nodes),
        _from_head(observation, "ray", nodes * gpus, "GPUs"),
        _from_head(observation, "engine", 1, ""),
        Step(
            "token",
            float(_head_ready(observation)),
            1,
            "the head answered" if _head_ready(observation) else "no completion yet",
        ),
    )
    failure = _failure(observation)
    return Judgement(_state(observation, steps, failure), steps, failure)


def head_pod(pods: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the living head pod."""
    for pod in pods:
        if _label(pod, "ray.io/node-type") == "head" and not pod["metadata"].get("deletionTimestamp"):
            return pod
    return None


def gave_up(observation: Observation) -> list[str]:
    """Return the names of the pods whose program stays up without trying again: what mended it they cannot see."""
    return [
        pod["metadata"]["name"]
        for pod in observation.pods
        if not pod["metadata"].get("deletionTimestamp") and _failed_phase(observation, pod["metadata"]["name"])
    ]


def _failed_phase(observation: Observation, pod: str) -> Mapping[str, Any] | None:
    """Return the progress line by which a pod's program says that no restart mends it; None where it says none."""
    phases = observation.progress.get(pod, {}).values()
    return next((entry for entry in phases if entry.get("state") == "failed"), None)


def node_ready(node: Mapping[str, Any]) -> bool:
    """Say whether the node's Ready condition is True."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def restarts(pods: Iterable[Mapping[str, Any]]) -> int:
    """Return how often containers of these pods have started again."""
    return sum(status.get("restartCount", 0) for pod in pods for status in _container_statuses(pod))


def _nodes(observation: Observation, nodes: int, gpus: int) -> Step:
    ready = [node for node in observation.nodes if node_ready(node)]
    with_gpus = [
        node for node in ready if int((node["status"].get("allocatable") or {}).get("nvidia.com/gpu", 0)) >= gpus
    ]
    text = f"{len(with_gpus)}/{nodes} nodes with {gpus} GPU{'s' if gpus > 1 else ''}"
    if len(ready) > len(with_gpus):
        text += f", {len(ready) - len(with_gpus)} Ready without their GPUs"
    if len(observation.nodes) > len(ready):
        text += f", {len(observation.nodes) - len(ready)} joined and not Ready"
    return Step("nodes", min(len(with_gpus), nodes), nodes, text)


def _pods(observation: Observation, nodes: int) -> Step:
    living = [pod for pod in observation.pods if not pod["metadata"].get("deletionTimestamp")]
    running = [
        pod for pod in living if any("running" in (entry.get("state") or {}) for entry in _container_statuses(pod))
    ]
    text = f"{len(running)}/{nodes} pods running"
    if observation.raycluster is not None and not _taken_up(observation.raycluster):
        text += ", the KubeRay operator has not taken the RayCluster up yet"
    waiting = sorted({reason for pod in living if pod not in running for reason in [_waiting_reason(pod)] if reason})
    if waiting:
        text += f" ({', '.join(waiting)})"
    text += _volume_trouble(observation.warnings, {pod["metadata"]["name"] for pod in living if pod not in running})
    return Step("pods", len(running), nodes, text)


def _volume_trouble(warnings: Iterable[Mapping[str, Any]], waiting: Container[str]) -> str:
    """Return what the kubelet last said of a volume that a waiting pod cannot have yet, in its own words."""
    said = [
        event
        for event in warnings
        if event.get("reason") in _VOLUME_REASONS and (event.get("involvedObject") or {}).get("name") in waiting
    ]
    if not said:
        return ""
    last = max(said, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return f"; pod {last['involvedObject']['name']}: {' '.join(str(last.get('message')).split())[:300]}"


def _staging(observation: Observation, nodes: int) -> Step:
    """Bytes over all nodes; a node that has said nothing yet counts as nothing done."""
    entries = [phases["staging"] for phases in observation.progress.values() if "staging" in phases]
    finished = [entry for entry in entries if entry.get("state") == "done"]
    done, total = (sum(entry.get(key) or 0 for entry in entries) for key in ("done", "total"))
    text = f"{len(finished)}/{nodes} nodes staged"
    if total and len(finished) < nodes:
        text += f", {readable_bytes(done)} of {readable_bytes(total)}"
        rate = sum(entry.get("rate") or 0 for entry in entries if entry not in finished)
        if rate > 0:
            text += f", {readable_bytes(rate)}/s, {readable_seconds((total - done) / rate)} left"
    return Step("staging", len(finished), nodes, text)


def _from_head(observation: Observation, phase: str, total: int, unit: str) -> Step:
    head = head_pod(observation.pods)
    entry = observation.progress.get(head["metadata"]["name"], {}).get(phase, {}) if head else {}
    if entry.get("state") == "done" or (head is not None and _head_ready(observation)):
        return Step(phase, total, total, f"{total}/{total} {unit}".rstrip() if unit else "loaded")
    done, of = entry.get("done") or 0, entry.get("total") or total
    text = f"{done:g}/{of:g} {entry.get('unit') or unit}".rstrip() if entry else "not begun"
    text += "".join(f", {entry[key]}" for key in ("step", "cause") if entry.get(key))
    return Step(phase, min(done, of - 1) if done >= of else done, of, text)


def _head_ready(observation: Observation) -> bool:
    head = head_pod(observation.pods)
    conditions = (head.get("status") or {}).get("conditions") or [] if head else []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _state(observation: Observation, steps: Sequence[Step], failure: Fault | None) -> str:
    cluster = observation.raycluster
    if cluster is not None and cluster["metadata"].get("deletionTimestamp"):
        return "Removing"
    if failure is not None:
        return "Failed"
    by_phase = {step.phase: step for step in steps}
    if cluster is None or not _taken_up(cluster):
        return "Deploying"
    if by_phase["token"].finished and by_phase["pods"].finished:
        return "Ready"
    if restarts(observation.pods):
        return "Restarting"
    if not by_phase["pods"].finished:
        return "Deploying"
    return "Starting" if by_phase["staging"].finished else "Staging"


def _taken_up(cluster: Mapping[str, Any]) -> bool:
    """Say whether KubeRay has acted on the RayCluster as it is now; before, its pods may be of a former one."""
    seen = (cluster.get("status") or {}).get("observedGeneration")
    return seen is not None and seen >= cluster["metadata"].get("generation", 0)


def _failure(observation: Observation) -> Fault | None:
    """Return why the deployment cannot become ready by waiting, or None."""
    for event in observation.warnings:
        if event.get("reason") in ("InvalidRayClusterSpec", "InvalidRayClusterMetadata"):
            return Fault(
                "raycluster_refused",
                "RayCluster",
                str(event.get("message")),
                "an accepted RayCluster",
                "see the operator's log",
            )
    for pod in observation.pods:
        name = pod["metadata"]["name"]
        for status in _container_statuses(pod, init=True):
            if fault := _container_failure(name, status):
                return fault
        # A group that gave up stays up, so that its cause can be read.
        if entry := _failed_phase(observation, name):
            return Fault(
                "runtime", f"pod {name}", f"{entry['phase']}: {entry.get('cause')}", "", "see the logs playbook"
            )
    return None


def _container_failure(pod: str, status: Mapping[str, Any]) -> Fault | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        return Fault(
            "image",
            f"pod {pod}",
            f"the image {status.get('image')} cannot be pulled: {message}",
            "",
            "check recipe_image_uri and the pull secret",
        )
    if reason in _TERMINAL_REASONS:
        return Fault(
            "container", f"pod {pod}", f"{_TERMINAL_REASONS[reason]}: {message}", "", "see `kubectl describe pod`"
        )
    terminated = (
        (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    )
    message = terminated.get("message") or ""
    if status.get("name") == MODEL_FOLDER and terminated.get("exitCode"):
        return Fault(
            "model_folder",
            f"pod {pod}",
            f"the model's folder cannot be given to the image's user: {message[-300:].strip()}",
            "a folder whose owner root may change",
            "an export that squashes root, or is read-only, does not serve: change its options, then run deploy again",
        )
    if cause := terminal_cause(message):
        return Fault("runtime", f"pod {pod}", cause, "", "see the logs playbook")
    if reason == "CrashLoopBackOff" and status.get("restartCount", 0) >= _SILENT_ENDS and not progress_lines(message):
        # Our programs say why they end: these never ran, or were ended from outside.
        how = f"exit code {terminated.get('exitCode')}, {terminated.get('reason') or 'no reason'}"
        last = f": {message[-300:].strip()}" if message.strip() else ""
        found = f"the container has started {status['restartCount'] + 1} times and always ended without its cause ({how}){last}"
        return Fault(
            "container", f"pod {pod}", found, "", "see the logs playbook; the image has to have Python 3.10 or newer"
        )
    return None


def terminal_cause(message: str) -> str | None:
    """Return the cause in a termination message of our programs that no restart mends, or None.

    The message is a progress line; state `failed` means that trying again is of no use.
    """
    for entry in progress_lines(message).values():
        if entry.get("state") == "failed" and entry.get("cause"):
            return str(entry["cause"])
    return None


def _container_statuses(pod: Mapping[str, Any], init: bool = False) -> list[Mapping[str, Any]]:
    status = pod.get("status") or {}
    found = list(status.get("containerStatuses") or [])
    return list(status.get("initContainerStatuses") or []) + found if init else found


def _waiting_reason(pod: Mapping[str, Any]) -> str | None:
    for status in _container_statuses(pod, init=True):
        if reason := ((status.get("state") or {}).get("waiting") or {}).get("reason"):
            return str(reason)
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason") or "Unscheduled")
    return None


def _label(item: Mapping[str, Any], name: str) -> str | None:
    value = (item["metadata"].get("labels") or {}).get(name)
    return None if value is None else str(value)


def readable_bytes(count: float) -> str:
    """Return a count of bytes in units of 1000, as disks and networks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_seconds(seconds: float) -> str:
    """Return a duration as a person says it: 42s, 3m05s, 1h02m."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
