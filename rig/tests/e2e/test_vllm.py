# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product relies on in vLLM, asked of the `vllm` of the rig's image, over real Ray with token authentication in pods that
run. RIG_POD_PATH with a real vLLM in front asks that one; only the words of the completion are then others.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig
from rig.tests.e2e.ray_clusters import Cluster, Object, namespace, operator
from tests.waiting import wait

__all__ = ["namespace", "operator"]  # fixtures

IMAGE = "docker.io/rayproject/ray-llm:2.58.0-py312-cu130"
NODE_LABEL = "rig.multinode.inference/test-vllm"
KEY = "key-of-the-test"
START_SECONDS = 240
PORT = 8000

MODEL = """
import os, sys
sys.path.insert(0, os.environ["REPOSITORY"])
from pathlib import Path
from rig.model import write_tiny_llama
write_tiny_llama(Path("/tmp/model"))
"""
HEAD = """
python3 -c "$MODEL" || exit 1
eval "${KUBERAY_GEN_RAY_START_CMD/--block/}" || exit 1
exec vllm serve /tmp/model --served-model-name tiny --tensor-parallel-size 1 --pipeline-parallel-size 2 \
  --distributed-executor-backend ray --port 8000
"""
WORKER = """
python3 -c "$MODEL" || exit 1
eval "$KUBERAY_GEN_RAY_START_CMD"
"""


@pytest.fixture(scope="module")
def nodes(rig: RunningRig) -> Iterator[None]:
    """Two nodes with a GPU each, whose pods run."""
    if not rig.json["root"]:
        pytest.skip("not run: pods run only where the rig has root")
    size = {"cpu": "15", "memory": "200Gi", "ephemeral-storage": "100Gi", "pods": "20", "nvidia.com/gpu": "1"}
    names = [f"{rig.json['network']['node_prefix']}{number}" for number in (201, 202)]
    for name in names:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {NODE_LABEL: "yes", "node.kubernetes.io/instance-type": "VM.GPU.A10.1"},
                "annotations": {
                    "rig.multinode.inference/kind": "process",
                    "rig.multinode.inference/capacity": json.dumps({"capacity": size, "allocatable": size}),
                },
            },
        }
        rig.kubectl("create", "-f", "-", stdin=json.dumps(node))
    yield
    rig.kubectl("delete", "node", *names)


def group(script: str) -> Object:
    """A pod template that runs `script`."""
    environment = {"MODEL": MODEL, "REPOSITORY": str(REPOSITORY), "VLLM_API_KEY": KEY}
    container = {
        "name": "ray",
        "image": IMAGE,
        "command": ["/bin/bash", "-c", script],
        "env": [
            {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            *({"name": name, "value": value} for name, value in environment.items()),
        ],
        "resources": {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}},
        # Ray's own probes say nothing of vLLM, and a slow machine must not end the container.
        "readinessProbe": {"tcpSocket": {"port": 6379 if script == HEAD else 52365}, "periodSeconds": 2},
        "livenessProbe": {"exec": {"command": ["true"]}},
    }
    return {
        "spec": {
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "nodeSelector": {NODE_LABEL: "yes"},
            "containers": [container],
        }
    }


class Faults:
    """What the engines' RIG_ENGINE_CONTROL answers."""

    def __init__(self, address: str) -> None:
        self.asked: Object = {}
        faults = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(faults.asked).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{address}:{self.server.server_address[1]}/"

    def ask(self, **fault: Any) -> None:
        """Have the engine suffer this from its next look on."""
        self.asked = fault
        time.sleep(1.5)


@pytest.fixture
def faults(rig: RunningRig) -> Iterator[Faults]:
    """An address that steers the engine, which pods reach."""
    found = Faults(rig.json["network"]["address"])
    yield found
    found.server.shutdown()


@pytest.fixture
def engine(rig: RunningRig, operator: None, nodes: None, namespace: str, faults: Faults) -> Engine:
    """An engine of two stages that serves."""
    steered = group(HEAD)
    steered["spec"]["containers"][0]["env"].append({"name": "RIG_ENGINE_CONTROL", "value": faults.url})
    cluster = Cluster(rig, namespace)
    parameters = {"object-store-memory": "100000000", "disable-usage-stats": "true"}
    worker = {"groupName": "workers", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
    cluster.apply(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": "", "annotations": {"ray.io/overwrite-container-cmd": "true"}},
            "spec": {
                "rayVersion": "2.58.0",
                "authOptions": {"mode": "token"},
                "headGroupSpec": {"rayStartParams": parameters, "template": steered},
                "workerGroupSpecs": [{**worker, "rayStartParams": parameters, "template": group(WORKER)}],
            },
        }
    )
    found = Engine(cluster)
    wait("vLLM that serves", lambda: found.ask("/health")[0] == 200, START_SECONDS)
    return found


