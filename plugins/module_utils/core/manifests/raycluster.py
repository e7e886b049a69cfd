# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The RayCluster: one head and its workers, the same pod but for the program that runs in it."""

from __future__ import annotations

from typing import Any

from ..names import WORKER_GROUP, common_labels, object_names
from ..plan.endpoint import SERVED_TLS_FOLDER, TLS_FOLDER
from ..plan.engine import DRAIN_SECONDS, STATE_FOLDER
from ..plan.rdma import HOST_NETWORK
from ..plan.types import Plan, Pod
from ..recipe.parameter_objects import LEAST_PROBE_SECONDS, STATUS_PORT
from .storage import init_containers, mounts_of, volumes_of

# The engine may finish the requests it has; the load balancer needs some seconds to notice as well.
TERMINATION_GRACE_SECONDS = DRAIN_SECONDS + 15
# Where the programs find the URL or the token that the model's files are read with.
SOURCE_FOLDER = "/run/secrets/multinode/source"
# Where the head's programs find the API keys. No worker serves the API, so none has them.
KEYS_FOLDER = "/run/secrets/multinode/api-keys"
_SERVED_FOLDERS = {"api-keys": KEYS_FOLDER, "tls": TLS_FOLDER, "tls-served": SERVED_TLS_FOLDER}
_REPLICA_INDEX_LABEL = "ray.io/worker-group-replica-index"

# Nothing that runs in the pods becomes root, whatever the image offers (rayproject's has sudo without a password). RDMA alone is
# privileged, and seccomp would keep nothing from it.
_CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# RDMA pins memory, and opens devices that belong to root (oci-hpc-oke, manifests/nccl-tests/host-network).
_INFINIBAND = {"name": "infiniband", "hostPath": {"path": "/dev/infiniband", "type": "Directory"}}
_RDMA_RIGHTS = {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["IPC_LOCK"]}}


def raycluster(plan: Plan, runtime_name: str) -> dict[str, Any]:
    """Return the RayCluster of the plan (KubeRay 1.7, ray.io/v1); `runtime_name` is the programs' ConfigMap."""
    name = plan["deployment"]["name"]
    workers = plan["nodes"]["count"] - 1
    ray_start = plan["engine"]["ray_start"]
    worker_groups = []
    if workers:
        worker_groups.append(
            {
                "groupName": WORKER_GROUP,
                # Of single pods, not of one unit: a lost pod is replaced alone, and the others keep their files.
                "numOfHosts": 1,
                "replicas": workers,
                "minReplicas": workers,
                "maxReplicas": workers,
                "rayStartParams": ray_start["worker"],
                "template": _pod_template(plan, runtime_name, "worker"),
            }
        )
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": plan["deployment"]["namespace"],
            # KubeRay joins its `ray start` to our command otherwise; the programs run it themselves.
            "annotations": {"ray.io/overwrite-container-cmd": "true"},
        },
        "spec": {
            "rayVersion": plan["pod"]["ray_version"],
            # Without it a changed template reaches no living pod.
            "upgradeStrategy": {"type": "Recreate"},
            "authOptions": {"mode": "token", "secretName": object_names(name)["ray_token_secret"]},
            "headGroupSpec": {
                "rayStartParams": ray_start["head"],
                "template": _pod_template(plan, runtime_name, "head"),
            },
            "workerGroupSpecs": worker_groups,
        },
    }


