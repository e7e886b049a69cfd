# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a deployment in the cloud: by tags, by OCID, by name; and what may not be looked for."""

from __future__ import annotations

from typing import Any

import oci
import pytest

from ansible_collections.multinode.inference.plugins.module_utils.oci.errors import explained
from ansible_collections.multinode.inference.plugins.module_utils.oci.leftovers import Remainder, fault_of
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, Clock, Response, service_error

TAGS = {"multinode-inference-deployment": "a", "multinode-inference-cluster": CLUSTER}


class Services:
    """Each service of the connection; `answers` by the operation's name, or an exception."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"list_node_pools": [], "list_instances": [], **answers}
        self.asked: list[str] = []

    def client(self, service: str) -> Services:
        return self

    def asking(self, service: str, doing: str, where: str, policy: str = "", remedy: str = "") -> Any:
        return explained(doing, where, policy=policy)

    def __getattr__(self, operation: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Response:
            self.asked.append(operation)
            answer = self.answers[operation]
            if callable(answer):
                answer = answer()
            if isinstance(answer, Exception):
                raise answer
            return Response(answer)

        return call


def instance(name: str, state: str, tags: dict[str, str]) -> Any:
    return oci.core.models.Instance(
        id=f"ocid1.instance.{name}", display_name=name, lifecycle_state=state, freeform_tags=tags
    )


def look(services: Any, **given: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    return Remainder(services, CLUSTER, [COMPARTMENT], "a", **given).look()


def test_instances_of_the_deployment_that_run() -> None:
    other = {**TAGS, "multinode-inference-deployment": "b"}
    instances = [
        instance("mine", "RUNNING", TAGS),
        instance("ending", "TERMINATING", TAGS),
        instance("other", "RUNNING", other),
        instance("bare", "RUNNING", {}),
    ]
    services = Services(list_instances=instances)
    assert look(services) == (
        [{"kind": "instance", "id": "ocid1.instance.mine", "name": "mine", "state": "RUNNING"}],
        [],
    )
    # What it never had is not asked for.
    assert services.asked == ["list_node_pools", "list_instances"]


def test_volumes_and_load_balancers_that_it_had() -> None:
    models, network = oci.load_balancer.models, oci.network_load_balancer.models
    volume = oci.core.models.Volume(id="ocid1.volume.x", display_name="csi-x", lifecycle_state="AVAILABLE")
    classic = models.LoadBalancer(id="ocid1.loadbalancer.x", display_name="uid-x", lifecycle_state="ACTIVE")
    summary = network.NetworkLoadBalancerSummary(id="n", display_name="a/y/uid-y", lifecycle_state="ACTIVE")
    left, unseen = look(
        Services(
            get_volume=volume,
            list_load_balancers=[classic],
            list_network_load_balancers=network.NetworkLoadBalancerCollection(items=[summary]),
        ),
        volumes=["ocid1.volume.x"],
        load_balancers=["uid-x", "a/y/uid-y", "uid-gone"],
    )
    assert [(one["kind"], one["name"]) for one in left] == [
        ("volume", "csi-x"),
        ("load_balancer", "uid-x"),
        ("load_balancer", "a/y/uid-y"),
    ]
    assert unseen == []
    assert fault_of(left[0]).where == "volume csi-x"


def test_a_right_that_is_missing_hides_only_what_it_hides() -> None:
    services = Services(
        list_instances=service_error(404, "NotAuthorizedOrNotFound"), get_volume=service_error(404, "NotFound")
    )
    left, unseen = look(services, volumes=["ocid1.volume.gone"])
    assert left == []
    assert [fault.code for fault in unseen] == ["cloud_not_found_or_not_authorized"]
    assert "inspect instances" in unseen[0].remedy


@pytest.mark.parametrize(("seconds", "looks"), [(0, 1), (60, 3)])
def test_looks_until_nothing_is_left(seconds: float, looks: int) -> None:
    rest = [[instance("mine", "RUNNING", TAGS)], [instance("mine", "RUNNING", TAGS)], []]
    services: Any = Services(list_instances=lambda: rest.pop(0))
    clock = Clock()
    remainder = Remainder(services, CLUSTER, [COMPARTMENT], "a")
    left, _unseen = remainder.wait(Wait(seconds, first=2, clock=clock, sleep=clock.sleep))
    assert services.asked.count("list_instances") == looks
    assert bool(left) == (seconds == 0)


def test_every_compartment_is_looked_in_and_one_that_may_not_be_read_is_told() -> None:
    places: list[str] = []

    class Places(Services):
        def __getattr__(self, operation: str) -> Any:
            call = super().__getattr__(operation)

            def asked(*arguments: Any, **options: Any) -> Response:
                places.append(options["compartment_id"])
                if options["compartment_id"] == "forged":
                    raise service_error(404, "NotAuthorizedOrNotFound")
                found: Response = call(*arguments, **options)
                return found

            return asked

    services: Any = Places(list_instances=[instance("mine", "RUNNING", TAGS)])
    left, unseen = Remainder(services, CLUSTER, ["own", "forged"], "a").look()
    assert [item["name"] for item in left] == ["mine"] and len(unseen) == 2
    assert set(places) == {"own", "forged"}
