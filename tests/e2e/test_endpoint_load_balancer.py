# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint behind a load balancer: names, TLS, keys; what changes of it live, and what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.endpoint_client import EndpointClient, check_long_answers, slow_engine
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run
from tests.waiting import wait

NAME = "lbway"
EXPOSED = {"endpoint_exposure": "load_balancer"}


@pytest.fixture(scope="module")
def tenancy(rig: RunningRig) -> Tenancy:
    answer = rig.steer("POST", "/tenancies", {})
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, rig: RunningRig, tenancy: Tenancy) -> Iterator[Deployment]:
    made = Deployment(NAME, tmp_path_factory.mktemp("lb"), rig, tenancy)
    made.recipe["recipe_served_model_name"] = "it's a model"
    yield made
    made.undeploy()


@pytest.fixture(scope="module")
def result(deployment: Deployment) -> dict[str, Any]:
    run = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED)
    assert run.code == 0, run.output
    assert run.result is not None
    return run.result


@pytest.fixture
def client(deployment: Deployment, result: dict[str, Any], tmp_path: Path) -> EndpointClient:
    return EndpointClient(deployment.playbooks, result, tmp_path)


def secret(rig: RunningRig, name: str) -> dict[str, str]:
    found = json.loads(rig.kubectl("--namespace", NAME, "get", "secret", name, "--output", "json"))
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def head(rig: RunningRig) -> dict[str, Any]:
    selector = ("--selector", "ray.io/node-type=head")
    found = json.loads(rig.kubectl("--namespace", NAME, "get", "pods", *selector, "--output", "json"))["items"]
    return {"uid": found[0]["metadata"]["uid"], "restarts": found[0]["status"]["containerStatuses"][0]["restartCount"]}


def test_both_hosts_have_the_labels_and_the_form_that_users_know(result: dict[str, Any]) -> None:
    host = f"{NAME}.{result['address'].replace('.', '-')}.nip.io"
    assert result["recipes"] == {
        f"{NAME}-raycluster-app": f"https://{host}",
        f"{NAME}-raycluster-dashboard": f"https://dashboard.{host}:8265",
    }
    assert Path(result["ca_file"]).read_text() == result["ca_pem"]
    assert result["model_names"][0] == "it's a model" and result["pipeline_parallel"] >= 1
    assert set(result["seconds"]) >= {"preflight", "engine", "endpoint"}


def test_the_chain_is_verified_and_every_path_asks_for_the_key(client: EndpointClient) -> None:
    models = f"{client.urls['app']}/v1/models"
    assert client.ask(models, key=client.key).status == "200"
    assert client.ask(models, key=client.key, trusted=False).code == 60, "curl: the authority is not known"
    assert client.ask(models, key=f"{client.key}x").status == "401"
    assert client.ask(models).status == "401"
    other = client.ask(models.replace(NAME, "other"), key=client.key)
    assert other.code == 60, "another host is not in the certificate"
    plain = client.ask(models.replace("https", "http"), key=client.key)
    assert plain.code == 7, "port 80 is closed"


def test_the_dashboard_asks_for_rays_token(client: EndpointClient, rig: RunningRig) -> None:
    nodes = f"{client.urls['dashboard']}/nodes?view=summary"
    wait("the dashboard", lambda: client.ask(nodes).status == "401")
    assert client.ask(nodes, key=secret(rig, f"{NAME}-ray-token")["auth_token"]).status == "200"


def test_a_body_of_20_megabytes_comes_through(client: EndpointClient, tmp_path: Path) -> None:
    body = tmp_path / "large.json"
    body.write_text(json.dumps({"model": "it's a model", "prompt": "x", "user": "x" * 20_000_000}))
    words = ("--data-binary", f"@{body}", "--header", "Content-Type: application/json", "--header", "Expect:")
    assert client.ask(f"{client.urls['app']}/tokenize", *words, key=client.key).status == "200"


