# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a node has to offer: GPUs, and room for the pod."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..catalog.shapes import SHAPES, Shape, allocatable, find_shape, shape_from_listing
from ..fault import Findings
from .formats import SHAPE
from .values import nearest


def checked_shape(
    recipe: Mapping[str, Any], findings: Findings, listing: Mapping[str, Any] | None = None
) -> Shape | None:
    """Return the recipe's shape, None where it is none with GPUs. `listing`: the shape as OCI lists it, where known."""
    name, place = recipe["recipe_node_shape"], "recipe_node_shape"
    shape = shape_from_listing(listing) if listing else find_shape(name)
    if shape is None:
        findings.fault("shape", place, name, SHAPE.expected, SHAPE.remedy)
        return None
    if shape.vendor not in ("nvidia", ""):
        findings.fault("vendor", place, f"{name} has {shape.gpu} GPUs", "NVIDIA GPUs", "AMD is not supported yet")
    if shape.gpus != recipe["recipe_nvidia_gpu_count"]:
        findings.fault(
            "gpu_count",
            "recipe_nvidia_gpu_count",
            str(recipe["recipe_nvidia_gpu_count"]),
            f"{shape.gpus}, since the shape {name} has {shape.gpus}",
            "the pods take whole nodes; choose the shape by the GPUs you want",
        )
    return shape


def check_room(recipe: Mapping[str, Any], settings: Mapping[str, Any], shape: Shape, findings: Findings) -> None:
    """The pod has to fit on its node, beside what the kubelet keeps for itself."""
    params = recipe["recipe_raycluster_params"]
    kept = settings["node_pods_vcpus"], settings["node_pods_memory_gb"]
    room = allocatable(shape, recipe["recipe_node_boot_volume_size_in_gbs"], *kept)
    place = "recipe_raycluster_params.head_node_"
    if shape.ocpus and params["head_node_num_cpus"] > room.ocpus:
        findings.fault(
            "cpu",
            place + "num_cpus",
            str(params["head_node_num_cpus"]),
            f"at most {math.floor(room.ocpus)} OCPUs on {shape.name}",
            "lower it, and worker_node_num_cpus",
        )
    if shape.memory_gb and params["head_node_cpu_mem_in_gbs"] > room.memory_gib:
        findings.fault(
            "memory",
            place + "cpu_mem_in_gbs",
            str(params["head_node_cpu_mem_in_gbs"]),
            f"at most {math.floor(room.memory_gib)} on {shape.name}",
            "lower it, and worker_node_cpu_mem_in_gbs",
        )
    if recipe["recipe_ephemeral_storage_size"] > room.ephemeral_gib:
        findings.fault(
            "ephemeral_storage",
            "recipe_ephemeral_storage_size",
            str(recipe["recipe_ephemeral_storage_size"]),
            f"at most {math.floor(room.ephemeral_gib)} with a boot volume of {recipe['recipe_node_boot_volume_size_in_gbs']} GB",
            "lower it, or raise recipe_node_boot_volume_size_in_gbs",
        )


def warn_of_unknown_room(shape: Shape, findings: Findings) -> None:
    """Warn where it is not known whether the pods fit on their nodes."""
    if shape.ocpus and shape.memory_gb:
        return
    like = "" if shape.known else nearest(shape.name, [known.name for known in SHAPES])
    asked = f"did you mean {like}? If not: " if like else ""
    findings.warn(
        "shape_unknown",
        "recipe_node_shape",
        f"{shape.name}, whose CPUs and memory are not known",
        "",
        f"{asked}whether the pods fit on such nodes is not known either; those that do not stay Pending",
    )
