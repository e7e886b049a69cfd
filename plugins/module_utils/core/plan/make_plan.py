# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Recipe and facts in, plan out. Whoever asks why something has its value finds the answer here.

The plan is plain data (JSON), free of secrets; everything after it reads only the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ..catalog.images import check_image, image_line
from ..catalog.limits import limit_of
from ..catalog.shapes import Shape
from ..fault import Fault, Refused
from ..model.model import ModelFacts, read_model
from ..names import short_hash
from ..recipe.inputs import Inputs
from ..recipe.model_source import model_source
from ..recipe.node_checks import check_room, checked_shape, unknown_room
from ..recipe.secret_references import check_secrets
from ..sizing.costs import cost_of, prices_of
from ..sizing.memory import MemoryOptions, MemoryPlan, fewest_nodes, memory_plan, served_by
from ..sizing.parallelism import check_parallelism, layers_per_stage
from ..sizing.times import cache_rate, minutes_of, slow_volume
from .arguments import EngineArguments, read_arguments
from .changes import change_classes
from .endpoint import endpoint_of
from .engine import engine_of, staging_of
from .facts import ADOPT, Choices, Cloud, Facts, commit_choice
from .node_pool import node_pool_of, other_placements
from .placement import Need, place
from .pod import pod_of
from .prerequisites import judge_surroundings
from .rdma import check_rdma, network_variables
from .standing_deployment import effect_on
from .storage import check_storage, on_local_drives, throughput

__all__ = ["Cloud", "Facts", "make_plan"]

SCHEMA = 1
# From so many stages on a single request mostly waits.
_DEEP = 4
# What stands in the plan for a reader, and the node pool with a hash of its own: it may be in another place without
# a change of the deployment's objects.
_SAID = ("schema", "expected", "limit", "memory", "image", "node_pool", "other_placements")


