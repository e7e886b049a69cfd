# SPDX-License-Identifier: GPL-3.0-or-later
"""Two deployments made at the same moment on a cluster that has no operator yet: one installs it, both serve."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.rig.ray_clusters import NAMESPACE, OPERATOR

NAMES = ("first-of-two", "second-of-two")


@pytest.fixture
def deployments(rig: RunningRig, tenancy: Tenancy, tmp_path: Path) -> Iterator[list[Deployment]]:
    """Two deployments that are still to be made, and no operator; what is left of them goes at the end."""
    helm = [str(rig.directory / "bin" / "helm"), "--kubeconfig", str(rig.kubeconfig), "-n", NAMESPACE]
    subprocess.run([*helm, "uninstall", OPERATOR, "--wait", "--ignore-not-found"], check=True, capture_output=True)
    made = []
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Deployment(name, folder, rig, tenancy))
    yield made
    for deployment in made:
        deployment.playbooks.run("undeploy", {"deployment_name": deployment.name})


@pytest.mark.cluster
@pytest.mark.soak
def test_both_serve(deployments: list[Deployment], rig: RunningRig) -> None:
    with ThreadPoolExecutor(len(deployments)) as runs:
        ended = list(runs.map(lambda deployment: deployment.playbooks.run("deploy", deployment.recipe), deployments))
    for run in ended:
        assert run.code == 0, run.output
    assert rig.kubectl("get", "deployments", "-n", NAMESPACE, "-o", "name").split() == [f"deployment.apps/{OPERATOR}"]
