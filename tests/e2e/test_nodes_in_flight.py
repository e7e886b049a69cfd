# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that fail while a deployment is waited for: found, said, replaced within bounds; and hosts that are not to be had."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run

# A minute is the least that the settings take.
QUICK = {"node_join_minutes": 1, "node_gpu_minutes": 1}


class Flight:
    """A tenancy with a model, and the playbooks to deploy it with."""

    def __init__(self, rig: RunningRig, folder: Path) -> None:
        answer = rig.steer("POST", "/tenancies", {})
        samples.put_model(answer, rig.configuration)
        self.rig = rig
        self.tenancy = Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)
        self.name = f"flight{uuid.uuid4().hex[:6]}"
        par = samples.make_par(answer, rig.configuration)
        # A capacity report reserves nothing: what it said may be gone when the nodes are launched.
        self.recipe = samples.light_recipe(par, deployment_name=self.name, skip_capacity_validation=True)
        self.playbooks = Playbooks(folder, rig.environment(), answer["settings"])

    def scenario(self, operation: str | None = None, resource: str | None = None, **does: Any) -> str:
        match = {"tenancy": self.tenancy.compartment_id, "operation": operation, "resource": resource}
        wanted = {"match": {key: value for key, value in match.items() if value}, "do": does}
        return str(self.rig.steer("POST", "/scenarios", wanted)["id"])

    def end_scenarios(self) -> None:
        self.rig.steer("DELETE", f"/scenarios?tenancy={self.tenancy.compartment_id}")

    def deploy(self, **settings: Any) -> Run:
        return self.playbooks.run("deploy", self.recipe, {**QUICK, **settings})

    def calls(self, operation: str) -> list[dict[str, Any]]:
        return self.rig.steer("GET", f"/calls?tenancy={self.tenancy.compartment_id}&operation={operation}")

    def pool(self) -> dict[str, Any]:
        """The deployment's node pool as the cloud has it; there is one."""
        (state,) = self.rig.steer("GET", f"/state?tenancy={self.tenancy.compartment_id}")["tenancies"]
        (pool,) = [entry for entry in state["node_pools"] if entry["name"] == self.name and entry["state"] != "DELETED"]
        return dict(pool)


@pytest.fixture
def flight(rig: RunningRig, tmp_path: Path) -> Iterator[Flight]:
    made = Flight(rig, tmp_path)
    yield made
    made.end_scenarios()
    run = made.playbooks.run("undeploy", made.recipe)
    assert run.code == 0, run.output


def repairs(run: Run) -> list[tuple[str, str]]:
    assert run.result is not None, run.output
    return [(entry["code"], entry["action"].partition(" to ")[0]) for entry in run.result["repairs"]]


def serves(run: Run) -> bool:
    return run.code == 0 and run.result is not None and bool(run.result["completion"])


def unchanged(run: Run) -> bool:
    return run.code == 0 and run.recap["changed"] == 0


def test_a_node_that_never_joins_is_replaced(flight: Flight) -> None:
    flight.scenario(never_join=True, times=1)
    run = flight.deploy()
    assert serves(run), run.output
    assert repairs(run) == [("node_not_joined", "replaced")]
    assert "is ACTIVE in Oracle Cloud and not in Kubernetes for" in run.output
    assert len(flight.calls("DeleteNode")) == 1
    pool = flight.pool()
    assert (pool["size"], len(pool["nodes"])) == (2, 2)


@pytest.mark.soak
def test_short_of_hosts_the_group_goes_where_there_are_some_or_gives_back_what_it_has(flight: Flight) -> None:
    flight.scenario(capacity=1)
    first, second, _ = flight.tenancy.json["availability_domains"]
    only = {"node_pool_availability_domains": [first]}
    short = flight.deploy(**only, on_shortfall="release")
    assert short.code != 0
    codes = [fault["code"] for fault in short.faults]
    assert codes == ["node_out_of_host_capacity", "node_pool_out_of_host_capacity", "node_pool_released"]
    assert "Out of host capacity." in short.faults[1]["found"] and short.faults[1]["work_request"]
    assert repairs(short) == [("node_pool_short", "scaled")]
    pool = flight.pool()
    assert (pool["size"], pool["nodes"]) == (0, [])

    # The next run goes on with the same pool. One domain has not enough hosts, the next one has.
    flight.end_scenarios()
    flight.scenario(resource=first, capacity=1)
    domains = {"node_pool_availability_domains": [first, second]}
    run = flight.deploy(**domains)
    assert serves(run), run.output
    assert repairs(run) == [("node_pool_short", "scaled"), ("node_pool_short", "moved")]
    assert {node["availability_domain"] for node in flight.pool()["nodes"]} == {second}
    assert len(flight.calls("CreateNodePool")) == 1
    assert unchanged(flight.deploy(**domains))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ({"no_gpu": True, "times": 1}, "node_without_gpus"),
        ({"small_disk": True, "times": 1}, "node_small_disk"),
        (
            {"operation": "LaunchInstance", "status": 500, "code": "InternalError", "message": "No.", "times": 1},
            "node_failed",
        ),
    ],
)
def test_a_node_that_is_not_as_it_should_be_is_replaced(flight: Flight, scenario: dict[str, Any], code: str) -> None:
    flight.scenario(**scenario)
    run = flight.deploy()
    assert serves(run), run.output
    assert repairs(run) == [(code, "replaced")]
    assert len(flight.calls("DeleteNode")) == 1


