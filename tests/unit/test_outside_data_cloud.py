# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is missing or odd in an answer of Oracle Cloud: what reads it answers or refuses, and what only advises says `unknown`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import oci
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health.launch_errors import pool_faults
from ansible_collections.multinode.inference.plugins.module_utils.oci import node_pools
from ansible_collections.multinode.inference.plugins.module_utils.oci.capacity import CHECKS, read_room
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import MOST_ITEMS, all_pages
from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster import Wanted, describe
from ansible_collections.multinode.inference.plugins.module_utils.oci.compartments import find_elsewhere
from ansible_collections.multinode.inference.plugins.module_utils.oci.leftovers import Remainder, fault_of
from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pools import NodePools
from ansible_collections.multinode.inference.plugins.module_utils.oci.preauthenticated_requests import (
    PreauthenticatedRequests,
    serves,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from ansible_collections.multinode.inference.plugins.module_utils.sources import bucket
from ansible_collections.multinode.inference.plugins.module_utils.sources.bucket import BucketSource
from ansible_collections.multinode.inference.plugins.module_utils.sources.facts import model_facts
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT, Connection, Response

ENGINE, CORE, STORAGE = oci.container_engine.models, oci.core.models, oci.object_storage.models
TAGS = {"multinode-inference-deployment": "llama", "multinode-inference-cluster": CLUSTER}
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.none() | st.text(max_size=8) | st.just("\x1b[2J") | st.just("x" * 10_000)


def odd(model: Callable[..., Any], **fields: Any) -> st.SearchStrategy[Any]:
    """A model of the SDK with these fields, of which any may be missing, or where it is a text another one."""
    parts = {
        name: st.none() | value
        if isinstance(value, st.SearchStrategy)
        else st.sampled_from([value, value, value, None]) | (TEXT if isinstance(value, str) else st.just(value))
        for name, value in fields.items()
    }
    return st.builds(model, **parts)


NODES = st.lists(
    odd(
        ENGINE.Node,
        id="ocid1.instance.a",
        lifecycle_state="ACTIVE",
        node_error=odd(ENGINE.NodeError, code="InternalError", message="Out of host capacity."),
    ),
    max_size=2,
)
PLACES = st.lists(odd(ENGINE.NodePoolPlacementConfigDetails, availability_domain="AD-1", subnet_id="s"), max_size=2)
POOL = odd(
    ENGINE.NodePool,
    id="ocid1.nodepool.a",
    name="llama",
    lifecycle_state="ACTIVE",
    compartment_id=COMPARTMENT,
    freeform_tags=TAGS,
    nodes=NODES,
    node_config_details=odd(ENGINE.NodePoolNodeConfigDetails, size=2, placement_configs=PLACES),
)
WORK = odd(
    ENGINE.WorkRequest,
    id="ocid1.clustersworkrequest.a",
    status="FAILED",
    operation_type="NODEPOOL_CREATE",
    resources=st.lists(odd(ENGINE.WorkRequestResource, entity_type="nodepool", identifier="ocid1.nodepool.a")),
)
CLUSTERS = odd(ENGINE.Cluster, id=CLUSTER, compartment_id=COMPARTMENT, lifecycle_state="ACTIVE", name="c")


def answering(**answers: Any) -> SimpleNamespace:
    """A client of the SDK whose calls return these, whatever they are asked."""

    def returning(answer: Any) -> Callable[..., Response]:
        return lambda *_arguments, **_options: Response(answer)

    return SimpleNamespace(
        base_client=SimpleNamespace(endpoint="https://x"),
        **{name: returning(answer) for name, answer in answers.items()},
    )


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_pools, "Wait", lambda **_how: Wait(seconds=0))


@SOME
@given(st.lists(POOL, max_size=2), POOL, st.lists(WORK, max_size=2), CLUSTERS)
def test_node_pools(listed: list[Any], pool: Any, requests: list[Any], cluster: Any) -> None:
    errors = [ENGINE.WorkRequestError(code=None, message=None)]
    engine = answering(
        get_cluster=cluster,
        list_node_pools=listed,
        get_node_pool=pool,
        list_work_requests=requests,
        get_work_request=requests[0] if requests else ENGINE.WorkRequest(),
        list_work_request_errors=errors,
        get_node_pool_options=ENGINE.NodePoolOptions(),
    )
    identity = answering(
        list_compartments=[oci.identity.models.Compartment(id=None), oci.identity.models.Compartment(id="c")],
        list_availability_domains=[oci.identity.models.AvailabilityDomain(name=None)],
    )
    compute = answering(list_instances=[])
    connection: Any = Connection(container_engine=engine, identity=identity, compute=compute)
    pools = NodePools(connection, CLUSTER, COMPARTMENT)
    reads: list[Callable[[], Any]] = [
        lambda: pools.find("llama", "llama"),
        lambda: pools.find_unlisted("llama", "llama"),
        lambda: pools.list_deleting("llama"),
        lambda: pools.living_node("ocid1.nodepool.a", "ocid1.instance.a"),
        lambda: [pool_faults(one, pools.newest_work_request(one["id"])) and one for one in pools.of_deployments()],
        lambda: pools.wait_until_active("ocid1.nodepool.a", "w", Wait(seconds=0)),
        lambda: pools.wait_until_deleted("ocid1.nodepool.a", "w", Wait(seconds=0)),
        lambda: find_elsewhere(pools, "llama", "llama", "ocid1.nodepool.a", True),
        lambda: describe(connection, CLUSTER, "", "", Wanted("llama")),
        lambda: [fault_of(one) for one in Remainder(connection, CLUSTER, [COMPARTMENT], "llama").look()[0]],
    ]
    for read in reads:
        with contextlib.suppress(Refused):
            read()


