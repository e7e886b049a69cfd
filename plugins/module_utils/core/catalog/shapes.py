# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""OCI's GPU shapes, and what a node of a shape leaves to a pod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# The month in which the list prices below were read (Oracle's public pay-as-you-go list, USD per GPU and hour).
PRICE_DATE = "2026-08"


@dataclass(frozen=True)
class Gpu:
    """A GPU model. memory_gib is what CUDA reports as the total, which is less than what is sold."""

    name: str
    vendor: str
    memory_gib: float
    compute_capability: tuple[int, int] | None


@dataclass(frozen=True)
class Shape:
    """One OCI compute shape with GPUs.

    gpu                  name of the GPU model; "" when not known
    vendor               "nvidia", "amd", or "" when not known
    gpu_memory_gib       memory of one GPU as CUDA reports it, not as sold; None when not known
    compute_capability   CUDA compute capability as (major, minor); None for other vendors and unknown GPUs
    architecture         "amd64" or "arm64", as Kubernetes names it
    ocpus, memory_gb     as OCI states them (OCI's GB of memory are GiB); 0 when not known
    nvme_gb              size of all local drives together
    rdma_ports           ports of the cluster network; 0 where there is none
    usd_per_gpu_hour     list price on PRICE_DATE; None when not known
    known                False when the shape was derived from its name alone
    """

    name: str
    gpus: int
    gpu: str
    vendor: str
    gpu_memory_gib: float | None
    compute_capability: tuple[int, int] | None
    architecture: str
    ocpus: float
    memory_gb: float
    nvme_drives: int
    nvme_gb: int
    network_gbps: float
    rdma_ports: int
    usd_per_gpu_hour: float | None
    known: bool = True

    @property
    def bare_metal(self) -> bool:
        return self.name.startswith("BM.")

    @property
    def threads_per_ocpu(self) -> int:
        """vCPU per OCPU: 2 on x86, 1 on Arm (OCI Compute, shapes)."""
        return 1 if self.architecture == "arm64" else 2

    @property
    def usd_per_hour(self) -> float | None:
        """List price of one node."""
        return None if self.usd_per_gpu_hour is None else self.usd_per_gpu_hour * self.gpus


@dataclass(frozen=True)
class Allocatable:
    """What pods of ours can request on a node: cpu in vCPU, memory and ephemeral storage in GiB."""

    cpu: float
    ocpus: float
    memory_gib: float
    ephemeral_gib: float


_P100 = Gpu("P100", "nvidia", 15.9, (6, 0))
_V100 = Gpu("V100", "nvidia", 15.8, (7, 0))
_A10 = Gpu("A10", "nvidia", 22.0, (8, 6))
_A100_40 = Gpu("A100-40", "nvidia", 39.4, (8, 0))
_A100_80 = Gpu("A100-80", "nvidia", 79.1, (8, 0))
_L40S = Gpu("L40S", "nvidia", 44.4, (8, 9))
_H100 = Gpu("H100", "nvidia", 79.1, (9, 0))
_H200 = Gpu("H200", "nvidia", 139.8, (9, 0))
_B200 = Gpu("B200", "nvidia", 178.0, (10, 0))
# Sold as 288 GB, of which the least that is documented counts.
_B300 = Gpu("B300", "nvidia", 267.0, (10, 3))
_RTX_PRO = Gpu("RTX PRO 6000", "nvidia", 94.5, (12, 0))
_MI300X = Gpu("MI300X", "amd", 191.7, None)
_MI355X = Gpu("MI355X", "amd", 287.0, None)


def _shape(
    name: str,
    gpus: int,
    gpu: Gpu,
    ocpus: int,
    memory_gb: int,
    nvme: tuple[int, int],
    network_gbps: float,
    rdma_ports: int,
    price: float | None,
    architecture: str = "amd64",
) -> Shape:
    return Shape(
        name=name,
        gpus=gpus,
        gpu=gpu.name,
        vendor=gpu.vendor,
        gpu_memory_gib=gpu.memory_gib,
        compute_capability=gpu.compute_capability,
        architecture=architecture,
        ocpus=ocpus,
        memory_gb=memory_gb,
        nvme_drives=nvme[0],
        nvme_gb=nvme[1],
        network_gbps=network_gbps,
        rdma_ports=rdma_ports,
        usd_per_gpu_hour=price,
    )


