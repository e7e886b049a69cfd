# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the engine's API: what passes without a key, what only with it, and where vLLM finds it."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from engine_process import GUARD, Engine
from pod_progress import Board

KEY = (b"authorization", b"Bearer the-key")
ORIGIN, ASKED = (b"origin", b"https://page.example"), (b"access-control-request-method", b"POST")
Headers = tuple[tuple[bytes, bytes], ...]


@pytest.fixture
def key_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, as vLLM imports it."""
    monkeypatch.setenv("VLLM_API_KEY", "the-key")
    yield importlib.import_module("engine_key_guard")
    sys.modules.pop("engine_key_guard", None)


def connect(key_guard: ModuleType, kind: str = "http", headers: Headers = (), **scope: Any) -> list[dict[str, Any]]:
    """What the guard sends to a connection; one that passes is answered by the application with `passed`."""
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "passed"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("a connection that is refused is not read")

    whole = {"type": kind, "path": "/v1/models", "root_path": "", "headers": list(headers), **scope}
    if kind == "http":
        whole = {"method": "GET", **whole}
    asyncio.run(key_guard.KeyGuard(application)(whole, receive, send))
    return sent


def passes(sent: list[dict[str, Any]]) -> bool:
    """Say whether it reached the application; if not, it was refused in full."""
    if [message["type"] for message in sent] == ["passed"]:
        return True
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 401
    return False


@pytest.mark.parametrize(
    "path", ["/invocations", "/tokenize", "/metrics", "/metrics/", "/version", "/ping", "/docs", "/v1/models", "/", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_every_path_needs_the_key(key_guard: ModuleType, method: str, path: str) -> None:
    assert not passes(connect(key_guard, method=method, path=path))
    assert passes(connect(key_guard, method=method, path=path, headers=(KEY,)))


@pytest.mark.parametrize(
    ("scope", "open_to_all"),
    [
        ({"path": "/health"}, True),
        ({"path": "/health", "query_string": b"x=/invocations"}, True),
        ({"path": "/health", "root_path": "/team"}, True),
        ({"path": "/team/health", "root_path": "/team"}, True),
        ({"path": "/team/health"}, False),
        ({"path": "/teamhealth", "root_path": "/team"}, False),
        ({"path": "/team/invocations", "root_path": "/team"}, False),
        ({"path": "/health", "method": "POST"}, False),
        ({"path": "/health", "method": "HEAD"}, False),
        ({"path": "/health/"}, False),
        ({"path": "//health"}, False),
        ({"path": "/Health"}, False),
        ({"path": "/health/../invocations"}, False),
        # The server decodes once, and the router compares what that gave.
        ({"path": "/health?", "raw_path": b"/health%3f"}, False),
        ({"path": "/%68ealth", "raw_path": b"/%2568ealth"}, False),
        ({"path": "/health", "raw_path": b"/%68ealth"}, True),
        ({"path": "/invocations", "raw_path": b"/health"}, False),
    ],
)
def test_only_the_question_for_health_needs_none(
    key_guard: ModuleType, scope: dict[str, Any], open_to_all: bool
) -> None:
    assert passes(connect(key_guard, **scope)) is open_to_all


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ([b"Bearer the-key"], True),
        ([b"bearer the-key"], True),
        ([b"Bearer the-kez"], False),
        ([b"Bearer the-key2"], False),
        ([b"Bearer the-ke"], False),
        ([b"Bearer "], False),
        ([b"Bearer"], False),
        ([b"Bearer  the-key"], False),
        ([b"Bearer the-key, Bearer the-key"], False),
        ([b"Basic the-key"], False),
        ([b"the-key"], False),
        ([b"Bearer \xff\xfe"], False),
        ([b"Bearer the-key", b"Bearer the-key"], False),
        ([b"Bearer another", b"Bearer the-key"], False),
    ],
)
def test_the_key_is_the_deployments_and_given_once(key_guard: ModuleType, values: list[bytes], good: bool) -> None:
    headers = tuple((b"authorization", value) for value in values)
    assert passes(connect(key_guard, method="POST", path="/invocations", headers=headers)) is good


@pytest.mark.parametrize(
    ("headers", "good"), [((ORIGIN, ASKED), True), ((ORIGIN,), False), ((ASKED,), False), ((), False), ((KEY,), True)]
)
def test_of_options_only_a_browsers_preflight_passes(key_guard: ModuleType, headers: Headers, good: bool) -> None:
    assert passes(connect(key_guard, method="OPTIONS", path="/metrics", headers=headers)) is good
    assert not passes(connect(key_guard, method="GET", path="/metrics", headers=(ORIGIN, ASKED)))


def test_the_refusal_is_one_that_clients_of_openai_show(key_guard: ModuleType) -> None:
    start, body = connect(key_guard, path="/metrics")
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json" and headers[b"www-authenticate"] == b"Bearer"
    assert int(headers[b"content-length"]) == len(body["body"])
    error = json.loads(body["body"])["error"]
    assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
    assert "Authorization: Bearer" in error["message"] and "the-key" not in error["message"]


def test_a_websocket_needs_the_key_too(key_guard: ModuleType) -> None:
    for path in ("/v1/realtime", "/health"):
        (message,) = connect(key_guard, "websocket", path=path)
        assert (message["type"], message["code"]) == ("websocket.close", 1008)
        assert passes(connect(key_guard, "websocket", path=path, headers=(KEY,)))


def test_the_start_and_end_of_the_server_pass(key_guard: ModuleType) -> None:
    assert passes(connect(key_guard, "lifespan"))


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_there_is_no_guard_to_start_with(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("VLLM_API_KEY", key)
    with pytest.raises(RuntimeError, match="VLLM_API_KEY is not set"):
        importlib.import_module("engine_key_guard")


@pytest.mark.parametrize("given", [None, "/image/lib"])
def test_vllm_finds_the_guard_and_none_of_the_programs_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None
) -> None:
    vllm = tmp_path / "vllm"
    vllm.write_text(f'#!/bin/sh\necho "$PYTHONPATH $VLLM_USE_RUST_FRONTEND" > {tmp_path}/found.new\n')
    with vllm.open("a") as script:
        script.write(f"mv {tmp_path}/found.new {tmp_path}/found\n")
    vllm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONPATH", given)
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    monkeypatch.setattr("engine_process.STATE_FOLDER", tmp_path)
    for _start in range(2):
        group: Any = SimpleNamespace(model_path="/models/tiny", engine_arguments=())
        engine = Engine(group, Board())
        engine.start()
        assert engine._process is not None and engine._process.wait(10) == 0
    path, rust = (tmp_path / "found").read_text().split()
    folder, *rest = path.split(":")
    assert rest == ([given] if given else [])
    assert [entry.name for entry in Path(folder).iterdir()] == ["engine_key_guard.py"]
    assert (Path(folder) / "engine_key_guard.py").read_bytes() == GUARD.read_bytes()
    assert rust == "0", "vLLM's server in Rust knows no middleware"
