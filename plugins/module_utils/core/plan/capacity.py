# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is there room for the nodes that are still to be made, and in which availability domain do all of them fit?

A group is never split: pipeline stages talk to each other for every token, and volumes lie in one domain.
Only what was read is judged (`oci/capacity.py`): what a recipe skips is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..fault import Findings
from .placement import Placement, short_domain

# OCI's pod network gives a node one further VNIC for every 31 pods, takes 31 addresses for each when the node starts, and
# allows 110 pods (OKE documentation, "OCI VCN-Native Pod Networking CNI plugin").
PODS_OF_VNIC = 31
MOST_PODS = 110
# Of a shape that the service does not list: the node's own and one for pods.
FEWEST_VNICS = 2

LIMITS_POLICY = "Allow group <yours> to read resource-availability in tenancy"
CAPACITY_POLICY = "Allow group <yours> to manage compute-capacity-reports in tenancy"
NETWORK_POLICY = "Allow group <yours> to use virtual-network-family in compartment <of the network>"


@dataclass(frozen=True)
class Need:
    """What nodes take. nodes: those still to be made; gpus and volumes_gb: of each, boot volume included."""

    shape: str
    nodes: int
    gpus: int
    volumes_gb: int


def settle(found: Placement, cluster: Mapping[str, Any], need: Need, findings: Findings) -> Placement:
    """Return the placement where all nodes fit, and where else they would; what is short is a fault.

    cluster: of `oke_cluster_info`

    Of the places that were found the first wins in which nothing is short; one of which something is unknown comes after
    those of which all is known. A pool that has nodes stays where they are.
    """
    if not found.places:
        return found
    room: Mapping[str, Any] = cluster.get("room") or {}
    ranked = list(found.places)
    if need.nodes > 0 and not found.size:
        ranked.sort(key=lambda place: _rank(room, _domain(place), need))
    chosen, *further = ranked
    settled = found if chosen is found.places[0] else _moved(found, chosen)
    settled = replace(
        settled, others=[place["placement_configs"] for place in further if not _short(room, _domain(place), need)]
    )
    if need.nodes <= 0:
        return settled
    _check_split(chosen, found.domains if found.size else (), findings)
    if _short(room, _domain(chosen), need):
        domains = [_domain(place) for place in (found.places if not found.size else [chosen])]
        _report_shortages(room, domains, need, findings)
    _check_addresses(settled, cluster, need, findings)
    if not found.size:
        _check_load_balancer(room, findings)
    _warn_of_unknown(room, _domain(chosen), findings)
    return settled


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number of things in words: 1 GPU, 2 GPUs; gigabytes have no plural."""
    return f"{count} {one if count == 1 or one == 'GB' else many or one + 's'}"


def _domain(place: Mapping[str, Any]) -> str:
    return str(place["placement_configs"][0]["availability_domain"])


def _check_split(place: Mapping[str, Any], standing: Sequence[str], findings: Findings) -> None:
    """Further nodes must not lie in another domain than those that exist.

    standing: domains of the pool that has nodes. Somebody may have given it several: the service spreads nodes over them.
    """
    domains = list(dict.fromkeys(str(config["availability_domain"]) for config in place["placement_configs"]))
    if len(domains) > 1:
        found = f"the node pool's placement names {_named(domains)}: further nodes would come in any of them"
        remedy = "name the one that its nodes are in with recipe_availability_domain"
    elif standing and domains[0] not in standing:
        found = f"further nodes would be in {_named(domains)}, the existing ones are in {_named(standing)}"
        remedy = "leave out what asks for another domain, or undeploy first"
    else:
        return
    expected = "one availability domain for all nodes of a group"
    findings.fault("node_pool_split", "recipe_availability_domain", found, expected, remedy)


def _named(domains: Iterable[str]) -> str:
    return ", ".join(map(short_domain, domains))


def _rank(room: Mapping[str, Any], domain: str, need: Need) -> int:
    if _short(room, domain, need):
        return 2
    unknown = Findings()
    _warn_of_unknown(room, domain, unknown)
    return 1 if unknown.warnings else 0


def _short(room: Mapping[str, Any], domain: str, need: Need) -> bool:
    return (
        bool(_short_limits(room, "limits", domain, need.nodes * need.gpus))
        or bool(_short_limits(room, "volumes", domain, need.nodes * need.volumes_gb))
        or _short_hosts(room, domain, need.nodes) is not None
    )


def _entries(room: Mapping[str, Any], kind: str, domain: str) -> list[Mapping[str, Any]]:
    return list((room.get(kind) or {}).get(domain) or [])


def _short_limits(room: Mapping[str, Any], kind: str, domain: str, amount: int) -> list[Mapping[str, Any]]:
    return [entry for entry in _entries(room, kind, domain) if entry.get("available", amount) < amount]


def _short_hosts(room: Mapping[str, Any], domain: str, nodes: int) -> str | None:
    """What the capacity report says against so many nodes, None where it says nothing against them."""
    report = (room.get("capacity") or {}).get(domain) or {}
    if "status" not in report:
        return None
    count = report.get("count")
    if report["status"] == "AVAILABLE":
        return None if count is None or count >= nodes else f"{counted(count, 'host')} free"
    return "no host free" if report["status"] == "OUT_OF_HOST_CAPACITY" else str(report["status"])


def _report_shortages(room: Mapping[str, Any], domains: list[str], need: Need, findings: Findings) -> None:
    """A fault for each thing that is short, with how it stands in every domain that came into question."""
    gpus, volumes = need.nodes * need.gpus, need.nodes * need.volumes_gb
    group = f"for {counted(need.nodes, 'more node')} of {need.shape} in one availability domain"
    for kind, code, unit, amount, remedy in (
        ("limits", "gpu_limit", "GPU", gpus, "use fewer nodes or another shape"),
        ("volumes", "volume_limit", "GB", volumes, "use smaller volumes"),
    ):
        if any(_short_limits(room, kind, domain, amount) for domain in domains):
            names = sorted({entry["name"] for domain in domains for entry in _entries(room, kind, domain)})
            findings.fault(
                code,
                f"service limit {', '.join(names)}",
                ", ".join(_left(room, kind, domain, unit) for domain in domains) + " left",
                f"{counted(amount, unit)} {group}",
                f"ask Oracle for a higher limit (or your administrator for a higher quota), or {remedy}; "
                "skip_quota_validation turns this check off",
            )
    if any(_short_hosts(room, domain, need.nodes) for domain in domains):
        found = [
            f"{_short_hosts(room, domain, need.nodes) or 'enough'} in {short_domain(domain)}" for domain in domains
        ]
        findings.fault(
            "host_capacity",
            "capacity report",
            ", ".join(found),
            f"{counted(need.nodes, 'host')} free {group}",
            "retry later, or use another shape or region; skip_capacity_validation turns this check off",
        )


def _left(room: Mapping[str, Any], kind: str, domain: str, unit: str) -> str:
    known = [entry for entry in _entries(room, kind, domain) if "available" in entry]
    if not known:
        return f"an unknown number in {short_domain(domain)}"
    least = min(known, key=lambda entry: entry["available"])
    quota = f" (the compartment's quota is {least['quota']})" if least.get("quota") is not None else ""
    return f"{counted(least['available'], unit)} in {short_domain(domain)}{quota}"


def _check_load_balancer(room: Mapping[str, Any], findings: Findings) -> None:
    entry = room.get("load_balancers") or {}
    if entry.get("available", 1) < 1:
        findings.fault(
            "load_balancer_limit",
            f"service limit {entry['name']}",
            f"{counted(entry['available'], 'load balancer')} left",
            "1 for the endpoint",
            "ask Oracle for a higher limit, or give endpoint_exposure: none; skip_quota_validation turns this check off",
        )


def _check_addresses(placement: Placement, cluster: Mapping[str, Any], need: Need, findings: Findings) -> None:
    """The subnets have to have addresses for the nodes, and for pods that get theirs from the network."""
    wanted: dict[str, int] = {}
    workers = placement.values["placement_configs"][0].get("subnet_id", "")
    wanted[workers] = need.nodes
    network = placement.values.get("node_pool_pod_network_option_details") or {}
    pod_subnets = network.get("pod_subnet_ids") or []
    if pod_subnets:
        listed = listed_shape(cluster) or {}
        vnics = listed.get("max_vnic_attachments") or FEWEST_VNICS
        pods = network.get("max_pods_per_node") or min((vnics - 1) * PODS_OF_VNIC, MOST_PODS)
        addresses = need.nodes * -(-pods // PODS_OF_VNIC) * PODS_OF_VNIC
        wanted[pod_subnets[0]] = wanted.get(pod_subnets[0], 0) + addresses
    for subnet, amount in wanted.items():
        found = ((cluster.get("room") or {}).get("addresses") or {}).get(subnet) or {}
        if "unknown" in found:
            findings.warn(
                "addresses_unknown",
                f"subnet {subnet}",
                f"how many addresses it has left is not known ({found['unknown']})",
                f"{amount} for the nodes",
                f"the policy statement that may be missing: {NETWORK_POLICY}",
            )
        elif found.get("free", amount) < amount:
            of_pods = subnet in pod_subnets
            findings.fault(
                "subnet_full",
                f"subnet {found['name']} ({subnet})",
                f"{counted(found['free'], 'address', 'addresses')} left",
                f"{amount} for {counted(need.nodes, 'more node')}" + (" and their pods" if of_pods else ""),
                "name a larger subnet, or use fewer nodes"
                + (" or a lower recipe_max_pods_per_node" if of_pods else ""),
            )


def listed_shape(cluster: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the recipe's shape as the compute service lists it, None where no domain offers it."""
    return next(iter(cluster["shapes"].values()), None)


