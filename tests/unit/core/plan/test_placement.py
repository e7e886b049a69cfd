# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.placement import (
    Placement,
    choose_placement,
    newest_image,
    short_domain,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ..recipes import recipe

AD = [f"Uocm:IAD-AD-{number}" for number in (1, 2, 3)]
CLUSTER, COMPARTMENT = "ocid1.cluster.oc1.iad.aaaa", "ocid1.compartment.oc1..aaaa"
IMAGES = [
    "Oracle-Linux-8.10-Gen2-GPU-2026.06.30-0-OKE-1.34.1-1500",
    "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.34.1-999",
    "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.34.1-1699",
    "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.34.10-1800",
    "Oracle-Linux-9.8-2026.09.14-0-OKE-1.34.1-2000",
    "Oracle-Linux-9.8-aarch64-2026.09.14-0-OKE-1.34.1-2000",
    "Oracle-Linux-9.8-Gen2-GPU-aarch64-2026.07.01-0-OKE-1.34.1-1600",
    "Oracle-Linux-8.10-Gen2-GPU-2026.09.30-0",
    "somebody's own",
]


def images(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "image_id": f"id of {name}"} for name in names]


def pool(name: str, domain: int = 1, subnet: str = "workers", **more: Any) -> dict[str, Any]:
    return {
        "id": f"ocid1.nodepool.oc1.iad.{name}",
        "name": name,
        "lifecycle_state": "ACTIVE",
        "compartment_id": COMPARTMENT,
        "kubernetes_version": "v1.34.1",
        "placements": [{"availability_domain": AD[domain - 1], "subnet_id": subnet}],
        "nsg_ids": [],
        "pod_network": {"cni_type": "FLANNEL_OVERLAY"},
        **more,
    }


def own_pool(**more: Any) -> dict[str, Any]:
    return pool("llama", node_source_details={"source_type": "IMAGE", "image_id": "the old image"}, **more)


def judged(cluster: dict[str, Any], **wishes: Any) -> tuple[Placement, list[str]]:
    """What is chosen for the deployment `llama` with `wishes` of its recipe and settings, and codes of what was found wrong."""
    inputs, findings = read_inputs(recipe()), Findings()
    for name, value in wishes.items():
        (inputs.recipe if name in inputs.recipe else inputs.settings)[name] = value
    own = next((pool for pool in cluster["node_pools"] if pool["name"] == "llama"), None)
    placement = choose_placement(inputs, cluster, own, find_shape("VM.GPU.A10.2"), findings)
    return placement, [fault.code for fault in findings.faults]


def chosen(cluster: dict[str, Any], **wishes: Any) -> Placement:
    placement, faults = judged(cluster, **wishes)
    assert faults == []
    return placement


@pytest.fixture
def cluster() -> dict[str, Any]:
    return {
        "id": CLUSTER,
        "region": "us-ashburn-1",
        "compartment_id": COMPARTMENT,
        "kubernetes_version": "v1.34.1",
        "cni_type": "FLANNEL_OVERLAY",
        "availability_domains": [{"name": name, "id": name} for name in AD],
        "shapes": {name: {"shape": "VM.GPU.A10.2"} for name in AD[1:]},
        "node_images": images(*IMAGES),
        "node_pools": [pool("system", 1), pool("other", 2, "second")],
    }


def why(found: Any, field: str) -> str:
    (choice,) = [choice for choice in found.choices if choice["field"] == field]
    assert choice["value"] == found.values[field]
    return choice["why"]


def test_newest_image() -> None:
    def newest(version: str, architecture: str = "x86_64") -> str | None:
        found = newest_image(images(*IMAGES), version, architecture)
        return found and found["name"]

    assert newest("v1.34.1") == IMAGES[2]
    assert newest("1.34.10") == IMAGES[3]
    assert newest("v1.34.1", "aarch64") == IMAGES[6]
    assert newest("v1.35.0") is None


def test_from_the_cluster_alone(cluster: dict[str, Any]) -> None:
    found = chosen(cluster)
    assert not found.drift
    assert found.values == {
        "compartment_id": COMPARTMENT,
        "kubernetes_version": "v1.34.1",
        "image_id": f"id of {IMAGES[2]}",
        "placement_configs": [{"availability_domain": AD[1], "subnet_id": "second"}],
        "node_pool_pod_network_option_details": {"cni_type": "FLANNEL_OVERLAY"},
    }
    assert IMAGES[2] in why(found, "image_id")
    assert "offered there" in why(found, "placement_configs")


def test_order_of_lists_changes_nothing(cluster: dict[str, Any]) -> None:
    turned = copy.deepcopy(cluster)
    for key in ("node_images", "node_pools"):
        turned[key].reverse()
    assert chosen(turned) == chosen(cluster)


def test_subnet_of_another_domain_is_said(cluster: dict[str, Any]) -> None:
    cluster["node_pools"] = [pool("system", 1)]
    found = chosen(cluster)
    assert found.values["placement_configs"] == [{"availability_domain": AD[1], "subnet_id": "workers"}]
    assert "taken to be regional" in why(found, "placement_configs")


def test_own_pool_stays_as_it_is(cluster: dict[str, Any]) -> None:
    cluster["node_pools"].append(own_pool(nsg_ids=["group"], kubernetes_version="v1.33.1"))
    found = chosen(cluster)
    assert found.values["image_id"] == "the old image"
    assert found.values["kubernetes_version"] == "v1.33.1"
    assert found.values["placement_configs"] == [{"availability_domain": AD[0], "subnet_id": "workers"}]
    assert found.values["nsg_ids"] == ["group"]
    assert {drift["field"] for drift in found.drift} == {"kubernetes_version"}, "no image of 1.33.1 is newer"
    adopted = chosen(cluster, adopt_defaults=True)
    assert adopted.values["image_id"] == f"id of {IMAGES[2]}"
    assert not adopted.drift


