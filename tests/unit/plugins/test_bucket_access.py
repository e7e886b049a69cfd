# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's access to its bucket, whatever is killed or lost between: one request in the end, and its URL in the Secret."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import REQUEST_ANNOTATION
from ansible_collections.multinode.inference.plugins.module_utils.core.ownership import request_name
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.source_request import recorded
from ansible_collections.multinode.inference.plugins.plugin_utils.bucket_access import BucketAccess
from tests.unit.core.plans import facts, plan
from tests.unit.core.recipes import recipe

NAME = "rayclustervmtest"
SECRET = f"/api/v1/namespaces/{NAME}/secrets/{NAME}-source"


class Cluster:
    """The API server, as far as the Secret and the RayCluster's annotations go."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.annotations: dict[str, str] = {}
        self.uid = "1234"

    def get(self, path: str) -> Any:
        if path == "/api/v1/namespaces/kube-system":
            return {"metadata": {"uid": self.uid}}
        assert path == SECRET
        return self.secret

    def forge(self, **record: Any) -> None:
        """Write a record as somebody might who may write the Secret."""
        self.secret = {"metadata": {"annotations": {REQUEST_ANNOTATION: json.dumps(record)}}}

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return [{"metadata": {"namespace": NAME, "annotations": self.annotations}}] if self.annotations else []

    def apply(self, item: dict[str, Any]) -> None:
        values = {key: base64.b64encode(text.encode()).decode() for key, text in item["stringData"].items()}
        self.secret = {"metadata": item["metadata"], "data": {**((self.secret or {}).get("data") or {}), **values}}


class Requests:
    """The module, with requests by their ids in each bucket."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, str]] = {}
        self.refused = False
        self.numbers = itertools.count(1)

    def __call__(self, module: str, given: dict[str, Any]) -> dict[str, Any]:
        assert module == "multinode.inference.oci_preauthenticated_request"
        if self.refused:
            raise Refused([Fault("cloud_not_authorized", "bucket models", "revoking: HTTP 403")])
        alike = [
            id_
            for id_, one in self.made.items()
            if (one["name"], one["bucket"]) == (given["name"], given["bucket_name"])
        ]
        if given["state"] == "present" and given["id"] not in alike:
            id_ = f"id-{next(self.numbers)}"
            place = {"name": given["name"], "bucket": given["bucket_name"], "namespace": given["bucket_namespace"]}
            times = {"time_expires": "2027-01-01T00:00:00+00:00", "time_renewed": "2026-12-02T00:00:00+00:00"}
            self.made[id_] = {"id": id_, "region": given["region"], **place, **times}
            return {"changed": True, "request": self.made[id_], "revoked": [], "url": f"https://h/p/{id_}-secret/o/"}
        kept = given.get("id") if given["state"] == "present" else None
        revoked = [id_ for id_ in alike if id_ != kept]
        for id_ in revoked:
            del self.made[id_]
        return {"changed": bool(revoked), "request": self.made.get(kept or "", {}), "revoked": revoked}


def bucket_plan(bucket: str = "models") -> dict[str, Any]:
    found = facts()
    source = {"kind": "bucket", "region": "us-ashburn-1", "namespace": "ns", "bucket": bucket, "place": "/n/ns"}
    found.model = {**found.model, "source": source}
    return plan(found)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def requests() -> Requests:
    return Requests()


def access(cluster: Any, requests: Requests) -> BucketAccess:
    return BucketAccess(cluster, read_inputs(recipe()).settings, NAME, NAME, requests)


def deploy(cluster: Cluster, requests: Requests, killed_after: str = "", bucket: str = "models") -> list[str]:
    """What `deploy` does with the bucket, in its order; return what it wrote."""
    made, wrote = bucket_plan(bucket), []
    mine = access(cluster, requests)
    if item := mine.announce(made):
        cluster.apply(item)
        wrote.append("announced")
    if killed_after == "announced":
        return wrote
    secrets = mine.present(made)
    if killed_after == "made":
        return wrote
    for item in secrets:
        cluster.apply(item)
        wrote.append("url")
    cluster.annotations.update(mine.annotation())
    if killed_after == "applied":
        return wrote
    for item in mine.settle(made):
        cluster.apply(item)
        wrote.append("settled")
    return wrote


def url(cluster: Cluster) -> str:
    assert cluster.secret is not None
    return base64.b64decode(cluster.secret["data"]["par"]).decode()


def test_a_request_is_made_once_and_named_by_the_secret_first(cluster: Cluster, requests: Requests) -> None:
    assert deploy(cluster, requests) == ["announced", "url"]
    assert deploy(cluster, requests) == []
    (id_,) = requests.made
    assert cluster.secret is not None and recorded(cluster.secret["metadata"]["annotations"])["id"] == id_
    assert recorded(cluster.annotations)["time_expires"].startswith("2027")
    assert id_ in url(cluster) and "secret" not in str(cluster.annotations)


@pytest.mark.parametrize("moment", ["announced", "made", "applied"])
def test_a_run_that_is_killed_leaves_one_request_after_the_next(
    cluster: Cluster, requests: Requests, moment: str
) -> None:
    deploy(cluster, requests, killed_after=moment)
    deploy(cluster, requests)
    (id_,) = requests.made
    assert id_ in url(cluster)


