# SPDX-License-Identifier: GPL-3.0-or-later
"""Real vLLM (its CPU build) on real Ray, deployed and hurt: `make e2e-real`.

What a GPU alone can show is not shown here. Each deployment serves the tests behind it, in their order.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.configuration import real_vllm_folder
from rig.fixtures import RunningRig, Tenancy
from rig.model import write_tiny_llama
from tests.e2e.playbooks import Playbooks, Run
from tests.e2e.served_group import ServedGroup, address, is_ready, restarts
from tests.waiting import wait

pytestmark = [pytest.mark.real_vllm, pytest.mark.soak]

IMAGE = "registry.rig.example/rig/vllm-real:0.32.0"
# The CPU build's attention needs heads of 32 numbers and more: 256 / 4.
HIDDEN = 256
PROMPT = {"model": "tiny-llama", "prompt": "Hello", "max_tokens": 16, "temperature": 0}
# A start of vLLM takes a minute on two quiet cores, and many on busy ones.
DEPLOY_SECONDS = 1200
# Of each rank: VLLM_CPU_KVCACHE_SPACE of the image.
CACHE_BYTES = 2**30
# Two requests fill the queue. The bound of a hang is a third of the product's, so a full queue may be shorter, too.
QUEUED, HANG_SECONDS = 2, 120
SHAPES = {1: ("VM.GPU.A10.1", 12, 200), 2: ("VM.GPU.A10.2", 26, 400)}


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """What each division answered to the same prompt."""
    return {}


class Division:
    """One deployment on real vLLM."""

    def __init__(self, rig: RunningRig, tenancy: Tenancy, folder: Path, tensor: int, pipeline: int) -> None:
        shape, cpus, memory = SHAPES[tensor]
        self.name = f"real-{tensor}x{pipeline}"
        settings = {**tenancy.settings, "endpoint_exposure": "none", "wait_timeout_minutes": DEPLOY_SECONDS // 60}
        settings["max_queued_requests"] = QUEUED
        self.playbooks = Playbooks(folder, rig.environment(), settings, seconds=DEPLOY_SECONDS + 120)
        recipe = samples.recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=self.name)
        recipe |= {
            "recipe_node_shape": shape,
            "recipe_node_pool_size": pipeline,
            "recipe_nvidia_gpu_count": tensor,
            "recipe_image_uri": IMAGE,
            "recipe_container_env": [{"key": "MULTINODE_HANG_SECONDS", "value": str(HANG_SECONDS)}],
        }
        recipe["recipe_raycluster_params"] |= {
            "num_worker_nodes": pipeline - 1,
            **{f"{role}_node_num_gpus": tensor for role in ("head", "worker")},
            **{f"{role}_node_num_cpus": cpus for role in ("head", "worker")},
            **{f"{role}_node_cpu_mem_in_gbs": memory for role in ("head", "worker")},
        }
        self.recipe = recipe
        self.group = ServedGroup(rig, self.name, tenancy.compartment_id)

    def deploy(self, **changes: Any) -> Run:
        """Run deploy with the recipe and `changes` of it."""
        return self.playbooks.run("deploy", {**self.recipe, **changes})

    def remove(self) -> None:
        """Run undeploy."""
        ended = self.playbooks.run("undeploy", {"deployment_name": self.name})
        assert ended.code == 0, ended.output


@pytest.fixture(scope="module")
def tenancy(rig: RunningRig) -> Tenancy:
    assert (real_vllm_folder() / "complete").exists(), "real vLLM is not installed: run `make real-vllm`"
    answer = rig.steer("POST", "/tenancies", {})
    samples.put_model(answer, rig.configuration, hidden=HIDDEN)
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


@pytest.fixture(scope="module")
def two_stages(rig: RunningRig, tenancy: Tenancy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Division]:
    """TP1 x PP2, deployed; its first run is the test's."""
    division = Division(rig, tenancy, tmp_path_factory.mktemp("real-1x2"), 1, 2)
    yield division
    division.remove()


def completion(group: ServedGroup) -> str:
    status, text = group.ask("/v1/completions", PROMPT)
    assert status == 200, text
    return str(json.loads(text)["choices"][0]["text"])


def test_one_gpu_in_each_of_two_nodes(two_stages: Division, answers: dict[str, str]) -> None:
    run = two_stages.deploy()
    assert run.code == 0 and run.result is not None, run.output
    print(json.dumps(run.result["timeline"]))
    answers["1x2"] = completion(two_stages.group)
    assert answers["1x2"]


def test_the_plan_knows_how_much_cache_a_token_takes(two_stages: Division) -> None:
    """Of what the plan says of memory, the CPU build's log shows this alone."""
    result = two_stages.playbooks.run("plan", two_stages.recipe).result
    assert result is not None
    planned = max(stage["kv_bytes_per_token"] for stage in result["plan"]["memory"]["per_gpu"])
    log = two_stages.group.log(two_stages.group.head())
    [tokens] = {int(found.replace(",", "")) for found in re.findall(r"KV cache size: ([\d,]+) tokens", log)}
    print(json.dumps({"planned bytes of cache for a token": planned, "measured": CACHE_BYTES / tokens}))
    # It is cut into blocks.
    assert abs(CACHE_BYTES / planned - tokens) <= 256


