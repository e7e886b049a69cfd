# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many minutes a deployment, a restart and a loss may take: guidance that a reader can redo (docs/sizing.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..catalog.shapes import Shape
from ..fault import Findings
from .costs import BALANCED_VPUS

# Minutes until a node has joined and shows its GPUs. Of bare metal up to 30 are reported.
VIRTUAL_NODE, BARE_METAL_NODE = 6.0, 20.0
# An image of some 10 GB packed is pulled and unpacked; with it on the node, a pod starts in seconds.
IMAGE_PULL, POD_START = 4.0, 0.5
VOLUME_ATTACH = 0.5
RAY_START = 0.5
# Profiling, compilation and CUDA graphs.
ENGINE_START = 2.0
TOKEN = 0.1
# Bytes a second. Parallel ranged reads of Object Storage by one node; and a reader of files in the page cache.
SOURCE_RATE = 1.0e9
CACHED_READ_RATE = 1.0e9
# A mount target of the default throughput, for all nodes together (OCI File Storage, about 1 Gbit/s).
FILE_SYSTEM_RATE = 125.0e6
# A network card is not had whole.
_NETWORK_SHARE = 0.8
# A volume is called slow when it makes a start longer by this many minutes.
_SLOW_MINUTES = 5.0


def volume_rate(size_gb: int, vpus: int) -> float:
    """Return the bytes a second that a block volume of that size and performance reads or writes.

    OCI documentation, "Block Volume Performance" (Calculating Volume Performance; Lower Cost Performance for less than
    10 units). From 30 units on ("Ultra High Performance") it takes an attachment with multipath.
    """
    per_gb, most = (360e3 + 12e3 * vpus, 280e6 + 20e6 * vpus) if vpus >= BALANCED_VPUS else (240e3, 480e6)
    return min(size_gb * per_gb, most)


def source_rate(shape: Shape) -> float:
    """Return the bytes a second that one node gets from Object Storage."""
    if not shape.network_gbps:
        return SOURCE_RATE
    return min(SOURCE_RATE, shape.network_gbps * 1e9 / 8 * _NETWORK_SHARE)


def cache_rate(
    cache: Mapping[str, Any], vpus: int, boot_volume_gb: int, local_drives: bool, gbps: float | None = None
) -> float:
    """Return the bytes a second of what holds the model (`storage.storage_of`); local drives are no bound.

    gbps: throughput of a file system's mount target, None where it is not known
    """
    if cache["kind"] == "file_system":
        return gbps * 1e9 / 8 if gbps else FILE_SYSTEM_RATE
    if cache["kind"] == "node":
        return float("inf") if local_drives else volume_rate(boot_volume_gb, BALANCED_VPUS)
    return volume_rate(cache["size_gib"], vpus)


def minutes_of(
    shape: Shape,
    bytes_per_node: Sequence[int],
    cache: str,
    rate: float,
    memory_gib: float,
    new_nodes: bool,
    by_stage: bool,
) -> dict[str, float]:
    """Return the minutes of each phase, of their sum, and of what may happen later.

    bytes_per_node  what each node stages; the largest counts, since the nodes work side by side
    cache           what holds the model: volume, node or file_system; `rate` its bytes a second
    memory_gib      memory of a pod: files that fit in half of it are still in the page cache when they are loaded
    new_nodes       whether a node pool is made
    by_stage        whether a node holds its own stage alone: pods that are all recreated may change places
    """
    most = max(bytes_per_node, default=0)
    staging = most / min(source_rate(shape), rate) / 60
    cached = cache != "file_system" and most <= memory_gib * 2**30 / 2
    load = most / (CACHED_READ_RATE if cached else min(CACHED_READ_RATE, rate)) / 60
    node = BARE_METAL_NODE if shape.bare_metal else VIRTUAL_NODE
    attach = VOLUME_ATTACH if cache == "volume" else 0.0
    phases = {
        "nodes": node if new_nodes else 0.0,
        "pods": IMAGE_PULL + attach,
        "staging": staging,
        "ray": RAY_START,
        "engine": load + ENGINE_START,
        "token": TOKEN,
    }
    restart = phases["ray"] + phases["engine"] + TOKEN
    again = POD_START + attach + restart
    later = {
        "total": sum(phases.values()),
        "restart": restart,
        "lost_pod": again + (staging if cache == "volume" else 0.0),
        "lost_node": node + IMAGE_PULL + attach + (0.0 if cache == "file_system" else staging) + restart,
        "changed_template": again + (staging if cache == "volume" or (cache == "node" and by_stage) else 0.0),
    }
    return {name: round(value, 1) for name, value in (phases | later).items()}


def warn_of_slow_volume(
    shape: Shape, bytes_per_node: Sequence[int], cache: Mapping[str, Any], rate: float, place: str, findings: Findings
) -> None:
    """Warn where what holds the model makes staging much longer than the network would."""
    most, network = max(bytes_per_node, default=0), source_rate(shape)
    lost = (most / rate - most / network) / 60
    if lost < _SLOW_MINUTES:
        return
    size = cache["size_gib"]
    where, found, remedy = {
        "volume": (
            f"{place}.volume_size_in_gbs",
            f"a volume of {size} GB",
            "a larger volume is faster, up to 1000 GB, and so is a StorageClass with more performance units",
        ),
        "node": (
            "recipe_node_boot_volume_size_in_gbs",
            "the boot volume",
            "a larger one is faster, up to 1000 GB, and so are a shape's local drives (nvme_folder)",
        ),
        "file_system": (
            "input_file_system",
            "the mount target",
            "a mount target of high throughput is faster; local drives are faster still",
        ),
    }[cache["kind"]]
    findings.warn(
        "volume_slow",
        where,
        f"{found} writes {rate / 1e6:.0f} MB/s, which makes staging {lost:.0f} minutes longer",
        "",
        remedy,
    )
