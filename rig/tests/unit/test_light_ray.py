# SPDX-License-Identifier: GPL-3.0-or-later
"""The light image's stand-in for Ray: two nodes as processes, and the stand-in for vLLM on them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.configuration import REPOSITORY
from rig.model import write_tiny_llama
from tests.waiting import wait

IMAGES = REPOSITORY / "rig" / "images"
pytestmark = pytest.mark.processes
LIGHT, VLLM = IMAGES / "vllm-light", IMAGES / "vllm-ray"
TOKEN = "token-of-the-test"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Programs:
    """Programs of the image, each in a process group of its own."""

    def __init__(self) -> None:
        self.port, self.dashboard = free_port(), free_port()
        self.running: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            "PATH": f"{LIGHT / 'bin'}:{VLLM / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{LIGHT / 'lib'}:{VLLM / 'lib'}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_health_check_period_ms": "100",
        }

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {**self.environment, **environment}
        return subprocess.run(words, env=given, capture_output=True, text=True, timeout=30, check=False)

    def node(self, address: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        own = (
            f"--node-ip-address={address}",
            f"--dashboard-agent-listen-port={free_port()}",
            "--num-gpus=1",
            "--block",
        )
        return self.start("ray", "start", *own, *words, **environment)

    def kill(self, process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def page(self, path: str, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.dashboard}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text) if text.startswith("{") else text
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, None

    def states(self) -> dict[str, str]:
        status, answer = self.page("/api/v0/nodes?limit=10000")
        found = answer["data"]["result"]["result"] if status == 200 else []
        return {node["node_ip"]: node["state"] for node in found}


@pytest.fixture
def programs() -> Iterator[Programs]:
    found = Programs()
    yield found
    for process in found.running:
        if process.poll() is None:
            found.kill(process)


def test_two_nodes_serve_until_one_of_them_ends(programs: Programs, tmp_path: Path) -> None:
    own = socket.gethostbyname(socket.gethostname())
    head = (f"--port={programs.port}", f"--dashboard-port={programs.dashboard}", "--dashboard-host=127.0.0.1")
    programs.node(own, "--head", *head)
    wait("the head", lambda: programs.states() == {own: "ALIVE"})
    worker = programs.node(
        "127.0.0.77", f"--address=127.0.0.1:{programs.port}", RAY_OVERRIDE_NODE_ID_FOR_TESTING="00000000" + "a" * 48
    )
    wait("both nodes", lambda: len(programs.states()) == 2)

    # Ray's words and codes where the token is missing or another.
    assert programs.page("/api/v0/nodes", token=None) == (401, "Unauthorized: Missing authentication token")
    assert programs.page("/nodes?view=summary", token="another")[0] == 403
    assert programs.page("/api/gcs_healthz", token=None) == (200, "success")
    assert programs.run("ray", "health-check").returncode == 0
    assert programs.run("ray", "health-check", RAY_AUTH_TOKEN="another").returncode == 1
    assert programs.run("ray", "start", "--head", "--no-such-option").returncode == 2

    write_tiny_llama(tmp_path)
    port = free_port()
    words = ["vllm", "serve", str(tmp_path), "-tp", "1", "-pp", "2", "--port", str(port), "--host", "127.0.0.1"]
    engine = programs.start(*words, "--distributed-executor-backend", "ray")

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait("the engine", healthy)
    body = json.dumps({"prompt": "Hello", "max_tokens": 3}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", data=body)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.loads(answer.read())["usage"]["completion_tokens"] == 3

    programs.kill(worker)
    wait("the end of the engine", lambda: engine.poll() is not None)
    assert engine.returncode == 0
    assert engine.stdout is not None
    log = engine.stdout.read()
    assert "RayWorkerProc rank=[1] died unexpectedly, shutting down executor." in log
    assert "ip=127.0.0.77)" in log
    wait("a dead node", lambda: programs.states()["127.0.0.77"] == "DEAD")


def test_gpus_that_do_not_come(programs: Programs, tmp_path: Path) -> None:
    own = socket.gethostbyname(socket.gethostname())
    head = (f"--port={programs.port}", f"--dashboard-port={programs.dashboard}", "--dashboard-host=127.0.0.1")
    programs.node(own, "--head", *head)
    wait("the head", lambda: programs.states() == {own: "ALIVE"})
    write_tiny_llama(tmp_path)
    words = [
        "vllm",
        "serve",
        str(tmp_path),
        "-pp",
        "2",
        "--port",
        str(free_port()),
        "--distributed-executor-backend",
        "ray",
    ]
    ended = programs.run(*words, RIG_PLACEMENT_TIMEOUT_S="1")
    assert ended.returncode == 1
    assert "Cannot provide a placement group requiring 2.0 GPUs" in ended.stdout


def test_a_worker_without_the_token_is_not_let_in(programs: Programs) -> None:
    own = socket.gethostbyname(socket.gethostname())
    programs.node(own, "--head", f"--port={programs.port}", "--include-dashboard=false")
    wait("the head", lambda: programs.run("ray", "health-check").returncode == 0)
    refused = programs.run("ray", "start", f"--address=127.0.0.1:{programs.port}", RAY_AUTH_TOKEN="another")
    assert refused.returncode == 1
    assert "Forbidden: Invalid authentication token" in refused.stderr
