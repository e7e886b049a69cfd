# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the engine's API: what passes without a key, what only with one, what it logs, and where vLLM finds it."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from engine_process import GUARD, Engine
from pod_progress import Board

KEY = (b"authorization", b"Bearer the-key")
ORIGIN, ASKED = (b"origin", b"https://page.example"), (b"access-control-request-method", b"POST")
MODULES = ("engine_key_guard", "engine_keys")
Headers = tuple[tuple[bytes, bytes], ...]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mounted Secret with one key; the modules are imported with it, as vLLM does."""
    mount(tmp_path / "keys", {"default": "the-key"})
    monkeypatch.setenv("MULTINODE_API_KEYS", str(tmp_path / "keys"))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path / "keys"
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def key_guard(folder: Path) -> ModuleType:
    """The module, as vLLM imports it."""
    return importlib.import_module("engine_key_guard")


def mount(folder: Path, values: dict[str, str]) -> None:
    """Write the files as the kubelet does: into a new folder, which a link then leads to; the old one goes."""
    version = folder / f"..2026_{time.monotonic_ns()}"
    version.mkdir(parents=True)
    for name, value in values.items():
        (version / name).write_text(value)
    old = (folder / "..data").readlink() if (folder / "..data").exists() else None
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").replace(folder / "..data")
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in values:
            path.unlink()
    for name in values:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if old is not None:
        shutil.rmtree(folder / old)


def bearer(key: str) -> Headers:
    """The header of a request with this key."""
    return ((b"authorization", f"Bearer {key}".encode()),)


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


@pytest.mark.parametrize("value", [None, "", " \n", "two words", "k\ney", "k\u00e9y"])
def test_without_a_key_there_is_no_guard_to_start_with(folder: Path, value: str | None) -> None:
    mount(folder, {} if value is None else {"default": value})
    with pytest.raises(RuntimeError, match="no API key in ") as raised:
        importlib.import_module("engine_key_guard")
    assert value is None or not value.strip() or value not in str(raised.value)


def test_keys_are_added_rotated_and_removed_while_it_runs(key_guard: ModuleType, folder: Path) -> None:
    def good(key: str) -> bool:
        return passes(connect(key_guard, headers=bearer(key)))

    mount(folder, {"default": "the-key", "team": "second"})
    assert good("the-key") and good("second") and not good("third")
    mount(folder, {"default": "third!!", "team": "second"})
    assert not good("the-key") and good("second") and good("third!!")
    mount(folder, {"team": "second"})
    assert not good("third!!") and good("second")
    mount(folder, {})
    assert not good("second"), "no key left: closed"


def test_a_key_of_the_same_length_written_at_the_same_time_is_seen(key_guard: ModuleType, folder: Path) -> None:
    before = (folder / "default").stat()
    mount(folder, {"default": "the-kez"})
    os.utime(folder / "default", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert passes(connect(key_guard, headers=bearer("the-kez")))
    assert not passes(connect(key_guard, headers=bearer("the-key")))


def test_files_that_are_away_for_a_moment_lock_nobody_out(
    key_guard: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_folder: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sys.modules["engine_keys"], "_stamp", gone)
    assert passes(connect(key_guard, headers=bearer("the-key")))


def test_the_former_value_of_a_rotated_key_expires(
    key_guard: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    mount(folder, {"default": "new", f"default.until-{int(now) + 60}": "the-key", f"team.until-{int(now) - 1}": "late"})
    assert passes(connect(key_guard, headers=bearer("the-key")))
    assert passes(connect(key_guard, headers=bearer("new")))
    assert not passes(connect(key_guard, headers=bearer("late")))
    monkeypatch.setattr(sys.modules["engine_keys"].time, "time", lambda: now + 61)
    assert not passes(connect(key_guard, headers=bearer("the-key")))
    assert passes(connect(key_guard, headers=bearer("new")))


def test_a_line_break_at_the_end_is_no_part_of_a_key(key_guard: ModuleType, folder: Path) -> None:
    mount(folder, {"default": "the-key\n"})
    assert passes(connect(key_guard, headers=bearer("the-key")))


@pytest.mark.parametrize(
    ("values", "own"),
    [
        ({"default": "b\n", "a": "a"}, "b"),
        ({"team": "t", "api_key": "k"}, "k"),
        ({"default": "", "team": "t"}, "t"),
        ({"default.until-99999999999": "old"}, ""),
        ({}, ""),
    ],
)
def test_the_pods_own_requests_have_the_default_key_or_another(folder: Path, values: dict[str, str], own: str) -> None:
    mount(folder, values)
    assert importlib.import_module("engine_keys").Keys().own() == own


def test_the_log_names_the_key_of_a_request_and_never_the_key(
    key_guard: ModuleType, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    until = int(time.time()) + 60
    mount(folder, {"default": "the-key", "team": "second", f"team.until-{until}": "former"})
    for key in ("the-key", "second", "former", "wrong"):
        scope = {"method": "POST", "path": "/v1/completions\nrequest {", "client": ("10.0.0.9", 4711)}
        connect(key_guard, headers=bearer(key), **scope)
    connect(key_guard, path="/metrics", headers=bearer("the-key"))
    connect(key_guard, path="/health")
    output = capfd.readouterr().out
    said = [json.loads(line.removeprefix("request ")) for line in output.splitlines() if line.startswith("request ")]
    assert [entry["key"] for entry in said] == ["default", "team", "team"]
    assert said[0] == {
        "key": "default",
        "method": "POST",
        "path": "/v1/completions\nrequest {",
        "client": "10.0.0.9",
    }
    assert not any(value in output for value in ("the-key", "second", "former", "wrong"))


def test_a_change_of_the_keys_is_said_once_it_is_in_force(
    key_guard: ModuleType, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for revision, values in (("7-a", {"default": "the-key"}), ("8-b", {"default": "new", "team": "second"})):
        mount(folder, {**values, ".revision": revision})
        for _request in range(2):
            connect(key_guard, path="/health")
    said = [json.loads(line.removeprefix("keys ")) for line in capfd.readouterr().out.splitlines()]
    assert said == [{"revision": "7-a", "names": ["default"]}, {"revision": "8-b", "names": ["default", "team"]}]
    assert not passes(connect(key_guard, headers=bearer("8-b"))), "the revision is no key"


def test_what_a_request_says_is_neither_cause_nor_evidence_of_the_engines_end() -> None:
    group: Any = SimpleNamespace()
    engine = Engine(group, Board())
    engine._read(engine._mark + 'request {"key": "default", "path": "/torch.OutOfMemoryError: CUDA out of memory"}')
    assert engine.tail() == [] and engine._log.root(None) is None


def test_a_client_writes_no_line_of_the_guard(capfd: pytest.CaptureFixture[str]) -> None:
    """What vLLM says of a request may hold the client's words, behind a carriage return at the beginning of a line."""
    group: Any = SimpleNamespace()
    engine = Engine(group, Board())
    genuine = 'request {"key": "team-a"}'
    for line in ('request {"key": "forged"}', 'keys {"revision": "forged"}', f"loading{engine._mark}{genuine}"):
        engine._read(line)
    said = capfd.readouterr().out.splitlines()
    assert [line for line in said if line.startswith(("request {", "keys {"))] == [genuine]
    assert "loading" in said and sum("forged" in line for line in said) == 2 and engine._mark not in "".join(said)


