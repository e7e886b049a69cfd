# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes outlive an API server that is busy for a while, and say what failed otherwise."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.plugin_utils import kubernetes_writes
from ansible_collections.multinode.inference.plugins.plugin_utils.kubernetes_writes import (
    BUSY_PAUSES,
    WritingAction,
    kubernetes_core_version,
)

OBJECTS = [{"kind": kind, "metadata": {"name": "a"}} for kind in ("ConfigMap", "Service")]
DONE = {"changed": True, "method": "apply"}


def failed(reason: str) -> dict[str, Any]:
    return {"changed": False, "error": {"reason": reason, "msg": f"Failed to apply object: {reason}"}}


class Writer(WritingAction):
    """Answers by the kinds it is asked for; `busy` is how often each kind is answered with that reason first."""

    def __init__(self, busy: dict[str, list[str]]) -> None:
        self.busy, self.asked = busy, []  # type: ignore[var-annotated]
        self.cluster = SimpleNamespace(arguments=lambda: {"api_key": "x"})  # type: ignore[assignment]
        self._display = SimpleNamespace(display=lambda line: None)

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        kinds = [item["kind"] for item in arguments["resource_definition"]]
        self.asked.append(kinds)
        entries = [failed(self.busy[kind].pop(0)) if self.busy.get(kind) else dict(DONE) for kind in kinds]
        return entries[0] if len(entries) == 1 else {"changed": True, "result": {"results": entries}}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(kubernetes_writes.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("reason", ["Too Many Requests", "Service Unavailable"])
def test_what_the_server_was_too_busy_for_is_tried_again_and_the_rest_is_not(reason: str, pauses: list[float]) -> None:
    writer = Writer({"Service": [reason] * 3})
    found = writer.write(OBJECTS, {}, state="present")
    assert writer.asked == [["ConfigMap", "Service"], ["Service"], ["Service"], ["Service"]]
    assert found["results"] == [DONE, DONE] and found["changed"]
    assert pauses == list(BUSY_PAUSES[:3])


def test_a_server_that_stays_busy_is_told_after_two_minutes(pauses: list[float]) -> None:
    with pytest.raises(Refused) as refused:
        Writer({"Service": ["Too Many Requests"] * 99}).write(OBJECTS, {}, state="present")
    (fault,) = refused.value.faults
    assert fault.where == "Service a" and "Too Many Requests" in fault.found
    assert 100 < sum(pauses) < 150 and max(pauses) <= 15


def test_what_is_refused_is_told_at_once_or_left_to_the_caller(pauses: list[float]) -> None:
    with pytest.raises(Refused):
        Writer({"Service": ["Forbidden"]}).write(OBJECTS, {}, state="present")
    kept = Writer({"Service": ["Forbidden"]}).write(OBJECTS, {}, state="absent", continue_on_error=True)
    assert [bool(entry.get("error")) for entry in kept["results"]] == [False, True]
    assert pauses == []


def test_the_version_of_kubernetes_core_is_that_of_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda _name: SimpleNamespace(__path__=[str(tmp_path)]))
    assert kubernetes_core_version() == ""
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "6.6.0"}}')
    assert kubernetes_core_version() == "6.6.0"
