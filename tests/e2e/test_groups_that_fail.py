# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups that no restart fixes: they say why, stop trying, and deploy ends with the cause."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run
from tests.e2e.served_group import ServedGroup, cause, is_ready, restarts
from tests.waiting import wait

Deploy = Callable[..., tuple[Run, ServedGroup]]


@pytest.fixture
def deploy(rig: RunningRig, tenancy: Tenancy, tmp_path: Path) -> Iterator[Deploy]:
    """Deploys the tiny model with changes of the recipe; its run and its group."""
    samples.put_model(tenancy.json, rig.configuration)
    playbooks = Playbooks(tmp_path, rig.environment(), {**tenancy.settings, "endpoint_exposure": "none"})
    made: dict[str, dict[str, Any]] = {}

    def make(name: str, settings: dict[str, Any] | None = None, **changes: Any) -> tuple[Run, ServedGroup]:
        if name not in made:
            made[name] = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=name)
        run = playbooks.run("deploy", {**made[name], **changes}, settings or {})
        return run, ServedGroup(rig, name, tenancy.compartment_id)

    yield make
    for name in made:
        rig.steer("POST", f"/engines/{name}/heal", {})
        ended = playbooks.run("undeploy", {"deployment_name": name})
        assert ended.code == 0, ended.output


def test_an_image_without_ray_is_told_before_a_byte_is_staged(deploy: Deploy) -> None:
    run, group = deploy("without-ray", recipe_image_uri="docker.io/vllm/vllm-openai:v0.26.0")
    assert run.code != 0
    assert [fault["code"] for fault in run.faults] == ["runtime"], run.output
    assert "the image has no `ray` on its PATH" in run.faults[0]["found"]
    assert group.progress(group.head()).keys() == {"ray"}
    assert not [name for name in group.fetched(0) if name.endswith(".safetensors")]
    assert not is_ready(group.head()) and restarts(group.head()) <= 1


# By the log that the engine prints: how often it is started before the tries end, and what the last lines say.
CLASSES = [
    ("08-dtype-bad", 1, "the image's vLLM refuses the value of an option", "correct it in recipe_container_command_args"),
    ("07-max-model-len-too-long", 1, "the context asked for is longer than the model's", "reduce recipe_max_model_length"),
    ("16-shard-missing", 1, "weights that this stage needs are not among its files", "the model's folder at the source is complete"),
    ("18-kv-cache-too-small", 1, "no GPU memory is left for the KV cache", "reduce --max-model-len"),
    ("20-shared-memory-full", 2, "/dev/shm is full or too small", "increase recipe_shared_memory_volume_size_limit_in_mb"),
    ("26-rank-killed-while-loading", 2, "a rank of the engine died", "kubectl describe pod"),
    ("30-api-server-killed", 2, "the engine ended by signal 9 (SIGKILL", "see the logs playbook"),
]  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize(("log", "starts", "cause_", "remedy"), CLASSES, ids=[entry[0] for entry in CLASSES])
def test_a_class_of_failure_costs_no_start_too_many_and_ends_with_what_to_do(
    deploy: Deploy, rig: RunningRig, log: str, starts: int, cause_: str, remedy: str
) -> None:
    name = f"fails-{log[:2]}"
    rig.steer("POST", f"/engines/{name}/fail", {"log": log})
    run, group = deploy(name)
    assert run.code != 0
    last = run.output.rstrip().splitlines()[-15:]
    print("\n".join(last))
    words = {line.split()[0]: line for line in last if line.startswith("  ") and line.strip()}
    assert cause_ in words["Cause"], run.output
    assert group.head()["metadata"]["name"] in words["Place"]
    assert remedy in words["Remedy"]
    assert "US dollars an hour with their volumes until undeploy" in words["Cost"]
    assert f"multinode.inference.logs -e deployment_name={name}" in words["Run"]
    assert "\n".join(last).count(cause_) == 1
    assert rig.steer("POST", f"/engines/{name}/heal", {})["told"] == starts


