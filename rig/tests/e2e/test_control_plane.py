# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rig's control plane has in common with a cluster of OKE: each test could be run against one."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def namespace(rig) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"control-plane-{uuid.uuid4().hex[:6]}"
    rig.kubectl("create", "namespace", name)
    yield name
    rig.kubectl("delete", "namespace", name, "--wait=false")


def _apply(rig, *objects: dict[str, Any]) -> None:
    rig.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))


def test_access_is_by_role(rig, namespace: str) -> None:
    rig.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    account = f"system:serviceaccount:{namespace}:reader"
    command = [rig.directory / "bin" / "kubectl", "--kubeconfig", rig.kubeconfig, "auth", "can-i", "list", "pods"]
    refused = subprocess.run([*command, "--as", account, "-n", namespace], capture_output=True, text=True, check=False)
    assert (refused.stdout.strip(), refused.returncode) == ("no", 1)
    rig.kubectl(
        "create", "rolebinding", "reader", "-n", namespace, "--clusterrole=view", f"--serviceaccount={namespace}:reader"
    )
    assert rig.kubectl("auth", "can-i", "list", "pods", "--as", account, "-n", namespace).strip() == "yes"


def test_a_service_account_token_is_accepted(rig, namespace: str) -> None:
    rig.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    token = rig.kubectl("create", "token", "reader", "-n", namespace).strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = json.loads(rig.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    assert answer["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:reader"


def test_every_namespace_gets_the_authority(rig, namespace: str) -> None:
    rig.kubectl("wait", "--for=create", "configmap/kube-root-ca.crt", "-n", namespace, "--timeout=100s")


def test_the_default_storage_class_is_block_volume(rig) -> None:
    found = json.loads(rig.kubectl("get", "storageclass", "oci-bv", "-o", "json"))
    assert found["provisioner"] == "blockvolume.csi.oraclecloud.com"
    assert found["volumeBindingMode"] == "WaitForFirstConsumer"
    assert found["allowVolumeExpansion"] is True
    assert found["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


def test_a_pod_on_a_fake_node_is_played_and_others_are_left_alone(rig, namespace: str) -> None:
    label = {"control-plane-test": namespace}  # of the played node alone: a pod on the other could never start
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    node = {"apiVersion": "v1", "kind": "Node", "status": {"capacity": capacity, "allocatable": capacity}}
    taint = {"key": "control-plane-test", "effect": "NoSchedule"}
    annotations = {"kwok.x-k8s.io/node": "fake"}
    names = {"played": (label, annotations), "left-alone": ({}, {})}
    for name, (labels, marks) in names.items():
        metadata = {"name": f"{namespace}-{name}", "labels": labels, "annotations": marks}
        _apply(rig, node | {"metadata": metadata, "spec": {"taints": [taint]}})
    try:
        spec = {
            "nodeSelector": label,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "registry.example/any:1"}],
        }
        _apply(
            rig, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": namespace}, "spec": spec}
        )
        rig.kubectl("wait", "--for=condition=Ready", "pod/pod", "-n", namespace, "--timeout=100s")
        assert (
            rig.kubectl("get", "pod", "pod", "-n", namespace, "-o", "jsonpath={.spec.nodeName}")
            == f"{namespace}-played"
        )
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        assert rig.kubectl("get", "node", f"{namespace}-left-alone", "-o", ready) != "True"
    finally:
        rig.kubectl("delete", "pod", "pod", "-n", namespace, "--ignore-not-found")  # while its node can still end it
        for name in names:
            rig.kubectl("delete", "node", f"{namespace}-{name}")
