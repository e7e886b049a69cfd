# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching another pod: lost when it ends, found again where its name leads, and not lost with the cluster's DNS."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pod_status
import pytest
from pod_status import Watch

from tests.unit.runtime.pods import free_port, until

HOST = "llama-head-svc.llama.svc.cluster.local"


class Pod:
    """A status port."""

    def __init__(self, address: str, port: int, run: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"role": "worker", "run": run}).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the cluster's DNS knows; any other name it cannot resolve for the moment."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        if host == HOST and host not in known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(known.get(host, host), *rest, **more)

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    return known


@pytest.fixture
def watched(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Watch]]:
    """Watches HOST until the test ends, more often and with less patience than in a pod."""
    monkeypatch.setattr(pod_status, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(pod_status, "REFUSED_SECONDS", 0.5)
    monkeypatch.setattr(pod_status, "SILENT_SECONDS", 3.0)
    made: list[Watch] = []

    def watch() -> Watch:
        made.append(Watch(HOST, port))
        return made[-1]

    yield watch
    for one in made:
        one.stop()


def runs(watch: Watch) -> str | None:
    return (watch.status or {}).get("run")


def test_a_pod_lives_though_its_name_is_not_resolved(
    port: int, names: dict[str, str], watched: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    names[HOST] = "127.0.0.2"
    pod, watch = Pod("127.0.0.2", port, "first"), watched()
    until(lambda: runs(watch) == "first", 10, "seen")
    names.clear()
    looks: list[str] = []
    ask = pod_status.ask
    monkeypatch.setattr(pod_status, "ask", lambda host, *rest: looks.append(host) or ask(host, *rest))
    until(lambda: len(looks) > 50, 20, "asked while there are no names")
    assert set(looks) == {"127.0.0.2"} and watch.lost is None
    pod.end()
    until(lambda: watch.lost, 10, "lost")
    assert watch.lost == f"{HOST} refuses connections"


def test_a_name_that_hangs_holds_up_no_look(
    port: int, names: dict[str, str], watched: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer is late, so the name is resolved anew, and that takes longer than a silent pod is waited for."""
    names[HOST] = "127.0.0.2"
    pod, watch = Pod("127.0.0.2", port, "first"), watched()
    until(lambda: runs(watch) == "first", 10, "seen")
    asked, hangs = threading.Event(), threading.Event()
    resolve, ask = socket.getaddrinfo, pod_status.ask
    monkeypatch.setattr(pod_status, "SILENT_SECONDS", 0.5)

    def resolve_late(host: str, *rest: Any, **more: Any) -> Any:
        if host == HOST:
            asked.set()
            hangs.wait(30)
        return resolve(host, *rest, **more)

    def ask_late(*_: Any) -> Any:
        monkeypatch.setattr(pod_status, "ask", ask)
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.getaddrinfo", resolve_late)
    monkeypatch.setattr(pod_status, "ask", ask_late)
    try:
        assert asked.wait(10)
        time.sleep(1)
        assert watch.lost is None
    finally:
        hangs.set()
        pod.end()


def test_another_pod_of_the_same_name_is_found(port: int, names: dict[str, str], watched: Callable[[], Watch]) -> None:
    names[HOST] = "127.0.0.2"
    pod, watch = Pod("127.0.0.2", port, "first"), watched()
    until(lambda: runs(watch) == "first", 10, "seen")
    names[HOST] = "127.0.0.3"
    second = Pod("127.0.0.3", port, "second")
    pod.end()
    until(lambda: runs(watch) == "second", 10, "found")
    assert watch.lost is None
    second.end()
    until(lambda: watch.lost, 10, "lost")
    assert watch.lost == f"{HOST} refuses connections"


def test_one_that_never_answered_is_not_lost(names: dict[str, str], watched: Callable[[], Watch]) -> None:
    watch = watched()
    until(lambda: "name resolution" in watch.trouble, 10, "tried")
    assert (watch.status, watch.lost) == (None, None)
