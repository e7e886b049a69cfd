# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked over HTTP is bounded, and a credential reaches the one who is asked and nobody else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.sources import http
from ansible_collections.multinode.inference.plugins.module_utils.sources.http import TooLarge, Unreachable, ask
from ansible_collections.multinode.inference.plugins.plugin_utils import completion
from ansible_collections.multinode.inference.plugins.plugin_utils.completion import Reach, complete
from tests.unit.sources.http_server import Reply, serving

KEY = "sk-canary"
COMPLETION = json.dumps({"choices": [{"text": "Paris"}]}).encode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    return tmp_path


def reach(address: str, host: str = "") -> Reach:
    """How the server at `address` is reached, as `host` where one is given."""
    at, _colon, port = address.rpartition(":")
    return Reach("http", host or at, at, int(port))


def test_a_completion_is_asked_with_the_key() -> None:
    with serving(lambda _request: Reply(body=COMPLETION)) as server:
        assert complete(reach(server.address, "llm.example"), "m", f"{KEY}\n") == {
            "text": "Paris",
            "problem": None,
        }
    (asked,) = server.asked
    assert (
        asked.headers["authorization"] == f"Bearer {KEY}"
        and asked.headers["host"] == f"llm.example:{server.address.rpartition(':')[2]}"
    )
    assert json.loads(asked.body)["model"] == "m"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_key_along(status: int) -> None:
    with serving(lambda _request: Reply(body=COMPLETION)) as elsewhere:
        where = {"location": f"http://{elsewhere.address}/v1/completions"}
        with serving(lambda _request: Reply(status, headers=where)) as server:
            answer = complete(reach(server.address), "m", KEY)
    assert answer == {"text": None, "problem": f"HTTP {status}"} and elsewhere.asked == []


def test_no_password_of_netrc_takes_the_keys_place(home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login me password canary\n")
    (home / ".netrc").chmod(0o600)
    with serving(lambda _request: Reply(body=COMPLETION)) as server:
        complete(reach(server.address), "m", KEY)
        ask(f"http://{server.address}/", 100_000)
    assert [asked.headers.get("authorization") for asked in server.asked] == [f"Bearer {KEY}", None]


def test_what_is_not_encrypted_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(lambda _request: Reply(body=COMPLETION)) as proxy, serving(lambda _request: Reply(404)) as server:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        assert complete(reach(server.address), "m", KEY)["problem"] == "HTTP 404"
    assert proxy.asked == [] and len(server.asked) == 1


@pytest.mark.parametrize("key", ["a\nb", "a b", "\u00e4", "", " \n"])
def test_a_key_that_is_none_is_not_told(key: str) -> None:
    with serving(lambda _request: Reply(body=COMPLETION)) as server:
        problem = complete(reach(server.address), "m", key)["problem"]
    assert problem is not None and problem.startswith("API key: ") and server.asked == []
    assert not key.strip() or key not in problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[" * 100_000,
        b'{"choices": []}',
        b'{"choices": [{"text": 7}]}',
        b'{"choices": {"a": 1}}',
        b"7",
        b'{"choices": [{"text": NaN}]}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_no_completion(body: bytes) -> None:
    with serving(lambda _request: Reply(body=body)) as server:
        assert complete(reach(server.address), "m", KEY)["text"] is None


def test_what_a_model_says_moves_no_cursor() -> None:
    body = json.dumps({"choices": [{"text": "\u001b[2Jx"}]}).encode()
    with serving(lambda _request: Reply(body=body)) as server:
        assert complete(reach(server.address), "m", KEY)["text"] == "?[2Jx"


def test_an_answer_that_never_ends_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as soon, serving(lambda _request: Reply(body=b"x" * 100, seconds=0.05)) as server:
        soon.setattr(http, "LONGEST_SECONDS", 0.5)
        soon.setattr(completion, "LONGEST_SECONDS", 0.5)
        with pytest.raises(Unreachable, match="longer than"):
            ask(f"http://{server.address}/", 1000)
        assert "longer than" in str(complete(reach(server.address), "m", KEY)["problem"])
    with serving(lambda _request: Reply(body=b"x" * 1000)) as server, pytest.raises(TooLarge):
        ask(f"http://{server.address}/", 999)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "abc"},
        {"content-length": "9" * 5000},
        {"content-encoding": "gzip"},
        {"content-length": "\u0663"},
    ],
)
def test_headers_that_make_no_sense_are_no_crash(headers: dict[str, str]) -> None:
    with serving(lambda _request: Reply(body=b"not gzip", headers=headers)) as server:
        with contextlib.suppress(Unreachable):
            ask(f"http://{server.address}/", 1000, timeout=2)


@pytest.mark.parametrize(
    "url", ["https://[::1", "http://a b/", "http://\u00e4\u0000/", "https://:x/", "http://h/\u00e4"]
)
def test_an_address_that_is_none_is_not_told(url: str) -> None:
    with pytest.raises(Unreachable) as raised:
        ask(url, 10, timeout=1)
    assert url not in str(raised.value)
