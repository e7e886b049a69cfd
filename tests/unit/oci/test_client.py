# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in: what can be wrong with it is said before any call."""

from __future__ import annotations

import functools
import hashlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import oci
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci import client
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import (
    SERVICES,
    Connection,
    SignIn,
    all_pages,
    region_of_ocid,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.retry import Retry
from tests.unit.oci.fakes import CLUSTER, Response, service_error

USER = "ocid1.user.oc1..aaaauser"
TENANCY = "ocid1.tenancy.oc1..aaaatenancy"


@pytest.fixture(scope="module")
def key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any, pass_phrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(pass_phrase) if pass_phrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def fingerprint(key: Any) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.md5(der).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OCI_CONFIG_FILE", "OCI_CONFIG_PROFILE", "OCI_REGION", "OCI_RESOURCE_PRINCIPAL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def account(tmp_path: Path, key: Any) -> SignIn:
    """A sign-in that is right."""
    (tmp_path / "key.pem").write_bytes(pem(key))
    write_config(tmp_path, fingerprint=fingerprint(key))
    return SignIn(config_file_location=str(tmp_path / "config"))


def write_config(folder: Path, profile: str = "DEFAULT", **changes: str | None) -> None:
    entries = {
        "user": USER,
        "tenancy": TENANCY,
        "fingerprint": ":".join(["aa"] * 16),
        "key_file": str(folder / "key.pem"),
        "region": "us-phoenix-1",
        **changes,
    }
    lines = [f"{name}={value}" for name, value in entries.items() if value is not None]
    (folder / "config").write_text("\n".join([f"[{profile}]", *lines, ""]))


def fault_of(sign_in: SignIn, ocid: str = CLUSTER) -> Fault:
    with pytest.raises(Refused) as refused:
        Connection(sign_in, ocid)
    (fault,) = refused.value.faults
    return fault


@pytest.mark.parametrize(
    ("ocid", "region"),
    [
        ("ocid1.cluster.oc1.iad.aaaa", "us-ashburn-1"),
        ("ocid1.cluster.oc1.eu-frankfurt-1.aaaa", "eu-frankfurt-1"),
        ("ocid1.cluster.oc1.xyz.aaaa", "xyz"),
        ("ocid1.tenancy.oc1..aaaa", ""),
        ("nonsense", ""),
    ],
)
def test_region_of_ocid(ocid: str, region: str) -> None:
    assert region_of_ocid(ocid) == region


def test_region_order(account: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Connection(account).region == "us-phoenix-1"
    monkeypatch.setenv("OCI_REGION", "uk-london-1")
    assert Connection(account).region == "uk-london-1"
    assert Connection(account, CLUSTER).region == "us-ashburn-1"
    assert Connection(replace(account, region="eu-frankfurt-1"), CLUSTER).region == "eu-frankfurt-1"


def test_endpoints(account: SignIn) -> None:
    ours = Connection(account, CLUSTER)
    assert ours.client("container_engine").base_client.endpoint == (
        "https://containerengine.us-ashburn-1.oci.oraclecloud.com/20180222"
    )
    one = Connection(replace(account, service_endpoint="http://127.0.0.1:9"), CLUSTER)
    for service in SERVICES:
        assert one.client(service).base_client.endpoint.startswith("http://127.0.0.1:9")
    some = Connection(replace(account, service_endpoint={"compute": "http://127.0.0.1:9"}), CLUSTER)
    assert some.client("compute").base_client.endpoint == "http://127.0.0.1:9/20160918"
    assert "oraclecloud.com" in some.client("identity").base_client.endpoint


def test_no_circuit_breaker_and_our_retry(account: SignIn) -> None:
    client = Connection(account).client("container_engine")
    assert isinstance(client.retry_strategy, Retry)
    assert not hasattr(client.base_client, "circuit_breaker") or client.base_client.circuit_breaker is None


def test_options_without_a_file(tmp_path: Path, key: Any) -> None:
    (tmp_path / "key.pem").write_bytes(pem(key, b"secret"))
    sign_in = SignIn(
        api_user=USER,
        api_user_fingerprint=fingerprint(key),
        api_user_key_file=str(tmp_path / "key.pem"),
        api_user_key_pass_phrase="secret",
        tenancy=TENANCY,
    )
    assert Connection(sign_in, CLUSTER).config["tenancy"] == TENANCY
    assert "secret" not in repr(sign_in)


def test_options_over_the_file(account: SignIn) -> None:
    connection = Connection(replace(account, api_user="ocid1.user.oc1..bbbb"), CLUSTER)
    assert connection.config["user"] == "ocid1.user.oc1..bbbb"


def test_environment_names_file_and_profile(account: SignIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, "TEAM")
    monkeypatch.setenv("OCI_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("OCI_CONFIG_PROFILE", "TEAM")
    assert Connection(SignIn(), CLUSTER).config["tenancy"] == TENANCY


def test_missing_file(tmp_path: Path) -> None:
    fault = fault_of(SignIn(config_file_location=str(tmp_path / "none")))
    assert (fault.code, fault.where) == ("oci_config_missing", str(tmp_path / "none"))
    assert fault_of(SignIn()).where == "~/.oci/config"


def test_missing_profile(account: SignIn) -> None:
    fault = fault_of(replace(account, config_profile_name="TEAM"))
    assert fault.code == "oci_profile_missing" and "TEAM" in fault.found


def test_file_that_is_none(account: SignIn, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("user=without a section\n")
    assert fault_of(account).code == "oci_config_invalid"
    for text in ("pass_phrase=canary\n", "[work]\nkey_content=-----BEGIN\nMIICANARY==\nsecond canary\n", "[a]\n[a]\n"):
        (tmp_path / "config").write_text(text)
        fault = fault_of(account)
        assert fault.code in ("oci_config_invalid", "oci_profile_missing") and "canary" not in fault.line().lower()
        assert "line" in fault.found
    (tmp_path / "config").write_bytes(b"\xff\xfe\x00")
    assert fault_of(account).code == "oci_config_invalid"


def test_missing_key(account: SignIn, tmp_path: Path) -> None:
    (tmp_path / "key.pem").unlink()
    fault = fault_of(account)
    assert (fault.code, fault.where) == ("oci_key_missing", str(tmp_path / "key.pem"))


def test_profile_without_a_key(account: SignIn, tmp_path: Path) -> None:
    write_config(tmp_path, key_file=None)
    assert fault_of(account).code == "oci_config_invalid"


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\xff\x00", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"]
)
def test_broken_key(account: SignIn, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    fault = fault_of(account)
    assert (fault.code, fault.where) == ("oci_key_broken", str(tmp_path / "key.pem"))


def test_public_key_and_pass_phrase(account: SignIn, tmp_path: Path, key: Any) -> None:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    assert "public key" in fault_of(account).found
    (tmp_path / "key.pem").write_bytes(pem(key, b"secret"))
    assert "passphrase" in fault_of(account).found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fingerprint": "aa:bb"}, "fingerprint is malformed"),
        ({"user": "somebody"}, "user is malformed"),
        ({"tenancy": None}, "tenancy is missing"),
        ({"user": None, "tenancy": None}, "tenancy is missing, user is missing"),
    ],
)
def test_malformed_profile(account: SignIn, tmp_path: Path, changes: dict[str, str | None], words: str) -> None:
    write_config(tmp_path, **changes)
    fault = fault_of(account)
    assert fault.code == "oci_config_invalid" and words in fault.found


def test_session_profile(account: SignIn, tmp_path: Path) -> None:
    write_config(tmp_path, user=None, security_token_file=str(tmp_path / "token"))
    assert "security_token" in fault_of(account).remedy
    session = replace(account, auth_type="security_token")
    assert fault_of(session).code == "oci_token_missing"
    (tmp_path / "token").write_text("abc\n")
    assert Connection(session, CLUSTER).signer.api_key == "ST$abc"


@pytest.mark.parametrize("auth_type", ["resource_principal", "workload_identity"])
def test_principal_elsewhere(auth_type: str) -> None:
    fault = fault_of(SignIn(auth_type=auth_type))
    assert (fault.code, fault.where) == ("oci_principal_unavailable", "auth_type")


def test_region_missing(account: SignIn, tmp_path: Path) -> None:
    write_config(tmp_path, region=None)
    assert fault_of(account, "").code == "oci_region_missing"


def test_refused_connection_names_the_endpoint(account: SignIn) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    connection = Connection(replace(account, service_endpoint=endpoint), CLUSTER, Retry(sleep=lambda seconds: None))
    client = connection.client("container_engine")
    with pytest.raises(Refused) as refused:
        with connection.asking("container_engine", "reading the OKE cluster", CLUSTER):
            client.get_cluster(CLUSTER)
    (fault,) = refused.value.faults
    assert fault.code == "cloud_unreachable"
    assert fault.where.startswith(endpoint)
    assert "Connection refused" in fault.found and "object at 0x" not in fault.found


def test_refused_signature_shows_the_keys_own_fingerprint(account: SignIn, tmp_path: Path, key: Any) -> None:
    write_config(tmp_path)
    connection = Connection(account, CLUSTER)
    with pytest.raises(Refused) as refused:
        with connection.asking("container_engine", "reading the OKE cluster", CLUSTER):
            raise service_error(401, "NotAuthenticated")
    (fault,) = refused.value.faults
    assert fault.code == "cloud_not_authenticated"
    assert fingerprint(key) in fault.remedy and "aa:aa" in fault.remedy


def test_pages() -> None:
    pages = {None: Response([1], {"opc-next-page": "b"}), "b": Response([], {"opc-next-page": "c"}), "c": Response([2])}
    assert list(all_pages(lambda page=None, **_: pages[page], limit=1)) == [1, 2]


def test_no_metadata_service_is_found_out_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the SDK's own signer; nothing listens at the address."""
    pauses: list[float] = []
    monkeypatch.setattr(client, "Retry", functools.partial(Retry, sleep=pauses.append))
    monkeypatch.setenv("OCI_METADATA_BASE_URL", "http://127.0.0.1:1/opc/v2")
    fault = fault_of(SignIn(auth_type="instance_principal"))
    assert fault.code == "oci_principal_unavailable" and "on an OCI compute instance" in fault.expected
    assert len(pauses) == 2 and sum(pauses) < 5


def test_instance_principal_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def construct(**_options: Any) -> None:
        raise OSError("no metadata service\nat all")

    monkeypatch.setattr(oci.auth.signers, "InstancePrincipalsSecurityTokenSigner", construct)
    fault = fault_of(SignIn(auth_type="instance_principal"))
    assert fault.code == "oci_principal_unavailable" and fault.found.endswith("no metadata service")


def test_a_missing_sdk_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "oci", None)
    with pytest.raises(Refused) as refused:
        client.sign_in_by({})
    assert [fault.code for fault in refused.value.faults] == ["library"]
