# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan from facts in hand, and plan.yml beside a bare ansible-playbook with as many tasks that do nothing.

Both playbooks run alternately in this run, without a cloud; the ratio is the figure.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.tools.collection_finder import install
from tests.tools.setup import REPOSITORY

ROUNDS = 5
PLANS = 50
# Tasks of plan.yml that run where no cloud and no source is asked: recipe, plan, report.
TASKS = 3


def main() -> None:
    install()
    _plans()
    with tempfile.TemporaryDirectory() as folder:
        _playbooks(Path(folder))


def _plans() -> None:
    """Time of one plan in this process, for a small and a large model."""
    from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import make_plan
    from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
    from tests.unit.core.plans import facts
    from tests.unit.core.recipes import recipe

    inputs = read_inputs(recipe())
    found = facts()
    expert = {f"model.layers.{layer}.mlp.experts.{number}.up_proj.weight": f"model-{layer % 32 + 1}.safetensors"
              for layer in range(32) for number in range(1000)}  # fmt: skip
    large = facts(model={**found.model, "index": {"weight_map": {**found.model["index"]["weight_map"], **expert}}})
    for name, known in (("the published sample", found), ("an index of 32,000 tensors", large)):
        seconds = _median(lambda known=known: make_plan(inputs, known), PLANS)
        print(f"  a plan, {name:<27} {seconds * 1000:7.1f} ms (median of {PLANS})")


def _playbooks(folder: Path) -> None:
    from tests.unit.core.plans import facts
    from tests.unit.core.recipes import recipe

    (folder / "facts.json").write_text(json.dumps(facts().model), encoding="utf-8")
    given = recipe(oke_cluster_id=None, node_provisioner="none", model_facts_file=str(folder / "facts.json"))
    (folder / "recipe.json").write_text(json.dumps(given), encoding="utf-8")
    tasks = [{"name": "Nothing", "ansible.builtin.debug": {"msg": "nothing"}} for _task in range(TASKS)]
    play = {"name": "Bare", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "bare.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    # No cluster of this machine is looked at.
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG")},
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))

    def run(*arguments: str) -> Callable[[], Any]:
        command = [ansible, *arguments]

        def once() -> None:
            ended = subprocess.run(
                command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            if ended.returncode:
                raise SystemExit(ended.stdout.decode())

        return once

    bare, plan = run(str(folder / "bare.yml")), run("playbooks/plan.yml", "-e", f"@{folder / 'recipe.json'}")
    bare()
    low, high = [], []
    for _round in range(ROUNDS):
        low.append(_seconds(bare))
        high.append(_seconds(plan))
    floor, seconds = statistics.median(low), statistics.median(high)
    print(f"  plan.yml                            {seconds:7.2f} s  (median of {ROUNDS})")
    print(f"  bare ansible-playbook, {TASKS} tasks      {floor:7.2f} s")
    print(f"  ratio                               {seconds / floor:7.2f}")


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median(work: Callable[[], Any], rounds: int) -> float:
    return statistics.median(_seconds(work) for _round in range(rounds))
