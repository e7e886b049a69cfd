# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of a node pool's machines: from entries in the pool to Nodes in Kubernetes, and what goes wrong on the way."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import kubernetes
import oci
import pytest

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, open_account

models = oci.container_engine.models
A10 = "VM.GPU.A10.1"
FETCH = """#!/bin/bash
curl --fail -H "Authorization: Bearer Oracle" -L0 http://169.254.169.254/opc/v2/instance/metadata/oke_init_script \\
  | base64 --decode >/var/run/oke-init.sh
"""


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


@pytest.fixture(scope="module")
def cluster(account: Account) -> kubernetes.client.CoreV1Api:
    return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(account.kubeconfig))


@pytest.fixture(scope="module")
def gpu_pool(account: Account) -> Iterator[Any]:
    script = FETCH + "/usr/libexec/oci-growfs -y\n"
    script += "bash /var/run/oke-init.sh --kubelet-extra-args '--register-with-taints=team=a:NoSchedule'\n"
    with account.node_pool(
        "gpus",
        size=2,
        node_shape=A10,
        domains=account.domains()[:2],
        initial_node_labels=[models.KeyValue(key="multinode.inference/deployment", value="contract")],
        node_metadata={"user_data": base64.b64encode(script.encode()).decode()},
    ) as pool:
        yield pool


def node_of(account: Account, cluster: kubernetes.client.CoreV1Api, address: str) -> Any:
    """The Node of this private IP, once it is there."""

    def joined() -> Any:
        try:
            return cluster.read_node(address)
        except kubernetes.client.ApiException as error:
            assert error.status == 404
            return None

    return account.eventually(joined)


def is_ready(node: Any) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions or [])


def test_nodes_are_spread_over_the_placements_and_named_after_the_pool(account: Account, gpu_pool: Any) -> None:
    assert [node.lifecycle_state for node in gpu_pool.nodes] == ["ACTIVE", "ACTIVE"]
    assert {node.availability_domain for node in gpu_pool.nodes} == set(account.domains()[:2])
    for node in gpu_pool.nodes:
        assert node.name.startswith(f"oke-{account.cluster_id[-11:]}-{gpu_pool.id[-11:]}-")
        assert node.id.startswith("ocid1.instance.")
        assert node.node_error is None


def test_a_node_bears_its_private_ip_and_its_instance(
    account: Account, cluster: kubernetes.client.CoreV1Api, gpu_pool: Any
) -> None:
    entry = gpu_pool.nodes[0]
    node = node_of(account, cluster, entry.private_ip)
    assert node.spec.provider_id == entry.id
    labels = node.metadata.labels
    assert labels["node.kubernetes.io/instance-type"] == A10
    assert labels["topology.kubernetes.io/zone"] == entry.availability_domain.split(":")[1]
    instance = account.client(oci.core.ComputeClient).get_instance(entry.id).data
    assert (instance.shape, instance.lifecycle_state, instance.display_name) == (A10, "RUNNING", entry.name)


def test_taints_come_with_the_node_and_labels_of_the_pool_later(
    account: Account, cluster: kubernetes.client.CoreV1Api, gpu_pool: Any
) -> None:
    address = gpu_pool.nodes[0].private_ip
    node = node_of(account, cluster, address)
    taints = {taint.key: (taint.value or "", taint.effect) for taint in node.spec.taints}
    assert taints["nvidia.com/gpu"] == ("", "NoSchedule")
    assert taints["team"] == ("a", "NoSchedule")

    def labelled() -> bool:
        return cluster.read_node(address).metadata.labels.get("multinode.inference/deployment") == "contract"

    account.eventually(labelled)


def test_gpus_are_advertised_after_the_node_is_ready(
    account: Account, cluster: kubernetes.client.CoreV1Api, gpu_pool: Any
) -> None:
    address = gpu_pool.nodes[1].private_ip
    node_of(account, cluster, address)

    def advertised() -> Any:
        node = cluster.read_node(address)
        return node if "nvidia.com/gpu" in (node.status.allocatable or {}) else None

    node = account.eventually(advertised)
    assert node.status.allocatable["nvidia.com/gpu"] == "1"
    assert is_ready(node)


