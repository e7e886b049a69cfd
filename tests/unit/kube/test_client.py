# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster a client is for, and as whom, is found as kubernetes.core finds it; what does not serve is said."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube import client
from ansible_collections.multinode.inference.plugins.module_utils.kube.client import (
    BUSY_ATTEMPTS,
    LONGEST_PAUSE,
    Kubernetes,
    connect,
    connect_as_asked,
)
from rig.control_plane.certificates import write_certificates
from tests.unit.sources.http_server import Reply, serving

MAPPING = {
    "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.7:6443"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    "current-context": "c",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("K8S_AUTH_") or name == "KUBECONFIG"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def kubeconfig(folder: Path, server: str = "https://192.0.2.1:6443", **user: Any) -> str:
    path = folder / f"config-{len(list(folder.iterdir()))}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "of-the-file"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def bearer(kubernetes: Kubernetes) -> str | None:
    return kubernetes._headers().get("authorization")


def fault_of(*arguments: Any, **options: Any) -> Fault:
    with pytest.raises(Refused) as refused:
        connect(*arguments, **options)
    (fault,) = refused.value.faults
    return fault


def test_the_file_given_comes_before_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "https://192.0.2.3:6443"))
    assert connect().host == "https://192.0.2.3:6443"
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", kubeconfig(tmp_path, "https://192.0.2.2:6443"))
    assert connect().host == "https://192.0.2.2:6443"
    given = connect(kubeconfig(tmp_path))
    assert given.host == "https://192.0.2.1:6443" and bearer(given) == "Bearer of-the-file"


