# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods that KubeRay makes of a RayCluster (KubeRay 1.7, controllers/ray/common/pod.go).

Imitated: names, labels, owner, the ray start command and where it stands, environment, token, the `wait-gcs-ready` init
container, default probes by Ray version, the metrics port, `/dev/shm`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from rig.kuberay import names, ray_cluster, ray_start
from rig.kuberay.ray_cluster import Object, Settings, WorkerGroup

SHARED_MEMORY = "shared-mem"
# KubeRay shows the errors of the health check only after two minutes.
WAIT_SCRIPT = """\
SECONDS=0
until if (( SECONDS <= 120 )); then ray health-check --address {address} > /dev/null 2>&1
      else ray health-check --address {address}; fi; do
  echo "$SECONDS seconds elapsed: Waiting for GCS to be ready."
  sleep 5
done
echo "GCS is ready."
"""


def head_pod(cluster: Object, settings: Settings) -> Object:
    """The head pod of `cluster`."""
    pod = _pod(cluster, "head", names.HEAD_GROUP, ray_cluster.head_group(cluster), settings)
    annotations = pod["metadata"].setdefault("annotations", {})
    annotations["ray.io/ft-enabled"] = "false"
    annotations[names.ANNOTATION_SPEC_HASH] = ray_cluster.spec_hash(cluster)
    annotations[names.ANNOTATION_OPERATOR_VERSION] = names.VERSION
    return pod


def worker_pod(
    cluster: Object, group: WorkerGroup, index: int, settings: Settings, unit: tuple[str, int] | None = None
) -> Object:
    """A worker pod with replica index `index`; `unit` is (replica name, host index) in groups of several hosts."""
    pod = _pod(cluster, "worker", group.name, group.spec, settings)
    labels = pod["metadata"]["labels"]
    labels[names.LABEL_REPLICA_INDEX] = str(index)
    if unit:
        labels[names.LABEL_REPLICA_NAME], labels[names.LABEL_HOST_INDEX] = unit[0], str(unit[1])
    return pod


def _pod(cluster: Object, node_type: str, group_name: str, group: Object, settings: Settings) -> Object:
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    is_head = node_type == "head"
    address = names.head_address(name, namespace, settings.cluster_domain)
    port = ray_cluster.head_port(cluster)
    template = copy.deepcopy(group["template"])
    spec = template["spec"]
    container = spec["containers"][0]
    options = ray_start.parameters(
        ray_cluster.ray_start_params(group), container.get("resources") or {}, None if is_head else address, port
    )
    if not is_head and settings.inject_init_container:
        spec.setdefault("initContainers", []).append(_wait_container(container, f"{address}:{port}", settings))
    if not any(declared.get("name") == "metrics" for declared in container.get("ports") or []):
        container.setdefault("ports", []).append({"name": "metrics", "containerPort": names.METRICS_PORT})
    _add_shared_memory(spec, container, options)
    start_command = ray_start.command(is_head, options)
    if not ray_cluster.overwrites_command(cluster):
        _prepend_command(container, start_command, settings)
    for init in spec.get("initContainers") or []:
        init.setdefault("env", []).extend(_head_address_variables(address))
    _add_environment(container, is_head, address, port, start_command)
    if ray_cluster.token_authentication(cluster):
        for holder in [container] + [c for c in spec.get("initContainers") or [] if c["name"] == "wait-gcs-ready"]:
            holder["env"].extend(_token_variables(ray_cluster.token_secret(cluster)))
    if settings.inject_probes:
        _add_probes(cluster, container, is_head, options)
    owner = name if is_head else f"{name}-{group_name}"
    metadata = template.get("metadata") or {}
    annotations = dict(metadata.get("annotations") or {})
    if ray_cluster.overwrites_command(cluster):
        annotations[names.ANNOTATION_OVERWRITE_COMMAND] = "true"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": names.pod_prefix(owner, node_type),
            "namespace": namespace,
            "labels": _labels(name, node_type, group_name, metadata.get("labels") or {}),
            "annotations": annotations,
            "ownerReferences": [ray_cluster.owner_reference(cluster)],
        },
        "spec": spec,
    }


