# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy that has nothing to do, beside its floor.

The floor is a bare ansible-playbook with what no deploy can do without: one kubernetes.core task that applies the same
objects, and one call of the OCI SDK. Both run alternately in this run; the ratio is the figure.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from rig import access, samples
from rig.configuration import REPOSITORY, Rig, rig_directory
from tests.e2e.playbooks import Playbooks, recap
from tests.tools.collection_finder import install

ROUNDS = 3
# A deploy that has nothing to do takes at most so many times as long as its floor.
MOST = 2.0


def main() -> None:
    directory = rig_directory()
    was_up = (directory / "env").exists()
    _check([sys.executable, "-m", "rig", "up"])
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Rig.load(directory), directory, Path(folder))
    finally:
        if not was_up:
            _check([sys.executable, "-m", "rig", "down"])


def _measure(rig: Rig, directory: Path, folder: Path) -> None:
    tenancy = access.steer(rig.oci.control, "POST", "/tenancies", {})
    samples.put_model(tenancy, rig)
    environment = access.environment(directory)
    playbooks = Playbooks(folder, environment, {**tenancy["settings"], "endpoint_exposure": "load_balancer"})
    # A group on the light image is up in seconds; the second deploy is the same.
    recipe = samples.light_recipe(samples.make_par(tenancy, rig), deployment_name="bench_noop")
    try:
        first = playbooks.run("deploy", recipe)
        if first.code or first.result is None:
            raise SystemExit(first.output)
        floor = _floor(folder, first.result["plan"], tenancy["settings"], rig)
        floors, deploys, tasks = [], [], 0
        for _round in range(ROUNDS):
            floors.append(_seconds(floor, environment)[0])
            seconds, output = _seconds(playbooks.command("deploy", recipe), environment)
            if recap(output)["changed"]:
                raise SystemExit("the deploy changed something:\n" + output)
            deploys.append(seconds)
            tasks = recap(output)["ok"]
        low, high = statistics.median(floors), statistics.median(deploys)
        print(f"  no-op deploy   {tasks} tasks   {high:6.2f} s (median of {ROUNDS})")
        print(f"  floor          2 tasks    {low:6.2f} s (the same objects, one OCI call)")
        print(f"  ratio          {high / low:.2f} (at most {MOST})")
        if high > MOST * low:
            raise SystemExit(
                f"a deploy that has nothing to do takes {high / low:.2f} times as long as its floor, at most {MOST}"
            )
    finally:
        playbooks.run("undeploy", recipe)


def _floor(folder: Path, plan: dict[str, Any], settings: dict[str, Any], rig: Rig) -> list[str]:
    """The command of the bare playbook."""
    install()
    from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
    from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SIGN_IN

    programs = (REPOSITORY / "roles" / "raycluster" / "files").glob("*.py")
    objects = render(plan, {path.name: path.read_text(encoding="utf-8") for path in sorted(programs)})
    # With what deploy adds to the plan's objects (node pool, endpoint): else it would be changed back and forth.
    kubectl = [rig.directory / "bin" / "kubectl", "--kubeconfig", settings["kubeconfig"], "--output", "json"]
    asked = [*kubectl, "--namespace", plan["deployment"]["namespace"], "get", "rayclusters,services"]
    answer = subprocess.run(asked, capture_output=True, check=True).stdout
    standing = {(item["kind"], item["metadata"]["name"]): item["metadata"] for item in json.loads(answer)["items"]}
    for item in objects:
        if metadata := standing.get((item["kind"], item["metadata"]["name"])):
            item["metadata"]["annotations"] = metadata.get("annotations") or {}
    # Read from a file, they are not taken for templates.
    (folder / "objects.yml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    apply = {
        "state": "present",
        "apply": True,
        "server_side_apply": {"field_manager": "multinode.inference", "force_conflicts": True},
        "kubeconfig": settings["kubeconfig"],
        "src": str(folder / "objects.yml"),
    }
    sign_in = {key: settings[key] for key in SIGN_IN if settings.get(key)}
    tasks = [
        {"name": "Apply", "kubernetes.core.k8s": apply},
        {
            "name": "Ask",
            "multinode.inference.oci_node_pool_info": {"cluster_id": settings["oke_cluster_id"], **sign_in},
        },
    ]
    play = {
        "name": "Floor",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": tasks,
    }
    path = folder / "floor.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    return ["ansible-playbook", str(path)]


def _seconds(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    began = time.monotonic()
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(run.stdout)
    return time.monotonic() - began, run.stdout


def _check(command: list[str]) -> None:
    if subprocess.run(command, cwd=REPOSITORY, env=dict(os.environ), check=False).returncode:
        raise SystemExit(f"{' '.join(command)} failed")
