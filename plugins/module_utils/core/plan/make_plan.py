# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Recipe and facts in, plan out. Whoever asks why something has its value finds the answer here.

The plan is plain data (JSON), free of secrets; everything after it reads only the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..catalog.images import KnownImage, check_image
from ..catalog.limits import limit_of
from ..catalog.shapes import Shape
from ..fault import Findings, Refused
from ..model.facts import ModelFacts
from ..model.staged_files import check_files
from ..names import short_hash
from ..recipe.inputs import Inputs
from ..recipe.model_source import model_source
from ..recipe.node_checks import check_room, warn_of_unknown_room
from ..recipe.vllm_arguments import check_options
from ..sizing.costs import Prices, cost_of, prices_of
from ..sizing.division import COUNTS
from ..sizing.memory import memory_plan, served_by
from ..sizing.parallelism import check_parallelism, layers_per_stage, ways_to_divide
from ..sizing.stages import MemoryPlan
from ..sizing.times import cache_rate, minutes_of, warn_of_slow_volume
from .arguments import EngineArguments
from .capacity import Need, settle
from .changes import change_classes, plan_hash
from .endpoint import endpoint_of, tls_arguments
from .engine import engine_of, served_names, staging_of
from .facts import Choices, Facts, commit_choice
from .node_pool import node_pool_of, other_placements
from .placement import Placement, choose_placement
from .prerequisites import check_prerequisites
from .rdma import check_rdma, network_variables
from .standing_deployment import effect_on
from .storage import check_storage, on_local_drives, throughput
from .types import Expected, Image, Memory, ModelCache, Plan, Pod, Staging
from .vllm.answer import read_answer, with_answer
from .vllm.beginning import begin
from .vllm.class_rules import check_context_parallel
from .vllm.image import ChosenImage
from .vllm.variables import check_layers

SCHEMA = 1
# From so many stages on a single request mostly waits.
_DEEP = 4
_NOT_KNOWN = "which layers a stage of this model needs is not known"


