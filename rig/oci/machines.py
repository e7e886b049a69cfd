# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine of a node pool is worth to Kubernetes, and what its cloud-init document makes of it.

Facts imitated:
- a `user_data` of one's own replaces OKE's start script: it must fetch `oke_init_script` from the metadata service or
  run `oke bootstrap`, or the node never joins, while its pool looks well;
- `--register-with-taints` and `--node-labels` of kubelet's extra arguments hold from the join on; the node pool API has
  no taints;
- the root filesystem stays at about 47 GB, whatever the boot volume's size, until `oci-growfs` runs;
- an image without GPU drivers is accepted on a GPU shape and gives nodes without `nvidia.com/gpu`;
- GPU nodes bear the taint nvidia.com/gpu:NoSchedule with an empty value.

The formula, in one place (OKE "reserving resources", kubelet's node-allocatable):
    cpu        = vCPUs - 0.1 for the system
                 - 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the others
    memory     = 98 % of the shape's (the kernel keeps the rest) - 100 MiB for the system - 100 MiB eviction threshold
                 - 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the next 112, 2 % of the rest
    ephemeral  = 97 % of the root filesystem (its own needs are the rest) - 10 % eviction threshold - 20 GB for images
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from typing import Any

from rig.oci.shapes import SHAPES, Shape

UNGROWN_GB = 47
DEFAULT_BOOT_VOLUME_GB = 47
IMAGE_SPACE_GB = 20
PODS = 110

GIB = 1024**3
GB = 10**9
MIB = 1024**2

_CPU_TIERS = ((1, 0.06), (1, 0.01), (2, 0.005), (float("inf"), 0.0025))
_MEMORY_TIERS_GIB = ((4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06), (float("inf"), 0.02))
_TAINT = re.compile(r"^(?P<key>[^=:]+)(=(?P<value>[^:]*))?:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)$")


@dataclasses.dataclass(frozen=True)
class CloudInit:
    """What a node's cloud-init document does, as far as Kubernetes sees it."""

    joins: bool
    grows_filesystem: bool
    taints: tuple[dict[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Capacity:
    """Quantities as Kubernetes writes them; `gpus` are advertised later, by the device plugin."""

    capacity: dict[str, str]
    allocatable: dict[str, str]
    gpus: int


def read_cloud_init(user_data: str | None) -> CloudInit:
    """What `user_data` (base64, or none: OKE's own script, which joins but grows nothing) does."""
    if not user_data:
        return CloudInit(joins=True, grows_filesystem=False)
    try:
        text = base64.b64decode(user_data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return CloudInit(False, False, problem="user_data is no base64 of a text")
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if not first.startswith(("#!", "#cloud-config", "Content-Type: multipart/", "MIME-Version:")):
        return CloudInit(
            False, False, problem=f"user_data is no script and no cloud-config; its first line is {first!r}"
        )
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joins = "oke_init_script" in text or re.search(r"\boke bootstrap\b", text) is not None
    return CloudInit(
        joins=joins,
        grows_filesystem="oci-growfs" in text,
        taints=tuple(_taints(_arguments(text, "register-with-taints"))),
        labels=tuple(_labels(_arguments(text, "node-labels"))),
        problem="" if joins else "user_data neither fetches oke_init_script nor runs oke bootstrap",
    )


def machine(pool: dict[str, Any], image_name: str, grows: bool = True) -> Capacity:
    """Capacity and allocatable of a node that `pool` (CreateNodePoolDetails, JSON names) makes from that image.

    grows: whether `oci-growfs` does its work where the cloud-init document runs it.
    """
    shape = SHAPES[pool["nodeShape"]]
    cloud_init = read_cloud_init((pool.get("nodeMetadata") or {}).get("user_data"))
    config = pool.get("nodeShapeConfig") or {}
    vcpus = int(config.get("ocpus", shape.ocpus) * shape.threads_per_ocpu)
    memory = config.get("memoryInGBs", shape.memory_gb) * 0.98 * GIB
    boot_volume = (pool.get("nodeSourceDetails") or {}).get("bootVolumeSizeInGBs") or DEFAULT_BOOT_VOLUME_GB
    root_gb = boot_volume if cloud_init.grows_filesystem and grows else min(UNGROWN_GB, boot_volume)
    disk = 0.97 * root_gb * GB
    reserved_memory = _tiers(_MEMORY_TIERS_GIB, memory / GIB) * GIB + 200 * MIB
    reserved_millicores = _tiers(_CPU_TIERS, vcpus) * 1000 + 100
    allocatable_disk = max(disk * 0.9 - IMAGE_SPACE_GB * GB, 0)
    return Capacity(
        capacity={
            "cpu": str(vcpus),
            "memory": f"{int(memory / 1024)}Ki",
            "ephemeral-storage": f"{int(disk / 1024)}Ki",
            "pods": str(PODS),
        },
        allocatable={
            "cpu": f"{int(vcpus * 1000 - reserved_millicores)}m",
            "memory": f"{int((memory - reserved_memory) / 1024)}Ki",
            "ephemeral-storage": str(int(allocatable_disk)),
            "pods": str(PODS),
        },
        gpus=shape.gpus if has_driver(image_name, shape) else 0,
    )


def has_driver(image_name: str, shape: Shape) -> bool:
    """Whether the image brings the drivers of the shape's GPUs: those named GPU bring NVIDIA's, for x86."""
    return (
        "-GPU-" in image_name and "NVIDIA" in shape.gpu and ("aarch64" in image_name) == (shape.architecture == "arm64")
    )


def _tiers(tiers: tuple[tuple[float, float], ...], amount: float) -> float:
    total = 0.0
    for width, share in tiers:
        part = min(amount, width)
        total += part * share
        amount -= part
    return total


def _arguments(text: str, option: str) -> list[str]:
    """The comma-separated values of each `--option` in `text`."""
    found = re.findall(rf"--{option}[= ]([^\s\"']+)", text)
    return [value for values in found for value in values.split(",") if value]


def _taints(values: list[str]) -> list[dict[str, str]]:
    taints = []
    for value in values:
        match = _TAINT.match(value)
        if match:
            taints.append({"key": match["key"], "value": match["value"] or "", "effect": match["effect"]})
    return taints


def _labels(values: list[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (label.partition("=") for label in values)]
