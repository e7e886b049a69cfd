# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product relies on in KubeRay, asked of the operator that the rig's chart installs: the stand-in, or with
RIG_KUBERAY_CHART and RIG_KUBERAY_OPERATOR the real one. Pods run on KWOK nodes: only the objects matter here.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from rig.fixtures import RunningRig
from rig.tests.e2e.ray_clusters import OPERATOR, RAY_CLUSTERS, Cluster, Object, definition, namespace, operator
from tests.waiting import wait

IMAGE = "docker.io/rayproject/ray-llm:2.58.0-py312-cu130"
NODE_LABEL = "rig.multinode.inference/test-kuberay"
__all__ = ["definition", "namespace", "operator"]  # fixtures


@pytest.fixture(scope="module")
def nodes(rig: RunningRig) -> Iterator[None]:
    """Nodes with two GPUs each, played by KWOK; their taint keeps away the pods that are to run for real.

    Twice as many as a cluster takes: what the test before had goes while the next one begins.
    """
    size = {"cpu": "32", "memory": "256Gi", "pods": "20", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "2"}
    names = [f"kuberay-{uuid.uuid4().hex[:6]}" for _ in range(6)]
    for name in names:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {NODE_LABEL: "yes"},
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
            "status": {"capacity": size, "allocatable": size},
        }
        rig.kubectl("create", "-f", "-", stdin=json.dumps(node))
        rig.kubectl(
            "patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": node["status"]})
        )
    yield
    rig.kubectl("delete", "node", *names)


@pytest.fixture
def cluster(rig: RunningRig, operator: None, nodes: None, namespace: str) -> Cluster:
    """A name for a RayCluster, in a namespace that goes with the test."""
    return Cluster(rig, namespace)


def template() -> Object:
    """A pod as the product makes it: everything of a pod template that it uses."""
    container = {
        "name": "ray",
        "image": IMAGE,
        "command": ["/bin/bash", "-c", "sleep infinity"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "gcs-server", "containerPort": 6379}, {"name": "api", "containerPort": 8000}],
        "resources": {
            "limits": {"cpu": 8, "memory": "64Gi", "nvidia.com/gpu": 2},
            "requests": {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "10Gi"},
        },
        "volumeMounts": [{"name": "runtime", "mountPath": "/opt/multinode", "readOnly": True}],
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5, "timeoutSeconds": 5},
        "startupProbe": {"exec": {"command": ["true"]}, "failureThreshold": 100},
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}, "allowPrivilegeEscalation": False},
    }
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "oci-bv",
        "resources": {"requests": {"storage": "200Gi"}},
    }
    return {
        "metadata": {"labels": {"app.kubernetes.io/instance": "llm"}, "annotations": {"example.com/a": "b"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"},
            "nodeSelector": {NODE_LABEL: "yes"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"nothing": "here"}},
                        }
                    ]
                }
            },
            "initContainers": [{"name": "own", "image": IMAGE, "command": ["true"]}],
            "containers": [container],
            "volumes": [
                {"name": "runtime", "configMap": {"name": "runtime", "defaultMode": 0o444, "optional": True}},
                {"name": "secret", "secret": {"secretName": "source", "optional": True}},
                {"name": "state", "emptyDir": {}},
                {"name": "cache", "hostPath": {"path": "/mnt/cache", "type": "DirectoryOrCreate"}},
                {"name": "models", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "block", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
            ],
        },
    }


def manifest(workers: int = 2, **spec: Any) -> Object:
    """A RayCluster as the product makes it."""
    template_of_nodes = template()
    # A block volume is for the schema's sake only: KWOK's pods have no disk.
    template_of_nodes["spec"]["volumes"].pop()
    group = {
        "groupName": "workers",
        "replicas": workers,
        "minReplicas": workers,
        "maxReplicas": workers,
        "numOfHosts": 1,
        "rayStartParams": {"object-store-memory": "200000000"},
        "template": template_of_nodes,
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "llm", "annotations": {"ray.io/overwrite-container-cmd": "true"}},
        "spec": {
            "rayVersion": "2.58.0",
            "upgradeStrategy": {"type": "Recreate"},
            "authOptions": {"mode": "token"},
            "headGroupSpec": {"rayStartParams": {"num-cpus": "4"}, "template": template_of_nodes},
            "workerGroupSpecs": [group],
            **spec,
        },
    }


