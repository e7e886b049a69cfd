# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod's status as the kubelet writes it, out of what its containers do. Pure.

Facts imitated (kubelet_pods.go getPhase, status/generate.go):
- Pending until every container has run once; one that cannot pull its image keeps the pod Pending
- Running while one runs or will run again; Succeeded or Failed when none will
- conditions with reasons: ContainersNotInitialized, ContainersNotReady, PodCompleted, PodFailed, ReadinessGatesNotReady
- restartCount counts starts after the first; the last end is lastState, the state meanwhile CrashLoopBackOff
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rig.cluster import now

Object = dict[str, Any]


@dataclasses.dataclass
class ContainerState:
    """What is known of one container."""

    name: str
    image: str
    sidecar: bool = False
    state: Object = dataclasses.field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: Object = dataclasses.field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    image_id: str = ""
    container_id: str = ""

    @property
    def terminated(self) -> Object | None:
        """How it ended, when it has."""
        return self.state.get("terminated")

    @property
    def is_initialized(self) -> bool:
        """For an init container: whether the next one may start."""
        return self.started if self.sidecar else (self.terminated or {}).get("exitCode") == 0

    def as_status(self) -> Object:
        """As in the pod's status."""
        status = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


def phase(pod: Object, inits: list[ContainerState], mains: list[ContainerState], ended: bool) -> str:
    """The pod's phase; `ended` when no container will start again."""
    never = pod["spec"].get("restartPolicy", "Always") == "Never"
    for one in inits:
        if not one.is_initialized and not (one.sidecar and one.terminated):
            failed = one.terminated and one.terminated["exitCode"] != 0 and (never or ended)
            return "Failed" if failed else "Pending"
    stopped = [one.terminated or one.last_state.get("terminated") for one in mains]
    running = any("running" in one.state for one in mains)
    if any("waiting" in one.state and "terminated" not in one.last_state for one in mains):
        return "Failed" if ended else "Pending"
    if running or not ended:
        return "Running"
    return "Succeeded" if all(end and end["exitCode"] == 0 for end in stopped) else "Failed"


def conditions(
    pod: Object, inits: list[ContainerState], mains: list[ContainerState], in_phase: str, has_sandbox: bool
) -> list[Object]:
    """The conditions that the kubelet owns, without times."""
    done = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(in_phase)
    waiting = [] if in_phase == "Succeeded" else [one.name for one in inits if not one.is_initialized]
    found = [_condition("PodReadyToStartContainers", has_sandbox)]
    if waiting:
        text = f"containers with incomplete status: [{' '.join(waiting)}]"
        found.append(_condition("Initialized", False, "ContainersNotInitialized", text))
    else:
        found.append(_condition("Initialized", True, "PodCompleted" if in_phase == "Succeeded" else ""))
    unready = [one.name for one in [*(init for init in inits if init.sidecar), *mains] if not one.ready]
    if done:
        reason, text = done, ""
    else:
        reason, text = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    is_ready = not unready and not done
    found.append(_condition("ContainersReady", is_ready, *(() if is_ready else (reason, text))))
    gates = _unmet_gates(pod) if is_ready else []
    if gates:
        text = "; ".join(f'corresponding condition of pod readiness gate "{gate}" is not "True"' for gate in gates)
        found.append(_condition("Ready", False, "ReadinessGatesNotReady", text))
    else:
        found.append(_condition("Ready", is_ready, *(() if is_ready else (reason, text))))
    return found


def with_times(new: list[Object], old: list[Object], now: str) -> list[Object]:
    """Conditions with the time of their last change, taken from `old` where nothing changed."""
    before = {one["type"]: one for one in old}
    for one in new:
        same = before.get(one["type"])
        unchanged = same is not None and same["status"] == one["status"]
        one["lastTransitionTime"] = same["lastTransitionTime"] if same and unchanged else now
    return new


def terminated(code: int, started: str, container_id: str, message: str = "", reason: str = "") -> Object:
    """The state of a container that ended with `code`."""
    fields = {
        "exitCode": code,
        "reason": reason or ("Completed" if code == 0 else "Error"),
        "startedAt": started,
        "finishedAt": now(),
        "containerID": container_id,
    }
    if message:
        fields["message"] = message
    return {"terminated": fields}


def _condition(kind: str, is_true: bool, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "status": str(is_true), "lastProbeTime": None}
    found["reason"] = reason or None
    found["message"] = message or None
    return found


def _unmet_gates(pod: Object) -> list[str]:
    known = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", [])}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
    return [gate for gate in gates if known.get(gate) != "True"]
