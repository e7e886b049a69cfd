# SPDX-License-Identifier: GPL-3.0-or-later
"""A KubeRay before 1.6: what it does not know is left out, and other pods are made by making the RayCluster again."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.older_kuberay import (
    token_secret_kind,
    without_upgrade_strategy,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.names import object_names
from rig.kuberay.names import token_secret

from ..plans import plan

OLD = ["authOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs"]
PROGRAMS = {"head.py": "1"}


def objects(programs: dict[str, str] = PROGRAMS, **changes: Any) -> list[dict[str, Any]]:
    return render(plan(**changes), programs)


def cluster(items: list[dict[str, Any]]) -> dict[str, Any]:
    return next(item for item in items if item["kind"] == "RayCluster")


def standing() -> dict[str, Any]:
    """The RayCluster as an API server has it that does not know the fields."""
    found = copy.deepcopy(cluster(objects()))
    del found["spec"]["upgradeStrategy"]
    del found["spec"]["authOptions"]["secretName"]
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


def test_a_token_secret_that_cannot_be_named_is_kuberay_s_own() -> None:
    items = objects()
    assert token_secret_kind(items, None, OLD) == "kuberay_token_secret"
    assert cluster(items)["spec"]["authOptions"] == {"mode": "token"}
    assert object_names("llama")["kuberay_token_secret"] == token_secret("llama")


def test_a_token_secret_is_named_where_the_field_is_known_and_stays_with_its_raycluster() -> None:
    new = [*OLD, "authOptions.secretName"]
    for raycluster, known in ((None, []), (None, new), (cluster(objects()), new)):
        items = objects()
        assert token_secret_kind(items, raycluster, known) == "ray_token_secret"
        assert cluster(items)["spec"]["authOptions"]["secretName"] == "rayclustervmtest-ray-token"
    items = objects()
    assert token_secret_kind(items, standing(), new) == "kuberay_token_secret", "the operator is newer than its group"
    assert cluster(items)["spec"]["authOptions"] == standing()["spec"]["authOptions"]
