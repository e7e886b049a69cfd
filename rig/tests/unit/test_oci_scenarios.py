# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls a scenario touches, and how often."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.errors import ServiceError
from rig.oci.scenarios import Scenarios
from rig.oci.state import Tenancy, Timings

PUBLIC_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


def tenancy(name: str) -> Tenancy:
    return Tenancy(name, "kwok", "FLANNEL_OVERLAY", "v1.37.2", PUBLIC_KEY, "aa:bb", Timings())


@pytest.fixture
def scenarios() -> Scenarios:
    return Scenarios()


def test_an_error_acts_as_often_as_it_says(scenarios: Scenarios) -> None:
    scenarios.add({"match": {"operation": "GetNodePool"}, "do": {"status": 429, "code": "TooManyRequests", "times": 2}})
    one = tenancy("one")
    statuses = [scenarios.effect(one, "GetNodePool", "/pool").error for _ in range(3)]
    assert [error.status if error else None for error in statuses] == [429, 429, None]


def test_nth_is_the_first_to_be_touched_and_the_only_one(scenarios: Scenarios) -> None:
    scenarios.add({"match": {"operation": "List*", "nth": 2}, "do": {"status": 500}})
    one = tenancy("one")
    touched = [bool(scenarios.effect(one, "ListNodePools", "/").error) for _ in range(4)]
    assert touched == [False, True, False, False]


def test_a_scenario_stays_in_its_tenancy(scenarios: Scenarios) -> None:
    one, other = tenancy("one"), tenancy("other")
    scenarios.add({"match": {"tenancy": one.cluster_id}, "do": {"delay_s": 3}})
    assert scenarios.effect(one, "GetCluster", "/").delay_s == 3
    assert scenarios.effect(other, "GetCluster", "/").delay_s == 0
    assert [len(scenarios.of(each)) for each in (one, other)] == [1, 0]


def test_a_resource_is_a_part_of_what_is_asked_for(scenarios: Scenarios) -> None:
    scenarios.add({"match": {"resource": "model-*.safetensors"}, "do": {"rate_bytes_per_s": 10}})
    one = tenancy("one")
    assert scenarios.effect(one, "GetObject", "/n/ns/b/models/o/org/model-00001.safetensors").rate_bytes_per_s == 10
    assert scenarios.effect(one, "GetObject", "/n/ns/b/models/o/org/config.json").rate_bytes_per_s is None


def test_without_an_operation_the_life_of_machines_is_left_alone(scenarios: Scenarios) -> None:
    scenarios.add({"do": {"status": 500}})
    assert scenarios.effect(tenancy("one"), "LaunchInstance", "VM.GPU.A10.1").error is None


def test_capacity_is_held_by_machines_until_they_are_given_back(scenarios: Scenarios) -> None:
    scenarios.add({"match": {"resource": "VM.GPU.A10.1"}, "do": {"capacity": 2}})
    one = tenancy("one")
    resource = "VM.GPU.A10.1 abcd:US-ASHBURN-AD-1 pool ocid"

    def launch(instance: str) -> bool:
        return scenarios.effect(one, "LaunchInstance", resource, instance).error is None

    assert [launch("a"), launch("b"), launch("c")] == [True, True, False]
    assert scenarios.capacity_left(one, resource) == 0
    scenarios.release("a")
    assert scenarios.capacity_left(one, resource) == 1
    assert launch("d")
    assert scenarios.capacity_left(one, "BM.GPU.H100.8 ...") is None
    error = scenarios.effect(one, "LaunchInstance", resource, "e").error
    assert error is not None
    assert (error.status, error.code, error.message) == (500, "InternalError", "Out of host capacity.")


@pytest.mark.parametrize(
    "request_, said",
    [
        ([], "match"),
        ({"match": {}, "do": {}}, "do is empty"),
        ({"match": {"verb": "x"}, "do": {"times": 1}}, "match.verb is not known"),
        ({"match": {"nth": 0}, "do": {"status": 500}}, "the first call is 1"),
        ({"match": {}, "do": {"status": "500"}}, "do.status is '500'"),
    ],
)
def test_a_scenario_that_cannot_be_meant_is_refused(scenarios: Scenarios, request_: object, said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        scenarios.add(request_)
