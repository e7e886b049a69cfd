# SPDX-License-Identifier: GPL-3.0-or-later
"""Core services, version 20160918: shapes, images and instances of Compute, block volumes.

Facts imitated:
- ListShapes with an availability domain names what that domain offers: none for a shape it does not have;
- a capacity report is asked for the tenancy's root compartment; it says AVAILABLE, OUT_OF_HOST_CAPACITY or
  HARDWARE_NOT_SUPPORTED for each shape, and reserves nothing;
- a node's instance bears the OCID of the node entry; one that failed to launch does not exist;
- block volumes and compute clusters lie in one availability domain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rig.oci import errors
from rig.oci.identifiers import REGION_KEY, new_ocid
from rig.oci.service import Answer, Call, Operations, page
from rig.oci.shapes import SHAPES
from rig.oci.state import ComputeCluster, Node, Tenancy, Volume, now, timestamp

PREFIX = "/20160918"
MANY = 100
INSTANCE_STATES = {"CREATING": "STARTING", "ACTIVE": "RUNNING", "UPDATING": "RUNNING", "DELETING": "TERMINATING"}


Capacity = Callable[[Tenancy, str], int | None]
"""How many machines of LaunchInstance's resource can be had; None: as many as are asked for."""


def register(operations: Operations, capacity: Capacity) -> None:
    async def create_compute_capacity_report(call: Call) -> Answer:
        return _capacity_report(call, capacity)

    operations.add(
        "core",
        "CreateComputeCapacityReport",
        "POST",
        PREFIX + "/computeCapacityReports",
        create_compute_capacity_report,
    )
    operations.add("core", "CreateComputeCluster", "POST", PREFIX + "/computeClusters", create_compute_cluster)
    for name, path, handler in (
        ("ListShapes", "/shapes", list_shapes),
        ("ListImages", "/images", list_images),
        ("GetImage", "/images/{image_id}", get_image),
        ("ListInstances", "/instances", list_instances),
        ("GetInstance", "/instances/{instance_id}", get_instance),
        ("GetComputeCluster", "/computeClusters/{compute_cluster_id}", get_compute_cluster),
        ("ListVolumes", "/volumes", list_volumes),
        ("GetVolume", "/volumes/{volume_id}", get_volume),
    ):
        operations.add("core", name, "GET", PREFIX + path, handler)


async def list_shapes(call: Call) -> Answer:
    call.compartment(root=True)
    number = _domain_number(call)
    wanted = call.query("shape")
    found, headers = page(
        call,
        SHAPES.values(),
        lambda shape: (number is None or number in shape.domains) and (not wanted or shape.name == wanted),
    )
    return Answer([shape.as_json() for shape in found], headers=headers)


def _domain_number(call: Call) -> int | None:
    domain = call.query("availabilityDomain")
    if not domain:
        return None
    if domain not in call.tenancy.domains:
        raise errors.invalid_parameter(f"availabilityDomain {domain} does not exist")
    return call.tenancy.domains.index(domain) + 1


# --- capacity -------------------------------------------------------------------------------------------------------


def _capacity_report(call: Call, capacity: Capacity) -> Answer:
    body = call.json()
    for name in ("compartmentId", "availabilityDomain", "shapeAvailabilities"):
        if not body.get(name):
            raise errors.missing_parameter(name)
    domain = body["availabilityDomain"]
    if body["compartmentId"] != call.tenancy.tenancy_id or domain not in call.tenancy.domains:
        raise errors.not_found()
    number = call.tenancy.domains.index(domain) + 1
    items = []
    for wanted in body["shapeAvailabilities"]:
        shape = SHAPES.get(wanted.get("instanceShape", ""))
        item = {key: wanted[key] for key in ("instanceShape", "faultDomain", "instanceShapeConfig") if key in wanted}
        if shape is None or number not in shape.domains:
            item |= {"availabilityStatus": "HARDWARE_NOT_SUPPORTED", "availableCount": 0}
        else:
            left = capacity(call.tenancy, f"{shape.name} {domain}")
            count = MANY if left is None else left
            item |= {"availabilityStatus": "AVAILABLE" if count else "OUT_OF_HOST_CAPACITY", "availableCount": count}
        items.append(item)
    return Answer(
        {
            "compartmentId": body["compartmentId"],
            "availabilityDomain": domain,
            "shapeAvailabilities": items,
            "timeCreated": timestamp(now()),
        }
    )


# --- images ---------------------------------------------------------------------------------------------------------


async def list_images(call: Call) -> Answer:
    call.compartment(root=True)
    name = call.query("displayName")
    found, headers = page(call, call.tenancy.images.items(), lambda item: not name or item[1] == name)
    return Answer([_image(call.tenancy, ocid, name) for ocid, name in found], headers=headers)


async def get_image(call: Call) -> Answer:
    ocid = call.parameters["image_id"]
    if ocid not in call.tenancy.images:
        raise errors.not_found()
    return Answer(_image(call.tenancy, ocid, call.tenancy.images[ocid]))


