# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensor parallel inside a node, pipeline parallel over the nodes: each node is one stage, and restarts keep the order."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks
from tests.e2e.served_group import ServedGroup, address, restarts
from tests.waiting import wait

# GPUs of a node: its shape, and what the recipe may ask for on it.
SHAPES = {1: ("VM.GPU.A10.1", 12, 200), 2: ("VM.GPU.A10.2", 26, 400)}
DASHBOARD_PORT = 8265
KILLS = 5

Deploy = Callable[..., tuple[ServedGroup, dict[str, Any]]]


@pytest.fixture
def deploy(rig: RunningRig, tenancy: Tenancy, tmp_path: Path) -> Iterator[Deploy]:
    """Deploys the tiny model over `pipeline` nodes with `tensor` GPUs each; the group and its plan."""
    playbooks = Playbooks(tmp_path, rig.environment(), {**tenancy.settings, "endpoint_exposure": "none"})
    made: list[str] = []

    def make(tensor: int, pipeline: int, image: str | None = samples.LIGHT_IMAGE) -> tuple[ServedGroup, dict[str, Any]]:
        shape, cpus, memory = SHAPES[tensor]
        name = f"parallel-{tensor}x{pipeline}"
        samples.put_model(tenancy.json, rig.configuration, shards=2 * pipeline)
        recipe = samples.recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name=name)
        recipe |= {
            "recipe_node_shape": shape,
            "recipe_node_pool_size": pipeline,
            "recipe_nvidia_gpu_count": tensor,
            **({"recipe_image_uri": image} if image else {}),
        }
        parameters = recipe["recipe_raycluster_params"]
        parameters["num_worker_nodes"] = pipeline - 1
        for role in ("head", "worker"):
            parameters |= {
                f"{role}_node_num_gpus": tensor,
                f"{role}_node_num_cpus": cpus,
                f"{role}_node_cpu_mem_in_gbs": memory,
            }
        # Ray tells of lines alike that several ranks say only the first.
        recipe["recipe_container_env"] = [{"key": "RAY_DEDUP_LOGS", "value": "0"}]
        made.append(name)
        run = playbooks.run("deploy", recipe, {"restart_limit": 50})
        assert run.code == 0 and run.result is not None, run.output
        return ServedGroup(rig, name, tenancy.compartment_id), run.result["plan"]

    yield make
    for name in made:
        ended = playbooks.run("undeploy", {"deployment_name": name})
        assert ended.code == 0, ended.output


def gpus_by_address(group: ServedGroup) -> dict[str, float]:
    """The GPUs of each living node, as Ray's dashboard has them."""
    secret = json.loads(group.kubectl("get", "secret", f"{group.name}-ray-token", "-o", "json"))
    token = b64decode(secret["data"]["auth_token"]).decode()
    url = f"http://{address(group.head())}:{DASHBOARD_PORT}/api/v0/nodes?limit=1000"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})

    def answer() -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return list(json.loads(response.read())["data"]["result"]["result"])
        except OSError:
            return []

    # The group does not wait for it.
    found = wait("the dashboard", answer)
    return {node["node_ip"]: node["resources_total"].get("GPU", 0) for node in found if node["state"] == "ALIVE"}


def stages(group: ServedGroup) -> list[str]:
    """The names of the pods by stage, as the head found them in the cluster that formed."""
    names = {address(pod): pod["metadata"]["name"] for pod in group.pods()}
    order = group.status(group.head())["stages"]
    return [names[found] for found, _ in sorted(order.items(), key=lambda entry: entry[1])]


@pytest.mark.parametrize(
    ("tensor", "pipeline", "image"),
    [
        (2, 2, samples.LIGHT_IMAGE),
        *(
            pytest.param(*case, marks=pytest.mark.soak)
            for case in (
                (1, 3, samples.LIGHT_IMAGE),
                (1, 4, samples.LIGHT_IMAGE),
                (2, 4, samples.LIGHT_IMAGE),
                (2, 2, None),
            )
        ),
    ],
    ids=["2x2", "1x3", "1x4", "2x4", "2x2-ray"],
)
def test_each_node_is_a_stage_with_its_gpus_and_its_files(
    deploy: Deploy, tensor: int, pipeline: int, image: str | None
) -> None:
    group, plan = deploy(tensor, pipeline, image)
    pods = group.pods()
    assert gpus_by_address(group) == {address(pod): tensor for pod in pods}
    assert stages(group) == [pod["metadata"]["name"] for pod in pods]
    for pod, names in zip(pods, plan["staging"]["shards_per_stage"], strict=True):
        held = {name.rpartition("/")[2] for name in group.files(pod) if name.endswith(".safetensors")}
        assert held == set(names)
    log = group.log(group.head())
    for rank in range(tensor * pipeline):
        assert (
            f"rank {rank} in world size {tensor * pipeline} is assigned as DP rank 0, PP rank {rank // tensor}" in log
        )


@pytest.mark.soak
@pytest.mark.parametrize("image", [samples.LIGHT_IMAGE, None], ids=["light", "ray"])
def test_killed_five_times_the_order_stays_and_nothing_is_read_again(deploy: Deploy, image: str | None) -> None:
    group, _ = deploy(1, 4, image)
    order = stages(group)
    epoch, chance = time.time(), random.Random(4)
    for _ in range(KILLS):
        before = restarts(group.head())
        began = time.monotonic()
        group.kill_rank(group.stage(chance.randrange(4)))
        wait("the head starts again", lambda before=before: restarts(group.head()) > before, 240, group.describe)
        print(f"served again after {group.until_served(began, 600):.1f} s")
        assert stages(group) == order
    assert group.fetched(epoch) == []
    assert [group.progress(pod)["staging"]["fetched"] for pod in group.pods()] == [0] * 4