@pytest.mark.parametrize("moment", ["announced", "made", "applied", ""])
def test_undeploy_finds_what_a_killed_run_made(cluster: Cluster, requests: Requests, moment: str) -> None:
    deploy(cluster, requests, killed_after=moment)
    there = bool(requests.made)
    assert bool(access(cluster, requests).revoke()) == there
    assert not requests.made
    assert access(cluster, requests).revoke() == []


def test_a_backup_restored_into_another_cluster_takes_nothing_from_the_first(
    cluster: Cluster, requests: Requests
) -> None:
    deploy(cluster, requests)
    (first,) = requests.made
    restored = Cluster()
    restored.uid, restored.secret, restored.annotations = "5678", cluster.secret, {**cluster.annotations}
    assert access(restored, requests).revoke() == [] and access(restored, requests).disbelieved
    assert deploy(restored, requests) == ["announced", "url"]
    (second,) = requests.made.keys() - {first}
    assert second in url(restored) and first in url(cluster)
    assert access(restored, requests).revoke() and set(requests.made) == {first}


def test_a_lost_secret_is_made_again_and_the_request_of_before_is_known_by_the_raycluster(
    cluster: Cluster, requests: Requests
) -> None:
    deploy(cluster, requests)
    (before,) = requests.made
    cluster.secret = None
    assert access(cluster, requests).record["id"] == before, "undeploy would find it, too"
    assert deploy(cluster, requests) == ["announced", "url"]
    (after,) = requests.made
    assert after != before and after in url(cluster)


def test_a_request_that_is_gone_is_made_again(cluster: Cluster, requests: Requests) -> None:
    deploy(cluster, requests)
    requests.made.clear()
    assert deploy(cluster, requests) == ["url"]
    (id_,) = requests.made
    assert id_ in url(cluster)


def test_another_bucket_has_its_own_and_that_of_the_first_is_revoked(cluster: Cluster, requests: Requests) -> None:
    deploy(cluster, requests)
    assert deploy(cluster, requests, bucket="others") == ["announced", "url", "settled"]
    (request,) = requests.made.values()
    assert request["bucket"] == "others" and request["id"] in url(cluster)
    assert deploy(cluster, requests, bucket="others") == []


@pytest.mark.parametrize("moment", ["announced", "made", "applied"])
def test_the_first_bucket_is_read_until_the_secret_has_the_url_of_another(
    cluster: Cluster, requests: Requests, moment: str
) -> None:
    deploy(cluster, requests)
    deploy(cluster, requests, killed_after=moment, bucket="others")
    (first,) = [id_ for id_, one in requests.made.items() if one["bucket"] == "models"]
    assert (first in url(cluster)) == (moment != "applied")
    # A third bucket before the second was whole, then the end: nothing is forgotten.
    deploy(cluster, requests, killed_after=moment, bucket="third")
    if moment == "made":
        deploy(cluster, requests, bucket="third")
        (request,) = requests.made.values()
        assert request["bucket"] == "third" and request["id"] in url(cluster)
    assert access(cluster, requests).revoke()
    assert not requests.made


def test_what_is_refused_is_raised(cluster: Cluster, requests: Requests) -> None:
    deploy(cluster, requests)
    requests.refused = True
    with pytest.raises(Refused):
        access(cluster, requests).revoke()
    with pytest.raises(Refused):
        access(cluster, requests).present(bucket_plan())


FORGED = {"name": "prod-backup", "bucket": "prod-bucket", "namespace": "ns", "id": "x"}
OWN = {**FORGED, "name": request_name(NAME, NAME, "1234")}


@pytest.mark.parametrize(
    "record",
    [
        FORGED,
        {**OWN, "region": "evil.test/x"},
        {**OWN, "name": request_name(NAME, NAME, "another cluster's")},
        {**FORGED, "former": [FORGED]},
    ],
)
def test_a_record_that_is_not_of_this_deployments_request_revokes_nothing(
    cluster: Cluster, requests: Requests, record: dict[str, Any]
) -> None:
    cluster.forge(**record)
    requests.made["x"] = {**FORGED, "name": record["name"]}
    mine = access(cluster, requests)
    assert mine.revoke() == [] and "x" in requests.made
    assert mine.disbelieved and all(record["bucket"] in words for words in mine.disbelieved)
    deploy(cluster, requests)
    assert "x" in requests.made


def test_former_places_count_only_as_far_as_they_are_own(cluster: Cluster, requests: Requests) -> None:
    cluster.forge(**OWN, former=[FORGED, {**OWN, "bucket": "before"}])
    assert [place["bucket"] for place in access(cluster, requests).record["former"]] == ["before"]


def test_of_two_deploys_at_once_the_one_that_wrote_last_is_read_by_all(cluster: Cluster, requests: Requests) -> None:
    made = bucket_plan()
    one, two = access(cluster, requests), access(cluster, requests)
    for mine in (one, two):
        if item := mine.announce(made):
            cluster.apply(item)
    written = [mine.present(made) for mine in (one, two)]
    for secrets in written:
        for item in secrets:
            cluster.apply(item)
    one.settle(made)
    assert "id-2" in requests.made and "id-2" in url(cluster)
    two.settle(made)
    assert "id-2" in requests.made and "id-2" in url(cluster)
