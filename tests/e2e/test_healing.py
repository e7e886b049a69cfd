# SPDX-License-Identifier: GPL-3.0-or-later
"""A group on real Ray, hurt in every way that it is to survive: what it says, who starts it again, what is read again.

One deployment serves all tests of this file. Each ends with the group serving, so that any of them can run alone; the times are
printed and decide nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig
from tests.e2e.playbooks import Playbooks
from tests.e2e.served_group import ServedGroup, cause, is_ready, restarts
from tests.waiting import wait

NAME = "healing"
# After so many restarts within ten minutes the kubelet pauses for more than a minute before the next.
RESTARTS_TO_BEAR = 3
HANG_SECONDS = 24
MODEL = samples.MODEL

Told = Callable[[str, float], None]


class Deployment:
    """The deployment while it is made: its playbooks, and what was seen of the endpoint meanwhile."""

    def __init__(self, playbooks: Playbooks, recipe: dict[str, Any], group: ServedGroup) -> None:
        self.playbooks, self.recipe, self.group = playbooks, recipe, group
        self.lied: tuple[bool, str] | None = None
        self.plan: dict[str, Any] = {}
        self.source: dict[str, bytes] = {}
        self.objects = Path()
        """Where the rig keeps the contents of the bucket."""

    def watch(self) -> None:
        """While the engine lies, see whether anything takes it for ready; then let it serve."""
        group = self.group

        def refused() -> str:
            return str((group.status(group.head()).get("phases") or {}).get("token", {}).get("cause") or "")

        wait("an engine whose /health says 200", lambda: group.head() and group.ask("/health")[0] == 200, 300)
        told = wait("a completion that failed, told by the head", refused, 60)
        self.lied = group.endpoint_is_open() or is_ready(group.head()), told
        group.suffer("heal")


@pytest.fixture(scope="module")
def deployment(rig: RunningRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two nodes with a GPU each. The engine lies at first: until it stops, nothing may come of it."""
    tenancy = rig.steer("POST", "/tenancies", {})
    samples.put_model(tenancy, rig.configuration)
    recipe = samples.recipe(samples.make_par(tenancy, rig.configuration), deployment_name=NAME)
    recipe["recipe_container_env"] = [{"key": "MULTINODE_HANG_SECONDS", "value": str(HANG_SECONDS)}]
    settings = {**tenancy["settings"], "endpoint_exposure": "none", "restart_limit": 50}
    playbooks = Playbooks(tmp_path_factory.mktemp("healing"), rig.environment(), settings)
    found = Deployment(playbooks, recipe, ServedGroup(rig, NAME, tenancy["compartment_id"]))
    found.group.suffer("lie")
    watching = threading.Thread(target=found.watch, daemon=True)
    watching.start()
    run = playbooks.run("deploy", recipe)
    found.group.suffer("heal")
    watching.join(30)
    assert run.code == 0 and run.result is not None, run.output
    found.plan, found.source = run.result["plan"], stored(tenancy, rig)
    found.objects = rig.directory / "objects" / tenancy["namespace"] / tenancy["bucket"]
    yield found
    ended = playbooks.run("undeploy", {"deployment_name": NAME})
    assert ended.code == 0, ended.output