def test_a_grown_filesystem_has_the_boot_volume(
    account: Account, cluster: kubernetes.client.CoreV1Api, gpu_pool: Any
) -> None:
    def bytes_of(address: str) -> int:
        def sized() -> str:
            return (node_of(account, cluster, address).status.allocatable or {}).get("ephemeral-storage", "")

        return int(kubernetes.utils.quantity.parse_quantity(account.eventually(sized)))

    assert bytes_of(gpu_pool.nodes[0].private_ip) > 60 * 10**9
    with account.node_pool("small-disk", size=1) as pool:
        assert bytes_of(pool.nodes[0].private_ip) < 30 * 10**9


def test_without_the_start_script_a_node_never_joins(account: Account, cluster: kubernetes.client.CoreV1Api) -> None:
    script = base64.b64encode(b"#!/bin/bash\necho hello\n").decode()
    with account.node_pool("forgetful", size=1, node_metadata={"user_data": script}) as pool:
        assert (pool.lifecycle_state, pool.nodes[0].lifecycle_state) == ("ACTIVE", "ACTIVE")
        with account.node_pool("mindful", size=1) as other:  # whose node is asked for later, and joins
            node_of(account, cluster, other.nodes[0].private_ip)
        names = {node.metadata.name for node in cluster.list_node().items}
        assert pool.nodes[0].private_ip not in names


def test_scaling_down_and_deleting_one_node(account: Account, cluster: kubernetes.client.CoreV1Api) -> None:
    with account.node_pool("scaled", size=2) as pool:
        for node in pool.nodes:
            node_of(account, cluster, node.private_ip)
        gone, kept = pool.nodes
        answer = account.container_engine.delete_node(
            pool.id, gone.id, is_decrement_size=True, override_eviction_grace_duration="PT0M"
        )
        assert account.wait(answer.headers["opc-work-request-id"]).status == "SUCCEEDED"
        after = account.container_engine.get_node_pool(pool.id).data
        assert ([node.id for node in after.nodes], after.node_config_details.size) == ([kept.id], 1)
        assert gone.private_ip not in {node.metadata.name for node in cluster.list_node().items}

        answer = account.container_engine.delete_node(
            pool.id, kept.id, is_decrement_size=False, override_eviction_grace_duration="PT0M"
        )
        account.wait(answer.headers["opc-work-request-id"])
        after = account.container_engine.get_node_pool(pool.id).data
        assert len(after.nodes) == 1
        assert after.nodes[0].id != kept.id

        size = models.UpdateNodePoolNodeConfigDetails(size=0)
        update = models.UpdateNodePoolDetails(node_config_details=size)
        answer = account.container_engine.update_node_pool(pool.id, update)
        account.wait(answer.headers["opc-work-request-id"])
        assert account.container_engine.get_node_pool(pool.id).data.nodes == []


def test_out_of_host_capacity_leaves_entries_without_machines(account: Account) -> None:
    with account.scenario({"resource": A10}, capacity=1):
        details = account.pool_details("short", size=3, node_shape=A10)
        answer = account.container_engine.create_node_pool(details)
        work_request = account.wait(answer.headers["opc-work-request-id"])
        assert work_request.status == "FAILED"
        errors = account.container_engine.list_work_request_errors(account.compartment_id, work_request.id).data
        assert errors[0].message.startswith(
            "2 node(s) launch failure. Reason for failure on one of the nodes : Error returned"
        )
        assert "(500, InternalError, false) Out of host capacity." in errors[0].message
        listed = account.container_engine.list_node_pools(account.compartment_id, name="short").data
        pool = account.container_engine.get_node_pool(listed[0].id).data
        failed = [node for node in pool.nodes if node.node_error]
        assert len(failed) == 2
        assert all("Out of host capacity" in node.node_error.message and not node.private_ip for node in failed)
        assert failed[0].node_error.code == "InternalError"
        assert failed[0].node_error.opc_request_id

        answer = account.container_engine.delete_node(pool.id, failed[0].id, is_decrement_size=True)
        account.wait(answer.headers["opc-work-request-id"])
        after = account.container_engine.get_node_pool(pool.id).data
        assert (len(after.nodes), after.node_config_details.size) == (2, 2)
        account.delete(pool.id)


def test_a_limit_that_is_exceeded_stands_in_the_node_error(account: Account) -> None:
    message = "The following service limits were exceeded: gpu-a10-count."
    with account.scenario({"operation": "LaunchInstance", "nth": 1}, status=400, code="LimitExceeded", message=message):
        with account.node_pool("limited", size=1, node_shape=A10) as pool:
            error = pool.nodes[0].node_error
            assert (error.code, error.status) == ("LimitExceeded", "400")
            assert message in error.message