def make_plan(inputs: Inputs, facts: Facts) -> Plan:
    """Return the plan (docs/architecture.md). Raises Refused with every fault that forbids it."""
    recipe, settings, cluster = inputs.recipe, inputs.settings, facts.cluster
    start = begin(inputs, facts)
    findings, choices, namespace, shape, pod = start.findings, start.choices, start.namespace, start.shape, start.pod
    image, given, model, pipeline, speculation = (
        start.image,
        start.given,
        start.model,
        start.pipeline,
        start.speculation,
    )
    exports, known, tensor = (cluster or {}).get("exports") or (), image.release, recipe["recipe_nvidia_gpu_count"]
    said = read_answer(facts.answer, known, len(model.layers), pipeline, tensor, findings)
    model = with_answer(model, said, tensor, bool(recipe["recipe_max_model_length"]))
    given = replace(given, memory=replace(given.memory, layers=said.layers or given.memory.layers))
    check_options(given.given, known, pipeline, findings)
    check_layers(given.memory.layers, len(model.layers), pipeline, findings)
    check_context_parallel(model, tensor, given.given, findings)
    memory = None
    if shape is not None:
        check_room(recipe, settings, shape, findings)
        warn_of_unknown_room(shape, findings)
        if pipeline:
            memory = _sizes(model, shape, (tensor, pipeline), given, findings)
    per_stage = (
        layers_per_stage(len(model.layers), pipeline, given.memory.layers) if len(model.layers) >= pipeline > 0 else []
    )

    # Where each node finds the model's files, and what runs there.
    check_storage(inputs, pod["model_cache"], facts.model, shape, findings)
    check_image(image.name, image.line, shape, findings)
    whole_set = given.whole_set or _shared(pod["model_cache"]) or ("" if model.known else _NOT_KNOWN)
    if whole_set:
        choices.made.append({"field": "staging.by_stage", "value": False, "why": whole_set})
    path = recipe["recipe_raycluster_params"]["model_path_in_container"].rstrip("/")
    staging = staging_of(facts.model, model, per_stage, path, whole_set, bool(speculation.layers))
    endpoint = endpoint_of(inputs, findings)
    network, tls = {**network_variables(inputs, shape), **start.executor}, tls_arguments(endpoint)
    more = (*speculation.arguments, *start.parsers)
    engine = engine_of(inputs, model, memory, (tensor, pipeline), given, network, more, findings, tls)
    check_files(staging, engine["args"], findings)

    # Where it runs: the cluster, and the node pool with its place in the cloud.
    check_rdma(inputs, shape, (cluster or {}).get("compute_cluster") or {}, findings)
    check_prerequisites(facts.surroundings, pod, pipeline, inputs.settings, findings)
    placement = _placement(inputs, facts, shape, pipeline, pod, findings) if cluster else None
    if placement:
        choices.add(placement)
    prices = _prices(inputs, shape, findings)
    if findings.faults or shape is None or prices is None:
        raise Refused(findings.faults)

    _keep_commit(facts.model["source"], choices)
    _check_transport(facts.model["source"], findings)
    held = bytes_per_node(staging, pipeline)
    plan: Plan = {
        "schema": SCHEMA,
        "deployment": {
            "name": inputs.name,
            "deployment_name": inputs.deployment_name,
            "namespace": namespace,
            "recipe_name": recipe["recipe_id"] or inputs.deployment_name,
            "hash": "",
            "given": inputs.given,
        },
        "model": {
            "source": {key: value for key, value in facts.model["source"].items() if key != "newest"},
            "path": path,
            "served_names": served_names(recipe),
            "architecture": model.architecture,
            "bytes": sum(entry["size"] or 0 for entry in staging["files"]),
        },
        "parallelism": {"tensor": tensor, "pipeline": pipeline, "layers_per_stage": per_stage},
        "memory": _memory(memory),
        "nodes": {
            "shape": shape.name,
            "count": pipeline,
            "gpus": tensor,
            "ocpus": recipe["recipe_raycluster_params"]["head_node_num_cpus"],
            "memory_gb": recipe["recipe_raycluster_params"]["head_node_cpu_mem_in_gbs"],
            "boot_volume_gb": recipe["recipe_node_boot_volume_size_in_gbs"],
        },
        "node_pool": node_pool_of(inputs, placement, pipeline, shape, pod["model_cache"]["path"])
        if placement
        else None,
        "other_placements": other_placements(inputs, placement) if placement else [],
        "pod": pod,
        "image": _image(image),
        "engine": engine,
        "staging": staging,
        "endpoint": endpoint,
        "expected": _expected(inputs, shape, pod, staging["by_stage"], held, prices, exports, findings),
        "limit": limit_of(shape, pipeline),
        "restart": {"limit": settings["restart_limit"], "window_minutes": settings["restart_window_minutes"]},
        "choices": choices.made,
        "answer": said.shown,
        "existing": None,
        "warnings": [],
        "change_class": {},
    }
    plan["deployment"]["hash"] = plan_hash(plan)
    # TLS in the pod is the one part of an endpoint that is made of pods.
    plan["deployment"]["given"] = short_hash([inputs.given, tls, endpoint["tls_secret"]]) if tls else inputs.given
    plan["existing"] = effect_on(
        plan, facts.deployment, settings["adopt_defaults"], findings, facts.surroundings.get("raycluster_fields")
    )
    plan["warnings"] = [fault.as_dict() for fault in findings.warnings]
    plan["change_class"] = change_classes(plan)
    return plan


def _shared(cache: ModelCache) -> str:
    """Why every node needs every file: what is deleted as another stage's on its own disk is the next node's on a shared one."""
    return "one file system holds it for all nodes" if cache["kind"] == "file_system" else ""


def _placement(
    inputs: Inputs,
    facts: Facts,
    shape: Shape | None,
    nodes: int,
    pod: Pod,
    findings: Findings,
) -> Placement:
    """Where the node pool goes, in the domain that has room for all nodes that are still to be made."""
    cluster = facts.cluster or {}
    placement = choose_placement(inputs, cluster, facts.own_pool, shape, findings)
    if shape is None or not nodes:
        return placement
    # A block volume has 50 GB at least (OKE's StorageClasses).
    volumes = sum(max(50, volume["size_gib"]) for volume in pod["volumes"] if volume["kind"] == "block")
    boot = inputs.recipe["recipe_node_boot_volume_size_in_gbs"]
    return settle(placement, cluster, Need(shape.name, nodes - placement.size, shape.gpus, boot + volumes), findings)


def _prices(inputs: Inputs, shape: Shape | None, findings: Findings) -> Prices | None:
    if shape is None:
        return None
    return prices_of(shape, inputs.settings["prices"], findings, inputs.settings["node_pool_preemptible"])


