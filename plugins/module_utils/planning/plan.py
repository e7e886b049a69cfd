# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Recipe and facts in, plan out. Whoever asks why something has its value finds the answer here.

The plan is plain data (JSON), free of secrets; everything after it reads only the plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .cloud_init import user_data
from .fault import Fault, Refused
from .images import full_image_name
from .memory import MemoryPlan, memory_plan
from .model import ModelFacts, read_model
from .names import HASH_TAG, NODE_LABEL, freeform_tags
from .parallelism import check_parallelism, layers_per_stage, stage_files
from .recipe import Inputs
from .shapes import Shape, allocatable, find_shape

SCHEMA = 1
# Ray keeps at least 75 MB of object store (Ray, ray_constants.py) and vLLM hardly uses it: what it takes is lost to
# the page cache that loading reads through.
OBJECT_STORE_BYTES = 200_000_000
# vLLM's tensor parallel ranks talk through /dev/shm; Oracle's NCCL manifests give 32 GiB to nodes of 8 GPUs.
SHARED_MEMORY_MIB = 16 * 1024


@dataclass
class Cloud:
    """What was found out for the node pool: its fields in the SDK's names, and why each has its value.

    drift names the fields that would be chosen otherwise today: {field, value, today, why}.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    choices: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()
    faults: Sequence[Fault] = ()


@dataclass
class Facts:
    """What was found out before planning, all of it plain data.

    cloud       what the cluster's surroundings give to a node pool; None when the nodes are not ours to make
    model       of `model_info`: {config, index, files, left_out, source, prefix}
    deployment  of `group_info`: what stands on the objects of this deployment already; empty when there is none
    """

    model: Mapping[str, Any]
    cloud: Cloud | None = None
    deployment: Mapping[str, Any] = field(default_factory=dict)


class _Choices:
    """Values that nobody gave: found out or defaulted once, written on the deployment's objects, and then kept."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self._kept = kept
        self.made: list[dict[str, Any]] = []
        self.warnings: list[Fault] = []

    def choose(self, name: str, given: Any, today: Any, why: str) -> Any:
        """Return what was given; else what the deployment was made with; else `today`."""
        if given is not None:
            return given
        kept = self._kept.get(name)
        if kept is None:
            self.made.append({"field": name, "value": today, "why": why})
            return today
        self.made.append({"field": name, "value": kept, "why": "the deployment was made with it"})
        if today is not None and kept != today:
            self.warnings.append(Fault("newer_choice", name, f"{kept}, kept", f"{today} for a new deployment"))
        return kept

    def add(self, cloud: Cloud) -> None:
        """Take over what was chosen for the node pool; there the pool itself remembers it."""
        self.made.extend(dict(choice) for choice in cloud.choices if choice["why"] != "given")
        for entry in cloud.drift:
            self.warnings.append(
                Fault(
                    "newer_choice", entry["field"], f"{entry['value']}, kept", f"{entry['today']} for a new deployment"
                )
            )