# OCI documentation, Compute Shapes, and Oracle's public price list. The prices of A100-40 and MI355X are as others quote
# them; a price that is not published is None. The setting `prices` overrides it.
SHAPES: tuple[Shape, ...] = (
    _shape("VM.GPU2.1", 1, _P100, 12, 72, (0, 0), 8, 0, None),
    _shape("BM.GPU2.2", 2, _P100, 28, 192, (0, 0), 50, 0, None),
    _shape("VM.GPU3.1", 1, _V100, 6, 90, (0, 0), 4, 0, 2.95),
    _shape("VM.GPU3.2", 2, _V100, 12, 180, (0, 0), 8, 0, 2.95),
    _shape("VM.GPU3.4", 4, _V100, 24, 360, (0, 0), 24.6, 0, 2.95),
    _shape("BM.GPU3.8", 8, _V100, 52, 768, (0, 0), 50, 0, 2.95),
    _shape("BM.GPU4.8", 8, _A100_40, 64, 2048, (4, 27200), 50, 16, 3.05),
    # Eight A100 with 40 GB, not B200 as third-party tables have it.
    _shape("BM.GPU.B4.8", 8, _A100_40, 128, 2048, (4, 27200), 50, 16, 3.05),
    _shape("BM.GPU.A100-v2.8", 8, _A100_80, 128, 2048, (4, 27200), 100, 16, 4.00),
    _shape("VM.GPU.A10.1", 1, _A10, 15, 240, (0, 0), 24, 0, 2.00),
    _shape("VM.GPU.A10.2", 2, _A10, 30, 480, (0, 0), 48, 0, 2.00),
    _shape("BM.GPU.A10.4", 4, _A10, 64, 1024, (2, 7680), 100, 0, 2.00),
    _shape("BM.GPU.L40S.4", 4, _L40S, 112, 1024, (2, 7680), 200, 4, 3.50),
    _shape("BM.GPU.L40S-NC.4", 4, _L40S, 112, 1024, (2, 7680), 200, 0, 3.50),
    _shape("BM.GPU.H100.8", 8, _H100, 112, 2048, (16, 61440), 100, 16, 10.00),
    _shape("BM.GPU.H200.8", 8, _H200, 112, 3072, (8, 30720), 200, 8, 10.00),
    _shape("BM.GPU.B200.8", 8, _B200, 128, 4096, (8, 30720), 400, 8, 14.00),
    _shape("BM.GPU.B300.8", 8, _B300, 128, 4096, (8, 30720), 400, 16, 15.00),
    _shape("BM.GPU.GB200.4", 4, _B200, 144, 960, (4, 30720), 400, 4, 16.00, "arm64"),
    _shape("BM.GPU.GB200-v2.4", 4, _B200, 144, 960, (4, 30720), 400, 4, 16.00, "arm64"),
    _shape("BM.GPU.GB200-v3.4", 4, _B200, 144, 960, (4, 30720), 400, 8, 16.00, "arm64"),
    _shape("BM.GPU.GB300.4", 4, _B300, 144, 960, (4, 30720), 400, 8, 18.00, "arm64"),
    _shape("BM.GPU.RTXPRO.8", 8, _RTX_PRO, 144, 3072, (0, 0), 200, 8, None),
    _shape("BM.GPU.MI300X.8", 8, _MI300X, 112, 2048, (8, 30720), 100, 8, 6.00),
    _shape("BM.GPU.MI355X.8", 8, _MI355X, 128, 3072, (8, 30720), 200, 8, 8.60),
)
_BY_NAME = {shape.name: shape for shape in SHAPES}

# What a part of a shape's name says of its GPUs, most telling first; for shapes that are not in the table.
_NAME_PARTS: tuple[tuple[str, Gpu], ...] = (
    ("GB300", _B300),
    ("GB200", _B200),
    ("A100.40G", _A100_40),
    ("A100.B40G", _A100_40),
    ("A100.80G", _A100_80),
    ("A100-V2", _A100_80),
    ("L40S", _L40S),
    ("MI300X", _MI300X),
    ("MI355X", _MI355X),
    ("RTXPRO", _RTX_PRO),
    ("H100", _H100),
    ("H200", _H200),
    ("B200", _B200),
    ("B300", _B300),
    ("A10", _A10),
    ("GU1", _A10),
    ("GPU2", _P100),
    ("GPU3", _V100),
    ("GPU4", _A100_40),
    ("B4", _A100_40),
)


