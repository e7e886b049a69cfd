# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment on the light image, made and removed by the playbooks, and what the cloud has of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import oci

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run


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
