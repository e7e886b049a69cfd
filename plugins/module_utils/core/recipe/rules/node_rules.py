# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nodes and their pods: head and workers are alike, and a pod fits on its node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...fault import Findings
from ..node_checks import check_room, checked_shape

_PARAMS = "recipe_raycluster_params"
_OF_A_NODE = ("recipe_node_boot_volume_size_in_gbs", "recipe_ephemeral_storage_size")
_OF_A_POD = ("head_node_num_cpus", "head_node_cpu_mem_in_gbs")


def check_nodes(recipe: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings) -> None:
    params = recipe.get(_PARAMS) or {}
    _uniform_nodes(recipe, params, findings)
    _node_count(recipe.get("recipe_node_pool_size"), params, findings)
    _shared_memory(recipe, params, findings)
    _shape(recipe, params, settings, findings)


def _uniform_nodes(recipe: Mapping[str, Any], params: Mapping[str, Any], findings: Findings) -> None:
    """Head and workers are the same machine: one engine spreads over them."""
    for what in ("num_cpus", "num_gpus", "cpu_mem_in_gbs"):
        head, worker = params.get(f"head_node_{what}"), params.get(f"worker_node_{what}")
        if head is not None and worker is not None and head != worker:
            expected = f"{head}, as head_node_{what} has"
            place = f"{_PARAMS}.worker_node_{what}"
            findings.fault("not_uniform", place, str(worker), expected, "make head and workers equal")
    gpus, pod = recipe.get("recipe_nvidia_gpu_count"), params.get("head_node_num_gpus")
    if gpus is not None and pod is not None and pod != gpus:
        expected = f"{gpus}, as recipe_nvidia_gpu_count says"
        place = f"{_PARAMS}.head_node_num_gpus"
        findings.fault("gpu_count", place, str(pod), expected, "a pod takes all GPUs of its node")


def _node_count(nodes: int | str | None, params: Mapping[str, Any], findings: Findings) -> None:
    """Every node but the head's holds a worker; with `auto` the plan chooses both numbers."""
    place, workers = f"{_PARAMS}.num_worker_nodes", params.get("num_worker_nodes")
    if nodes is None or not params or any(fault.where.endswith(place) for fault in findings.faults):
        return
    if isinstance(nodes, str):
        if workers is not None:
            findings.fault(
                "node_count",
                place,
                f"{workers} beside recipe_node_pool_size auto",
                "no such parameter",
                "leave it out, or give recipe_node_pool_size as a number",
            )
        return
    expected = f"{nodes - 1}, one less than recipe_node_pool_size ({nodes}), since the head is a node too"
    if workers is None:
        findings.fault("missing", place, "not given", expected, "add it, or let recipe_node_pool_size be auto")
    elif workers != nodes - 1:
        findings.fault("node_count", place, str(workers), expected, "correct one of the two")


def _shared_memory(recipe: Mapping[str, Any], params: Mapping[str, Any], findings: Findings) -> None:
    """/dev/shm lies in the pod's memory: what it holds is taken from the engine."""
    shared, memory = recipe.get("recipe_shared_memory_volume_size_limit_in_mb"), params.get("head_node_cpu_mem_in_gbs")
    if shared is not None and memory is not None and shared >= memory * 1024:
        findings.fault(
            "shared_memory",
            "recipe_shared_memory_volume_size_limit_in_mb",
            str(shared),
            f"less than the pod's memory, {memory * 1024}",
            "lower it, or raise head_node_cpu_mem_in_gbs and worker_node_cpu_mem_in_gbs",
        )


def _shape(
    recipe: Mapping[str, Any], params: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings
) -> None:
    """What can be checked of the shape without a cloud is checked here, so that it is reported with the rest."""
    name = recipe.get("recipe_node_shape")
    if not name:
        return
    if settings.get("node_pool_preemptible") and name.startswith("BM."):
        findings.fault(
            "preemptible_bare_metal",
            "node_pool_preemptible",
            f"preemptible nodes of {name}",
            "a virtual machine's shape",
            "remove node_pool_preemptible, or choose a shape that begins with VM.",
        )
    if recipe.get("recipe_nvidia_gpu_count") is None:
        return
    shape = checked_shape(recipe, findings)
    sizes = [recipe.get(name) for name in _OF_A_NODE] + [params.get(name) for name in _OF_A_POD]
    kept = [settings.get(name) for name in ("node_pods_vcpus", "node_pods_memory_gb")]
    if shape and None not in (*sizes, *kept):
        check_room(recipe, settings, shape, findings)
