# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of OKE's sign-in to Kubernetes: which tokens the API server takes, and what a cluster's kubeconfig says.

The tokens are made here with the SDK's signer as oci-cli makes them, and not by the collection.
"""

from __future__ import annotations

import base64
import email.utils
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import oci
import pytest
import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, error_of, open_account

models = oci.container_engine.models


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


@pytest.fixture(scope="module")
def server(account: Account) -> tuple[str, ssl.SSLContext]:
    """The API server, as the cluster's kubeconfig names it."""
    cluster = kubeconfig(account)["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return cluster["server"], ssl.create_default_context(cadata=authority)


def kubeconfig(account: Account, **details: str) -> dict[str, Any]:
    given = models.CreateClusterKubeconfigContentDetails(**{"token_version": "2.0.0", **details})
    answer = account.container_engine.create_kubeconfig(
        account.cluster_id, create_cluster_kubeconfig_content_details=given
    )
    return yaml.safe_load(answer.data.content)


def token(config: dict[str, Any], cluster: str, age_s: float = 0, key: str | None = None) -> str:
    """A token of the config's user."""
    signer = oci.signer.Signer(
        config["tenancy"],
        config["user"],
        config["fingerprint"],
        None if key else config["key_file"],
        private_key_content=key,
    )
    url = f"https://containerengine.{config['region']}.oraclecloud.com/cluster_request/{cluster}"
    request = requests.Request("GET", url).prepare()
    request.headers["date"] = email.utils.formatdate(time.time() - age_s, usegmt=True)
    headers = signer.do_request_sign(request).headers
    query = urlencode({"authorization": headers["authorization"], "date": headers["date"]})
    return base64.urlsafe_b64encode(f"{url}?{query}".encode()).decode()


def status(server: tuple[str, ssl.SSLContext], bearer: str, path: str = "/api/v1/namespaces/default") -> int:
    """The status of a request with this token."""
    request = urllib.request.Request(server[0] + path, headers={"Authorization": f"Bearer {bearer}"})
    try:
        with urllib.request.urlopen(request, context=server[1], timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def reasons(account: Account, since: float) -> list[str]:
    """Why the cloud refused tokens since then; the refused are of nobody, so all accounts' are looked at."""
    calls = account.steer("GET", f"/calls?since={since}&operation=ReviewToken")
    return [call["reason"] for call in calls if call["status"] == 401]


def test_a_kubeconfig_names_the_authority_and_a_command_that_makes_tokens(account: Account) -> None:
    content = kubeconfig(account)
    cluster = content["clusters"][0]["cluster"]
    assert cluster["server"].startswith("https://")
    assert b"BEGIN CERTIFICATE" in base64.b64decode(cluster["certificate-authority-data"])
    command = content["users"][0]["user"]["exec"]
    assert command["command"] == "oci"
    assert command["args"][:3] == ["ce", "cluster", "generate-token"] and account.cluster_id in command["args"]


def test_an_endpoint_that_the_cluster_has_not_is_refused(rig: RunningRig, account: Account) -> None:
    details = models.CreateClusterKubeconfigContentDetails(endpoint="PUBLIC_ENDPOINT")
    answer = error_of(
        account.container_engine.create_kubeconfig,
        account.cluster_id,
        create_cluster_kubeconfig_content_details=details,
    )
    assert answer == (400, "InvalidParameter")
    both = open_account(rig, endpoints={"public": "192.0.2.1:6443", "private": "10.0.0.5:6443"})
    for kind, address in (("PUBLIC_ENDPOINT", "192.0.2.1"), ("PRIVATE_ENDPOINT", "10.0.0.5")):
        assert kubeconfig(both, endpoint=kind)["clusters"][0]["cluster"]["server"] == f"https://{address}:6443"
    endpoints = both.container_engine.get_cluster(both.cluster_id).data.endpoints
    assert (endpoints.public_endpoint, endpoints.private_endpoint) == ("192.0.2.1:6443", "10.0.0.5:6443")


def test_a_token_is_taken_and_lets_an_administrator_do_all(
    account: Account, server: tuple[str, ssl.SSLContext]
) -> None:
    bearer = token(account.config, account.cluster_id)
    assert status(server, bearer) == 200
    assert status(server, bearer, "/api/v1/nodes") == 200


def test_a_token_of_a_clock_that_is_a_little_off_is_taken(account: Account, server: tuple[str, ssl.SSLContext]) -> None:
    assert status(server, token(account.config, account.cluster_id, age_s=-120)) == 200
    assert status(server, token(account.config, account.cluster_id, age_s=180)) == 200


def test_a_wrong_signature_is_refused(account: Account, server: tuple[str, ssl.SSLContext]) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    since = time.time()
    assert status(server, token(account.config, account.cluster_id, key=pem)) == 401
    if account.rig:
        assert any("does not verify" in reason for reason in reasons(account, since))


def test_a_token_of_another_cluster_is_refused(account: Account, server: tuple[str, ssl.SSLContext]) -> None:
    since = time.time()
    other = account.cluster_id[:-6] + "zzzzzz"
    assert status(server, token(account.config, other)) == 401
    if account.rig:
        assert any("another cluster" in reason for reason in reasons(account, since))


def test_an_expired_token_is_refused(account: Account, server: tuple[str, ssl.SSLContext]) -> None:
    since = time.time()
    assert status(server, token(account.config, account.cluster_id, age_s=400)) == 401
    if account.rig:
        assert status(server, token(account.config, account.cluster_id, age_s=245)) == 401
        found = reasons(account, since)
        assert any("older than 4 minutes" in reason for reason in found)
        assert any("more than 5 minutes" in reason for reason in found)


def test_a_token_that_was_tampered_with_is_refused(account: Account, server: tuple[str, ssl.SSLContext]) -> None:
    url = base64.urlsafe_b64decode(token(account.config, account.cluster_id)).decode()
    fresher = url.replace("date=", "date=Mon%2C")
    assert status(server, base64.urlsafe_b64encode(fresher.encode()).decode()) == 401
    assert status(server, "no-token") == 401


def test_a_user_without_rights_is_known_and_may_nothing(rig: RunningRig, server: tuple[str, ssl.SSLContext]) -> None:
    """RBAC of the cluster says what a user may do: the OCIDs of the user and of its groups are the names there."""
    plain = open_account(rig, administrator=False)
    bearer = token(plain.config, plain.cluster_id)
    assert status(server, bearer) == 403
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"contract-{plain.cluster_id[-8:]}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": plain.config["user"]}],
    }
    rig.kubectl("create", "--filename", "-", stdin=json.dumps(binding))
    try:
        path = "/api/v1/namespaces/default/configmaps"
        deadline = time.monotonic() + 30
        while status(server, bearer, path) != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status(server, bearer, path) == 200
        assert status(server, bearer, "/api/v1/namespaces/default/secrets") == 403
    finally:
        rig.kubectl("delete", "clusterrolebinding", binding["metadata"]["name"])


def test_no_token_is_in_the_log(account: Account, rig: RunningRig, server: tuple[str, ssl.SSLContext]) -> None:
    bearer = token(account.config, account.cluster_id)
    assert status(server, bearer) == 200
    assert bearer not in json.dumps(account.steer("GET", "/calls?since=0"))
    for log in ("oci", "kube-apiserver"):
        assert bearer not in Path(rig.directory, "logs", f"{log}.log").read_text(errors="replace")
