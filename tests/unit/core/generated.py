# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes and settings drawn from all that a person can give and that shows in the deployment's objects."""

from __future__ import annotations

import random
from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import SHAPES, allocatable

from .plans import LLAMA_8B, facts, plan

# bfloat16 asks for compute capability 8.0 and newer.
# Those that the image which is taken by itself runs on.
_SHAPES = [
    shape
    for shape in SHAPES
    if shape.architecture == "amd64" and shape.vendor == "nvidia" and (shape.compute_capability or (0, 0)) >= (8, 0)
]
_FILE_SYSTEM = {
    "file_system_ocid": "ocid1.filesystem.oc1.iad.aaaa",
    "mount_target_ocid": "ocid1.mounttarget.oc1.iad.aaaa",
    "mount_target_ip": "10.0.1.7",
    "export_path": "/models",
    "volume_size_in_gbs": 100,
}
_PROBE = {
    "initial_delay_seconds": (0, 600),
    "period_seconds": (1, 60),
    "timeout_seconds": (1, 120),
    "failure_threshold": (1, 20),
}


def drawn(seed: int, **settings: Any) -> dict[str, Any]:
    """The changes of the sample (`recipes.recipe`) that the number `seed` stands for, and `settings` as they are."""
    chance = random.Random(seed)
    shape, nodes = chance.choice(_SHAPES), chance.randint(1, 8)
    boot = chance.randint(400, 2000)
    room = allocatable(shape, boot)
    memory = chance.randint(64, int(room.memory_gib))
    ports = chance.sample([*range(1024, 8080), *range(8082, 10001), *range(20000, 32000)], 5)
    named = ("redis_port", "dashboard_port", "metrics_export_port", "rayclient_server_port")
    params: dict[str, Any] = dict(zip(named, ports[:4], strict=True))
    params["num_worker_nodes"] = nodes - 1
    for role in ("head", "worker"):
        params[f"{role}_node_num_cpus"] = int(room.ocpus) - 1
        params[f"{role}_node_num_gpus"] = shape.gpus
        params[f"{role}_node_cpu_mem_in_gbs"] = memory
    changes: dict[str, Any] = {
        "deployment_name": chance.choice(["llama", "a" * 40, "With Spaces_and_more", "x-1"]),
        "recipe_node_shape": shape.name,
        "recipe_nvidia_gpu_count": shape.gpus,
        "recipe_node_pool_size": nodes,
        "recipe_node_boot_volume_size_in_gbs": boot,
        "recipe_ephemeral_storage_size": chance.randint(1, int(room.ephemeral_gib) - 60),
        "recipe_container_port": ports[4],
        **{f"recipe_raycluster_params__{name}": value for name, value in params.items()},
    }
    for name, value in _optional(chance).items():
        if chance.random() < 0.5:
            changes[name] = value
    if shape.name == "BM.GPU.H100.8" and chance.random() < 0.5:
        changes |= {"rdma": "host_network", "recipe_node_image_ocid": "ocid1.image.oc1.iad.aaaa"}
    return changes | settings


def _optional(chance: random.Random) -> dict[str, Any]:
    """Parameters and settings that may be left out."""
    return {
        "recipe_image_uri": chance.choice(
            ["registry.example.com:5000/own/vllm:1", "rayproject/ray-llm:2.57.0-py312-cu130"]
        ),
        "recipe_container_secret_name": "registry",
        "recipe_container_env": [
            {"key": f"VARIABLE_{number}", "value": chance.choice(["x", "{{ x }}", "a: b\n- c", '"'])}
            for number in range(3)
        ],
        "recipe_environment_secrets": [{"envvar_name": "WANDB_TOKEN", "secret_name": "wandb", "secret_key": "token"}],
        "recipe_container_command_args": ["--max-num-seqs", "64"],
        "recipe_shared_memory_volume_size_limit_in_mb": chance.randint(64, 32 * 1024),
        "recipe_served_model_name": "the model",
        "recipe_id": "recipe: {{ id }}",
        "recipe_max_model_length": 8192,
        "recipe_liveness_probe_params": _probe(chance),
        "recipe_startup_probe_params": _probe(chance),
        "recipe_readiness_probe_params": {**_probe(chance), "success_threshold": chance.randint(1, 3)},
        "image_registry": "mirror.example.com/group",
        "model_storage_class": "oci-bv-encrypted",
        "endpoint_exposure": chance.choice(["none", "load_balancer"]),
        "service_annotations": {"oci.oraclecloud.com/load-balancer-type": "nlb", "example.com/text": "a: {b}"},
        "node_provisioner": "none",
        "local_filesystem": [{"node_directory_path": "/mnt/x", "mount_location": "/x"}],
        **chance.choice(
            [
                {"model_cache": "node"},
                {"model_cache": "node", "model_cache_folder": "/data/models"},
                {"input_file_system": [{**_FILE_SYSTEM, "mount_location": "/models"}]},
                {"input_file_system": [{**_FILE_SYSTEM, "mount_location": "/shared"}]},
            ]
        ),
        "metrics_namespaces": ["monitoring", "prometheus"],
        "restart_limit": chance.randint(1, 20),
    }


def _probe(chance: random.Random) -> dict[str, int]:
    chosen = chance.sample(sorted(_PROBE), chance.randint(1, len(_PROBE)))
    return {name: chance.randint(*_PROBE[name]) for name in chosen}


def drawn_plan(seed: int, **settings: Any) -> dict[str, Any]:
    """The plan that follows; each is accepted."""
    changes = drawn(seed, **settings)
    found = facts(model={**facts().model, "config": LLAMA_8B})
    if changes.get("node_provisioner") == "none":
        found.cluster = None
    return plan(found, **changes)