@pytest.mark.soak
def test_after_the_last_try_it_stays_up_without_ray_and_says_why(deploy: Deploy, rig: RunningRig) -> None:
    rig.steer("POST", "/engines/gives-up/die", {})
    run, group = deploy("gives-up", {"restart_limit": 1})
    assert run.code != 0
    said = run.faults[0]["found"]
    assert "given up after 2 failures" in said and "the engine died" in said and "The nodes are still billed" in said
    head, worker = group.head(), group.worker()
    assert (restarts(head), is_ready(head), group.endpoint_is_open()) == (2, False, False)
    assert group.status(head)["state"] == "given_up"
    assert group.status(worker)["phases"]["ray"]["step"] == "waiting: the head has given up, its log says why"
    assert not group.processes(head, name="raylet") and not group.processes(worker, name="raylet")
    assert "died unexpectedly" in group.log(head)
    rig.steer("POST", "/engines/gives-up/heal", {})
    run, group = deploy("gives-up", {"restart_limit": 1})
    assert run.code == 0 and run.result is not None and run.result["changed"], run.output
    assert f"{head['metadata']['name']} gave up: recreated" in run.output
    assert group.head()["metadata"]["uid"] != head["metadata"]["uid"]
    assert group.worker()["metadata"]["uid"] == worker["metadata"]["uid"]


@pytest.mark.soak
def test_a_vllm_without_an_option_that_is_not_demanded_serves_without_it(deploy: Deploy) -> None:
    """The stand-in plays 0.22, which has no --shutdown-timeout, and refuses what it does not know."""
    run, group = deploy("older-vllm", recipe_container_env=[{"key": "RIG_VLLM_VERSION", "value": "0.22.0"}])
    assert run.code == 0, run.output
    assert "left out --shutdown-timeout 45: the image's vLLM does not have it" in group.log(group.head())
    run, group = deploy(
        "older-vllm",
        recipe_container_env=[{"key": "RIG_VLLM_VERSION", "value": "0.22.0"}],
        recipe_container_command_args=["--distributed-timeout-seconds", "900"],
    )
    assert run.code != 0
    assert "has no option --distributed-timeout-seconds" in run.faults[0]["found"], run.output


@pytest.mark.soak
def test_a_full_queue_ends_nothing_and_keeps_the_endpoint_open(deploy: Deploy) -> None:
    """As long, by the bound of a hang, as ten minutes are by its 360 s: no request of the probe's is admitted meanwhile."""
    bound = 24
    environment = [
        {"key": "MULTINODE_HANG_SECONDS", "value": str(bound)},
        {"key": "RIG_VLLM_VERSION", "value": "0.29.0"},
    ]
    run, group = deploy("full", {"max_queued_requests": 1}, recipe_container_env=environment)
    assert run.code == 0, run.output
    head = group.head()
    group.suffer("slow", seconds=1)
    ended = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        body = {"model": "tiny-llama", "prompt": "Hello", "max_tokens": 8}
        while not ended.wait(0.05):
            answers.append(group.ask("/v1/completions", body, 60)[0])

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        wait("a full queue", lambda: 503 in answers, 30, group.describe)
        end = time.monotonic() + bound * 600 / 360
        while time.monotonic() < end:
            assert is_ready(group.head()) and group.endpoint_is_open(), group.describe()
            time.sleep(1)
        assert set(answers) == {200, 503}, "no other answer"
        assert (group.head()["metadata"]["uid"], restarts(group.head())) == (head["metadata"]["uid"], restarts(head))
    finally:
        ended.set()
        for client in clients:
            client.join(30)
        group.suffer("heal")


@pytest.mark.soak
def test_an_engine_that_lies_to_everyone_is_found_out_and_a_busy_one_is_not_asked(deploy: Deploy) -> None:
    """A client asks all the time: what the engine makes of it is all that tells, for it never pauses."""
    bound = 36
    environment = [{"key": "MULTINODE_HANG_SECONDS", "value": str(bound)}]
    run, group = deploy("lies-to-all", recipe_container_env=environment)
    assert run.code == 0, run.output
    head = group.head()
    asked = r'127.0.0.1:\d+ - "POST /v1/completions'
    ended = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        while not ended.wait(0.2):
            answers.append(group.complete(5))

    client = threading.Thread(target=ask, daemon=True)
    client.start()
    try:
        before = len(re.findall(asked, group.log(head)))
        time.sleep(2 * bound)
        assert 500 not in answers and answers.count(200) > 5
        assert len(re.findall(asked, group.log(head))) == before
        group.suffer("lie")
        wait("an answer that failed", lambda: 500 in answers, 30, group.describe)
        wait("the endpoint closes", lambda: not group.endpoint_is_open(), 3 * bound, group.describe)
        assert group.ask("/health")[0] == 200
        assert "answered with 500" in group.status(group.head())["phases"]["token"]["cause"]
        wait("the head starts again", lambda: restarts(group.head()) > restarts(head), 5 * bound, group.describe)
        assert "though /health says 200: the completion was answered with 500" in cause(group.head())["cause"]
        assert group.head()["metadata"]["uid"] == head["metadata"]["uid"]
        group.suffer("heal")
        group.until_served(time.monotonic())
    finally:
        ended.set()
        client.join(10)