class Engine:
    """The API of the head pod of a RayCluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def head(self) -> Object | None:
        heads = [pod for pod in self.cluster.pods() if pod["metadata"]["labels"]["ray.io/node-type"] == "head"]
        return heads[0] if heads else None

    def ask(self, path: str, body: Object | None = None, key: str | None = KEY) -> tuple[int, str]:
        """Status and text of an answer; status 0 where the connection is refused."""
        address = ((self.head() or {}).get("status") or {}).get("podIP")
        if not address:
            return 0, "no address"
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{address}:{PORT}{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def complete(self, **changes: Any) -> tuple[int, Object]:
        status, text = self.ask("/v1/completions", {"model": "tiny", "prompt": "Hello", "max_tokens": 8, **changes})
        return status, json.loads(text) if text.startswith("{") else {"text": text}

    def log(self, *words: str) -> str:
        head = self.head()
        assert head
        return self.cluster.kubectl("logs", head["metadata"]["name"], "-c", "ray", *words)

    def restarts(self) -> int:
        head = self.head()
        return head["status"]["containerStatuses"][0]["restartCount"] if head else 0


def test_serves_and_ends_with_a_rank(engine: Engine, faults: Faults) -> None:
    """One group for all, since starting Ray is what takes the time."""
    log = engine.log()
    lines = (
        "Initializing a V1 LLM engine",
        "GPU KV cache size",
        "init engine",
        "Starting vLLM",
        "Application startup complete",
    )
    places = [log.index(line) for line in lines]
    assert places == sorted(places)
    assert "Loading safetensors checkpoint shards: 100% Completed" in log

    status, answer = engine.complete()
    assert (status, answer["usage"]["completion_tokens"]) == (200, 8)
    assert engine.complete()[1]["choices"][0]["text"] == answer["choices"][0]["text"]
    _, streamed = engine.ask("/v1/completions", {"model": "tiny", "prompt": "Hello", "max_tokens": 8, "stream": True})
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    text = "".join(event["choices"][0]["text"] for event in events)
    assert (text, streamed.rstrip().endswith("[DONE]")) == (answer["choices"][0]["text"], True)
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    assert json.loads(engine.ask("/v1/chat/completions", chat)[1])["choices"][0]["message"]["content"]

    # The key guards /v1 only.
    assert engine.ask("/v1/models", key=None)[0] == 401
    assert engine.ask("/v1/models", key="another")[0] == 401
    assert [model["id"] for model in json.loads(engine.ask("/v1/models")[1])["data"]] == ["tiny"]
    for path in ("/health", "/metrics", "/version"):
        assert engine.ask(path, key=None)[0] == 200
    assert engine.ask("/tokenize", {"model": "tiny", "prompt": "Hello"}, key=None)[0] == 200
    assert engine.ask("/invocations", {"model": "tiny", "prompt": "Hello", "max_tokens": 1}, key=None)[0] == 200

    assert engine.complete(model="other")[0] == 404
    assert engine.complete(max_tokens=100_000)[0] == 400
    assert "vllm:generation_tokens_total" in engine.ask("/metrics")[1]

    # Faults that tests ask for: an engine that lies and one that hangs both say that they are healthy.
    faults.ask(do="lie")
    assert (engine.complete()[0], engine.ask("/health")[0]) == (500, 200)
    faults.ask(do="hang")
    hanging = threading.Thread(target=engine.complete)
    hanging.start()
    wait(
        "a running request",
        lambda: 'num_requests_running{engine="0",model_name="tiny"} 1.0' in engine.ask("/metrics")[1],
    )
    generated = _generated(engine)
    time.sleep(2)
    assert (_generated(engine), engine.ask("/health")[0], hanging.is_alive()) == (generated, 200, True)
    faults.ask()
    hanging.join(timeout=30)
    assert engine.complete()[0] == 200

    # A worker pod that goes takes the engine with it: 503, then the end, with exit code 0.
    worker = engine.cluster.workers()["0"]
    before = engine.restarts()
    engine.cluster.kubectl("delete", "pod", worker, "--grace-period=0", "--force")
    begin = time.monotonic()
    wait("another start of the head", lambda: engine.restarts() > before, 120)
    assert time.monotonic() - begin < 100
    head = engine.head()
    assert head
    ended = head["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 0
    assert "died unexpectedly" in engine.log("--previous")


def _generated(engine: Engine) -> str:
    lines = engine.ask("/metrics")[1].splitlines()
    return next(line for line in lines if line.startswith("vllm:generation_tokens_total"))


def test_waits_for_gpus_that_do_not_come(rig: RunningRig, operator: None, nodes: None, namespace: str) -> None:
    """The placement group's messages, with a limit of some seconds in the place of vLLM's 1800."""
    cluster = Cluster(rig, namespace)
    template = group(HEAD)
    template["spec"]["containers"][0]["env"].append({"name": "RIG_PLACEMENT_TIMEOUT_S", "value": "12"})
    cluster.apply(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": "", "annotations": {"ray.io/overwrite-container-cmd": "true"}},
            "spec": {
                "rayVersion": "2.58.0",
                "headGroupSpec": {
                    "rayStartParams": {"object-store-memory": "100000000", "include-dashboard": "false"},
                    "template": template,
                },
            },
        }
    )
    found = Engine(cluster)
    wait("the end of the head's container", lambda: found.head() and _ended(found.head()), START_SECONDS)
    log = found.log("--previous") if found.restarts() else found.log()
    assert "Waiting for creating a placement group of specs for 10 seconds" in log
    assert "Cannot provide a placement group requiring 2.0 GPUs" in log
    assert "Engine core initialization failed. See root cause above." in log


def _ended(head: Object | None) -> bool:
    """Whether the head's container has ended once, not with 0."""
    statuses = ((head or {}).get("status") or {}).get("containerStatuses") or []
    states = [*(status.get("state") or {} for status in statuses), *(s.get("lastState") or {} for s in statuses)]
    return any(state["terminated"]["exitCode"] for state in states if "terminated" in state)