def find_shape(name: str) -> Shape | None:
    """Return the shape of that name, or None when it is no GPU shape.

    A GPU shape that is not in the table is derived from its name (known=False): the last part is the number of GPUs
    (OCI's naming rule), the GPU model is the one its name contains; what cannot be read is 0, "" or None.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    match = re.fullmatch(r"(VM|BM)\.(GPU[A-Za-z0-9.\-]*)\.([1-9][0-9]?)", name)
    if not match:
        return None
    parts = re.split(r"[.\-]", match[2].upper())
    wanted = match[2].upper()
    gpu = next(
        (gpu for part, gpu in _NAME_PARTS if (part in wanted if re.search(r"[.\-]", part) else part in parts)), None
    )
    return Shape(
        name=name,
        gpus=int(match[3]),
        gpu=gpu.name if gpu else "",
        vendor=gpu.vendor if gpu else "",
        gpu_memory_gib=gpu.memory_gib if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
        architecture="arm64" if {"GB200", "GB300"} & set(parts) else "amd64",
        ocpus=0,
        memory_gb=0,
        nvme_drives=0,
        nvme_gb=0,
        network_gbps=0,
        rdma_ports=0,
        usd_per_gpu_hour=None,
        known=False,
    )


def shape_from_listing(listing: Mapping[str, Any]) -> Shape | None:
    """Return the shape that one item of OCI's ListShapes describes, with either the SDK's or the JSON field names.

    What the API states wins over the table; GPU memory as CUDA reports it, compute capability and price are the table's.
    """
    name = listing.get("shape")
    base = find_shape(name) if isinstance(name, str) else None
    if base is None:
        return None

    def number(snake: str, camel: str, otherwise: float) -> float:
        value = listing.get(snake, listing.get(camel))
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else otherwise

    processor = listing.get("processor_description", listing.get("processorDescription"))
    arm = isinstance(processor, str) and re.search(r"\b(arm|grace|ampere)\b", processor, re.IGNORECASE) is not None
    ocpus = number("ocpus", "ocpus", base.ocpus)
    memory = number("memory_in_gbs", "memoryInGBs", base.memory_gb)
    described = str(listing.get("gpu_description", listing.get("gpuDescription")) or "")
    makers = [maker for maker in ("nvidia", "amd") if maker in described.lower()]
    return replace(
        base,
        vendor=base.vendor or "".join(makers[:1]),
        gpus=int(number("gpus", "gpus", base.gpus)),
        architecture="arm64" if arm else base.architecture,
        ocpus=ocpus,
        memory_gb=memory,
        nvme_drives=int(number("local_disks", "localDisks", base.nvme_drives)),
        nvme_gb=int(number("local_disks_total_size_in_gbs", "localDisksTotalSizeInGBs", base.nvme_gb)),
        network_gbps=number("networking_bandwidth_in_gbps", "networkingBandwidthInGbps", base.network_gbps),
        rdma_ports=int(number("rdma_ports", "rdmaPorts", base.rdma_ports)),
        known=base.known or bool(ocpus and memory),
    )


# Reservations of OKE's kubelets (OCI documentation, "Reserving Resources for Kubernetes and OS System Daemons"):
# (up to this many, share reserved).
_CPU_TIERS = ((1.0, 0.06), (2.0, 0.01), (4.0, 0.005), (float("inf"), 0.0025))
_MEMORY_TIERS = ((4.0, 0.25), (8.0, 0.20), (16.0, 0.10), (128.0, 0.06), (float("inf"), 0.02))
_SYSTEM_CPU = 0.1
_SYSTEM_MEMORY_GIB = 0.1
# The kernel keeps a page structure of 64 bytes for every 4096 (1.6 %) and the firmware its part: MemTotal is less
# than what is sold. 2 % is on the safe side.
_KERNEL_SHARE = 0.02
_EVICTION_MEMORY_GIB = 0.1
# The kubelet evicts pods when less than 10 % of the boot volume is free (its default, nodefs.available).
_EVICTION_DISK_SHARE = 0.10
_SYSTEM_DISK_GIB = 15.0


def _reserved(amount: float, tiers: tuple[tuple[float, float], ...]) -> float:
    reserved, lower = 0.0, 0.0
    for upper, share in tiers:
        reserved += max(0.0, min(amount, upper) - lower) * share
        lower = upper
    return reserved


def allocatable(
    shape: Shape,
    boot_volume_gb: int = 200,
    node_pods_vcpus: float = 1.0,
    node_pods_gib: float = 1.0,
    image_gib: float = 25.0,
) -> Allocatable:
    """What a node leaves to one pod of ours; conservative.

    From the node's size go the kernel's own memory, the kubelet's reservation tiers, the system's reservation, the
    eviction threshold and the node's own pods; from the boot volume the system, the image and the eviction threshold.
    A shape whose size is not known leaves 0: the caller has to ask the node or the API.
    node_pods_*: for network, proxy, DNS, storage driver, device plugin and monitoring; an estimate.
    """
    vcpus = shape.ocpus * shape.threads_per_ocpu
    cpu = vcpus - _reserved(vcpus, _CPU_TIERS) - _SYSTEM_CPU - node_pods_vcpus
    memory = shape.memory_gb * (1 - _KERNEL_SHARE)
    memory -= _reserved(shape.memory_gb, _MEMORY_TIERS) + _SYSTEM_MEMORY_GIB + _EVICTION_MEMORY_GIB + node_pods_gib
    # A volume's GB are GiB, too.
    disk = boot_volume_gb * (1 - _EVICTION_DISK_SHARE) - _SYSTEM_DISK_GIB - image_gib
    cpu = max(0.0, round(cpu, 3))
    return Allocatable(
        cpu=cpu,
        ocpus=cpu / shape.threads_per_ocpu,
        memory_gib=max(0.0, round(memory, 2)),
        ephemeral_gib=max(0.0, round(disk, 2)),
    )
