# SPDX-License-Identifier: GPL-3.0-or-later
"""plan.yml without a cloud: the model's facts are in a file, and no cluster is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.tools.setup import REPOSITORY

from ..plans import facts
from ..recipe.test_dialects import leader_and_workers
from ..recipes import PAR, recipe


def plan_playbook(folder: Path, *given: dict[str, Any], options: tuple[str, ...] = ()) -> str:
    """The output of plan.yml with each of `given` as a file of variables; no cluster of this machine is looked at."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/plan.yml", *options]
    for number, variables in enumerate(given):
        path = folder / f"given-{number}.json"
        path.write_text(json.dumps(variables))
        command += ["-e", f"@{path}"]
    environment = {name: value for name, value in os.environ.items() if "KUBECONFIG" not in name}
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**environment, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def test_a_plan_needs_no_cloud_where_the_facts_are_in_hand(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(facts().model))
    given = recipe(
        oke_cluster_id=None,
        node_provisioner="none",
        model_facts_file=str(tmp_path / "facts.json"),
        result_file=str(tmp_path / "result.json"),
        html_file=str(tmp_path / "plan.html"),
    )
    output = plan_playbook(tmp_path, given)
    assert "4 x VM.GPU.A10.2" in output and "16.30 USD an hour" in output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ok"] and result["plan"]["nodes"]["count"] == 4 and result["plan"]["node_pool"] is None
    ElementTree.fromstring((tmp_path / "plan.html").read_text())


def test_a_recipe_of_leader_and_workers_is_written_in_todays_spelling(tmp_path: Path) -> None:
    model = {**facts().model, "prefix": "org/model/"}
    (tmp_path / "facts.json").write_text(json.dumps(model))
    settings = {"model_facts_file": str(tmp_path / "facts.json"), "result_file": str(tmp_path / "result.json")}
    written = tmp_path / "new.json"
    output = plan_playbook(tmp_path, leader_and_workers(), {**settings, "convert_to": str(written)})
    for line in (
        "converted: recipe_mode: raycluster; leader and workers are one Ray cluster",
        "converted: multinode_num_nodes_to_use_from_shared_pool: recipe_node_pool_size 2; head and workers together",
    ):
        assert line in output
    first = json.loads((tmp_path / "result.json").read_text())["plan"]
    assert written.stat().st_mode & 0o777 == 0o600, "its secrets are in it, too"
    converted = json.loads(written.read_text())
    assert converted["recipe_mode"] == "raycluster" and converted["input_object_storage"][0]["par"] == PAR
    output = plan_playbook(tmp_path, converted, settings)
    assert "converted:" not in output
    assert json.loads((tmp_path / "result.json").read_text())["plan"] == first
