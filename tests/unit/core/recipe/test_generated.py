# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated recipes of the manifests' validation (rig/tests/e2e/test_manifests.py) are good ones, and unlike each other."""

from __future__ import annotations

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render

from ..generated import drawn_plan

SEEDS = [*range(20), *range(1000, 1050)]


def test_each_becomes_objects() -> None:
    plans = [drawn_plan(seed) for seed in SEEDS]
    assert all(item["kind"] for made in plans for item in render(made, {}))
    assert len({made["deployment"]["hash"] for made in plans}) == len(SEEDS)
    assert {made["endpoint"]["exposure"] for made in plans} >= {"none", "load_balancer"}
