# SPDX-License-Identifier: GPL-3.0-or-later
"""What names the cluster, which of it counts, and what tasks and Helm are told of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import sign_in_by
from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster_access import LIFE_SECONDS, Address
from ansible_collections.multinode.inference.plugins.plugin_utils import cluster as cluster_module
from ansible_collections.multinode.inference.plugins.plugin_utils.cluster import Cluster
from tests.unit.oci.fakes import CLUSTER
from tests.unit.oci.test_cluster_access import FINGERPRINT, PEM, key_of

MAPPING = {
    "clusters": [{"name": "c", "cluster": {"server": "https://staging.example:6443"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    "current-context": "c",
}
ADDRESS = Address("https://10.0.0.5:6443", "Q0E=", "private", ("public",))


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster in the environment, and OKE answers with ADDRESS."""
    for name in [name for name in os.environ if name.startswith(("K8S_AUTH_", "OCI_")) or name == "KUBECONFIG"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(cluster_module, "find_address", lambda *_arguments: ADDRESS)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "key.pem").write_text(PEM)
    lines = {"user": "ocid1.user.oc1..u", "tenancy": "ocid1.tenancy.oc1..t", "fingerprint": FINGERPRINT}
    lines["key_file"] = str(tmp_path / "key.pem")
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    (tmp_path / "config").write_text("[work]\n" + text)
    return {
        "oke_cluster_id": CLUSTER,
        "config_file_location": str(tmp_path / "config"),
        "config_profile_name": "work",
        "oci_service_endpoint": None,
        "auth_type": None,
        "region": None,
        "kubeconfig": None,
        "kubeconfig_context": None,
    }


def test_a_kubeconfig_that_is_given_is_the_only_one(settings: dict[str, Any]) -> None:
    made = Cluster({**settings, "kubeconfig": "~/own", "kubeconfig_context": "work"})
    assert made.arguments() == {"kubeconfig": "~/own", "context": "work", "api_key": None}
    assert made.for_helm() == os.path.expanduser("~/own")


