# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Job that measures a deployment: its head's pod without GPU, Ray and engine, with a program that asks the engine.

It is made from the RayCluster that stands, not from a plan: what is measured is what runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..names import common_labels, object_names
from ..parts import head_pod_spec, inner
from .objects import EGRESS

PROGRAM = "benchmark.py"
COMPONENT_LABEL = "app.kubernetes.io/component"
COMPONENT = "benchmark"
# A node that has the image starts it at once; one that has not pulls for so long.
START_SECONDS = 900
# Kubernetes removes the Job of a playbook that was killed.
KEPT_SECONDS = 300
# vLLM's client alone, without the engine: mostly its imports and the model's tokenizer.
_MEMORY, _LEAST_MEMORY = "8Gi", "512Mi"
_CPU = "100m"
_DISK = "8Gi"
# Volumes of the head that another pod can have too, and that a tokenizer may lie on.
_SHARED = ("hostPath", "persistentVolumeClaim")
_OWN = ("programs", "source")
_STATE = "/run/multinode"


def benchmark_objects(
    raycluster: Mapping[str, Any], asked: Mapping[str, Any], key_name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the NetworkPolicy and the Job of a benchmark.

    raycluster  as it stands
    asked       what the program is told: `url`, `model`, `loads`, `input_tokens`, `output_tokens`, `seconds`
    key_name    the entry of the deployment's Secret of API keys that the requests have
    """
    metadata = raycluster["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    labels = {**common_labels(name), COMPONENT_LABEL: COMPONENT}
    own = {
        "name": object_names(name)["benchmark"],
        "namespace": namespace,
        "labels": labels,
        # Whatever ends the playbook: nothing of the benchmark outlives the deployment.
        "ownerReferences": [
            {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": name, "uid": metadata.get("uid")},
        ],
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": own,
        # A tokenizer may bring code of its own: as in the group's pods, no metadata service, and no way in.
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"], "egress": EGRESS},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": own,
        "spec": {
            # What failed once is told; measured twice it would load the deployment twice.
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(asked["seconds"]) + START_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(head_pod_spec(raycluster), name, asked, key_name),
            },
        },
    }
    return policy, job


def _pod(head: Mapping[str, Any], name: str, asked: Mapping[str, Any], key_name: str) -> dict[str, Any]:
    container = (head.get("containers") or [{}])[0]
    volumes = [
        volume
        for volume in head.get("volumes") or ()
        if volume["name"] in _OWN or any(kind in volume for kind in _SHARED)
    ]
    # Of RDMA: a device of root's, which this pod may not open.
    volumes = [volume for volume in volumes if not inner(volume, "hostPath").get("path", "").startswith("/dev")]
    kept = {volume["name"] for volume in volumes}
    rights = head.get("securityContext") or {}
    user = rights.get("runAsUser") or rights.get("fsGroup")
    key = {"secretKeyRef": {"name": object_names(name)["api_key_secret"], "key": key_name}}
    limits = {"memory": _MEMORY, "ephemeral-storage": _DISK}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": dict(head.get("nodeSelector") or {}),
        "tolerations": list(head.get("tolerations") or []),
        # On a node of the group, which has the image.
        "affinity": {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "labelSelector": {"matchLabels": {"ray.io/cluster": name}},
                        "topologyKey": "kubernetes.io/hostname",
                    }
                ]
            }
        },
        **({"imagePullSecrets": head["imagePullSecrets"]} if head.get("imagePullSecrets") else {}),
        # Also beside a head that is privileged for RDMA: this pod asks for completions and nothing else.
        "securityContext": {
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsNonRoot": True,
            "runAsUser": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": COMPONENT,
                "image": container.get("image"),
                "command": ["python3", f"/opt/multinode/{PROGRAM}"],
                "env": [
                    {"name": "MULTINODE_BENCHMARK", "value": json.dumps(asked, sort_keys=True)},
                    {"name": "OPENAI_API_KEY", "valueFrom": key},
                ],
                # Little is asked for, so that it finds room beside the group; a node short of memory ends it first.
                "resources": {"requests": {"cpu": _CPU, "memory": _LEAST_MEMORY}, "limits": limits},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    {"name": "state", "mountPath": _STATE},
                    *(
                        {**mount, "readOnly": True}
                        for mount in container.get("volumeMounts") or ()
                        if mount["name"] in kept
                    ),
                ],
            }
        ],
        "volumes": [{"name": "state", "emptyDir": {}}, *volumes],
    }