def _pod_template(plan: Plan, runtime_name: str, role: str) -> dict[str, Any]:
    name, pod = plan["deployment"]["name"], plan["pod"]
    volumes: list[dict[str, Any]] = [
        {"name": "programs", "configMap": {"name": runtime_name, "defaultMode": 0o555}},
        {"name": "state", "emptyDir": {}},
        # Ray's logs outlive the container, too. KubeRay has a volume there only beside its own autoscaler.
        {"name": "ray", "emptyDir": {}},
        *_source_volumes(plan),
        *_served_with(plan, role),
        {
            "name": "shared-memory",
            "emptyDir": {"medium": "Memory", "sizeLimit": f"{pod['shared_memory_mib']}Mi"},
        },
        *volumes_of(plan),
        *([_INFINIBAND] if pod["rdma"] == HOST_NETWORK else []),
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "programs", "mountPath": "/opt/multinode", "readOnly": True},
        {"name": "state", "mountPath": STATE_FOLDER},
        {"name": "ray", "mountPath": "/tmp/ray"},
        *({"name": entry["name"], "mountPath": SOURCE_FOLDER, "readOnly": True} for entry in _source_volumes(plan)),
        *(
            {"name": entry["name"], "mountPath": _SERVED_FOLDERS[entry["name"]], "readOnly": "secret" in entry}
            for entry in _served_with(plan, role)
        ),
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        *mounts_of(plan),
        *([{"name": "infiniband", "mountPath": "/dev/infiniband"}] if pod["rdma"] == HOST_NETWORK else []),
    ]
    first = init_containers(plan)
    return {
        "metadata": {
            "labels": common_labels(name),
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            # A Service named vllm would set VLLM_PORT, which the engine takes for its own setting.
            "enableServiceLinks": False,
            "nodeSelector": dict(pod["node_selector"]),
            "affinity": _affinity(name),
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                *pod["tolerations"],
            ],
            "securityContext": _pod_rights(pod),
            "terminationGracePeriodSeconds": TERMINATION_GRACE_SECONDS,
            # The host's names would be asked of the host's name server, where no Service is known.
            **({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if pod["rdma"] == HOST_NETWORK else {}),
            **({"imagePullSecrets": [{"name": pod["pull_secret"]}]} if pod["pull_secret"] else {}),
            **({"initContainers": first} if first else {}),
            "containers": [_container(plan, role, mounts)],
            "volumes": volumes,
        },
    }


def _pod_rights(pod: Pod) -> dict[str, Any]:
    """What holds for each container of a pod that does not say otherwise."""
    group = {"fsGroup": pod["user"], "fsGroupChangePolicy": "OnRootMismatch"}
    if pod["rdma"] == HOST_NETWORK:
        return group
    return {
        **group,
        "runAsNonRoot": True,
        "runAsUser": pod["user"],
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _affinity(name: str) -> dict[str, Any]:
    """One pod of the group on a node, whatever the node has; all of them in one availability domain where that can be."""
    own = {"labelSelector": {"matchLabels": {"ray.io/cluster": name}}}
    near = {**own, "topologyKey": "topology.kubernetes.io/zone"}
    return {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{**own, "topologyKey": "kubernetes.io/hostname"}]
        },
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": near}]},
    }


def _source_volumes(plan: Plan) -> list[dict[str, Any]]:
    """The Secret that the model's files are read with: our own with a URL, the user's with a token, or none."""
    if plan["staging"]["source"] != "hugging_face":
        named: dict[str, Any] = {"secretName": object_names(plan["deployment"]["name"])["source_secret"]}
    elif token := plan["pod"]["source_token"]:
        named = {"secretName": token["secret"], "items": [{"key": token["key"], "path": "token"}]}
    else:
        return []
    return [{"name": "source", "secret": {**named, "defaultMode": 0o440}}]


