# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's life in jobs of AWX: made in a job that is canceled and in the next one, looked at, removed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import oci
import pytest

from rig.fixtures import RunningRig, Tenancy
from tests import awx
from tests.e2e.awx_job import Ended, Jobs, environment_of_image
from tests.e2e.light_deployment import Deployment
from tests.tools import build
from tests.tools.setup import REPOSITORY
from tests.waiting import wait

# From the first byte on what a terminal acts on, but for the ends of lines.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def deployment(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Deployment:
    (tmp_path / "by-hand").mkdir()
    return Deployment("fromajob", tmp_path / "by-hand", rig, tenancy)


@pytest.fixture
def jobs(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Jobs:
    """Jobs with the credential for Oracle Cloud, whose answers are what the tenancy's configuration file holds."""
    clone = tmp_path / "clone"
    build.copy_tracked(clone)
    profile = oci.config.from_file(tenancy.settings["config_file_location"])
    answers = {name: profile[name] for name in ("user", "tenancy", "fingerprint", "region")}
    answers["key"] = Path(profile["key_file"]).read_text().strip()
    kind = json.loads((REPOSITORY / "docs" / "awx_credential_types" / "oci_api_key.json").read_text())
    path = f"{Path(sys.executable).parent}:{rig.directory / 'bin'}:{os.environ['PATH']}"
    return Jobs(clone, tmp_path, environment_of_image(path) | awx.inject(kind, answers, tmp_path))


def reads_well(job: Ended) -> bool:
    return not CONTROL.search(job.output.replace("\r\n", "\n"))


def test_a_job_is_canceled_and_the_next_one_finishes(
    rig: RunningRig, tenancy: Tenancy, deployment: Deployment, jobs: Jobs
) -> None:
    given = {
        name: value
        for name, value in tenancy.settings.items()
        if name not in ("config_file_location", "config_profile_name", "kubeconfig")
    }
    survey: dict[str, Any] = {**given, "recipe_file": json.dumps(deployment.recipe)}
    named = {**given, "deployment_name": deployment.name}

    match = {"tenancy": tenancy.compartment_id, "operation": "LaunchInstance"}
    slow = rig.steer("POST", "/scenarios", {"match": match, "do": {"delay_s": 30}})
    canceled = jobs.cancel_when("TASK [multinode.inference.endpoint", "deploy", survey)
    assert canceled.status == "canceled", canceled.output
    # ansible-runner kills the playbook; the task that waits runs in a session of its own, and ends all the same.
    wait("the end of the job's processes", lambda: not jobs.processes(), 20, lambda: str(jobs.processes()))
    rig.steer("DELETE", f"/scenarios/{slow['id']}")

    deployed = jobs.run("deploy", survey)
    assert deployed.status == "successful", deployed.output
    assert reads_well(deployed), ascii(deployed.output)
    (pool,) = deployment.pools()
    assert pool.node_config_details.size == 2
    calls = f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool"
    assert len(rig.steer("GET", calls)) == 1
    left = deployed.artifacts["multinode_inference"]
    assert left["deployment"] == deployment.name
    (address, _dashboard) = left["recipes"].values()
    assert address in left["curl"] and left["usd_per_hour"] > 0

    again = jobs.run("deploy", survey)
    assert (again.status, again.changed) == ("successful", 0), again.output
    status = jobs.run("status", named)
    assert status.status == "successful" and deployment.name in status.output, status.output

    removed = jobs.run("undeploy", named)
    assert removed.status == "successful", removed.output
    assert deployment.rest() == {"volumes": [], "load_balancers": [], "pools": []}


def test_what_a_job_misses_is_an_event_that_names_the_task(jobs: Jobs) -> None:
    failed = jobs.run("deploy", {"recipe_file": '{"recipe_mode": "raycluster"}', "oke_cluster_id": ""})
    assert failed.status == "failed"
    faults = [event["event_data"] for event in failed.events if event["event"] == "runner_on_failed"]
    assert faults and "recipe_node_shape" in faults[0]["res"]["msg"], failed.output
    assert faults[0]["task"] == "Read the recipe and the platform settings"
    assert reads_well(failed), ascii(failed.output)
