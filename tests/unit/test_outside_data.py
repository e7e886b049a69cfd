# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a service, an object or a file says: what reads it answers or refuses, within bounds, and nothing else leaves it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.credentials import header_value
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health.deployment_health import judge
from ansible_collections.multinode.inference.plugins.module_utils.core.health.launch_errors import (
    node_fault,
    pool_faults,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.health.log_text import readable
from ansible_collections.multinode.inference.plugins.module_utils.core.health.observation import Observation
from ansible_collections.multinode.inference.plugins.module_utils.core.health.pod_words import (
    final_entry,
    progress_lines,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    NODE_POOL_ANNOTATION,
    REQUEST_ANNOTATION,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.ownership import recorded_pool
from ansible_collections.multinode.inference.plugins.module_utils.core.source_request import (
    end_near,
    place_of,
    record_of,
    recorded,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.text import DEEPEST, plain, read_json
from ansible_collections.multinode.inference.plugins.module_utils.kube import client
from ansible_collections.multinode.inference.plugins.module_utils.kube.client import Kubernetes
from ansible_collections.multinode.inference.plugins.module_utils.sources import hugging_face, par
from ansible_collections.multinode.inference.plugins.module_utils.sources.facts import model_facts
from ansible_collections.multinode.inference.plugins.module_utils.sources.http import Answer
from tests.unit.core.test_source_request import NOW

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def replaced(value: Any, odd: Any, number: int) -> Any:
    """`value` with its part of that number, counted from the top, replaced by `odd`."""
    seen = 0

    def walk(part: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            return odd
        if isinstance(part, dict):
            return {key: walk(inner) for key, inner in part.items()}
        return [walk(inner) for inner in part] if isinstance(part, list) else part

    return walk(value)


def odd(value: Any) -> st.SearchStrategy[Any]:
    """`value` with one part of it something else, or something else altogether."""
    return JSON | st.builds(replaced, st.just(value), JSON, st.integers(1, 24))


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


RECORD = {"name": "r", "bucket": "b", "namespace": "n", "id": "x", "region": "us-ashburn-1", "former": [{"name": "r"}]}
RECORD |= {"time_expires": "2027-01-01T00:00:00+00:00", "time_renewed": "2026-12-01T00:00:00+00:00"}


@FEW
@given(st.binary(max_size=200) | st.text(max_size=200) | JSON.map(json.dumps))
def test_json_is_read_or_is_no_json(text: Any) -> None:
    with contextlib.suppress(ValueError):
        json.dumps(read_json(text))


@pytest.mark.parametrize("text", ["[" * 200_000, "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "1e999", "NaN", "9" * 5000])
def test_what_json_cannot_be_here(text: str) -> None:
    with pytest.raises(ValueError):
        read_json(text)
    assert read_json("[" * DEEPEST + "]" * DEEPEST)


@FEW
@given(st.text(max_size=60))
def test_words_are_shown_without_what_a_terminal_acts_on(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text) and "\x1b" not in shown and "\x9b" not in shown
    assert "\x1b" not in Fault("code", text, text).line()


@FEW
@given(st.text(max_size=40))
def test_a_credential_is_a_header_or_is_not_told(credential: str) -> None:
    try:
        assert header_value(credential, "key").isascii()
    except Refused as refused:
        told = str(refused)
        assert len(credential.strip()) < 5 or credential.strip() not in told


@FEW
@given(odd(RECORD).map(json.dumps) | st.text(max_size=60))
def test_a_record_of_a_request(text: str) -> None:
    record = recorded({REQUEST_ANNOTATION: text})
    if record:
        record_of(record)
        end_near(record, NOW)
        assert all(
            isinstance(part, str) for place in (record, *record.get("former", [])) for part in place_of(place).values()
        )


@FEW
@given(odd({"id": "ocid1.nodepool.a", "compartment_id": "ocid1.compartment.b"}).map(json.dumps) | st.text(max_size=60))
def test_a_record_of_a_pool(text: str) -> None:
    assert all(value.startswith("ocid1.") for value in recorded_pool({NODE_POOL_ANNOTATION: text}).values())


@contextlib.contextmanager
def answering(module: Any, answer: Answer) -> Iterator[None]:
    real = module.get
    module.get = lambda *_arguments, **_options: answer
    try:
        yield
    finally:
        module.get = real


LISTING = {"objects": [{"name": "m/config.json", "size": 3, "md5": "x"}, {"name": "m/a.safetensors", "size": 9}]}
PAR = "https://objectstorage.us-ashburn-1.oraclecloud.com/p/canary/n/n/b/b/o/"


@FEW
@given(odd(LISTING).map(body) | st.binary(max_size=80), st.sampled_from([200, 404, 500, 302]))
def test_a_list_of_object_storage(content: bytes, status: int) -> None:
    with answering(par, Answer(status, {}, content)):
        source = par.ParSource(PAR, "m")
        for read in (source.files, source.nearby, lambda: model_facts(source)):
            try:
                read()
            except Refused as refused:
                assert "canary" not in str(refused)


def test_a_list_that_never_ends_does() -> None:
    endless = body({"objects": [], "nextStartWith": "again"})
    with answering(par, Answer(200, {}, endless)), pytest.raises(Refused) as refused:
        par.ParSource(PAR, "m").files()
    assert refused.value.faults[0].code == "list_endless"


REPOSITORY = {"sha": "a" * 40, "siblings": [{"rfilename": "config.json", "size": 3, "lfs": {"sha256": "x", "size": 4}}]}


@FEW
@given(
    odd(REPOSITORY).map(body) | st.binary(max_size=80),
    st.sampled_from([200, 302, 403, 404, 503]),
    st.sampled_from(["", "https://[::1", "http://elsewhere/", "//", "file:///etc/passwd", "https://other/x"]),
)
def test_a_list_of_a_repository(content: bytes, status: int, location: str) -> None:
    with answering(hugging_face, Answer(status, {"location": location} if location else {}, content)):
        source = hugging_face.HuggingFaceSource("a/b", token="hf_canary\n", kept="x")
        for read in (source.files, lambda: source.read("config.json", 99), lambda: model_facts(source)):
            try:
                read()
            except Refused as refused:
                assert "canary" not in str(refused)


def test_no_redirect_leaves_encryption() -> None:
    with answering(hugging_face, Answer(302, {"location": "http://huggingface.co/x"}, b"")):
        with pytest.raises(Refused) as refused:
            hugging_face.HuggingFaceSource("a/b", token="t").files()
    assert refused.value.faults[0].code == "redirect_without_tls"


def kubernetes(status: int, content: bytes) -> Kubernetes:
    answer = SimpleNamespace(status=status, read=lambda _most: content, close=lambda: None)
    pool = SimpleNamespace(request=lambda *_arguments, **_options: answer)
    library = SimpleNamespace(
        configuration=SimpleNamespace(host="https://k", auth_settings=dict),
        rest_client=SimpleNamespace(pool_manager=pool),
    )
    return Kubernetes(library, lambda: "token")


ITEMS = {"metadata": {"continue": ""}, "items": [{"metadata": {"name": "a", "uid": "1"}, "spec": {}}]}


@FEW
@given(odd(ITEMS).map(body) | st.binary(max_size=80), st.sampled_from([200, 301, 404, 409, 422, 429, 500]))
def test_an_answer_of_the_api_server(content: bytes, status: int) -> None:
    cluster = kubernetes(status, content)
    calls = [lambda: cluster.items("/x"), lambda: cluster.metadata("/x"), lambda: cluster.get("/x")]
    calls += [lambda: cluster.allows({"verb": "get"}), lambda: cluster.create("/x", {})]  # type: ignore[list-item]
    for call in calls:
        with contextlib.suppress(Refused):
            call()


CLUSTER = {"server": "https://192.0.2.1:6443", "certificate-authority-data": "eA==", "proxy-url": "http://192.0.2.2"}
KUBECONFIG = {
    "clusters": [{"name": "c", "cluster": CLUSTER}],
    "users": [{"name": "u", "user": {"token": "t", "client-certificate-data": "eA==", "tokenFile": "/x"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}


def kubeconfig(folder: Path, command: list[str]) -> str:
    """A kubeconfig whose user signs in by a command."""
    said = {"apiVersion": "client.authentication.k8s.io/v1", "command": command[0], "args": command[1:]}
    users = [{"name": "u", "user": {"exec": {**said, "interactiveMode": "Never"}}}]
    clusters = [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443"}}]
    path = folder / "config"
    path.write_text(json.dumps({**KUBECONFIG, "clusters": clusters, "users": users}), encoding="utf-8")
    return str(path)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd(KUBECONFIG).map(json.dumps) | st.text(max_size=60) | st.just("a: &a [*a, *a]"))
def test_a_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_bytes(text.encode(errors="surrogatepass"))
    with contextlib.suppress(Refused):
        client.connect(str(tmp_path / "config"))._headers()


@pytest.mark.parametrize(
    "said", ["", "x", "{}", "[" * 100_000, '{"status": {"token": 7}}', '{"status": {"token": "a\\nb"}}', "\x00" * 99]
)
def test_what_a_command_of_a_kubeconfig_says(tmp_path: Path, said: str) -> None:
    (tmp_path / "said").write_text(said, encoding="utf-8")
    with contextlib.suppress(Refused):
        client.connect(kubeconfig(tmp_path, ["cat", str(tmp_path / "said")]))._headers()


def test_a_command_of_a_kubeconfig_that_never_ends_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "COMMAND_SECONDS", 0.3)
    with pytest.raises(Refused) as refused:
        client.connect(kubeconfig(tmp_path, ["sleep", "3"]))
    assert refused.value.faults[0].code == "kubeconfig_command_failed"


def test_pages_of_objects_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_PAGES", 5)
    with pytest.raises(Refused):
        kubernetes(200, body({"metadata": {"continue": "more"}, "items": []})).items("/x")


PROGRESS = {
    "phase": "engine",
    "state": "failed",
    "done": 1,
    "total": 2,
    "unit": "shards",
    "rate": 3.5,
    "eta": 7,
    "cause": "x",
}
PROGRESS |= {"step": "loading weights", "remedy": "y", "failures": 1, "tries": 5, "measured": {"weights_gib": 1.0}}
PODS = [
    {
        "metadata": {"name": name, "labels": {"ray.io/node-type": role}},
        "status": {"containerStatuses": [{"name": "c", "restartCount": 2, "state": {"running": {}}}]},
    }
    for name, role in (("h", "head"), ("w", "worker"))
]


@FEW
@given(st.lists((odd(PROGRESS).map(json.dumps) | st.text(max_size=40)).map("multinode {}".format), max_size=4))
def test_a_pods_log(lines: list[str]) -> None:
    text = "\n".join(lines)
    readable(lines)
    final_entry(text)
    progress = {pod["metadata"]["name"]: progress_lines(text) for pod in PODS}
    judgement = judge(Observation({"metadata": {"name": "d"}}, PODS, (), progress), 2, 1)
    assert judgement.state and all(isinstance(step.text, str) for step in judgement.steps)


@FEW
@given(
    st.text(max_size=40) | st.none(),
    st.text(max_size=40) | st.none(),
    st.sampled_from(["FAILED", "ACTIVE", "odd", None]),
)
def test_what_oracle_cloud_says_of_a_launch(code: str | None, message: str | None, state: str | None) -> None:
    node = {"id": "n", "name": "n", "lifecycle_state": state, "node_error": {"code": code, "message": message}}
    request = {"id": "w", "status": state, "errors": [{"code": code, "message": message}]}
    found = [node_fault(node), *pool_faults({"id": "p", "name": "p", "nodes": [node]}, request)]
    assert all(fault is None or fault.line() for fault in found)
