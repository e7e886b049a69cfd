# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose RayCluster definition is KubeRay 1.5's: a deployment comes up, and a changed recipe reaches the pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from rig.tests.e2e.ray_clusters import operator
from tests.e2e.playbooks import Playbooks

__all__ = ["operator"]  # fixtures
DEFINITION = ("crd", "rayclusters.ray.io")
NAME = "older"


# Fields of the spec that came with KubeRay 1.6.
NEWER = (("upgradeStrategy",), ("authOptions", "properties", "secretName"))


@pytest.fixture
def older_definition(rig: RunningRig, operator: None) -> Iterator[None]:
    """The definition without the newer fields, and as it was when the test ends."""
    whole: dict[str, Any] = json.loads(rig.kubectl("get", *DEFINITION, "--output", "json"))
    places = []
    for number, version in enumerate(whole["spec"]["versions"]):
        spec = version["schema"]["openAPIV3Schema"]["properties"].get("spec", {}).get("properties", {})
        for field in NEWER:
            held: Any = spec
            for part in field:
                held = (held or {}).get(part)
            if held is not None:
                path = f"/spec/versions/{number}/schema/openAPIV3Schema/properties/spec/properties/{'/'.join(field)}"
                places.append((path, held))
    remove = [{"op": "remove", "path": place} for place, _field in places]
    rig.kubectl("patch", *DEFINITION, "--type=json", "-p", json.dumps(remove))
    yield
    add = [{"op": "add", "path": place, "value": field} for place, field in places]
    rig.kubectl("patch", *DEFINITION, "--type=json", "-p", json.dumps(add))


@pytest.mark.soak
def test_a_changed_recipe_reaches_the_pods(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, older_definition: None
) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=NAME)
    playbooks = Playbooks(tmp_path, rig.environment(), tenancy.settings)

    def uids() -> set[str]:
        return set(rig.kubectl("-n", NAME, "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").split())

    try:
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        before = uids()
        (token,) = rig.kubectl(
            "-n", NAME, "get", "secrets", "-o", "jsonpath={.items[?(@.data.auth_token)].metadata.name}"
        ).split()
        assert token == NAME
        again = playbooks.run("deploy", recipe)
        assert (again.code, again.recap["changed"]) == (0, 0), again.output
        assert uids() == before
        planned = playbooks.run("plan", {**recipe, "recipe_served_model_name": "renamed"})
        assert planned.result is not None and planned.result["plan"]["existing"]["by_delete"] is True, planned.output
        assert "deleting the RayCluster" in " ".join(planned.output.split())
        changed = playbooks.run("deploy", {**recipe, "recipe_served_model_name": "renamed"})
        assert changed.code == 0, changed.output
        assert "deleted and created again" in changed.output
        assert changed.result is not None and changed.result["model"] == "renamed"
        assert not uids() & before
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
