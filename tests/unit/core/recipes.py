# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes for tests: a good one to begin with, and what to change in it."""

from __future__ import annotations

import copy
from typing import Any

PAR = "https://objectstorage.us-ashburn-1.oraclecloud.com/p/s3cr3t-canary/n/tenancy/b/models/o/"
CLUSTER = "ocid1.cluster.oc1.iad.aaaaaaaa"

_RECIPE: dict[str, Any] = {
    "recipe_id": "two_nodes",
    "recipe_mode": "raycluster",
    "deployment_name": "raycluster_vm_test",
    "recipe_node_shape": "VM.GPU.A10.2",
    "input_object_storage": [
        {
            "par": PAR,
            "mount_location": "/models",
            "volume_size_in_gbs": 500,
            "include": ["NousResearch/Meta-Llama-3.1-8B-Instruct"],
        }
    ],
    "recipe_node_pool_size": 4,
    "recipe_node_boot_volume_size_in_gbs": 800,
    "recipe_nvidia_gpu_count": 2,
    "recipe_ephemeral_storage_size": 500,
    "recipe_container_port": "8000",
    "recipe_raycluster_params": {
        "model_path_in_container": "/models/NousResearch/Meta-Llama-3.1-8B-Instruct",
        "head_node_num_cpus": "26",
        "head_node_num_gpus": "2",
        "head_node_cpu_mem_in_gbs": "400",
        "num_worker_nodes": "3",
        "worker_node_num_cpus": "26",
        "worker_node_num_gpus": "2",
        "worker_node_cpu_mem_in_gbs": "400",
    },
}


def recipe(**changes: Any) -> dict[str, Any]:
    """Return the published sample with a usable source; `a__b=x` changes the key b inside a, None takes a key out."""
    variables = {**copy.deepcopy(_RECIPE), "oke_cluster_id": CLUSTER}
    for path, value in changes.items():
        target: Any = variables
        *outer, last = path.split("__")
        for key in outer:
            target = target[int(key)] if key.isdigit() else target[key]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return variables
