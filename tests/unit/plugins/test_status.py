# SPDX-License-Identifier: GPL-3.0-or-later
"""What status says of each deployment: cost, since when, what it waits for, what ends soon, and what differs from its recipe."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action.recipe_info import _holds_a_recipe
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault
from ansible_collections.multinode.inference.plugins.module_utils.core.names import DEPLOYMENT_TAG
from ansible_collections.multinode.inference.plugins.plugin_utils.reporting.status import COLUMNS, status
from tests.unit.core.plans import plan


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({}, False),
        ({"deployment_name": "llama", "oke_cluster_id": "ocid1.cluster.oc1.iad.a"}, False),
        ({"recipe_file": {"deployment_name": "llama"}}, False),
        ({"deployment_name": "llama", "recipe_node_shape": "BM.GPU.H100.8"}, True),
        ({"recipe": {"deployment_name": "llama", "recipe_node_shape": "BM.GPU.H100.8"}}, True),
        ({"deployment_name": "llama", "recipe_mode": "service"}, False),
    ],
)
def test_a_deployment_is_compared_where_more_than_its_name_is_given(given: dict[str, Any], whole: bool) -> None:
    assert _holds_a_recipe(given) is whole


def row(name: str = "llama", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": name,
        "state": "Ready",
        "ready": True,
        "shape": "BM.GPU.H100.8",
        "nodes": 2,
        "usd_per_hour": 160.0,
        "cost": {},
        "created": "2026-11-27T10:00:00Z",
        "age_seconds": 7300,
        "failure": None,
        "measured": {},
        "planned": {},
        "benchmark": {},
        "phases": {},
        "paused": None,
        **changes,
    }


def said(*rows: dict[str, Any], **results: Any) -> tuple[dict[str, Any], list[str]]:
    details, lines = status({"status": {"deployments": list(rows)}, **results})
    assert all(len(line) <= COLUMNS for line in lines if not line.startswith("Warning")), lines
    return details, lines


def test_the_cost_is_told_with_its_parts_and_since_when() -> None:
    cost = {"nodes": 160.0, "boot_volumes": 0.12, "model_volumes": 0.0, "load_balancer": 0.0113, "total": 160.13}
    details, lines = said(row(cost={**cost, "file_systems": 1}))
    assert details["deployments"][0]["cost"]["total"] == 160.13
    text = " ".join(" ".join(lines[2:]).split())
    assert text == (
        "billed 160.13 USD an hour since 2026-11-27 10:00 UTC: nodes 160.00, boot volumes 0.12, load balancer 0.01, "
        "and a file system, billed by what it holds"
    )
    assert not any("billed" in line for line in said(row())[1]), "nothing is recorded"
    assert "billed USD an hour since" in " ".join(said(row(cost={**cost, "total": None, "nodes": None}))[1])


def test_what_ends_is_told_in_days() -> None:
    now = datetime.now(timezone.utc) + timedelta(minutes=5)
    details, lines = said(
        row(
            source_request={"time_expires": (now + timedelta(days=40)).isoformat()},
            endpoint={"until": (now + timedelta(days=12)).isoformat(), "tls": "self_signed"},
        )
    )
    assert details["deployments"][0]["days_left"] == {"source_request": 40, "certificate": 12}
    assert "  pre-authenticated request ends in 40 days" in lines and "  certificate expires in 12 days" in lines
    assert [warning["code"] for warning in details["warnings"]] == ["certificate_expires"]
    odd = said(row(source_request={"time_expires": "\x1b"}, endpoint={"until": 5}))[0]["deployments"][0]
    assert odd["days_left"] == {"source_request": None, "certificate": None}


PART = {"name": "--max-model-len", "was": "(model's own)", "now": "1024"}


def compared(name: str, changes: list[dict[str, Any]], kept: list[dict[str, Any]]) -> dict[str, Any]:
    return {"plan": {**plan(), "deployment": {"name": name}, "existing": {"changes": changes, "kept": kept}}}


def test_what_differs_from_the_recipe_is_told_part_by_part_of_the_one_that_is_meant() -> None:
    change = {"field": "engine.args", "class": "restart", "parts": [PART]}
    details, lines = said(row(), row("b"), comparison=compared("llama", [change], [change]))
    assert details["deployments"][0]["drift"] == [{**change, "kept": False}, {**change, "kept": True}]
    assert details["deployments"][1]["drift"] is None
    assert lines[2] == "  differs from the recipe: restart, --max-model-len: (model's own) -> 1024"
    assert lines[3] == "  differs from the recipe: kept, --max-model-len: (model's own) -> 1024"
    details, lines = said(row(), comparison=compared("llama", [], []))
    assert details["deployments"][0]["drift"] == [] and lines[2] == "  as the recipe has it"


def test_many_differences_are_bounded_and_counted() -> None:
    change = {"field": "engine.env", "class": "restart", "parts": [PART] * 200}
    _details, lines = said(row(), comparison=compared("llama", [change], []))
    assert len(lines) == 43 and lines[-1] == "  and 160 more differences"


def test_a_recipe_that_cannot_be_planned_is_no_failure_of_status() -> None:
    faults = [Fault("a", "recipe_x", "1", "2").as_dict()] * 2
    details, lines = said(row(), comparison={"failed": False, "faults": faults})
    assert details["deployments"][0]["drift"] is None
    assert lines[2] == "  not compared with the recipe: recipe_x: 1, expected 2 (and 1 more)"
    # The task that compares is skipped where no recipe is given.
    assert said(row(), comparison={"skipped": True, "changed": False})[1][2:] == []


def test_what_was_measured_stands_beside_what_was_planned() -> None:
    planned = {"context": 4096, "concurrent": 8.0, "kv_tokens": 1000, "kv_tokens_high": 2000}
    details, lines = said(row(measured={"cache_tokens": 1500}, planned=planned))
    assert "(plan: 1,000 to 2,000 tokens)" in " ".join(lines) and details["warnings"] == []
    details, _lines = said(row(measured={"cache_tokens": 50}, planned=planned))
    assert [(entry["code"], entry["where"]) for entry in details["warnings"]] == [
        ("measured_differs", "deployment llama: KV cache of the group")
    ]


@pytest.mark.parametrize("length", [1, 40])
def test_the_table_fits_a_screen_and_shows_nothing_that_a_terminal_acts_on(length: int) -> None:
    failure = Fault("unreadable", "RayCluster x", "its objects cannot be parsed \x1b[31m " + "word " * 60).as_dict()
    odd = row("n" * length, namespace="s" * 63, state="Unknown\x1b", ready=False, shape="", failure=failure)
    _details, lines = said(row(), odd)
    assert "\x1b" not in "".join(lines)
    assert lines[0].split() == ["NAME", "NAMESPACE", "STATE", "NODES", "SHAPE", "USD/H", "AGE"]


def _pool(ocid: str, name: str = "llama") -> dict[str, Any]:
    return {"id": ocid, "name": name, "freeform_tags": {DEPLOYMENT_TAG: name}, "nodes": [{}], "compartment_id": "c"}


def test_a_second_node_pool_of_a_deployment_is_an_orphan() -> None:
    entry = row(own_nodes=True, node_pool={"id": "first", "compartment_id": "c"})
    details, lines = said(entry, node_pool={"node_pools": [_pool("first"), _pool("second")]})
    assert [orphan["id"] for orphan in details["orphans"]] == ["second"]
    assert any("is not the one that its RayCluster names" in line for line in lines)


def test_a_pool_in_a_compartment_that_may_not_be_read_is_not_lost() -> None:
    entry = row(own_nodes=True, node_pool={"id": "first", "compartment_id": "closed"})
    unseen = [Fault("compartment_unseen", "closed", "its node pools could not be listed").as_dict()]
    details, lines = said(entry, node_pool={"node_pools": [], "unseen": unseen})
    assert not details["orphans"] and any("could not be listed" in line for line in lines)
    assert said(entry, node_pool={"node_pools": [], "unseen": []})[0]["orphans"]
