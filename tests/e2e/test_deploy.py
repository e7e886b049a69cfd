# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a deployment on real Kubernetes, the real oci SDK and real Ray, from an empty account to an empty account.

One deployment serves all tests of this file, in their order: each is a step of its life.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.endpoint_client import EndpointClient
from tests.e2e.playbooks import READS_BY_POST, Playbooks, Run
from tests.waiting import wait

NAME = "e2e_way"
DNS_NAME = "e2eway"


@pytest.fixture(scope="module")
def tenancy(rig: RunningRig) -> Tenancy:
    answer = rig.steer("POST", "/tenancies", {})
    samples.put_model(answer, rig.configuration)
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture(scope="module")
def par(rig: RunningRig, tenancy: Tenancy) -> str:
    return samples.make_par(tenancy.json, rig.configuration)


@pytest.fixture(scope="module")
def recipe(par: str) -> dict[str, Any]:
    return samples.recipe(par, deployment_name=NAME)


@pytest.fixture(scope="module")
def playbooks(tmp_path_factory: pytest.TempPathFactory, rig: RunningRig, tenancy: Tenancy) -> Playbooks:
    settings = {**tenancy.settings, "endpoint_exposure": "load_balancer"}
    return Playbooks(tmp_path_factory.mktemp("way"), rig.environment(), settings)


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """What every run printed and wrote, for the canary test at the end."""
    return []


def kept(run: Run, outputs: list[str]) -> Run:
    outputs.append(run.output + json.dumps(run.result))
    return run


def pools(rig: RunningRig, tenancy: Tenancy) -> list[dict[str, Any]]:
    """The deployment's node pools that the cloud has, read by the real SDK."""
    import oci

    config = oci.config.from_file(tenancy.settings["config_file_location"])
    client = oci.container_engine.ContainerEngineClient(config, service_endpoint=rig.configuration.oci.endpoint)
    found = client.list_node_pools(tenancy.compartment_id, cluster_id=tenancy.oke_cluster_id).data
    return [pool for pool in found if pool.name == DNS_NAME and pool.lifecycle_state not in ("DELETED", "DELETING")]


def calls(rig: RunningRig, tenancy: Tenancy, operation: str) -> list[dict[str, Any]]:
    return rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation={operation}")


def test_check_mode_on_an_empty_account_says_what_would_be_made(
    rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks, recipe: dict[str, Any], outputs: list[str]
) -> None:
    run = kept(playbooks.run("deploy", recipe, options=("--check", "--diff", "-vvv")), outputs)
    assert run.code == 0, run.output
    assert run.result is not None and run.result["ok"]
    assert f"RayCluster/{DNS_NAME}" in run.output
    assert not pools(rig, tenancy)
    assert not calls(rig, tenancy, "CreateNodePool")
    assert DNS_NAME not in rig.kubectl("get", "namespaces", "--output", "name")


def test_a_run_killed_after_the_pool_was_asked_for_is_finished_by_running_again(
    rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks, recipe: dict[str, Any], outputs: list[str]
) -> None:
    outputs.append(playbooks.kill_when("TASK [multinode.inference.kuberay", "deploy", recipe))
    # The cloud shows the new pool only after a moment, so that running again has to find it by its work request.
    assert len(calls(rig, tenancy, "CreateNodePool")) == 1
    run = kept(playbooks.run("deploy", recipe, options=("-vvv",)), outputs)
    assert run.code == 0, run.output
    assert len(pools(rig, tenancy)) == 1
    assert len(calls(rig, tenancy, "CreateNodePool")) == 1
    assert run.result is not None
    assert run.result["ok"] and run.result["changed"]
    assert set(run.result["recipes"]) == {f"{NAME}-raycluster-app", f"{NAME}-raycluster-dashboard"}
    assert run.result["completion"]
    phases = [entry["phase"] for entry in run.result["timeline"]]
    assert phases[:5] == ["recipe", "preflight", "node_pool", "kuberay", "raycluster"]
    assert set(phases[5:]) == {"nodes", "pods", "staging", "ray", "engine", "token", "endpoint"}


