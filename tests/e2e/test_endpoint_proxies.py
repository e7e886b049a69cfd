# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint behind an Ingress and behind a Gateway, over a real proxy: hosts, redirect, TLS, long answers, and what is refused."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.endpoint_client import EndpointClient, check_long_answers
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run
from tests.e2e.web_controller import apply, cert_manager, web_controller
from tests.waiting import wait

NAME = "webway"
# A tenth of the time: the controller's default of 60 s is 6 s.
SCALE = 0.1
INGRESS = {"endpoint_exposure": "ingress", "endpoint_ingress_class": "rig-web"}
GATEWAY = {"endpoint_exposure": "gateway", "endpoint_gateway": "edge/main"}


@pytest.fixture(scope="module")
def tenancy(rig: RunningRig) -> Tenancy:
    answer = rig.steer("POST", "/tenancies", {})
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, rig: RunningRig, tenancy: Tenancy) -> Iterator[Deployment]:
    with web_controller(rig, SCALE):
        made = Deployment(NAME, tmp_path_factory.mktemp("web"), rig, tenancy)
        made.playbooks.settings["endpoint_exposure"] = "none"
        yield made
        # A namespace that holds somebody else's Secret is kept.
        rig.kubectl("--namespace", NAME, "delete", "secret", "mine", "--ignore-not-found")
        made.undeploy()


def deploy(deployment: Deployment, *settings: dict[str, Any]) -> Run:
    run = deployment.playbooks.run("deploy", deployment.recipe, *settings)
    assert run.code == 0, run.output
    return run


def codes(deployment: Deployment, *settings: dict[str, Any]) -> list[str]:
    """What a plan with these settings is refused for: before anything is made."""
    run = deployment.playbooks.run("plan", deployment.recipe, *settings)
    assert run.code != 0, run.output
    return [fault["code"] for fault in run.faults if fault["code"] != "failed"]


def gateway(*listeners: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "main", "namespace": "edge"},
        "spec": {"gatewayClassName": "rig-web", "listeners": list(listeners)},
    }


def listener(name: str, protocol: str, port: int, allowed: str = "All", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "protocol": protocol,
        "port": port,
        "allowedRoutes": {"namespaces": {"from": allowed}},
        **more,
    }


