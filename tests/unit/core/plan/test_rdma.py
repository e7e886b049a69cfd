# SPDX-License-Identifier: GPL-3.0-or-later
"""RDMA: the host's network and devices, NCCL's variables by shape, the compute cluster; and nothing of it unasked."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render

from ..plans import cluster, facts, plan
from .test_storage import H100

IMAGE = "ocid1.image.oc1.iad.rdma"
CLUSTER = "ocid1.computecluster.oc1.iad.aaaa"
RDMA = {**H100, "rdma": "host_network", "recipe_node_image_ocid": IMAGE}


def pods(made: dict[str, Any]) -> list[dict[str, Any]]:
    spec = next(item for item in render(made, {}) if item["kind"] == "RayCluster")["spec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def variables(made: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = made["engine"]["env"]
    return found


def refused(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refusal:
        plan(**changes)
    return [(fault.code, fault.where) for fault in refusal.value.faults]


@pytest.mark.parametrize("changes", [{}, H100])
def test_unasked_the_ranks_talk_over_the_pods_network(changes: dict[str, Any]) -> None:
    made = plan(**changes)
    assert variables(made)["NCCL_IB_DISABLE"] == "1" and variables(made)["NCCL_SOCKET_IFNAME"] == "eth0"
    for pod in pods(made):
        assert (
            not {"hostNetwork", "dnsPolicy"} & pod.keys()
            and "privileged" not in pod["containers"][0]["securityContext"]
        )
        assert "/dev/infiniband" not in str(pod)


def test_asked_for_the_pods_have_the_hosts_network_and_devices() -> None:
    for pod in pods(plan(**RDMA)):
        assert pod["hostNetwork"] is True and pod["dnsPolicy"] == "ClusterFirstWithHostNet"
        container = pod["containers"][0]
        rights = {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["IPC_LOCK"]}}
        assert container["securityContext"] == rights
        assert {"name": "infiniband", "mountPath": "/dev/infiniband"} in container["volumeMounts"]
        paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
        assert paths == ["/dev/infiniband"]


# oci-hpc-oke's list, restated by hand.
H100_DEVICES = "=mlx5_0,mlx5_1,mlx5_3,mlx5_4,mlx5_5,mlx5_6,mlx5_7,mlx5_8,mlx5_9,mlx5_10,mlx5_12,mlx5_13,mlx5_14,mlx5_15,mlx5_16,mlx5_17"
A100_DEVICES = "=mlx5_1,mlx5_2,mlx5_3,mlx5_4,mlx5_5,mlx5_6,mlx5_7,mlx5_8,mlx5_9,mlx5_10,mlx5_11,mlx5_12,mlx5_14,mlx5_15,mlx5_16,mlx5_17"
A100_40_DEVICES = "=mlx5_0,mlx5_1,mlx5_2,mlx5_3,mlx5_6,mlx5_7,mlx5_8,mlx5_9,mlx5_10,mlx5_11,mlx5_12,mlx5_13,mlx5_14,mlx5_15,mlx5_16,mlx5_17"
H200_DEVICES = "=mlx5_0,mlx5_3,mlx5_4,mlx5_5,mlx5_6,mlx5_9,mlx5_10,mlx5_11"


@pytest.mark.parametrize(
    ("shape", "devices", "further"),
    [
        ("BM.GPU.H100.8", H100_DEVICES, {"NCCL_CUMEM_ENABLE": "0"}),
        ("BM.GPU.H200.8", H200_DEVICES, {"NCCL_IGNORE_CPU_AFFINITY": "1"}),
        ("BM.GPU.B200.8", H200_DEVICES, {"NCCL_CUMEM_ENABLE": "0"}),
        ("BM.GPU.A100-v2.8", A100_DEVICES, {"NCCL_IB_QPS_PER_CONNECTION": "4"}),
        ("BM.GPU.B4.8", A100_DEVICES, {"NCCL_IB_QPS_PER_CONNECTION": "4"}),
        ("BM.GPU4.8", A100_40_DEVICES, {"NCCL_IB_QPS_PER_CONNECTION": "4"}),
    ],
)
def test_nccl_has_the_shapes_devices(shape: str, devices: str, further: dict[str, str]) -> None:
    found = variables(plan(**RDMA | {"recipe_node_shape": shape}, rdma_socket_interface="ens300f0"))
    common = {"GID_INDEX": "3", "TC": "41", "SL": "0", "TIMEOUT": "22", "SPLIT_DATA_ON_QPS": "0", "HCA": devices}
    assert {f"NCCL_IB_{name}": value for name, value in common.items()}.items() <= found.items()
    assert further.items() <= found.items() and "NCCL_IB_DISABLE" not in found
    assert found["NCCL_SOCKET_IFNAME"] == found["GLOO_SOCKET_IFNAME"] == "ens300f0"


def test_a_variable_of_the_recipe_wins() -> None:
    made = plan(**RDMA, recipe_container_env=[{"key": "NCCL_IB_HCA", "value": "mlx5"}])
    assert variables(made)["NCCL_IB_HCA"] == "mlx5"


def test_a_compute_cluster_means_rdma_in_its_own_domain() -> None:
    given = {**H100, "recipe_node_image_ocid": IMAGE, "compute_cluster_id": CLUSTER}
    made = plan(**given, recipe_availability_domain="x:IAD-AD-1")
    assert made["node_pool"]["node_config_details"]["compute_cluster_id"] == CLUSTER
    assert made["pod"]["rdma"] == "host_network" and made["other_placements"] == []
    assert refused(**given) == [("compute_cluster_domain", "recipe_availability_domain")]
    assert plan(**given | {"rdma": "none"}, recipe_availability_domain="x:IAD-AD-1")["pod"]["rdma"] == "none"


@pytest.mark.parametrize(
    ("domain", "state", "faults"),
    [
        ("x:IAD-AD-1", "ACTIVE", []),
        ("x:IAD-AD-2", "ACTIVE", [("compute_cluster_domain", "recipe_availability_domain")]),
        ("x:IAD-AD-1", "DELETED", [("compute_cluster", "compute_cluster_id")]),
    ],
)
def test_the_compute_cluster_is_as_oracle_cloud_has_it(domain: str, state: str, faults: list[tuple[str, str]]) -> None:
    given = {**H100, "recipe_node_image_ocid": IMAGE, "compute_cluster_id": CLUSTER}
    compute_cluster = {"name": "rdma", "availability_domain": domain, "lifecycle_state": state}
    found = facts(cluster=cluster(compute_cluster=compute_cluster))
    if not faults:
        plan(found, **given, recipe_availability_domain="IAD-AD-1")
        return
    with pytest.raises(Refused) as refusal:
        plan(found, **given, recipe_availability_domain="x:IAD-AD-1")
    assert [(fault.code, fault.where) for fault in refusal.value.faults] == faults


def test_policies_do_not_hold_there_which_is_said() -> None:
    assert "host_network" in {warning["code"] for warning in plan(**RDMA)["warnings"]}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"rdma": "host_network", "recipe_node_image_ocid": IMAGE}, [("no_rdma", "rdma")]),
        ({**RDMA, "recipe_node_image_ocid": None}, [("rdma_image", "recipe_node_image_ocid")]),
        (
            {**RDMA, "recipe_raycluster_params__redis_port": 10250},
            [("port_of_ray", "recipe_raycluster_params.redis_port")],
        ),
        (
            {**RDMA, "compute_cluster_id": "ocid1.cluster.oc1.iad.x", "recipe_availability_domain": "x:IAD-AD-1"},
            [("ocid", "compute_cluster_id")],
        ),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    assert refused(**{name: value for name, value in changes.items() if value is not None}) == faults
