# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator that is there, or the Helm that can install one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.operator import (
    find_helm,
    find_operator,
    read_version,
    shown_operator,
)

HEAD_CLUSTER_IP = "ENABLE_RAY_HEAD_CLUSTER_IP_SERVICE"


class Cluster:
    """Stands for a cluster: what the API would answer."""

    def __init__(self, deployments: list[dict[str, Any]], fields: Iterable[str] | None) -> None:
        self._deployments = deployments
        self._fields = fields

    def get(self, path: str, **_query: Any) -> Any:
        if self._fields is None:
            return None
        schemas = self._fields if isinstance(self._fields, dict) else {}
        properties = {name: {"type": "object", **schemas.get(name, {})} for name in self._fields}
        schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": properties}}}}
        return {"spec": {"versions": [{"name": "v1", "schema": schema}]}}

    def items(self, path: str, **_query: Any) -> list[dict[str, Any]]:
        return self._deployments


def found_in(deployments: list[dict[str, Any]], fields: Iterable[str] | None) -> dict[str, Any]:
    """What `find_operator` finds in such a cluster."""
    cluster: Any = Cluster(deployments, fields)
    return find_operator(cluster)


def deployment(image: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ray", "labels": {"app.kubernetes.io/name": "kuberay-operator", **labels}},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"availableReplicas": 1},
    }


def test_an_operator_of_a_good_version_is_left_alone() -> None:
    found = found_in([deployment("quay.io/kuberay/operator:v1.7.0")], ["authOptions", "headGroupSpec"])
    assert found["usable"] and found["available"] and found["version"] == "1.7.0" and found["namespace"] == "ray"


def test_the_release_of_helm_is_told() -> None:
    installed = deployment("quay.io/kuberay/operator:v1.7.0")
    assert found_in([installed], ["authOptions"])["release"] is None
    marks = {"meta.helm.sh/release-name": "kuberay-operator", "meta.helm.sh/release-namespace": "ray"}
    installed["metadata"]["annotations"] = marks
    cluster: Any = Cluster([installed], ["authOptions"])
    told = {"version": "1.7.0", "namespace": "ray", "release": "ray/kuberay-operator"}
    assert shown_operator(cluster) == told
    nothing: Any = Cluster([], None)
    assert shown_operator(nothing) is None
    unusable: Any = Cluster([installed], ["headGroupSpec"])
    assert shown_operator(unusable) is None


def test_a_version_may_stand_in_a_label_only() -> None:
    labels = {"app.kubernetes.io/version": "1.6.0"}
    found = found_in([deployment("registry.example/operator@sha256:abc", **labels)], ["authOptions"])
    assert found["usable"] and found["version"] == "1.6.0"


def test_an_old_operator_is_refused_and_not_touched() -> None:
    with pytest.raises(Refused) as refused:
        found_in([deployment("quay.io/kuberay/operator:v1.3.2")], ["headGroupSpec"])
    (fault,) = refused.value.faults
    assert fault.line().startswith("KubeRay operator in namespace ray: 1.3.2, expected 1.5.1 or newer; upgrade it")


def test_an_operator_that_hides_the_head_behind_a_cluster_ip_is_refused() -> None:
    installed = deployment("quay.io/kuberay/operator:v1.7.0")
    (container,) = installed["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "POD_NAME", "valueFrom": {}}, {"name": HEAD_CLUSTER_IP, "value": "False"}]
    assert found_in([installed], ["authOptions"])["usable"]
    container["env"][1]["value"] = "true"
    with pytest.raises(Refused) as refused:
        found_in([installed], ["authOptions"])
    (fault,) = refused.value.faults
    assert fault.code == "kuberay_head_service" and f"remove {HEAD_CLUSTER_IP}" in fault.line()


def test_the_fields_of_its_definition_are_told() -> None:
    schema = {"authOptions": {"properties": {"mode": {}, "secretName": {}}}, "headGroupSpec": {}}
    found = found_in([deployment("quay.io/kuberay/operator:v1.7.0")], schema)
    assert found["fields"] == ["authOptions", "authOptions.mode", "authOptions.secretName", "headGroupSpec"]


def test_without_operator_or_definition_there_is_none_to_use() -> None:
    assert not found_in([], None)["usable"]
    other = deployment("registry.example/other:1", **{"app.kubernetes.io/name": "other"})
    assert not found_in([other], ["authOptions"])["installed"]


@pytest.mark.parametrize(
    "image", ["quay.io/kuberay/operator:v1.6.0", "quay.io/kuberay/operator:nightly", "op@sha256:ab"]
)
@pytest.mark.parametrize("fields", [None, [], ["headGroupSpec"]])
def test_an_operator_that_cannot_be_used_is_refused_and_none_is_installed_beside_it(
    image: str, fields: list[str] | None
) -> None:
    with pytest.raises(Refused) as refused:
        found_in([deployment(image)], fields)
    (fault,) = refused.value.faults
    assert fault.code == "kuberay_not_usable" and "namespace ray" in fault.where


def test_an_operator_is_found_by_its_image_too_and_each_of_several_has_to_serve() -> None:
    unlabelled = deployment("team.example/kuberay-operator:v1.7.0", **{"app.kubernetes.io/name": "ray"})
    assert found_in([unlabelled], ["authOptions"])["usable"]
    with pytest.raises(Refused):
        found_in([unlabelled, deployment("quay.io/kuberay/operator:v1.3.0")], ["authOptions"])


def helm(folder: Path, version: str) -> str:
    program = folder / "helm"
    program.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("version", "kubernetes_core"), [("v3.22.0", "6.0.0"), ("v4.3.2", "6.5.0"), ("v4.3.2", "6.10.1"), ("v4.3.2", "")]
)
def test_helm_is_taken(tmp_path: Path, version: str, kubernetes_core: str) -> None:
    path = helm(tmp_path, version)
    assert find_helm(path, kubernetes_core) == {"path": path, "version": version}


def test_helm_4_needs_a_kubernetes_core_that_knows_it(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        find_helm(helm(tmp_path, "v4.3.2"), "6.4.1")
    (fault,) = refused.value.faults
    assert fault.code == "helm_version" and "kubernetes.core is 6.4.1" in fault.found
    assert "6.5.0" in fault.expected and "kubernetes.core:>=6.5.0" in fault.remedy


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ("v2.17.0", "helm_version", "is Helm v2.17.0"),
        ("v5.0.0", "helm_version", "Helm 3 or 4"),
        ("", "helm_version", "is Helm ,"),
        (None, "no_helm", "is not there"),
    ],
)
def test_another_helm_is_refused_with_the_ways_out(tmp_path: Path, version: str | None, code: str, words: str) -> None:
    path = str(tmp_path / "helm") if version is None else helm(tmp_path, version)
    with pytest.raises(Refused) as refused:
        find_helm(path)
    (fault,) = refused.value.faults
    assert fault.code == code and words in fault.line()
    assert "install Helm on the controller" in fault.remedy and "operator yourself" in fault.remedy


@pytest.mark.parametrize(("text", "version"), [("v1.7.0", (1, 7, 0)), ("1.10.2-rc1", (1, 10, 2)), ("latest", None)])
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    assert read_version(text) == version
