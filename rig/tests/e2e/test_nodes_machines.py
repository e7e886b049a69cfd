# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of process nodes: joining, GPUs, death, removal. Of the rig only: nodes are made and ended by hand."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.fixtures import RunningRig
from rig.tests.e2e.pods import KIND, Namespace, script
from tests.waiting import wait

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
GPU = "nvidia.com/gpu"
SIZE = {"cpu": "30", "memory": "240Gi", "pods": "110"}


@pytest.fixture
def make_node(rig: RunningRig) -> Iterator[Callable[[], str]]:
    """Makes process nodes as the OCI stand-in does; all are removed in the end."""
    if not rig.json["root"]:
        pytest.skip("no process nodes without root")
    made = []

    def make() -> str:
        name = f"{rig.json['network']['node_prefix']}{random.randint(200, 249)}"
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"node.kubernetes.io/instance-type": "VM.GPU.A10.2"},
                "annotations": {KIND: "process", "rig.multinode.inference/capacity": json.dumps({"capacity": SIZE})},
            },
            "spec": {
                "taints": [
                    {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"},
                    {"key": GPU, "value": "", "effect": "NoSchedule"},
                ]
            },
        }
        rig.kubectl("create", "-f", "-", stdin=json.dumps(node))
        made.append(name)
        return name

    yield make
    if made:
        rig.kubectl("delete", "node", "--ignore-not-found", *made)


def node(rig: RunningRig, name: str) -> dict[str, Any]:
    return json.loads(rig.kubectl("get", "node", name, "-o", "json"))


def is_ready(rig: RunningRig, name: str) -> bool:
    conditions = node(rig, name)["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def processes(pod: str) -> list[int]:
    """The processes on this machine whose host name is the pod's."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"HOSTNAME={pod}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def gpu_pod(namespace: Namespace, name: str, node_name: str, text: str, gpus: int = 1) -> None:
    container = script(text, resources={"limits": {GPU: str(gpus)}})
    tolerations = [{"key": GPU, "operator": "Exists"}]
    where = {"kubernetes.io/hostname": node_name}
    namespace.pod(name, container, tolerations=tolerations, nodeSelector=where)


def test_a_node_joins_and_is_initialized(rig: RunningRig, make_node: Callable[[], str]) -> None:
    name = make_node()
    wait("Ready", lambda: is_ready(rig, name))
    wait(
        "the cloud's word",
        lambda: all(taint["key"] != UNINITIALIZED for taint in node(rig, name)["spec"]["taints"]),
    )
    found = node(rig, name)
    assert {"type": "InternalIP", "address": name} in found["status"]["addresses"]
    assert found["status"]["allocatable"]["cpu"] == "30"
    assert found["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    assert found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == rig.json["kubelet_port"]
    assert rig.kubectl("-n", "kube-node-lease", "get", "lease", name, "-o", "name").strip().endswith(name)


def test_each_pod_sees_gpus_of_its_own(rig: RunningRig, make_node: Callable[[], str], namespace: Namespace) -> None:
    name = make_node()
    wait("Ready", lambda: is_ready(rig, name))
    gpus = {"status": {"capacity": {GPU: "2"}, "allocatable": {GPU: "2"}}}
    rig.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps(gpus))
    for pod in ("one", "two"):
        gpu_pod(namespace, pod, name, "echo $NVIDIA_VISIBLE_DEVICES $RIG_NODE_SHAPE; sleep 1000")
    seen = {
        wait("log", lambda pod=pod: namespace.container(pod).get("started") and namespace.logs(pod))
        for pod in ("one", "two")
    }
    assert seen == {"0 VM.GPU.A10.2\n", "1 VM.GPU.A10.2\n"}
    gpu_pod(namespace, "three", name, "echo $NVIDIA_VISIBLE_DEVICES; sleep 1000", gpus=2)
    namespace.kubectl("delete", "pod", "one", "two")
    assert wait("log", lambda: namespace.container("three").get("started") and namespace.logs("three")) == "0,1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="looks at the processes of pods")
def test_a_node_that_dies_stops_talking_and_its_pods_are_gone(
    rig: RunningRig, make_node: Callable[[], str], namespace: Namespace
) -> None:
    name = make_node()
    pod = f"{namespace.name}-pod"
    gpu_pod(namespace, pod, name, "sleep 1000", gpus=0)
    wait("its process", lambda: processes(pod))
    rig.kubectl("annotate", "node", name, "rig.multinode.inference/dead=true")
    wait("the end of its process", lambda: not processes(pod))
    wait("the control plane's notice", lambda: not is_ready(rig, name), 90)
    assert namespace.status(pod)["phase"] == "Running"
    rig.kubectl("delete", "node", name)


@pytest.mark.skipif(os.geteuid() != 0, reason="looks at the processes of pods")
def test_a_node_that_is_removed_takes_its_pods_along(
    rig: RunningRig, make_node: Callable[[], str], namespace: Namespace
) -> None:
    name = make_node()
    pod = f"{namespace.name}-pod"
    gpu_pod(namespace, pod, name, "trap '' TERM; sleep 1000", gpus=0)
    wait("its process", lambda: processes(pod))
    rig.kubectl("delete", "node", name)
    wait("the end of its process", lambda: not processes(pod))
