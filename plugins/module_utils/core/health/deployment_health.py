# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is seen of a deployment, judged: how far each phase is, in which state the whole is, and whether it can succeed.

Pure: the caller reads the cluster and passes what it saw. `deploy`'s wait and `status` use the same judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Fault
from ..parts import inner
from .failures import failure_of, operator_trouble
from .measured import measures
from .observation import (
    Observation,
    condition,
    container_statuses,
    head_pod,
    last_event,
    living,
    node_gpus,
    node_ready,
    restarts,
    taken_up,
    waiting,
)
from .paused import is_paused
from .pod_words import last_failure

# What the kubelet, the scheduler, the controllers and provisioners say of a pod that cannot run yet, or of its volume.
_POD_REASONS = (
    "FailedMount",
    "FailedAttachVolume",
    "FailedScheduling",
    "FailedCreatePodSandBox",
    "FailedPostStartHook",
    "NetworkNotReady",
    "DNSConfigForming",
    "Evicted",
    "ProvisioningFailed",
    "FailedBinding",
    "FailedToCreatePod",
)
# A name that does not resolve, as Python's socket says it.
_UNRESOLVED = (
    "Name or service not known",
    "Temporary failure in name resolution",
    "No address associated with hostname",
)


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
    """state: one of the words of docs (Deploying Staging Starting Ready Restarting Paused Failed Removing)."""

    state: str
    steps: tuple[Step, ...]
    failure: Fault | None = None
    # The last failure of the group that a restart may still fix, with its number.
    last_failure: str | None = None
    # What is amiss and keeps nothing from serving.
    warnings: tuple[Fault, ...] = ()
    # What vLLM measured at its start, as far as the head's log still says it (`measured.NAMES`).
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.state == "Ready"

    @property
    def current(self) -> Step | None:
        """The first phase that is not finished; None when all are."""
        return next((step for step in self.steps if not step.finished), None)


def judge(observation: Observation, nodes: int, gpus: int) -> Judgement:
    """Return how far a deployment of `nodes` nodes with `gpus` GPUs each is."""
    steps = (
        _nodes(observation, nodes, gpus),
        _pods(observation, nodes),
        _staging(observation, nodes),
        _from_head(observation, "ray", nodes * gpus, "GPUs"),
        _from_head(observation, "engine", 1, ""),
        _token(observation),
    )
    # Of pods that were told to go nothing is a failure.
    failure = None if is_paused(observation.raycluster) else failure_of(observation)
    last = None if _head_ready(observation) else last_failure(living(observation.pods))
    return Judgement(
        _state(observation, steps, failure), steps, failure, last, tuple(_warnings(observation)), _measured(observation)
    )


def _nodes(observation: Observation, nodes: int, gpus: int) -> Step:
    ready = [node for node in observation.nodes if node_ready(node)]
    with_gpus = [node for node in ready if node_gpus(node) >= gpus]
    text = f"{len(with_gpus)}/{nodes} nodes with {gpus} GPU{'s' if gpus > 1 else ''}"
    if len(ready) > len(with_gpus):
        text += f", {len(ready) - len(with_gpus)} Ready without their GPUs"
    if len(observation.nodes) > len(ready):
        text += f", {len(observation.nodes) - len(ready)} joined and not Ready"
    return Step("nodes", min(len(with_gpus), nodes), nodes, text)


def _pods(observation: Observation, nodes: int) -> Step:
    alive = living(observation.pods)
    running = [
        pod for pod in alive if any("running" in (entry.get("state") or {}) for entry in container_statuses(pod))
    ]
    text = f"{len(running)}/{nodes} pods running"
    if observation.raycluster is not None and not taken_up(observation.raycluster):
        text += ", waiting for the KubeRay operator to reconcile it"
        if trouble := operator_trouble(observation):
            text += f": {trouble}"
    still = [pod for pod in alive if pod not in running]
    reasons = sorted({reason for pod in still for reason in [_waiting_reason(pod)] if reason})
    if reasons:
        text += f" ({', '.join(reasons)})"
    if event := last_event(observation.warnings, (pod["metadata"]["name"] for pod in still), _POD_REASONS):
        text += f"; pod {event[0]}: {event[1]}"
    elif event := last_event(observation.warnings, (name for pod in still for name in _claims(pod)), _POD_REASONS):
        text += f"; volume claim {event[0]}: {event[1]}"
    elif not alive and (event := last_event(observation.warnings, [_name(observation.raycluster)], _POD_REASONS)):
        text += f"; {event[1]}"
    return Step("pods", len(running), nodes, text)


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
    if phase == "ray":
        text += _workers_wait(observation)
    return Step(phase, min(done, of - 1) if done >= of else done, of, text)


def _head_ready(observation: Observation) -> bool:
    head = head_pod(observation.pods)
    return head is not None and condition(head, "Ready").get("status") == "True"


def _measured(observation: Observation) -> dict[str, float]:
    head = head_pod(observation.pods)
    return measures(observation.progress.get(_name(head), {}).get("engine", {}).get("measured")) if head else {}


def _token(observation: Observation) -> Step:
    """The first completion, with what the last try for one got."""
    if _head_ready(observation):
        return Step("token", 1, 1, "the head answered")
    head = head_pod(observation.pods)
    entry = observation.progress.get(_name(head), {}).get("token", {}) if head else {}
    return Step("token", 0, 1, "no completion yet" + (f": {entry['cause']}" if entry.get("cause") else ""))


def _workers_wait(observation: Observation) -> str:
    """Return what a worker waits for that does not find the head."""
    head = head_pod(observation.pods)
    for pod in living(observation.pods):
        entry = observation.progress.get(_name(pod), {}).get("ray", {})
        step = entry.get("step") or ""
        if pod is not head and entry.get("state") == "waiting" and step.startswith("waiting for the head: "):
            dns = "; see the cluster's DNS" if any(words in step for words in _UNRESOLVED) else ""
            return f"; pod {_name(pod)} is {step}{dns}"
    return ""


def _warnings(observation: Observation) -> list[Fault]:
    """What the pods' programs say is amiss although they serve."""
    return [
        Fault("pod_warning", f"pod {name}", entry["warning"])
        for name, phases in sorted(observation.progress.items())
        for entry in phases.values()
        if entry.get("warning")
    ]


def _claims(pod: Mapping[str, Any]) -> list[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [claim for volume in volumes if (claim := inner(volume, "persistentVolumeClaim").get("claimName"))]


def _name(item: Mapping[str, Any] | None) -> str:
    return str(item["metadata"]["name"]) if item else ""


def _state(observation: Observation, steps: Sequence[Step], failure: Fault | None) -> str:
    cluster = observation.raycluster
    if cluster is not None and cluster["metadata"].get("deletionTimestamp"):
        return "Removing"
    if is_paused(cluster):
        return "Paused"
    if failure is not None:
        return "Failed"
    by_phase = {step.phase: step for step in steps}
    if cluster is None or not taken_up(cluster):
        return "Deploying"
    if by_phase["token"].finished and by_phase["pods"].finished:
        return "Ready"
    if restarts(observation.pods):
        return "Restarting"
    if not by_phase["pods"].finished:
        return "Deploying"
    return "Starting" if by_phase["staging"].finished else "Staging"


def _waiting_reason(pod: Mapping[str, Any]) -> str | None:
    for status in container_statuses(pod, init=True):
        if reason := waiting(status).get("reason"):
            return str(reason)
    scheduled = condition(pod, "PodScheduled")
    return str(scheduled.get("reason") or "Unscheduled") if scheduled.get("status") == "False" else None


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
