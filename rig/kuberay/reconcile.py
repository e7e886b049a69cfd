# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do next for a RayCluster, by its spec and the pods that exist (KubeRay 1.7, raycluster_controller.go).

Imitated: suspend; Recreate by the spec hash on the head pod; Failed and Succeeded pods replaced; missing pods made,
with the lowest free replica index; surplus pods deleted; groups of several hosts as one unit. A pod that is being
deleted counts until it is gone.
"""

from __future__ import annotations

import dataclasses
import secrets
import string
from collections import defaultdict

from rig.kuberay import names, pods, ray_cluster
from rig.kuberay.ray_cluster import Object, Settings, WorkerGroup


@dataclasses.dataclass
class Steps:
    """Pods to delete (with the reason), pods to make, and the head pod whose hash is to be written anew."""

    delete: list[tuple[Object, str]] = dataclasses.field(default_factory=list)
    create: list[Object] = dataclasses.field(default_factory=list)
    adopt: Object | None = None


def decide(cluster: Object, existing: list[Object], settings: Settings) -> Steps:
    """The steps that bring `existing` (all pods labelled with the cluster) nearer to the spec."""
    steps = Steps()
    if cluster["spec"].get("suspend"):
        steps.delete = [(pod, "suspend") for pod in existing if _lives(pod)]
        return steps
    heads = [pod for pod in existing if pod["metadata"]["labels"].get(names.LABEL_NODE_TYPE) == "head"]
    if heads and _recreate(cluster):
        annotations = heads[0]["metadata"].get("annotations") or {}
        version, found = (
            annotations.get(key) for key in (names.ANNOTATION_OPERATOR_VERSION, names.ANNOTATION_SPEC_HASH)
        )
        if version and version != names.VERSION:
            steps.adopt = heads[0]
        elif found and found != ray_cluster.spec_hash(cluster):
            reason = "the spec has changed, upgradeStrategy is Recreate"
            steps.delete = [(pod, reason) for pod in existing if _lives(pod)]
            return steps
    _decide_head(cluster, heads, settings, steps)
    for group in ray_cluster.worker_groups(cluster):
        members = [
            pod
            for pod in existing
            if pod["metadata"]["labels"].get(names.LABEL_GROUP) == group.name and pod not in heads
        ]
        if group.hosts > 1:
            _decide_units(cluster, group, members, settings, steps)
        else:
            _decide_workers(cluster, group, members, settings, steps)
    return steps


def _recreate(cluster: Object) -> bool:
    return (cluster["spec"].get("upgradeStrategy") or {}).get("type") == "Recreate"


def _lives(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


def unusable(pod: Object) -> str | None:
    """Why the pod has to be replaced, or None: it ended, or its Ray container ended and is never restarted."""
    phase = pod.get("status", {}).get("phase")
    policy = pod["spec"].get("restartPolicy", "Always")
    if phase in ("Failed", "Succeeded"):
        return f"the pod's phase is {phase}, its restartPolicy {policy}"
    if policy == "Never":
        statuses = pod.get("status", {}).get("containerStatuses") or []
        ray = next((status for status in statuses if status["name"] == pod["spec"]["containers"][0]["name"]), None)
        if ray and "terminated" in ray.get("state", {}):
            return "the Ray container terminated and its restartPolicy is Never"
    return None


def _decide_head(cluster: Object, heads: list[Object], settings: Settings, steps: Steps) -> None:
    if not heads:
        steps.create.append(pods.head_pod(cluster, settings))
    for head in heads:
        reason = unusable(head)
        if reason and _lives(head):
            steps.delete.append((head, reason))


def _decide_workers(
    cluster: Object, group: WorkerGroup, members: list[Object], settings: Settings, steps: Steps
) -> None:
    wanted_away = set((group.spec.get("scaleStrategy") or {}).get("workersToDelete") or [])
    remaining = []
    for pod in members:
        named = pod["metadata"]["name"] in wanted_away
        reason = unusable(pod) or ("named in workersToDelete" if named else None)
        if reason is None:
            remaining.append(pod)
        elif _lives(pod):
            steps.delete.append((pod, reason))
    if _any_deleted(steps, members):
        # KubeRay makes the replacement in the next round, when the deleted pod is gone.
        return
    surplus = len(remaining) - group.pods
    if surplus > 0:
        steps.delete.extend((pod, "more pods than replicas") for pod in [p for p in remaining if _lives(p)][:surplus])
    taken = {_index(pod) for pod in members}
    for _ in range(-surplus):
        index = _lowest_free(taken)
        taken.add(index)
        steps.create.append(pods.worker_pod(cluster, group, index, settings))


def _any_deleted(steps: Steps, members: list[Object]) -> bool:
    """Whether one of `members` is about to be deleted."""
    return any(pod in members for pod, _ in steps.delete)


def _decide_units(cluster: Object, group: WorkerGroup, members: list[Object], settings: Settings, steps: Steps) -> None:
    """Groups of several hosts: a unit that is not whole, or holds an unusable pod, goes as one."""
    units: dict[str, list[Object]] = defaultdict(list)
    for pod in members:
        units[pod["metadata"]["labels"].get(names.LABEL_REPLICA_NAME, "")].append(pod)
    whole = 0
    for unit in units.values():
        if (
            len(unit) == group.hosts
            and all(_lives(pod) and unusable(pod) is None for pod in unit)
            and whole < group.replicas
        ):
            whole += 1
            continue
        steps.delete.extend((pod, "its unit of hosts is not whole, or not wanted") for pod in unit if _lives(pod))
    if whole < len(units):
        return
    taken = {_index(pod) for pod in members}
    for _ in range(group.replicas - whole):
        index = _lowest_free(taken)
        taken.add(index)
        suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
        for host in range(group.hosts):
            unit_of = (f"{group.name}-{suffix}", host)
            steps.create.append(pods.worker_pod(cluster, group, index, settings, unit_of))


def _index(pod: Object) -> int:
    return int(pod["metadata"]["labels"].get(names.LABEL_REPLICA_INDEX, -1))


def _lowest_free(taken: set[int]) -> int:
    return next(index for index in range(len(taken) + 1) if index not in taken)
