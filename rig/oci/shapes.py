# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes that the stand-in offers, as ListShapes gives them.

Facts imitated (OCI "Compute Shapes", and the Shape object of the Compute API):
- an OCPU is a physical core: x86 has two vCPUs of each, Grace (Arm) one; memory in GB;
- `quotaNames` are the names of the service limits that count for the shape;
- not every availability domain offers every GPU shape.
"""

from __future__ import annotations

import dataclasses
from typing import Any

XEON = "2.6 GHz Intel® Xeon® Platinum 8358 (Ice Lake)"
SAPPHIRE_RAPIDS = "2.0 GHz Intel® Xeon® Platinum 8480+ (Sapphire Rapids)"
EPYC = "2.55 GHz AMD EPYC™ 9J14 (Genoa)"
GRACE = "3.1 GHz NVIDIA Grace™ (Neoverse V2)"


@dataclasses.dataclass(frozen=True)
class Shape:
    """One machine type: memory and disks in GB, bandwidths in Gbps; `domains`: the numbers of the ADs that have it."""

    name: str
    ocpus: float
    memory_gb: float
    gpus: int = 0
    gpu: str = ""
    processor: str = XEON
    limit: str = ""
    local_disks: int = 0
    local_disks_gb: float = 0.0
    bandwidth: float = 24.0
    vnics: int = 256
    rdma_ports: int = 0
    rdma_bandwidth: int = 0
    flexible: bool = False
    threads_per_ocpu: int = 2
    domains: tuple[int, ...] = (1, 2, 3)

    @property
    def architecture(self) -> str:
        """The architecture as Kubernetes names it."""
        return "arm64" if self.threads_per_ocpu == 1 else "amd64"

    def as_json(self) -> dict[str, Any]:
        """The Shape object of the Compute API."""
        fields: dict[str, Any] = {
            "shape": self.name,
            "processorDescription": self.processor,
            "ocpus": self.ocpus,
            "memoryInGBs": self.memory_gb,
            "networkPorts": 1,
            "networkingBandwidthInGbps": self.bandwidth,
            "maxVnicAttachments": self.vnics,
            "gpus": self.gpus,
            "localDisks": self.local_disks,
            "localDisksTotalSizeInGBs": self.local_disks_gb,
            "rdmaPorts": self.rdma_ports,
            "rdmaBandwidthInGbps": self.rdma_bandwidth,
            "isLiveMigrationSupported": self.name.startswith("VM.") and not self.gpus,
            "isBilledForStoppedInstance": self.name.startswith("BM."),
            "billingType": "PAID",
            "quotaNames": [self.limit] if self.limit else [],
            "isSubcore": False,
            "isFlexible": self.flexible,
            "platformNames": [],
        }
        if self.gpu:
            fields["gpuDescription"] = self.gpu
        if self.local_disks:
            fields["localDiskDescription"] = "NVMe SSD Storage"
        if self.flexible:
            fields["ocpuOptions"] = {"min": 1.0, "max": 94.0}
            fields["memoryOptions"] = {
                "minInGBs": 1.0,
                "maxInGBs": 1049.0,
                "defaultPerOcpuInGBs": 16.0,
                "minPerOcpuInGBs": 1.0,
                "maxPerOcpuInGBs": 64.0,
            }
        return fields


def _gpu(name: str, ocpus: int, memory_gb: int, gpu: str, limit: str, **more: Any) -> Shape:
    return Shape(name, ocpus, memory_gb, int(name.rsplit(".", 1)[1]), gpu, limit=limit, **more)


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("VM.Standard.E5.Flex", 1, 16, processor=EPYC, limit="standard-e5-core-count", vnics=24, flexible=True),
        Shape("VM.Standard3.Flex", 1, 16, limit="standard3-core-count", vnics=24, flexible=True),
        Shape("BM.Standard.E5.192", 192, 2304, processor=EPYC, limit="standard-e5-core-count", bandwidth=100),
        _gpu("VM.GPU2.1", 12, 72, "NVIDIA® P100", "gpu2-count", bandwidth=8, vnics=12),
        _gpu("BM.GPU2.2", 28, 192, "NVIDIA® P100", "gpu2-count", bandwidth=25, vnics=28),
        _gpu("VM.GPU3.1", 6, 90, "NVIDIA® V100", "gpu3-count", bandwidth=4, vnics=6),
        _gpu("VM.GPU3.2", 12, 180, "NVIDIA® V100", "gpu3-count", bandwidth=8, vnics=12),
        _gpu("VM.GPU3.4", 24, 360, "NVIDIA® V100", "gpu3-count", bandwidth=24.6, vnics=24),
        _gpu("BM.GPU3.8", 52, 768, "NVIDIA® V100", "gpu3-count", bandwidth=25, vnics=52),
        _gpu(
            "BM.GPU4.8",
            64,
            2048,
            "NVIDIA® A100 40GB",
            "gpu4-count",
            processor=EPYC,
            local_disks=4,
            local_disks_gb=27200,
            bandwidth=50,
            vnics=64,
            rdma_ports=8,
            rdma_bandwidth=200,
        ),
        _gpu(
            "BM.GPU.B4.8",
            128,
            2048,
            "NVIDIA® A100 40GB",
            "gpu4-count",
            processor=EPYC,
            local_disks=4,
            local_disks_gb=27200,
            bandwidth=50,
            rdma_ports=16,
            rdma_bandwidth=100,
        ),
        _gpu(
            "BM.GPU.A100-v2.8",
            128,
            2048,
            "NVIDIA® A100 80GB",
            "gpu-a100-v2-count",
            processor=EPYC,
            local_disks=4,
            local_disks_gb=27200,
            bandwidth=100,
            rdma_ports=16,
            rdma_bandwidth=100,
        ),
        _gpu("VM.GPU.A10.1", 15, 240, "NVIDIA® A10", "gpu-a10-count", bandwidth=24, vnics=15),
        _gpu("VM.GPU.A10.2", 30, 480, "NVIDIA® A10", "gpu-a10-count", bandwidth=48, vnics=24),
        _gpu(
            "BM.GPU.A10.4",
            64,
            1024,
            "NVIDIA® A10",
            "gpu-a10-count",
            local_disks=2,
            local_disks_gb=7680,
            bandwidth=100,
            domains=(1, 2),
        ),
        _gpu(
            "BM.GPU.L40S.4",
            112,
            1024,
            "NVIDIA® L40S",
            "gpu-l40s-count",
            processor=SAPPHIRE_RAPIDS,
            local_disks=2,
            local_disks_gb=7680,
            bandwidth=200,
            domains=(2, 3),
        ),
        _gpu(
            "BM.GPU.H100.8",
            112,
            2048,
            "NVIDIA® H100",
            "gpu-h100-count",
            processor=SAPPHIRE_RAPIDS,
            local_disks=16,
            local_disks_gb=61440,
            bandwidth=100,
            rdma_ports=16,
            rdma_bandwidth=200,
            domains=(1, 2),
        ),
        _gpu(
            "BM.GPU.H200.8",
            112,
            3072,
            "NVIDIA® H200",
            "gpu-h200-count",
            processor=SAPPHIRE_RAPIDS,
            local_disks=8,
            local_disks_gb=30720,
            bandwidth=200,
            rdma_ports=8,
            rdma_bandwidth=400,
            domains=(3,),
        ),
        _gpu(
            "BM.GPU.B200.8",
            128,
            4096,
            "NVIDIA® B200",
            "gpu-b200-count",
            processor=SAPPHIRE_RAPIDS,
            local_disks=8,
            local_disks_gb=30720,
            bandwidth=400,
            rdma_ports=8,
            rdma_bandwidth=400,
            domains=(3,),
        ),
        _gpu(
            "BM.GPU.GB200.4",
            144,
            960,
            "NVIDIA® GB200",
            "gpu-gb200-count",
            processor=GRACE,
            local_disks=4,
            local_disks_gb=30720,
            bandwidth=400,
            vnics=512,
            rdma_ports=4,
            rdma_bandwidth=400,
            threads_per_ocpu=1,
            domains=(1,),
        ),
        _gpu(
            "BM.GPU.MI300X.8",
            112,
            2048,
            "AMD Instinct™ MI300X",
            "gpu-mi300x-count",
            processor=SAPPHIRE_RAPIDS,
            local_disks=8,
            local_disks_gb=30720,
            bandwidth=100,
            rdma_ports=8,
            rdma_bandwidth=400,
            domains=(1,),
        ),
    )
}
