# SPDX-License-Identifier: GPL-3.0-or-later
"""The ends of what is supported, and ansible-core's versions between: each a real deployment, again, and its removal.

The version of the lock is what all other tests run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import samples
from rig.control_plane import build
from rig.fixtures import RunningRig, Tenancy
from rig.tests.e2e.ray_clusters import no_operator
from tests.e2e.playbooks import Playbooks, Run
from tests.tools.environments import environment, find_python
from tests.tools.setup import KUBERNETES_CORE_VERSION, REPOSITORY, cache_directory, kubernetes_core
from tests.versions import BETWEEN, NEWEST, NEWEST_KUBERNETES_CORE, OLDEST, Versions

__all__ = ["no_operator"]  # fixtures


class Lives:
    """The playbooks with other versions of what runs them."""

    def __init__(self, rig: RunningRig, tenancy: Tenancy, folder: Path, versions: Versions) -> None:
        python = next(filter(None, map(find_python, versions.pythons)), None)
        if python is None:
            pytest.skip(f"no Python {' or '.join(versions.pythons)} here, which ansible-core {versions.core} needs")
        self.python = python
        ours = [line for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
        wanted = (f"ansible-core=={versions.core}.*", *ours, *versions.packages)
        self.programs = environment(f"core-{versions.core}", *wanted, python=python) / "bin"
        samples.put_model(tenancy.json, rig.configuration)
        par = samples.make_par(tenancy.json, rig.configuration)
        self.recipe = samples.light_recipe(par, deployment_name=f"core-{versions.name}")
        # Without a kubeconfig, so that the tokens of the sign-in pass through each core's templates too.
        self.variables = {name: value for name, value in rig.environment().items() if name != "KUBECONFIG"}
        self.variables |= {"PATH": f"{self.programs}:{self.variables['PATH']}", "HOME": str(folder)}
        self.settings = {name: value for name, value in tenancy.settings.items() if name != "kubeconfig"}
        self._folder = folder

    def deploy_twice_and_undeploy(self) -> list[Run]:
        playbooks = Playbooks(self._folder, self.variables, self.settings)
        first = playbooks.run("deploy", self.recipe)
        assert first.code == 0, first.output
        again = playbooks.run("deploy", self.recipe)
        assert again.code == 0, again.output
        assert again.recap["changed"] == 0, again.output
        removed = playbooks.run("undeploy", self.recipe)
        assert removed.code == 0, removed.output
        return [first, again, removed]


@pytest.mark.soak
@pytest.mark.parametrize("versions", [OLDEST, *BETWEEN], ids=lambda versions: versions.name)
def test_deploys_twice_and_undeploys(rig: RunningRig, tenancy: Tenancy, tmp_path: Path, versions: Versions) -> None:
    Lives(rig, tenancy, tmp_path, versions).deploy_twice_and_undeploy()


def test_the_newest_of_all(rig: RunningRig, tenancy: Tenancy, no_operator: None, tmp_path: Path) -> None:
    """With Helm 4, which installs the operator, and the kubernetes.core that knows it."""
    lives = Lives(rig, tenancy, tmp_path, NEWEST)
    helm = build.ensure_programs(cache_directory(), programs=(build.HELM_4,))["helm"]
    lives.settings["helm_binary"] = str(helm)

    older = Playbooks(tmp_path, lives.variables, lives.settings).run("plan", lives.recipe)
    (fault,) = older.faults
    assert fault["code"] == "helm_version" and f"kubernetes.core is {KUBERNETES_CORE_VERSION}" in fault["found"]

    collections = tmp_path / "newest" / "ansible_collections" / "kubernetes"
    collections.mkdir(parents=True)
    (collections / "core").symlink_to(kubernetes_core(*NEWEST_KUBERNETES_CORE, lives.python))
    lives.variables["ANSIBLE_COLLECTIONS_PATH"] = str(tmp_path / "newest")
    runs = lives.deploy_twice_and_undeploy()
    warned = [line for run in runs for line in run.output.splitlines() if "DEPRECATION WARNING" in line]
    # Of what kubernetes.core returns and nothing of ours reads, it warns always.
    assert not [line for line in warned if "'status.values' return value is deprecated" not in line]
