# SPDX-License-Identifier: GPL-3.0-or-later
"""Where all nodes fit, and what is said where they do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.capacity import Need, settle
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.placement import Placement

from ..plans import cluster, facts, plan

DOMAINS = [f"Uocm:IAD-AD-{number}" for number in (1, 2, 3)]
NEED = Need(shape="VM.GPU.A10.2", nodes=4, gpus=2, volumes_gb=1300)


def limit(available: int | None = None, quota: int | None = None) -> list[dict[str, Any]]:
    entry = {"unknown": "HTTP 404 NotFound"} if available is None else {"available": available, "quota": quota}
    return [{"name": "gpu-a10-count", **entry}]


def room(limits: Any = (8, 8, 8), hosts: Any = (4, 4, 4), storage: Any = (9000, 9000, 9000), **more: Any) -> Any:
    """What the three domains have left; a host count of 0 is a report of no host, None one that could not be made."""
    reports = [
        {"unknown": "HTTP 404 NotAuthorizedOrNotFound"}
        if count is None
        else {"status": "AVAILABLE" if count else "OUT_OF_HOST_CAPACITY", "count": count}
        for count in hosts
    ]
    return {
        "limits": dict(zip(DOMAINS, map(limit, limits), strict=True)),
        "volumes": {
            name: [{"name": "total-storage-gb", "available": left}] for name, left in zip(DOMAINS, storage, strict=True)
        },
        "capacity": dict(zip(DOMAINS, reports, strict=True)),
        **more,
    }


@dataclass
class Settled:
    """A placement of three domains, settled in what they have left."""

    placement: Placement
    faults: list[str]
    warnings: list[str]
    lines: list[Fault]

    @property
    def domain(self) -> str:
        return self.placement.values["placement_configs"][0]["availability_domain"]


def places(*domains: str) -> list[dict[str, Any]]:
    return [
        {
            "placement_configs": [{"availability_domain": name, "subnet_id": "workers"}],
            "nsg_ids": [f"group {number}"],
            "why": "offered there",
        }
        for number, name in enumerate(domains or DOMAINS, 1)
    ]


def settled(left: Any, need: Need = NEED, vnics: int = 0, **changes: Any) -> Settled:
    """`left`: of `room`; `changes` of the placement that was chosen."""
    found = Placement(**{"places": places(), "values": {}, **changes})
    values = {"placement_configs": found.places[0]["placement_configs"], "nsg_ids": ["group 1"], **found.values}
    offer = {"max_vnic_attachments": vnics} if vnics else {}
    findings = Findings()
    cluster = {"room": left, "shapes": dict.fromkeys(DOMAINS, offer)}
    placement = settle(replace(found, values=values), cluster, need, findings)
    return Settled(placement, codes(findings.faults), codes(findings.warnings), findings.faults + findings.warnings)


def codes(faults: Any) -> list[str]:
    return [fault.code for fault in faults]


def test_a_pool_that_somebody_gave_several_domains_is_not_grown_over_them() -> None:
    both = [{"availability_domain": name, "subnet_id": "workers"} for name in DOMAINS[:2]]
    spread = [{**places()[0], "placement_configs": both}, *places()[2:]]
    split = settled(room(), size=2, places=spread)
    assert split.faults == ["node_pool_split"] and "IAD-AD-1, IAD-AD-2" in split.lines[0].found
    assert settled(room(), replace(NEED, nodes=0), size=2, places=spread).faults == [], "nodes that exist serve"
    assert settled(room(), size=2, domains=[DOMAINS[1]]).faults == ["node_pool_split"]
    assert settled(room(), domains=[DOMAINS[1]]).faults == [], "a pool without nodes goes anywhere"
    assert settled(room(), size=2, domains=DOMAINS[:2]).faults == [], "the one of its domains that was named"
    subnets = [{"availability_domain": DOMAINS[0], "subnet_id": name} for name in ("workers", "more")]
    assert settled(room(), size=2, places=[{**places()[0], "placement_configs": subnets}]).faults == []


@pytest.mark.parametrize(
    ("left", "domain"),
    [
        (room(), 1),
        (room(hosts=(0, 4, 4)), 2),
        (room(hosts=(3, 0, 4)), 3),
        (room(limits=(7, 8, 8)), 2),
        (room(storage=(5199, 5200, 0)), 2),
        (room(limits=(None, 8, 8)), 2),
        (room(limits=(None, None, None)), 1),
        (room(hosts=(None, 4, 4)), 2),
        ({}, 1),
    ],
)
def test_the_pool_goes_where_all_nodes_fit(left: Any, domain: int) -> None:
    found = settled(left)
    assert found.faults == [] and found.domain == DOMAINS[domain - 1]
    assert found.placement.values["nsg_ids"] == [f"group {domain}"], "groups go with the subnet"


def test_the_choice_is_said_and_the_other_places_kept() -> None:
    found = settled(room(hosts=(0, 4, 4))).placement
    (choice,) = [choice for choice in found.choices if choice["field"] == "placement_configs"]
    assert choice["value"] == found.values["placement_configs"] and "all nodes fit" in choice["why"]
    assert [other[0]["availability_domain"] for other in found.others] == [DOMAINS[2]]


def test_a_limit_that_is_too_low_is_one_fault_with_what_is_needed_and_left() -> None:
    (fault,) = settled(room(limits=(7, 2, 0))).lines
    assert fault.code == "gpu_limit" and "gpu-a10-count" in fault.where
    assert "7 GPUs in IAD-AD-1" in fault.found and "0 GPUs in IAD-AD-3" in fault.found
    assert "8 GPUs" in fault.expected and "4 more nodes" in fault.expected
    assert "skip_quota_validation" in fault.remedy


def test_a_quota_is_named() -> None:
    (fault,) = settled({**room(), "limits": {name: limit(2, quota=2) for name in DOMAINS}}).lines
    assert "the compartment's quota is 2" in fault.found


def test_each_thing_that_is_short_has_its_line() -> None:
    left = room((8, 2, 8), (0, 4, 4), (9000, 9000, 1), load_balancers={"name": "lb", "available": 0})
    assert settled(left).faults == ["gpu_limit", "volume_limit", "host_capacity", "load_balancer_limit"]


def test_hosts_that_are_missing_in_every_domain() -> None:
    (fault,) = settled(room(hosts=(3, 0, 0))).lines
    assert fault.code == "host_capacity"
    assert fault.found == "3 hosts free in IAD-AD-1, no host free in IAD-AD-2, no host free in IAD-AD-3"


def test_what_is_not_known_is_a_warning_that_names_the_policy() -> None:
    found = settled(room(limits=(None,) * 3, hosts=(None,) * 3))
    assert (found.faults, found.warnings) == ([], ["limit_unknown", "capacity_unknown"])
    assert all("Allow group" in warning.remedy for warning in found.lines)


def test_a_pool_that_has_its_nodes_asks_for_nothing() -> None:
    found = settled(room((0, 0, 0), (0, 0, 0)), replace(NEED, nodes=0), size=4)
    assert found.lines == [] and found.domain == DOMAINS[0]


def test_a_pool_grows_where_it_lies_and_asks_for_the_difference() -> None:
    more = replace(NEED, nodes=1)
    found = settled(room((2, 8, 8), (1, 9, 9)), more, size=3)
    assert found.faults == [] and found.domain == DOMAINS[0]
    found = settled(room((1, 8, 8)), more, size=3)
    assert found.faults == ["gpu_limit"] and found.domain == DOMAINS[0]
    assert "IAD-AD-2" not in found.lines[0].found, "nodes of a group are in one domain"


def test_a_subnet_that_is_too_small() -> None:
    (fault,) = settled(room(addresses={"workers": {"name": "w", "free": 3}})).lines
    assert fault.code == "subnet_full" and fault.found == "3 addresses left" and fault.expected.startswith("4 ")
    unknown = settled(room(addresses={"workers": {"unknown": "HTTP 404 NotAuthorizedOrNotFound"}}))
    assert (unknown.faults, unknown.warnings) == ([], ["addresses_unknown"])


@pytest.mark.parametrize(
    ("most", "vnics", "needed"), [(31, 24, 4 * 31), (32, 24, 4 * 62), (0, 24, 4 * 124), (0, 2, 124)]
)
def test_pods_with_addresses_of_the_network(most: int, vnics: int, needed: int) -> None:
    network = {"cni_type": "OCI_VCN_IP_NATIVE", "pod_subnet_ids": ["pods"], "max_pods_per_node": most}
    values = {"node_pool_pod_network_option_details": network}
    for free, expected in ((needed, []), (needed - 1, ["subnet_full"])):
        left = room(addresses={"pods": {"name": "p", "free": free}})
        assert settled(left, vnics=vnics, values=values).faults == expected


def test_the_plan_is_refused_before_the_pool_is_asked_for() -> None:
    offers: dict[str, Any] = {name: {} for name in DOMAINS}
    domains = [{"name": name, "id": name} for name in DOMAINS]

    def found(left: Any) -> Facts:
        return facts(cluster=cluster(availability_domains=domains, shapes=offers, room=left))

    with pytest.raises(Refused) as refused:
        plan(found(room(limits=(6, 6, 6))))
    assert codes(refused.value.faults) == ["gpu_limit"]
    made = plan(found(room(hosts=(0, 4, 0))))
    (placement,) = made["node_pool"]["node_config_details"]["placement_configs"]
    assert placement["availability_domain"] == DOMAINS[1]
