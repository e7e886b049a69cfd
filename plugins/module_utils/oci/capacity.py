# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How much room an account has for further nodes: limits, hosts, addresses. `core/plan/capacity.py` judges it.

Nothing here fails: a deployment may come about although one of these could not be asked. What is not known is data too,
{"unknown": why}.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..core.catalog.limits import BLOCK_VOLUMES, LOAD_BALANCERS, limit_of
from ..core.catalog.shapes import find_shape
from .client import Connection, all_pages
from .errors import is_connection_error, is_service_error

try:
    import oci
except ImportError:  # reported by the module (module.py)
    oci = None

# What can be read; the values of the module's option `room`.
CHECKS = ("limits", "volumes", "capacity", "addresses", "load_balancer")
# OCI keeps the first two addresses of a subnet and its last ("Overview of VCNs and Subnets").
RESERVED_ADDRESSES = 3


def read_room(
    connection: Connection,
    compartment_id: str,
    node_shape: str,
    shapes: Mapping[str, Mapping[str, Any]],
    subnets: Iterable[str],
    checks: Iterable[str],
) -> dict[str, Any]:
    """Return what is left, asked all at once.

    shapes   the shape as each availability domain that has it offers it
    subnets  OCIDs of those whose free addresses count
    checks   some of CHECKS

    limits, volumes  by availability domain a list of {name, available, quota} or {name, unknown}; quota is the one of the
                     compartment, None without
    capacity         by availability domain {status, count} or {unknown}
    load_balancers   like one entry of limits
    addresses        by subnet {name, free} or {unknown}
    """
    asked = set(checks)
    with ThreadPoolExecutor(max_workers=16) as threads:

        def limits_of(service: str, names: Mapping[str, list[str]]) -> dict[str, list[Future[dict[str, Any]]]]:
            return {
                domain: [
                    threads.submit(_limit, connection, compartment_id, service, name, domain) for name in of_domain
                ]
                for domain, of_domain in names.items()
            }

        waiting: dict[str, Any] = {}
        if "limits" in asked:
            names = {domain: _limit_names(node_shape, offer) for domain, offer in shapes.items()}
            waiting["limits"] = limits_of("compute", names)
        if "volumes" in asked:
            waiting["volumes"] = limits_of(BLOCK_VOLUMES[0], {domain: [BLOCK_VOLUMES[1]] for domain in shapes})
        if "load_balancer" in asked:
            waiting["load_balancers"] = threads.submit(_limit, connection, compartment_id, *LOAD_BALANCERS)
        if "capacity" in asked:
            waiting["capacity"] = {
                domain: threads.submit(_capacity, connection, node_shape, domain) for domain in shapes
            }
        if "addresses" in asked:
            waiting["addresses"] = {subnet: threads.submit(_addresses, connection, subnet) for subnet in set(subnets)}
        return {name: _answers(value) for name, value in waiting.items()}


def _answers(waiting: Any) -> Any:
    if isinstance(waiting, dict):
        return {key: _answers(value) for key, value in waiting.items()}
    if isinstance(waiting, list):
        return [_answers(value) for value in waiting]
    return waiting.result()


def _limit_names(node_shape: str, offer: Mapping[str, Any]) -> list[str]:
    """The service itself says which limits count for a shape; else the family of the shape's name tells."""
    shape = find_shape(node_shape)
    by_family = limit_of(shape, 1)["name"] if shape else None
    return list(offer.get("quota_names") or ()) or ([by_family] if by_family else [])


def _limit(
    connection: Connection, compartment_id: str, service: str, name: str, domain: str | None = None
) -> dict[str, Any]:
    """What is left of a limit: of the account's (asked for the tenancy), and of the compartment's quota.

    Who may not ask for the whole tenancy may still ask for the compartment.
    """
    compartment = _availability(connection, compartment_id, service, name, domain)
    if connection.tenancy in ("", compartment_id):
        answers = [compartment]
    else:
        answers = [compartment, _availability(connection, connection.tenancy, service, name, domain)]
    left = [answer["available"] for answer in answers if answer.get("available") is not None]
    if not left:
        unknown = answers[-1].get("unknown") or "the service gives no number"
        return {"name": name, "unknown": unknown}
    return {"name": name, "available": min(left), "quota": compartment.get("quota")}


def _availability(
    connection: Connection, compartment_id: str, service: str, name: str, domain: str | None
) -> dict[str, Any]:
    """One answer of the limits service: {available, quota}, or {unknown}.

    A limit is one of an availability domain or one of the region, and to name a domain wrongly is a 400: then it is asked
    the other way. A limit of which the service keeps no count is a 404, and so is one that the caller may not see.
    """
    client = connection.client("limits")
    unknown = ""
    for scope in ({"availability_domain": domain}, {}) if domain else ({},):
        try:
            answer = client.get_resource_availability(service, name, compartment_id, **scope).data
            available = answer.available if answer.available is not None else answer.fractional_availability
            return {"available": _whole(available), "quota": _whole(answer.effective_quota_value)}
        except Exception as error:
            unknown = _why(error)
            if is_service_error(error, 400):
                continue
            break
    return {"unknown": unknown}


def _capacity(connection: Connection, node_shape: str, domain: str) -> dict[str, Any]:
    """Whether hosts are free now. The report is made for the tenancy's root compartment and reserves nothing."""
    if not connection.tenancy:
        return {"unknown": "the sign-in does not name the tenancy"}
    models = oci.core.models
    details = models.CreateComputeCapacityReportDetails(
        compartment_id=connection.tenancy,
        availability_domain=domain,
        shape_availabilities=[models.CreateCapacityReportShapeAvailabilityDetails(instance_shape=node_shape)],
    )
    try:
        report = connection.client("compute").create_compute_capacity_report(details).data
        found = next((item for item in report.shape_availabilities or [] if item.instance_shape == node_shape), None)
        if found is None:
            return {"unknown": "the report does not name the shape"}
        return {"status": found.availability_status, "count": found.available_count}
    except Exception as error:
        return {"unknown": _why(error)}


def _addresses(connection: Connection, subnet_id: str) -> dict[str, Any]:
    """How many addresses of a subnet are free."""
    client = connection.client("virtual_network")
    try:
        subnet = client.get_subnet(subnet_id).data
        used = sum(1 for _address in all_pages(client.list_private_ips, subnet_id=subnet_id, limit=1000))
        blocks = subnet.ipv4_cidr_blocks or [subnet.cidr_block]
        whole = sum(max(0, ipaddress.ip_network(block).num_addresses - RESERVED_ADDRESSES) for block in blocks)
    except Exception as error:
        return {"unknown": _why(error)}
    return {"name": subnet.display_name, "free": max(0, whole - used)}


def _whole(number: float | None) -> int | None:
    return int(number) if number is not None and math.isfinite(number) else None


def _why(error: Exception) -> str:
    """Why there is no answer, in a few words."""
    if is_service_error(error):
        return f"HTTP {error.status} {error.code or ''}".rstrip()  # type: ignore[attr-defined]
    if is_connection_error(error):
        return "no answer"
    return f"an answer that cannot be read ({type(error).__name__})"
