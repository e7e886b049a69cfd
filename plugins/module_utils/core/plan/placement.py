# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is there room for the nodes that are still to be made, and in which availability domain do all of them fit?

A group is never split: pipeline stages talk to each other for every token, and volumes lie in one domain.
Only what was asked for is judged (`oci/room.py`): what a recipe skips is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..fault import Fault
from .facts import Cloud

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
    """What nodes take. nodes: those that are still to be made; gpus and volumes_gb: of each, boot volume included."""

    shape: str
    nodes: int
    gpus: int
    volumes_gb: int


def place(cloud: Cloud, need: Need) -> tuple[Cloud, list[Fault], list[Fault]]:
    """Return the cloud with the pool where all nodes fit and with the other places for it, faults and warnings.

    Of the placements that were found the first wins in which nothing is short; what is not known is no hindrance, but
    a placement of which all is known goes before it. A pool that has nodes stays where they are.
    """
    if not cloud.placements:
        return cloud, [], []
    ranked = list(cloud.placements)
    if need.nodes > 0 and not cloud.size:
        ranked.sort(key=lambda placement: _rank(cloud.room, _domain(placement), need))
    chosen, *further = ranked
    others = [placement for placement in further if not _short(cloud.room, _domain(placement), need)]
    settled = cloud if chosen is cloud.placements[0] else _moved(cloud, chosen)
    settled = replace(settled, others=[placement["placement_configs"] for placement in others])
    if need.nodes <= 0:
        return settled, [], []
    faults: list[Fault] = _split(chosen, cloud.domains if cloud.size else ())
    if _short(cloud.room, _domain(chosen), need):
        domains = [_domain(placement) for placement in (cloud.placements if not cloud.size else [chosen])]
        faults += _shortages(cloud.room, domains, need)
    address_faults, warnings = _addresses(cloud, chosen, need)
    faults += address_faults + (_load_balancer(cloud.room) if not cloud.size else [])
    return settled, faults, _unknown(cloud.room, _domain(chosen)) + warnings


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number of things in words: 1 GPU, 2 GPUs; gigabytes have no plural."""
    return f"{count} {one if count == 1 or one == 'GB' else many or one + 's'}"


def short_domain(name: str) -> str:
    """Return an availability domain's name without the tenancy's prefix: Uocm:PHX-AD-1 is PHX-AD-1."""
    return name.rpartition(":")[2]


def _domain(placement: Mapping[str, Any]) -> str:
    return str(placement["placement_configs"][0]["availability_domain"])


def _split(placement: Mapping[str, Any], standing: Sequence[str]) -> list[Fault]:
    """Return a fault where further nodes would lie in another domain than those that there are, or might.

    standing: domains of the pool that has nodes. Somebody may have given it several: the service spreads nodes over them.
    """
    domains = list(dict.fromkeys(str(config["availability_domain"]) for config in placement["placement_configs"]))
    if len(domains) > 1:
        found = f"the node pool's placement names {_named(domains)}: further nodes would come in any of them"
        remedy = "name the one that its nodes are in with recipe_availability_domain"
    elif standing and domains[0] not in standing:
        found = f"further nodes in {_named(domains)}, and those that there are in {_named(standing)}"
        remedy = "leave out what asks for another domain, or undeploy first"
    else:
        return []
    expected = "one availability domain for all nodes of a group"
    return [Fault("node_pool_split", "recipe_availability_domain", found, expected, remedy)]


def _named(domains: Iterable[str]) -> str:
    return ", ".join(map(short_domain, domains))


def _rank(room: Mapping[str, Any], domain: str, need: Need) -> int:
    if _short(room, domain, need):
        return 2
    return 1 if any(warning.code in ("limit_unknown", "capacity_unknown") for warning in _unknown(room, domain)) else 0


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


def _shortages(room: Mapping[str, Any], domains: list[str], need: Need) -> list[Fault]:
    """Return a fault for each thing that is short, with how it stands in every domain that came into question."""
    faults = []
    gpus, volumes = need.nodes * need.gpus, need.nodes * need.volumes_gb
    group = f"for {counted(need.nodes, 'more node')} of {need.shape} in one availability domain"
    for kind, code, unit, amount, remedy in (
        ("limits", "gpu_limit", "GPU", gpus, "take fewer nodes or another shape"),
        ("volumes", "volume_limit", "GB", volumes, "take smaller volumes"),
    ):
        if any(_short_limits(room, kind, domain, amount) for domain in domains):
            names = sorted({entry["name"] for domain in domains for entry in _entries(room, kind, domain)})
            faults.append(
                Fault(
                    code,
                    f"service limit {', '.join(names)}",
                    ", ".join(_left(room, kind, domain, unit) for domain in domains) + " left",
                    f"{counted(amount, unit)} {group}",
                    f"ask Oracle for a higher limit (or your administrator for a higher quota), or {remedy}; "
                    "skip_quota_validation goes on without this check",
                )
            )
    if any(_short_hosts(room, domain, need.nodes) for domain in domains):
        found = [
            f"{_short_hosts(room, domain, need.nodes) or 'enough'} in {short_domain(domain)}" for domain in domains
        ]
        faults.append(
            Fault(
                "host_capacity",
                "capacity report",
                ", ".join(found),
                f"{counted(need.nodes, 'host')} free {group}",
                "try later, another shape or another region; skip_capacity_validation goes on without this check",
            )
        )
    return faults


def _left(room: Mapping[str, Any], kind: str, domain: str, unit: str) -> str:
    known = [entry for entry in _entries(room, kind, domain) if "available" in entry]
    if not known:
        return f"an unknown number in {short_domain(domain)}"
    least = min(known, key=lambda entry: entry["available"])
    quota = f" (the compartment's quota is {least['quota']})" if least.get("quota") is not None else ""
    return f"{counted(least['available'], unit)} in {short_domain(domain)}{quota}"


def _load_balancer(room: Mapping[str, Any]) -> list[Fault]:
    entry = room.get("load_balancers") or {}
    if entry.get("available", 1) >= 1:
        return []
    return [
        Fault(
            "load_balancer_limit",
            f"service limit {entry['name']}",
            f"{counted(entry['available'], 'load balancer')} left",
            "1 for the endpoint",
            "ask Oracle for a higher limit, or take endpoint_exposure: none; skip_quota_validation goes on without this check",
        )
    ]


def _addresses(cloud: Cloud, placement: Mapping[str, Any], need: Need) -> tuple[list[Fault], list[Fault]]:
    """Return the subnets that cannot take the nodes, and those of which nothing is known."""
    wanted: dict[str, int] = {}
    workers = placement["placement_configs"][0].get("subnet_id", "")
    wanted[workers] = need.nodes
    network = cloud.values.get("node_pool_pod_network_option_details") or {}
    pod_subnets = network.get("pod_subnet_ids") or []
    if pod_subnets:
        vnics = (cloud.shape or {}).get("max_vnic_attachments") or FEWEST_VNICS
        pods = network.get("max_pods_per_node") or min((vnics - 1) * PODS_OF_VNIC, MOST_PODS)
        addresses = need.nodes * -(-pods // PODS_OF_VNIC) * PODS_OF_VNIC
        wanted[pod_subnets[0]] = wanted.get(pod_subnets[0], 0) + addresses
    faults, warnings = [], []
    for subnet, amount in wanted.items():
        found = (cloud.room.get("addresses") or {}).get(subnet) or {}
        if "unknown" in found:
            warnings.append(
                Fault(
                    "addresses_unknown",
                    f"subnet {subnet}",
                    f"how many addresses it has left is not known ({found['unknown']})",
                    f"{amount} for the nodes",
                    f"the policy statement that may be missing: {NETWORK_POLICY}",
                )
            )
        elif found.get("free", amount) < amount:
            faults.append(
                Fault(
                    "subnet_full",
                    f"subnet {found['name']} ({subnet})",
                    f"{counted(found['free'], 'address', 'addresses')} left",
                    f"{amount} for {counted(need.nodes, 'more node')}"
                    + (" and their pods" if subnet in pod_subnets else ""),
                    "name a larger subnet, or take fewer nodes"
                    + (" or a lower recipe_max_pods_per_node" if subnet in pod_subnets else ""),
                )
            )
    return faults, warnings


def _unknown(room: Mapping[str, Any], domain: str) -> list[Fault]:
    """Return what could not be asked of the domain that was chosen, a warning each."""
    warnings = []
    region = [room["load_balancers"]] if room.get("load_balancers") else []
    for entry in [*_entries(room, "limits", domain), *_entries(room, "volumes", domain), *region]:
        if "unknown" in entry:
            warnings.append(
                _not_known("limit_unknown", f"service limit {entry['name']}", entry["unknown"], LIMITS_POLICY)
            )
    if "limits" in room and not _entries(room, "limits", domain):
        warnings.append(
            Fault("limit_unknown", "service limit", "which one counts the GPUs of this shape is not known", "", "")
        )
    report = (room.get("capacity") or {}).get(domain) or {}
    if "unknown" in report:
        where = f"capacity report of {short_domain(domain)}"
        warnings.append(_not_known("capacity_unknown", where, report["unknown"], CAPACITY_POLICY))
    return warnings


def _not_known(code: str, where: str, why: str, policy: str) -> Fault:
    """A 404 may say that the service keeps no count, or that the caller may not see it."""
    remedy = "the node pool is asked for all the same"
    if why.startswith("HTTP 4"):
        remedy += f"; the policy statement that may be missing: {policy}"
    return Fault(code, where, f"not known ({why})", "", remedy)


def _moved(cloud: Cloud, placement: Mapping[str, Any]) -> Cloud:
    """The cloud with another placement than the one that was found first, and its security groups."""
    values = {**cloud.values, "placement_configs": placement["placement_configs"]}
    changed: dict[str, Any] = {"placement_configs": f"all nodes fit there; {placement['why']}"}
    if "nsg_ids" in placement:
        values["nsg_ids"] = placement["nsg_ids"]
        changed["nsg_ids"] = "as other pools of the subnet have"
    choices: list[Mapping[str, Any]] = [choice for choice in cloud.choices if choice["field"] not in changed]
    choices += [{"field": name, "value": values[name], "why": why} for name, why in changed.items() if values[name]]
    return replace(cloud, values=values, choices=choices)