@pytest.mark.parametrize("variable", ["KUBECONFIG", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_HOST"])
def test_the_environments_cluster_counts_before_the_sign_in(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "somewhere")
    assert Cluster(settings).tokens is None
    assert Cluster(settings).kubeconfig is None


def test_two_clusters_are_refused(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """kubernetes.core would follow the variable, other tasks the setting."""
    monkeypatch.setenv("K8S_AUTH_HOST", "https://other")
    with pytest.raises(Refused) as refused:
        Cluster({**settings, "kubeconfig": "~/own"})
    assert [fault.code for fault in refused.value.faults] == ["cluster_named_twice"]


def test_each_task_gets_a_token_and_none_is_in_what_is_registered(settings: dict[str, Any]) -> None:
    made = Cluster(settings)
    arguments = made.arguments()
    assert key_of(arguments["api_key"]).endswith(FINGERPRINT)
    assert arguments["kubeconfig"]["clusters"][0]["cluster"] == {
        "server": ADDRESS.server,
        "certificate-authority-data": "Q0E=",
    }
    assert "users" not in arguments["kubeconfig"]
    assert made.tokens is not None
    assert arguments["api_key"] not in json.dumps(made.kubeconfig)


def test_what_another_task_found_out_is_not_asked_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Cluster(settings).kubeconfig
    monkeypatch.setattr(cluster_module, "find_address", lambda *_arguments: pytest.fail("asked"))
    again = Cluster(settings, known)
    assert again.kubeconfig == known and again.tokens is not None


def test_no_word_of_the_kubeconfig_is_one_that_objects_have(settings: dict[str, Any]) -> None:
    """kubernetes.core masks each of its texts in a task's result: `v1` there would garble every apiVersion."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for entry in value.values() for text in texts(entry)]
        if isinstance(value, list):
            return [text for entry in value for text in texts(entry)]
        return [str(value)]

    assert {"v1", "Config", "default"}.isdisjoint(texts(Cluster(settings).kubeconfig))
    assert min(map(len, texts(Cluster(settings).kubeconfig)), default=0) >= len("Q0E=")


def test_helms_command_gives_a_credential_without_ansible(settings: dict[str, Any], tmp_path: Path) -> None:
    helm = Cluster(settings).for_helm()
    run = helm["users"][0]["user"]["exec"]
    assert os.path.isabs(run["command"]) and os.path.isabs(run["args"][0])
    environment = {"PATH": "", "HOME": str(tmp_path)}
    made = subprocess.run(
        [run["command"], *run["args"]], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    credential = json.loads(made.stdout)
    assert (credential["kind"], credential["apiVersion"]) == ("ExecCredential", run["apiVersion"])
    assert key_of(credential["status"]["token"]).endswith(FINGERPRINT)
    ends = datetime.fromisoformat(credential["status"]["expirationTimestamp"].replace("Z", "+00:00"))
    left = (ends - datetime.now(timezone.utc)).total_seconds()
    assert 60 < left < LIFE_SECONDS, "client-go asks for another before OKE refuses this one"


def test_helms_command_says_what_is_wrong_with_the_sign_in(tmp_path: Path) -> None:
    command = [sys.executable, str(cluster_module.EXEC_CREDENTIAL), CLUSTER, "--config-file", str(tmp_path / "absent")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 1 and made.stdout == ""
    assert "there is no such file" in made.stderr and "Traceback" not in made.stderr


def checked(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fault: Fault) -> Fault:
    class Answers:
        def get(self, path: str) -> None:
            raise Refused([fault])

    made = Cluster(settings)
    monkeypatch.setattr(made, "connect", Answers)
    with pytest.raises(Refused) as refused:
        made.check()
    return refused.value.faults[0]


def test_a_private_endpoint_out_of_reach_is_said_to_be_one(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = checked(settings, monkeypatch, Fault("unreachable", ADDRESS.server, "no answer (timed out)"))
    assert fault.where == "private endpoint https://10.0.0.5:6443 of the cluster"
    assert "inside the cluster's network" in fault.remedy and "kubernetes_endpoint: public" in fault.remedy


def test_a_token_that_is_not_taken_points_to_clock_and_rights(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = checked(settings, monkeypatch, Fault("unauthorized", "token", "401 Unauthorized"))
    assert fault.where == "OKE sign-in" and "clock" in fault.remedy and "use clusters" in fault.remedy


ENVIRONMENT = {
    "OCI_ANSIBLE_AUTH_TYPE": ("auth_type", "instance_principal"),
    "OCI_CONFIG_FILE": ("config_file_location", "/etc/oci"),
    "OCI_CONFIG_PROFILE": ("config_profile_name", "work"),
    "OCI_USER_ID": ("api_user", "ocid1.user.oc1..u"),
    "OCI_USER_FINGERPRINT": ("api_user_fingerprint", "aa:bb"),
    "OCI_USER_KEY_FILE": ("api_user_key_file", "/etc/key"),
    "OCI_USER_KEY_PASS_PHRASE": ("api_user_key_pass_phrase", "phrase"),
    "OCI_TENANCY": ("tenancy", "ocid1.tenancy.oc1..t"),
    "OCI_ANSIBLE_CERT_BUNDLE": ("cert_bundle", "/etc/bundle"),
}
"""As oracle.oci has them."""


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_the_sign_in_is_completed_from_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    field, value = ENVIRONMENT[variable]
    monkeypatch.setenv(variable, value)
    assert getattr(sign_in_by({field: None}), field) == value
    given = "api_key" if field == "auth_type" else "given"
    assert getattr(sign_in_by({field: given}), field) == given


def test_an_auth_type_of_the_environment_that_is_none() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCI_ANSIBLE_AUTH_TYPE", "instance_obo_user")
        with pytest.raises(Refused) as refused:
            sign_in_by({})
    assert "instance_obo_user" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"containerengine": "https://x"}, "unknown service containerengine"),
        ("example.com", "a URL that begins with"),
        ({"identity": 5}, "a URL that begins with"),
    ],
)
def test_an_endpoint_that_is_none(given: Any, words: str) -> None:
    with pytest.raises(Refused) as refused:
        sign_in_by({"oci_service_endpoint": given})
    assert words in str(refused.value)


def test_a_kubeconfig_is_held_against_the_cluster_that_is_named(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cluster_module, "refuse_other_cluster", lambda _connection, *given: asked.append(given))
    text = json.dumps({**MAPPING, "apiVersion": "v1", "kind": "Config"})
    (tmp_path / "staging").write_text(text)
    Cluster({**settings, "kubeconfig": str(tmp_path / "staging")}).check()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "staging"))
    Cluster(settings).check()
    monkeypatch.setenv("K8S_AUTH_HOST", "https://awx.example:6443")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "token")
    Cluster(settings).check()
    hosts = ["https://staging.example:6443"] * 2 + ["https://awx.example:6443"]
    assert asked == [(CLUSTER, host, frozenset()) for host in hosts]
    Cluster({**settings, "oke_cluster_id": None}).check()
    assert len(asked) == 3