def test_what_awx_injects_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWX's credential for Kubernetes sets host, token, whether to verify, and the authority's file."""
    write_certificates(tmp_path, "cluster.local", ["127.0.0.1"])
    monkeypatch.setenv("K8S_AUTH_HOST", "https://192.0.2.4:6443/")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "of-awx")
    monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "True")
    made = connect()
    assert made.host == "https://192.0.2.4:6443" and bearer(made) == "Bearer of-awx"
    assert made._client.configuration.ssl_ca_cert == str(tmp_path / "ca.crt")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "False")
    assert connect()._client.configuration.verify_ssl is False


def test_a_token_takes_the_place_of_the_files_user(tmp_path: Path) -> None:
    made = connect(kubeconfig(tmp_path, exec={"command": "no-such-program"}), api_key="own")
    assert made.host == "https://192.0.2.1:6443" and bearer(made) == "Bearer own"


def test_tokens_are_asked_for_at_each_request() -> None:
    tokens = iter(["first", "second"])
    made = connect(MAPPING, token=lambda: next(tokens))
    assert made.host == "https://192.0.2.7:6443"
    assert [bearer(made), bearer(made)] == ["Bearer first", "Bearer second"]


def test_a_command_that_is_not_there_has_a_way_out(tmp_path: Path) -> None:
    user = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "oci-of-nobody", "args": ["ce"]}
    fault = fault_of(kubeconfig(tmp_path, exec=user))
    assert fault.code == "kubeconfig_command_missing" and "oci-of-nobody" in fault.found
    assert "remove kubeconfig" in fault.remedy


def test_a_command_that_fails_is_not_taken_for_nobody(tmp_path: Path) -> None:
    user = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "false", "args": []}
    assert fault_of(kubeconfig(tmp_path, exec=user)).code == "kubeconfig_command_failed"


@pytest.mark.parametrize("text", ["", "}{", "clusters: 1", "- a"])
def test_a_file_that_is_none_is_one_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert fault_of(str(path)).code == "kubeconfig"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    fault = fault_of(str(tmp_path / "absent"))
    assert fault.code == "kubeconfig" and "absent" in fault.found


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    assert fault_of(kubeconfig(tmp_path), ca_cert=str(tmp_path / "absent")).code == "certificates"
    (tmp_path / "ca").write_text("no PEM")
    assert fault_of(kubeconfig(tmp_path), ca_cert=str(tmp_path / "ca")).code == "certificates"


def test_a_mapping_with_users_is_refused_since_it_would_show() -> None:
    with pytest.raises(Refused) as refused:
        connect_as_asked({"kubeconfig": {**MAPPING, "users": [{"name": "u", "user": {"token": "secret"}}]}})
    assert "secret" not in str(refused.value)


def test_a_key_in_the_kubeconfig_is_left_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificates(tmp_path / "pki", "cluster.local", ["127.0.0.1"])

    def encoded(name: str) -> str:
        return base64.b64encode((tmp_path / "pki" / name).read_bytes()).decode()

    path = kubeconfig(
        tmp_path, **{"client-certificate-data": encoded("admin.crt"), "client-key-data": encoded("admin.key")}
    )
    content = yaml.safe_load(Path(path).read_text())
    content["clusters"][0]["cluster"]["certificate-authority-data"] = encoded("ca.crt")
    Path(path).write_text(yaml.safe_dump(content))
    left = tmp_path / "temporary"
    left.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(left))
    made = connect(path)
    assert not list(left.iterdir())
    context = made._client.rest_client.pool_manager.connection_pool_kw["ssl_context"]
    assert len(context.get_ca_certs()) == 1


def test_an_api_server_that_has_too_much_to_do_is_asked_again_when_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _seconds: None)
    busy = Reply(429, b'{"message": "too many requests"}', {"Retry-After": "1"})
    replies = [busy] * 3 + [Reply(body=b'{"items": [{"metadata": {"name": "n"}}]}')]
    with serving(lambda _request: replies.pop(0)) as server:
        assert connect(kubeconfig(tmp_path, f"http://{server.address}")).items("/api/v1/nodes") == [
            {"metadata": {"name": "n", "namespace": ""}}
        ]
    with serving(lambda _request: busy) as server:
        with pytest.raises(Refused) as refused:
            connect(kubeconfig(tmp_path, f"http://{server.address}")).items("/api/v1/nodes")
        assert len(server.asked) == 1 + BUSY_ATTEMPTS
    (fault,) = refused.value.faults
    assert fault.found.startswith("429 too many requests")


def test_an_api_server_that_is_away_is_not_waited_for(tmp_path: Path) -> None:
    with serving(lambda _request: Reply(cut=True)) as server:
        with pytest.raises(Refused) as refused:
            connect(kubeconfig(tmp_path, f"http://{server.address}")).items("/api/v1/nodes")
        assert len(server.asked) == 2
    assert [fault.code for fault in refused.value.faults] == ["unreachable"]


@pytest.mark.parametrize("wanted", ["20000", "1"])
def test_no_server_sends_a_client_to_sleep_for_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", slept.append)
    replies = [Reply(429, headers={"Retry-After": wanted}), Reply(body=b'{"items": []}')]
    with serving(lambda _request: replies.pop(0)) as server:
        assert connect(kubeconfig(tmp_path, f"http://{server.address}")).items("/api/v1/nodes") == []
    assert slept == [min(float(wanted), LONGEST_PAUSE)]


def test_an_answer_that_never_ends_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_SECONDS", 0.3)
    with serving(lambda _request: Reply(body=b"x" * 100, seconds=0.05)) as server:
        cluster = connect(kubeconfig(tmp_path, f"http://{server.address}"))
        for read in (cluster.get, cluster.items, cluster.metadata, cluster.read):
            with pytest.raises(Refused) as refused:
                read("/api/v1/nodes")
            (fault,) = refused.value.faults
            assert fault.code == "unreachable" and "longer than" in fault.found


def test_a_list_of_slow_pages_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_LIST", 0.2)
    page = Reply(body=b'{"items": [], "metadata": {"continue": "more"}}', seconds=0.002)
    with serving(lambda _request: page) as server, pytest.raises(Refused) as refused:
        connect(kubeconfig(tmp_path, f"http://{server.address}")).items("/api/v1/nodes")
    assert "longer than" in refused.value.faults[0].found and len(server.asked) < 20


def test_an_answer_is_read_to_a_size_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 1000)
    for body, accepted in ((b'"' + b"x" * 997 + b'"', True), (b'"' + b"x" * 999 + b'"', False)):
        # mypy cannot infer a lambda that binds the loop's value.
        with serving(lambda _request, body=body: Reply(body=body)) as server:  # type: ignore[misc]
            cluster = connect(kubeconfig(tmp_path, f"http://{server.address}"))
            if accepted:
                assert cluster.read("/x") == body
                continue
            with pytest.raises(Refused) as refused:
                cluster.read("/x")
            assert "more than 1000 bytes" in refused.value.faults[0].found


def test_a_secret_is_created_and_never_written_over(tmp_path: Path) -> None:
    there = Reply(409, b'{"reason": "AlreadyExists", "message": "secrets \\"a\\" already exists"}')
    replies = [Reply(201, b"{}"), there, Reply(409, b'{"reason": "Conflict", "message": "try again"}')]
    with serving(lambda _request: replies.pop(0)) as server:
        cluster = connect(kubeconfig(tmp_path, f"http://{server.address}"))
        assert cluster.create("/api/v1/namespaces/a/secrets", {"kind": "Secret"})
        assert not cluster.create("/api/v1/namespaces/a/secrets", {"kind": "Secret"})
        with pytest.raises(Refused):
            cluster.create("/api/v1/namespaces/a/secrets", {"kind": "Secret"})
    assert [asked.body for asked in server.asked] == [b'{"kind": "Secret"}'] * 3


@pytest.mark.parametrize("token", ["canary\n", "canary canary", "canary\u00e4"])
def test_a_token_that_is_no_header_is_not_told(tmp_path: Path, token: str) -> None:
    with serving(lambda _request: Reply(body=b"{}")) as server:
        for cluster in (
            connect(kubeconfig(tmp_path, f"http://{server.address}", token=token)),
            connect(kubeconfig(tmp_path, f"http://{server.address}"), api_key=token),
        ):
            with pytest.raises(Refused) as refused:
                cluster.get("/version")
            (fault,) = refused.value.faults
            assert fault.code == "credential_malformed" and "canary" not in fault.line()
    assert server.asked == []


def test_a_redirect_is_no_answer(tmp_path: Path) -> None:
    with serving(lambda _request: Reply(302, headers={"location": "http://127.0.0.1:1/"})) as server:
        with pytest.raises(Refused):
            connect(kubeconfig(tmp_path, f"http://{server.address}")).get("/version")
