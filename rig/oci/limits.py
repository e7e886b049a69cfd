# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits, version 20190729: how much of a service limit is left; and what counts against it.

Facts imitated:
- the unit of GPU limits is GPUs, not machines; they are limits of one availability domain;
- availabilityDomain must be given for those and must not be given for limits of the region: else 400 InvalidParameter;
- a limit of which the availability is not known is 404;
- asked for the tenancy's root compartment, the answer is of the limit; for another compartment, its quota counts too, and
  effectiveQuotaValue is there only where there is one;
- a launch beyond the limit is 400 LimitExceeded ("The following service limits were exceeded: <name>."), one beyond
  the compartment's quota 400 QuotaExceeded.
"""

from __future__ import annotations

import dataclasses

from rig.oci import errors
from rig.oci.errors import ServiceError
from rig.oci.service import Answer, Call, Operations
from rig.oci.shapes import SHAPES
from rig.oci.state import Node, Tenancy

PREFIX = "/20190729"


@dataclasses.dataclass(frozen=True)
class Limit:
    """A service limit; `scoped`: of one availability domain."""

    service: str
    amount: int
    scoped: bool = True


LIMITS = {
    **{shape.limit: Limit("compute", 64) for shape in SHAPES.values() if shape.gpus},
    "standard-e5-core-count": Limit("compute", 500),
    "standard3-core-count": Limit("compute", 500),
    "total-storage-gb": Limit("block-storage", 50_000),
    "lb-flexible-count": Limit("load-balancer", 10, scoped=False),
}


def register(operations: Operations) -> None:
    path = PREFIX + "/services/{service}/limits/{limit}/resourceAvailability"
    operations.add("limits", "GetResourceAvailability", "GET", path, get_resource_availability)


async def get_resource_availability(call: Call) -> Answer:
    compartment = call.compartment(root=True)
    name, domain = call.parameters["limit"], call.query("availabilityDomain")
    limit = LIMITS.get(name)
    if limit is None or limit.service != call.parameters["service"]:
        raise errors.not_found()
    if limit.scoped != bool(domain):
        raise errors.invalid_parameter(
            f"availabilityDomain is {'needed for' if limit.scoped else 'not possible with'} the limit {name}"
        )
    if domain and domain not in call.tenancy.domains:
        raise errors.invalid_parameter(f"availabilityDomain {domain} does not exist")
    amount = call.tenancy.limits.get(name, limit.amount)
    taken = used(call.tenancy, name, domain)
    quota = call.tenancy.quotas.get(name) if compartment == call.tenancy.compartment_id else None
    left = max(min(amount, amount if quota is None else quota) - taken, 0)
    return Answer(
        {
            "used": taken,
            "available": left,
            "fractionalUsage": float(taken),
            "fractionalAvailability": float(left),
            "effectiveQuotaValue": quota,
        }
    )


def check_launch(tenancy: Tenancy, node: Node) -> ServiceError | None:
    """The error of a launch that goes beyond the limit of its shape; the node's own entry counts."""
    name = SHAPES[node.pool["nodeShape"]].limit
    taken = used(tenancy, name, node.availability_domain)
    if taken > tenancy.limits.get(name, LIMITS[name].amount):
        return ServiceError(400, "LimitExceeded", f"The following service limits were exceeded: {name}.")
    if name in tenancy.quotas and taken > tenancy.quotas[name]:
        return ServiceError(400, "QuotaExceeded", f"The following compartment quotas were exceeded: {name}.")
    return None


def used(tenancy: Tenancy, name: str, domain: str | None) -> int:
    """How much of a limit the account has in this availability domain."""
    if name == "total-storage-gb":
        return sum(one.size_gb for one in tenancy.volumes.values() if one.availability_domain == domain)
    total = 0.0
    for pool in tenancy.pools.values():
        for node in pool.nodes:
            shape = SHAPES[node.pool["nodeShape"]]
            if shape.limit == name and node.availability_domain == domain and node.error is None:
                total += shape.gpus or (node.pool.get("nodeShapeConfig") or {}).get("ocpus", shape.ocpus)
    return int(total)