def make_plan(inputs: Inputs, facts: Facts) -> dict[str, Any]:
    """Return the plan (schema in docs/design.md). Raises Refused with every fault that forbids it."""
    recipe, settings = inputs.recipe, inputs.settings
    params = recipe["recipe_raycluster_params"]
    faults: list[Fault] = []
    choices = _Choices(facts.deployment.get("choices") or {})
    tensor, pipeline = recipe["recipe_nvidia_gpu_count"], recipe["recipe_node_pool_size"]

    shape = _shape(recipe, faults)
    model = read_model(facts.model["config"], facts.model.get("index"), facts.model.get("files") or ())
    memory = None
    warnings = list(model.warnings)
    if shape is not None:
        _room(recipe, params, shape, faults)
        findings = check_parallelism(model, shape, tensor, pipeline)
        faults.extend(findings.faults)
        warnings.extend(findings.warnings)
        if not findings.faults:
            memory = memory_plan(model, shape, tensor, pipeline)
            faults.extend(memory.faults)
            warnings.extend(memory.warnings)
    faults.extend(_disk(recipe, facts.model))
    per_stage = layers_per_stage(len(model.layers), pipeline) if len(model.layers) >= pipeline else []

    pod = _pod(inputs, choices, shape)
    staging = _staging(facts.model, model, per_stage, params["model_path_in_container"])
    engine = _engine(inputs, model, memory, tensor, pipeline)
    node_pool = None
    if facts.cloud is not None:
        faults.extend(facts.cloud.faults)
        choices.add(facts.cloud)
        node_pool = _node_pool(inputs, facts.cloud)
    if faults or shape is None:
        raise Refused(faults)
    price = shape.usd_per_gpu_hour * shape.gpus * pipeline if shape.usd_per_gpu_hour else None
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "deployment": {
            "name": inputs.name,
            "deployment_name": inputs.deployment_name,
            "namespace": settings["namespace"] or inputs.name,
            "recipe_name": recipe["recipe_id"] or inputs.deployment_name,
        },
        "model": {
            "source": dict(facts.model["source"]),
            "path": params["model_path_in_container"].rstrip("/"),
            "served_names": engine.pop("served_names"),
            "architecture": model.architecture,
            "bytes": sum(entry["size"] or 0 for entry in staging["files"]),
        },
        "parallelism": {"tensor": tensor, "pipeline": pipeline, "layers_per_stage": per_stage},
        "memory": _memory(memory),
        "nodes": {
            "shape": recipe["recipe_node_shape"],
            "count": pipeline,
            "gpus": tensor,
            "ocpus": params["head_node_num_cpus"],
            "memory_gb": params["head_node_cpu_mem_in_gbs"],
            "boot_volume_gb": recipe["recipe_node_boot_volume_size_in_gbs"],
        },
        "node_pool": node_pool,
        "pod": pod,
        "engine": engine,
        "staging": staging,
        "endpoint": {"exposure": settings["endpoint_exposure"], "annotations": settings["service_annotations"] or {}},
        "expected": {"usd_per_hour": price},
        "rebuild": {"limit": settings["rebuild_limit"], "window_minutes": settings["rebuild_window_minutes"]},
    }
    plan["deployment"]["hash"] = short_hash(plan)
    plan["choices"] = choices.made
    plan["warnings"] = [fault.as_dict() for fault in [*warnings, *choices.warnings]]
    return plan


def short_hash(value: Any) -> str:
    """Return 12 hexadecimal digits that stand for `value` (JSON data), whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _shape(recipe: Mapping[str, Any], faults: list[Fault]) -> Shape | None:
    name, place = recipe["recipe_node_shape"], "recipe_node_shape"
    shape = find_shape(name)
    if shape is None:
        faults.append(
            Fault("shape", place, name, "an OCI shape with GPUs, such as BM.GPU.H100.8", "choose another shape")
        )
        return None
    if shape.vendor != "nvidia":
        faults.append(Fault("vendor", place, f"{name} has {shape.gpu} GPUs", "NVIDIA GPUs", "AMD is not served yet"))
    if shape.gpus != recipe["recipe_nvidia_gpu_count"]:
        faults.append(
            Fault(
                "gpu_count",
                "recipe_nvidia_gpu_count",
                str(recipe["recipe_nvidia_gpu_count"]),
                f"{shape.gpus}, since the shape {name} has {shape.gpus}",
                "the pods take whole nodes; choose the shape by the GPUs you want",
            )
        )
    return shape


def _room(recipe: Mapping[str, Any], params: Mapping[str, Any], shape: Shape, faults: list[Fault]) -> None:
    """The pod has to fit on its node, beside what the kubelet keeps for itself."""
    room = allocatable(shape, recipe["recipe_node_boot_volume_size_in_gbs"])
    place = "recipe_raycluster_params.head_node_"
    if params["head_node_num_cpus"] > room.ocpus:
        faults.append(
            Fault(
                "cpu",
                place + "num_cpus",
                str(params["head_node_num_cpus"]),
                f"at most {room.ocpus:g} OCPUs on {shape.name}",
                "lower it, and worker_node_num_cpus",
            )
        )
    if params["head_node_cpu_mem_in_gbs"] > room.memory_gib:
        faults.append(
            Fault(
                "memory",
                place + "cpu_mem_in_gbs",
                str(params["head_node_cpu_mem_in_gbs"]),
                f"at most {room.memory_gib:.0f} on {shape.name}",
                "lower it, and worker_node_cpu_mem_in_gbs",
            )
        )
    if recipe["recipe_ephemeral_storage_size"] > room.ephemeral_gib:
        faults.append(
            Fault(
                "ephemeral_storage",
                "recipe_ephemeral_storage_size",
                str(recipe["recipe_ephemeral_storage_size"]),
                f"at most {room.ephemeral_gib:.0f} with a boot volume of {recipe['recipe_node_boot_volume_size_in_gbs']} GB",
                "lower it, or raise recipe_node_boot_volume_size_in_gbs",
            )
        )


def _disk(recipe: Mapping[str, Any], model: Mapping[str, Any]) -> list[Fault]:
    """A node's volume has to hold the model whole: with an unknown stage order any node may need any file."""
    needed = sum(entry.get("size") or 0 for entry in model.get("files") or ())
    size = recipe["input_object_storage"][0]["volume_size_in_gbs"]
    # A file system keeps some of the volume for itself, 5 % with ext4's defaults.
    if needed > size * 2**30 * 0.95:
        return [
            Fault(
                "volume_too_small",
                "input_object_storage[0].volume_size_in_gbs",
                str(size),
                f"at least {needed / 2**30 / 0.95:.0f} for the model's {needed / 1e9:.1f} GB",
                "raise it",
            )
        ]
    return []


