# SPDX-License-Identifier: GPL-3.0-or-later
"""plan.yml without a cloud: the model's facts are in a file, and no cluster is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.tools.setup import REPOSITORY

from .plans import facts
from .recipes import recipe


def test_a_plan_needs_no_cloud_where_the_facts_are_in_hand(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(facts().model))
    given = recipe(
        oke_cluster_id=None,
        node_provisioner="none",
        model_facts_file=str(tmp_path / "facts.json"),
        result_file=str(tmp_path / "result.json"),
        html_file=str(tmp_path / "plan.html"),
    )
    (tmp_path / "recipe.json").write_text(json.dumps(given))
    environment = {name: value for name, value in os.environ.items() if "KUBECONFIG" not in name}
    run = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "playbooks/plan.yml",
            "-e",
            f"@{tmp_path / 'recipe.json'}",
        ],
        cwd=REPOSITORY,
        env={**environment, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "4 x VM.GPU.A10.2" in run.stdout and "16.30 USD an hour" in run.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ok"] and result["plan"]["nodes"]["count"] == 4 and result["plan"]["node_pool"] is None
    ElementTree.fromstring((tmp_path / "plan.html").read_text())