def _image(tenancy: Tenancy, ocid: str, name: str) -> dict[str, Any]:
    return {
        "id": ocid,
        "compartmentId": None,
        "displayName": name,
        "createImageAllowed": True,
        "lifecycleState": "AVAILABLE",
        "operatingSystem": "Oracle Linux",
        "operatingSystemVersion": name.split("-")[2].split(".")[0],
        "listingType": "NONE",
        "sizeInMBs": 47694,
        "timeCreated": timestamp(tenancy.created),
        "freeformTags": {},
        "definedTags": {},
    }


# --- instances ------------------------------------------------------------------------------------------------------


def _machines(tenancy: Tenancy) -> list[Node]:
    return [node for pool in tenancy.pools.values() for node in pool.nodes if node.error is None]


async def list_instances(call: Call) -> Answer:
    call.compartment()
    name, domain = call.query("displayName"), call.query("availabilityDomain")
    states = call.request.query.getall("lifecycleState", [])
    found, headers = page(
        call,
        _machines(call.tenancy),
        lambda node: (
            (not name or node.name == name)
            and (not domain or node.availability_domain == domain)
            and (not states or INSTANCE_STATES[node.state] in states)
        ),
    )
    return Answer([_instance(call.tenancy, node) for node in found], headers=headers)


async def get_instance(call: Call) -> Answer:
    for node in _machines(call.tenancy):
        if node.id == call.parameters["instance_id"]:
            return Answer(_instance(call.tenancy, node))
    raise errors.not_found()


def _instance(tenancy: Tenancy, node: Node) -> dict[str, Any]:
    shape = SHAPES[node.pool["nodeShape"]]
    config = node.pool.get("nodeShapeConfig") or {}
    return {
        "id": node.id,
        "availabilityDomain": node.availability_domain,
        "compartmentId": tenancy.compartment_id,
        "displayName": node.name,
        "faultDomain": node.fault_domain,
        "imageId": node.pool["nodeSourceDetails"]["imageId"],
        "lifecycleState": INSTANCE_STATES[node.state],
        "metadata": node.pool.get("nodeMetadata") or {},
        "region": REGION_KEY,
        "shape": shape.name,
        "shapeConfig": {
            "ocpus": config.get("ocpus", shape.ocpus),
            "memoryInGBs": config.get("memoryInGBs", shape.memory_gb),
            "gpus": shape.gpus,
        },
        "timeCreated": timestamp(node.launched),
        "freeformTags": node.pool["nodeConfigDetails"].get("freeformTags") or {},
        "definedTags": {"Oracle-Tags": {"CreatedBy": node.pool["id"]}},
    }


# --- block volumes --------------------------------------------------------------------------------------------------


async def list_volumes(call: Call) -> Answer:
    call.compartment()
    name, domain = call.query("displayName"), call.query("availabilityDomain")
    found, headers = page(
        call,
        call.tenancy.volumes.values(),
        lambda volume: (not name or volume.name == name) and (not domain or volume.availability_domain == domain),
    )
    return Answer([_volume(call.tenancy, volume) for volume in found], headers=headers)


async def get_volume(call: Call) -> Answer:
    volume = call.tenancy.volumes.get(call.parameters["volume_id"])
    if volume is None:
        raise errors.not_found()
    return Answer(_volume(call.tenancy, volume))


def _volume(tenancy: Tenancy, volume: Volume) -> dict[str, Any]:
    return {
        "id": volume.id,
        "availabilityDomain": volume.availability_domain,
        "compartmentId": tenancy.compartment_id,
        "displayName": volume.name,
        "lifecycleState": "AVAILABLE",
        "sizeInGBs": volume.size_gb,
        "sizeInMBs": volume.size_gb * 1024,
        "vpusPerGB": 10,
        "isHydrated": True,
        "timeCreated": timestamp(volume.created),
        "freeformTags": {},
        "definedTags": {},
    }


# --- compute clusters -----------------------------------------------------------------------------------------------


async def create_compute_cluster(call: Call) -> Answer:
    body = call.json()
    for name in ("compartmentId", "availabilityDomain"):
        if not body.get(name):
            raise errors.missing_parameter(name)
    domain = body["availabilityDomain"]
    if body["compartmentId"] != call.tenancy.compartment_id or domain not in call.tenancy.domains:
        raise errors.not_found()
    ocid = new_ocid("computecluster")
    name = body.get("displayName") or f"computecluster{timestamp(now())}"
    made = call.tenancy.compute_clusters[ocid] = ComputeCluster(ocid, name, domain)
    return Answer(_compute_cluster(call.tenancy, made))


async def get_compute_cluster(call: Call) -> Answer:
    found = call.tenancy.compute_clusters.get(call.parameters["compute_cluster_id"])
    if found is None:
        raise errors.not_found()
    return Answer(_compute_cluster(call.tenancy, found))


def _compute_cluster(tenancy: Tenancy, found: ComputeCluster) -> dict[str, Any]:
    return {
        "id": found.id,
        "availabilityDomain": found.availability_domain,
        "compartmentId": tenancy.compartment_id,
        "displayName": found.name,
        "lifecycleState": "ACTIVE",
        "timeCreated": timestamp(found.created),
        "timeUpdated": timestamp(found.created),
        "freeformTags": {},
        "definedTags": {},
    }
