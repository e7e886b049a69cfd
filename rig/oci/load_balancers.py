# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers and network load balancers, as the cluster's cloud controller reported them.

Facts imitated (oci-cloud-controller-manager, pkg/cloudprovider/providers/oci/load_balancer.go, GetLoadBalancerName):
- the display name of a load balancer is the UID of its Service, that of a network load balancer <namespace>/<name>/<UID>;
- both bill until they are deleted, whatever becomes of the cluster.
"""

from __future__ import annotations

from typing import Any

from rig.oci import errors
from rig.oci.service import Answer, Call, Operations, page
from rig.oci.state import LoadBalancer, Tenancy, timestamp

PREFIX = "/20170115"
NETWORK_PREFIX = "/20200501"


def register(operations: Operations) -> None:
    """Add both services."""
    operations.add("load_balancer", "ListLoadBalancers", "GET", PREFIX + "/loadBalancers", list_load_balancers)
    operations.add("load_balancer", "GetLoadBalancer", "GET", PREFIX + "/loadBalancers/{id}", get_load_balancer)
    path = NETWORK_PREFIX + "/networkLoadBalancers"
    operations.add("network_load_balancer", "ListNetworkLoadBalancers", "GET", path, list_network_load_balancers)


def _found(call: Call, network: bool) -> tuple[list[LoadBalancer], dict[str, str]]:
    call.compartment()
    name, state = call.query("displayName"), call.query("lifecycleState")
    return page(
        call,
        [balancer for balancer in call.tenancy.load_balancers.values() if balancer.network == network],
        lambda balancer: (not name or balancer.name == name) and state in (None, "", "ACTIVE"),
    )


async def list_load_balancers(call: Call) -> Answer:
    found, headers = _found(call, network=False)
    return Answer([_classic(call.tenancy, balancer) for balancer in found], headers=headers)


async def get_load_balancer(call: Call) -> Answer:
    balancer = call.tenancy.load_balancers.get(call.parameters["id"])
    if balancer is None or balancer.network:
        raise errors.not_found()
    return Answer(_classic(call.tenancy, balancer))


async def list_network_load_balancers(call: Call) -> Answer:
    found, headers = _found(call, network=True)
    return Answer({"items": [_network(call.tenancy, balancer) for balancer in found]}, headers=headers)


def _common(tenancy: Tenancy, balancer: LoadBalancer) -> dict[str, Any]:
    return {
        "id": balancer.id,
        "compartmentId": tenancy.compartment_id,
        "displayName": balancer.name,
        "lifecycleState": "ACTIVE",
        "timeCreated": timestamp(balancer.created),
        "ipAddresses": [{"ipAddress": balancer.address, "isPublic": False}],
        "isPrivate": True,
        "networkSecurityGroupIds": [],
        "listeners": {},
        "backendSets": {},
        "freeformTags": {},
        "definedTags": {},
    }


def _classic(tenancy: Tenancy, balancer: LoadBalancer) -> dict[str, Any]:
    return {
        **_common(tenancy, balancer),
        "shapeName": "flexible",
        "shapeDetails": {"minimumBandwidthInMbps": 10, "maximumBandwidthInMbps": 100},
        "subnetIds": [tenancy.subnets["load-balancers"].id],
    }


def _network(tenancy: Tenancy, balancer: LoadBalancer) -> dict[str, Any]:
    return {**_common(tenancy, balancer), "nlbIpVersion": "IPV4", "subnetId": tenancy.subnets["load-balancers"].id}
