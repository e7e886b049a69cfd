# SPDX-License-Identifier: GPL-3.0-or-later
"""All images from one registry of one's own: the group's, those of init containers, and the operator's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from rig.tests.e2e.ray_clusters import NAMESPACE, no_operator
from tests.e2e.playbooks import Playbooks

__all__ = ["no_operator"]  # fixtures
REGISTRY = "mirror.rig.example/group"
NAME = "mirrored"
LOGIN = ("--docker-username=user", "--docker-password=password")


@pytest.mark.soak
def test_every_image_comes_from_the_registry(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, no_operator: None
) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(
        samples.make_par(tenancy.json, rig.configuration),
        deployment_name=NAME,
        recipe_container_secret_name="registry",
    )
    settings = {**tenancy.settings, "image_registry": REGISTRY, "kuberay_image_pull_secret": "operators"}
    # With a folder of the node there is an init container of ours, too.
    playbooks = Playbooks(tmp_path, rig.environment(), {**settings, "model_cache": "node"})
    rig.kubectl("create", "namespace", NAME)
    rig.kubectl("-n", NAME, "create", "secret", "docker-registry", "registry", f"--docker-server={REGISTRY}", *LOGIN)
    login = ("docker-registry", "operators", f"--docker-server={REGISTRY}", *LOGIN)
    try:
        # Without the Secret nobody would make the group's pods: that is found before nodes are asked for.
        refused = playbooks.run("plan", recipe)
        assert [(fault["code"], fault["where"]) for fault in refused.faults] == [
            ("secret_missing", "kuberay_image_pull_secret")
        ]
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        rig.kubectl("apply", "--filename", "-", stdin=json.dumps(namespace))
        rig.kubectl("-n", NAMESPACE, "create", "secret", *login)
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        pods = json.loads(rig.kubectl("-n", NAME, "get", "pods", "-o", "json"))["items"]
        operators = json.loads(rig.kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]
        assert operators and len(pods) == 2
        for pod in (*pods, *operators):
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                assert container["image"].startswith(f"{REGISTRY}/"), container["image"]
        assert {pod["spec"]["imagePullSecrets"][0]["name"] for pod in pods} == {"registry"}
        assert {pod["spec"]["imagePullSecrets"][0]["name"] for pod in operators} == {"operators"}
    finally:
        removed = playbooks.run("undeploy", recipe)
        rig.kubectl("delete", "namespace", NAME)
        rig.kubectl("-n", NAMESPACE, "delete", "secret", "operators", "--ignore-not-found")
    assert removed.code == 0, removed.output
