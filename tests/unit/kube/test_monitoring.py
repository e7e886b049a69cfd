# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster has of prometheus-operator, and which of its objects there are a deployment's."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.monitoring import (
    DEFINITIONS,
    monitoring_objects,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube.monitoring import (
    missing_definitions,
    standing_monitoring,
    strange,
)
from tests.unit.core.plans import plan

NAME = "rayclustervmtest"
OBJECTS = monitoring_objects(plan(monitoring="prometheus_operator"), None, "default")
PLACES = (
    f"podmonitors/{NAME}",
    f"prometheusrules/{NAME}",
    f"prometheusrules/{NAME}-certificate",
    f"configmaps/{NAME}-board",
)


class Cluster:
    """A cluster that has the objects of these names, by the last two parts of their paths."""

    def __init__(self, labels: dict[str, dict[str, str]], code: str = "") -> None:
        self._labels, self._code = labels, code

    def get(self, path: str) -> Any:
        if self._code:
            raise Refused([Fault(self._code, "x", "x")])
        key = "/".join(path.split("/")[-2:])
        return {"metadata": {"labels": self._labels[key]}} if key in self._labels else None


def test_each_definition_that_is_missing_is_named() -> None:
    # Cluster stands for the client: it has what these functions call (of every ignore below).
    assert missing_definitions(Cluster({})) == list(DEFINITIONS)  # type: ignore[arg-type]
    some = {f"customresourcedefinitions/{DEFINITIONS[0]}": {}}
    assert missing_definitions(Cluster(some)) == [DEFINITIONS[1]]  # type: ignore[arg-type]
    # Rights have their own check; an API server that is away is another matter.
    assert missing_definitions(Cluster({}, "forbidden")) == []  # type: ignore[arg-type]
    with pytest.raises(Refused):
        missing_definitions(Cluster({}, "unreachable"))  # type: ignore[arg-type]


def test_an_object_of_somebody_else_is_found_before_it_is_written_over() -> None:
    assert strange(Cluster({}), OBJECTS, NAME, NAME) == []  # type: ignore[arg-type]
    ours = dict.fromkeys(PLACES, common_labels(NAME))
    assert strange(Cluster(ours), OBJECTS, NAME, NAME) == []  # type: ignore[arg-type]
    for place in (PLACES[0], PLACES[1], PLACES[3]):
        cluster: Any = Cluster({**ours, place: {"release": "other"}})
        assert [fault.code for fault in strange(cluster, OBJECTS, NAME, NAME)] == ["not_ours"]


def test_what_is_there_of_ours_is_found_to_be_removed() -> None:
    ours: Any = Cluster({**dict.fromkeys(PLACES, common_labels(NAME)), PLACES[1]: {"release": "other"}})
    found = [f"{item['kind']}/{item['metadata']['name']}" for item in standing_monitoring(ours, NAME, NAME)]
    assert found == [f"PodMonitor/{NAME}", f"PrometheusRule/{NAME}-certificate", f"ConfigMap/{NAME}-board"]
    assert standing_monitoring(Cluster({}, "forbidden"), NAME, NAME) == []  # type: ignore[arg-type]
