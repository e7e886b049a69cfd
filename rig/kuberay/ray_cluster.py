# SPDX-License-Identifier: GPL-3.0-or-later
"""A RayCluster object read: its groups with their defaults, and what the operator's environment decides.

Defaults and clamps are those of KubeRay 1.7 (raycluster_types.go, utils/util.go).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from rig.kuberay import names

Object = dict[str, Any]
NO_LIMIT = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the operator takes from its own environment."""

    cluster_domain: str = "cluster.local"
    inject_init_container: bool = True
    inject_probes: bool = True
    login_shell: bool = False
    head_cluster_ip: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables that KubeRay's operator documents in its chart."""

        def flag(name: str, default: bool) -> bool:
            return environment.get(name, str(default)).lower() == "true"

        return cls(
            cluster_domain=environment.get("CLUSTER_DOMAIN") or "cluster.local",
            inject_init_container=flag("ENABLE_INIT_CONTAINER_INJECTION", True),
            inject_probes=flag("ENABLE_PROBES_INJECTION", True),
            login_shell=flag("ENABLE_LOGIN_SHELL", False),
            head_cluster_ip=flag("ENABLE_RAY_HEAD_CLUSTER_IP_SERVICE", False),
        )


@dataclasses.dataclass(frozen=True)
class WorkerGroup:
    """One entry of `workerGroupSpecs`; `replicas` is clamped to the bounds, silently as KubeRay does."""

    name: str
    replicas: int
    minimum: int
    maximum: int
    hosts: int
    spec: Object

    @property
    def pods(self) -> int:
        """How many pods the group should have."""
        return 0 if self.spec.get("suspend") else self.replicas * self.hosts


def worker_groups(cluster: Object) -> list[WorkerGroup]:
    """The worker groups of `cluster` in the order given."""
    groups = []
    for spec in cluster["spec"].get("workerGroupSpecs") or []:
        minimum = spec.get("minReplicas") or 0
        maximum = spec.get("maxReplicas", NO_LIMIT)
        replicas = min(max(spec.get("replicas") or 0, minimum), maximum)
        groups.append(WorkerGroup(spec["groupName"], replicas, minimum, maximum, spec.get("numOfHosts") or 1, spec))
    return groups


def head_group(cluster: Object) -> Object:
    """The head group's spec."""
    return cluster["spec"]["headGroupSpec"]


def ray_start_params(group: Object) -> dict[str, str]:
    """A copy of the group's `rayStartParams`."""
    return dict(group.get("rayStartParams") or {})


def head_port(cluster: Object) -> str:
    """The port of Ray's GCS: `port` of the head's start parameters, else Ray's default."""
    return ray_start_params(head_group(cluster)).get("port", str(names.GCS_PORT))


def ray_version(cluster: Object) -> tuple[int, ...] | None:
    """`spec.rayVersion` as numbers, or None when absent or not a version."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", cluster["spec"].get("rayVersion") or "")
    return tuple(int(part) for part in found.groups()) if found else None


def at_least(cluster: Object, *version: int) -> bool:
    """Whether `spec.rayVersion` is given and not below `version`."""
    found = ray_version(cluster)
    return found is not None and found >= version


def token_authentication(cluster: Object) -> bool:
    """Whether pods get a Ray token: only `mode: token` says so, an empty `authOptions` does not."""
    return (cluster["spec"].get("authOptions") or {}).get("mode") == "token"


def token_secret(cluster: Object) -> str:
    """The Secret that holds the token: the one named, else the cluster's own."""
    given = (cluster["spec"].get("authOptions") or {}).get("secretName")
    return given or names.token_secret(cluster["metadata"]["name"])


def overwrites_command(cluster: Object) -> bool:
    """Whether the annotation that leaves the container's command alone is set."""
    annotations = cluster["metadata"].get("annotations") or {}
    return annotations.get(names.ANNOTATION_OVERWRITE_COMMAND, "").lower() == "true"


def owner_reference(cluster: Object) -> Object:
    """What makes the garbage collector remove an object with its RayCluster."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "name": cluster["metadata"]["name"],
        "uid": cluster["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def spec_hash(cluster: Object) -> str:
    """What Recreate compares: the spec without counts, scale strategy, tolerations, scheduling gates and itself."""
    spec = json.loads(json.dumps(cluster["spec"]))
    spec.pop("upgradeStrategy", None)
    groups = spec.get("workerGroupSpecs") or []
    for group in groups:
        for field in ("replicas", "minReplicas", "maxReplicas", "scaleStrategy"):
            group.pop(field, None)
    for group in [spec["headGroupSpec"], *groups]:
        for field in ("tolerations", "schedulingGates"):
            group["template"]["spec"].pop(field, None)
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:32]
