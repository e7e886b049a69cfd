# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything without a kubeconfig: the OCI sign-in reaches the cluster, for each part of the way, and leaves no token anywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig import samples
from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig, Tenancy
from rig.principals import Instance, Pod
from rig.tests.e2e.ray_clusters import no_operator
from tests.e2e.cluster_user import administrator
from tests.e2e.playbooks import Playbooks, Run
from tests.tools.collection_finder import install

NAME = "signin"
# How every token begins: the base64 of the URL that is signed.
TOKEN_BEGINS = base64.b64encode(b"https://containerengine.").decode()[:30]
__all__ = ["no_operator"]  # fixtures
CHART = {
    "Chart.yaml": {"apiVersion": "v2", "name": "rig-token", "version": "1.0.0"},
    "templates/map.yaml": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rig-token"},
        "data": {"a": "b"},
    },
}
NEVER_READY = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "never"},
    "spec": {
        "selector": {"matchLabels": {"of": "never"}},
        "template": {
            "metadata": {"labels": {"of": "never"}},
            "spec": {"nodeSelector": {"of": "nobody"}, "containers": [{"name": "c", "image": "registry.example/c"}]},
        },
    },
}
# How long the cloud takes a token.
LIFE_SECONDS = 240

install()


def write_chart(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))


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


def test_the_operator_is_installed_by_the_sign_in_alone(
    tmp_path: Path, rig: RunningRig, playbooks: Playbooks, command_lines: set[str], no_operator: None
) -> None:
    """Its definitions by kubernetes.core.k8s with a token of their own, its chart by Helm, which asks for tokens itself."""
    (play,) = yaml.safe_load((REPOSITORY / "playbooks" / "deploy.yml").read_text())
    play["tasks"] = [
        {"multinode.inference.recipe_info": {"scope": "any"}, "register": "recipe_result"},
        {"multinode.inference.kuberay": {}, "register": "kuberay_result"},
        {"multinode.inference.kuberay": {}, "register": "again_result"},
        {"ansible.builtin.assert": {"that": ["kuberay_result is changed", "again_result is not changed"]}},
    ]
    (tmp_path / "kuberay.yml").write_text(yaml.safe_dump([play]))
    run = playbooks.run(f"../{os.path.relpath(tmp_path / 'kuberay', REPOSITORY)}", options=("-vvv",))
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


@pytest.mark.soak
def test_a_resource_principal_signs_in_too(tenancy: Tenancy, playbooks: Playbooks) -> None:
    """Its token and key come by the environment, as in a function of OCI's; the SDK's own signer takes them up."""
    folder = Path(tenancy.settings["config_file_location"]).parent
    principal = {
        "OCI_ANSIBLE_AUTH_TYPE": "resource_principal",
        "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
        "OCI_RESOURCE_PRINCIPAL_RPST": str(folder / "session-token"),
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": str(folder / "key.pem"),
        "OCI_RESOURCE_PRINCIPAL_REGION": "us-ashburn-1",
    }
    settings = {name: value for name, value in playbooks.settings.items() if name != "config_file_location"}
    run = Playbooks(playbooks.folder, playbooks.environment, settings).run("status", environment=principal)
    assert run.code == 0, run.output


@pytest.mark.soak
def test_an_instance_signs_in_too(tmp_path: Path, rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks) -> None:
    """By the metadata service of the machine it runs on, for all of a deployment's life."""
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name="instance")
    settings = {name: value for name, value in playbooks.settings.items() if name != "config_file_location"}
    settings["auth_type"] = "instance_principal"
    environment = {name: value for name, value in playbooks.environment.items() if name != "OCI_CONFIG_FILE"}
    with Instance(rig.configuration, tenancy.json["tenancy_id"], tmp_path).running() as instance:
        own = Playbooks(tmp_path, {**environment, **instance.environment}, settings)
        try:
            for changed in (True, False):
                run = own.run("deploy", recipe)
                assert run.code == 0, run.output
                assert bool(run.recap["changed"]) == changed
        finally:
            removed = own.run("undeploy", recipe)
        assert removed.code == 0, removed.output
        assert instance.tokens > 0
        elsewhere = own.run("status", environment={"OCI_METADATA_BASE_URL": "http://127.0.0.1:1/opc/v2"})
    assert [fault["code"] for fault in elsewhere.faults] == ["oci_principal_unavailable"], elsewhere.output


