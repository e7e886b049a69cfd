# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a deployment's pods: the logs playbook, and the bundle for support that a failed deploy writes."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import samples
from rig.fixtures import RunningRig
from tests.e2e.playbooks import Playbooks
from tests.e2e.served_group import ServedGroup, restarts
from tests.waiting import wait

pytestmark = pytest.mark.soak
NAME = "told"


class Told:
    """A deployment on the light image, its group, and what `logs` shows of it."""

    def __init__(self, rig: RunningRig, folder: Path) -> None:
        tenancy = rig.steer("POST", "/tenancies", {})
        samples.put_model(tenancy, rig.configuration)
        self.par = samples.make_par(tenancy, rig.configuration)
        self.recipe = samples.light_recipe(self.par, deployment_name=NAME)
        self.playbooks = Playbooks(folder, rig.environment(), {**tenancy["settings"], "endpoint_exposure": "none"})
        self.group = ServedGroup(rig, NAME, tenancy["compartment_id"])

    def logs(self, **settings: object) -> str:
        run = self.playbooks.run("logs", {"deployment_name": NAME, **settings})
        assert run.code == 0, run.output
        return run.output


@pytest.fixture(scope="module")
def told(rig: RunningRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    made = Told(rig, tmp_path_factory.mktemp(NAME))
    run = made.playbooks.run("deploy", made.recipe)
    try:
        assert run.code == 0, run.output
        yield made
    finally:
        rig.steer("POST", f"/engines/{NAME}/heal", {})
        ended = made.playbooks.run("undeploy", {"deployment_name": NAME})
    assert ended.code == 0, ended.output


def test_each_component_has_its_log(told: Told) -> None:
    head = told.logs()
    assert "Application startup complete" in head and "multinode {" not in head
    assert 'multinode {"phase":"token","state":"done"' in told.logs(logs_raw=True)
    assert "joining Ray at" in told.logs(logs_component="worker", logs_worker=1)
    staging = told.logs(logs_component="staging")
    assert told.group.head()["metadata"]["name"] in staging and told.group.worker()["metadata"]["name"] in staging
    assert "Created" in told.logs(logs_component="events") or "Scheduled" in told.logs(logs_component="events")
    assert NAME in told.logs(logs_component="operator", logs_lines=1000)


def test_a_log_is_followed_through_a_restart_and_the_former_run_is_shown(told: Told) -> None:
    before = restarts(told.group.head())
    shown: list[str] = []
    following = threading.Thread(
        target=lambda: shown.append(told.logs(logs_follow=True, logs_follow_minutes=1, logs_lines=1)), daemon=True
    )
    following.start()
    time.sleep(10)
    told.group.kill_rank(told.group.worker())
    wait("the head starts again", lambda: restarts(told.group.head()) > before, 60, told.group.describe)
    following.join(180)
    assert shown and "a rank of the engine died" in shown[0]
    assert shown[0].count("Application startup complete") == 1, shown[0]
    assert "a rank of the engine died" in told.logs(logs_previous=True)


def test_a_failed_deploy_leaves_a_bundle_without_secrets(told: Told, rig: RunningRig, tmp_path: Path) -> None:
    told.group.until_served(time.monotonic())
    bundle = tmp_path / "bundle.tar.gz"
    rig.steer("POST", f"/engines/{NAME}/fail", {"log": "18-kv-cache-too-small"})
    changed = {**told.recipe, "recipe_container_env": [{"key": "SOME_CHANGE", "value": "1"}]}
    run = told.playbooks.run("deploy", changed, {"failure_bundle": str(bundle)})
    assert run.code != 0 and "no GPU memory is left for the KV cache" in run.output, run.output
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with tarfile.open(bundle) as archive:
        held = {member.name: archive.extractfile(member) for member in archive.getmembers() if member.isfile()}
        files = {name: (file or io.BytesIO()).read().decode("utf-8", "replace") for name, file in held.items()}
    names = " ".join(files)
    assert "result.json" in names and "plan.json" in names and "events" in names, names
    head = told.group.head()["metadata"]["name"]
    logs = [text for name, text in files.items() if head in name and name.endswith(".log")]
    assert any("larger than the available KV cache memory" in log and "Traceback" in log for log in logs), names
    everything = "\n".join(files.values())
    assert told.group.key() not in everything
    assert told.par.partition("/p/")[2].partition("/")[0] not in everything
    assert json.loads(next(text for name, text in files.items() if name.endswith("result.json")))["faults"]
