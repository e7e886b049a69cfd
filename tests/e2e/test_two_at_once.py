# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that work on one deployment at once: one after the other, or ended with the other named."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Playbooks, Run

ELSEWHERE = {"user": "alice", "host": "elsewhere", "playbook": "deploy", "job": "42", "process": "a b 1 1"}


def runs_at_once(deployment: Deployment, folder: Path, offsets: list[float]) -> list[Run]:
    """Deploy so often at once, each run begun after its offset (in seconds) and with a folder of its own."""

    def run(number: int) -> Run:
        own = folder / f"run-{number}"
        own.mkdir()
        time.sleep(offsets[number])
        settings = {**deployment.playbooks.settings, "lease_wait_seconds": 3600}
        return Playbooks(own, deployment.playbooks.environment, settings).run("deploy", deployment.recipe)

    with ThreadPoolExecutor(len(offsets)) as runs:
        return list(runs.map(run, range(len(offsets))))


def check_one_deployment(deployment: Deployment, runs: list[Run], rig: RunningRig, tenancy: Tenancy) -> None:
    for run in runs:
        assert run.code == 0, run.output
    assert len(deployment.pools()) == 1
    assert len(rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool")) == 1
    # A run that waited has planned again, and found nothing to do.
    assert sorted(run.recap["changed"] > 0 for run in runs) == [False] * (len(runs) - 1) + [True]
    waited = [run for run in runs if "another run works on this deployment, held by " in run.output]
    assert len(waited) == len(runs) - 1, [run.output for run in runs]


def write_lease(rig: RunningRig, name: str, holder: str, record: dict[str, Any]) -> None:
    patch = {
        "metadata": {"annotations": {"multinode.inference/holder": json.dumps(record)}},
        "spec": {"holderIdentity": holder, "renewTime": "2026-01-01T00:00:00.000000Z"},
    }
    rig.kubectl("--namespace", name, "patch", "lease", name, "--type=merge", "--patch", json.dumps(patch))


def test_two_deploys_of_one_name_and_a_holder_elsewhere(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    deployment = Deployment("attwice", tmp_path, rig, tenancy)
    try:
        runs = runs_at_once(deployment, tmp_path, [0, 0.5])
        check_one_deployment(deployment, runs, rig, tenancy)

        write_lease(rig, "attwice", "alice@elsewhere/1", ELSEWHERE)
        for playbook in ("deploy", "undeploy"):
            refused = deployment.playbooks.run(playbook, deployment.recipe, {"lease_wait_seconds": 0})
            assert refused.faults[0]["code"] == "lease_held", refused.output
            assert "alice@elsewhere (deploy, job 42) since" in refused.output
        checked = deployment.playbooks.run("deploy", deployment.recipe, options=("--check",))
        assert checked.code == 0, checked.output
        write_lease(rig, "attwice", "", {})
    finally:
        deployment.undeploy()
    assert "attwice" not in rig.kubectl("get", "leases", "--all-namespaces", "--output", "name")


@pytest.mark.soak
def test_a_holder_of_another_machine_that_is_dead_is_waited_for_as_long_as_its_lease(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy
) -> None:
    deployment = Deployment("atlast", tmp_path, rig, tenancy)
    try:
        first = deployment.playbooks.run("deploy", deployment.recipe)
        assert first.code == 0, first.output
        write_lease(rig, "atlast", "alice@elsewhere/1", ELSEWHERE)
        began = time.monotonic()
        second = deployment.playbooks.run("deploy", deployment.recipe)
        assert second.code == 0 and time.monotonic() - began > 120, second.output
        assert "held by alice@elsewhere (deploy, job 42) since" in second.output and second.recap["changed"] == 0
    finally:
        deployment.undeploy()


@pytest.mark.soak
def test_ten_deploys_of_one_name(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    deployment, chance = Deployment("attentimes", tmp_path, rig, tenancy), random.Random(10)
    try:
        runs = runs_at_once(deployment, tmp_path, [chance.uniform(0, 60) for _run in range(10)])
        for run in runs:
            assert run.code == 0, run.output
        assert len(rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool")) == 1
        assert sum(run.recap["changed"] > 0 for run in runs) == 1
    finally:
        deployment.undeploy()
