# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a cluster forbids a deployment, what is only said, and which rights a deployment takes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.kubernetes_rights import (
    Right,
    report_missing,
    rights,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.endpoint import (
    Surroundings,
    endpoint_objects,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render, secret
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.prerequisites import check_prerequisites
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.endpoint_settings import (
    endpoint_resources,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.kube.removal import _KINDS

from ..plans import exposed, facts, plan
from ..recipes import recipe

POD = {
    "gpus": 2,
    "cpu": 52,
    "memory_gib": 400,
    "ephemeral_storage_gib": 500,
    "node_selector": {"node.kubernetes.io/instance-type": "VM.GPU.A10.2"},
    "tolerations": [],
    "volumes": [{"kind": "block", "storage_class": "oci-bv"}],
}


def found(**changes: Any) -> dict[str, Any]:
    """A cluster in order, with changes."""
    return {
        "missing_rights": [],
        "nodes": 1,
        "system_nodes": ["10.0.0.2"],
        "dns": [{"name": "coredns", "ready": 2, "wanted": 2}],
        "advertisers": ["DaemonSet kube-system/nvidia-gpu-device-plugin"],
        "policy_engines": ["Calico"],
        "storage_classes": ["oci-bv"],
        "operator": None,
        "operator_available": True,
        "operator_faults": [],
        "not_ours": [],
        "gpu_nodes": None,
        "definitions_missing": [],
        **changes,
    }


def node(name: str = "10.0.0.9", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "labels": {"node.kubernetes.io/instance-type": "VM.GPU.A10.2"},
        "ready": True,
        "schedulable": True,
        "taints": ["nvidia.com/gpu"],
        "allocatable": {"gpus": 2, "cpu": 59, "memory_gib": 460, "ephemeral_gib": 600},
        "requested": {"gpus": 0, "cpu": 1, "memory_gib": 1, "ephemeral_gib": 0},
        **changes,
    }


def checked(cluster: dict[str, Any], nodes: int = 2) -> Findings:
    findings = Findings()
    check_prerequisites(cluster, POD, nodes, read_inputs(recipe()).settings, findings)
    return findings


def judged(nodes: int = 2, **changes: Any) -> tuple[list[str], list[str]]:
    findings = checked(found(**changes), nodes)
    return [fault.code for fault in findings.faults], [warning.code for warning in findings.warnings]


def test_a_cluster_in_order_and_none() -> None:
    assert judged() == ([], [])
    assert not checked({}).faults and not checked({}).warnings


@pytest.mark.parametrize(
    ("changes", "faults", "warnings"),
    [
        ({"dns": []}, ["dns_not_ready"], []),
        ({"dns": [{"name": "coredns", "ready": 0, "wanted": 2}]}, ["dns_not_ready"], []),
        ({"system_nodes": [], "operator_available": False}, ["system_node_missing"], []),
        ({"system_nodes": []}, [], []),
        ({"storage_classes": ["other"]}, ["storage_class_missing"], []),
        ({"advertisers": ["DaemonSet a/b", "DaemonSet c/d"]}, ["gpus_advertised_twice"], []),
        ({"advertisers": []}, [], ["gpus_not_advertised"]),
        ({"advertisers": [], "gpu_nodes": [node(), node("b")]}, [], []),
        ({"policy_engines": []}, [], ["network_policy_not_enforced"]),
        (dict.fromkeys(("dns", "advertisers", "policy_engines", "storage_classes", "system_nodes")), [], []),
    ],
)
def test_what_is_wrong_and_what_is_only_said(changes: dict[str, Any], faults: list[str], warnings: list[str]) -> None:
    assert judged(**changes) == (faults, warnings)


def test_who_is_to_be_watched_needs_prometheus_operator() -> None:
    (fault,) = checked(found(definitions_missing=["podmonitors.monitoring.coreos.com"])).faults
    assert fault.code == "prometheus_operator_missing" and "podmonitors" in fault.found
    settings = read_inputs(recipe(monitoring="prometheus_operator", metrics_namespaces=["monitoring"])).settings
    asked = {(right.group, right.resource) for right in rights("llama", endpoint=endpoint_resources(settings))}
    more = asked - {(right.group, right.resource) for right in rights("llama")}
    assert more == {("monitoring.coreos.com", plural) for plural in ("podmonitors", "prometheusrules")}


def test_everything_wrong_is_said_at_once() -> None:
    wrong = found(dns=[], storage_classes=[], missing_rights=[Right("list", "", "nodes").as_dict()])
    codes = [fault.code for fault in checked(wrong).faults]
    assert codes == ["right_missing", "dns_not_ready", "storage_class_missing"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ready": False}, "not Ready"),
        ({"schedulable": False}, "cordoned"),
        ({"taints": ["team"]}, "taint team"),
        ({"requested": {"gpus": 1, "cpu": 0, "memory_gib": 0, "ephemeral_gib": 0}}, "1 of 2 GPUs free"),
        ({"requested": {"gpus": 0, "cpu": 8, "memory_gib": 0, "ephemeral_gib": 0}}, "51 of 59 vCPU free"),
        ({"requested": {"gpus": 0, "cpu": 0, "memory_gib": 61, "ephemeral_gib": 0}}, "399 of 460 GiB of memory free"),
        ({"allocatable": {**node()["allocatable"], "ephemeral_gib": 40}}, "40 of 40 GiB of disk free"),
    ],
)
def test_each_node_that_does_not_fit_is_named_with_the_reason(changes: dict[str, Any], words: str) -> None:
    nodes = [node("10.0.0.8"), node("10.0.0.9", **changes), node("other", labels={})]
    (fault,) = checked(found(gpu_nodes=nodes)).faults
    assert fault.code == "gpu_nodes_too_few"
    assert fault.found == f"1 of 2 can take a pod; 10.0.0.9: {words}"
    assert judged(1, gpu_nodes=nodes) == ([], [])


def test_no_node_of_the_shape() -> None:
    (fault,) = checked(found(gpu_nodes=[])).faults
    assert fault.found == "0 of 0 can take a pod" and "2, each with 2 GPUs, 52 vCPU" in fault.expected


def test_rights_are_told_kind_by_kind() -> None:
    entries = [
        Right("create", "ray.io", "rayclusters", "llama").as_dict(),
        Right("patch", "ray.io", "rayclusters", "llama").as_dict(),
        Right("get", "", "pods", "llama", "log").as_dict(),
    ]
    findings = Findings()
    report_missing(entries, findings)
    lines = [fault.found for fault in findings.faults]
    assert lines == [
        "may not create, patch rayclusters.ray.io in namespace llama",
        "may not get pods/log in namespace llama",
    ]


def test_every_object_that_is_made_or_removed_is_among_the_rights() -> None:
    made = plan()
    name = made["deployment"]["namespace"]
    allowed = {(right.verb, right.group, right.resource, right.namespace) for right in rights(name)}
    objects = [*render(made, {}), secret(made, "api_key_secret", {"default": "x"})]
    for item in objects:
        group = item["apiVersion"].rpartition("/")[0]
        kind = item["kind"].lower()
        resource = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
        place = "" if kind == "namespace" else name
        for verb in ("get", "create", "patch"):
            assert (verb, group, resource, place) in allowed
    allowed |= {
        (right.verb, right.group, right.resource, right.namespace)
        for right in rights(name, endpoint=("ingresses", "httproutes", "certificates"))
    }
    for version, _kind, _path, resource in _KINDS:
        group = version.rpartition("/")[0]
        assert {("list", group, resource, name), ("delete", group, resource, name)} <= allowed


@pytest.mark.parametrize("exposure", ["ingress", "gateway"])
def test_the_rights_of_an_endpoints_objects_are_asked_only_where_it_has_them(exposure: str) -> None:
    changes = exposed(exposure, **({"endpoint_tls_issuer": "Issuer/a"} if exposure == "ingress" else {}))
    wanted = endpoint_resources(read_inputs(recipe(**changes)).settings)
    asked = {(right.group, right.resource) for right in rights("llama", endpoint=wanted)}
    more = asked - {(right.group, right.resource) for right in rights("llama")}
    around = Surroundings("192.0.2.7", listeners={"https": "a"})
    made = {item["apiVersion"].partition("/")[0] for item in endpoint_objects(plan(**changes), around)} - {"v1"}
    assert {group for group, _resource in more} | {"networking.k8s.io"} == made | {"networking.k8s.io"}
    assert len(more) == (2 if exposure == "ingress" else 1)


def test_the_operators_rights_are_asked_only_where_it_is_to_be_installed() -> None:
    kinds = {right.kind for right in rights("llama")}
    assert not any("clusterroles" in kind for kind in kinds)
    installing = rights("llama", "kuberay-system", file_systems=True)
    assert Right("create", "rbac.authorization.k8s.io", "clusterroles") in installing
    assert Right("create", "apps", "deployments", "kuberay-system") in installing
    assert Right("create", "", "persistentvolumes") in installing
    # The operator's roles hold rights that the user need not have.
    for verb in ("escalate", "bind"):
        assert Right(verb, "rbac.authorization.k8s.io", "clusterroles") in installing
        assert Right(verb, "rbac.authorization.k8s.io", "roles", "kuberay-system") in installing
    assert len(installing) == len(set(installing))


def test_block_volumes_are_seen_to_go_by_whoever_deploys() -> None:
    whole = {(right.verb, right.resource) for right in rights("llama") if not right.namespace}
    assert {verb for verb, resource in whole if resource == "persistentvolumes"} == {"list"}


def test_the_plan_takes_it_over() -> None:
    made = plan(facts(surroundings=found(policy_engines=[])))
    assert "network_policy_not_enforced" in [warning["code"] for warning in made["warnings"]]


OURS = {"version": "1.6.2", "namespace": "kuberay-system", "release": "kuberay-system/kuberay-operator"}


@pytest.mark.parametrize(
    ("operator", "settings", "faults", "warnings"),
    [
        (OURS, {}, [], ["kuberay_older"]),
        (OURS, {"kuberay_upgrade": True}, [], []),
        ({**OURS, "release": None}, {}, [], ["kuberay_older"]),
        ({**OURS, "release": None}, {"kuberay_upgrade": True}, ["kuberay_not_ours"], []),
        ({**OURS, "release": "rays/kuberay-operator"}, {"kuberay_upgrade": True}, ["kuberay_not_ours"], []),
        ({**OURS, "release": "rays/kuberay-operator"}, {"kuberay_upgrade": True, "kuberay_namespace": "rays"}, [], []),
        ({**OURS, "version": "1.7.1"}, {"kuberay_upgrade": True}, [], []),
        ({**OURS, "version": "1.10.0", "release": None}, {"kuberay_upgrade": True}, [], []),
        ({**OURS, "version": None}, {"kuberay_upgrade": True}, [], []),
        (OURS, {"kuberay_chart_version": "1.6.2"}, [], []),
    ],
)
def test_an_older_operator_is_told_and_upgraded_only_where_it_is_the_release_that_deploy_installs(
    operator: dict[str, Any], settings: dict[str, Any], faults: list[str], warnings: list[str]
) -> None:
    findings = Findings()
    check_prerequisites(found(operator=operator), POD, 2, read_inputs(recipe(**settings)).settings, findings)
    assert [fault.code for fault in findings.faults] == faults
    assert [warning.code for warning in findings.warnings] == warnings
    for warning in findings.warnings:
        assert ("kuberay_upgrade: true" in warning.remedy) == bool(operator["release"])