def _pod(inputs: Inputs, choices: _Choices, shape: Shape | None) -> dict[str, Any]:
    recipe, settings = inputs.recipe, inputs.settings
    params = recipe["recipe_raycluster_params"]
    source = recipe["input_object_storage"][0]
    image = choices.choose("image", recipe["recipe_image_uri"], settings["default_image"], "the collection's default")
    ray_version = choices.choose("ray_version", None, settings["ray_version"], "the version in the default image")
    memory = params["head_node_cpu_mem_in_gbs"]
    shared = recipe["recipe_shared_memory_volume_size_limit_in_mb"]
    return {
        "image": full_image_name(image, settings["image_registry"]),
        "ray_version": ray_version,
        # A Kubernetes CPU is a vCPU: two per OCPU on x86, one on Arm (OCI Compute, shapes).
        "cpu": params["head_node_num_cpus"] * (1 if shape and shape.architecture == "arm64" else 2),
        "memory_gib": memory,
        "shared_memory_mib": shared or min(SHARED_MEMORY_MIB, memory * 1024 // 4),
        "ephemeral_storage_gib": recipe["recipe_ephemeral_storage_size"],
        "gpus": params["head_node_num_gpus"],
        "volumes": [
            {
                "name": "model",
                "mount": source["mount_location"].rstrip("/"),
                "size_gib": source["volume_size_in_gbs"],
                "storage_class": settings["model_storage_class"],
            }
        ],
        "ports": {
            "api": recipe["recipe_container_port"],
            "gcs": params["redis_port"],
            "dashboard": params["dashboard_port"],
            "metrics": params["metrics_export_port"],
            "client": params["rayclient_server_port"],
        },
        "node_selector": {NODE_LABEL: inputs.name}
        if settings["node_provisioner"] == "oke"
        else {"node.kubernetes.io/instance-type": recipe["recipe_node_shape"]},
    }


def _staging(found: Mapping[str, Any], model: ModelFacts, per_stage: list[int], path: str) -> dict[str, Any]:
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


def _engine(inputs: Inputs, model: ModelFacts, memory: MemoryPlan | None, tensor: int, pipeline: int) -> dict[str, Any]:
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


def _node_pool(inputs: Inputs, cloud: Cloud) -> dict[str, Any]:
    """Return the node pool in the field names of the OCI SDK's CreateNodePoolDetails."""
    recipe, cluster_id = inputs.recipe, inputs.settings["oke_cluster_id"]
    values = cloud.values
    config: dict[str, Any] = {
        "size": recipe["recipe_node_pool_size"],
        "placement_configs": values.get("placement_configs"),
    }
    for name in ("nsg_ids", "node_pool_pod_network_option_details"):
        if values.get(name):
            config[name] = values[name]
    pool: dict[str, Any] = {
        "name": inputs.name,
        "compartment_id": values.get("compartment_id"),
        "cluster_id": cluster_id,
        "node_shape": recipe["recipe_node_shape"],
        "kubernetes_version": values.get("kubernetes_version"),
        "node_source_details": {
            "source_type": "IMAGE",
            "image_id": values.get("image_id"),
            "boot_volume_size_in_gbs": recipe["recipe_node_boot_volume_size_in_gbs"],
        },
        "node_config_details": config,
        "initial_node_labels": [{"key": NODE_LABEL, "value": inputs.name}],
        "node_metadata": {"user_data": user_data()},
        # The default of OCI is to wait an hour for pods that have nowhere else to go.
        "node_eviction_node_pool_settings": {
            "eviction_grace_duration": "PT0M",
            "is_force_delete_after_grace_duration": True,
        },
    }
    tags = freeform_tags(inputs.name, cluster_id, short_hash(pool))
    pool["freeform_tags"] = tags
    # Instances bear the same tags but for the hash: it follows the pool, and a change of it must not touch a node.
    config["freeform_tags"] = {key: value for key, value in tags.items() if key != HASH_TAG}
    return pool


def _memory(memory: MemoryPlan | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "per_gpu": [asdict(stage) for stage in memory.stages],
        "kv_tokens": memory.kv_tokens,
        "max_context": memory.max_context,
    }