def _warn_of_unknown(room: Mapping[str, Any], domain: str, findings: Findings) -> None:
    """What could not be asked of the domain that was chosen, a warning each."""
    region = [room["load_balancers"]] if room.get("load_balancers") else []
    for entry in [*_entries(room, "limits", domain), *_entries(room, "volumes", domain), *region]:
        if "unknown" in entry:
            _warn("limit_unknown", f"service limit {entry['name']}", entry["unknown"], LIMITS_POLICY, findings)
    if "limits" in room and not _entries(room, "limits", domain):
        findings.warn("limit_unknown", "service limit", "which one counts the GPUs of this shape is not known")
    report = (room.get("capacity") or {}).get(domain) or {}
    if "unknown" in report:
        where = f"capacity report of {short_domain(domain)}"
        _warn("capacity_unknown", where, report["unknown"], CAPACITY_POLICY, findings)


def _warn(code: str, where: str, why: str, policy: str, findings: Findings) -> None:
    """A 404 may say that the service keeps no count, or that the caller may not see it."""
    remedy = "the node pool is requested all the same"
    if why.startswith("HTTP 4"):
        remedy += f"; the policy statement that may be missing: {policy}"
    findings.warn(code, where, f"not known ({why})", "", remedy)


def _moved(found: Placement, place: Mapping[str, Any]) -> Placement:
    """The placement in another place than the one that was found first, with its security groups."""
    values = {**found.values, "placement_configs": place["placement_configs"]}
    changed = {"placement_configs": f"all nodes fit there; {place['why']}"}
    if "nsg_ids" in place:
        values["nsg_ids"] = place["nsg_ids"]
        changed["nsg_ids"] = "as other pools of the subnet have"
    choices = [choice for choice in found.choices if choice["field"] not in changed]
    for name, why in changed.items():
        if values[name]:
            choices.append({"field": name, "value": values[name], "why": why})
    return replace(found, values=values, choices=choices)
