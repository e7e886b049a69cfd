# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a thing is."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels, object_names
from ansible_collections.multinode.inference.plugins.module_utils.core.ownership import (
    is_ours,
    namespace_is_ours,
    not_ours,
    pool_record,
    recorded_pool,
    request_name,
    takes_name,
)


def test_labels_or_the_owner_prove_it_and_no_name_does() -> None:
    assert is_ours({"metadata": {"name": "x", "labels": common_labels("llama")}}, "llama")
    assert not is_ours({"metadata": {"name": "llama", "labels": common_labels("other")}}, "llama")
    owned = {"metadata": {"name": "llama-head-svc", "ownerReferences": [{"uid": "1"}]}}
    assert is_ours(owned, "llama", {"1"}) and not is_ours(owned, "llama", {"2"}) and not is_ours(owned, "llama")
    assert not is_ours({}, "llama")


def test_a_namespace_of_another_name_was_given_and_is_nobodys_own() -> None:
    marked = {"metadata": {"name": "llm", "labels": common_labels("llama")}}
    assert not namespace_is_ours(marked, "llama")
    assert namespace_is_ours({"metadata": {**marked["metadata"], "name": "llama"}}, "llama")
    assert not namespace_is_ours({"metadata": {"name": "llama"}}, "llama")


def test_deployments_of_one_name_in_two_clusters_have_requests_of_their_own() -> None:
    names = {request_name("llama", "llama", "a"), request_name("llama", "llama", "b"), request_name("llama", "x", "a")}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("kind", "name", "takes"),
    [
        ("RayCluster", "llama", True),
        ("Service", "llama-api", True),
        ("Secret", "llama", True),
        ("Secret", "llama-hub", False),
        ("ConfigMap", "llama-runtime-0123456789", True),
        ("ConfigMap", "llama-runtime-notes", False),
        ("PersistentVolume", "ns-llama-0123456789ab", True),
        ("PersistentVolumeClaim", "llama-0123456789ab", True),
        ("Deployment", "llama", False),
    ],
)
def test_which_names_the_deployment_takes(kind: str, name: str, takes: bool) -> None:
    assert takes_name(kind, name, "llama", "ns") == takes


def test_every_object_with_a_fixed_name_is_watched_over() -> None:
    kinds = {"raycluster": "RayCluster", "api_service": "Service", "head_service": "Service"}
    kinds |= {"network_policy": "NetworkPolicy", "endpoint_policy": "NetworkPolicy"}
    kinds |= {"disruption_budget": "PodDisruptionBudget"}
    # Not made for each deployment; who makes them looks at their names (test_lease.py, test_benchmark.py, test_monitoring.py).
    elsewhere = {"lease", "benchmark", "board", "certificate_rule"}
    names = object_names("llama")
    assert elsewhere < names.keys()
    for key, name in names.items():
        if key in elsewhere:
            continue
        assert takes_name(kinds.get(key, "Secret"), name, "llama", "llama"), key


def test_the_fault_names_object_and_namespace() -> None:
    assert not_ours("Service", "llama-api", "llama", "ns").where == "Service llama-api in namespace ns"


def test_where_the_pool_is_comes_back_from_the_annotation() -> None:
    pool = {"id": "ocid1.nodepool.oc1.iad.aaaa", "compartment_id": "ocid1.compartment.oc1..x", "name": "llama"}
    assert recorded_pool(pool_record(pool)) == {"id": pool["id"], "compartment_id": pool["compartment_id"]}
    assert pool_record({**pool, "id": ""}) == pool_record({}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "7",
        '{"id": "ocid1.nodepool.a"}',
        '{"id": "../x", "compartment_id": "ocid1.compartment.a"}',
        "[" * 99_999,
    ],
)
def test_an_annotation_that_says_no_place_says_nothing(text: str) -> None:
    assert recorded_pool({"multinode.inference/node-pool": text}) == {}