def _expected(
    inputs: Inputs,
    shape: Shape,
    pod: Pod,
    by_stage: bool,
    held: list[int],
    prices: Prices,
    exports: Sequence[Mapping[str, Any]],
    findings: Findings,
) -> Expected:
    """What it costs and how long it takes; `held`: bytes that each node stages."""
    settings, cache = inputs.settings, pod["model_cache"]
    vpus, boot_gb = settings["model_volume_vpus_per_gb"], inputs.recipe["recipe_node_boot_volume_size_in_gbs"]
    local_drives = on_local_drives(cache["path"], settings, shape)
    rate = cache_rate(cache, vpus, boot_gb, local_drives, throughput(cache, exports))
    warn_of_slow_volume(shape, held, cache, rate, model_source(inputs.recipe)["place"], findings)
    balanced = settings["endpoint_exposure"] == "load_balancer"
    cost = cost_of(shape, len(held), boot_gb, cache["size_gib"], vpus, balanced, prices)
    new_nodes = settings["node_provisioner"] == "oke"
    return {
        "usd_per_hour": cost["total"],
        "cost": cost,
        "bytes_per_node": held,
        "minutes": minutes_of(shape, held, cache["kind"], rate, pod["memory_gib"], new_nodes, by_stage),
    }


def _check_transport(source: Mapping[str, Any], findings: Findings) -> None:
    """Files of some formats, and a model's own code, run where they are read: who is on the way must not change them."""
    if str(source.get("endpoint") or "").startswith("http://"):
        findings.warn(
            "source_without_tls",
            "hugging_face_endpoint",
            f"{source['endpoint']}: whoever is on the way can change the model's files, code among them",
            "https://",
            "give the mirror a certificate, or reach it over a network that is yours alone",
        )


def _keep_commit(source: Mapping[str, Any], choices: Choices) -> None:
    """Note at which commit a repository was read: a deployment stays there, wherever its branch goes."""
    if source.get("newest"):
        choice = commit_choice(source["repository"], source["revision"])
        why = "what the revision names today"
        choices.choose(
            choice, None, source["newest"], why, lambda kept: kept in (source.get("commit"), source["newest"])
        )


def _sizes(
    model: ModelFacts, shape: Shape, parallel: tuple[int, int], given: EngineArguments, findings: Findings
) -> MemoryPlan | None:
    """Return what lies in the GPUs, None where vLLM would refuse the division."""
    tensor, pipeline = parallel
    division = check_parallelism(model, shape, tensor, pipeline, given.memory)
    if model.said_weights:
        division.faults = [fault for fault in division.faults if fault.code not in COUNTS]
    if division.faults:
        arguments = ways_to_divide(model, shape, tensor, pipeline, given.memory)
        ways = [f"{way} allows this division" for way in arguments]
        if others := served_by(model, shape, given.memory):
            ways.append(f"{', '.join(others)} would serve it")
        if ways:
            last = division.faults[-1]
            division.faults[-1] = replace(last, remedy="; ".join([last.remedy, *ways]))
        findings.add(division)
        return None
    findings.add(division)
    memory = memory_plan(model, shape, tensor, pipeline, given.memory)
    findings.faults += memory.faults
    findings.warnings += memory.warnings
    if pipeline >= _DEEP:
        findings.warn(
            "pipeline_deep",
            "recipe_node_pool_size",
            f"{pipeline} stages: each token of a request crosses {pipeline - 1} node boundaries, one after the other",
            "",
            f"it takes at least {pipeline} concurrent requests to keep all GPUs busy",
        )
    return memory


def bytes_per_node(staging: Staging, nodes: int) -> list[int]:
    """Return the bytes that each node stages: its stage's shards, and every file that is no shard of a stage."""
    sizes = {entry["name"]: entry["size"] or 0 for entry in staging["files"]}
    if not staging["by_stage"]:
        return [sum(sizes.values())] * nodes
    stages = staging["shards_per_stage"]
    shards = {name for names in stages for name in names}
    common = sum(size for name, size in sizes.items() if name not in shards)
    return [common + sum(sizes.get(name, 0) for name in names) for names in stages]


def _image(image: ChosenImage) -> Image:
    holds: KnownImage = image.line.as_dict() if image.line else {}
    return {"name": image.name, **holds}


def _memory(memory: MemoryPlan | None) -> Memory | None:
    if memory is None:
        return None
    return {
        "per_gpu": [asdict(stage) for stage in memory.stages],
        "kv_tokens": memory.kv_tokens,
        "kv_tokens_high": memory.kv_tokens_high,
        "max_context": memory.max_context,
        "max_context_high": memory.max_context_high,
        "context": memory.context,
        "concurrent": memory.concurrent,
    }
