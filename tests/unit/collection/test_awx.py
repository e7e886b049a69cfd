# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX is given: surveys and credential types by its rules, and an execution environment that ansible-builder takes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.multinode.inference.plugins.module_utils.kube.client import connect
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import ENVIRONMENT, Connection, sign_in_by
from rig.control_plane.build import HELM_4
from tests import awx
from tests.tools.setup import REPOSITORY

SURVEYS = sorted((REPOSITORY / "docs").glob("awx_survey*.json"))
CREDENTIAL_TYPES = sorted((REPOSITORY / "docs" / "awx_credential_types").glob("*.json"))
CLUSTER = "ocid1.cluster.oc1.iad.aaaa"


def credential_type(name: str) -> dict[str, Any]:
    path = REPOSITORY / "docs" / "awx_credential_types" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_awx_takes_the_survey(path: Path) -> None:
    assert awx.survey_faults(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", CREDENTIAL_TYPES, ids=lambda path: path.stem)
def test_awx_takes_the_credential_type(path: Path) -> None:
    assert awx.credential_type_faults(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", CREDENTIAL_TYPES, ids=lambda path: path.stem)
def test_what_is_secret_is_kept_as_a_secret(path: Path) -> None:
    fields = json.loads(path.read_text(encoding="utf-8"))["inputs"]["fields"]
    held = {"key", "pass_phrase", "token", "kubeconfig"}
    assert {field["id"] for field in fields if field.get("secret")} == held & {field["id"] for field in fields}


@pytest.fixture
def signed_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that signs in to nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (*ENVIRONMENT.values(), "OCI_REGION", *(name for name in os.environ if name.startswith("K8S_AUTH_"))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def fingerprint_of(key: rsa.RSAPrivateKey) -> str:
    """As Oracle Cloud makes it: the MD5 of the public key in DER."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.md5(public, usedforsecurity=False).digest().hex(":")


def pem(key: rsa.RSAPrivateKey, pass_phrase: str = "") -> str:
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if pass_phrase:
        hidden = serialization.BestAvailableEncryption(pass_phrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


@pytest.mark.parametrize("pass_phrase", ["", "a phrase"])
def test_the_api_key_of_a_credential_signs_in(
    signed_out: None, key: rsa.RSAPrivateKey, pass_phrase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "user": "ocid1.user.oc1..a",
        "tenancy": "ocid1.tenancy.oc1..a",
        "fingerprint": fingerprint_of(key),
        "key": pem(key, pass_phrase).strip(),  # AWX takes the blanks around a text away
        "pass_phrase": pass_phrase,
    }
    for name, value in awx.inject(credential_type("oci_api_key"), answers, tmp_path).items():
        monkeypatch.setenv(name, value)
    connection = Connection(sign_in_by({}), CLUSTER)
    assert connection.signer.api_key == f"ocid1.tenancy.oc1..a/ocid1.user.oc1..a/{answers['fingerprint']}"
    assert connection.region == "us-ashburn-1"


def test_the_session_of_a_credential_signs_in(
    signed_out: None, key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "tenancy": "ocid1.tenancy.oc1..a",
        "fingerprint": fingerprint_of(key),
        "key": pem(key),
        "token": "a.session.token",
        "region": "us-phoenix-1",
    }
    for name, value in awx.inject(credential_type("oci_session_token"), answers, tmp_path).items():
        monkeypatch.setenv(name, value)
    connection = Connection(sign_in_by({}))
    assert connection.signer.api_key == "ST$a.session.token"
    assert connection.region == "us-phoenix-1"


def test_the_kubeconfig_of_a_credential_names_the_cluster(
    signed_out: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": {"server": "http://one.example.com"}}],
        "users": [{"name": "one", "user": {"token": "of-a-user"}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    answers = {"kubeconfig": yaml.safe_dump(kubeconfig)}
    for name, value in awx.inject(credential_type("kubeconfig"), answers, tmp_path).items():
        monkeypatch.setenv(name, value)
    assert connect().host == "http://one.example.com"


def test_the_token_for_hugging_face_is_where_the_plan_reads_it(tmp_path: Path) -> None:
    assert awx.inject(credential_type("hugging_face"), {"token": "hf_a"}, tmp_path) == {"HF_TOKEN": "hf_a"}


def test_the_execution_environment_has_what_the_collection_needs() -> None:
    wanted = yaml.safe_load((REPOSITORY / "execution-environment.yml").read_text(encoding="utf-8"))
    found = yaml.safe_load((REPOSITORY / "meta" / "execution-environment.yml").read_text(encoding="utf-8"))
    needed = {name: wanted["dependencies"][name] for name in ("python", "system")}
    assert needed == found["dependencies"]
    assert wanted["dependencies"]["galaxy"] == "collections/requirements.yml"
    assert f"ARG HELM_VERSION={HELM_4.version}" in wanted["additional_build_steps"]["append_final"]


def test_the_page_names_every_file_for_awx() -> None:
    page = (REPOSITORY / "docs" / "awx.md").read_text(encoding="utf-8")
    named = [*SURVEYS, *CREDENTIAL_TYPES, REPOSITORY / "execution-environment.yml"]
    assert [path.name for path in named if path.name not in page] == []
    playbooks = (REPOSITORY / "playbooks").glob("*.yml")
    assert [path.stem for path in playbooks if f"`{path.stem}`" not in page] == []
