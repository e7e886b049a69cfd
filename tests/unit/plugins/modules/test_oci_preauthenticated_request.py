# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a bucket with state: made once, kept, renewed, and none left without a record."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import oci
import pytest

from ansible_collections.multinode.inference.plugins.modules import oci_preauthenticated_request as module
from tests.unit.oci.fakes import Connection, Response, service_error
from tests.unit.plugins.modules.module_runner import run_module

MODELS = oci.object_storage.models
NAME, PREFIX = "multinode-inference-llama-0123", "org/tiny/"


class Storage:
    """The object storage client of the SDK, as far as requests of a bucket go; a page holds one request."""

    base_client = SimpleNamespace(endpoint="https://object_storage.test/")

    def __init__(self) -> None:
        self.requests: dict[str, Any] = {}
        self.full_path = True
        self.faults: dict[str, Exception] = {}
        self.lose_answer = False

    def get_namespace(self) -> Response:
        return Response("ns")

    def list_preauthenticated_requests(self, namespace_name: str, bucket_name: str, page: str = "0") -> Response:
        self._fail("list")
        assert (namespace_name, bucket_name) == ("ns", "models")
        found = list(self.requests.values())
        more = {"opc-next-page": str(int(page) + 1)} if int(page) + 1 < len(found) else {}
        return Response(found[int(page) : int(page) + 1], more)

    def create_preauthenticated_request(self, namespace: str, bucket: str, details: Any) -> Response:
        self._fail("create")
        made = self.add(**{key: getattr(details, key) for key in details.swagger_types})
        if self.lose_answer:
            raise oci.exceptions.RequestException("connection aborted")
        path = f"/p/SECRET-{made.id}/n/{namespace}/b/{bucket}/o/"
        full = {"full_path": f"https://public.test{path}"} if self.full_path else {}
        shown = {key: getattr(made, key) for key in made.swagger_types}
        return Response(MODELS.PreauthenticatedRequest(**shown, access_uri=path, **full))

    def delete_preauthenticated_request(self, namespace: str, bucket: str, request_id: str) -> Response:
        self._fail("delete")
        if self.requests.pop(request_id, None) is None:
            raise service_error(404, "NotFound")
        return Response()

    def add(self, **fields: Any) -> Any:
        now = datetime.now(timezone.utc)
        given = {
            "name": NAME,
            "access_type": "AnyObjectRead",
            "bucket_listing_action": "ListObjects",
            "object_name": PREFIX,
            "time_expires": now + timedelta(days=365),
            "time_created": now,
            **fields,
        }
        made = MODELS.PreauthenticatedRequestSummary(id=f"par/{len(self.requests)}+{len(str(fields))}", **given)
        self.requests[made.id] = made
        return made

    def _fail(self, operation: str) -> None:
        if operation in self.faults:
            raise self.faults[operation]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    storage = Storage()
    monkeypatch.setattr(module, "connect", lambda _module, _ocid: Connection(object_storage=storage))
    return storage


def ask(*, check: bool = False, **options: Any) -> dict[str, Any]:
    return run_module(module, {"name": NAME, "bucket_name": "models", "prefix": PREFIX, **options}, check=check)


def test_one_is_made_and_kept(storage: Storage) -> None:
    would = ask(check=True)
    assert would["changed"] and not would["request"] and "url" not in would and not storage.requests
    made = ask(days=90)
    assert made["changed"] and made["url"].startswith("https://public.test/p/SECRET-")
    (request,) = storage.requests.values()
    assert (request.access_type, request.bucket_listing_action) == ("AnyObjectRead", "ListObjects")
    assert request.object_name == PREFIX
    assert timedelta(days=89) < request.time_expires - datetime.now(timezone.utc) < timedelta(days=90)
    assert "SECRET" not in str({key: value for key, value in made.items() if key != "url"})
    again = ask(id=made["request"]["id"])
    assert not again["changed"] and again["request"] == made["request"] and "url" not in again


def test_the_url_is_that_of_the_service_where_it_tells_the_path_alone(storage: Storage) -> None:
    storage.full_path = False
    assert ask()["url"].startswith("https://object_storage.test/p/SECRET-")


@pytest.mark.parametrize(
    "changes",
    [
        {"time_expires": datetime.now(timezone.utc) + timedelta(days=20), "time_created": datetime(2026, 1, 1, tzinfo=timezone.utc)},
        {"time_expires": datetime(2026, 6, 1, tzinfo=timezone.utc), "time_created": datetime(2026, 1, 1, tzinfo=timezone.utc)},
        {"object_name": "org/other/"},
        {"bucket_listing_action": "Deny"},
        {"access_type": "ObjectRead"},
    ],
    ids=["near its end", "ended during a pause", "another folder", "without listing", "one object"],
)  # fmt: skip
def test_one_that_does_not_serve_is_replaced_and_goes_with_the_next_run(
    storage: Storage, changes: dict[str, Any]
) -> None:
    old = storage.add(**changes)
    made = ask(id=old.id)
    assert made["changed"] and made["url"] and old.id in storage.requests, "its URL may still be read by pods"
    settled = ask(id=made["request"]["id"])
    assert settled["revoked"] == [old.id] and list(storage.requests) == [made["request"]["id"]]


def test_requests_of_a_run_that_was_killed_are_revoked_and_those_of_others_stay(storage: Storage) -> None:
    lost, other = storage.add(), storage.add(name="somebody-else-s")
    made = ask()
    assert ask(id=made["request"]["id"])["revoked"] == [lost.id]
    assert set(storage.requests) == {other.id, made["request"]["id"]}
    would = ask(state="absent", check=True)
    assert would["changed"] and len(storage.requests) == 2
    assert ask(state="absent")["revoked"] == [made["request"]["id"]]
    assert not ask(state="absent")["changed"] and list(storage.requests) == [other.id]


def test_an_answer_that_was_lost_leaves_nothing_in_the_end(storage: Storage) -> None:
    storage.lose_answer = True
    failed = ask()
    assert failed["failed"] and "it may exist" in failed["msg"]
    storage.lose_answer = False
    made = ask()
    ask(id=made["request"]["id"])
    assert list(storage.requests) == [made["request"]["id"]]


def test_a_missing_right_is_named(storage: Storage) -> None:
    storage.faults["create"] = service_error(404, "BucketNotFound", "not found or not authorized", "object_storage")
    failed = ask()
    assert failed["failed"] and "PAR_MANAGE" in failed["faults"][0]["remedy"]


def test_one_that_somebody_else_revokes_meanwhile_is_gone(storage: Storage) -> None:
    storage.add()
    storage.faults["delete"] = service_error(404, "NotFound")
    failed = ask(state="absent")
    assert failed["failed"], "404 says also that the right is missing"
    storage.requests.clear()
    assert not ask(state="absent").get("failed")
