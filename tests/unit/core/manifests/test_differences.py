# SPDX-License-Identifier: GPL-3.0-or-later
"""A diff of objects has the lines that a person wants: what was changed, not what the API server adds, and never a secret."""

from __future__ import annotations

import copy
import json
from typing import Any

from ansible.module_utils.common.dict_transformations import recursive_diff

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.differences import (
    MOST_LINES,
    diff_text,
    object_lines,
    runtime_lines,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render

from ..plans import plan

PROGRAMS = {"head.py": "print('head')", "worker.py": "print('worker')"}


def served(item: dict[str, Any], version: int) -> dict[str, Any]:
    """The object as the API server returns it."""
    item = copy.deepcopy(item)
    item["metadata"] |= {
        "managedFields": [{"time": f"{version}"}],
        "resourceVersion": f"{version}",
        "uid": f"u{version}",
        "generation": version,
        "creationTimestamp": f"2026-01-0{version}T00:00:00Z",
    }
    item["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = f"text {version}"
    return {**item, "status": {"observed": version}}


def compared(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """The lines of each kind of object, from what kubernetes.core says of each."""
    found = {}
    old, new = ({item["kind"]: item for item in render(made, PROGRAMS)} for made in (before, after))
    for kind, item in new.items():
        differing = recursive_diff(served(old[kind], 1), served(item, 2))
        found[kind] = object_lines(kind, *(differing or ({}, {})))
    return found


def test_what_the_api_server_adds_and_what_we_record_is_not_shown() -> None:
    assert [lines for lines in compared(plan(), plan()).values() if lines] == []
    assert compared(plan(), plan(recipe_id="another"))["RayCluster"] == []


def test_a_changed_argument_is_one_line() -> None:
    found = compared(plan(), plan(recipe_max_model_length=1024))
    assert found["ConfigMap"] == ["group.json: --max-model-len: (model's own) -> 1024"]
    assert [kind for kind, lines in found.items() if lines] == ["ConfigMap"]


def test_variables_and_pods_are_named() -> None:
    found = compared(
        plan(), plan(recipe_container_env=[{"key": "NCCL_DEBUG", "value": "INFO"}], recipe_container_port=9000)
    )
    assert "head.env.NCCL_DEBUG: (not given) -> INFO" in found["RayCluster"]
    assert "workers.env.NCCL_DEBUG: (not given) -> INFO" in found["RayCluster"]
    assert all("8000" in line or "9000" in line or "NCCL_DEBUG" in line for line in found["RayCluster"])
    assert "spec.ports[api].port: 8000 -> 9000" in found["Service"]


def test_a_program_is_one_line_with_its_name() -> None:
    before = {"a.py": "1\n" * 900, "b.py": "2", "group.json": "{}"}
    after = {"a.py": "3\n" * 900, "c.py": "2", "group.json": json.dumps({"engine": {"args": ["--port", "1"]}})}
    assert runtime_lines(before, after) == [
        "program a.py changed",
        "program b.py removed",
        "program c.py added",
        "group.json: --port: (vLLM's default) -> 1",
    ]
    assert runtime_lines({"group.json": "["}, {"group.json": "[" * 9999}) == []


def test_no_value_of_a_secret_is_shown() -> None:
    values = {"data": {"default": "aHVudGVyMmh1bnRlcjI="}}
    assert object_lines("Secret", values, {"data": {"default": "other"}}) == ["values changed (not shown)"]
    env = [{"name": "my_token", "value": "hunter2hunter2"}, {"name": "A", "value": "https://u:hunter2@example.com"}]
    pod = {"template": {"spec": {"containers": [{"name": "ray-head", "env": env}]}}}
    lines = object_lines("RayCluster", {"spec": {"headGroupSpec": {"template": {}}}}, {"spec": {"headGroupSpec": pod}})
    assert "hunter2" not in str(lines) and "head.env.my_token: (not given) -> ***" in lines


def test_objects_with_nothing_to_see_are_left_out_and_a_long_diff_is_cut() -> None:
    entries = [
        {"object": "Service/a", "change": "apply", "differences": []},
        {"object": "ConfigMap/b", "change": "apply", "differences": ["created"]},
        {"object": "Secret/c", "change": "create"},
        {"object": "Pod/d", "change": "delete"},
        {"object": "RayCluster/e", "change": "apply", "differences": ["x: 1 -> 2"]},
    ]
    assert diff_text(entries) == (
        "ConfigMap/b: created\nSecret/c: created\nPod/d: deleted\nRayCluster/e\n  x: 1 -> 2\n"
    )
    assert diff_text(entries[:1]) == ""
    many = diff_text([{"object": "a", "change": "apply", "differences": ["x"] * 999}]).splitlines()
    assert len(many) == MOST_LINES + 1 and many[-1] == "and 800 more lines"
