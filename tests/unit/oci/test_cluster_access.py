# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens for OKE's API are what OKE verifies, and new when the last is old; the cluster says where its API is."""

from __future__ import annotations

import base64
import ssl
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import oci
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci import cluster_access
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import SignIn, sign_in_by
from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster_access import (
    RENEW_SECONDS,
    Address,
    ClusterTokens,
    find_address,
    mint,
    request_host,
)
from rig.control_plane.certificates import write_certificates
from rig.oci.signature import verify
from tests.unit.oci.fakes import CLUSTER

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
FINGERPRINT = ":".join(["ab"] * 16)
HOST = "containerengine.us-ashburn-1.oraclecloud.com"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCI_CONFIG_FILE", "OCI_CONFIG_PROFILE", "OCI_REGION", "OCI_ANSIBLE_AUTH_TYPE"):
        monkeypatch.delenv(name, raising=False)


def key_of(token: str) -> str:
    """The keyId of a token whose signature verifies."""
    url = urlsplit(base64.urlsafe_b64decode(token).decode())
    assert (url.scheme, url.netloc, url.path) == ("https", HOST, f"/cluster_request/{CLUSTER}")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert query.keys() == {"authorization", "date"}
    key_id = query["authorization"].split('keyId="')[1].split('"')[0]
    headers = {**query, "host": url.netloc}
    verify(
        method="GET",
        target=url.path,
        headers=headers,
        body=None,
        keys={key_id: KEY.public_key()},
        now=datetime.now(timezone.utc),
    )
    return key_id


def test_a_token_is_the_url_of_a_signed_request() -> None:
    signer = oci.signer.Signer("tenancy", "user", FINGERPRINT, None, private_key_content=PEM)
    assert key_of(mint(signer, HOST, CLUSTER)) == f"tenancy/user/{FINGERPRINT}"


def test_a_principal_signs_by_its_security_token() -> None:
    assert key_of(mint(oci.auth.signers.SecurityTokenSigner("session", KEY), HOST, CLUSTER)) == "ST$session"


def test_a_principal_renews_its_security_token_before_it_signs() -> None:
    """Signers of resource principals and of OKE's workload identity renew theirs only when they are asked for it."""

    class Principal(oci.auth.signers.SecurityTokenSigner):  # type: ignore[misc]
        def get_security_token(self) -> None:
            self._basic_signer.reset_signer("ST$renewed", KEY)

    assert key_of(mint(Principal("old", KEY), HOST, CLUSTER)) == "ST$renewed"
    for kind in ("EphemeralResourcePrincipalSigner", "OkeWorkloadIdentityResourcePrincipalSigner"):
        assert hasattr(getattr(oci.auth.signers, kind), "get_security_token")


@pytest.mark.parametrize(
    ("region", "endpoint", "host"),
    [
        ("us-ashburn-1", "", HOST),
        ("us-ashburn-1", "https://engine.private.example", HOST),
        ("us-langley-1", "", "containerengine.us-langley-1.oraclegovcloud.com"),
        ("xx-nowhere-1", "https://engine.nowhere.example:8443", "engine.nowhere.example:8443"),
        ("xx-nowhere-1", "", "containerengine.xx-nowhere-1.oraclecloud.com"),
    ],
)
def test_the_host_that_is_signed_is_the_realms(region: str, endpoint: str, host: str) -> None:
    assert request_host(region, endpoint) == host


@pytest.fixture
def account(tmp_path: Path) -> SignIn:
    key = tmp_path / "key.pem"
    key.write_text(PEM)
    (tmp_path / "session").write_text("first")
    lines = {
        "user": "ocid1.user.oc1..u",
        "tenancy": "ocid1.tenancy.oc1..t",
        "fingerprint": FINGERPRINT,
        "key_file": key,
        "security_token_file": tmp_path / "session",
    }
    config = tmp_path / "config"
    config.write_text("[DEFAULT]\n" + "".join(f"{name}={value}\n" for name, value in lines.items()))
    return SignIn(config_file_location=str(config))


def test_a_token_is_renewed_before_it_ends_and_when_the_clock_was_set_back(account: SignIn) -> None:
    now = [1000.0]
    tokens = ClusterTokens(account, CLUSTER, clock=lambda: now[0])
    minted: list[Any] = []
    tokens_mint = oci.signer.Signer.__call__

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        minted.append(now[0])
        return tokens_mint(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oci.signer.AbstractBaseSigner, "__call__", counted)
        first = tokens()
        now[0] += RENEW_SECONDS - 1
        assert tokens() == first
        now[0] += 2
        tokens()
        now[0] -= 500
        tokens()
    assert minted == [1000, 1000 + RENEW_SECONDS + 1, 1000 + RENEW_SECONDS + 1 - 500]
    assert key_of(first).endswith(FINGERPRINT)


def test_a_session_that_was_refreshed_meanwhile_is_taken_up(account: SignIn, tmp_path: Path) -> None:
    now = [0.0]
    sign_in = sign_in_by({"auth_type": "security_token", "config_file_location": account.config_file_location})
    tokens = ClusterTokens(sign_in, CLUSTER, clock=lambda: now[0])
    assert key_of(tokens()) == "ST$first"
    (tmp_path / "session").write_text("second\n")
    now[0] += RENEW_SECONDS
    assert key_of(tokens()) == "ST$second"


