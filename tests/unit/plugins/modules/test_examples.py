# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules show as their examples is right: options that exist, and what needs no cloud runs as it stands there."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.model import write_tiny_llama
from tests.tools.setup import REPOSITORY
from tests.unit.core.recipes import recipe

MODULES = sorted(path.stem for path in (REPOSITORY / "plugins" / "modules").glob("*.py"))
# Of a task, beside its module.
KEYWORDS = {
    "name",
    "register",
    "no_log",
    "vars",
    "loop",
    "when",
    "until",
    "retries",
    "delay",
    "delegate_to",
    "loop_control",
}


def module(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.multinode.inference.plugins.modules.{name}")


def examples(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load(module(name).EXAMPLES))


def options(name: str) -> set[str]:
    """The options that a module documents, with those of its fragments."""
    documented = yaml.safe_load(module(name).DOCUMENTATION)
    found = dict(documented.get("options") or {})
    for fragment in documented.get("extends_documentation_fragment") or []:
        place = fragment.removeprefix("multinode.inference.")
        text = importlib.import_module(f"ansible_collections.multinode.inference.plugins.doc_fragments.{place}")
        found |= yaml.safe_load(text.ModuleDocFragment.DOCUMENTATION).get("options") or {}
    return {option for name, entry in found.items() for option in (name, *(entry.get("aliases") or ()))}


@pytest.mark.parametrize("name", MODULES)
def test_examples_name_options_that_there_are(name: str) -> None:
    shown = examples(name)
    assert any(f"multinode.inference.{name}" in task for task in shown), "its examples show others only"
    for task in shown:
        for action in set(task) - KEYWORDS:
            if action.startswith("multinode.inference."):
                assert set(task[action] or {}) <= options(action.rpartition(".")[2]), task


@pytest.mark.processes
def test_a_recipe_is_planned_and_a_model_is_read_as_the_examples_show(tmp_path: Path) -> None:
    """Without a cluster and an account."""
    models = tmp_path / "models"
    (models / "llama").mkdir(parents=True)
    write_tiny_llama(models / "llama", shards=2, layers=4, hidden=64)
    (folder,) = (task for task in examples("model_info") if "folder" in task["multinode.inference.model_info"])
    tasks = [
        folder,
        {
            "name": "Keep the facts",
            "ansible.builtin.copy": {"content": "{{ found.model | to_json }}", "dest": "{{ kept }}", "mode": "0600"},
        },
        *examples("plan"),
        {
            "name": "Keep the plan",
            "ansible.builtin.copy": {
                "content": "{{ preflight_result.plan | to_json }}",
                "dest": "{{ kept }}.plan",
                "mode": "0600",
            },
        },
    ]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "models": str(models)},
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    kept = tmp_path / "facts.json"
    given = recipe(node_provisioner="none", model_facts_file=str(kept))
    given.pop("oke_cluster_id", None)
    (tmp_path / "recipe.json").write_text(json.dumps(given))
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "K8S_", "OCI_"))}
    variables |= {
        "HOME": str(tmp_path),
        "KUBECONFIG": "",
        "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY / 'playbooks' / 'collections'}:{REPOSITORY / '.deps'}",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "play.yml", "-e", "@recipe.json", "-e", f"kept={kept}"]
    ran = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((tmp_path / "facts.json.plan").read_text())["deployment"]["name"]
