# SPDX-License-Identifier: GPL-3.0-or-later
"""Undeploy after half a deployment, twice, and where one half has gone; status names the halves."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.raycluster import (
    TERMINATION_GRACE_SECONDS,
)
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.served_group import ServedGroup
from tests.waiting import wait


@pytest.fixture
def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, rig: RunningRig, tenancy: Tenancy
) -> Iterator[Deployment]:
    found = Deployment(f"half{abs(hash(request.node.name)) % 10000}", tmp_path, rig, tenancy)
    yield found
    found.undeploy()


def test_killed_after_the_pool_was_asked_for(deployment: Deployment) -> None:
    deployment.playbooks.kill_when("TASK [multinode.inference.kuberay", "deploy", deployment.recipe)
    wait("the pool with its nodes", lambda: (found := deployment.pools()) and found[0].lifecycle_state == "ACTIVE")
    status = deployment.status()
    assert not status["ok"]
    (orphan,) = status["orphans"]
    assert (orphan["node_pool"], orphan["nodes"], orphan["usd_per_hour"]) == (deployment.name, 2, 4.0)
    assert [fault["code"] for fault in status["faults"]] == ["orphan"]

    removed = deployment.undeploy()
    assert removed.result is not None
    # The namespace holds the Lease of the run that was killed.
    assert removed.result["removed"] == [f"Namespace/{deployment.name}", f"node pool {deployment.name}"]
    assert "checked  Oracle Cloud has no node pool" in removed.output
    again = deployment.undeploy()
    assert again.recap["changed"] == 0
    assert again.result is not None and again.result["removed"] == []
    # Also in the compartments that nobody named.
    assert "checked  Oracle Cloud has no node pool" in again.output and again.result["unseen"] == []
    assert deployment.status()["ok"]


@pytest.mark.soak
def test_killed_after_the_objects_were_applied(rig: RunningRig, tenancy: Tenancy, deployment: Deployment) -> None:
    deployment.playbooks.kill_when("TASK [multinode.inference.endpoint", "deploy", deployment.recipe)
    denied = {"status": 404, "code": "NotAuthorizedOrNotFound", "message": "Authorization failed or not found."}
    match = {"tenancy": tenancy.compartment_id, "operation": "ListInstances"}
    scenario = rig.steer("POST", "/scenarios", {"match": match, "do": denied})
    removed = deployment.undeploy()
    rig.steer("DELETE", f"/scenarios/{scenario['id']}")
    assert removed.result is not None
    names = removed.result["removed"]
    assert [name.partition("/")[0] for name in names[:2]] == ["PodDisruptionBudget", "RayCluster"]
    assert names[-2:] == [f"Namespace/{deployment.name}", f"node pool {deployment.name}"]
    assert any("KubeRay operator" in kept for kept in removed.result["kept"])
    # Who may not list instances is told, and is not told that none is left.
    assert [fault["code"] for fault in removed.result["unseen"]] == ["cloud_not_found_or_not_authorized"]
    assert "checked  Oracle Cloud" not in removed.output


@pytest.mark.soak
def test_without_an_api_server_the_nodes_go_all_the_same_and_the_rest_with_the_next_run(
    tmp_path: Path, rig: RunningRig, deployment: Deployment
) -> None:
    run = deployment.playbooks.run("deploy", deployment.recipe)
    assert run.code == 0, run.output
    kubeconfig = yaml.safe_load(rig.kubeconfig.read_text(encoding="utf-8"))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for entry in kubeconfig["clusters"]:
            entry["cluster"]["server"] = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        away = tmp_path / "away.kubeconfig"
        away.write_text(yaml.safe_dump(kubeconfig), encoding="utf-8")
        removed = deployment.playbooks.run("undeploy", {"deployment_name": deployment.name, "kubeconfig": str(away)})
    assert removed.code != 0
    assert [fault["code"] for fault in removed.faults] == ["unreachable", "objects_left"], removed.output
    assert removed.result is not None
    assert removed.result["removed"] == [f"node pool {deployment.name}"]
    assert "checked  Oracle Cloud" not in removed.output
    assert not deployment.pools()
    assert deployment.name in rig.kubectl("get", "rayclusters", "--all-namespaces", "--output", "name")
    again = deployment.undeploy()
    assert again.result is not None and f"RayCluster/{deployment.name}" in again.result["removed"]


@pytest.mark.soak
def test_a_worker_that_waits_for_its_head_does_not_take_the_grace_period(
    rig: RunningRig, deployment: Deployment
) -> None:
    """KubeRay's container that waits is a shell, which SIGTERM does not end."""
    run = deployment.playbooks.run("deploy", deployment.recipe)
    assert run.code == 0, run.output
    group = ServedGroup(rig, deployment.name, "")
    nodes = [pod["spec"]["nodeName"] for pod in group.pods()]
    rig.kubectl("cordon", *nodes)
    try:
        for pod in group.pods():
            group.delete(pod)
        worker = wait("a new worker", group.worker)
        # As the scheduler does, which would give the head the first free node.
        for volume in worker["spec"]["volumes"]:
            if "ephemeral" in volume:
                claim = f"{worker['metadata']['name']}-{volume['name']}"
                wait("the claim", lambda claim=claim: claim in group.kubectl("get", "persistentvolumeclaims"))
                group.kubectl(
                    "annotate", "persistentvolumeclaim", claim, f"volume.kubernetes.io/selected-node={nodes[1]}"
                )
        name, target = worker["metadata"]["name"], {"apiVersion": "v1", "kind": "Node", "name": nodes[1]}
        binding = json.dumps({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target})
        path = f"/api/v1/namespaces/{deployment.name}/pods/{name}/binding"
        rig.kubectl("create", "--raw", path, "--filename", "-", stdin=binding)

        def waits() -> bool:
            states = group.worker()["status"].get("initContainerStatuses") or []
            return any(state["name"] == "wait-gcs-ready" and "running" in state["state"] for state in states)

        wait("the container that waits", waits)
        began = time.monotonic()
        deployment.undeploy()
        assert time.monotonic() - began < TERMINATION_GRACE_SECONDS - 10
    finally:
        for node in rig.kubectl("get", "nodes", *nodes, "--ignore-not-found", "--output", "name").split():
            rig.kubectl("uncordon", node)


@pytest.mark.soak
def test_a_deployment_whose_pool_somebody_deleted(deployment: Deployment) -> None:
    run = deployment.playbooks.run("deploy", deployment.recipe)
    assert run.code == 0, run.output
    (pool,) = deployment.pools()
    deployment.engine().delete_node_pool(pool.id, override_eviction_grace_duration="PT0M")
    wait("the end of the pool", lambda: not deployment.pools())
    status = deployment.status()
    assert status["orphans"] == [{"raycluster": deployment.name, "namespace": deployment.name}]
    assert "orphan" in [fault["code"] for fault in status["faults"]]
    deployment.undeploy()
