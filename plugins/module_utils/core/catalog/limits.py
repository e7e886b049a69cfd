# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which service limits of OCI count what a deployment takes."""

from __future__ import annotations

from typing import TypedDict

from .shapes import Shape

# By the shape's name without VM or BM (OCI documentation, "Compute Quotas"). Of other shapes the API tells it
# (ListShapes, quotaNames). All count GPUs, not instances, in one availability domain.
_LIMITS = (
    ("GPU2", "gpu2-count"),
    ("GPU3", "gpu3-count"),
    ("GPU4", "gpu4-count"),
    ("GPU.A100-v2", "gpu-a100-v2-count"),
    ("GPU.A10", "gpu-a10-count"),
    ("GPU.H100", "gpu-h100-count"),
    ("GPU.H200", "gpu-h200-count"),
    ("GPU.B200", "gpu-b200-count"),
    ("GPU.MI300X", "gpu-mi300x-count"),
)

# Service and name (OCI documentation, "Service Limits"). The first counts the gigabytes of boot and block volumes in one
# availability domain, the second the flexible load balancers of the region.
BLOCK_VOLUMES = ("block-storage", "total-storage-gb")
LOAD_BALANCERS = ("load-balancer", "lb-flexible-count")


class Limit(TypedDict):
    """A service limit of OCI, None where it is not known, and the GPUs that are taken of it."""

    name: str | None
    gpus: int


def limit_of(shape: Shape, nodes: int) -> Limit:
    """Return the limit's name (None where it is not known) and how many GPUs of it the nodes take."""
    family = shape.name.partition(".")[2].rpartition(".")[0]
    name = next((limit for part, limit in _LIMITS if family == part), None)
    return {"name": name, "gpus": shape.gpus * nodes}
