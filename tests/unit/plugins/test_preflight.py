# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan is made of is read side by side, and every reader's fault is told."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.plugin_utils import preflight
from tests.unit.core.recipes import CLUSTER, recipe

KUBERNETES: Any = object()


def inputs(**settings: Any) -> Any:
    return read_inputs({**recipe(), "oke_cluster_id": CLUSTER, **settings})


def readers(monkeypatch: pytest.MonkeyPatch, **replaced: Any) -> None:
    """Each reader answers with its name, or as `replaced` says."""
    monkeypatch.setattr(preflight, "_lease", lambda *_arguments: "4711")
    for name in ("deployment", "secrets", "surroundings", "cluster", "model"):
        monkeypatch.setattr(preflight, f"_{name}", replaced.get(name, lambda *_arguments, name=name: {"read": name}))


def refusing(*faults: Fault) -> Any:
    def read(*_arguments: Any) -> None:
        raise Refused(faults)

    return read


def test_all_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(5, timeout=10)

    def read(*_arguments: Any) -> dict[str, Any]:
        together.wait()
        return {}

    readers(monkeypatch, **dict.fromkeys(("deployment", "secrets", "surroundings", "cluster", "model"), read))
    preflight.read_all(inputs(), KUBERNETES, with_model=True)


def test_each_fault_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    away, par = Fault("unreachable", "Kubernetes API", "no answer"), Fault("par", "par", "expired")
    readers(monkeypatch, deployment=refusing(away), surroundings=refusing(away), model=refusing(par))
    with pytest.raises(Refused) as refused:
        preflight.read_all(inputs(), KUBERNETES, with_model=True)
    assert refused.value.faults == [away, par]


def test_what_cannot_be_asked_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    readers(monkeypatch)
    alone = preflight.read_all(inputs(node_provisioner="none"), None, with_model=False)
    assert alone == preflight.Found({}, None, {}, None, None, "")
    whole = preflight.read_all(inputs(), KUBERNETES, with_model=True)
    assert (whole.cluster, whole.model, whole.lease) == ({"read": "cluster"}, {"read": "model"}, "4711")


def test_the_lease_is_read_before_what_another_run_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def read(name: str) -> Any:
        return lambda *_arguments: order.append(name) or ""

    readers(monkeypatch, deployment=read("deployment"))
    monkeypatch.setattr(preflight, "_lease", read("lease"))
    preflight.read_all(inputs(), KUBERNETES, with_model=False)
    assert order == ["lease", "deployment"]
