# SPDX-License-Identifier: GPL-3.0-or-later
"""The Job of a benchmark: confined as the group's pods, on their nodes, without a GPU, and gone whatever ends its playbook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.benchmark import benchmark_objects
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from tests.unit.core.plans import exposed, on, plan

ASKED = {
    "url": "http://x:8000",
    "model": "a $(name)",
    "loads": [1],
    "input_tokens": 8,
    "output_tokens": 8,
    "seconds": 60,
}
RDMA = {"rdma": "host_network", "recipe_node_image_ocid": "ocid1.image.oc1.iad.rdma"}


def made(**changes: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    cluster = next(item for item in render(plan(**changes), {}) if item["kind"] == "RayCluster")
    cluster["metadata"]["uid"] = "a-uid"
    return cluster, *benchmark_objects(cluster, ASKED, "default")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_user": 2000},
        {"model_cache": "node"},
        {"node_pool_taints": ["a=b:NoSchedule"]},
        exposed("load_balancer", endpoint_tls_to_pod=True),
        on("BM.GPU.H100.8", 8, 2, 100, 1000, **RDMA),
    ],
    ids=["sample", "user", "folder", "taints", "tls", "rdma"],
)
def test_its_pod_is_confined_and_has_no_gpu(changes: dict[str, Any]) -> None:
    cluster, _policy, job = made(**changes)
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == head["containers"][0]["image"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    user = changes.get("image_user", 1000)
    assert pod["securityContext"]["runAsUser"] == user and pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False and "hostNetwork" not in pod
    assert not any("gpu" in name for entry in container["resources"].values() for name in entry)
    assert pod["tolerations"] == head["tolerations"] and pod["nodeSelector"] == head["nodeSelector"]
    (near,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["labelSelector"] == {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert all(mount.get("readOnly") for name, mount in mounts.items() if name != "state")
    assert not {"api-keys", "tls", "shared-memory", "infiniband"} & mounts.keys()
    assert not any("ephemeral" in volume for volume in pod["volumes"])
    assert ("model" in mounts) == (changes.get("model_cache") == "node")


def test_the_key_comes_from_its_secret_and_is_nowhere_else() -> None:
    _cluster, _policy, job = made()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry for entry in container["env"]}
    name = job["metadata"]["ownerReferences"][0]["name"]
    reference = {"secretKeyRef": {"name": f"{name}-api-key", "key": "default"}}
    assert environment["OPENAI_API_KEY"] == {"name": "OPENAI_API_KEY", "valueFrom": reference}
    assert json.loads(environment["MULTINODE_BENCHMARK"]["value"]) == ASKED
    assert container["command"] == ["python3", "/opt/multinode/benchmark.py"]


def test_it_goes_by_itself_and_with_the_deployment() -> None:
    cluster, policy, job = made()
    assert job["spec"]["backoffLimit"] == 0 and job["spec"]["ttlSecondsAfterFinished"] <= 600
    assert 60 < job["spec"]["activeDeadlineSeconds"] <= 60 + 900
    for item in (policy, job):
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner["uid"] == cluster["metadata"]["uid"]
        assert item["metadata"]["labels"].items() >= cluster["metadata"]["labels"].items()


def test_nothing_reaches_its_pod_and_it_reaches_no_metadata_service() -> None:
    _cluster, policy, job = made()
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy["spec"]
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert blocks and all("169.254.0.0/16" in block["except"] for block in blocks)
    # No pod of the group: neither its Service, its disruption budget nor its own policy takes it for one.
    assert "ray.io/cluster" not in labels
