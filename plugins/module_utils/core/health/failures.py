# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a deployment cannot become ready by waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fault import Fault
from ..names import MODEL_FOLDER
from .observation import (
    Observation,
    condition,
    container_statuses,
    ended,
    last_event,
    living,
    taken_up,
    waiting,
    with_pod_names,
)
from .pod_words import final_entry, progress_lines

# Waiting reasons that no waiting fixes; the image ones are tried again by the kubelet, so they have to persist.
_TERMINAL_REASONS = {
    "InvalidImageName": "the image's name is not valid",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "CreateContainerConfigError": "the container cannot be created",
    "CreateContainerError": "the container cannot be created",
    "RunContainerError": "the container cannot be started",
}
_IMAGE_REASONS = {"ImagePullBackOff"}
# So many restarts of a container whose program says nothing when it ends show that there will be no other.
_SILENT_ENDS = 3
# So long an operator's pod may lack a node while no node of the group is awaited: an autoscaler adds one in minutes.
UNSCHEDULED_SECONDS = 300.0
_LOGS = "see the logs playbook"


def failure_of(observation: Observation) -> Fault | None:
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
        for status in container_statuses(pod, init=True):
            if fault := _container_failure(observation, name, status):
                return fault
        # A group that gave up stays up, so that its cause can be read.
        if entry := failed_phase(observation, name):
            return _runtime(observation, name, entry)
    return _operator_failure(observation)


def failed_phase(observation: Observation, pod: str) -> Mapping[str, Any] | None:
    """Return the progress line by which a pod's program says that no restart fixes it; None where it says none."""
    phases = observation.progress.get(pod, {}).values()
    return next((entry for entry in phases if entry.get("state") == "failed"), None)


def gave_up(observation: Observation) -> list[str]:
    """Return the names of the pods whose program stays up without trying again: what fixed it they cannot see."""
    names = [pod["metadata"]["name"] for pod in living(observation.pods)]
    return [name for name in names if failed_phase(observation, name)]


def operator_trouble(observation: Observation) -> str:
    """Return what keeps the KubeRay operator from acting, with its last words; "" where nothing is known to."""
    if observation.raycluster is None or taken_up(observation.raycluster):
        return ""
    for pod in living(observation.operator):
        name = pod["metadata"]["name"]
        for status in container_statuses(pod, init=True):
            reason, terminated = waiting(status).get("reason", ""), ended(status)
            if reason in (*_IMAGE_REASONS, *_TERMINAL_REASONS, "ErrImagePull"):
                return f"its pod {name}: {reason}: {waiting(status).get('message', '')}"
            if status.get("restartCount", 0) and terminated:
                words = observation.operator_words or terminated.get("message") or ""
                how = f"exit code {terminated.get('exitCode')}, {terminated.get('reason') or 'no reason'}"
                said = f"; its last words: {' '.join(words.split())[-300:]}" if words.strip() else ""
                return f"its pod {name} has ended {status['restartCount']} times ({how}){said}"
        if words := _unscheduled(observation, pod):
            return f"its pod {name} is not scheduled: {words}"
    return ""


def _unscheduled(observation: Observation, pod: Mapping[str, Any]) -> str:
    """Return why a pod has no node, in the scheduler's words; "" where it has one, or nothing says that it cannot have one."""
    if (pod.get("spec") or {}).get("nodeName"):
        return ""
    if event := last_event(observation.warnings, [pod["metadata"]["name"]], ("FailedScheduling",)):
        return event[1]
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return " ".join(str(scheduled.get("message") or scheduled.get("reason")).split())[:300]
    return ""


class OperatorBound:
    """Ends the wait for an operator whose pods find no node. `now` is in seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._since: float | None = None

    def failure(self, observation: Observation, nodes_there: bool, now: float) -> Fault | None:
        """Return the fault once no pod of the operator has had a node for UNSCHEDULED_SECONDS.

        nodes_there  whether all nodes of the group are there; one that is awaited may take the operator's pod
        """
        trouble, pods = operator_trouble(observation), living(observation.operator)
        if not nodes_there or not trouble or not all(_unscheduled(observation, pod) for pod in pods):
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        if now - self._since < UNSCHEDULED_SECONDS:
            return None
        expected = f"a node for it within {UNSCHEDULED_SECONDS / 60:g} minutes"
        remedy = "give the cluster a node that can run it, then run deploy again"
        return Fault("operator", "KubeRay operator", trouble, expected, remedy)


def _operator_failure(observation: Observation) -> Fault | None:
    """Only a container that ends again and again is sure at one look; for a pod without a node see `OperatorBound`."""
    counts = [
        status.get("restartCount", 0) for pod in living(observation.operator) for status in container_statuses(pod)
    ]
    trouble = operator_trouble(observation)
    if not trouble or max(counts, default=0) < _SILENT_ENDS:
        return None
    return Fault("operator", "KubeRay operator", trouble, "an operator that acts on the RayCluster", _OPERATOR_REMEDY)


_OPERATOR_REMEDY = "fix the operator (logs_component=operator shows its log), then run deploy again"


def _runtime(observation: Observation, pod: str, entry: Mapping[str, Any]) -> Fault:
    found = with_pod_names(f"{entry['phase']}: {entry.get('cause')}", observation.pods)
    return Fault("runtime", f"pod {pod}", found, "", entry.get("remedy") or _LOGS)


def _container_failure(observation: Observation, pod: str, status: Mapping[str, Any]) -> Fault | None:
    reason, message = waiting(status).get("reason", ""), waiting(status).get("message", "")
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
    terminated = ended(status)
    message = terminated.get("message") or ""
    if status.get("name") == MODEL_FOLDER and terminated.get("exitCode"):
        return Fault(
            "model_folder",
            f"pod {pod}",
            f"the model's folder cannot be given to the image's user: {message[-300:].strip()}",
            "a folder whose owner root may change",
            "an export that squashes root, or is read-only, does not serve: change its options, then run deploy again",
        )
    if entry := final_entry(message):
        return _runtime(observation, pod, entry)
    if reason == "CrashLoopBackOff" and status.get("restartCount", 0) >= _SILENT_ENDS and not progress_lines(message):
        # Our programs say why they end: these never ran, or were ended from outside.
        how = f"exit code {terminated.get('exitCode')}, {terminated.get('reason') or 'no reason'}"
        last = f": {message[-300:].strip()}" if message.strip() else ""
        found = f"the container has started {status['restartCount'] + 1} times and always ended without its cause ({how}){last}"
        return Fault(
            "container", f"pod {pod}", found, "", "see the logs playbook; the image has to have Python 3.10 or newer"
        )
    return None
