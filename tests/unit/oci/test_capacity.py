# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of limits, capacity and addresses, and what an answer means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.oci.capacity import CHECKS, read_room
from tests.unit.oci.fakes import COMPARTMENT, Connection, Response, service_error

TENANCY = "ocid1.tenancy.oc1..aaaa"
AD = "Uocm:IAD-AD-1"
SHAPE = "VM.GPU.A10.2"
OFFER = {AD: {"shape": SHAPE, "quota_names": ["gpu-a10-count"]}}


class Account:
    """The clients of three services; what a limit or a report answers is set by the test."""

    def __init__(self) -> None:
        self.limits: dict[tuple[str, str, str | None], Any] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.report: Any = ("AVAILABLE", 3)
        self.addresses = 10

    def get_resource_availability(
        self, service: str, name: str, compartment: str, availability_domain: str | None = None
    ) -> Response:
        self.asked.append((name, compartment, availability_domain))
        answer = self.limits.get((name, compartment, availability_domain), service_error(404, "NotFound"))
        if isinstance(answer, Exception):
            raise answer
        available, quota = answer if isinstance(answer, tuple) else (answer, None)
        return Response(SimpleNamespace(available=available, fractional_availability=None, effective_quota_value=quota))

    def create_compute_capacity_report(self, details: Any) -> Response:
        assert details.compartment_id == TENANCY
        if isinstance(self.report, Exception):
            raise self.report
        status, count = self.report
        shape = details.shape_availabilities[0].instance_shape
        item = SimpleNamespace(instance_shape=shape, availability_status=status, available_count=count)
        return Response(SimpleNamespace(shape_availabilities=[item]))

    def get_subnet(self, subnet_id: str) -> Response:
        return Response(SimpleNamespace(display_name="workers", cidr_block="10.0.0.0/28", ipv4_cidr_blocks=None))

    def list_private_ips(self, subnet_id: str, limit: int, page: str = "") -> Response:
        half = self.addresses // 2
        return Response([None] * half) if page else Response([None] * half, {"opc-next-page": "2"})


@pytest.fixture
def account() -> Account:
    return Account()


def read(account: Account, *checks: str, offer: Any = OFFER, tenancy: str = TENANCY, subnets: Any = ()) -> Any:
    connection = Connection(limits=account, compute=account, virtual_network=account)
    connection.tenancy = tenancy
    return read_room(connection, COMPARTMENT, SHAPE, offer, subnets, checks)  # type: ignore[arg-type]


def test_only_what_is_asked_for_is_asked(account: Account) -> None:
    assert read(account) == {} and not account.asked
    assert set(read(account, "capacity")) == {"capacity"} and not account.asked
    assert set(read(account, *CHECKS)) == {"limits", "volumes", "capacity", "addresses", "load_balancers"}


def test_the_least_of_the_tenancys_limit_and_the_compartments_quota(account: Account) -> None:
    account.limits = {("gpu-a10-count", TENANCY, AD): 8, ("gpu-a10-count", COMPARTMENT, AD): (2, 4)}
    (entry,) = read(account, "limits")["limits"][AD]
    assert entry == {"name": "gpu-a10-count", "available": 2, "quota": 4}


def test_who_may_not_ask_for_the_tenancy_asks_for_the_compartment(account: Account) -> None:
    account.limits = {("gpu-a10-count", COMPARTMENT, AD): 6}
    assert read(account, "limits")["limits"][AD][0]["available"] == 6
    account.asked.clear()
    read(account, "limits", tenancy="")
    assert {compartment for _name, compartment, _domain in account.asked} == {COMPARTMENT}


def test_a_limit_without_a_count_is_not_known(account: Account) -> None:
    assert read(account, "limits")["limits"][AD] == [{"name": "gpu-a10-count", "unknown": "HTTP 404 NotFound"}]


def test_a_limit_of_the_region_is_asked_without_the_domain(account: Account) -> None:
    wrong = service_error(400, "InvalidParameter")
    account.limits = {
        ("gpu-a10-count", TENANCY, AD): wrong,
        ("gpu-a10-count", COMPARTMENT, AD): wrong,
        ("gpu-a10-count", TENANCY, None): 4,
        ("gpu-a10-count", COMPARTMENT, None): 4,
    }
    assert read(account, "limits")["limits"][AD][0]["available"] == 4


def test_the_shapes_own_limit_names_go_before_those_of_its_family(account: Account) -> None:
    offer = {AD: {"shape": SHAPE, "quota_names": ["gpu-new-count"]}}
    assert read(account, "limits", offer=offer)["limits"][AD][0]["name"] == "gpu-new-count"
    assert read(account, "limits", offer={AD: {"shape": SHAPE}})["limits"][AD][0]["name"] == "gpu-a10-count"


def test_the_capacity_report(account: Account) -> None:
    assert read(account, "capacity")["capacity"] == {AD: {"status": "AVAILABLE", "count": 3}}
    account.report = service_error(404, "NotAuthorizedOrNotFound")
    assert read(account, "capacity")["capacity"] == {AD: {"unknown": "HTTP 404 NotAuthorizedOrNotFound"}}
    assert "tenancy" in read(account, "capacity", tenancy="")["capacity"][AD]["unknown"]


def test_addresses_that_nobody_has(account: Account) -> None:
    found = read(account, "addresses", subnets=["ocid1.subnet"])["addresses"]
    assert found == {"ocid1.subnet": {"name": "workers", "free": 16 - 3 - 10}}
