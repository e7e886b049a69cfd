# SPDX-License-Identifier: GPL-3.0-or-later
"""What the head learns of Ray's nodes from the program that is Ray's driver, and what it says while that sees nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray_driver
from ray_driver import Cluster, Node

from tests.unit.runtime.pods import STAND_INS, until

HEAD = Node("7" * 56, "10.0.0.1", is_head=True, gpus=2)
WORKER = Node("00000000" + "7" * 48, "10.0.0.2", is_head=False, gpus=2)


class Ray:
    """The stand-in's cluster: a file for each node, which lives as long as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Named as Ray's node, which the driver waits for.
        self._raylet = subprocess.Popen(
            ["/bin/sh", "-c", "printf raylet > /proc/self/comm; read line"], stdin=subprocess.PIPE
        )

    def join(self, node: Node, pid: int = os.getpid()) -> None:
        resources = {"CPU": 2.0, "GPU": float(node.gpus)}
        if node.is_head:
            resources["node:__internal_head__"] = 1.0
        entry = {"NodeID": node.identifier, "NodeManagerAddress": node.address, "Resources": resources, "pid": pid}
        (self.folder / "new").write_text(json.dumps(entry))
        (self.folder / "new").rename(self.folder / f"{node.identifier}.node")

    def mute(self, muted: bool) -> None:
        (self.folder / "mute").touch() if muted else (self.folder / "mute").unlink()

    def end(self) -> None:
        self._raylet.kill()
        self._raylet.wait()


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    monkeypatch.setenv("RAY_STAND_IN", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-ray-token")
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS / "python"))
    found = Ray(tmp_path)
    yield found
    found.end()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster("127.0.0.1:6379")
    yield found
    found.stop()


def seen(cluster: Cluster) -> list[Node] | None:
    try:
        return sorted(cluster.nodes(), key=lambda node: node.address)
    except ConnectionError:
        return None


def trouble(cluster: Cluster) -> str:
    try:
        cluster.nodes()
    except ConnectionError as error:
        return str(error)
    return ""


@pytest.mark.processes
def test_the_living_nodes_are_seen_as_they_come_and_go(ray: Ray, cluster: Cluster) -> None:
    ray.join(HEAD)
    assert trouble(cluster) == "it starts"
    cluster.start()
    until(lambda: seen(cluster) == [HEAD], 10, "the head's node")
    ray.join(WORKER)
    until(lambda: seen(cluster) == [HEAD, WORKER], 10, "both nodes")
    gone = subprocess.Popen(["true"])
    gone.wait()
    ray.join(WORKER, gone.pid)
    until(lambda: seen(cluster) == [HEAD], 10, "the head's node alone")
    cluster.stop()
    assert seen(cluster) == [HEAD]


@pytest.mark.processes
def test_what_keeps_ray_from_answering_is_said_until_it_answers(ray: Ray, cluster: Cluster) -> None:
    ray.join(HEAD)
    ray.mute(True)
    cluster.start()
    until(lambda: trouble(cluster) == "ConnectionError: ray stand-in: told to be mute", 10, "the trouble")
    ray.mute(False)
    until(lambda: seen(cluster) == [HEAD], 10, "the head's node")


@pytest.mark.processes
def test_a_driver_that_ended_is_started_again_and_what_it_saw_is_believed_for_a_while(
    ray: Ray, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_driver, "AGAIN_SECONDS", 0.0)
    ray.join(HEAD)
    cluster.start()
    until(lambda: seen(cluster) == [HEAD], 10, "the head's node")
    first = driver(cluster)
    os.kill(first, signal.SIGKILL)
    until(lambda: seen(cluster) and driver(cluster) != first, 10, "another driver")
    ray.join(WORKER)
    until(lambda: seen(cluster) == [HEAD, WORKER], 10, "both nodes")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("hinder", "words"),
    [
        (lambda found: os.kill(found, signal.SIGSTOP), "the program that asks it says nothing any more"),
        (lambda found: os.kill(found, signal.SIGKILL), "the program that asks it ended"),
    ],
)
def test_a_driver_that_hangs_or_is_gone_sees_nothing(
    ray: Ray, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, hinder: Callable[[int], None], words: str
) -> None:
    monkeypatch.setattr(ray_driver, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(ray_driver, "AGAIN_SECONDS", 60.0)
    ray.join(HEAD)
    cluster.start()
    until(lambda: seen(cluster) == [HEAD], 10, "the head's node")
    hinder(driver(cluster))
    assert until(lambda: trouble(cluster), 10, "the trouble").startswith(words)


def driver(cluster: Cluster) -> int:
    assert cluster._driver is not None
    return cluster._driver.pid