@pytest.fixture
def group(deployment: Deployment) -> ServedGroup:
    """The group, serving; with new pods where the kubelet would make the next restart wait."""
    found = deployment.group
    found.suffer("heal")
    for pod in found.pods():
        if restarts(pod) >= RESTARTS_TO_BEAR:
            found.delete(pod)
    found.until_served(time.monotonic(), 400)
    return found


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Told:
    """Prints what was measured, whether the test is watched or not."""

    def tell(what: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\n  {request.node.name}: {what}: {seconds:.1f} s", end="", flush=True)

    return tell


def restarted(group: ServedGroup, began: float, told: Told, epoch: float) -> None:
    """See that the group serves again and that nobody read a byte of the model."""
    told("served again after", group.until_served(began))
    assert group.fetched(epoch) == []
    for pod in group.pods():
        assert group.progress(pod)["staging"]["fetched"] == 0


def test_a_token_makes_it_ready_and_health_does_not(deployment: Deployment) -> None:
    assert deployment.lied is not None, "the engine was never seen to lie"
    opened, said = deployment.lied
    assert not opened
    assert "the completion was answered with 500" in said
    group = deployment.group
    assert group.endpoint_is_open()
    assert group.progress(group.head())["token"]["state"] == "done"
    assert [group.progress(pod)["staging"]["state"] for pod in group.pods()] == ["done", "done"]


def test_each_node_holds_its_stage_and_every_byte_as_at_the_source(deployment: Deployment) -> None:
    group, source = deployment.group, deployment.source
    shards = {name for name in source if name.endswith(".safetensors")}
    planned = deployment.plan["staging"]["shards_per_stage"]
    for pod, names in zip(group.pods(), planned, strict=True):
        held = group.files(pod)
        assert {f"{MODEL}/{name}" for name in names} == held.keys() & shards < shards
        assert held.keys() - shards == source.keys() - shards
        for name, data in held.items():
            # The index names what lies here alone, so it is another.
            assert data == source[name] or name.endswith(".index.json"), name
        size, whole = (sum(map(len, files.values())) for files in (held, source))
        print(f"{pod['metadata']['name']} holds {size} of the model's {whole} bytes")


def test_a_killed_rank_restarts_the_group(group: ServedGroup, told: Told) -> None:
    head, worker = group.head(), group.worker()
    before = restarts(head), restarts(worker)
    epoch, began = time.time(), time.monotonic()
    group.kill_rank(worker)
    wait("the endpoint closes", lambda: not group.endpoint_is_open(), 30, group.describe)
    told("endpoint closed after", time.monotonic() - began)
    wait("the worker starts again", lambda: restarts(group.worker()) > before[1], 60, group.describe)
    told("worker started again after", time.monotonic() - began)
    restarted(group, began, told, epoch)
    assert (restarts(group.head()), restarts(group.worker())) == (before[0] + 1, before[1] + 1)
    ended = cause(group.head())
    assert (ended["phase"], ended["state"]) == ("engine", "ended")
    assert "a rank of the engine died" in ended["cause"]
    assert "rank 0 is gone" in cause(group.worker())["cause"]


def test_a_deleted_worker_is_replaced_alone(group: ServedGroup, told: Told) -> None:
    head, worker = group.head(), group.worker()
    held = group.files(worker)
    epoch, began = time.time(), time.monotonic()
    group.delete(worker)
    wait(
        "another worker",
        lambda: group.worker().get("metadata", {}).get("uid") not in (None, worker["metadata"]["uid"]),
        60,
    )
    told("served again after", group.until_served(began))
    assert group.head()["metadata"]["uid"] == head["metadata"]["uid"]
    # The lowest free index, so the same stage; its files and nothing else were read.
    assert group.worker()["metadata"]["labels"]["ray.io/worker-group-replica-index"] == "0"
    assert group.files(group.worker()) == held
    assert {name.rpartition("/")[2] for name in group.fetched(epoch)} == {name.rpartition("/")[2] for name in held}
    assert group.progress(group.head())["staging"]["fetched"] == 0
    # Whichever the head saw first: the pod that was gone, or what became of the engine.
    said = cause(group.head())["cause"]
    assert "the pod of stage 1" in said or "a rank of the engine died" in said


def test_an_engine_that_lies_later_is_found_out(group: ServedGroup, told: Told) -> None:
    before = restarts(group.head())
    began = time.monotonic()
    group.suffer("lie")
    wait("the endpoint closes", lambda: not group.endpoint_is_open(), 60, group.describe)
    told("endpoint closed after", time.monotonic() - began)
    assert group.ask("/health")[0] == 200
    said = group.status(group.head())["phases"]["token"]["cause"]
    assert "answered with 500" in said
    group.suffer("heal")
    # It tells the truth again in time: nothing is restarted for it.
    group.until_served(began)
    assert restarts(group.head()) == before


@pytest.mark.soak
def test_an_engine_that_goes_on_lying_is_restarted(group: ServedGroup, told: Told) -> None:
    before = restarts(group.head())
    epoch, began = time.time(), time.monotonic()
    group.suffer("lie")
    wait("the head starts again", lambda: restarts(group.head()) > before, 90, group.describe)
    told("restarted after", time.monotonic() - began)
    assert "answered with 500" in cause(group.head())["cause"]
    group.suffer("heal")
    restarted(group, began, told, epoch)


@pytest.mark.soak
def test_a_hung_engine_is_restarted(group: ServedGroup, told: Told) -> None:
    before = restarts(group.head())
    group.suffer("hang")
    epoch, began = time.time(), time.monotonic()
    asking = threading.Thread(target=group.complete, args=(120,), daemon=True)
    asking.start()
    wait("the head starts again", lambda: restarts(group.head()) > before, 120, group.describe)
    told("restarted after", time.monotonic() - began)
    assert cause(group.head())["cause"].startswith("the engine hangs: for")
    group.suffer("heal")
    restarted(group, began, told, epoch)


@pytest.mark.soak
def test_an_idle_engine_is_left_alone(group: ServedGroup) -> None:
    before = [restarts(pod) for pod in group.pods()]
    time.sleep(3 * HANG_SECONDS)
    assert [restarts(pod) for pod in group.pods()] == before
    assert group.serves()


@pytest.mark.soak
def test_a_deleted_head_is_replaced_and_the_worker_keeps_its_files(group: ServedGroup, told: Told) -> None:
    head, worker = group.head(), group.worker()
    held = group.files(head)
    epoch, began = time.time(), time.monotonic()
    group.delete(head)
    wait("the worker starts again", lambda: restarts(group.worker()) > restarts(worker), 60, group.describe)
    told("worker started again after", time.monotonic() - began)
    told("served again after", group.until_served(began))
    assert group.worker()["metadata"]["uid"] == worker["metadata"]["uid"]
    assert group.progress(group.worker())["staging"]["fetched"] == 0
    assert {name.rpartition("/")[2] for name in group.fetched(epoch)} == {name.rpartition("/")[2] for name in held}


@pytest.mark.soak
def test_an_engine_that_ends_with_exit_code_0_has_failed(group: ServedGroup, told: Told) -> None:
    epoch, began = time.time(), time.monotonic()
    group.kill(group.head(), "vllm serve", number=signal.SIGTERM)
    wait("the head starts again", lambda: "exit code 0" in cause(group.head()).get("cause", ""), 60, group.describe)
    restarted(group, began, told, epoch)


@pytest.mark.soak
def test_a_lost_raylet_ends_its_pod_and_the_group_is_restarted(group: ServedGroup, told: Told) -> None:
    epoch, began = time.time(), time.monotonic()
    group.kill(group.worker(), name="raylet")
    wait(
        "the worker starts again", lambda: "raylet ended" in cause(group.worker()).get("cause", ""), 60, group.describe
    )
    restarted(group, began, told, epoch)


@pytest.mark.soak
def test_a_late_worker_is_waited_for(rig: RunningRig, deployment: Deployment, group: ServedGroup, told: Told) -> None:
    """First as if its node never came, and deploy says so; then it comes after all."""
    worker = group.worker()
    node = worker["spec"]["nodeName"]
    rig.kubectl("cordon", node)
    try:
        group.delete(worker)
        head = group.head()
        wait("the head waits", lambda: restarts(group.head()) > restarts(head), 60, group.describe)
        run = deployment.playbooks.run("deploy", deployment.recipe, {"wait_timeout_minutes": 1})
        assert run.code != 0
        assert [fault["code"] for fault in run.faults] == ["timeout"], run.output
        assert "1/2 pods running" in run.faults[0]["found"]
        said = group.status(group.head())["phases"]["ray"]["step"]
        assert said == "1 of 2 nodes have joined Ray"
        assert not is_ready(group.head()) and not group.endpoint_is_open()
        counted = restarts(group.head())
    finally:
        rig.kubectl("uncordon", node)
    told("served after the worker came", group.until_served(time.monotonic()))
    assert restarts(group.head()) == counted


@pytest.mark.soak
def test_a_file_corrupt_at_the_source_ends_the_staging_of_its_pod(
    deployment: Deployment, group: ServedGroup, told: Told
) -> None:
    """No other pod is hurt by it, and no try is repeated; mended at the source, another pod is all it takes."""
    worker = group.worker()
    held = group.files(worker)
    name = next(name for name in held if name.endswith(".safetensors"))
    (stored_at,) = [path for path in deployment.objects.iterdir() if path.read_bytes() == held[name]]
    stored_at.write_bytes(bytes(len(held[name])))
    try:
        began = time.monotonic()
        group.delete(worker)
        wait("the worker gives up", lambda: group.status(group.worker()).get("state") == "given_up", 90, group.describe)
        told("given up after", time.monotonic() - began)
        said = group.status(group.worker())["cause"]
        assert f"{name.rpartition('/')[2]} is corrupt: fetched twice, md5" in said and "still billed" in said
        assert restarts(group.worker()) == 1
        run = deployment.playbooks.run("deploy", deployment.recipe)
        assert run.code != 0 and "is corrupt" in run.faults[0]["found"], run.output
    finally:
        stored_at.write_bytes(held[name])
    group.delete(group.worker())
    told("served after it was mended", group.until_served(time.monotonic()))


@pytest.mark.soak
@pytest.mark.parametrize("do", [{"rate_bytes_per_s": 20_000}, {"cut_bytes": 10_000, "times": 10}], ids=["slow", "cut"])
def test_a_source_slow_or_cut_is_read_to_its_end(group: ServedGroup, told: Told, do: dict[str, Any]) -> None:
    worker = group.worker()
    held = group.files(worker)
    with group.scenario(do, operation="*", resource="model-*"):
        began = time.monotonic()
        group.delete(worker)
        told("served again after", group.until_served(began, 300))
    assert group.files(group.worker()) == held
    assert restarts(group.worker()) == 0


@pytest.mark.soak
def test_asked_to_end_it_finishes_what_it_has(group: ServedGroup, told: Told) -> None:
    """What it was asked before, and what a load balancer still sends in the first seconds, since it has not heard yet."""
    group.suffer("slow", seconds=3)
    head = group.head()
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(group.complete(60, head)), daemon=True) for _ in range(2)]
    asking[0].start()
    time.sleep(1)
    began = time.monotonic()
    group.kubectl("delete", "pod", head["metadata"]["name"], "--wait=false")
    time.sleep(2)
    asking[1].start()
    for thread in asking:
        thread.join(60)
    told("answered after", time.monotonic() - began)
    assert answers == [200, 200]
    group.suffer("heal")
    group.until_served(began)


def stored(tenancy: dict[str, Any], rig: RunningRig) -> dict[str, bytes]:
    """The model's files as the source has them, by their names in the bucket."""
    client = samples.object_storage(tenancy, rig.configuration)
    place = tenancy["namespace"], tenancy["bucket"]
    names = [entry.name for entry in client.list_objects(*place, prefix=MODEL).data.objects]
    return {name: client.get_object(*place, name).data.content for name in names}