def test_pods_service_secret_and_status(cluster: Cluster) -> None:
    cluster.apply(manifest())
    cluster.until_ready()
    heads = [pod for pod in cluster.pods() if pod["metadata"]["labels"]["ray.io/node-type"] == "head"]
    assert len(heads) == 1
    assert heads[0]["metadata"]["name"].startswith(f"{cluster.name}-head-")
    assert set(cluster.workers()) == {"0", "1"}
    assert all(name.startswith(f"{cluster.name}-workers-worker-") for name in cluster.workers().values())
    status = cluster.status()
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert (conditions["HeadPodReady"], conditions["RayClusterProvisioned"]) == ("True", "True")
    assert status["head"]["serviceName"] == f"{cluster.name}-head-svc"
    service = json.loads(cluster.kubectl("get", "service", f"{cluster.name}-head-svc", "-o", "json"))
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    # Naming any port drops KubeRay's defaults, metrics comes back.
    assert {port["name"] for port in service["spec"]["ports"]} == {"gcs-server", "api", "metrics"}
    secret = json.loads(cluster.kubectl("get", "secret", cluster.name, "-o", "json"))
    assert len(base64.b64decode(base64.b64decode(secret["data"]["auth_token"]))) == 32


def test_ray_container(cluster: Cluster) -> None:
    cluster.apply(manifest())
    wait("pods", lambda: len(cluster.pods()) == 3)
    for pod in cluster.pods():
        container = pod["spec"]["containers"][0]
        environment = {variable["name"]: variable for variable in container["env"]}
        command = environment["KUBERAY_GEN_RAY_START_CMD"]["value"].split()
        is_head = pod["metadata"]["labels"]["ray.io/node-type"] == "head"
        assert container["command"] == ["/bin/bash", "-c", "sleep infinity"]
        assert {"--block", "--num-gpus=2", "--memory=68719476736", "--metrics-export-port=8080"} <= set(command)
        assert ("--head" in command, "--num-cpus=4" in command) == (is_head, is_head)
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        token = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert (token["name"], token["key"]) == (cluster.name, "auth_token")
        assert container["livenessProbe"]["httpGet"]["port"] == 52365
        assert container["readinessProbe"]["exec"]["command"] == ["true"]
        assert {"mountPath": "/dev/shm", "name": "shared-mem"} in container["volumeMounts"]
        waits = [init["name"] for init in pod["spec"]["initContainers"]]
        assert waits == (["own"] if is_head else ["own", "wait-gcs-ready"])


def test_no_finalizer_and_all_goes_with_the_cluster(cluster: Cluster) -> None:
    cluster.apply(manifest())
    cluster.until_ready()
    assert "finalizers" not in cluster.get()["metadata"]
    cluster.kubectl("delete", RAY_CLUSTERS, cluster.name, "--wait=false")
    kinds = f"{RAY_CLUSTERS},pods,services,secrets"
    wait("an empty namespace", lambda: not cluster.kubectl("get", kinds, "-o", "name").strip())


def test_a_lost_worker_is_replaced_with_its_index(cluster: Cluster) -> None:
    cluster.apply(manifest())
    cluster.until_ready()
    before = cluster.workers()
    cluster.kubectl("delete", "pod", before["0"])
    wait("another worker 0", lambda: cluster.workers().get("0") not in (None, before["0"]))
    assert cluster.workers()["1"] == before["1"]


def test_a_failed_pod_is_replaced(cluster: Cluster) -> None:
    cluster.apply(manifest())
    cluster.until_ready()
    failed = cluster.workers()["1"]
    patch = json.dumps({"status": {"phase": "Failed", "conditions": []}})
    cluster.kubectl("patch", "pod", failed, "--subresource=status", "--type=merge", "-p", patch)
    wait("another worker 1", lambda: cluster.workers().get("1") not in (None, failed))


