# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Recipes in another spelling: `blueprint_*` keys, and those for a leader and workers (`recipe_mode: service`)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..catalog.shapes import Shape, allocatable, find_shape
from ..fault import Findings
from .parameters import RECIPE
from .values import shown
from .vllm_arguments import options

BLUEPRINT, OURS = "blueprint_", "recipe_"
NODES = "multinode_num_nodes_to_use_from_shared_pool"
_ARGUMENTS = "recipe_container_command_args"
_PARAMS = "recipe_raycluster_params"
# Room for image and log files beside what the container may fill, in GB.
_BOOT_VOLUME_BESIDE = 200

_OTHER_MODES = {
    "service": f"give {NODES}, the number of nodes; a model on one node needs no group",
    "job": "a job ends; this deploys a model that keeps serving",
    "update": "it changes a node of a cluster; this deploys a model",
    "shared_node_pool": "it creates nodes without a model; deploy creates the model's node pool itself",
    "team": "it divides a cluster among teams; this deploys a model",
}
_LEFT_OUT = {
    "multinode_rdma_enabled_in_shared_pool": "RDMA is a setting: give rdma: host_network to use it",
    "recipe_shared_node_pool_selector": "nodes are selected by their shape",
    "recipe_container_command": "the group's own programs start Ray and vLLM",
    "recipe_container_command_use_shell": "the group's own programs start Ray and vLLM",
    "recipe_host_port": "the Service listens on recipe_container_port",
    "recipe_prometheus_enabled": "metrics are always there",
    "recipe_compartment_ocid": "use the setting compartment_id",
    "recipe_node_pool_size": f"{NODES} gives the number of nodes",
    "recipe_container_cpu_count": "the pod gets what a node of the shape has",
    "recipe_container_memory_size": "the pod gets what a node of the shape has",
    "recipe_node_autoscaling_params": "a group has a fixed number of nodes",
    "recipe_pod_autoscaling_params": "a group has a fixed number of pods",
    "pre_filled_sample_name": "it does not describe the deployment",
}
_PROBES = ("startup", "liveness", "readiness")


@dataclass(frozen=True)
class Change:
    """What the conversion changed: `where` in the given recipe, what it became, and why."""

    where: str
    became: str
    why: str

    def line(self) -> str:
        return f"{self.where}: {self.became}; {self.why}"

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def convert(given: Mapping[str, Any], findings: Findings) -> tuple[dict[str, Any], list[Change]]:
    """Return the recipe in today's spelling, and what changed; a recipe that is in it already comes back as it is.

    given: the recipe's keys as they were written. Nothing is typed yet: odd values are left for the rules to find.
    """
    changes: list[Change] = []
    recipe = _renamed(given, findings, changes)
    mode = recipe.get("recipe_mode")
    nodes = recipe.get(NODES)
    if mode == "service" and nodes not in (None, ""):
        return _from_leader_and_workers(recipe, findings, changes), changes
    if isinstance(mode, str) and mode in _OTHER_MODES:
        # With its reason; the table would only say that it is another.
        findings.fault("mode", "recipe_mode", mode, "raycluster", _OTHER_MODES[mode])
        recipe["recipe_mode"] = "raycluster"
    return recipe, changes


def is_foreign_key(key: str) -> bool:
    """Say whether a key at top level belongs to another spelling of the recipe."""
    return key.startswith((BLUEPRINT, "multinode_num_nodes", "multinode_rdma"))


def _renamed(given: Mapping[str, Any], findings: Findings, changes: list[Change]) -> dict[str, Any]:
    """Take `blueprint_x` for `recipe_x`."""
    known = {parameter.name for parameter in RECIPE} | set(_LEFT_OUT)
    recipe: dict[str, Any] = {}
    for key, value in given.items():
        name = OURS + key.removeprefix(BLUEPRINT) if isinstance(key, str) and key.startswith(BLUEPRINT) else key
        if name != key and name in known:
            if name in given:
                findings.fault("twice", key, f"given beside {name}", "one of the two", f"remove {key}")
                continue
            changes.append(Change(key, name, "its name today"))
            recipe[name] = value
        else:
            recipe[key] = value
    return recipe


def _from_leader_and_workers(recipe: dict[str, Any], findings: Findings, changes: list[Change]) -> dict[str, Any]:
    result = {key: copy.deepcopy(value) for key, value in recipe.items() if key not in _LEFT_OUT and key != NODES}
    for key, why in _LEFT_OUT.items():
        if key in recipe:
            changes.append(Change(key, "left out", why))
    result["recipe_mode"] = "raycluster"
    changes.append(Change("recipe_mode", "raycluster", "leader and workers are one Ray cluster"))
    result["recipe_node_pool_size"] = nodes = recipe[NODES]
    changes.append(Change(NODES, f"recipe_node_pool_size {shown(nodes)}", "head and workers together"))
    if result.pop("recipe_image_uri", None) is not None:
        changes.append(
            Change(
                "recipe_image_uri",
                "left out, so that the collection's own image is taken",
                "it was made for another start; put one back that holds Ray and vLLM",
            )
        )
    for name in _PROBES:
        _probe(f"recipe_{name}_probe_params", result, changes)
    params: dict[str, Any] = {"num_worker_nodes": _less_one(nodes)}
    _arguments(result, params, findings, changes)
    _sizes(result, params, findings, changes)
    result[_PARAMS] = params
    return result


