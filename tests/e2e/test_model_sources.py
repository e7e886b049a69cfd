# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the model's files come from besides a given PAR, on the light image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks, Run
from tests.rig import samples

REQUEST = "multinode.inference/source-request"


def requests_of(rig: RunningRig, tenancy: Tenancy) -> list[Any]:
    """The pre-authenticated requests of the tenancy's bucket, read by the real SDK."""
    storage = samples.object_storage(tenancy.json, rig.configuration)
    found: list[Any] = storage.list_preauthenticated_requests(tenancy.json["namespace"], tenancy.json["bucket"]).data
    return found


def bucket_recipe(tenancy: Tenancy, **changes: Any) -> dict[str, Any]:
    recipe = samples.light_recipe("", **changes)
    source = recipe["input_object_storage"][0]
    del source["par"]
    source["bucket_name"] = tenancy.json["bucket"]
    return recipe


def url_in_secret(rig: RunningRig, namespace: str) -> str:
    command = ("get", "secret", f"{namespace}-source", "--namespace", namespace)
    return rig.kubectl(*command, "--output", "go-template={{.data.par | base64decode}}")


def identities(rig: RunningRig, namespace: str) -> dict[str, Any]:
    """What tells whether the RayCluster's specification changed, or a pod is another."""
    text = rig.kubectl("get", "raycluster,pod", "--namespace", namespace, "--output", "json")
    return {
        item["metadata"]["name"]: (item["metadata"]["uid"], item["metadata"].get("generation"))
        for item in json.loads(text)["items"]
    }


class Kept(Playbooks):
    """Playbooks at the most talkative level, which keep what every run printed and wrote."""

    outputs: list[str]

    def run(self, playbook: str, *variables: Any, options: tuple[str, ...] = ("-vvv",), **more: Any) -> Run:
        run = super().run(playbook, *variables, options=options, **more)
        self.outputs.append(run.output + json.dumps(run.result))
        return run


@pytest.fixture
def playbooks(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Iterator[Kept]:
    playbooks = Kept(tmp_path, rig.environment(), {**tenancy.settings, "endpoint_exposure": "none"})
    playbooks.outputs = []
    yield playbooks


def test_a_bucket_is_read_through_a_request_that_lives_as_long_as_the_deployment(
    rig: RunningRig, tenancy: Tenancy, playbooks: Kept
) -> None:
    name = "bucketway"
    samples.put_model(tenancy.json, rig.configuration)
    samples.make_par(tenancy.json, rig.configuration)
    (foreign,) = requests_of(rig, tenancy)
    recipe = bucket_recipe(tenancy, deployment_name=name)
    # The first request is made, and nobody hears of it: the one that is made in its place is the only one in the end.
    match = {"tenancy": tenancy.compartment_id, "operation": "CreatePreauthenticatedRequest"}
    rig.steer("POST", "/scenarios", {"match": match, "do": {"lose_answer": True, "times": 1}})
    urls = []
    try:
        checked = playbooks.run("deploy", recipe, options=("--check", "--diff", "-vvv"))
        assert checked.code == 0, checked.output
        assert len(requests_of(rig, tenancy)) == 1
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        assert first.result is not None and first.result["completion"]
        urls.append(url_in_secret(rig, name))
        (made,) = [request for request in requests_of(rig, tenancy) if request.id != foreign.id]
        assert made.name.startswith(f"multinode-inference-{name}-")
        assert (made.access_type, made.bucket_listing_action) == ("AnyObjectRead", "ListObjects")
        assert made.object_name == f"{samples.MODEL}/"
        assert 364 <= (made.time_expires - made.time_created).days <= 365

        before = identities(rig, name)
        second = playbooks.run("deploy", recipe)
        assert second.recap["changed"] == 0, second.output

        rig.kubectl("delete", "secret", f"{name}-source", "--namespace", name)
        third = playbooks.run("deploy", recipe)
        assert third.code == 0, third.output
        urls.append(url_in_secret(rig, name))
        (renewed,) = [request for request in requests_of(rig, tenancy) if request.id != foreign.id]
        assert renewed.id != made.id
        assert identities(rig, name) == before, "only the Secret is another"

        record = json.loads(
            rig.kubectl("get", "raycluster", name, "--namespace", name, "--output", "json")
        )["metadata"]["annotations"][REQUEST]  # fmt: skip
        near = json.dumps({**json.loads(record), "time_renewed": "2020-01-01T00:00:00+00:00"})
        rig.kubectl("annotate", "--overwrite", "raycluster", name, "--namespace", name, f"{REQUEST}={near}")
        status = playbooks.run("status", {"deployment_name": name})
        assert status.code == 0, status.output
        assert status.result is not None
        assert [warning["code"] for warning in status.result["warnings"]] == ["source_request_ends"]
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
    assert removed.result is not None
    assert [entry for entry in removed.result["removed"] if entry.startswith("pre-authenticated request")]
    assert [request.id for request in requests_of(rig, tenancy)] == [foreign.id]
    for url in urls:
        secret = url.split("/p/")[1].split("/")[0]
        assert len(secret) > 10
        for output in playbooks.outputs:
            assert secret not in output
        for log in Path(rig.directory, "logs").glob("*.log"):
            if log.name != "oci.log":
                assert secret not in log.read_text(encoding="utf-8", errors="replace"), log.name