INSTANCE = odd(CORE.Instance, id="ocid1.instance.a", lifecycle_state="RUNNING", freeform_tags=TAGS)
VOLUME = odd(CORE.Volume, id="v", lifecycle_state="AVAILABLE", display_name="v")
BALANCER = odd(oci.load_balancer.models.LoadBalancer, id="b", display_name="uid", lifecycle_state="ACTIVE")


@SOME
@given(st.lists(INSTANCE, max_size=2), VOLUME, st.lists(BALANCER, max_size=2))
def test_what_is_left(instances: list[Any], volume: Any, balancers: list[Any]) -> None:
    connection: Any = Connection(
        container_engine=answering(list_node_pools=[]),
        compute=answering(list_instances=instances),
        block_storage=answering(get_volume=volume),
        load_balancer=answering(list_load_balancers=balancers),
    )
    left, unseen = Remainder(connection, CLUSTER, [COMPARTMENT], "llama", ["v"], ["uid"]).look()
    assert all(fault_of(one).line() for one in left) and all(fault.line() for fault in unseen)


NUMBER = st.none() | st.integers(-5, 10**30) | st.floats()
SHAPES = st.lists(
    st.builds(
        CORE.CapacityReportShapeAvailability,
        instance_shape=st.sampled_from(["VM.GPU.A10.1", None]),
        availability_status=TEXT,
        available_count=NUMBER,
    ),
    max_size=2,
)


@SOME
@given(NUMBER, NUMBER, NUMBER, st.none() | SHAPES, st.sampled_from(["10.0.0.0/24", "", None, "x", "::/0"]))
def test_what_room_there_is(count: Any, part: Any, quota: Any, shapes: Any, block: Any) -> None:
    limit = oci.limits.models.ResourceAvailability(available=count, effective_quota_value=quota)
    limit.fractional_availability = part
    connection: Any = Connection(
        limits=answering(get_resource_availability=limit),
        compute=answering(create_compute_capacity_report=CORE.ComputeCapacityReport(shape_availabilities=shapes)),
        virtual_network=answering(get_subnet=CORE.Subnet(cidr_block=block, display_name=None), list_private_ips=[None]),
    )
    room = read_room(connection, COMPARTMENT, "VM.GPU.A10.1", {"AD-1": {}}, ["s"], CHECKS)
    assert set(room) <= set(CHECKS) | {"load_balancers"}


REQUEST = odd(
    STORAGE.PreauthenticatedRequest,
    id="1",
    name="r",
    access_type="AnyObjectRead",
    time_created=st.just(NOW),
    time_expires=st.just(NOW),
    full_path="https://x/p/canary/n/n/b/b/o/",
    access_uri="/p/canary/n/n/b/b/o/",
)


@SOME
@given(st.lists(REQUEST, max_size=2), REQUEST)
def test_preauthenticated_requests(listed: list[Any], made: Any) -> None:
    storage = answering(list_preauthenticated_requests=listed, create_preauthenticated_request=made)
    connection: Any = Connection(object_storage=storage)
    requests = PreauthenticatedRequests(connection, "b", "r", "n")
    for read in (lambda: [serves(one, "m/", NOW) for one in requests.listed()], lambda: [requests.create("m/", 1)]):
        try:
            read()
        except Refused as refused:
            assert "canary" not in str(refused)


OBJECTS = st.lists(
    odd(STORAGE.ObjectSummary, name="m/config.json", size=3, md5="x", archival_state="Archived"), max_size=3
)


@SOME
@given(odd(STORAGE.ListObjects, objects=OBJECTS, next_start_with="m/z"), st.binary(max_size=80))
def test_a_bucket(page: Any, content: bytes) -> None:
    body = SimpleNamespace(raw=SimpleNamespace(read=lambda most: content[:most]))
    storage = answering(list_objects=page, get_object=body, get_namespace=None)
    connection: Any = Connection(object_storage=storage)
    source = BucketSource(connection, "b", "m", "n")
    for read in (source.files, source.nearby, lambda: source.read("a", 10), lambda: model_facts(source)):
        with contextlib.suppress(Refused):
            read()


def test_an_object_of_a_bucket_that_never_ends_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "LONGEST_SECONDS", 0.05)
    body = SimpleNamespace(raw=SimpleNamespace(read=lambda _most: time.sleep(1)))
    connection: Any = Connection(object_storage=answering(get_object=body))
    with pytest.raises(Refused) as refused:
        BucketSource(connection, "b", "m", "n").read("config.json", 10)
    assert refused.value.faults[0].code == "cloud_unreachable"


@pytest.mark.parametrize("page", [[], [0] * 1000])
def test_pages_end(page: list[int]) -> None:
    asked: list[int] = []

    def call(**_options: Any) -> Response:
        asked.append(1)
        return Response(page, {"opc-next-page": "again"})

    with pytest.raises(Refused) as refused:
        for count, _item in enumerate(all_pages(call)):
            assert count < MOST_ITEMS + 1000
    assert refused.value.faults[0].code == "cloud_list_endless" and len(asked) <= 1000