def test_a_limit_of_the_account_is_its_own(rig: RunningRig) -> None:
    account = open_account(rig, limits={"gpu-a10-count": 2})
    if account.rig is None:
        pytest.skip("needs control over the cloud")
    with account.node_pool("too-many", size=3, node_shape=A10) as pool:
        failed = [node.node_error for node in pool.nodes if node.node_error]
        assert failed
        assert failed[0].code == "LimitExceeded"
        assert "service limits were exceeded: gpu-a10-count" in failed[0].message


def test_a_canceled_creation_keeps_what_it_made(account: Account) -> None:
    with account.scenario({"operation": "LaunchInstance"}, delay_s=60):
        answer = account.container_engine.create_node_pool(account.pool_details("canceled", size=1))
        work_request_id = answer.headers["opc-work-request-id"]
        account.eventually(
            lambda: account.container_engine.list_node_pools(account.compartment_id, name="canceled").data
        )
        account.container_engine.delete_work_request(work_request_id)
        assert account.wait(work_request_id).status == "CANCELED"
    pool = account.container_engine.list_node_pools(account.compartment_id, name="canceled").data[0]
    assert pool.lifecycle_state == "ACTIVE"
    account.delete(pool.id)


def test_a_drain_that_a_disruption_budget_forbids(account: Account, cluster: kubernetes.client.CoreV1Api) -> None:
    policy = kubernetes.client.PolicyV1Api(cluster.api_client)
    name, namespace = f"held-{account.cluster_id[-6:]}", "default"
    labels = {"app": name}
    budget = {"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}
    policy.create_namespaced_pod_disruption_budget(namespace, budget)
    try:
        with account.node_pool("held", size=1) as pool:
            node = pool.nodes[0]
            node_of(account, cluster, node.private_ip)
            pod = {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "nodeName": node.private_ip,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "main", "image": "example.com/none"}],
                    "terminationGracePeriodSeconds": 0,
                },
            }
            cluster.create_namespaced_pod(namespace, pod)
            account.eventually(lambda: cluster.read_namespaced_pod(name, namespace).status.phase == "Running")
            answer = account.container_engine.delete_node_pool(pool.id, override_eviction_grace_duration="PT1M")
            work_request = account.wait(answer.headers["opc-work-request-id"])
            assert work_request.status == "FAILED"
            errors = account.container_engine.list_work_request_errors(account.compartment_id, work_request.id).data
            assert errors[0].code == "PodEvictionFailureError"
            assert f"of Node {node.id} could not be evicted." in errors[0].message
            assert account.container_engine.get_node_pool(pool.id).data.lifecycle_state == "NEEDS_ATTENTION"
    finally:
        policy.delete_namespaced_pod_disruption_budget(name, namespace)
        cluster.delete_namespaced_pod(name, namespace, grace_period_seconds=0)


def test_faults_of_single_nodes(account: Account, cluster: kubernetes.client.CoreV1Api) -> None:
    with account.scenario({}, never_join=True, times=1), account.scenario({}, no_gpu=True, times=2):
        with account.node_pool("faulty", size=3, node_shape=A10) as pool:
            absent, blind, well = (node.private_ip for node in pool.nodes)
            account.eventually(lambda: "nvidia.com/gpu" in (node_of(account, cluster, well).status.capacity or {}))
            assert "nvidia.com/gpu" not in (cluster.read_node(blind).status.capacity or {})
            assert absent not in {node.metadata.name for node in cluster.list_node().items}

            account.steer("POST", f"/nodes/{well}/no_gpu", {})
            assert "nvidia.com/gpu" not in cluster.read_node(well).status.capacity
            account.steer("POST", f"/nodes/{well}/die", {})
            assert cluster.read_node(well).metadata.annotations["rig.multinode.inference/dead"] == "true"
            account.steer("POST", f"/nodes/{blind}/never_join", {})
            assert blind not in {node.metadata.name for node in cluster.list_node().items}


def test_deleting_a_pool_deletes_its_nodes(account: Account, cluster: kubernetes.client.CoreV1Api) -> None:
    with account.node_pool("gone", size=1) as pool:
        node_of(account, cluster, pool.nodes[0].private_ip)
    assert pool.nodes[0].private_ip not in {node.metadata.name for node in cluster.list_node().items}
    try:
        state = account.client(oci.core.ComputeClient).get_instance(pool.nodes[0].id).data.lifecycle_state
    except oci.exceptions.ServiceError as error:
        state = str(error.status)
    assert state in ("TERMINATED", "404")
