# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role and playbook of the collection has, whoever adds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.setup import REPOSITORY

ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((REPOSITORY / "playbooks").glob("*.yml"))


def load(path: Path) -> Any:
    """A YAML file, None where it is not there."""
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def test_roles_are_the_stages_of_the_way_and_the_benchmark() -> None:
    stages = {"recipe", "preflight", "node_pool", "kuberay", "raycluster", "endpoint"}
    assert {role.name for role in ROLES} == {*stages, "benchmark"}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_says_what_it_does(role: Path) -> None:
    """Galaxy's importer ends without them."""
    assert (role / "README.md").read_text().startswith("# ")
    assert load(role / "meta" / "main.yml")["galaxy_info"]["description"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_defaults_of_a_role_are_those_it_documents(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml") or {}
    specification = load(role / "meta" / "argument_specs.yml") or {}
    options = specification.get("argument_specs", {}).get("main", {}).get("options", {})
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == defaults


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_run_on_the_python_that_runs_ansible(path: Path) -> None:
    for play in load(path):
        if play.get("ansible.builtin.import_playbook") in [other.name for other in PLAYBOOKS]:
            continue
        assert play["hosts"] == "localhost"
        assert play["connection"] == "local"
        assert play["gather_facts"] is False
        assert play["vars"]["ansible_python_interpreter"] == "{{ ansible_playbook_python }}"
        assert "vars_prompt" not in play