class Engine:
    """Stands for Container Engine: a cluster with these endpoints, and its kubeconfig."""

    def __init__(self, text: bytes | None = None, **endpoints: str) -> None:
        self._endpoints = endpoints
        self._text = text
        self.asked: list[str] = []

    def get_cluster(self, cluster_id: str) -> Any:
        cluster = oci.container_engine.models.Cluster(
            id=cluster_id,
            compartment_id="c",
            lifecycle_state="ACTIVE",
            endpoints=oci.container_engine.models.ClusterEndpoints(**self._endpoints),
        )
        return SimpleNamespace(data=cluster)

    def create_kubeconfig(self, cluster_id: str, create_cluster_kubeconfig_content_details: Any) -> Any:
        self.asked.append(create_cluster_kubeconfig_content_details.endpoint)
        cluster = {"server": "https://10.0.0.5:6443", "certificate-authority-data": "Q0E="}
        text = yaml.safe_dump({"clusters": [{"name": "c", "cluster": cluster}]}).encode()
        return SimpleNamespace(data=SimpleNamespace(content=text if self._text is None else self._text))


def connection(account: SignIn, engine: Engine) -> Any:
    from ansible_collections.multinode.inference.plugins.module_utils.oci.client import Connection

    made = Connection(account, CLUSTER)
    made.client = lambda service: SimpleNamespace(  # type: ignore[method-assign, assignment]
        get_cluster=engine.get_cluster,
        create_kubeconfig=engine.create_kubeconfig,
        base_client=SimpleNamespace(endpoint="https://engine.example"),
    )
    return made


BOTH = {"public_endpoint": "192.0.2.1:6443", "private_endpoint": "10.0.0.5:6443"}


@pytest.mark.parametrize(
    ("endpoints", "wanted", "asked", "others"),
    [
        (BOTH, "auto", "PUBLIC_ENDPOINT", ("private",)),
        (BOTH, "private", "PRIVATE_ENDPOINT", ("public",)),
        ({"private_endpoint": "10.0.0.5:6443"}, "auto", "PRIVATE_ENDPOINT", ()),
    ],
)
def test_the_endpoint_that_is_asked_for(
    account: SignIn, endpoints: dict[str, str], wanted: str, asked: str, others: tuple[str, ...]
) -> None:
    engine = Engine(**endpoints)
    address = find_address(connection(account, engine), CLUSTER, wanted)
    assert engine.asked == [asked] and address.others == others
    assert (address.server, address.certificate_authority) == ("https://10.0.0.5:6443", "Q0E=")


@pytest.mark.parametrize(
    ("engine", "wanted", "code", "words"),
    [
        (Engine(private_endpoint="10.0.0.5:6443"), "public", "no_such_endpoint", "the cluster has private endpoint"),
        (Engine(), "auto", "no_such_endpoint", "no endpoint"),
        (Engine(b"clusters: []", **BOTH), "auto", "kubeconfig_of_cluster", "IndexError"),
        (Engine(b"}{", **BOTH), "auto", "kubeconfig_of_cluster", "ParserError"),
    ],
    ids=["not the wanted", "none", "no cluster in it", "no YAML"],
)
def test_what_cannot_be_reached_is_said(account: SignIn, engine: Engine, wanted: str, code: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        find_address(connection(account, engine), CLUSTER, wanted)
    (fault,) = refused.value.faults
    assert fault.code == code and words in fault.found


def authority(folder: Path) -> tuple[str, bytes]:
    """An authority of its own: as a kubeconfig has it, and as a context shows it."""
    write_certificates(folder, "cluster.local", ["127.0.0.1"])
    pem = (folder / "ca.crt").read_text()
    return base64.b64encode(pem.encode()).decode(), ssl.PEM_cert_to_DER_cert(pem)


@pytest.mark.parametrize("kind", ["public", "private"])
def test_a_kubeconfig_has_to_be_the_clusters_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    own, theirs = (authority(folder) for folder in (tmp_path / "own", tmp_path / "theirs"))
    found = Address("https://192.0.2.9:6443", own[0], kind)
    monkeypatch.setattr(cluster_access, "find_address", lambda *_arguments: found)

    def taken(server: str, *authorities: bytes) -> bool:
        try:
            cluster_access.refuse_other_cluster(None, CLUSTER, server, authorities)  # type: ignore[arg-type]
        except Refused as refused:
            (fault,) = refused.faults
            assert fault.code == "kubeconfig_of_another_cluster" and server in fault.found and CLUSTER in fault.expected
            return False
        return True

    assert taken(found.server, own[1]) and taken("https://127.0.0.1:6443", own[1], theirs[1])
    # A private address may be another cluster's in another network.
    assert not taken(found.server, theirs[1]) and not taken("https://staging.example:6443", theirs[1])
    assert taken(found.server) == (kind == "public")
    assert not taken("https://127.0.0.1:6443")
