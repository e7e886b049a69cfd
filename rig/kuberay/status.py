# SPDX-License-Identifier: GPL-3.0-or-later
"""The status that KubeRay 1.7 writes into a RayCluster (raycluster_controller.go, calculateStatus).

Imitated with its traps: `state: ready` is not taken back when pods fail later; RayClusterProvisioned looks only at
the pods that exist and never returns to False, except by suspend.
"""

from __future__ import annotations

import copy
from decimal import Decimal

from rig.kuberay import names, quantity, ray_cluster
from rig.kuberay.ray_cluster import NO_LIMIT, Object

GPU_SUFFIX = "gpu"


def calculate(
    cluster: Object, existing: list[Object], service: Object | None, failure: tuple[str, str] | None, now: str
) -> Object:
    """The new status of `cluster`.

    `failure` is reason and text of a pod that could not be made or deleted; `now` an RFC 3339 time. `lastUpdateTime`
    and the times of conditions that did not change are kept, so that an unchanged status is equal to the old one.
    """
    old = cluster.get("status") or {}
    status = copy.deepcopy(old)
    heads = [pod for pod in existing if pod["metadata"]["labels"].get(names.LABEL_NODE_TYPE) == "head"]
    workers = [pod for pod in existing if pod["metadata"]["labels"].get(names.LABEL_NODE_TYPE) == "worker"]
    groups = ray_cluster.worker_groups(cluster)
    suspended = bool(cluster["spec"].get("suspend"))
    desired = 0 if suspended else sum(group.pods for group in groups)
    status.update(
        observedGeneration=cluster["metadata"]["generation"],
        desiredWorkerReplicas=desired,
        minWorkerReplicas=sum(group.minimum * group.hosts for group in groups),
        maxWorkerReplicas=min(sum(group.maximum * group.hosts for group in groups), NO_LIMIT),
        readyWorkerReplicas=sum(running_and_ready(pod) for pod in workers),
        availableWorkerReplicas=sum(_phase(pod) == "Running" for pod in workers),
        **_desired_resources(cluster, suspended),
    )
    if service:
        status["endpoints"] = {
            port["name"]: str(port.get("nodePort") or port["port"]) for port in service["spec"]["ports"]
        }
    status["head"] = _head(heads, service)
    _set_conditions(status, heads, existing, failure, suspended, now)
    if suspended and not existing:
        state = "suspended"
    elif not suspended and len(existing) == desired + 1 and all(map(running_and_ready, existing)):
        state = "ready"
    else:
        state = None if old.get("state") == "suspended" and not suspended else old.get("state")
    if state and state != old.get("state"):
        status.setdefault("stateTransitionTimes", {})[state] = now
    if state:
        status["state"] = state
    else:
        status.pop("state", None)
    if status != old:
        status["lastUpdateTime"] = now
    return status


def running_and_ready(pod: Object) -> bool:
    """Whether the pod runs and its Ready condition is True."""
    return _phase(pod) == "Running" and (_ready_condition(pod) or {}).get("status") == "True"


def _phase(pod: Object) -> str | None:
    return pod.get("status", {}).get("phase")


def _ready_condition(pod: Object) -> Object | None:
    conditions = pod.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == "Ready"), None)


def _head(heads: list[Object], service: Object | None) -> Object:
    head: Object = {}
    if heads:
        head["podName"] = heads[0]["metadata"]["name"]
        if address := heads[0].get("status", {}).get("podIP"):
            head["podIP"] = address
    if service:
        head["serviceName"] = service["metadata"]["name"]
        cluster_address = service["spec"].get("clusterIP")
        # A headless Service has no address of its own: KubeRay shows the head pod's.
        address = head.get("podIP") if cluster_address in (None, "None") else cluster_address
        if address:
            head["serviceIP"] = address
    return head


def _set_conditions(
    status: Object,
    heads: list[Object],
    existing: list[Object],
    failure: tuple[str, str] | None,
    suspended: bool,
    now: str,
) -> None:
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}

    def put(kind: str, value: bool, reason: str, message: str) -> None:
        new = {"type": kind, "status": str(value), "reason": reason, "message": message}
        old = conditions.get(kind)
        if old and all(old.get(field) == new[field] for field in new):
            return
        changed = now if not old or old["status"] != new["status"] else old["lastTransitionTime"]
        conditions[kind] = {**new, "lastTransitionTime": changed}

    put("HeadPodReady", *_head_pod_ready(heads))
    if failure:
        put("ReplicaFailure", True, *failure)
    else:
        conditions.pop("ReplicaFailure", None)
    provisioned = conditions.get("RayClusterProvisioned", {}).get("status") == "True"
    if suspended:
        put("RayClusterProvisioned", False, "RayClusterPodsProvisioning", "RayCluster is suspended")
        put("RayClusterSuspending", bool(existing), "UserRequestSuspend", "")
        put("RayClusterSuspended", not existing, "UserRequestSuspend", "")
    elif not provisioned:
        if existing and all(map(running_and_ready, existing)):
            message = "All Ray Pods are ready for the first time"
            put("RayClusterProvisioned", True, "AllPodRunningAndReadyFirstTime", message)
        else:
            put("RayClusterProvisioned", False, "RayClusterPodsProvisioning", "RayCluster Pods are being provisioned")
    if not suspended and "RayClusterSuspended" in conditions:
        put("RayClusterSuspending", False, "UserRequestResume", "")
        put("RayClusterSuspended", False, "UserRequestResume", "")
    status["conditions"] = list(conditions.values())


def _head_pod_ready(heads: list[Object]) -> tuple[bool, str, str]:
    """Value, reason and message: the reason of the first container that is not ready, such as ImagePullBackOff."""
    if not heads:
        return False, "HeadPodNotFound", "Head Pod not found"
    if running_and_ready(heads[0]):
        return True, "HeadPodRunningAndReady", ""
    condition = _ready_condition(heads[0]) or {}
    reason, message = condition.get("reason") or "Unknown", condition.get("message") or ""
    for container in heads[0].get("status", {}).get("containerStatuses") or []:
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if not container.get("ready") and kind in state:
                return False, state[kind].get("reason") or reason, state[kind].get("message") or message
    return False, reason, message


def _desired_resources(cluster: Object, suspended: bool) -> Object:
    totals = {"cpu": Decimal(0), "memory": Decimal(0), "gpu": Decimal(0), "google.com/tpu": Decimal(0)}
    templates = [(1, ray_cluster.head_group(cluster)["template"])]
    templates += [(group.pods, group.spec["template"]) for group in ray_cluster.worker_groups(cluster)]
    for count, template in [] if suspended else templates:
        for container in template["spec"]["containers"]:
            resources = container.get("resources") or {}
            amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
            for name, amount in amounts.items():
                key = GPU_SUFFIX if name.endswith(GPU_SUFFIX) else name
                if key in totals:
                    totals[key] += count * quantity.read(amount)
    return {
        "desiredCPU": quantity.write_count(totals["cpu"]),
        "desiredMemory": quantity.write_bytes(totals["memory"]),
        "desiredGPU": quantity.write_count(totals["gpu"]),
        "desiredTPU": quantity.write_count(totals["google.com/tpu"]),
    }
