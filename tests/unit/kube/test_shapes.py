# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of another type than the API's count as not there."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.kube.shapes import shaped


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"metadata": {"labels": {"a": "b", "c": 1}}}, {"metadata": {"labels": {"a": "b"}}}),
        ({"metadata": {"labels": [1], "x": [1]}}, {"metadata": {"x": [1]}}),
        ({"metadata": 7}, {}),
        ({"spec": "x", "other": "x"}, {"other": "x"}),
        (
            {"status": {"conditions": [{"type": "Ready"}, {"type": "A", "status": "True"}, "x"]}},
            {"status": {"conditions": [{"type": "A", "status": "True"}]}},
        ),
        ({"status": {"readyReplicas": True, "observedGeneration": 2}}, {"status": {"observedGeneration": 2}}),
        ({"status": {"allocatable": {"cpu": 4, "memory": [1]}}}, {"status": {"allocatable": {"cpu": 4}}}),
        ({"metadata": {"generation": 10**30}}, {"metadata": {}}),
        ({"data": {"a": "b", "c": {}}}, {"data": {"a": "b"}}),
    ],
)
def test_what_is_left_of_an_object(given: dict[str, Any], kept: dict[str, Any]) -> None:
    if "metadata" in kept:
        kept["metadata"]["namespace"] = ""
    assert shaped(given) == kept


def test_an_object_as_the_api_has_it_stays_whole() -> None:
    item = {
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "b", "managedFields": [{"manager": "x"}], "finalizers": ["y"]},
        "spec": {"containers": [{"name": "c", "image": "d", "args": ["e"], "resources": {"limits": {"cpu": "1"}}}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None}]},
    }
    assert shaped(item) == item
