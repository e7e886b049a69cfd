# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity, version 20160918, as far as a deployment asks it.

Facts imitated: availability domains are listed for the tenancy or a compartment of it; fault domains are FAULT-DOMAIN-1
to 3; with compartmentIdInSubtree, which takes the tenancy's OCID only, all compartments below it are listed.
"""

from __future__ import annotations

from typing import Any

from rig.oci import errors
from rig.oci.identifiers import REGION, REGION_KEY
from rig.oci.node_pools import FAULT_DOMAINS
from rig.oci.service import Answer, Call, Operations
from rig.oci.state import timestamp

PREFIX = "/20160918"


def register(operations: Operations) -> None:
    for name, path, handler in (
        ("ListAvailabilityDomains", "/availabilityDomains", list_availability_domains),
        ("ListFaultDomains", "/faultDomains", list_fault_domains),
        ("ListCompartments", "/compartments", list_compartments),
        ("GetCompartment", "/compartments/{compartment_id}", get_compartment),
        ("GetTenancy", "/tenancies/{tenancy_id}", get_tenancy),
        ("ListRegionSubscriptions", "/tenancies/{tenancy_id}/regionSubscriptions", list_region_subscriptions),
    ):
        operations.add("identity", name, "GET", PREFIX + path, handler)


async def list_availability_domains(call: Call) -> Answer:
    compartment = call.compartment(root=True)
    return Answer(
        [
            {"name": name, "id": f"ocid1.availabilitydomain.oc1..{name.lower()}", "compartmentId": compartment}
            for name in call.tenancy.domains
        ]
    )


async def list_fault_domains(call: Call) -> Answer:
    compartment = call.compartment(root=True)
    domain = call.required("availabilityDomain")
    if domain not in call.tenancy.domains:
        raise errors.invalid_parameter(f"availabilityDomain {domain} does not exist")
    return Answer(
        [
            {
                "name": name,
                "id": f"ocid1.faultdomain.oc1..{domain.lower()}.{name.lower()}",
                "compartmentId": compartment,
                "availabilityDomain": domain,
            }
            for name in FAULT_DOMAINS
        ]
    )


async def list_compartments(call: Call) -> Answer:
    call.compartment(root=True)
    subtree = (call.query("compartmentIdInSubtree") or "false").lower() == "true"
    if subtree and call.query("compartmentId") != call.tenancy.tenancy_id:
        raise errors.invalid_parameter("compartmentIdInSubtree takes the tenancy's OCID")
    below = call.query("compartmentId") == call.tenancy.tenancy_id
    return Answer([_compartment(call, root=False)] if below else [])


async def get_compartment(call: Call) -> Answer:
    ocid = call.parameters["compartment_id"]
    if ocid not in (call.tenancy.compartment_id, call.tenancy.tenancy_id):
        raise errors.not_found()
    return Answer(_compartment(call, root=ocid == call.tenancy.tenancy_id))


def _compartment(call: Call, *, root: bool) -> dict[str, Any]:
    tenancy = call.tenancy
    return {
        "id": tenancy.tenancy_id if root else tenancy.compartment_id,
        "compartmentId": None if root else tenancy.tenancy_id,
        "name": f"tenancy-{tenancy.name}" if root else tenancy.name,
        "description": "a compartment of the rig",
        "timeCreated": timestamp(tenancy.created),
        "lifecycleState": "ACTIVE",
        "isAccessible": True,
        "freeformTags": {},
        "definedTags": {},
    }


async def get_tenancy(call: Call) -> Answer:
    _own_tenancy(call)
    return Answer(
        {
            "id": call.tenancy.tenancy_id,
            "name": f"tenancy-{call.tenancy.name}",
            "description": "a tenancy of the rig",
            "homeRegionKey": REGION_KEY.upper(),
            "freeformTags": {},
            "definedTags": {},
        }
    )


async def list_region_subscriptions(call: Call) -> Answer:
    _own_tenancy(call)
    return Answer([{"regionKey": REGION_KEY.upper(), "regionName": REGION, "status": "READY", "isHomeRegion": True}])


def _own_tenancy(call: Call) -> None:
    if call.parameters["tenancy_id"] != call.tenancy.tenancy_id:
        raise errors.not_found()
