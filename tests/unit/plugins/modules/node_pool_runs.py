# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the modules for node pools, against a stand-in for the SDK's client."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.oci import node_pools
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from ansible_collections.multinode.inference.plugins.modules import (
    oci_node_pool,
    oci_node_pool_info,
    oci_node_replacement,
)
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, Clock, Connection, ContainerEngine
from tests.unit.plugins.modules.module_runner import run_module

TAGS = {"multinode-inference-deployment": "llama", "multinode-inference-cluster": CLUSTER}


def definition(size: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "name": "llama",
        "compartment_id": COMPARTMENT,
        "cluster_id": CLUSTER,
        "node_shape": "VM.GPU.A10.1",
        "kubernetes_version": "v1.34.1",
        "node_source_details": {
            "source_type": "IMAGE",
            "image_id": "ocid1.image.oc1.iad.gpu",
            "boot_volume_size_in_gbs": 200,
        },
        "node_config_details": {
            "size": size,
            "placement_configs": [{"availability_domain": "Uocm:IAD-AD-1", "subnet_id": "ocid1.subnet.oc1.iad.a"}],
            "node_pool_pod_network_option_details": {"cni_type": "FLANNEL_OVERLAY"},
        },
        "initial_node_labels": [{"key": "multinode.inference/deployment", "value": "llama"}],
        "node_metadata": {"user_data": "Y2xvdWQ="},
        "freeform_tags": {"multinode-inference-hash": "abc"},
        "node_eviction_node_pool_settings": {
            "eviction_grace_duration": "PT60M",
            "is_force_delete_after_grace_duration": True,
        },
        **changes,
    }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> ContainerEngine:
    fake = ContainerEngine(clock)
    connection = Connection(container_engine=fake, identity=fake.identity)
    quick = functools.partial(Wait, clock=clock, sleep=clock.sleep)
    for module in (oci_node_pool, oci_node_pool_info, oci_node_replacement):
        monkeypatch.setattr(module, "connect", lambda module, ocid: connection)
    monkeypatch.setattr(oci_node_pool, "Wait", quick)
    monkeypatch.setattr(node_pools, "Wait", quick)
    return fake


def present(size: int = 2, wait: bool = False, changes: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
    return run_module(oci_node_pool, {"definition": definition(size, **(changes or {})), "wait": wait}, **how)


def absent(wait: bool = False, **how: Any) -> dict[str, Any]:
    options = {"name": "llama", "cluster_id": CLUSTER, "state": "absent", "wait": wait}
    return run_module(oci_node_pool, options, **how)


def codes(result: dict[str, Any]) -> list[str]:
    return [fault["code"] for fault in result["faults"]]