def test_a_second_run_changes_nothing(two_stages: Division) -> None:
    run = two_stages.deploy()
    assert run.code == 0 and run.recap["changed"] == 0, run.output


def test_vllms_own_benchmark_runs_against_it(two_stages: Division, tmp_path: Path) -> None:
    group = two_stages.group
    assert group.complete() == 200
    model = tmp_path / "tiny-llama"
    write_tiny_llama(model, hidden=HIDDEN)
    command = [
        str(real_vllm_folder() / "bin" / "vllm"),
        *("bench", "serve", "--backend", "openai", "--endpoint", "/v1/completions"),
        *("--base-url", f"http://{address(group.head())}:8000", "--model", "tiny-llama", "--tokenizer", str(model)),
        *("--dataset-name", "random", "--random-input-len", "16", "--random-output-len", "8", "--num-prompts", "4"),
        *("--max-concurrency", "1"),
    ]
    environment = {**two_stages.playbooks.environment, "OPENAI_API_KEY": group.key(), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"Successful requests:\s+4", done.stdout)


def test_a_full_queue_ends_nothing_and_keeps_the_endpoint_open(two_stages: Division) -> None:
    group = two_stages.group
    head = group.head()
    ended = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        while not ended.wait(0.05):
            answers.append(group.ask("/v1/completions", {**PROMPT, "max_tokens": 1000, "ignore_eos": True}, 300)[0])

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(QUEUED + 2)]
    for client in clients:
        client.start()
    try:
        wait("a full queue", lambda: 503 in answers, 60, group.describe)
        end = time.monotonic() + HANG_SECONDS * 600 / 360
        while time.monotonic() < end:
            assert is_ready(group.head()) and group.endpoint_is_open(), group.describe()
            time.sleep(2)
    finally:
        ended.set()
        for client in clients:
            client.join(300)
    print(
        json.dumps(
            {"answers while the queue was full": {str(status): answers.count(status) for status in set(answers)}}
        )
    )
    assert set(answers) == {200, 503}
    assert (group.head()["metadata"]["uid"], restarts(group.head())) == (head["metadata"]["uid"], restarts(head))


def test_the_benchmark_playbook_measures_it(two_stages: Division) -> None:
    # No more at once than the queue takes: vLLM refuses those.
    sizes = {"benchmark_input_tokens": 16, "benchmark_output_tokens": 8, "benchmark_requests": QUEUED}
    run = two_stages.playbooks.run("benchmark", two_stages.recipe, sizes)
    assert run.code == 0 and run.result is not None, run.output
    print(run.output)
    assert [entry["concurrency"] for entry in run.result["measured"]] == [1, QUEUED]
    assert all(entry["completed"] >= 8 and entry["failed"] == 0 for entry in run.result["measured"])


def test_a_killed_rank_is_served_again(two_stages: Division) -> None:
    group = two_stages.group
    worker = group.worker()
    began = time.monotonic()
    group.kill_rank(worker)
    wait("the endpoint closes", lambda: not group.endpoint_is_open(), 120, group.describe)
    seconds = group.until_served(began, DEPLOY_SECONDS)
    print(json.dumps({"served again after a killed rank, seconds": round(seconds, 1)}))
    assert completion(group)


def test_two_gpus_in_each_of_two_nodes_give_the_same_tokens(
    rig: RunningRig, tenancy: Tenancy, tmp_path: Path, answers: dict[str, str]
) -> None:
    division = Division(rig, tenancy, tmp_path, 2, 2)
    try:
        run = division.deploy()
        assert run.code == 0, run.output
        answers["2x2"] = completion(division.group)
    finally:
        division.remove()
    assert answers["2x2"] == answers["1x2"]


def test_a_model_that_the_engine_refuses_ends_with_its_cause(rig: RunningRig, tmp_path: Path) -> None:
    answer = rig.steer("POST", "/tenancies", {})
    samples.put_model(answer, rig.configuration, hidden=HIDDEN)
    client = samples.object_storage(answer, rig.configuration)
    place = (answer["namespace"], answer["bucket"], f"{samples.MODEL}/config.json")
    config = json.loads(client.get_object(*place).data.content)
    client.put_object(*place, json.dumps({**config, "hidden_act": "silu9"}).encode())
    broken = Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)
    division = Division(rig, broken, tmp_path, 1, 2)
    try:
        run = division.deploy(deployment_name="real-broken")
        last = "\n".join(run.output.splitlines()[-20:])
        assert run.code != 0 and "silu9" in last, run.output
        assert "root cause above" not in last
    finally:
        division.name = "real-broken"
        division.remove()