def _less_one(nodes: Any) -> Any:
    try:
        return int(nodes) - 1
    except (TypeError, ValueError, OverflowError):
        return None


def _probe(name: str, result: dict[str, Any], changes: list[Change]) -> None:
    """Keep a probe's times: what it asks is the group's own check."""
    probe = result.get(name)
    if not isinstance(probe, Mapping):
        return
    result[name] = {key: value for key, value in probe.items() if key not in ("endpoint_path", "port", "scheme")}
    if len(result[name]) < len(probe):
        changes.append(Change(name, "its times only", "the group's own check asks the engine for a token"))


def _arguments(result: dict[str, Any], params: dict[str, Any], findings: Findings, changes: list[Change]) -> None:
    """Take vLLM's arguments apart: some have a parameter of their own, some follow from the recipe."""
    given = result.pop(_ARGUMENTS, None)
    words = [str(word) for word in given] if isinstance(given, list) else []
    kept: list[str] = []
    model = None
    own = {
        "--max-model-len": "recipe_max_model_length",
        "--served-model-name": "recipe_served_model_name",
        "--trust-remote-code": "recipe_trust_remote_code",
    }
    same = {"--tensor-parallel-size": "recipe_nvidia_gpu_count", "--pipeline-parallel-size": "recipe_node_pool_size"}
    for option in options(words):
        if option.name == "--model":
            model = option.value
        elif option.name in own:
            result[own[option.name]] = option.value or True
            changes.append(Change(f"{_ARGUMENTS} {option.name}", own[option.name], "it has a parameter of its own"))
        elif option.name in same:
            wanted = result.get(same[option.name])
            if wanted is not None and str(wanted) != option.value:
                findings.fault(
                    "derived_argument",
                    f"{_ARGUMENTS} {option.name}",
                    shown(option.value),
                    f"{wanted}, as {same[option.name]} says",
                    "correct one of the two",
                )
            changes.append(Change(f"{_ARGUMENTS} {option.name}", "left out", f"{same[option.name]} says it"))
        elif option.name in ("--port", "--host", "--distributed-executor-backend"):
            changes.append(Change(f"{_ARGUMENTS} {option.name}", "left out", "it follows from the recipe"))
        else:
            kept += option.words
    if kept:
        result[_ARGUMENTS] = kept
    _model(model, result, params, changes)


def _model(model: str | None, result: dict[str, Any], params: dict[str, Any], changes: list[Change]) -> None:
    """Find the model's folder: the path in the arguments, or the one prefix that is included below it."""
    if model is None:
        return
    sources = result.get("input_object_storage")
    if not sources and not model.startswith("/"):
        result["input_hugging_face"] = {"repository": model, "mount_location": "/models"}
        changes.append(Change(f"{_ARGUMENTS} --model", "input_hugging_face", "the files are staged before vLLM starts"))
        params["model_path_in_container"] = f"/models/{model}"
        return
    path = model.rstrip("/")
    source = sources[0] if isinstance(sources, list) and sources and isinstance(sources[0], Mapping) else {}
    include, mount = source.get("include"), str(source.get("mount_location") or "").rstrip("/")
    if path == mount and isinstance(include, list) and len(include) == 1:
        path = f"{mount}/{str(include[0]).strip('/')}"
    params["model_path_in_container"] = path
    changes.append(
        Change(f"{_ARGUMENTS} --model", f"{_PARAMS}.model_path_in_container {path}", "it has a parameter of its own")
    )


def _sizes(result: dict[str, Any], params: dict[str, Any], findings: Findings, changes: list[Change]) -> None:
    """Give the pods what a node of the shape has: leader and workers took it without saying."""
    name = result.get("recipe_node_shape")
    shape: Shape | None = find_shape(name) if isinstance(name, str) else None
    disk = result.get("recipe_ephemeral_storage_size")
    if "recipe_node_boot_volume_size_in_gbs" not in result and str(disk).isascii() and str(disk).isdigit():
        if len(str(disk)) < 6:
            result["recipe_node_boot_volume_size_in_gbs"] = int(str(disk)) + _BOOT_VOLUME_BESIDE
            changes.append(
                Change(
                    "recipe_ephemeral_storage_size",
                    f"recipe_node_boot_volume_size_in_gbs {int(str(disk)) + _BOOT_VOLUME_BESIDE} beside it",
                    "the nodes' disk has to hold it, the system and the image",
                )
            )
    if shape is None:
        findings.fault("shape", "recipe_node_shape", shown(name), "an OCI shape with GPUs that is known", "give one")
        return
    room = allocatable(shape, 1000)
    for role in ("head", "worker"):
        params[f"{role}_node_num_cpus"] = math.floor(room.ocpus)
        params[f"{role}_node_num_gpus"] = result.get("recipe_nvidia_gpu_count")
        params[f"{role}_node_cpu_mem_in_gbs"] = math.floor(room.memory_gib)
    changes.append(
        Change(
            "recipe_node_shape",
            f"{_PARAMS}: {math.floor(room.ocpus)} OCPUs and {math.floor(room.memory_gib)} Gi for each pod",
            "what a node of the shape has to give",
        )
    )
