# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator is installed by a deploy, also where another deploy is at it, or was killed at it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rig.fixtures import RunningRig, Tenancy
from rig.tests.e2e.ray_clusters import NAMESPACE, OPERATOR, helm, no_operator
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run
from tests.waiting import wait

__all__ = ["no_operator"]  # fixtures
pytestmark = pytest.mark.soak
NAMES = ("first-of-two", "second-of-two")
RELEASE = f"sh.helm.release.v1.{OPERATOR}.v1"


@pytest.fixture
def deployments(rig: RunningRig, tenancy: Tenancy, no_operator: None, tmp_path: Path) -> Iterator[list[Deployment]]:
    """Two deployments that are still to be made, and no operator; what is left of them goes at the end."""
    made = []
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Deployment(name, folder, rig, tenancy))
    yield made
    for deployment in made:
        deployment.playbooks.run("undeploy", {"deployment_name": deployment.name})


def operators(rig: RunningRig) -> list[str]:
    return rig.kubectl("get", "deployments", "-n", NAMESPACE, "-o", "name").split()


def test_two_deployments_at_the_same_moment_both_serve(deployments: list[Deployment], rig: RunningRig) -> None:
    with ThreadPoolExecutor(len(deployments)) as runs:
        ended = list(runs.map(lambda deployment: deployment.playbooks.run("deploy", deployment.recipe), deployments))
    for run in ended:
        assert run.code == 0, run.output
    assert operators(rig) == [f"deployment.apps/{OPERATOR}"]


@pytest.mark.parametrize("status", ["pending-install", "failed", "deployed"])
def test_a_release_without_an_operator_is_made_anew(
    deployments: list[Deployment], rig: RunningRig, tmp_path: Path, status: str
) -> None:
    """Helm writes its record first, then the objects: killed in between, it would refuse the release for ever; and one that
    failed, or whose Deployment somebody deleted, it takes for one that is there."""
    chart = rig.directory / "charts" / OPERATOR
    helm(rig, "install", OPERATOR, str(chart), "--create-namespace", "--skip-crds")
    rig.kubectl("delete", "deployment", OPERATOR, "-n", NAMESPACE)
    found = json.loads(rig.kubectl("get", "secret", RELEASE, "-n", NAMESPACE, "-o", "json"))["data"]["release"]
    record = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found))))
    record["info"]["status"] = status
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    change = {"metadata": {"labels": {"status": status}}, "data": {"release": packed}}
    patch = tmp_path / "patch.json"  # too long for a command line
    patch.write_text(json.dumps(change))
    rig.kubectl("patch", "secret", RELEASE, "-n", NAMESPACE, "--type=merge", "--patch-file", str(patch))

    deployment = deployments[0]
    run = deployment.playbooks.run("deploy", deployment.recipe)
    assert run.code == 0, run.output
    assert operators(rig) == [f"deployment.apps/{OPERATOR}"]


def test_an_operator_that_crashes_is_named_with_its_last_words_within_a_minute(
    deployments: list[Deployment], rig: RunningRig
) -> None:
    chart = rig.directory / "charts" / OPERATOR
    helm(rig, "install", OPERATOR, str(chart), "--create-namespace", "--skip-crds")
    arguments = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--no-such-flag=1"}]
    strategy = [{"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}}]
    rig.kubectl(
        "patch", "deployment", OPERATOR, "-n", NAMESPACE, "--type=json", "-p", json.dumps([*strategy, *arguments])
    )
    try:
        # The one before may take its grace period to end, and serve meanwhile.
        wait("a crash", lambda: "Error" in (pods := rig.kubectl("get", "pods", "-n", NAMESPACE)) or "CrashLoop" in pods)
        run = deployments[0].playbooks.run("deploy", deployments[0].recipe)
        ended = datetime.now(UTC)
        assert run.code != 0
        assert [fault["code"] for fault in run.faults] == ["operator"], run.output
        assert "no-such-flag" in run.faults[0]["found"] and OPERATOR in run.faults[0]["found"]
        cluster = json.loads(rig.kubectl("get", "rayclusters.ray.io", "-A", "-o", "json"))["items"][0]
        made = datetime.fromisoformat(cluster["metadata"]["creationTimestamp"])
        # A minute, and what the end of the run takes.
        assert (ended - made).total_seconds() < 60 + 30
    finally:
        helm(rig, "uninstall", OPERATOR, "--wait")


def test_an_older_operator_is_upgraded_where_that_is_asked_for_and_groups_go_on(
    deployments: list[Deployment], rig: RunningRig
) -> None:
    chart = rig.directory / "charts" / OPERATOR
    helm(rig, "install", OPERATOR, str(chart), "--create-namespace", "--skip-crds", "--set", "image.tag=v1.7.0")
    standing, other = deployments

    def image() -> str:
        place = "-o=jsonpath={.spec.template.spec.containers[0].image}"
        return rig.kubectl("get", "deployment", OPERATOR, "-n", NAMESPACE, place).rpartition(":")[2]

    def pods() -> set[str]:
        return set(rig.kubectl("-n", standing.name, "get", "pods", "-o=jsonpath={.items[*].metadata.uid}").split())

    def codes(run: Run) -> list[str]:
        assert run.code == 0 and run.result is not None, run.output
        return [warning["code"] for warning in run.result["warnings"]]

    assert "kuberay_older" in codes(standing.playbooks.run("deploy", standing.recipe))
    assert image() == "v1.7.0"
    before = pods()
    assert "kuberay_older" in codes(standing.playbooks.run("status"))

    upgraded = other.playbooks.run("deploy", other.recipe, {"kuberay_upgrade": True})
    assert "kuberay_older" not in codes(upgraded)
    assert "the operator is upgraded from 1.7.0 to 1.7.1" in upgraded.output
    assert image() == "v1.7.1"
    again = standing.playbooks.run("deploy", standing.recipe)
    assert "kuberay_older" not in codes(again) and again.recap["changed"] == 0
    assert pods() == before, "a group restarts for an operator that is another"