def tls_secret(name: str, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": encoded}


def check(client: EndpointClient, rig: RunningRig, tmp_path: Path) -> None:
    """What holds for whoever routes by host: the chain, both hosts, the redirect, keys, large bodies, slow answers."""
    api, dashboard = client.urls["app"], client.urls["dashboard"]
    assert dashboard == api.replace("https://", "https://dashboard.") and ":" not in api.removeprefix("https://")
    models = f"{api}/v1/models"
    assert client.ask(models, key=client.key).status == "200"
    assert client.ask(models, key=client.key, trusted=False).code == 60
    assert client.ask(models, key="wrong").status == client.ask(models).status == "401"
    assert client.ask(models.replace(NAME, "other", 1), key=client.key).code != 0, "a host that is not ours"
    plain = client.ask(models.replace("https", "http"))
    assert plain.status in ("301", "308") and plain.location == models
    nodes = f"{dashboard}/nodes?view=summary"
    wait("the dashboard", lambda: client.ask(nodes).status == "401")
    token = json.loads(rig.kubectl("-n", NAME, "get", "secret", f"{NAME}-ray-token", "-o", "json"))["data"][
        "auth_token"
    ]
    assert client.ask(nodes, key=base64.b64decode(token).decode()).status == "200"
    body = tmp_path / "large.json"
    body.write_text(json.dumps({"model": client.result["model"], "prompt": "x", "user": "x" * 20_000_000}))
    words = ("--data-binary", f"@{body}", "--header", "Content-Type: application/json", "--header", "Expect:")
    assert client.ask(f"{api}/tokenize", *words, key=client.key).status == "200"


def test_what_is_missing_is_told_before_anything_is_made(deployment: Deployment, rig: RunningRig) -> None:
    assert codes(deployment, {**INGRESS, "endpoint_ingress_class": "none-such"}) == ["ingress_class_missing"]
    assert codes(deployment, GATEWAY) == ["gateway_missing"]
    apply(rig, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge"}})
    apply(rig, gateway(listener("http", "HTTP", 80)))
    assert codes(deployment, GATEWAY) == ["gateway_listener_missing"]
    assert codes(deployment, {**GATEWAY, "endpoint_gateway": "edge/main/other"}) == ["gateway_listener_missing"]
    apply(rig, gateway(listener("https", "HTTPS", 443, "Same", tls={"certificateRefs": [{"name": "edge"}]})))
    assert codes(deployment, GATEWAY) == ["gateway_closed"]
    issuer = {**INGRESS, "endpoint_tls_issuer": "ClusterIssuer/le"}
    assert codes(deployment, issuer) == ["cert_manager_missing"]
    assert codes(deployment, {**INGRESS, "endpoint_tls_secret": "mine"}) == ["secret_missing"]


def test_an_ingress(deployment: Deployment, rig: RunningRig, tmp_path: Path) -> None:
    result = deploy(deployment, INGRESS).result
    assert result is not None and result["changed"]
    client = EndpointClient(deployment.playbooks, result, tmp_path)
    check(client, rig, tmp_path)
    check_long_answers(client, rig, 60 * SCALE)
    again = deploy(deployment, INGRESS)
    assert again.recap["changed"] == 0, again.output


def test_the_lines_that_users_know_with_key_and_authority(
    deployment: Deployment, rig: RunningRig, tmp_path: Path
) -> None:
    result = deploy(deployment, INGRESS).result
    assert result is not None
    host = f"{NAME}.{result['address'].replace('.', '-')}.nip.io"
    assert result["recipes"] == {
        f"{NAME}-raycluster-app": f"https://{host}",
        f"{NAME}-raycluster-dashboard": f"https://dashboard.{host}",
    }
    client = EndpointClient(deployment.playbooks, result, tmp_path)

    def pasted(line: str) -> str:
        resolve = " ".join(f"--resolve {host}:{port}:{result['address']}" for port in (80, 443))
        more = f"--cacert '{result['ca_file']}' {resolve} --silent --output /dev/null --write-out '%{{http_code}}'"
        command = ["bash", "-c", f'{line} --header "Authorization: Bearer $KEY" {more}']
        environment = {**deployment.playbooks.environment, "KEY": client.key}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    assert pasted(f"curl --request GET --location 'https://{host}/v1/models'") == "200"
    # Without a scheme it begins in clear: the redirect leads to TLS, and curl takes the key along to another port only where it is told to.
    assert pasted(f"curl --request GET --location '{host}/v1/models'") == "401"
    assert pasted(f"curl --request GET --location-trusted '{host}/v1/models'") == "200"


def test_a_certificate_of_the_users_own_is_checked(deployment: Deployment, rig: RunningRig, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    own = certificates.new_authority("users", now)
    hosts = [f"{NAME}.llm.example.com", f"dashboard.{NAME}.llm.example.com"]
    given = {**INGRESS, "endpoint_tls_secret": "mine"}
    domain = {"service_endpoint_domain": "llm.example.com"}
    before = now - datetime.timedelta(days=400)
    old = certificates.new_authority("users", before)
    apply(rig, tls_secret("mine", NAME, certificates.issue(old, hosts, before)))
    assert codes(deployment, given, domain) == ["certificate_expired"]
    apply(rig, tls_secret("mine", NAME, certificates.issue(own, ["another.example.com"], now)))
    assert codes(deployment, given, domain) == ["certificate_names"]
    # Without a domain the hosts are known only with the address: told during the wait, never after "ready".
    late = deployment.playbooks.run("deploy", deployment.recipe, given)
    assert "certificate_names" in [fault["code"] for fault in late.faults], late.output
    apply(rig, tls_secret("mine", NAME, certificates.issue(own, hosts, now)))
    result = deploy(deployment, given, domain).result
    assert result is not None and result["recipes"][f"{NAME}-raycluster-app"] == f"https://{hosts[0]}"
    assert "dns_record_missing" in [warning["code"] for warning in result["warnings"]]
    client = EndpointClient(deployment.playbooks, result, tmp_path)
    assert client.ask(f"{client.urls['app']}/v1/models", key=client.key).status == "200"
    secrets = rig.kubectl("--namespace", NAME, "get", "secrets", "--output", "name")
    assert f"{NAME}-tls" not in secrets, "the self-signed one is gone"


def test_an_issuer(deployment: Deployment, rig: RunningRig, tmp_path: Path) -> None:
    wanted = {**INGRESS, "endpoint_tls_issuer": "ClusterIssuer/own"}
    own = certificates.new_authority("own", datetime.datetime.now(datetime.timezone.utc))
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "own"}}

    def ready() -> str:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return rig.kubectl("get", "clusterissuer", "own", "--output", path)

    with cert_manager(rig):
        assert codes(deployment, wanted) == ["issuer_missing"]
        apply(rig, {**issuer, "spec": {"ca": {"secretName": "own"}}})
        wait("what is said of an issuer without a Secret", lambda: ready() == "False")
        assert codes(deployment, wanted) == ["issuer_not_ready"]
        apply(rig, tls_secret("own", "cert-manager", own))
        wait("the issuer", lambda: ready() == "True")
        result = deploy(deployment, wanted).result
        assert result is not None and result["ca_pem"] == own["tls.crt"]
        client = EndpointClient(deployment.playbooks, result, tmp_path)
        assert client.ask(f"{client.urls['app']}/v1/models", key=client.key).status == "200"
        assert client.ask(f"{client.urls['dashboard']}/nodes?view=summary").status == "401"
        again = deploy(deployment, wanted)
        assert again.recap["changed"] == 0, again.output
        # Other hosts: the same issuer makes another certificate.
        named = deploy(deployment, wanted, {"service_endpoint_domain": "llm.example.com"}).result
        assert named is not None
        client = EndpointClient(deployment.playbooks, named, tmp_path)
        assert client.urls["app"] == f"https://{NAME}.llm.example.com"
        assert client.ask(f"{client.urls['app']}/v1/models", key=client.key).status == "200"
        # Without the issuer the certificate is the deployment's own, and cert-manager has none to keep.
        back = deploy(deployment, INGRESS).result
        assert back is not None and back["ca_pem"] != own["tls.crt"]
        assert not rig.kubectl("--namespace", NAME, "get", "certificates", "--output", "name")


def test_a_gateway(deployment: Deployment, rig: RunningRig, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    own = certificates.new_authority("edge", now)
    domain = {"service_endpoint_domain": "llm.example.com"}
    hosts = [f"{NAME}.llm.example.com", f"dashboard.{NAME}.llm.example.com"]
    apply(rig, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge"}})
    apply(rig, tls_secret("edge", "edge", certificates.issue(own, hosts, now)))
    reference = {"certificateRefs": [{"name": "edge"}]}
    apply(rig, gateway(listener("https", "HTTPS", 443, tls=reference), listener("http", "HTTP", 80)))
    result = deploy(deployment, GATEWAY, domain).result
    assert result is not None and result["ca_pem"] == own["tls.crt"]
    client = EndpointClient(deployment.playbooks, result, tmp_path)
    check(client, rig, tmp_path)
    check_long_answers(client, rig, 60 * SCALE)
    assert not rig.kubectl("--namespace", NAME, "get", "ingresses", "--output", "name"), "the Ingress is gone"
    again = deploy(deployment, GATEWAY, domain)
    assert again.recap["changed"] == 0, again.output
    closed = deploy(deployment)
    assert closed.result is not None and closed.result["recipes"] == {}
    assert not rig.kubectl("--namespace", NAME, "get", "httproutes", "--output", "name")