def _served_with(plan: Plan, role: str) -> list[dict[str, Any]]:
    """What the head serves the API with: the keys, all of the Secret (the guard reads what changes), and its certificate."""
    if role != "head":
        return []
    names = object_names(plan["deployment"]["name"])
    volumes = [{"name": "api-keys", "secret": {"secretName": names["api_key_secret"], "defaultMode": 0o440}}]
    if plan["endpoint"]["tls_to_pod"]:
        items = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
        held = plan["endpoint"]["tls_secret"] or names["tls_secret"]
        volumes.append({"name": "tls", "secret": {"secretName": held, "items": items, "defaultMode": 0o440}})
        # In memory, as a Secret is: the key is on no disk.
        volumes.append({"name": "tls-served", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    return volumes


def _container(plan: Plan, role: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    pod = plan["pod"]
    limits = {
        "memory": f"{pod['memory_gib']}Gi",
        "nvidia.com/gpu": str(pod["gpus"]),
        "ephemeral-storage": f"{pod['ephemeral_storage_gib']}Gi",
    }
    container: dict[str, Any] = {
        "name": f"ray-{role}",
        "image": pod["image"],
        "command": ["python3", f"/opt/multinode/{role}.py"],
        "env": _environment(plan, role),
        # No CPU limit: loading and tokenizing may use what is free.
        "resources": {"limits": limits, "requests": {"cpu": str(pod["cpu"]), **limits}},
        "volumeMounts": mounts,
        "terminationMessagePolicy": "File",
        "securityContext": _RDMA_RIGHTS if pod["rdma"] == HOST_NETWORK else _CONFINED,
        # KubeRay gives its own probes to a container that has none, and would decide about the engine by Ray's health.
        "livenessProbe": {
            "exec": {"command": ["python3", "/opt/multinode/live.py"]},
            "periodSeconds": 30,
            "failureThreshold": 3,
            **_probe_times(plan, role, "liveness"),
        },
        "readinessProbe": {
            "exec": {"command": ["python3", "/opt/multinode/ready.py"]},
            "periodSeconds": 5,
            "failureThreshold": 2,
            **_probe_times(plan, role, "readiness"),
        },
    }
    if role == "head":
        # Before SIGTERM: load balancers stop sending first. It counts in the grace period.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["python3", "/opt/multinode/pause.py"]}}}
    if role == "head" and plan["pod"]["probes"]["startup"]:
        # It asks whether the program answers, as liveness does: how long a model loads is no matter of a probe.
        container["startupProbe"] = {
            "exec": {"command": ["python3", "/opt/multinode/live.py"]},
            **_probe_times(plan, role, "startup"),
        }
    # Naming one port drops all that KubeRay would name by itself, but for metrics, which it would name 8080.
    numbers = {**pod["ports"], "status": STATUS_PORT}
    container["ports"] = [
        {"name": port_name, "containerPort": numbers[key], "protocol": "TCP"} for port_name, key in _NAMED_PORTS[role]
    ]
    return container


_NAMED_PORTS = {
    "head": (
        ("gcs-server", "gcs"),
        ("dashboard", "dashboard"),
        ("client", "client"),
        ("metrics", "metrics"),
        ("api", "api"),
        ("status", "status"),
    ),
    "worker": (("metrics", "metrics"),),
}


# The recipe's names of a probe's times, and Kubernetes' own.
_PROBE_FIELDS = {
    "initial_delay_seconds": "initialDelaySeconds",
    "period_seconds": "periodSeconds",
    "timeout_seconds": "timeoutSeconds",
    "success_threshold": "successThreshold",
    "failure_threshold": "failureThreshold",
}


def _probe_times(plan: Plan, role: str, probe: str) -> dict[str, int]:
    """Return what the recipe says of a probe of the head, but no time-out too short; the workers' probes only look after Ray."""
    given = plan["pod"]["probes"][probe] if role == "head" else {}
    times = {_PROBE_FIELDS[name]: value for name, value in given.items() if name in _PROBE_FIELDS}
    return {**times, "timeoutSeconds": max(times.get("timeoutSeconds", 0), LEAST_PROBE_SECONDS[probe])}


def _environment(plan: Plan, role: str) -> list[dict[str, Any]]:
    pod_ip = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    environment: list[dict[str, Any]] = [
        {"name": "POD_IP", "valueFrom": pod_ip},
        {"name": "VLLM_HOST_IP", "valueFrom": pod_ip},
    ]
    if role == "head":
        environment.append({"name": "MULTINODE_API_KEYS", "value": KEYS_FOLDER})
    if role == "worker":
        environment.append(
            {
                "name": "MULTINODE_REPLICA_INDEX",
                "valueFrom": {
                    "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{_REPLICA_INDEX_LABEL}']"}
                },
            }
        )
    environment += [{"name": key, "value": value} for key, value in sorted(plan["engine"]["env"].items())]
    environment += [
        {"name": entry["name"], "valueFrom": {"secretKeyRef": {"name": entry["secret"], "key": entry["key"]}}}
        for entry in plan["pod"]["secret_env"]
    ]
    return environment
