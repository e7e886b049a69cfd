# SPDX-License-Identifier: GPL-3.0-or-later
"""Where all nodes fit, and what is said where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Cloud
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.placement import Need, place

from ..plans import facts, plan

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


def cloud(found: Any, size: int = 0, **changes: Any) -> Cloud:
    placements = [
        {
            "placement_configs": [{"availability_domain": name, "subnet_id": "workers"}],
            "nsg_ids": [f"group {number}"],
            "why": "offered there",
        }
        for number, name in enumerate(DOMAINS, 1)
    ]
    values = {"placement_configs": placements[0]["placement_configs"], "nsg_ids": ["group 1"]}
    return Cloud(values=values, placements=placements, room=found, size=size, **changes)


def domain_of(settled: Cloud) -> str:
    return settled.values["placement_configs"][0]["availability_domain"]


def codes(faults: Any) -> list[str]:
    return [fault.code for fault in faults]


def test_a_pool_that_somebody_gave_several_domains_is_not_grown_over_them() -> None:
    found = cloud(room(), size=2)
    both = [{"availability_domain": name, "subnet_id": "workers"} for name in DOMAINS[:2]]
    found.placements = [{**found.placements[0], "placement_configs": both}, *found.placements[2:]]
    (fault,) = place(found, NEED)[1]
    assert fault.code == "node_pool_split" and "IAD-AD-1, IAD-AD-2" in fault.found
    assert place(found, replace(NEED, nodes=0))[1] == [], "nodes that are there serve"
    elsewhere = cloud(room(), size=2, domains=[DOMAINS[1]])
    assert codes(place(elsewhere, NEED)[1]) == ["node_pool_split"]
    assert place(cloud(room(), domains=[DOMAINS[1]]), NEED)[1] == [], "a pool without nodes goes anywhere"
    assert place(cloud(room(), size=2, domains=DOMAINS[:2]), NEED)[1] == [], "the one of its domains that was named"
    subnets = [{"availability_domain": DOMAINS[0], "subnet_id": name} for name in ("workers", "more")]
    found.placements = [{**found.placements[0], "placement_configs": subnets}]
    assert place(found, NEED)[1] == []


@pytest.mark.parametrize(
    ("found", "domain"),
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
def test_the_pool_goes_where_all_nodes_fit(found: Any, domain: int) -> None:
    settled, faults, _warnings = place(cloud(found), NEED)
    assert not faults
    assert domain_of(settled) == DOMAINS[domain - 1]
    assert settled.values["nsg_ids"] == [f"group {domain}"], "groups go with the subnet"


def test_the_choice_is_said_and_the_other_places_kept() -> None:
    settled, _faults, _warnings = place(cloud(room(hosts=(0, 4, 4))), NEED)
    (choice,) = [choice for choice in settled.choices if choice["field"] == "placement_configs"]
    assert choice["value"] == settled.values["placement_configs"] and "all nodes fit" in choice["why"]
    assert [other[0]["availability_domain"] for other in settled.others] == [DOMAINS[2]]


def test_a_limit_that_is_too_low_is_one_fault_with_what_is_needed_and_left() -> None:
    _settled, faults, _warnings = place(cloud(room(limits=(7, 2, 0))), NEED)
    (fault,) = faults
    assert fault.code == "gpu_limit" and "gpu-a10-count" in fault.where
    assert "7 GPUs in IAD-AD-1" in fault.found and "0 GPUs in IAD-AD-3" in fault.found
    assert "8 GPUs" in fault.expected and "4 more nodes" in fault.expected
    assert "skip_quota_validation" in fault.remedy


def test_a_quota_is_named() -> None:
    found = room()
    found["limits"] = {name: limit(2, quota=2) for name in DOMAINS}
    (fault,) = place(cloud(found), NEED)[1]
    assert "the compartment's quota is 2" in fault.found


def test_each_thing_that_is_short_has_its_line() -> None:
    _settled, faults, _warnings = place(
        cloud(room((8, 2, 8), (0, 4, 4), (9000, 9000, 1), load_balancers={"name": "lb", "available": 0})), NEED
    )
    assert codes(faults) == ["gpu_limit", "volume_limit", "host_capacity", "load_balancer_limit"]


def test_hosts_that_are_missing_in_every_domain() -> None:
    (fault,) = place(cloud(room(hosts=(3, 0, 0))), NEED)[1]
    assert fault.code == "host_capacity"
    assert fault.found == "3 hosts free in IAD-AD-1, no host free in IAD-AD-2, no host free in IAD-AD-3"


def test_what_is_not_known_is_a_warning_that_names_the_policy() -> None:
    _settled, faults, warnings = place(cloud(room(limits=(None,) * 3, hosts=(None,) * 3)), NEED)
    assert not faults
    assert codes(warnings) == ["limit_unknown", "capacity_unknown"]
    assert all("Allow group" in warning.remedy for warning in warnings)


def test_a_pool_that_has_its_nodes_asks_for_nothing() -> None:
    settled, faults, warnings = place(cloud(room((0, 0, 0), (0, 0, 0)), size=4), Need("VM.GPU.A10.2", 0, 2, 1300))
    assert not faults and not warnings and domain_of(settled) == DOMAINS[0]


def test_a_pool_grows_where_it_lies_and_asks_for_the_difference() -> None:
    more = Need("VM.GPU.A10.2", 1, 2, 1300)
    settled, faults, _warnings = place(cloud(room((2, 8, 8), (1, 9, 9)), size=3), more)
    assert not faults and domain_of(settled) == DOMAINS[0]
    settled, faults, _warnings = place(cloud(room((1, 8, 8)), size=3), more)
    assert codes(faults) == ["gpu_limit"] and domain_of(settled) == DOMAINS[0]
    assert "IAD-AD-2" not in faults[0].found, "nodes of a group are in one domain"


def test_a_subnet_that_is_too_small() -> None:
    found = room(addresses={"workers": {"name": "w", "free": 3}})
    (fault,) = place(cloud(found), NEED)[1]
    assert fault.code == "subnet_full" and fault.found == "3 addresses left" and fault.expected.startswith("4 ")
    found = room(addresses={"workers": {"unknown": "HTTP 404 NotAuthorizedOrNotFound"}})
    settled, faults, warnings = place(cloud(found), NEED)
    assert not faults and codes(warnings) == ["addresses_unknown"]


@pytest.mark.parametrize(
    ("most", "vnics", "needed"), [(31, 24, 4 * 31), (32, 24, 4 * 62), (0, 24, 4 * 124), (0, 2, 124)]
)
def test_pods_with_addresses_of_the_network(most: int, vnics: int, needed: int) -> None:
    network = {"cni_type": "OCI_VCN_IP_NATIVE", "pod_subnet_ids": ["pods"], "max_pods_per_node": most}
    for free, expected in ((needed, []), (needed - 1, ["subnet_full"])):
        found = cloud(room(addresses={"pods": {"name": "p", "free": free}}), shape={"max_vnic_attachments": vnics})
        found.values = {**found.values, "node_pool_pod_network_option_details": network}
        assert codes(place(found, NEED)[1]) == expected


def test_the_plan_is_refused_before_the_pool_is_asked_for() -> None:
    with pytest.raises(Refused) as refused:
        plan(facts(cloud=cloud(room(limits=(6, 6, 6)))))
    assert codes(refused.value.faults) == ["gpu_limit"]
    made = plan(facts(cloud=cloud(room(hosts=(0, 4, 0)))))
    (placement,) = made["node_pool"]["node_config_details"]["placement_configs"]
    assert placement["availability_domain"] == DOMAINS[1]
