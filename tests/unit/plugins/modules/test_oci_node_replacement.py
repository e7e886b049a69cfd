# SPDX-License-Identifier: GPL-3.0-or-later
"""One node replaced by its OCID."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.modules import (
    oci_node_replacement,
)
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, ContainerEngine
from tests.unit.plugins.modules.module_runner import run_module
from tests.unit.plugins.modules.node_pool_runs import TAGS, clock, codes, engine

__all__ = ["clock", "engine"]  # fixtures


def replace(node_id: str = "a", **how: Any) -> dict[str, Any]:
    options = {"cluster_id": CLUSTER, "compartment_id": COMPARTMENT, "deployment": "llama", "node_id": node_id}
    return run_module(oci_node_replacement, options, **how)


def test_a_node_is_replaced_by_its_id_and_once(engine: ContainerEngine) -> None:
    nodes = [{"id": name, "lifecycle_state": "ACTIVE"} for name in "ab"]
    engine.add_pool(name="llama", freeform_tags=TAGS, nodes=nodes)
    assert replace(check=True)["changed"] and engine.writes() == 0
    first = replace()
    assert first["changed"] and first["work_request_id"] in engine.requests
    assert engine.made("delete_node") == [
        {
            "node": "a",
            "is_decrement_size": False,
            "override_eviction_grace_duration": "PT0M",
            "is_force_deletion_after_override_grace_duration": True,
        }
    ]
    assert not replace()["changed"], "it is leaving"
    assert codes(replace("b")) == ["cloud_conflict"]
    assert not replace("c")["changed"], "it is gone, or never was"
    assert engine.made("update_node_pool") == []


def test_a_node_of_a_foreign_pool_is_left_alone(engine: ContainerEngine) -> None:
    engine.add_pool(name="workers", nodes=[{"id": "a", "lifecycle_state": "ACTIVE"}])
    assert not replace()["changed"]
    assert engine.writes() == 0
