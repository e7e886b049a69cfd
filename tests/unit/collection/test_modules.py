# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module and plugin of the collection has, whoever adds one."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.setup import REPOSITORY

PLUGINS = REPOSITORY / "plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
VERSION = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())["version"]
# The options of a group of `module_defaults` are those of its fragment.
FRAGMENT_OF_GROUP = {
    "kubernetes": "multinode.inference.kubernetes_connection",
    "oci": "multinode.inference.oci_authentication",
}
# What fills their options in, behind recipe_info.
ACTION_OF_GROUP = {"kubernetes": "multinode.inference.kubernetes_info", "oci": "multinode.inference.oke_cluster_info"}
RUNTIME = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())


def documentation(path: Path) -> dict[str, Any]:
    """The YAML in the strings DOCUMENTATION, EXAMPLES and RETURN of a plugin file, which is not imported."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
                    found[target.id] = yaml.safe_load(node.value.value)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_is_documented(path: Path) -> None:
    found = documentation(path)
    assert found.keys() == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert found["DOCUMENTATION"]["module"] == path.stem
    assert found["DOCUMENTATION"]["version_added"] == VERSION
    used = {key for task in found["EXAMPLES"] for key in task}
    assert f"multinode.inference.{path.stem}" in used


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_an_info_module_changes_nothing(path: Path) -> None:
    if not path.stem.endswith("_info"):
        return
    assert "state" not in documentation(path)["DOCUMENTATION"].get("options", {})


@pytest.mark.parametrize("path", sorted((PLUGINS / "action").glob("*.py")), ids=lambda path: path.stem)
def test_every_action_plugin_has_a_module_that_documents_it(path: Path) -> None:
    routed = {entry["action_plugin"] for entry in RUNTIME["plugin_routing"]["modules"].values()}
    assert (PLUGINS / "modules" / path.name).is_file() or f"multinode.inference.{path.stem}" in routed


def test_action_groups_hold_the_modules_that_take_their_options() -> None:
    groups, routed = RUNTIME["action_groups"], RUNTIME["plugin_routing"]["modules"]
    assert groups.keys() == FRAGMENT_OF_GROUP.keys()
    for group, fragment in FRAGMENT_OF_GROUP.items():
        wanted = [
            path.stem
            for path in MODULES
            if fragment in documentation(path)["DOCUMENTATION"].get("extends_documentation_fragment", [])
        ]
        assert groups[group] == wanted, group
        assert {routed[name]["action_plugin"] for name in wanted} == {ACTION_OF_GROUP[group]}
    assert len(routed) == sum(map(len, groups.values()))
