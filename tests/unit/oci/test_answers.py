# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers over HTTP that no service of Oracle Cloud gives: each is a fault, within bounds, and is not asked for again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci import client, errors
from ansible_collections.multinode.inference.plugins.module_utils.oci.capacity import CHECKS, read_room
from ansible_collections.multinode.inference.plugins.module_utils.oci.client import Connection, SignIn
from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pools import NodePools
from ansible_collections.multinode.inference.plugins.module_utils.oci.retry import Retry
from ansible_collections.multinode.inference.plugins.module_utils.sources.bucket import BucketSource
from tests.unit.oci.fakes import CLUSTER, COMPARTMENT
from tests.unit.oci.test_client import TENANCY, USER, fingerprint, pem
from tests.unit.sources.http_server import Reply, Served, serving
from tests.unit.test_outside_data import JSON

JSON_TYPE = {"content-type": "application/json"}
POOL = {"id": "ocid1.nodepool.a", "name": "llama", "lifecycleState": "ACTIVE", "compartmentId": COMPARTMENT}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path_factory.mktemp("oci") / "key.pem"
    path.write_bytes(pem(key))
    return path, fingerprint(key)


@pytest.fixture
def connect(key_file: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Served], Connection]:
    monkeypatch.setattr(errors, "MOST_BYTES", 10_000)

    def connection(server: Served) -> Connection:
        account = {"api_user": USER, "tenancy": TENANCY, "region": "us-ashburn-1"}
        path, print_of_key = key_file
        sign_in = SignIn(
            **account,
            api_user_fingerprint=print_of_key,
            api_user_key_file=str(path),
            service_endpoint=f"http://{server.address}",
        )
        return Connection(sign_in, retry=Retry(sleep=lambda _seconds: None))

    return connection


def listed(connection: Connection) -> list[dict[str, Any]]:
    return NodePools(connection, CLUSTER, COMPARTMENT).listed()


def refusal(connect: Callable[[Served], Connection], reply: Reply, asked: int = 1) -> Fault:
    with serving(lambda _request: reply) as server:
        with pytest.raises(Refused) as refused:
            listed(connect(server))
        assert len(server.asked) == asked
    assert len(refused.value.faults[0].line()) < 2000
    return refused.value.faults[0]


def test_an_answer_as_it_should_be_is_taken(connect: Callable[[Served], Connection]) -> None:
    reply = Reply(body=json.dumps([POOL]).encode(), headers=JSON_TYPE)
    with serving(lambda _request: reply) as server:
        assert [pool["id"] for pool in listed(connect(server))] == [POOL["id"]]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(body=b"[" + b" " * 20_000 + b"]", headers=JSON_TYPE), "more than 10000 bytes"),
        (Reply(status=500, body=b"x" * 20_000), "more than 10000 bytes"),
        (Reply(body=b"[" * 5000, headers=JSON_TYPE), "levels"),
        (Reply(body=b"[" * 100 + b"]" * 100, headers=JSON_TYPE), "levels"),
        (Reply(status=404, body=b'{"code": ' + b"[" * 5000, headers=JSON_TYPE), "levels"),
        (Reply(status=302, headers={"location": "http://127.0.0.1:1/elsewhere"}), "a redirect"),
    ],
)
def test_what_no_service_answers_is_a_fault_at_once(
    connect: Callable[[Served], Connection], reply: Reply, said: str
) -> None:
    fault = refusal(connect, reply)
    assert fault.code == "cloud_answer" and said in fault.found and "/nodePools" in fault.where


def test_a_long_message_of_a_service_is_cut(connect: Callable[[Served], Connection]) -> None:
    body = json.dumps({"code": "InvalidParameter", "message": "x" * 9000}).encode()
    assert "InvalidParameter" in refusal(connect, Reply(status=400, body=body, headers=JSON_TYPE)).found


def test_pages_end(connect: Callable[[Served], Connection], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_PAGES", 5)
    again = Reply(body=b"[]", headers={**JSON_TYPE, "opc-next-page": "again"})
    assert refusal(connect, again, asked=5).code == "cloud_list_endless"


def test_a_refusal_of_an_object_is_bounded_too(connect: Callable[[Served], Connection]) -> None:
    with serving(lambda _request: Reply(status=403, body=b"x" * 20_000)) as server:
        with pytest.raises(Refused) as refused:
            BucketSource(connect(server), "b", "m", "n").read("config.json", 10)
    assert "more than 10000 bytes" in refused.value.faults[0].found


def test_an_object_is_streamed_to_its_own_bound(connect: Callable[[Served], Connection]) -> None:
    with serving(lambda _request: Reply(body=b"x" * 20_000)) as server:
        source = BucketSource(connect(server), "b", "m", "n")
        assert len(source.read("a", 30_000)) == 20_000
        with pytest.raises(Refused) as refused:
            source.read("a", 100)
    assert refused.value.faults[0].code == "file_too_large"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
    status=st.sampled_from([200, 204, 400, 401, 404, 409, 429, 500]),
    inside=st.booleans(),
)
def test_whatever_is_answered(connect: Callable[[Served], Connection], body: bytes, status: int, inside: bool) -> None:
    if inside:
        body = b'[{"id": "a", "name": ' + body + b', "freeformTags": ' + body + b"}]"
    with serving(
        lambda _request: Reply(status=status, body=b"" if status == 204 else body, headers=JSON_TYPE)
    ) as server:
        connection = connect(server)
        pools = NodePools(connection, CLUSTER, COMPARTMENT)
        for read in (pools.listed, lambda: pools.read("a"), pools.work_requests):
            with contextlib.suppress(Refused):
                read()
        room = read_room(connection, COMPARTMENT, "VM.GPU.A10.1", {"AD-1": {}}, ["s"], CHECKS)
        json.dumps(room)
