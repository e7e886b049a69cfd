# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything without a kubeconfig: the OCI sign-in reaches the cluster, for each part of the way, and leaves no token anywhere."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run
from tests.rig import samples
from tests.rig.configuration import REPOSITORY

NAME = "signin"
# How every token begins: the base64 of the URL that is signed.
TOKEN_BEGINS = base64.b64encode(b"https://containerengine.").decode()[:30]
CHART = {
    "Chart.yaml": {"apiVersion": "v2", "name": "rig-token", "version": "1.0.0"},
    "templates/map.yaml": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rig-token"},
        "data": {"a": "b"},
    },
}


@pytest.fixture
def playbooks(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Playbooks:
    """Without a kubeconfig, given or to be found; all that is written lies in the test's folder."""
    environment = {name: value for name, value in rig.environment().items() if name != "KUBECONFIG"}
    for name in ("HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        environment[name] = str(tmp_path / name)
    environment["ANSIBLE_LOCAL_TEMP"] = environment["ANSIBLE_REMOTE_TEMP"] = str(tmp_path / "TMPDIR")
    settings = {name: value for name, value in tenancy.settings.items() if name != "kubeconfig"}
    return Playbooks(tmp_path, environment, settings)


@pytest.fixture
def command_lines() -> Iterator[set[str]]:
    """The command lines of all processes while the test runs, as anybody on the machine can read them."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.03):
            for entry in os.listdir("/proc"):
                if entry.isdigit():
                    try:
                        seen.add(Path("/proc", entry, "cmdline").read_text(errors="replace"))
                    except OSError:
                        continue

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    ended.set()
    thread.join()


def assert_no_token(runs: list[Run], folder: Path, command_lines: set[str]) -> None:
    for run in runs:
        assert TOKEN_BEGINS not in run.output + json.dumps(run.result)
    assert any("ansible-playbook" in line for line in command_lines)
    assert [line for line in command_lines if TOKEN_BEGINS in line] == []
    left = [path for path in folder.rglob("*") if path.is_file() and TOKEN_BEGINS.encode() in path.read_bytes()]
    assert left == []


def test_a_deployments_life_by_the_clusters_ocid_alone(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks, command_lines: set[str]
) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=NAME)
    runs = [playbooks.run("plan", recipe, options=("-vvv",))]
    assert runs[0].code == 0, runs[0].output
    try:
        runs.append(playbooks.run("deploy", recipe, options=("-vvv",)))
        assert runs[-1].code == 0, runs[-1].output
        since = time.time()
        runs.append(playbooks.run("deploy", recipe))
        assert runs[-1].code == 0, runs[-1].output
        assert runs[-1].recap["changed"] == 0 and runs[-1].recap["ok"] <= 13
        made = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={since}")
        asked = [call["operation"] for call in made]
        assert asked.count("CreateKubeconfig") == 1, "once a run"
        assert all(call["status"] == 200 for call in made if call["operation"] == "ReviewToken")
        for playbook, given in (("status", {}), ("logs", {"logs_component": "head"})):
            runs.append(playbooks.run(playbook, {"deployment_name": NAME, **given}, options=("-vvv",)))
            assert runs[-1].code == 0, runs[-1].output
    finally:
        runs.append(playbooks.run("undeploy", recipe, options=("-vvv",)))
    assert runs[-1].code == 0, runs[-1].output
    assert runs[-1].result is not None and f"RayCluster/{NAME}" in runs[-1].result["removed"]
    assert_no_token(runs, tmp_path, command_lines)
    # kubernetes.core keeps what the API server offers; nothing of ours is left beside it.
    assert [path.name for path in (tmp_path / "TMPDIR").iterdir() if not path.name.startswith("k8srcp-")] == []


def test_kubernetes_core_and_helm_by_the_playbooks_own_defaults(
    tmp_path: Path, rig: RunningRig, playbooks: Playbooks, command_lines: set[str]
) -> None:
    """A chart of the test's own, installed as the operator's is: with the defaults of the deploy playbook."""
    for name, content in CHART.items():
        (tmp_path / "chart" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chart" / name).write_text(yaml.safe_dump(content))
    (play,) = yaml.safe_load((REPOSITORY / "playbooks" / "deploy.yml").read_text())
    namespace = f"rig-token-{os.getpid()}"
    play["tasks"] = [
        {"multinode.inference.recipe_info": {"scope": "any"}, "register": "recipe_result"},
        {
            "kubernetes.core.helm": {
                "release_name": "rig-token",
                "release_namespace": namespace,
                "create_namespace": True,
                "chart_ref": str(tmp_path / "chart"),
            }
        },
        {
            "kubernetes.core.k8s_info": {"kind": "ConfigMap", "namespace": namespace, "name": "rig-token"},
            "register": "found",
        },
        {
            "ansible.builtin.assert": {
                "that": ["found.resources[0].data.a == 'b'", "found.resources[0].apiVersion == 'v1'"]
            }
        },
        {"kubernetes.core.k8s": {"kind": "Namespace", "name": namespace, "state": "absent"}},
    ]
    (tmp_path / "helm.yml").write_text(yaml.safe_dump([play]))
    run = playbooks.run(f"../{os.path.relpath(tmp_path / 'helm', REPOSITORY)}", options=("-vvv",))
    assert run.code == 0, run.output
    assert any("exec_credential.py" in line for line in command_lines), "Helm asked for a token itself"
    assert_no_token([run], tmp_path, command_lines)
    assert [path.name for path in (tmp_path / "TMPDIR").iterdir() if not path.name.startswith("k8srcp-")] == []


@pytest.mark.soak
def test_a_session_signs_in_too(rig: RunningRig, playbooks: Playbooks) -> None:
    """What `oci session authenticate` leaves: a token and its key, no user."""
    run = playbooks.run("status", {"auth_type": "security_token", "config_profile_name": "SESSION"})
    assert run.code == 0, run.output
    by_environment = {"OCI_ANSIBLE_AUTH_TYPE": "security_token", "OCI_CONFIG_PROFILE": "SESSION"}
    run = playbooks.run("status", environment=by_environment)
    assert run.code == 0, run.output


def test_a_private_endpoint_out_of_reach(tmp_path: Path, rig: RunningRig, playbooks: Playbooks) -> None:
    answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok", "endpoints": {"private": "127.0.0.1:1"}})
    settings = {name: value for name, value in answer["settings"].items() if name != "kubeconfig"}
    run = Playbooks(tmp_path, playbooks.environment, settings).run("status")
    assert run.code != 0 and "Traceback" not in run.output
    (fault,) = run.faults
    assert fault["code"] == "unreachable" and fault["where"].startswith("private endpoint https://127.0.0.1:1")
    assert "inside the cluster's network" in fault["remedy"]
    wanted = Playbooks(tmp_path, playbooks.environment, settings).run("status", {"kubernetes_endpoint": "public"})
    assert [fault["code"] for fault in wanted.faults] == ["no_such_endpoint"]


@pytest.mark.soak
def test_a_user_whom_the_cluster_gives_no_rights(tmp_path: Path, rig: RunningRig, playbooks: Playbooks) -> None:
    answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok", "administrator": False})
    settings = {name: value for name, value in answer["settings"].items() if name != "kubeconfig"}
    run = Playbooks(tmp_path, playbooks.environment, settings).run("status")
    assert run.code != 0 and "Traceback" not in run.output
    assert [fault["code"] for fault in run.faults] == ["forbidden"]


@pytest.mark.soak
def test_a_kubeconfig_of_the_oci_command_line_without_it(
    tmp_path: Path, playbooks: Playbooks, tenancy: Tenancy
) -> None:
    user: dict[str, Any] = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "oci-not-here", "args": []}
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": user}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    run = playbooks.run("status", {"kubeconfig": str(tmp_path / "config")})
    assert [fault["code"] for fault in run.faults] == ["kubeconfig_command_missing"], run.output
    assert "leave kubeconfig out" in run.faults[0]["remedy"]
