# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pod of each node: image, sizes, volumes and ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..catalog.shapes import Shape
from ..fault import Findings
from ..names import NODE_LABEL
from ..recipe.inputs import Inputs
from ..recipe.model_source import model_source
from .facts import Choices
from .node_pool import tolerations
from .rdma import mode_of
from .storage import storage_of
from .types import Pod
from .vllm.image import ChosenImage

# vLLM's tensor parallel ranks talk through /dev/shm; Oracle's NCCL manifests give 32 GiB to nodes of 8 GPUs.
SHARED_MEMORY_MIB = 16 * 1024


def pod_of(
    inputs: Inputs,
    image: ChosenImage,
    choices: Choices,
    shape: Shape | None,
    exports: Sequence[Mapping[str, Any]],
    findings: Findings,
) -> Pod:
    """Return the pod, the same on every node; `exports` as for `storage_of`."""
    recipe, settings = inputs.recipe, inputs.settings
    params = recipe["recipe_raycluster_params"]
    source = model_source(recipe)
    token = source.get("token_secret_name")
    memory = params["head_node_cpu_mem_in_gbs"]
    shared = recipe["recipe_shared_memory_volume_size_limit_in_mb"]
    volumes, cache = storage_of(inputs, choices, shape, exports, findings)
    return {
        "image": image.name,
        "user": settings["image_user"],
        "pull_secret": recipe["recipe_container_secret_name"],
        "ray_version": image.ray_version,
        "secret_env": [
            {"name": entry["envvar_name"], "secret": entry["secret_name"], "key": entry["secret_key"]}
            for entry in recipe["recipe_environment_secrets"] or []
        ],
        # The Secret with a token for the model's repository, which is mounted as a file.
        "source_token": {"secret": token, "key": source["token_secret_key"]} if token else None,
        "probes": {
            name: {
                key: value for key, value in (recipe[f"recipe_{name}_probe_params"] or {}).items() if value is not None
            }
            for name in ("startup", "liveness", "readiness")
        },
        # A Kubernetes CPU is a vCPU: two per OCPU on x86, one on Arm (OCI Compute, shapes).
        "cpu": params["head_node_num_cpus"] * (1 if shape and shape.architecture == "arm64" else 2),
        "memory_gib": memory,
        "shared_memory_mib": shared or min(SHARED_MEMORY_MIB, memory * 1024 // 4),
        "ephemeral_storage_gib": recipe["recipe_ephemeral_storage_size"],
        "gpus": params["head_node_num_gpus"],
        "volumes": volumes,
        "model_cache": cache,
        "ports": {
            "api": recipe["recipe_container_port"],
            "gcs": params["redis_port"],
            "dashboard": params["dashboard_port"],
            "metrics": params["metrics_export_port"],
            "client": params["rayclient_server_port"],
        },
        "rdma": mode_of(settings),
        "tolerations": tolerations(settings),
        "node_selector": {NODE_LABEL: inputs.name}
        if settings["node_provisioner"] == "oke"
        else {"node.kubernetes.io/instance-type": recipe["recipe_node_shape"]},
    }
