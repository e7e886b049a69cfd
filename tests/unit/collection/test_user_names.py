# SPDX-License-Identifier: GPL-3.0-or-later
"""User text is data: what playbooks and roles template has a name that no user may set, and none is templated too early.

Extra variables win over what a task registers. So each playbook begins with the task that refuses such names, and what
runs after a refusal, the rescue, templates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, meta

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from tests.tools.setup import REPOSITORY
from tests.unit.core.recipes import recipe

PLAYBOOKS = sorted((REPOSITORY / "playbooks").glob("*.yml"))
ROLE_FILES = sorted(
    path
    for kind in ("*.yml", "*.yaml", "*.j2")
    for path in (REPOSITORY / "roles").rglob(kind)
    if "meta" not in path.parts
)
# Keywords whose text Ansible takes for an expression.
EXPRESSIONS = {"when", "until", "changed_when", "failed_when", "that", "loop", "var"}
# Names of Ansible's own that are no extra variables: an extra variable of that name loses against it.
MAGIC = {"ansible_playbook_python", "ansible_check_mode"}
SCOPES = ("recipe", "deployment", "removal", "any")


def texts(value: Any, key: str = "") -> Iterator[str]:
    """Every template of a YAML tree, expressions in braces."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from texts(name)
            yield from texts(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, key)
    elif isinstance(value, str):
        yield "{{ " + value + " }}" if key in EXPRESSIONS and "{{" not in value else value


def names(value: Any) -> set[str]:
    """Every variable that the templates of a YAML tree read."""
    environment = Environment()
    for kind in ("filters", "tests"):
        getattr(environment, kind).update(dict.fromkeys(known(value), lambda *_arguments: None))
    return {name for text in texts(value) for name in meta.find_undeclared_variables(environment.parse(text))}


def known(value: Any) -> set[str]:
    """Words of the templates: a parser that knows no filter of Ansible's needs them for names of filters and tests."""
    return {word.strip(".,()") for text in texts(value) for word in text.replace("|", " ").split()}


def plays(path: Path) -> list[dict[str, Any]]:
    """The plays of a playbook; those of one that it imports are that one's."""
    return [play for play in yaml.safe_load(path.read_text()) if "ansible.builtin.import_playbook" not in play]


def tasks(play: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for block in play["tasks"]:
        yield from block.get("block", [block])


def all_read() -> set[str]:
    return {name for path in (*PLAYBOOKS, *ROLE_FILES) for name in names(yaml.safe_load(path.read_text()))}


def test_templates_read_registered_results_alone() -> None:
    read = all_read()
    assert "recipe_result" in read
    assert {name for name in read if not name.endswith("_result")} == MAGIC


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", [*sorted(all_read()), "ansible_failed_result", "ansible_failed_task", "some_result"])
@pytest.mark.parametrize("below_recipe", [False, True], ids=["top level", "below recipe"])
def test_no_user_may_set_a_name_that_is_read(name: str, scope: str, below_recipe: bool) -> None:
    given = {"recipe": recipe()} if below_recipe else recipe()
    with pytest.raises(Refused) as refused:
        read_inputs({**given, name: "{{ lookup('pipe', 'id') }}"}, scope)
    assert ("reserved", name) in {(fault.code, fault.where) for fault in refused.value.faults}


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_playbook_reads_the_recipe_before_it_templates_anything(path: Path) -> None:
    for play in plays(path):
        assert names({key: value for key, value in play.items() if key != "tasks"}) <= MAGIC
        first = next(tasks(play))
        role = first.get("ansible.builtin.import_role")
        if role:
            folder = REPOSITORY / "roles" / role["name"].rpartition(".")[2] / "tasks"
            first = yaml.safe_load((folder / f"{role.get('tasks_from', 'main')}.yml").read_text())[0]
        assert "multinode.inference.recipe_info" in first, json.dumps(first)
        assert names(first) == set()


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_what_runs_after_a_refusal_templates_nothing(path: Path) -> None:
    for play in plays(path):
        assert "handlers" not in play
        for block in play["tasks"]:
            assert names([block[part] for part in ("rescue", "always") if part in block]) == set()
            assert (
                names({key: value for key, value in block.items() if key not in ("block", "rescue", "always")}) == set()
            )


def registers(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "register" in value:
            yield value["register"]
        for inner in value.values():
            yield from registers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from registers(inner)


@pytest.mark.parametrize("path", [*PLAYBOOKS, *ROLE_FILES], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_is_registered_has_a_name_that_no_user_may_set(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert [name for name in registers(content) if not name.endswith("_result")] == []
