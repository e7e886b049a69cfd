# SPDX-License-Identifier: GPL-3.0-or-later
"""The placement group of an engine: one GPU per rank, waited for as vLLM waits (vllm/v1/executor/ray_utils.py)."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

from vllm import log

PLACE = "ray_utils.py:291"
# vLLM's limit; RIG_PLACEMENT_TIMEOUT_S shortens it for tests.
TIMEOUT_SECONDS = int(os.environ.get("RIG_PLACEMENT_TIMEOUT_S", "1800"))


def create(world_size: int) -> Any:
    """The placement group, once its GPUs are there; ValueError with vLLM's words when they do not come."""
    import ray

    bundles = [{"GPU": 1.0}] * world_size
    group = ray.util.placement_group(bundles, strategy="PACK")
    ready = group.ready()
    begin, interval = time.monotonic(), 10.0
    while True:
        left = TIMEOUT_SECONDS - (time.monotonic() - begin)
        done, _ = ray.wait([ready], timeout=max(min(interval, left), 0.1))
        if done:
            ray.get(ready)
            return group
        waited = int(time.monotonic() - begin)
        if waited >= TIMEOUT_SECONDS:
            ray.util.remove_placement_group(group)
            raise ValueError(
                f"Cannot provide a placement group requiring {float(world_size)} GPUs (placement_group_specs={bundles}) "
                f"within {TIMEOUT_SECONDS} seconds.\nTensor parallel size may exceed available GPUs in your cluster. Check "
                "resources with `ray status` and `ray list nodes`."
            )
        log.write(
            PLACE,
            f"Waiting for creating a placement group of specs for {waited} seconds. specs={bundles}. Check `ray status` and "
            "`ray list nodes` to see if you have enough resources, and make sure the IP addresses used by ray cluster are the "
            "same as VLLM_HOST_IP environment variable specified in each node if you are running on a multi-node.",
            process=log.ENGINE,
        )
        interval *= 2


def ordered_bundles(group: Any, tensor: int) -> list[int]:
    """The bundle of each rank: those on the driver's node first, then by node ID, so that a stage is a node where it fits."""
    import ray

    driver = ray.get_runtime_context().get_node_id()
    nodes: dict[int, str] = ray.util.placement_group_table(group)["bundles_to_node_id"]
    for node, count in sorted(Counter(nodes.values()).items()):
        if count < tensor:
            log.write(
                "ray_utils.py:330",
                f"tensor_parallel_size={tensor} is bigger than a reserved number of GPUs ({count} GPUs) in a node {node}. "
                "Tensor parallel workers can be spread out to 2+ nodes which can degrade the performance unless you have fast "
                "interconnect across nodes, like Infiniband.",
                "WARNING",
                log.ENGINE,
            )
    return sorted(nodes, key=lambda bundle: (nodes[bundle] != driver, nodes[bundle], bundle))
