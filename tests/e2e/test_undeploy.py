# SPDX-License-Identifier: GPL-3.0-or-later
"""Undeploy after half a deployment, twice, and where one half has gone; status names the halves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oci
import pytest

from tests.e2e.conftest import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run
from tests.e2e.rig.ray_clusters import wait
from tests.rig import samples


class Deployment:
    """A deployment of a test, by its playbooks; what is left of it goes at the end."""

    def __init__(self, name: str, folder: Path, rig: RunningRig, tenancy: Tenancy) -> None:
        self.name = name
        self._rig = rig
        self._tenancy = tenancy
        self.playbooks = Playbooks(folder, rig.environment(), tenancy.settings)
        samples.put_model(tenancy.json, rig.configuration)
        self.recipe = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=name)

    def engine(self) -> oci.container_engine.ContainerEngineClient:
        config = oci.config.from_file(self._tenancy.settings["config_file_location"])
        endpoint = self._rig.configuration.oci.endpoint
        return oci.container_engine.ContainerEngineClient(config, service_endpoint=endpoint)

    def pools(self) -> list[Any]:
        found = self.engine().list_node_pools(self._tenancy.compartment_id, cluster_id=self._tenancy.oke_cluster_id)
        return [pool for pool in found.data if pool.name == self.name and pool.lifecycle_state != "DELETED"]

    def rest(self) -> dict[str, list[Any]]:
        """What the cloud itself still has."""
        (state,) = self._rig.steer("GET", f"/state?tenancy={self._tenancy.compartment_id}")["tenancies"]
        return {kind: state[kind] for kind in ("volumes", "load_balancers")} | {"pools": self.pools()}

    def undeploy(self) -> Run:
        """Run undeploy, and see that nothing is left."""
        run = self.playbooks.run("undeploy", {"deployment_name": self.name})
        assert run.code == 0, run.output
        assert self.rest() == {"volumes": [], "load_balancers": [], "pools": []}, run.output
        assert self.name not in self._rig.kubectl("get", "namespaces", "--output", "name")
        return run

    def status(self) -> dict[str, Any]:
        result = self.playbooks.run("status").result
        assert result is not None
        return result


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
    assert removed.result["removed"] == [f"node pool {deployment.name}"]
    assert "checked  Oracle Cloud has no node pool" in removed.output
    again = deployment.undeploy()
    assert again.recap["changed"] == 0
    assert again.result is not None and again.result["removed"] == []
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