@pytest.mark.soak
def test_what_fails_again_is_refused_with_its_cause(flight: Flight) -> None:
    flight.scenario(small_disk=True)
    run = flight.deploy()
    assert run.code != 0
    assert {fault["code"] for fault in run.faults} == {"node_small_disk", "group_incomplete"}
    assert set(repairs(run)) == {("node_small_disk", "replaced")} and len(repairs(run)) <= 2
    assert "oci-growfs" in run.faults[0]["remedy"]


@pytest.mark.soak
def test_a_run_killed_in_a_repair_is_gone_on_with(flight: Flight) -> None:
    flight.scenario(never_join=True, times=1)
    flight.playbooks.kill_when("replaced: is ACTIVE", "deploy", flight.recipe, QUICK)
    run = flight.deploy()
    assert serves(run), run.output
    assert repairs(run) == []
    assert len(flight.calls("DeleteNode")) == 1
    assert len(flight.calls("CreateNodePool")) == 1


@pytest.mark.soak
def test_a_part_of_the_group_is_kept_until_the_wait_ends(flight: Flight) -> None:
    flight.scenario(capacity=1)
    # One domain only: else the wait may end while the next one is being tried.
    only = {"node_pool_availability_domains": flight.tenancy.json["availability_domains"][:1]}
    run = flight.deploy(**only, wait_timeout_minutes=1)
    assert [fault["code"] for fault in run.faults][-1] == "node_pool_released"
    assert run.result is not None
    cost = run.result["plan"]["expected"]["cost"]
    dollars = (cost["nodes"] + cost["boot_volumes"]) / 2
    assert f"1 of 2 nodes cost {dollars:.2f} US dollars an hour and serve nothing" in run.output
    assert flight.pool()["nodes"] == []


@pytest.mark.soak
def test_a_launch_that_outlasts_the_wait_is_kept_while_it_is_young_and_then_given_back(flight: Flight) -> None:
    """No node ever joins, so that no run finds the group whole."""
    flight.scenario(never_join=True)
    flight.scenario("LaunchInstance", delay_s=100)
    patient = {"wait_timeout_minutes": 1, "node_join_minutes": 60}
    kept = flight.deploy(**patient)
    (fault,) = kept.faults
    assert fault["code"] == "timeout", kept.output
    assert "US dollars an hour with their volumes until undeploy" in fault["remedy"]
    assert f"multinode.inference.undeploy -e deployment_name={flight.name}" in fault["remedy"]
    assert flight.pool()["size"] == 2 and not flight.calls("UpdateNodePool")

    # An hourly run comes when the launch is no longer young.
    released = flight.deploy(**patient, shortfall_keep_minutes=1)
    assert [fault["code"] for fault in released.faults] == ["timeout", "node_pool_released"], released.output
    assert (flight.pool()["size"], flight.pool()["nodes"]) == (0, [])


@pytest.mark.soak
def test_a_launch_that_outlasts_the_wait_is_given_back_where_release_is_asked_for(flight: Flight) -> None:
    flight.scenario(never_join=True)
    flight.scenario("LaunchInstance", delay_s=100)
    run = flight.deploy(wait_timeout_minutes=1, node_join_minutes=60, on_shortfall="release")
    assert [fault["code"] for fault in run.faults] == ["timeout", "node_pool_released"], run.output
    assert "released once this change has finished" in run.output
    assert (flight.pool()["size"], flight.pool()["nodes"]) == (0, [])
    assert len(flight.calls("CreateNodePool")) == 1


@pytest.mark.soak
def test_a_canceled_work_request_is_said_in_its_own_words(flight: Flight) -> None:
    flight.scenario("LaunchInstance", delay_s=600)
    flight.playbooks.kill_when("TASK [multinode.inference.kuberay", "deploy", flight.recipe, QUICK)
    import oci

    settings = flight.tenancy.settings
    config = oci.config.from_file(settings["config_file_location"])
    client = oci.container_engine.ContainerEngineClient(config, service_endpoint=flight.rig.configuration.oci.endpoint)
    (work,) = client.list_work_requests(flight.tenancy.compartment_id, cluster_id=flight.tenancy.oke_cluster_id).data
    client.delete_work_request(work.id)
    run = flight.deploy(node_repair_limit=0)
    codes = [fault["code"] for fault in run.faults]
    assert run.code != 0 and codes[-1] == "group_incomplete"
    assert any("canceled" in fault["found"].lower() for fault in run.faults)