def test_answers_may_take_longer_than_the_default_idle_time(
    deployment: Deployment, client: EndpointClient, rig: RunningRig
) -> None:
    # OCI's default of 300 s is 6 s, and ours of an hour 72 s.
    scale = rig.directory / "idle_scale"
    scale.write_text("0.02")
    try:
        check_long_answers(client, rig, 300 * 0.02)
        # The other way round: one that is bound to a minute, which is 1.2 s, ends what is silent for longer.
        short = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED, {"endpoint_idle_timeout_seconds": 60})
        assert short.code == 0, short.output
        with slow_engine(rig, NAME):
            body = json.dumps({"model": "it's a model", "prompt": "Hello", "max_tokens": 3})
            words = ("--header", "Content-Type: application/json", "--data", body)
            cut = client.ask(f"{client.urls['app']}/v1/completions", *words, key=client.key)
        assert cut.code != 0, cut
    finally:
        scale.unlink()
    again = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED)
    assert again.code == 0, again.output


def test_the_printed_line_works_when_it_is_pasted(deployment: Deployment, result: dict[str, Any]) -> None:
    assert "--cacert" in result["curl"] and "--resolve" in result["curl"]
    line = f"{result['curl']} --silent --show-error --fail"
    done = subprocess.run(
        ["bash", "-c", line], env=deployment.playbooks.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["choices"][0]["text"]


def test_the_users_own_line_with_key_and_authority(client: EndpointClient) -> None:
    host = client.urls["app"].removeprefix("https://")
    answer = client.ask(f"https://{host}/v1/models", "--request", "GET", "--location", key=client.key)
    assert [entry["id"] for entry in json.loads(answer.body)["data"]][0] == "it's a model"


def test_a_second_run_changes_nothing(deployment: Deployment, result: dict[str, Any]) -> None:
    shown = {"ANSIBLE_SHOW_CUSTOM_STATS": "1"}
    again = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED, environment=shown)
    assert again.code == 0 and again.recap["changed"] == 0, again.output
    assert again.result is not None and again.result["ca_pem"] == result["ca_pem"]
    # What a workflow hands on to its next job.
    handed = again.output.partition("CUSTOM STATS:")[2]
    assert '"multinode_inference"' in handed and f"{NAME}-raycluster-dashboard" in handed, again.output


def test_the_authoritys_key_is_in_no_pod(rig: RunningRig, result: dict[str, Any]) -> None:
    pods = rig.kubectl("--namespace", NAME, "get", "pods", "--output", "json")
    assert f"{NAME}-tls-authority" not in pods
    assert secret(rig, f"{NAME}-tls")["ca.crt"] == secret(rig, f"{NAME}-tls-authority")["tls.crt"] == result["ca_pem"]
    assert secret(rig, f"{NAME}-tls")["tls.key"] != secret(rig, f"{NAME}-tls-authority")["tls.key"]


class Load:
    """Requests one after the other from several threads, each with the key that is valid then."""

    def __init__(self, client: EndpointClient) -> None:
        self.key = client.key
        self.statuses: list[str] = []
        self._client, self._stop = client, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.statuses.append(self._client.ask(f"{self._client.urls['app']}/v1/models", key=self.key).status)


def keys(deployment: Deployment, **settings: Any) -> Run:
    run = deployment.playbooks.run("keys", {"deployment_name": NAME, **settings})
    assert run.code == 0, run.output
    return run


def test_keys_change_under_load_without_a_request_that_fails(
    deployment: Deployment, client: EndpointClient, rig: RunningRig
) -> None:
    models, before = f"{client.urls['app']}/v1/models", head(rig)
    with Load(client) as load:
        added = keys(deployment, keys_action="add", key_name="team-a")
        team = secret(rig, f"{NAME}-api-key")["team-a"]
        assert client.ask(models, key=team).status == "200", "in force when the playbook returns"
        rotated = keys(deployment, keys_action="rotate", key_show=True)
        new = secret(rig, f"{NAME}-api-key")["default"]
        # Its users change over within the overlap.
        assert new != client.key and client.ask(models, key=client.key).status == "200"
        load.key = new
        time.sleep(2)
    assert len(load.statuses) > 20 and set(load.statuses) == {"200"}, load.statuses
    assert f"default: {new}" in rotated.output and new not in json.dumps(rotated.result)
    assert team not in added.output + json.dumps(added.result), "a key is printed on request only"
    gone = keys(deployment, keys_action="remove", key_name="team-a")
    assert gone.result is not None and [entry["name"] for entry in gone.result["keys"]] == ["default"]
    assert client.ask(models, key=team).status == "401"
    at_once = keys(deployment, keys_action="rotate", key_overlap_minutes=0)
    assert at_once.result is not None and at_once.result["in_force"] is True
    assert client.ask(models, key=new).status == "401" and client.ask(models, key=client.key).status == "401"
    assert head(rig) == before, "nothing restarted"
    selector = ("--selector", "ray.io/node-type=head", "--tail=-1")
    log = rig.kubectl("--namespace", NAME, "logs", *selector)
    assert '"key": "team-a"' in log and '"key": "default"' in log
    assert not [value for value in (team, new, client.key) if value in log]
    listed = keys(deployment)
    assert listed.result is not None and listed.result["changed"] is False


