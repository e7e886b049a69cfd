# SPDX-License-Identifier: GPL-3.0-or-later
"""User text is data: a template in any text of recipe or settings runs in no playbook (it would write a file)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks


def poisoned(value: Any, template: str, path: str = "") -> Any:
    """`value` with the template behind every text in it that is not a number."""
    if isinstance(value, dict):
        return {key: poisoned(inner, template, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, template, path) for inner in value]
    return value + template if isinstance(value, str) and not value.isdigit() else value


@pytest.mark.parametrize("below_recipe", [False, True], ids=["top level", "below recipe"])
@pytest.mark.parametrize("playbook", ["plan", "deploy", "status", "logs", "undeploy"])
def test_a_template_in_every_text_runs_nowhere(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, playbook: str, below_recipe: bool
) -> None:
    marker = tmp_path / "touched"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    recipe = poisoned(samples.recipe("https://objectstorage.us-ashburn-1.oraclecloud.com/p/x/n/n/b/b/o/"), template)
    settings = {
        "logs_component": template,
        "region": template,
        "service_annotations": {"a": template},
        "image_registry": template,
    }
    variables = {"recipe": recipe, **settings} if below_recipe else {**recipe, **settings}
    run = Playbooks(tmp_path, rig.environment(), tenancy.settings).run(playbook, variables)
    assert not marker.exists()
    assert run.code != 0
    assert "Traceback" not in run.output


@pytest.mark.parametrize("place", ["recipe_id", "deployment_name", "service_annotations", "recipe_image_uri"])
def test_a_template_in_a_good_recipe_is_taken_as_it_stands(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, place: str
) -> None:
    marker = tmp_path / "touched"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.recipe(samples.make_par(tenancy.json, rig.configuration))
    recipe[place] = {"a": template} if place == "service_annotations" else template
    run = Playbooks(tmp_path, rig.environment(), tenancy.settings).run("deploy", recipe, options=("--check", "--diff"))
    assert not marker.exists()
    assert (run.code == 0) == (place not in ("deployment_name", "recipe_image_uri")), run.output


NAMES = {
    "recipe_result",
    "preflight_result",
    "preflight_surroundings",
    "kuberay_result",
    "node_pool_result",
    "undeploy_result",
    "status_result",
    "some_result",
    "ansible_failed_result",
    "ansible_failed_task",
    "ansible_playbook_python",
    "ansible_check_mode",
    "omit",
}


@pytest.mark.parametrize("shape", ["text", "mapping"])
@pytest.mark.parametrize("playbook", ["plan", "deploy", "status", "logs", "undeploy"])
def test_a_name_of_the_playbooks_own_runs_nothing(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, playbook: str, shape: str
) -> None:
    """Extra variables win over what tasks register: each name of theirs is refused, and none is templated, by the rescue neither."""
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.recipe(samples.make_par(tenancy.json, rig.configuration))
    markers = {name: tmp_path / f"touched-{name}" for name in NAMES}

    def payload(name: str) -> Any:
        template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(markers[name]) + "') }}"
        return (
            template if shape == "text" else {"name": template, "plan": template, "settings": template, "msg": template}
        )

    given = {name: payload(name) for name in NAMES}
    run = Playbooks(tmp_path, rig.environment(), tenancy.settings).run(playbook, {**recipe, **given})
    assert [name for name, marker in markers.items() if marker.exists()] == []
    assert run.code != 0
    assert "Traceback" not in run.output
    refused = {fault["where"] for fault in run.faults if fault["code"] == "reserved"}
    assert refused >= {name for name in NAMES if name.endswith("_result")}, run.output


@pytest.mark.parametrize("way", ["path", "inline"])
def test_a_recipe_from_others_sets_no_variable(tmp_path: Path, rig: RunningRig, tenancy: Tenancy, way: str) -> None:
    """With `-e @`, each of these keys would run the template or the program."""
    marker = tmp_path / "touched"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n", encoding="utf-8")
    program.chmod(0o755)
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.recipe(samples.make_par(tenancy.json, rig.configuration), recipe_id=template)
    playbooks = Playbooks(tmp_path, rig.environment(), tenancy.settings)

    def given(recipe: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(recipe)
        (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
        return {"recipe_file": text if way == "inline" else str(tmp_path / "recipe.json")}

    run = playbooks.run("plan", given(recipe))
    assert run.code == 0, run.output
    hostile = {"ansible_remote_tmp": template, "preflight_surroundings": template, "recipe_result": template}
    hostile |= {"helm_binary": str(program), "ansible_python_interpreter": str(program)}
    run = playbooks.run("plan", given({**recipe, **hostile}))
    assert run.code != 0
    assert sorted(fault["where"] for fault in run.faults) == sorted(f"recipe_file.{key}" for key in hostile)
    assert not marker.exists()
