# SPDX-License-Identifier: GPL-3.0-or-later
"""A KubeRay without upgradeStrategy: the field is left out, and other pods are made by making the RayCluster again."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.planning.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.planning.manifests.older_kuberay import (
    without_upgrade_strategy,
)

from .plans import plan

OLD = ["authOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs"]
PROGRAMS = {"head.py": "1"}


def objects(programs: dict[str, str] = PROGRAMS, **changes: Any) -> list[dict[str, Any]]:
    return render(plan(**changes), programs)


def cluster(items: list[dict[str, Any]]) -> dict[str, Any]:
    return next(item for item in items if item["kind"] == "RayCluster")


def standing() -> dict[str, Any]:
    """The RayCluster as an API server has it that does not know the field."""
    found = copy.deepcopy(cluster(objects()))
    del found["spec"]["upgradeStrategy"]
    return found


def test_one_that_knows_the_field_keeps_it() -> None:
    for known in ([*OLD, "upgradeStrategy"], []):
        items = objects(recipe_container_port=9000)
        assert not without_upgrade_strategy(items, standing(), known)
        assert cluster(items)["spec"]["upgradeStrategy"] == {"type": "Recreate"}


def test_a_first_run_and_a_run_without_change_only_leave_it_out() -> None:
    for raycluster in (None, standing()):
        items = objects()
        assert not without_upgrade_strategy(items, raycluster, OLD)
        assert "upgradeStrategy" not in cluster(items)["spec"]


def test_other_pods_or_programs_take_another_raycluster() -> None:
    assert without_upgrade_strategy(objects(recipe_container_port=9000), standing(), OLD)
    assert without_upgrade_strategy(objects({"head.py": "2"}), standing(), OLD)
    # What the pods do not follow from.
    assert not without_upgrade_strategy(objects(endpoint_exposure="load_balancer"), standing(), OLD)
