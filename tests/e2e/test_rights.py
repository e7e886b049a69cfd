# SPDX-License-Identifier: GPL-3.0-or-later
"""A user with the rights in Kubernetes that are asked for beforehand, and no other: they carry all of a deployment's life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from rig.tests.e2e.ray_clusters import NAMESPACE, no_operator, operator
from tests.e2e.cluster_user import ClusterUser, holder
from tests.e2e.playbooks import Playbooks, Run
from tests.tools.collection_finder import install

__all__ = ["no_operator", "operator"]  # fixtures
NAME = "rights"
# What the checks of the surroundings read, and go without where they may not (docs/oci.md).
CHECKS = [("apps", "daemonsets"), ("storage.k8s.io", "storageclasses")]

# What a stopped run, or one with other settings, may have left is looked for by who may.
LOOKS = {("list", "/api/v1/secrets")} | {
    ("list", f"/apis/{group}/namespaces/{NAME}/{kind}")
    for group, kind in (
        ("batch/v1", "jobs"),
        ("cert-manager.io/v1", "certificates"),
        ("gateway.networking.k8s.io/v1", "httproutes"),
        ("monitoring.coreos.com/v1", "podmonitors"),
        ("monitoring.coreos.com/v1", "prometheusrules"),
        ("networking.k8s.io/v1", "ingresses"),
    )
}

install()


def rules(operator_namespace: str = "") -> dict[str, list[dict[str, Any]]]:
    """The rights that a deployment asks for, as rules of RBAC; with `operator_namespace` those to install the operator there."""
    from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.kubernetes_rights import rights

    found: dict[str, list[dict[str, Any]]] = {}
    for right in rights(NAME, operator_namespace):
        resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
        rule = {"apiGroups": [right.group], "resources": [resource], "verbs": [right.verb]}
        found.setdefault(right.namespace, []).append(rule)
    found[""] += [{"apiGroups": [group], "resources": [kind], "verbs": ["list"]} for group, kind in CHECKS]
    return found


@pytest.fixture
def operators_namespace(rig: RunningRig, no_operator: None) -> None:
    """No operator, but its namespace: roles of a user are bound there."""
    if f"namespace/{NAMESPACE}" not in rig.kubectl("get", "namespaces", "--output", "name"):
        rig.kubectl("create", "namespace", NAMESPACE)


class Deployment:
    """The playbooks, run by such a user in a namespace that is there."""

    def __init__(self, rig: RunningRig, tenancy: Tenancy, folder: Path, user: ClusterUser) -> None:
        samples.put_model(tenancy.json, rig.configuration)
        par = samples.make_par(tenancy.json, rig.configuration)
        self.recipe = samples.light_recipe(par, deployment_name=NAME)
        self.user = user
        settings = {**tenancy.settings, "kubeconfig": user.kubeconfig(folder), "namespace": NAME}
        self._playbooks = Playbooks(folder, rig.environment(), settings)
        self._began = time.time()

    def run(self, playbook: str, **given: str) -> Run:
        run = self._playbooks.run(playbook, {**self.recipe, **given})
        assert run.code == 0, run.output
        return run

    def refused(self) -> set[tuple[str, str]]:
        """What the API server did not allow: verb and path."""
        events = self.user.requests(self._began)
        return {
            (event["verb"], event["requestURI"].partition("?")[0])
            for event in events
            if event["responseStatus"]["code"] == 403
        }


@pytest.fixture
def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, rig: RunningRig, tenancy: Tenancy
) -> Iterator[Deployment]:
    """By a user with the rights that a deployment asks for; the parameter is the namespace that the operator is missing in."""
    rig.kubectl("create", "namespace", NAME)
    try:
        with holder(rig, f"{NAME}-user", rules(request.param)) as user:
            made = Deployment(rig, tenancy, tmp_path, user)
            yield made
            made.run("undeploy")
            assert made.refused() <= LOOKS
    finally:
        rig.kubectl("delete", "namespace", NAME)


@pytest.mark.soak
@pytest.mark.parametrize("deployment", [""], indirect=True)
def test_the_rights_asked_for_are_all_that_it_takes(operator: None, deployment: Deployment) -> None:
    assert deployment.run("deploy").recap["changed"]
    assert not deployment.run("deploy").recap["changed"]
    deployment.run("status")
    deployment.run("logs", logs_component="head")


@pytest.mark.soak
@pytest.mark.parametrize("deployment", [NAMESPACE], indirect=True)
def test_with_those_to_install_the_operator_it_is_installed(operators_namespace: None, deployment: Deployment) -> None:
    assert deployment.run("deploy").recap["changed"]