def make_plan(inputs: Inputs, facts: Facts) -> dict[str, Any]:
    """Return the plan (docs/architecture.md). Raises Refused with every fault that forbids it."""
    recipe, settings = inputs.recipe, inputs.settings
    params = recipe["recipe_raycluster_params"]
    faults: list[Fault] = []
    choices = Choices(facts.deployment.get("choices") or {}, settings["adopt_defaults"])
    tensor = recipe["recipe_nvidia_gpu_count"]

    namespace = settings["namespace"] or inputs.name
    check_secrets(recipe, namespace, facts.secrets, faults)
    shape = checked_shape(recipe, faults, facts.cloud.shape if facts.cloud else None)
    model = read_model(facts.model["config"], facts.model.get("index"), facts.model.get("files") or ())
    warnings = [*inputs.warnings, *model.warnings]
    given = read_arguments(recipe, settings, faults)
    options = given.memory
    pipeline = _nodes(recipe, model, shape, options, choices, faults)
    memory = None
    if shape is not None:
        check_room(recipe, settings, shape, faults)
        warnings.extend(unknown_room(shape))
        if pipeline:
            memory = _sizes(model, shape, (tensor, pipeline), given, faults, warnings)
    per_stage = layers_per_stage(len(model.layers), pipeline) if len(model.layers) >= pipeline > 0 else []

    pod = pod_of(inputs, choices, shape, facts.exports, faults)
    cache = pod["model_cache"]
    check_storage(inputs, cache, facts.model, shape, faults)
    # What is deleted as another stage's on a node's own disk is the next node's on a shared one.
    whole_set = given.whole_set or ("one file system holds it for all nodes" if cache["kind"] == "file_system" else "")
    if whole_set:
        choices.made.append({"field": "staging.by_stage", "value": False, "why": whole_set})
    image_faults, image_warnings = check_image(pod["image"], shape, model.architecture)
    faults.extend(image_faults)
    warnings.extend(image_warnings)
    staging = staging_of(facts.model, model, per_stage, params["model_path_in_container"], whole_set)
    network = network_variables(inputs, shape)
    engine = engine_of(inputs, model, memory, (tensor, pipeline), given, network, faults, warnings)
    endpoint = endpoint_of(inputs, faults)
    check_rdma(inputs, shape, facts.cloud.compute_cluster if facts.cloud else {}, faults, warnings)
    against, doubtful = judge_surroundings(facts.surroundings, pod, pipeline)
    faults.extend(against)
    warnings.extend(doubtful)
    node_pool = None
    cloud = facts.cloud
    if cloud is not None:
        if shape is not None and pipeline:
            cloud, room_faults, room_warnings = place(cloud, _need(recipe, shape, pipeline - cloud.size, pod))
            faults.extend(room_faults)
            warnings.extend(room_warnings)
        faults.extend(cloud.faults)
        choices.add(cloud)
        node_pool = node_pool_of(inputs, cloud, pipeline, shape, cache["path"])
    prices = (
        prices_of(shape, settings["prices"], faults, settings["node_pool_preemptible"]) if shape is not None else None
    )
    if faults or shape is None or prices is None:
        raise Refused(faults)

    vpus, boot_gb = settings["model_volume_vpus_per_gb"], recipe["recipe_node_boot_volume_size_in_gbs"]
    local_drives = on_local_drives(cache["path"], settings, shape)
    rate = cache_rate(cache, vpus, boot_gb, local_drives, throughput(cache, facts.exports))
    held = bytes_per_node(staging, pipeline)
    warnings.extend(slow_volume(shape, held, cache, rate, model_source(recipe)["place"]))
    _keep_commit(facts.model["source"], choices)
    balanced = settings["endpoint_exposure"] == "load_balancer"
    cost = cost_of(shape, pipeline, boot_gb, cache["size_gib"], vpus, balanced, prices)
    line = image_line(pod["image"])
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "deployment": {
            "name": inputs.name,
            "deployment_name": inputs.deployment_name,
            "namespace": namespace,
            "recipe_name": recipe["recipe_id"] or inputs.deployment_name,
        },
        "model": {
            "source": {key: value for key, value in facts.model["source"].items() if key != "newest"},
            "path": params["model_path_in_container"].rstrip("/"),
            "served_names": engine.pop("served_names"),
            "architecture": model.architecture,
            "bytes": sum(entry["size"] or 0 for entry in staging["files"]),
        },
        "parallelism": {"tensor": tensor, "pipeline": pipeline, "layers_per_stage": per_stage},
        "memory": _memory(memory),
        "nodes": {
            "shape": shape.name,
            "count": pipeline,
            "gpus": tensor,
            "ocpus": params["head_node_num_cpus"],
            "memory_gb": params["head_node_cpu_mem_in_gbs"],
            "boot_volume_gb": boot_gb,
        },
        "node_pool": node_pool,
        "other_placements": other_placements(inputs, cloud) if cloud else [],
        "pod": pod,
        "image": {"name": pod["image"], **(line.as_dict() if line else {})},
        "engine": engine,
        "staging": staging,
        "endpoint": endpoint,
        "expected": {
            "usd_per_hour": cost["total"],
            "cost": cost,
            "bytes_per_node": held,
            "minutes": minutes_of(
                shape, held, cache["kind"], rate, pod["memory_gib"], node_pool is not None, staging["by_stage"]
            ),
        },
        "limit": limit_of(shape, pipeline),
        "restart": {"limit": settings["restart_limit"], "window_minutes": settings["restart_window_minutes"]},
    }
    plan["deployment"]["hash"] = short_hash({key: value for key, value in plan.items() if key not in _SAID})
    plan["deployment"]["given"] = inputs.given
    plan["choices"] = choices.made
    plan["existing"] = existing = effect_on(
        plan, facts.deployment, settings["adopt_defaults"], facts.surroundings.get("raycluster_fields")
    )
    for field in existing["kept"] if existing else []:
        warnings.append(Fault("newer_choice", field, "kept as it is", "another value for a new deployment", ADOPT))
    plan["warnings"] = [fault.as_dict() for fault in [*warnings, *choices.warnings]]
    plan["change_class"] = change_classes(plan)
    return plan