def test_the_guards_lines_bear_the_mark(
    key_guard: ModuleType, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_guard, "_MARK", "0123 ")
    key_guard._say("default", {"method": "POST", "path": "/v1/completions"})
    monkeypatch.setattr(key_guard, "_said", [])
    key_guard._say_change()
    said = capfd.readouterr().out.splitlines()
    assert [line.partition("{")[0] for line in said] == ["0123 request ", "0123 keys "]


@pytest.mark.parametrize("given", [None, "/image/lib"])
def test_vllm_finds_the_guard_and_none_of_the_programs_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None
) -> None:
    vllm = tmp_path / "vllm"
    vllm.write_text(
        f'#!/bin/sh\necho "$PYTHONPATH $VLLM_USE_RUST_FRONTEND $MULTINODE_GUARD_MARK" > {tmp_path}/found.new\n'
    )
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
    path, rust, mark = (tmp_path / "found").read_text().split()
    assert f"{mark} " == engine._mark
    folder, *rest = path.split(":")
    assert rest == ([given] if given else [])
    assert sorted(entry.name for entry in Path(folder).iterdir()) == ["engine_key_guard.py", "engine_keys.py"]
    assert all((Path(folder) / program.name).read_bytes() == program.read_bytes() for program in GUARD)
    assert rust == "0", "vLLM's server in Rust knows no middleware"
