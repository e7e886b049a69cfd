# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark playbook against a group that serves: its figures, what stays of it, and that the group does not notice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run
from tests.e2e.served_group import ServedGroup, is_ready, restarts
from tests.waiting import wait

NAME = "measured"
# A name that a shell would take apart, and that is a path.
MODEL = 'org/a model\'s "name"'
SMALL = {"benchmark_input_tokens": 32, "benchmark_output_tokens": 4, "benchmark_requests": 4}


@pytest.fixture(scope="module")
def deployment(rig: RunningRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    answer = rig.steer("POST", "/tenancies", {})
    tenancy = Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)
    made = Deployment(NAME, tmp_path_factory.mktemp(NAME), rig, tenancy)
    made.recipe["recipe_served_model_name"] = MODEL
    try:
        run = made.playbooks.run("deploy", made.recipe)
        assert run.code == 0, run.output
        yield made
    finally:
        made.undeploy()


@pytest.fixture
def group(rig: RunningRig, deployment: Deployment) -> ServedGroup:
    return ServedGroup(rig, NAME, deployment.pools()[0].compartment_id)


def left(group: ServedGroup) -> str:
    """The objects of a benchmark that are there."""
    found = group.kubectl(
        "get", "jobs,networkpolicies,pods", "-l", "app.kubernetes.io/component=benchmark", "-o", "name"
    )
    return found.strip()


def measure(deployment: Deployment, **more: object) -> Run:
    return deployment.playbooks.run("benchmark", deployment.recipe, {**SMALL, **more})


def test_each_load_has_figures_and_the_group_serves_on(deployment: Deployment, group: ServedGroup) -> None:
    page = deployment.playbooks.folder / "benchmark.html"
    run = measure(deployment, html_file=str(page))
    assert run.code == 0 and run.result is not None, run.output
    measured = run.result["measured"]
    assert [entry["concurrency"] for entry in measured] == [1, 4]
    for entry in measured:
        assert entry["completed"] >= 8 and entry["failed"] == 0
        assert entry["tokens_per_second"] > 0 and entry["ttft_ms"] > 0 and entry["tpot_ms"] >= 0
    assert run.result["warnings"] == []
    assert "TOKENS/S" in run.output and "The plan's KV cache holds" in run.output
    assert ElementTree.fromstring(page.read_text().removeprefix("<!DOCTYPE html>\n")).tag == "html"
    assert left(group) == ""
    pods = group.pods()
    assert all(map(is_ready, pods)) and not any(map(restarts, pods))
    assert group.key() not in run.output + json.dumps(run.result)
    (status,) = deployment.status()["deployments"]
    assert [entry["concurrency"] for entry in status["benchmark"]["loads"]] == [1, 4]
    # The record stays when deploy applies the same again, and is no change for it.
    again = deployment.playbooks.run("deploy", deployment.recipe)
    assert again.code == 0 and again.recap["changed"] == 0, again.output
    (status,) = deployment.status()["deployments"]
    assert status["benchmark"]["loads"]


def test_a_second_one_is_refused_while_one_runs_and_a_killed_one_goes(
    deployment: Deployment, group: ServedGroup
) -> None:
    slow = {**SMALL, "benchmark_output_tokens": 400}
    shown = deployment.playbooks.kill_when("measuring", "benchmark", deployment.recipe, slow)
    assert "benchmark" in shown
    second = measure(deployment)
    assert [fault["code"] for fault in second.faults] == ["benchmark_running"], second.output
    assert f"{NAME}-benchmark" in second.faults[0]["where"]
    group.kubectl("delete", "job", f"{NAME}-benchmark", "--wait=true")
    wait("its pods are gone", lambda: "pod/" not in left(group), 60)
    third = measure(deployment, benchmark_requests=1)
    assert third.code == 0 and left(group) == "", third.output