def _keep_commit(source: Mapping[str, Any], choices: Choices) -> None:
    """Note at which commit a repository was read: a deployment stays there, wherever its branch goes."""
    if source.get("newest"):
        choice = commit_choice(source["repository"], source["revision"])
        choices.choose(choice, None, source["newest"], "what the revision names today")


def _nodes(
    recipe: Mapping[str, Any],
    model: ModelFacts,
    shape: Shape | None,
    options: MemoryOptions,
    choices: Choices,
    faults: list[Fault],
) -> int:
    """Return the number of nodes; 0, with a fault, where the planner is asked for it and finds none."""
    given = recipe["recipe_node_pool_size"]
    if isinstance(given, int):
        return given
    fewest = fewest_nodes(model, shape, options) if shape is not None else None
    today = fewest.pipeline if fewest else choices.kept("nodes")
    if today is not None:
        return int(choices.choose("nodes", None, today, "the fewest that hold the model and its context"))
    if shape is not None:
        # What is missing on one node says it best, and names other shapes.
        refused = (
            check_parallelism(model, shape, shape.gpus, 1).faults
            or memory_plan(model, shape, shape.gpus, 1, options).faults
        )
        unknown = Fault(
            "nodes_unknown",
            "recipe_node_pool_size",
            f"{given}, and how many nodes of {shape.name} it takes is not known",
            "a number",
            "give the number of nodes",
        )
        faults.extend(refused or [unknown])
    return 0


def _need(recipe: Mapping[str, Any], shape: Shape, nodes: int, pod: Mapping[str, Any]) -> Need:
    """What the nodes take that are still to be made. A block volume has 50 GB at least (OKE's StorageClasses)."""
    volumes = sum(max(50, volume["size_gib"]) for volume in pod["volumes"] if volume["kind"] == "block")
    return Need(shape.name, nodes, shape.gpus, recipe["recipe_node_boot_volume_size_in_gbs"] + volumes)


def _sizes(
    model: ModelFacts,
    shape: Shape,
    parallel: tuple[int, int],
    given: EngineArguments,
    faults: list[Fault],
    warnings: list[Fault],
) -> MemoryPlan | None:
    """Return what lies in the GPUs, None where vLLM would refuse the division."""
    tensor, pipeline = parallel
    findings = check_parallelism(model, shape, tensor, pipeline, given.dtype)
    faults.extend(findings.faults)
    warnings.extend(findings.warnings)
    if findings.faults:
        if ways := served_by(model, shape, given.memory):
            faults[-1] = replace(faults[-1], remedy=f"{faults[-1].remedy}; {', '.join(ways)} would serve it")
        return None
    memory = memory_plan(model, shape, tensor, pipeline, given.memory)
    faults.extend(memory.faults)
    warnings.extend(memory.warnings)
    if pipeline >= _DEEP:
        warnings.append(
            Fault(
                "pipeline_deep",
                "recipe_node_pool_size",
                f"{pipeline} stages: each token of a request passes {pipeline - 1} borders between nodes, one by one",
                "",
                f"it takes {pipeline} requests at once and more to keep all GPUs at work",
            )
        )
    return memory


def bytes_per_node(staging: Mapping[str, Any], nodes: int) -> list[int]:
    """Return the bytes that each node stages: its stage's shards, and every file that is no shard of a stage."""
    sizes = {entry["name"]: entry["size"] or 0 for entry in staging["files"]}
    if not staging["by_stage"]:
        return [sum(sizes.values())] * nodes
    stages = staging["shards_per_stage"]
    shards = {name for names in stages for name in names}
    common = sum(size for name, size in sizes.items() if name not in shards)
    return [common + sum(sizes.get(name, 0) for name in names) for names in stages]


def _memory(memory: MemoryPlan | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "per_gpu": [asdict(stage) for stage in memory.stages],
        "kv_tokens": memory.kv_tokens,
        "max_context": memory.max_context,
        "context": memory.context,
        "concurrent": memory.concurrent,
    }
