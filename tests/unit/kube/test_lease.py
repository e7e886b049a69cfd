# SPDX-License-Identifier: GPL-3.0-or-later
"""One run holds the Lease of a deployment; whoever else holds it, or took it away, is told from the Lease itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import HOLDER_ANNOTATION
from ansible_collections.multinode.inference.plugins.module_utils.kube.lease import (
    Lease,
    holder_of,
    holder_record,
    holder_words,
    version_of,
)
from tests.unit.kube.leases import Leases

RECORD = {"user": "alice", "host": "ws1", "playbook": "deploy", "job": "42"}
PATH = "/apis/coordination.k8s.io/v1/namespaces/llama/leases/llama"


def lease_of(server: Leases, identity: str) -> Lease:
    kubernetes: Any = server
    return Lease(kubernetes, "llama", "llama", identity)


@pytest.fixture
def server() -> Leases:
    return Leases()


def taken(server: Leases, identity: str = "alice@ws1/1") -> Lease:
    lease = lease_of(server, identity)
    assert lease.take(lease.read(), RECORD)
    return lease


def code_of(lease: Lease, **options: Any) -> str:
    with pytest.raises(Refused) as refused:
        lease.renew(**options)
    (fault,) = refused.value.faults
    return fault.code


def test_a_lease_has_our_labels_and_says_who_holds_it(server: Leases) -> None:
    lease = taken(server)
    found = lease.read()
    assert found is not None and holder_of(found) == "alice@ws1/1" and found["spec"]["leaseDurationSeconds"] == 120
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "llama"
    assert holder_words(found).startswith("alice@ws1 (deploy, job 42) since 20")


def test_of_two_that_read_the_same_one_takes_it(server: Leases) -> None:
    first, second = lease_of(server, "a/1"), lease_of(server, "b/2")
    assert first.take(None, RECORD) and not second.take(None, RECORD)
    first.release()
    seen = second.read()
    assert first.take(first.read(), RECORD) and not second.take(seen, RECORD)
    assert holder_of(first.read()) == "a/1"


def test_a_take_over_counts_and_changes_the_version(server: Leases) -> None:
    lease = taken(server)
    before = lease.read()
    other = lease_of(server, "b/2")
    assert other.take(before, {"user": "bob", "host": "ws2"})
    after = other.read()
    assert after is not None and after["spec"]["leaseTransitions"] == 1
    assert version_of(after) not in ("", version_of(before)) and holder_words(after).startswith("bob@ws2 since")


def test_a_renewal_is_one_request_and_changes_nothing_else(server: Leases) -> None:
    lease = taken(server)
    before, server.requests = lease.read(), []
    lease.renew()
    assert server.requests == ["PATCH"]
    after = lease.read()
    assert before is not None and after is not None
    assert {**after["spec"], "renewTime": ""} == {**before["spec"], "renewTime": ""}


def test_a_lease_that_another_holds_was_released_or_is_gone_is_lost(server: Leases) -> None:
    lease = taken(server)
    assert lease_of(server, "b/2").take(lease.read(), RECORD)
    assert code_of(lease) == "lease_lost" and code_of(lease, may_go=True) == "lease_lost"
    lease_of(server, "b/2").release()
    assert code_of(lease) == "lease_lost"
    lease.renew(may_go=True)
    server.items.clear()
    assert code_of(lease) == "lease_lost"
    lease.renew(may_go=True)


def test_only_its_holder_releases_and_deletes_it(server: Leases) -> None:
    lease, other = taken(server), lease_of(server, "b/2")
    other.release()
    other.delete()
    assert holder_of(lease.read()) == "alice@ws1/1"
    lease.release()
    assert holder_of(lease.read()) == ""
    lease.delete()
    assert PATH in server.items
    assert lease.take(lease.read(), RECORD)
    lease.delete()
    assert not server.items
    lease.delete()


def test_a_lease_of_somebody_else_is_left_alone(server: Leases) -> None:
    taken(server)
    server.items[PATH]["metadata"]["labels"] = {}
    with pytest.raises(Refused) as refused:
        lease_of(server, "b/2").read()
    assert [fault.code for fault in refused.value.faults] == ["not_ours"]


@pytest.mark.parametrize(
    "annotation", ["", "[]", "{", "NaN", json.dumps({"user": 1, "host": None}), "[" * 100_000, '{"user": "\\u001b[2J"}']
)
@pytest.mark.parametrize("spec", [None, {}, {"holderIdentity": "x\x1b[2J" * 400, "leaseTransitions": "9"}])
def test_what_somebody_wrote_on_it_breaks_nothing(server: Leases, annotation: str, spec: Any) -> None:
    taken(server)
    item = server.items[PATH]
    item["metadata"]["annotations"][HOLDER_ANNOTATION] = annotation
    item["spec"] = spec
    found = lease_of(server, "b/2").read()
    assert "\x1b" not in holder_words(found) and len(holder_words(found)) < 500
    assert all(isinstance(value, str) for value in holder_record(found).values())
    assert lease_of(server, "b/2").take(found, RECORD) and holder_of(lease_of(server, "b/2").read()) == "b/2"


def test_a_creation_whose_answer_was_lost_is_this_runs_own() -> None:
    """The client sends it again, and is told that there is one: it would wait for itself."""

    class Lossy(Leases):
        def create(self, path: str, item: dict[str, Any]) -> bool:
            super().create(path, item)
            return super().create(path, item)

    server = Lossy()
    assert lease_of(server, "alice@ws1/1").take(None, RECORD)
    assert not lease_of(server, "bob@ws2/2").take(None, RECORD)