def _labels(cluster: str, node_type: str, group: str, given: dict[str, str]) -> dict[str, str]:
    labels = {
        names.LABEL_IS_RAY_NODE: "yes",
        names.LABEL_CLUSTER: cluster,
        names.LABEL_NODE_TYPE: node_type,
        names.LABEL_GROUP: group,
        names.LABEL_IDENTIFIER: names.bounded(f"{cluster}-{node_type}", 63),
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    return labels | {key: value for key, value in given.items() if key not in names.FIXED_LABELS}


def _shell(settings: Settings) -> list[str]:
    return ["/bin/bash", "-lc" if settings.login_shell else "-c", "--"]


def _prepend_command(container: Object, start_command: str, settings: Settings) -> None:
    """Let the container run its own words first, then `ray start`; words that start Ray themselves stay alone."""
    own = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    if "ray start" in own:
        return
    generated = f"{ray_start.ULIMIT}; {start_command}"
    container["command"] = _shell(settings)
    container["args"] = [f"{own} && {generated}" if own else generated]


def _wait_container(container: Object, address: str, settings: Settings) -> Object:
    """The init container that keeps a worker from starting before the head's GCS answers."""
    amount = {"cpu": "200m", "memory": "256Mi"}
    wait = {
        "name": "wait-gcs-ready",
        "image": container["image"],
        "command": _shell(settings),
        "args": [WAIT_SCRIPT.format(address=address)],
        "resources": {"limits": dict(amount), "requests": dict(amount)},
    }
    for field in ("imagePullPolicy", "securityContext", "env", "volumeMounts"):
        if field in container:
            wait[field] = copy.deepcopy(container[field])
    return wait


def _add_shared_memory(spec: Object, container: Object, options: dict[str, str]) -> None:
    """A memory-backed /dev/shm as large as the container's memory, unless the object store has a place already."""
    mounts = container.setdefault("volumeMounts", [])
    if "plasma-directory" in options or any(mount["mountPath"] == "/dev/shm" for mount in mounts):
        return
    volumes = spec.setdefault("volumes", [])
    if not any(volume["name"] == SHARED_MEMORY for volume in volumes):
        resources = container.get("resources") or {}
        memory = (resources.get("limits") or {}).get("memory") or (resources.get("requests") or {}).get("memory")
        empty_dir = {"medium": "Memory"} | ({"sizeLimit": memory} if memory else {})
        volumes.append({"name": SHARED_MEMORY, "emptyDir": empty_dir})
    mounts.append({"name": SHARED_MEMORY, "mountPath": "/dev/shm"})


def _head_address_variables(address: str) -> list[Object]:
    return [{"name": "FQ_RAY_IP", "value": address}, {"name": "RAY_IP", "value": address.split(".")[0]}]


def _token_variables(secret: str) -> list[Object]:
    reference = {"secretKeyRef": {"name": secret, "key": names.TOKEN_KEY}}
    return [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": reference}]


def _add_environment(container: Object, is_head: bool, address: str, port: str, start_command: str) -> None:
    environment = container.setdefault("env", [])
    given = {variable["name"] for variable in environment}

    def field(name: str, path: str) -> Object:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    if not is_head:
        environment.extend(_head_address_variables(address))
    environment.extend(
        [
            field("RAY_CLUSTER_NAME", f"metadata.labels['{names.LABEL_CLUSTER}']"),
            field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
            field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
            field("RAY_NODE_TYPE_NAME", f"metadata.labels['{names.LABEL_GROUP}']"),
            {"name": "KUBERAY_GEN_RAY_START_CMD", "value": start_command},
        ]
    )
    for name, value in {
        "RAY_PORT": port,
        "RAY_ADDRESS": f"{'127.0.0.1' if is_head else address}:{port}",
        "RAY_USAGE_STATS_KUBERAY_IN_USE": "1",
        "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE": "1",
    }.items():
        if name not in given:
            environment.append({"name": name, "value": value})


def _add_probes(cluster: Object, container: Object, is_head: bool, options: dict[str, str]) -> None:
    """Liveness and readiness of Ray, each only if the user gave none of that kind."""
    check = _health_check(cluster, is_head, options["dashboard-agent-listen-port"])
    timing = {"timeoutSeconds": 5 if is_head else 2, "periodSeconds": 5, "successThreshold": 1}
    container.setdefault("livenessProbe", {**check, **timing, "initialDelaySeconds": 30, "failureThreshold": 120})
    container.setdefault("readinessProbe", {**check, **timing, "initialDelaySeconds": 10, "failureThreshold": 10})


def _health_check(cluster: Object, is_head: bool, agent_port: str) -> Object:
    """HTTP from Ray 2.53 on; before, or with no `rayVersion`, wget in the container."""
    if ray_cluster.at_least(cluster, 2, 53, 0):
        return {"httpGet": {"path": "/api/healthz", "port": int(agent_port)}}
    addresses: Sequence[str] = [f"localhost:{agent_port}/api/local_raylet_healthz"]
    if is_head:
        addresses = [*addresses, f"localhost:{names.DASHBOARD_PORT}/api/gcs_healthz"]
    checks = [f"wget --tries 1 -T 2 -q -O- http://{address} | grep success" for address in addresses]
    return {"exec": {"command": ["bash", "-c", " && ".join(checks)]}}
