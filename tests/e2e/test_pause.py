# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment at night: its nodes go and the rest stays; resume and deploy bring it back, undeploy removes all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run

NAME = "atnight"


class Night:
    """The deployment, behind a load balancer."""

    def __init__(self, folder: Path, rig: RunningRig, tenancy: Tenancy) -> None:
        self.deployment = Deployment(NAME, folder, rig, tenancy)
        self.deployment.playbooks.settings = {**tenancy.settings, "endpoint_exposure": "load_balancer"}
        self._rig, self._tenancy = rig, tenancy

    def run(self, playbook: str, **given: Any) -> Run:
        run = self.deployment.playbooks.run(playbook, {**self.deployment.recipe, **given})
        assert run.code == 0 and run.result is not None, run.output
        return run

    def by_slip(self, playbook: str, name: str) -> Run:
        return self.deployment.playbooks.run(playbook, {**self.deployment.recipe, "deployment_name": name})

    def calls(self, operation: str) -> int:
        return len(self._rig.steer("GET", f"/calls?tenancy={self._tenancy.compartment_id}&operation={operation}"))

    def billed(self) -> tuple[int, int, int, int]:
        """Nodes that the pool has and that live, block volumes and load balancers, as the cloud has them."""
        (pool,) = self.deployment.pools()
        nodes = self.deployment.engine().get_node_pool(pool.id).data.nodes or []
        living = [node for node in nodes if node.lifecycle_state not in ("DELETED", "DELETING")]
        rest = self.deployment.rest()
        balancers = [entry for entry in rest["load_balancers"] if entry.get("lifecycle_state") != "DELETED"]
        return pool.node_config_details.size, len(living), len(rest["volumes"]), len(balancers)


def test_pause_resume_deploy_and_undeploy(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    night = Night(tmp_path, rig, tenancy)
    try:
        first = night.run("deploy").result or {}
        served = night.billed()
        assert served[:2] == (2, 2) and served[3] == 1

        dry = night.deployment.playbooks.run("pause", night.deployment.recipe, options=("--check",))
        assert dry.code == 0 and dry.recap["changed"] == 1 and night.billed() == served, dry.output
        paused = night.run("pause")
        assert night.billed() == (0, 0, 0, 1), paused.output
        assert "0.0113 US dollars an hour until resume" in paused.output
        assert not rig.kubectl("--namespace", NAME, "get", "pods", "--output", "name")
        assert night.run("pause").recap["changed"] == 0

        status = night.deployment.status()
        assert status["ok"] and status["orphans"] == [], status
        (row,) = status["deployments"]
        assert (row["state"], row["ready"], row["usd_per_hour"]) == ("Paused", False, 0.0113)
        assert row["paused"]["since"] and "@" in row["paused"]["by"]

        for playbook in ("resume", "logs", "keys"):
            slip = night.by_slip(playbook, "at_nihgt")
            assert slip.code and "did you mean atnight?" in slip.output, slip.output
        slip = night.by_slip("undeploy", "at_nihgt")
        assert slip.code == 0 and slip.recap["changed"] == 0 and "did you mean atnight?" in slip.output, slip.output

        made = night.calls("CreateNodePool"), night.calls("CreateLoadBalancer")
        resumed = night.run("resume")
        assert resumed.result is not None and resumed.result["completion"]
        assert resumed.result["address"] == first["address"]
        assert night.billed()[:2] == (2, 2)
        assert (night.calls("CreateNodePool"), night.calls("CreateLoadBalancer")) == made
        assert night.run("deploy").recap["changed"] == 0

        night.run("pause")
        again = night.run("deploy").result or {}
        assert again["completion"] and again["address"] == first["address"]
        night.run("pause")
    finally:
        night.deployment.undeploy()
