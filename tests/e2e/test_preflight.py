# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found out before the node pool is asked for: room in the account, and where all nodes fit.

Most of it shows in a plan, which makes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run
from tests.rig import samples

MakeAccount = Callable[..., "Account"]


class Account:
    """A tenancy of the test's own with a recipe for it."""

    def __init__(self, rig: RunningRig, folder: Path, options: dict[str, Any]) -> None:
        answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok", **options})
        self.tenancy = Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)
        self.domains: list[str] = answer["availability_domains"]
        samples.put_model(answer, rig.configuration)
        self.recipe = samples.recipe(samples.make_par(answer, rig.configuration))
        self.playbooks = Playbooks(folder, rig.environment(), self.tenancy.settings)
        self._rig = rig

    def plan(self, **changes: Any) -> Run:
        return self.playbooks.run("plan", {**self.recipe, **changes})

    def scenario(self, resource: str = "", operation: str = "", **does: Any) -> None:
        """Ask for a fault in this account."""
        match = {"tenancy": self.tenancy.compartment_id, "resource": resource, "operation": operation}
        given = {name: value for name, value in match.items() if value}
        self._rig.steer("POST", "/scenarios", {"match": given, "do": does})

    def calls(self, since: float = 0) -> list[str]:
        """The operations that were asked for."""
        log = self._rig.steer("GET", f"/calls?tenancy={self.tenancy.compartment_id}&since={since}")
        return [call["operation"] for call in log]


@pytest.fixture
def account(rig: RunningRig, tmp_path: Path) -> MakeAccount:
    return lambda **options: Account(rig, tmp_path, options)


def domain_of(run: Run) -> str:
    assert run.result is not None, run.output
    assert run.result["ok"], run.output
    (placement,) = run.result["plan"]["node_pool"]["node_config_details"]["placement_configs"]
    return placement["availability_domain"]


def codes(run: Run) -> list[str]:
    return [fault["code"] for fault in run.faults]


def warnings(run: Run) -> list[str]:
    assert run.result is not None and run.result["ok"], run.output
    return [warning["code"] for warning in run.result["plan"]["warnings"]]


def test_the_pool_goes_where_all_nodes_fit(account: MakeAccount) -> None:
    own = account()
    own.scenario("AD-1", capacity=1)
    own.scenario("AD-3", capacity=0)
    assert domain_of(own.plan()) == own.domains[1]


def test_a_limit_that_is_too_low_costs_nothing(account: MakeAccount) -> None:
    own = account(limits={"gpu-a10-count": 1})
    run = own.plan()
    assert codes(run) == ["gpu_limit"], run.output
    (fault,) = run.faults
    assert "gpu-a10-count" in fault["where"] and "1 GPU in" in fault["found"] and "2 GPUs" in fault["expected"]
    assert "CreateNodePool" not in own.calls()
    since = time.time()
    assert domain_of(own.plan(skip_quota_validation=True)) == own.domains[0]
    assert "GetResourceAvailability" not in own.calls(since) and "CreateComputeCapacityReport" in own.calls(since)


@pytest.mark.soak
def test_a_quota_of_the_compartment(account: MakeAccount) -> None:
    run = account(quotas={"gpu-a10-count": 1}).plan()
    assert codes(run) == ["gpu_limit"] and "quota is 1" in run.faults[0]["found"]


@pytest.mark.soak
def test_no_host_anywhere(account: MakeAccount) -> None:
    own = account()
    own.scenario("VM.GPU.A10.1", capacity=1)
    run = own.plan()
    assert codes(run) == ["host_capacity"] and "1 host free" in run.faults[0]["found"], run.output
    since = time.time()
    assert domain_of(own.plan(skip_capacity_validation=True)) == own.domains[0]
    assert "CreateComputeCapacityReport" not in own.calls(since)


@pytest.mark.soak
def test_the_recipes_domain_wins(account: MakeAccount) -> None:
    own = account()
    own.scenario("AD-3", capacity=0)
    named = {"recipe_availability_domain": own.domains[2].partition(":")[2]}
    assert codes(own.plan(**named)) == ["host_capacity"]
    settings = {"node_pool_availability_domains": [own.domains[2], own.domains[1]]}
    assert domain_of(own.plan(**settings)) == own.domains[1]
    assert domain_of(own.plan(**settings, recipe_availability_domain=own.domains[0])) == own.domains[0]


def test_what_may_not_be_asked_is_a_warning_with_the_policy(account: MakeAccount) -> None:
    own = account()
    for operation in ("GetResourceAvailability", "CreateComputeCapacityReport", "ListPrivateIps"):
        own.scenario(operation=operation, status=404, code="NotAuthorizedOrNotFound", message="Authorization failed")
    run = own.plan()
    assert {"limit_unknown", "capacity_unknown", "addresses_unknown"} <= set(warnings(run))
    assert "Allow group <yours> to" in run.output


@pytest.mark.soak
@pytest.mark.parametrize(
    ("options", "changes", "code"),
    [
        ({"limits": {"total-storage-gb": 100}}, {}, "volume_limit"),
        ({"limits": {"lb-flexible-count": 0}}, {"endpoint_exposure": "load_balancer"}, "load_balancer_limit"),
        ({"subnets": {"workers": "10.0.96.0/30"}}, {}, "subnet_full"),
        ({"cni": "OCI_VCN_IP_NATIVE", "subnets": {"pods": "10.0.128.0/26"}}, {}, "subnet_full"),
    ],
    ids=["volumes", "load_balancer", "workers", "pods"],
)
def test_what_else_is_short(account: MakeAccount, options: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    own = account(**options)
    run = own.plan(**changes)
    assert codes(run) == [code], run.output
    assert "CreateNodePool" not in own.calls()
