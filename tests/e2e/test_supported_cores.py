# SPDX-License-Identifier: GPL-3.0-or-later
"""Every version of ansible-core that meta/runtime.yml promises, each on a Python it supports: a real deployment, and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks
from tests.tools.environments import environment, find_python
from tests.tools.setup import REPOSITORY

pytestmark = pytest.mark.soak

# The version of the lock is what all other tests run.
CORES = [("2.17", "3.10"), ("2.18", "3.11"), ("2.20", "3.12")]


@pytest.mark.parametrize(("core", "minor"), CORES, ids=lambda version: version)
def test_deploys_twice_and_undeploys(rig: RunningRig, tenancy: Tenancy, tmp_path: Path, core: str, minor: str) -> None:
    python = find_python(minor)
    if python is None:
        pytest.skip(f"no Python {minor} here")
    ours = [line for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    folder = environment(f"core-{core}-python-{minor}", f"ansible-core=={core}.*", *ours, python=python)
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(par, deployment_name=f"core-{core}-{minor}".replace(".", "-"))

    # Without a kubeconfig, so that the tokens of the sign-in pass through each core's templates too.
    variables = {name: value for name, value in rig.environment().items() if name != "KUBECONFIG"}
    variables |= {"PATH": f"{folder / 'bin'}:{variables['PATH']}", "HOME": str(tmp_path)}
    settings = {name: value for name, value in tenancy.settings.items() if name != "kubeconfig"}
    playbooks = Playbooks(tmp_path, variables, settings)
    first = playbooks.run("deploy", recipe)
    assert first.code == 0, first.output
    again = playbooks.run("deploy", recipe)
    assert again.code == 0, again.output
    assert again.recap["changed"] == 0, again.output
    removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
