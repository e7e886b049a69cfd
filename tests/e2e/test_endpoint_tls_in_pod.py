# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS that ends in the pod, behind a load balancer that passes TCP: names, keys, and certificates that change while it serves."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.endpoint_client import EndpointClient
from tests.e2e.light_deployment import Deployment
from tests.waiting import wait

NAME = "podway"
NETWORK = {
    "endpoint_exposure": "load_balancer",
    "service_annotations": {"oci.oraclecloud.com/load-balancer-type": "nlb"},
}


@pytest.fixture(scope="module")
def tenancy(rig: RunningRig) -> Tenancy:
    answer = rig.steer("POST", "/tenancies", {})
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, rig: RunningRig, tenancy: Tenancy) -> Iterator[Deployment]:
    made = Deployment(NAME, tmp_path_factory.mktemp("pod"), rig, tenancy)
    yield made
    made.undeploy()


def deploy(deployment: Deployment, *settings: dict[str, Any]) -> dict[str, Any]:
    run = deployment.playbooks.run("deploy", deployment.recipe, *settings)
    assert run.code == 0, run.output
    assert run.result is not None
    return run.result


@pytest.fixture(scope="module")
def result(deployment: Deployment) -> dict[str, Any]:
    return deploy(deployment, NETWORK)


def head(rig: RunningRig) -> tuple[str, int]:
    selector = ("--selector", "ray.io/node-type=head")
    found = json.loads(rig.kubectl("--namespace", NAME, "get", "pods", *selector, "--output", "json"))["items"]
    return found[0]["metadata"]["uid"], found[0]["status"]["containerStatuses"][0]["restartCount"]


def secret(rig: RunningRig, name: str) -> dict[str, str]:
    found = json.loads(rig.kubectl("--namespace", NAME, "get", "secret", name, "--output", "json"))
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def served(result: dict[str, Any]) -> str:
    """The certificate that the endpoint shows, whoever signed it."""
    return ssl.get_server_certificate((result["address"], 443), timeout=10).strip()


def test_the_pod_shows_the_certificate_and_asks_for_the_key(
    deployment: Deployment, result: dict[str, Any], rig: RunningRig, tmp_path: Path
) -> None:
    client = EndpointClient(deployment.playbooks, result, tmp_path)
    host = f"{NAME}.{result['address'].replace('.', '-')}.nip.io"
    assert result["recipes"] == {f"{NAME}-raycluster-app": f"https://{host}"}
    assert "dashboard_not_exposed" in [warning["code"] for warning in result["warnings"]]
    models = f"https://{host}/v1/models"
    assert client.ask(models, key=client.key).status == "200"
    assert client.ask(models, key=client.key, trusted=False).code == 60
    assert client.ask(models, key="wrong").status == client.ask(models).status == "401"
    assert client.ask(models.replace(NAME, "other"), key=client.key).code == 60
    assert client.ask(models.replace("https", "http")).code == 7
    body = tmp_path / "large.json"
    body.write_text(json.dumps({"model": result["model"], "prompt": "x", "user": "x" * 20_000_000}))
    words = ("--data-binary", f"@{body}", "--header", "Content-Type: application/json", "--header", "Expect:")
    assert client.ask(f"https://{host}/tokenize", *words, key=client.key).status == "200"
    line = ["bash", "-c", f"{result['curl']} --silent --fail"]
    pasted = subprocess.run(line, env=deployment.playbooks.environment, capture_output=True, text=True, check=False)
    assert json.loads(pasted.stdout)["choices"][0]["text"], pasted.stderr
    (balancer,) = deployment.rest()["load_balancers"]
    assert balancer["name"].startswith(f"{NAME}/{NAME}-api/"), "of a network load balancer"
    pods = rig.kubectl("--namespace", NAME, "get", "pods", "--output", "json")
    assert f"{NAME}-tls-authority" not in pods


def test_certificates_change_while_it_serves(deployment: Deployment, result: dict[str, Any], rig: RunningRig) -> None:
    before, now = head(rig), datetime.datetime.now(datetime.timezone.utc)
    names = sorted(certificates.names_of(certificates._load(served(result))))
    # One that is about to expire, as if nearly a year had passed.
    old = certificates.issue(secret(rig, f"{NAME}-tls-authority"), names, now - datetime.timedelta(days=350))
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in old.items()}
    rig.kubectl("-n", NAME, "patch", "secret", f"{NAME}-tls", "--patch", json.dumps({"data": encoded}))
    wait("the pod's taking it", lambda: served(result) == old["tls.crt"].strip(), seconds=60)
    renewed = deploy(deployment, NETWORK)
    assert renewed["changed"] and renewed["ca_pem"] == result["ca_pem"]
    wait("the pod's taking the renewed one", lambda: served(result) == secret(rig, f"{NAME}-tls")["tls.crt"].strip())
    assert served(result) != old["tls.crt"].strip()
    # A public address is another load balancer with another address, and so another name.
    moved = deploy(deployment, NETWORK, {"endpoint_public": True})
    assert moved["address"] != result["address"] and moved["ca_pem"] == result["ca_pem"]
    assert head(rig) == before, "nothing restarted"


@pytest.mark.soak
@pytest.mark.usefixtures("result")
def test_where_tls_ends_changes_with_a_restart(deployment: Deployment, rig: RunningRig, tmp_path: Path) -> None:
    before = head(rig)
    flexible = {"endpoint_exposure": "load_balancer", "endpoint_tls_to_pod": True}
    same = deploy(deployment, flexible)
    assert head(rig) == before, "TLS ends in the pod still"
    wait("the pod's taking it", lambda: served(same) == secret(rig, f"{NAME}-tls")["tls.crt"].strip())
    ended = deploy(deployment, {"endpoint_exposure": "load_balancer"})
    assert head(rig) != before and f"{NAME}-raycluster-dashboard" in ended["recipes"]
    client = EndpointClient(deployment.playbooks, ended, tmp_path)
    assert client.ask(f"{client.urls['app']}/v1/models", key=client.key).status == "200"