def test_the_printed_command_gets_a_completion(rig: RunningRig, playbooks: Playbooks, recipe: dict[str, Any]) -> None:
    run = playbooks.run("deploy", recipe)
    assert run.result is not None
    command = f"{run.result['curl']} --silent --show-error --fail"
    answer = subprocess.run(
        ["bash", "-c", command], env=playbooks.environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["choices"][0]["text"]


def test_without_its_key_the_api_answers_nothing_and_the_dashboard_asks_for_its_token(
    playbooks: Playbooks, recipe: dict[str, Any], tmp_path: Path
) -> None:
    run = playbooks.run("deploy", recipe)
    assert run.result is not None
    client = EndpointClient(playbooks, run.result, tmp_path)
    for path in ("/v1/models", "/invocations", "/tokenize", "/metrics", "/version"):
        assert client.ask(client.urls["app"] + path).status == "401", path
    assert client.ask(client.urls["app"] + "/health").status == "200"
    # The group does not wait for it.
    wait("the dashboard", lambda: client.ask(client.urls["dashboard"] + "/nodes?view=summary").status == "401")


def test_a_second_run_changes_nothing(
    rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks, recipe: dict[str, Any], outputs: list[str]
) -> None:
    before = rig.kubectl("get", "raycluster,pod,service,secret,configmap", "--namespace", DNS_NAME, "--output", "json")
    since = time.time()
    run = kept(playbooks.run("deploy", recipe, options=("--diff",)), outputs)
    assert run.code == 0, run.output
    assert run.recap["changed"] == 0, run.output
    assert run.result is not None and run.result["changed"] is False
    after = rig.kubectl("get", "raycluster,pod,service,secret,configmap", "--namespace", DNS_NAME, "--output", "json")

    def identity(text: str) -> dict[str, tuple[str, Any]]:
        items = json.loads(text)["items"]
        return {
            f"{item['kind']}/{item['metadata']['name']}": (item["metadata"]["uid"], item["metadata"].get("generation"))
            for item in items
        }

    assert identity(before) == identity(after)
    made = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={since}")
    assert [call for call in made if call["method"] != "GET" and call["operation"] not in READS_BY_POST] == []


def generation(rig: RunningRig) -> str:
    """What stands for the pods: of another generation of the RayCluster they are made again."""
    fields = "{.metadata.uid}/{.metadata.generation}"
    return rig.kubectl("get", "raycluster", DNS_NAME, "--namespace", DNS_NAME, "--output", f"jsonpath={fields}")


def test_a_newer_collection_restarts_nothing_unasked(
    rig: RunningRig, playbooks: Playbooks, recipe: dict[str, Any], tmp_path: Path
) -> None:
    """It has another program, and the endpoint changes: the Service does, the pods do not."""
    for part in ("plugins", "roles", "playbooks", "meta"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, symlinks=True)
    for part in ("galaxy.yml", "ansible.cfg"):
        shutil.copy(REPOSITORY / part, tmp_path / part)
    program = tmp_path / "roles" / "raycluster" / "files" / "head.py"
    program.write_text(program.read_text(encoding="utf-8") + "# newer\n", encoding="utf-8")
    paths = f"{tmp_path}/playbooks/collections:{REPOSITORY}/.deps"
    environment = {**playbooks.environment, "ANSIBLE_COLLECTIONS_PATH": paths}
    settings = {**playbooks.settings, "service_annotations": {"e2e": "newer"}}
    newer = Playbooks(playbooks.folder, environment, settings, tmp_path)
    before = generation(rig)
    run = newer.run("deploy", recipe)
    assert run.code == 0, run.output
    assert (
        "live, the group keeps serving\n" in run.output
        and "endpoint.annotations.e2e: (not given) -> newer" in run.output
    )
    assert run.result is not None
    assert ("newer_choice", "programs") in [(entry["code"], entry["where"]) for entry in run.result["warnings"]]
    assert generation(rig) == before
    annotations = rig.kubectl("get", "service", f"{DNS_NAME}-api", "--namespace", DNS_NAME, "--output", "yaml")
    assert "e2e: newer" in annotations
    run = newer.run("deploy", recipe)
    assert run.recap["changed"] == 0, run.output


def test_a_look_ahead_says_what_a_change_means(rig: RunningRig, playbooks: Playbooks, recipe: dict[str, Any]) -> None:
    before = generation(rig)
    run = playbooks.run("deploy", {**recipe, "recipe_max_model_length": 512}, options=("--check", "--diff"))
    assert run.code == 0, run.output
    assert re.search(
        r"restart, the pods are recreated: about [\d.]+ minutes until it serves\n +--max-model-len: .+ -> 512\n",
        run.output,
    )
    # The diff of the objects: one line, without what the API server adds, or the text of a program.
    assert re.search(rf"\nConfigMap/{DNS_NAME}-runtime-\w+\n  group.json: --max-model-len: .+ -> 512\n", run.output)
    for noise in ("managedFields", "resourceVersion", "from __future__", "multinode.inference/fields"):
        assert noise not in run.output, noise
    assert generation(rig) == before


def test_status_shows_it_ready(playbooks: Playbooks, recipe: dict[str, Any], outputs: list[str]) -> None:
    for given in (recipe, {"deployment_name": NAME}):
        run = kept(playbooks.run("status", given), outputs)
        assert run.code == 0, run.output
        assert run.result is not None
        (deployment,) = run.result["deployments"]
        assert (deployment["name"], deployment["state"], deployment["ready"]) == (DNS_NAME, "Ready", True)
        assert deployment["usd_per_hour"] == deployment["cost"]["nodes"] == 4.0
        assert (
            f"  billed {deployment['cost']['total']:.2f} USD an hour since {deployment['created'][:10]}" in run.output
        )
        # The newer collection's deploy gave an annotation that these settings do not have.
        differences = deployment["drift"] and [(entry["field"], entry["class"]) for entry in deployment["drift"]]
        assert differences == ([("endpoint.annotations", "live")] if given is recipe else None)
        assert run.result["orphans"] == []
    other = playbooks.run("status", {**recipe, "recipe_max_model_length": 512})
    assert other.code == 0 and other.result is not None, other.output
    differences = [(entry["field"], entry["class"]) for entry in other.result["deployments"][0]["drift"]]
    assert sorted(differences) == [("endpoint.annotations", "live"), ("engine.args", "restart")]
    assert re.search(r"\n  differs from the recipe: restart, --max-model-len: .+ -> 512\n", other.output)
    unplanned = playbooks.run("status", {**recipe, "recipe_node_shape": "BM.GPU.NONE.8"})
    assert unplanned.code == 0 and "not compared with the recipe: recipe_nvidia_gpu_count" in unplanned.output


def test_status_of_a_deployment_that_is_not_there_fails(playbooks: Playbooks) -> None:
    run = playbooks.run("status", {"deployment_name": "nobody"})
    assert run.code != 0
    assert [fault["code"] for fault in run.faults] == ["no_deployment"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"logs_component": "head"}, "Application startup complete"),
        ({"logs_component": "worker", "logs_worker": "1", "logs_raw": "true"}, "multinode {"),
        ({"logs_component": "staging"}, "  staging   done"),
        ({"logs_component": "events"}, "Pod/"),
        ({"logs_component": "operator"}, DNS_NAME),
    ],
)
def test_logs(playbooks: Playbooks, outputs: list[str], given: dict[str, Any], words: str) -> None:
    run = kept(playbooks.run("logs", {"deployment_name": NAME, **given}), outputs)
    assert run.code == 0, run.output
    assert run.result is not None and any(words in line for line in run.result["lines"])
    assert words in run.output


