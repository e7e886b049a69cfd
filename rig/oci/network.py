# SPDX-License-Identifier: GPL-3.0-or-later
"""Core services, version 20160918, the network: subnets, VCNs, private IPs.

Facts imitated:
- a subnet without an availability domain is regional; the first two addresses of a subnet and its last are OCI's own;
- the private IPs of a subnet are listed one by one, primary and secondary; OCI's pod network takes 31 for each VNIC of
  a node when the node starts.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from rig.oci import errors
from rig.oci.service import Answer, Call, Operations, page
from rig.oci.state import Subnet, Tenancy, timestamp

PREFIX = "/20160918"
PODS_OF_VNIC = 31


def register(operations: Operations) -> None:
    for name, path, handler in (
        ("ListSubnets", "/subnets", list_subnets),
        ("GetSubnet", "/subnets/{subnet_id}", get_subnet),
        ("ListVcns", "/vcns", list_vcns),
        ("GetVcn", "/vcns/{vcn_id}", get_vcn),
        ("ListPrivateIps", "/privateIps", list_private_ips),
    ):
        operations.add("core", name, "GET", PREFIX + path, handler)


async def list_subnets(call: Call) -> Answer:
    call.compartment()
    name, vcn = call.query("displayName"), call.query("vcnId")
    found, headers = page(
        call,
        call.tenancy.subnets.values(),
        lambda subnet: (not name or subnet.name == name) and (not vcn or vcn == call.tenancy.vcn_id),
    )
    return Answer([_subnet(call.tenancy, subnet) for subnet in found], headers=headers)


async def get_subnet(call: Call) -> Answer:
    subnet = call.tenancy.subnet(call.parameters["subnet_id"])
    if subnet is None:
        raise errors.not_found()
    return Answer(_subnet(call.tenancy, subnet))


def _subnet(tenancy: Tenancy, subnet: Subnet) -> dict[str, Any]:
    return {
        "id": subnet.id,
        "compartmentId": tenancy.compartment_id,
        "vcnId": tenancy.vcn_id,
        "displayName": subnet.name,
        "availabilityDomain": None,
        "cidrBlock": subnet.cidr,
        "ipv4CidrBlocks": [subnet.cidr],
        "lifecycleState": "AVAILABLE",
        "prohibitInternetIngress": subnet.private,
        "prohibitPublicIpOnVnic": subnet.private,
        "routeTableId": tenancy.vcn_id.replace("vcn", "routetable"),
        "securityListIds": [],
        "virtualRouterIp": str(ipaddress.ip_network(subnet.cidr)[1]),
        "virtualRouterMac": "00:00:17:00:00:01",
        "timeCreated": timestamp(tenancy.created),
        "freeformTags": {},
        "definedTags": {},
    }


async def list_vcns(call: Call) -> Answer:
    call.compartment()
    found, headers = page(call, [call.tenancy])
    return Answer([_vcn(tenancy) for tenancy in found], headers=headers)


async def get_vcn(call: Call) -> Answer:
    if call.parameters["vcn_id"] != call.tenancy.vcn_id:
        raise errors.not_found()
    return Answer(_vcn(call.tenancy))


def _vcn(tenancy: Tenancy) -> dict[str, Any]:
    return {
        "id": tenancy.vcn_id,
        "compartmentId": tenancy.compartment_id,
        "cidrBlock": "10.0.0.0/16",
        "cidrBlocks": ["10.0.0.0/16"],
        "displayName": f"vcn-{tenancy.name}",
        "lifecycleState": "AVAILABLE",
        "timeCreated": timestamp(tenancy.created),
        "freeformTags": {},
        "definedTags": {},
    }


async def list_private_ips(call: Call) -> Answer:
    """Those of a subnet; the filters by VNIC and by address are not here."""
    subnet = call.tenancy.subnet(call.required("subnetId"))
    if subnet is None:
        raise errors.not_found()
    hosts = list(ipaddress.ip_network(subnet.cidr).hosts())[1:]
    found, headers = page(call, hosts[: used_addresses(call.tenancy, subnet)])
    return Answer([_private_ip(call.tenancy, subnet, str(address)) for address in found], headers=headers)


def used_addresses(tenancy: Tenancy, subnet: Subnet) -> int:
    """How many addresses of the subnet the machines of all pools have, for themselves and for their pods."""
    used = 0
    for pool in tenancy.pools.values():
        for node in pool.nodes:
            if node.error is not None or node.shared:
                continue
            used += node.subnet_id == subnet.id
            network = node.pool["nodeConfigDetails"].get("nodePoolPodNetworkOptionDetails") or {}
            if subnet.id in (network.get("podSubnetIds") or []):
                used += -(-network.get("maxPodsPerNode", 110) // PODS_OF_VNIC) * PODS_OF_VNIC
    return used


def _private_ip(tenancy: Tenancy, subnet: Subnet, address: str) -> dict[str, Any]:
    number = address.replace(".", "-")
    return {
        "id": subnet.id.replace("ocid1.subnet", "ocid1.privateip") + number,
        "availabilityDomain": None,
        "compartmentId": tenancy.compartment_id,
        "displayName": f"ip-{number}",
        "ipAddress": address,
        "isPrimary": True,
        "subnetId": subnet.id,
        "vnicId": subnet.id.replace("ocid1.subnet", "ocid1.vnic") + number,
        "timeCreated": timestamp(tenancy.created),
        "freeformTags": {},
        "definedTags": {},
    }
