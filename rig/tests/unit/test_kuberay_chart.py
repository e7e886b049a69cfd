# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart written at rig-up: the stand-in's own, and the real parts put in its place."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rig.configuration import REPOSITORY, RigError
from rig.kuberay import chart, crd

OPERATOR = REPOSITORY / "rig" / "images" / "kuberay-operator" / "bin" / "kuberay-operator"
# A small document of the API server's kind: references, a list map with a default key, both kinds of quantities.
SCHEMAS = {
    "io.k8s.api.core.v1.PodTemplateSpec": {
        "type": "object",
        "properties": {
            "metadata": {"allOf": [{"$ref": "#/components/schemas/Meta"}], "default": {}},
            "spec": {"$ref": "#/components/schemas/PodSpec"},
        },
    },
    "Meta": {"type": "object"},
    "PodSpec": {
        "type": "object",
        "properties": {
            "ports": {
                "type": "array",
                "items": {"allOf": [{"$ref": "#/components/schemas/Port"}], "default": {}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            },
            "limit": {"oneOf": [{"type": "string"}, {"type": "number"}]},
            "target": {"type": "string", "format": "int-or-string"},
        },
    },
    "Port": {
        "type": "object",
        "properties": {"containerPort": {"type": "integer", "default": 0}, "protocol": {"type": "string"}},
    },
}


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A rig as far as the chart needs it."""
    for name in ("RIG_KUBERAY_CHART", "RIG_KUBERAY_CRDS", "RIG_KUBERAY_OPERATOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(chart, "_schemas", lambda rig: SCHEMAS)
    return SimpleNamespace(charts=tmp_path / "charts", cluster_domain="rig.local")


def values(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "values.yaml").read_text())


def test_own_chart(rig: Any) -> None:
    folder = chart.write_chart(rig)
    about = yaml.safe_load((folder / "Chart.yaml").read_text())
    assert (about["name"], about["version"], about["appVersion"]) == ("kuberay-operator", "1.7.1", "1.7.1")
    assert values(folder)["image"] == {
        "repository": "quay.io/kuberay/operator",
        "tag": "v1.7.1",
        "pullPolicy": "IfNotPresent",
    }
    assert values(folder)["env"] == [{"name": "CLUSTER_DOMAIN", "value": "rig.local"}]
    definition = json.loads((folder / "crds" / "ray.io_rayclusters.yaml").read_text())
    assert definition["metadata"]["name"] == "rayclusters.ray.io"
    assert definition["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_schema_is_structural() -> None:
    template = crd.pod_template(SCHEMAS)
    spec = template["properties"]["spec"]["properties"]
    assert "$ref" not in json.dumps(template)
    assert spec["limit"] == spec["target"] == {"x-kubernetes-int-or-string": True}
    assert spec["ports"]["items"]["required"] == ["containerPort"]
    assert spec["ports"]["items"]["properties"]["protocol"]["default"] == "TCP"
    assert set(template["properties"]["metadata"]["properties"]) >= {"labels", "annotations"}


def test_given_definitions(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("RIG_KUBERAY_CRDS", str(given))
    with pytest.raises(RigError, match=r"RIG_KUBERAY_CRDS: no \*\.yaml"):
        chart.write_chart(rig)
    (given / "ray.io_rayclusters.yaml").write_text("kind: CustomResourceDefinition\n")
    folder = chart.write_chart(rig)
    assert (folder / "crds" / "ray.io_rayclusters.yaml").read_text() == "kind: CustomResourceDefinition\n"


def test_given_chart(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given"
    monkeypatch.setenv("RIG_KUBERAY_CHART", str(given))
    with pytest.raises(RigError, match="no Chart.yaml"):
        chart.write_chart(rig)
    (given / "templates").mkdir(parents=True)
    (given / "Chart.yaml").write_text("name: kuberay-operator\n")
    (given / "values.yaml").write_text("operatorCommand: /manager\nenv:\nservice: {port: 8080}\n")
    (given / "templates" / "deployment.yaml").write_text("    spec:\n      serviceAccountName: x\n")
    folder = chart.write_chart(rig)
    assert values(folder)["operatorCommand"] == "kuberay-operator"
    assert (
        "      hostNetwork: true\n      serviceAccountName: x" in (folder / "templates" / "deployment.yaml").read_text()
    )
    assert not (folder / "crds").exists()


def test_given_operator(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "manager"
    monkeypatch.setenv("RIG_KUBERAY_OPERATOR", str(program))
    with pytest.raises(RigError, match="no executable file"):
        chart.write_chart(rig)
    program.write_text('#!/bin/sh\necho "real $*"\n')
    program.chmod(0o755)
    environment = values(chart.write_chart(rig))["env"]
    assert {"name": "RIG_KUBERAY_OPERATOR", "value": str(program)} in environment
    result = subprocess.run(
        [str(OPERATOR), "--flag"],
        env=os.environ | {"RIG_KUBERAY_OPERATOR": str(program)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "real --flag\n"