def test_undeploy_leaves_nothing_and_runs_twice(
    rig: RunningRig, tenancy: Tenancy, playbooks: Playbooks, recipe: dict[str, Any], outputs: list[str]
) -> None:
    run = kept(playbooks.run("undeploy", recipe), outputs)
    assert run.code == 0, run.output
    assert run.result is not None and f"RayCluster/{DNS_NAME}" in run.result["removed"]
    assert not pools(rig, tenancy)
    assert f"namespace/{DNS_NAME}" not in rig.kubectl("get", "namespaces", "--output", "name").split()
    assert tenancy.oke_cluster_id[-6:] not in rig.kubectl(
        "get", "nodes", "--selector", f"multinode.inference/deployment={DNS_NAME}", "--output", "name"
    )
    assert not rig.kubectl("get", "pv", "--output", "name", "--selector", f"app.kubernetes.io/instance={DNS_NAME}")
    again = kept(playbooks.run("undeploy", recipe), outputs)
    assert again.code == 0, again.output
    assert again.result is not None and again.result["changed"] is False


def test_no_secret_shows_anywhere(par: str, outputs: list[str], rig: RunningRig) -> None:
    secret = par.split("/p/")[1].split("/")[0]
    assert len(secret) > 10
    for output in outputs:
        assert secret not in output
    for log in Path(rig.directory, "logs").glob("*.log"):
        # The cloud itself knows its requests; everything else must not.
        if log.name != "oci.log":
            assert secret not in log.read_text(encoding="utf-8", errors="replace"), log.name