@pytest.mark.soak
def test_a_workload_of_the_cluster_signs_in_too(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks
) -> None:
    """By the service account of the pod that it runs in."""
    account = tmp_path / "account"
    account.mkdir()
    settings = {name: value for name, value in playbooks.settings.items() if name != "config_file_location"}
    settings["auth_type"] = "workload_identity"
    environment = {name: value for name, value in playbooks.environment.items() if name != "OCI_CONFIG_FILE"}
    with administrator(rig, "workload") as user:
        pod = Pod(rig.configuration, tenancy.json["tenancy_id"], account, user.token)
        with pod.running():
            own = Playbooks(tmp_path, {**environment, **pod.environment}, settings, prefix=pod.prefix())
            run = own.run("status")
    assert run.code == 0, run.output
    assert pod.tokens > 0


@pytest.mark.soak
def test_what_awx_injects_names_cluster_and_user(tmp_path: Path, rig: RunningRig, playbooks: Playbooks) -> None:
    """AWX's credential for Kubernetes: address, token and authority in the environment."""
    content = yaml.safe_load(rig.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = tmp_path / "authority.pem"
    authority.write_bytes(base64.b64decode(content["certificate-authority-data"]))
    with administrator(rig, f"awx-{os.getpid()}") as user:
        injected = {
            "K8S_AUTH_HOST": content["server"],
            "K8S_AUTH_API_KEY": user.token,
            "K8S_AUTH_SSL_CA_CERT": str(authority),
            "K8S_AUTH_VERIFY_SSL": "True",
        }
        run = playbooks.run("status", environment=injected)
        assert run.code == 0, run.output
        wrong = playbooks.run("status", environment={**injected, "K8S_AUTH_API_KEY": "of-nobody"})
        assert [fault["code"] for fault in wrong.faults] == ["unauthorized"]
        twice = playbooks.run("status", {"kubeconfig": str(rig.kubeconfig)}, environment=injected)
        assert [fault["code"] for fault in twice.faults] == ["cluster_named_twice"]


@pytest.mark.soak
def test_helm_and_a_long_wait_outlive_a_token(
    tmp_path: Path, rig: RunningRig, playbooks: Playbooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both go on asking for longer than a token lives; the cloud never sees one that is too old."""
    from ansible_collections.multinode.inference.plugins.plugin_utils.cluster import Cluster

    monkeypatch.delenv("KUBECONFIG", raising=False)
    cluster = Cluster(playbooks.settings)
    (tmp_path / "kubeconfig").write_text(json.dumps(cluster.for_helm()))
    write_chart(tmp_path / "chart", {**CHART, "templates/never.yaml": NEVER_READY})
    namespace = f"outlive-{os.getpid()}"
    command = [str(rig.directory / "bin" / "helm"), "install", "outlive", str(tmp_path / "chart"), "--create-namespace"]
    command += ["--namespace", namespace, "--wait", "--timeout", f"{LIFE_SECONDS + 60}s"]
    environment = {**playbooks.environment, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    began = time.time()
    helm = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        kubernetes = cluster.connect()
        while time.time() - began < LIFE_SECONDS + 30:
            kubernetes.items(f"/api/v1/namespaces/{namespace}/pods")
            time.sleep(5)
        assert "context deadline exceeded" in helm.communicate(timeout=120)[0], "its own timeout, no refusal"
    finally:
        helm.kill()
        rig.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    reviews = rig.steer("GET", f"/calls?operation=ReviewToken&since={began}")
    assert [call["reason"] for call in reviews if call["status"] != 200] == []


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
    assert "remove kubeconfig" in run.faults[0]["remedy"]


@pytest.mark.soak
def test_undeploy_with_a_private_endpoint_out_of_reach_says_what_it_did_not_look_at(
    tmp_path: Path, rig: RunningRig, playbooks: Playbooks
) -> None:
    answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok", "endpoints": {"private": "127.0.0.1:1"}})
    settings = {name: value for name, value in answer["settings"].items() if name != "kubeconfig"}
    run = Playbooks(tmp_path, playbooks.environment, settings).run("undeploy", {"deployment_name": "faraway"})
    assert run.code != 0 and "Traceback" not in run.output
    assert [fault["code"] for fault in run.faults] == ["unreachable", "objects_left"], run.output
    assert run.faults[0]["where"].startswith("private endpoint https://127.0.0.1:1")
