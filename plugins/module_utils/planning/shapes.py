# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""OCI's GPU shapes, and what a node of a shape leaves to a pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """One OCI compute shape with GPUs.

    gpu_memory_gib       memory of one GPU as CUDA reports it, not as sold; None when not known
    compute_capability   CUDA compute capability as (major, minor); None for other vendors and unknown GPUs
    architecture         "amd64" or "arm64", as Kubernetes names it
    memory_gb            main memory as OCI states it (OCI's GB are GiB)
    nvme_gb              size of all local drives together
    usd_per_gpu_hour     list price; None when not known
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
        """vCPU per OCPU: 2 on x86, 1 on Arm."""
        raise NotImplementedError

    @property
    def usd_per_hour(self) -> float | None:
        """List price of one node."""
        raise NotImplementedError


@dataclass(frozen=True)
class Allocatable:
    """What pods of ours can request on a node: cpu in vCPU, memory in GiB, ephemeral storage in GiB."""

    cpu: float
    ocpus: float
    memory_gib: float
    ephemeral_gib: float


def find_shape(name: str) -> Shape | None:
    """The shape of that name. A GPU shape not in the table is derived from its name (known=False); None when it is no GPU shape."""
    raise NotImplementedError


def shape_from_listing(listing: Mapping[str, Any]) -> Shape | None:
    """The shape that OCI's ListShapes describes (SDK field names or JSON names), completed from the table."""
    raise NotImplementedError


def allocatable(shape: Shape, boot_volume_gb: int = 200, image_gib: float = 25.0) -> Allocatable:
    """What a node leaves to one pod after the kubelet's reservations and the node's own pods; conservative."""
    raise NotImplementedError
