# SPDX-License-Identifier: GPL-3.0-or-later
"""What KubeRay 1.7 refuses in a RayCluster (controllers/ray/utils/validation.go).

The refusal is only a Warning event: no pods, no status. Fields of KubeRay that the stand-in does not know are refused
the same way, so that nobody takes a silent omission for KubeRay's behaviour.
"""

from __future__ import annotations

import dataclasses
import re

from rig.kuberay import ray_cluster
from rig.kuberay.ray_cluster import Object

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 53
NOT_IMITATED = (
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "gcsFaultToleranceOptions",
    "historyServerOptions",
    "networkPolicy",
    "tlsOptions",
)
NOT_IMITATED_IN_GROUP = ("enableIngress", "headService", "resources", "labels")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Reason and text of the Warning event."""

    reason: str
    message: str


def refusal(cluster: Object) -> Refusal | None:
    """Why `cluster` is not reconciled, or None when it is."""
    name = cluster["metadata"]["name"]
    if len(name) > LONGEST_NAME:
        message = f"RayCluster name should be no more than {LONGEST_NAME} characters, found {len(name)}: {name}"
        return Refusal("InvalidRayClusterMetadata", message)
    if not DNS_LABEL.fullmatch(name):
        message = f"RayCluster name should be a valid DNS1035 label (begins with a letter), found: {name}"
        return Refusal("InvalidRayClusterMetadata", message)
    message = _spec_error(cluster)
    return Refusal("InvalidRayClusterSpec", message) if message else None


def _spec_error(cluster: Object) -> str | None:
    spec = cluster["spec"]
    for field in NOT_IMITATED:
        if spec.get(field):
            return f"spec.{field} is not imitated by the rig's KubeRay stand-in; put the real operator in its place"
    if not spec["headGroupSpec"]["template"]["spec"].get("containers"):
        return "headGroupSpec should have at least one container"
    for place, group in _groups(spec):
        if error := _group_error(place, group):
            return error
    if ray_cluster.token_authentication(cluster):
        if ray_cluster.ray_version(cluster) is None:
            return f"authOptions.mode is 'token' but RayVersion is not a version: {spec.get('rayVersion')!r}"
        if not ray_cluster.at_least(cluster, 2, 52, 0):
            return f"authOptions.mode is 'token' but minimum Ray version is 2.52.0, got {spec['rayVersion']}"
    return None


def _groups(spec: Object) -> list[tuple[str, Object]]:
    groups = [("headGroupSpec", spec["headGroupSpec"])]
    return groups + [(f"worker group {group['groupName']}", group) for group in spec.get("workerGroupSpecs") or []]


def _group_error(place: str, group: Object) -> str | None:
    for field in NOT_IMITATED_IN_GROUP:
        if group.get(field):
            return f"{place}: {field} is not imitated by the rig's KubeRay stand-in; put the real operator in its place"
    if not group["template"]["spec"].get("containers"):
        return f"{place} should have at least one container"
    if "labels" in (group.get("rayStartParams") or {}):
        return f"{place}: rayStartParams['labels'] is not supported; use the group's labels"
    minimum = group.get("minReplicas", 0)
    if not 0 <= minimum <= group.get("maxReplicas", minimum):
        return f"{place} has negative minReplicas or minReplicas greater than maxReplicas"
    return None