def test_a_key_that_cannot_be_changed_is_told(deployment: Deployment, result: dict[str, Any]) -> None:
    last = deployment.playbooks.run("keys", {"deployment_name": NAME, "keys_action": "remove"})
    assert [fault["code"] for fault in last.faults] == ["key_last"], last.output
    other = deployment.playbooks.run("keys", {"deployment_name": "nobodys"})
    assert [fault["code"] for fault in other.faults] == ["no_deployment"], other.output


def test_another_token_of_ray_restarts_the_group(
    deployment: Deployment, client: EndpointClient, rig: RunningRig
) -> None:
    before, former = head(rig), secret(rig, f"{NAME}-ray-token")["auth_token"]
    rotated = keys(deployment, keys_action="rotate_ray_token")
    assert rotated.result is not None and len(rotated.result["replaced"]) >= 2
    assert "the group restarts with it" in rotated.output
    token = secret(rig, f"{NAME}-ray-token")["auth_token"]
    assert token != former and token not in rotated.output + json.dumps(rotated.result)
    waited = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED)
    assert waited.code == 0, waited.output
    assert head(rig)["uid"] != before["uid"]
    nodes = f"{client.urls['dashboard']}/nodes?view=summary"
    wait("the dashboard", lambda: client.ask(nodes, key=token).status == "200")
    assert client.ask(nodes, key=former).status in ("401", "403")
    # API keys are not touched by it. The first of them was rotated by an earlier test.
    current = secret(rig, f"{NAME}-api-key")["default"]
    assert client.ask(f"{client.urls['app']}/v1/models", key=current).status == "200"


def test_other_exposures_and_certificates_are_live_and_leave_nothing_behind(
    deployment: Deployment, result: dict[str, Any], rig: RunningRig, tmp_path: Path
) -> None:
    before = head(rig)
    # A public address is another load balancer.
    public = deployment.playbooks.run("deploy", deployment.recipe, EXPOSED, {"endpoint_public": True})
    assert public.code == 0, public.output
    assert public.result is not None and public.result["address"] != result["address"]
    assert public.result["ca_pem"] == result["ca_pem"], "another certificate of the same authority"
    moved = EndpointClient(deployment.playbooks, public.result, tmp_path)
    assert moved.ask(f"{moved.urls['app']}/v1/models", key=moved.key).status == "200"
    # Without TLS: the dashboard goes, and it is told.
    plain = deployment.playbooks.run(
        "deploy", deployment.recipe, EXPOSED, {"endpoint_tls": "none", "endpoint_public": True}
    )
    assert plain.code == 0, plain.output
    assert plain.result is not None and list(plain.result["recipes"]) == [f"{NAME}-raycluster-app"]
    assert plain.result["recipes"][f"{NAME}-raycluster-app"].startswith("http://")
    assert "endpoint_without_tls" in [warning["code"] for warning in plain.result["warnings"]]
    assert "endpoint_without_tls" in [warning["code"] for warning in deployment.status()["warnings"]]
    names = rig.kubectl("--namespace", NAME, "get", "secrets", "--output", "name")
    assert f"{NAME}-tls" not in names, "certificates that nothing uses are gone"
    closed = deployment.playbooks.run("deploy", deployment.recipe, {"endpoint_exposure": "none"})
    assert closed.code == 0, closed.output
    assert closed.result is not None and closed.result["recipes"] == {}
    wait("the load balancer's end", lambda: deployment.rest()["load_balancers"] == [])
    assert head(rig) == before, "nothing restarted"
