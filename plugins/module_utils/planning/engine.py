# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs in the pods: vLLM's arguments, the environment, Ray's parameters, and the files each stage holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .memory import MemoryPlan
from .model import ModelFacts
from .parallelism import stage_files
from .recipe import Inputs

# Ray keeps at least 75 MB of object store (Ray, ray_constants.py) and vLLM hardly uses it: what it takes is lost to
# the page cache that loading reads through.
OBJECT_STORE_BYTES = 200_000_000


def staging_of(found: Mapping[str, Any], model: ModelFacts, per_stage: list[int], path: str) -> dict[str, Any]:
    """Which files the nodes hold, and which node which of the weights."""
    files = [{key: entry.get(key) for key in ("name", "size", "md5", "sha256")} for entry in found.get("files") or ()]
    weight_map = (found.get("index") or {}).get("weight_map") or {}
    by_stage: list[list[str]] = []
    if weight_map and per_stage:
        # Of a class that is not known for certain every stage gets embedding and head.
        inventory, unsure = model.inventory, not model.certain
        by_stage = stage_files(
            weight_map,
            per_stage,
            model.tied,
            inventory.embedding_everywhere or unsure,
            inventory.head_everywhere or unsure,
        )
    return {
        "source": found["source"]["kind"],
        "prefix": found["prefix"],
        "root": path.rstrip("/"),
        "files": files,
        "by_stage": bool(by_stage),
        "shards_per_stage": by_stage,
    }


def engine_of(
    inputs: Inputs, model: ModelFacts, memory: MemoryPlan | None, tensor: int, pipeline: int
) -> dict[str, Any]:
    recipe = inputs.recipe
    params = recipe["recipe_raycluster_params"]
    path = params["model_path_in_container"].rstrip("/")
    served = [path.rpartition("/")[2], path]
    arguments = [
        "--tensor-parallel-size", str(tensor),
        "--pipeline-parallel-size", str(pipeline),
        "--distributed-executor-backend", "ray",
        "--host", "0.0.0.0",
        "--port", str(recipe["recipe_container_port"]),
        "--served-model-name", *served,
    ]  # fmt: skip
    if memory is not None and model.max_length and memory.context < model.max_length:
        arguments += ["--max-model-len", str(memory.context)]
    return {
        "args": arguments,
        "served_names": served,
        "env": {
            # No traffic that nobody asked for: usage reports, and look-ups of a model that lies on the disk.
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
            # A large model takes longer to load than the 600 s that vLLM's client waits by default (vLLM, envs.py).
            "VLLM_ENGINE_READY_TIMEOUT_S": "7200",
            # Pods on the overlay network have one interface.
            "NCCL_SOCKET_IFNAME": "eth0",
            "GLOO_SOCKET_IFNAME": "eth0",
            # Loading fills the page cache up to the pod's limit; Ray would take that for a lack of memory.
            "RAY_memory_monitor_refresh_ms": "0",
        },
        "ray_start": {
            "head": {
                "port": str(params["redis_port"]),
                "dashboard-host": "0.0.0.0",
                "dashboard-port": str(params["dashboard_port"]),
                "ray-client-server-port": str(params["rayclient_server_port"]),
                "metrics-export-port": str(params["metrics_export_port"]),
                "object-store-memory": str(OBJECT_STORE_BYTES),
            },
            "worker": {
                "metrics-export-port": str(params["metrics_export_port"]),
                "object-store-memory": str(OBJECT_STORE_BYTES),
            },
        },
    }