def test_newer_image_is_drift(cluster: dict[str, Any]) -> None:
    cluster["node_pools"].append(own_pool())
    found = chosen(cluster)
    assert [(item["field"], item["value"], item["today"]) for item in found.drift] == [
        ("image_id", "the old image", f"id of {IMAGES[2]}")
    ]


def test_given_wins(cluster: dict[str, Any]) -> None:
    cluster["node_pools"].append(own_pool())
    found = chosen(
        cluster,
        recipe_node_image_ocid="given",
        node_pool_availability_domains=["IAD-AD-3", AD[1]],
        recipe_worker_subnet_nsg_ocid="n",
        compartment_id="c",
    )
    assert found.values["image_id"] == "given" and found.values["compartment_id"] == "c"
    assert found.values["placement_configs"] == [{"availability_domain": AD[2], "subnet_id": "workers"}]
    assert why(found, "nsg_ids") == "given"
    assert not found.drift


def test_own_pool_stays_in_an_allowed_domain(cluster: dict[str, Any]) -> None:
    """It may lie in the second domain because the first had no hosts; a re-run leaves it there."""
    cluster["node_pools"].append(own_pool())
    found = chosen(cluster, node_pool_availability_domains=["IAD-AD-2", "IAD-AD-1"])
    assert found.values["placement_configs"] == [{"availability_domain": AD[0], "subnet_id": "workers"}]


def test_where_else_the_pool_may_go(cluster: dict[str, Any]) -> None:
    def others(*domains: str) -> list[tuple[str, str]]:
        found = chosen(cluster, node_pool_availability_domains=list(domains))
        places = [place["placement_configs"] for place in found.places]
        return [(entry["availability_domain"], entry["subnet_id"]) for (entry,) in places[1:]]

    assert others() == [(AD[2], "second")], "the first lies where a pool is; AD-1 does not offer the shape"
    assert others("IAD-AD-3", AD[1]) == [(AD[1], "second")]
    assert others("IAD-AD-3") == []
    cluster["shapes"][AD[0]] = {"shape": "VM.GPU.A10.2"}
    cluster["node_pools"].append(own_pool())
    assert others("IAD-AD-3", "IAD-AD-1", "IAD-AD-2") == [(AD[2], "workers"), (AD[1], "second")]


def test_groups_follow_the_subnet(cluster: dict[str, Any]) -> None:
    cluster["node_pools"] += [pool("more", 2, "second", nsg_ids=["b"]), pool("far", 3, "third", nsg_ids=["c"])]
    assert chosen(cluster).values["nsg_ids"] == ["b"]


def test_native_pod_network(cluster: dict[str, Any]) -> None:
    cluster["cni_type"] = "OCI_VCN_IP_NATIVE"
    assert judged(cluster)[1] == ["pod_subnet_missing"]
    cluster["node_pools"][0]["pod_network"] = {
        "cni_type": "OCI_VCN_IP_NATIVE",
        "pod_subnet_ids": ["pods"],
        "pod_nsg_ids": ["p"],
        "max_pods_per_node": 31,
    }
    network = chosen(cluster).values["node_pool_pod_network_option_details"]
    assert network == cluster["node_pools"][0]["pod_network"]
    given = chosen(cluster, recipe_pod_subnet_ocid="mine", recipe_pod_subnet_nsg_ocid="q", recipe_max_pods_per_node=20)
    assert given.values["node_pool_pod_network_option_details"] == {
        "cni_type": "OCI_VCN_IP_NATIVE",
        "pod_subnet_ids": ["mine"],
        "pod_nsg_ids": ["q"],
        "max_pods_per_node": 20,
    }


@pytest.mark.parametrize(
    ("change", "wishes", "code"),
    [
        ({"shapes": {}}, {}, "shape_not_offered"),
        ({"node_images": images(IMAGES[4])}, {}, "node_image_missing"),
        ({"node_pools": []}, {}, "worker_subnet_missing"),
        ({}, {"recipe_availability_domain": "IAD-AD-1"}, "availability_domain_unusable"),
        ({}, {"node_pool_availability_domains": ["PHX-AD-1"]}, "availability_domain_unusable"),
    ],
)
def test_faults(cluster: dict[str, Any], change: dict[str, Any], wishes: dict[str, Any], code: str) -> None:
    assert judged({**cluster, **change}, **wishes)[1] == [code]


def test_short_domain() -> None:
    assert short_domain("Uocm:IAD-AD-1") == "IAD-AD-1"
    assert short_domain("IAD-AD-1") == "IAD-AD-1"


def test_a_pool_that_has_nodes_is_not_moved_by_adopted_defaults(cluster: dict[str, Any]) -> None:
    cluster["node_pools"].append(own_pool(size=2))
    adopted = chosen(cluster, adopt_defaults=True)
    assert adopted.values["placement_configs"] == [{"availability_domain": AD[0], "subnet_id": "workers"}]


def test_groups_that_other_pools_get_later_are_not_taken(cluster: dict[str, Any]) -> None:
    cluster["node_pools"].append(own_pool())
    cluster["node_pools"][0]["nsg_ids"] = ["later"]
    assert "nsg_ids" not in chosen(cluster).values