def test_recreate_only_where_the_pods_change(cluster: Cluster) -> None:
    given = cluster.apply(manifest(workers=1))
    cluster.until_ready()
    before = {pod["metadata"]["uid"] for pod in cluster.pods()}
    given["spec"]["workerGroupSpecs"][0].update(replicas=2, maxReplicas=2)
    cluster.apply(given)
    wait("three ready pods", lambda: cluster.is_ready() and len(cluster.pods()) == 3)
    assert before < {pod["metadata"]["uid"] for pod in cluster.pods()}
    changed = json.loads(json.dumps(given))
    changed["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "NEW", "value": "1"}]
    cluster.apply(changed)
    wait("all pods made anew", lambda: len(new := cluster.pods()) == 3 and not before & uids(new))


def uids(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


def test_suspend_and_resume(cluster: Cluster) -> None:
    given = cluster.apply(manifest())
    cluster.until_ready()
    cluster.apply({**given, "spec": {**given["spec"], "suspend": True}})
    wait("a suspended RayCluster", lambda: not cluster.pods() and cluster.status().get("state") == "suspended")
    cluster.apply({**given, "spec": {**given["spec"], "suspend": False}})
    cluster.until_ready()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rayVersion": "2.51.0"}, "2.52.0"),
        ({"headGroupSpec": {"template": {"spec": {"containers": []}}}}, "container"),
    ],
)
def test_a_wrong_spec_is_an_event_only(cluster: Cluster, change: Object, part: str) -> None:
    cluster.apply(manifest(**change))
    messages = wait("a warning", lambda: cluster.events("InvalidRayClusterSpec"))
    assert part in messages[0]
    assert not cluster.pods()
    assert not cluster.status()


def test_quota_shows_as_a_condition(cluster: Cluster) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one"},
        "spec": {"hard": {"pods": "1"}},
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(quota))
    # The quota is in force once its controller has counted.
    wait(
        "the quota",
        lambda: "used" in json.loads(cluster.kubectl("get", "quota", "one", "-o", "json")).get("status", {}),
    )
    cluster.apply(manifest())

    def failure() -> Object | None:
        conditions = {condition["type"]: condition for condition in cluster.status().get("conditions", [])}
        return conditions.get("ReplicaFailure")

    found = wait("the condition ReplicaFailure", failure)
    assert found["reason"] == "FailedCreateWorkerPod"
    assert "exceeded quota" in found["message"]


class TestDefinition:
    """The RayCluster definition, the rig's and KubeRay's own."""

    def test_what_the_product_writes_is_accepted(self, rig: RunningRig, definition: str) -> None:
        given = manifest()
        given.update(apiVersion=f"{definition}/v1", kind="Check")
        given["spec"]["workerGroupSpecs"][0]["template"] = template()
        dry_run = ("create", "--dry-run=server", "--validate=strict", "-f", "-", "-o", "json")
        found = json.loads(rig.kubectl(*dry_run, stdin=json.dumps(given)))
        assert found["spec"]["workerGroupSpecs"][0]["numOfHosts"] == 1

    @pytest.mark.parametrize(
        ("place", "value", "part"),
        [
            (("spec", "headGroupSpec", "template", "spec", "containers", 0, "colour"), "red", "colour"),
            (("spec", "authOptions", "mode"), "yes", "mode"),
            (("spec", "upgradeStrategy", "type"), "Rolling", "type"),
            (("spec", "workerGroupSpecs", 0, "replicas"), "two", "replicas"),
        ],
    )
    def test_what_is_wrong_is_refused(
        self, rig: RunningRig, definition: str, place: tuple[Any, ...], value: str, part: str
    ) -> None:
        given: Any = manifest()
        given.update(apiVersion=f"{definition}/v1", kind="Check")
        holder = given
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        command = [str(rig.directory / "bin" / "kubectl"), "--kubeconfig", str(rig.kubeconfig)]
        dry_run = ["create", "--dry-run=server", "--validate=strict", "-f", "-"]
        result = subprocess.run(
            [*command, *dry_run], input=json.dumps(given), capture_output=True, text=True, env=os.environ, check=False
        )
        assert result.returncode
        assert part in result.stderr

    def test_too_large_for_client_side_apply(self, rig: RunningRig) -> None:
        files = list((rig.directory / "charts" / OPERATOR / "crds").glob("*rayclusters.yaml"))
        document = yaml.load(files[0].read_text(), Loader=yaml.CSafeLoader)
        assert len(json.dumps(document)) > 256 * 1024
