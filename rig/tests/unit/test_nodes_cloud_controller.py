# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud controller stand-in decides, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from rig.cloud_controller import load_balancers, nodes, volumes


def claim(size: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "data", "namespace": "models", "uid": "u-1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "oci-bv",
            "resources": {"requests": {"storage": size}},
        },
    }


@pytest.mark.parametrize(("asked", "gib"), [("10Gi", 50), ("50Gi", 50), ("50G", 50), ("200500Mi", 196), ("1Ti", 1024)])
def test_sizes_are_rounded_up(asked: str, gib: int) -> None:
    assert volumes.size_gib(claim(asked)) == gib


def test_a_volume_is_bound_to_its_claim_and_domain() -> None:
    made = volumes.manifest(claim("10Gi"), {"reclaimPolicy": "Delete"}, "csi-u-1", "ocid1.volume.oc1..x", 50, "AD-2")
    assert made["spec"]["capacity"] == {"storage": "50Gi"}
    assert made["spec"]["claimRef"]["uid"] == "u-1"
    assert made["spec"]["csi"]["volumeHandle"] == "ocid1.volume.oc1..x"
    terms = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["AD-2"]


SERVICE = {
    "metadata": {"name": "llm-api", "namespace": "models"},
    "spec": {
        "type": "LoadBalancer",
        "ports": [
            {"name": "api", "port": 80, "protocol": "TCP"},
            {"name": "dashboard", "port": 8265, "protocol": "TCP"},
        ],
    },
}


def test_targets_are_ready_endpoints_by_the_ports_name() -> None:
    slices = [
        {
            "ports": [{"name": "api", "port": 8000}],
            "endpoints": [
                {"addresses": ["10.60.1.1"], "conditions": {"ready": True}},
                {"addresses": ["10.60.1.2"], "conditions": {"ready": False}},
                {"addresses": ["10.60.1.3"], "conditions": {"ready": True, "terminating": True}},
            ],
        }
    ]
    assert load_balancers.targets(SERVICE, slices) == {80: [("10.60.1.1", 8000)], 8265: []}


def test_only_services_of_the_type_and_of_no_other_class_are_ours() -> None:
    assert load_balancers.wants(SERVICE)
    assert not load_balancers.wants({"spec": {"type": "LoadBalancer", "loadBalancerClass": "other"}})
    assert not load_balancers.wants({"spec": {"type": "ClusterIP"}})


def test_a_node_is_uninitialized_while_it_bears_the_taint() -> None:
    assert nodes.is_uninitialized({"spec": {"taints": [{"key": nodes.UNINITIALIZED, "effect": "NoSchedule"}]}})
    assert not nodes.is_uninitialized({"spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}})
    assert not nodes.is_uninitialized({"spec": {}})


BALANCER = "service.beta.kubernetes.io/oci-load-balancer-"


def annotated(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {f"{BALANCER}{name.replace('_', '-')}": text for name, text in annotations.items()}}
    }


def network(service: dict[str, Any]) -> dict[str, Any]:
    service["metadata"]["annotations"]["oci.oraclecloud.com/load-balancer-type"] = "nlb"
    return service


def test_tls_ends_on_the_ports_that_are_named_with_the_certificate_that_is_named() -> None:
    asked = {"ssl_ports": "443,8265", "tls_secret": "pair"}
    assert load_balancers.secured_ports(annotated(**asked)) == {443: "pair", 8265: "pair"}
    assert load_balancers.secured_ports(annotated(tls_secret="pair")) == {443: "pair"}
    assert load_balancers.secured_ports(annotated(ssl_ports="443")) == {}
    assert load_balancers.secured_ports(network(annotated(**asked))) == {}


def test_a_load_balancer_is_public_and_closes_what_is_silent_for_five_minutes_unless_asked_otherwise() -> None:
    assert not load_balancers.is_internal(annotated()) and load_balancers.is_internal(annotated(internal="true"))
    assert load_balancers.idle_seconds(annotated()) == 300
    assert load_balancers.idle_seconds(annotated(connection_idle_timeout="3600")) == 3600
    assert load_balancers.idle_seconds(network(annotated(connection_idle_timeout="3600"))) == 300
