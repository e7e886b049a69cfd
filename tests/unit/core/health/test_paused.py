# SPDX-License-Identifier: GPL-3.0-or-later
"""A paused deployment says since when, and what it keeps at which price, whatever somebody wrote on it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.deployment_health import judge
from ansible_collections.multinode.inference.plugins.module_utils.core.health.observation import Observation
from ansible_collections.multinode.inference.plugins.module_utils.core.health.paused import (
    billed_while_paused,
    is_paused,
    kept_line,
    kept_while_paused,
    paused_record,
    read_paused,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.names import PAUSED_ANNOTATION
from ansible_collections.multinode.inference.plugins.module_utils.core.source_request import record_of


def raycluster(volumes: tuple[dict[str, Any], ...] = (), **annotations: str) -> dict[str, Any]:
    pod = {"volumes": list(volumes)}
    return {
        "metadata": {"name": "llama", "generation": 1, "annotations": annotations},
        "spec": {"suspend": True, "headGroupSpec": {"template": {"spec": pod}}},
        "status": {"observedGeneration": 1},
    }


def test_its_record_says_since_when_and_by_whom() -> None:
    item = raycluster(**paused_record("2026-11-30T20:00:00.000Z", "alice@ws1"))
    assert read_paused(item) == {"since": "2026-11-30T20:00:00.000Z", "by": "alice@ws1"}


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN", '{"since": 1, "by": ["x"]}', "[" * 100_000])
def test_a_record_that_says_nothing_is_no_failure(text: str) -> None:
    assert read_paused(raycluster(**{PAUSED_ANNOTATION: text})) == {"since": "", "by": ""}


def test_a_record_moves_no_cursor_and_is_bounded() -> None:
    found = read_paused(raycluster(**paused_record("\x1b[2J" * 100, "x" * 5000)))
    assert "\x1b" not in found["since"] and len(found["by"]) == 100


def test_what_stays_is_named_with_its_price_where_that_is_known() -> None:
    request = {"name": "r", "region": "us-ashburn-1", "namespace": "n", "bucket": "models", "id": "1"}
    block = {"name": "model", "ephemeral": {}}
    shared = {"name": "data", "persistentVolumeClaim": {"claimName": "llama-0123456789"}}
    item = raycluster((block, shared), **record_of(request))
    kept = kept_while_paused(item, {"exposure": "load_balancer"})
    assert [kept_line(entry) for entry in kept] == [
        "load balancer, with its address (0.0113 US dollars an hour)",
        "file system of the volume claim llama-0123456789 (billed by its size)",
        "bucket models with the model's files (billed by its size)",
        "Kubernetes objects: keys, endpoint, choices (not billed)",
    ]
    assert billed_while_paused(kept) == 0.0113
    assert billed_while_paused(kept_while_paused(raycluster(), {})) == 0


def test_it_is_paused_and_no_failure_of_its_pods_counts() -> None:
    failed = {"metadata": {"name": "llama-head", "labels": {}}, "status": {"phase": "Failed"}}
    judgement = judge(Observation(raycluster=raycluster(), pods=[failed]), 2, 1)
    assert (judgement.state, judgement.failure, judgement.ready) == ("Paused", None, False)


@pytest.mark.parametrize("item", [None, {}, {"spec": None}, {"spec": {"suspend": False}}, {"spec": {"suspend": "yes"}}])
def test_any_other_is_not(item: Any) -> None:
    assert not is_paused(item)


def test_one_that_is_removed_is_removing() -> None:
    item = raycluster()
    item["metadata"]["deletionTimestamp"] = "2026-11-30T20:00:00Z"
    assert judge(Observation(raycluster=item), 2, 1).state == "Removing"
