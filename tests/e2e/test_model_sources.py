# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the model's files come from besides a given PAR, on the light image."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oci
import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from rig.hugging_face import Hub, Repository
from rig.model import write_tiny_llama
from tests.e2e.playbooks import Playbooks, Run

TOKEN = "hf_canary_of_the_tests"
REPOSITORY = "rig-models/tiny-llama"
REQUEST = "multinode.inference/source-request"


def requests_of(rig: RunningRig, tenancy: Tenancy, bucket: str = "") -> list[Any]:
    """The pre-authenticated requests of a bucket, the tenancy's without a name, read by the real SDK."""
    storage = samples.object_storage(tenancy.json, rig.configuration)
    place = tenancy.json["namespace"], bucket or tenancy.json["bucket"]
    found: list[Any] = storage.list_preauthenticated_requests(*place).data
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
    """Playbooks at the most talkative level. What every run printed and wrote is kept, and every command line meanwhile."""

    def __init__(self, folder: Path, environment: dict[str, str], settings: dict[str, Any]) -> None:
        super().__init__(folder, environment, settings)
        self.outputs: list[str] = []
        self.commands: set[str] = set()

    def run(self, playbook: str, *variables: Any, options: tuple[str, ...] = ("-vvv",), **more: Any) -> Run:
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended,))
        watch.start()
        try:
            run = super().run(playbook, *variables, options=options, **more)
        finally:
            ended.set()
            watch.join()
        self.outputs.append(run.output + json.dumps(run.result))
        return run

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.commands.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    def show_nowhere(self, secret: str, rig: RunningRig) -> None:
        """See that no output, result, command line or log holds the secret; the cloud itself knows its requests."""
        assert len(secret) > 10
        assert self.outputs and self.commands
        for text in (*self.outputs, *self.commands):
            assert secret not in text
        for log in Path(rig.directory, "logs").glob("*.log"):
            if log.name != "oci.log":
                assert secret not in log.read_text(encoding="utf-8", errors="replace"), log.name


@pytest.fixture
def playbooks(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Kept:
    return Kept(tmp_path, rig.environment(), {**tenancy.settings, "endpoint_exposure": "none"})


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
        playbooks.show_nowhere(url.split("/p/")[1].split("/")[0], rig)


def test_a_request_that_may_not_be_made_costs_no_node_and_leaves_nothing_that_is_not_named(
    rig: RunningRig, tenancy: Tenancy, playbooks: Kept
) -> None:
    name = "bucketno"
    samples.put_model(tenancy.json, rig.configuration)
    recipe = bucket_recipe(tenancy, deployment_name=name)
    match = {"tenancy": tenancy.compartment_id, "operation": "CreatePreauthenticatedRequest"}
    refusal = {"status": 404, "code": "NotAuthorizedOrNotFound", "message": "Authorization failed"}
    scenario = rig.steer("POST", "/scenarios", {"match": match, "do": refusal})
    refused = playbooks.run("deploy", recipe)
    assert refused.code != 0
    assert [fault["code"] for fault in refused.faults] == ["cloud_not_found_or_not_authorized"], refused.output
    assert "PAR_MANAGE" in refused.faults[0]["remedy"]
    assert not rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool")

    # The right is given; the run is killed between the request and the nodes.
    rig.steer("DELETE", f"/scenarios/{scenario['id']}")
    playbooks.kill_when("TASK [multinode.inference.node_pool : Request", "deploy", recipe)
    (request,) = requests_of(rig, tenancy)
    status = playbooks.run("status")
    assert status.result is not None
    (orphan,) = status.result["orphans"]
    assert (orphan["namespace"], orphan["secrets"]) == (name, [f"{name}-source"])
    assert orphan["source_request"] == request.name
    assert f"Secret {name}-source in namespace {name} has no RayCluster" in status.output

    removed = playbooks.run("undeploy", {"deployment_name": name})
    assert removed.code == 0, removed.output
    assert requests_of(rig, tenancy) == []
    assert f"namespace/{name}" not in rig.kubectl("get", "namespaces", "--output", "name").split()
    assert playbooks.run("status").code == 0


@pytest.mark.soak
def test_another_bucket_is_read_once_its_request_is_there_and_the_first_until_then(
    rig: RunningRig, tenancy: Tenancy, playbooks: Kept
) -> None:
    name, other = "bucketmove", "others"
    storage = samples.object_storage(tenancy.json, rig.configuration)
    bucket = oci.object_storage.models.CreateBucketDetails(name=other, compartment_id=tenancy.compartment_id)
    storage.create_bucket(tenancy.json["namespace"], bucket)
    for each in ("", other):
        samples.put_model(tenancy.json, rig.configuration, bucket=each)
    recipe = bucket_recipe(tenancy, deployment_name=name)
    moved = json.loads(json.dumps(recipe))
    moved["input_object_storage"][0]["bucket_name"] = other
    match = {"tenancy": tenancy.compartment_id, "operation": "CreatePreauthenticatedRequest"}
    refusal = {"status": 404, "code": "NotAuthorizedOrNotFound", "message": "Authorization failed", "times": 1}
    try:
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        url, (request,) = url_in_secret(rig, name), requests_of(rig, tenancy)
        rig.steer("POST", "/scenarios", {"match": match, "do": refusal})
        refused = playbooks.run("deploy", moved)
        assert refused.code != 0
        # What serves goes on: its pods could read again.
        assert url_in_secret(rig, name) == url
        assert [one.id for one in requests_of(rig, tenancy)] == [request.id]

        second = playbooks.run("deploy", moved)
        assert second.code == 0 and second.result is not None and second.result["completion"], second.output
        assert requests_of(rig, tenancy) == []
        (successor,) = requests_of(rig, tenancy, other)
        assert url_in_secret(rig, name) != url and successor.name == request.name
        assert playbooks.run("deploy", moved).recap["changed"] == 0
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
    assert requests_of(rig, tenancy) == requests_of(rig, tenancy, other) == []


@pytest.mark.soak
def test_a_request_that_cannot_be_revoked_holds_up_no_node_and_goes_with_the_next_undeploy(
    rig: RunningRig, tenancy: Tenancy, playbooks: Kept
) -> None:
    """After half a deployment: the run was killed as soon as the objects were applied."""
    name = "bucketleft"
    samples.put_model(tenancy.json, rig.configuration)
    playbooks.kill_when(
        "TASK [multinode.inference.endpoint", "deploy", bucket_recipe(tenancy, deployment_name=name)
    )  # fmt: skip
    assert len(requests_of(rig, tenancy)) == 1
    match = {"tenancy": tenancy.compartment_id, "operation": "DeletePreauthenticatedRequest"}
    refusal = {"status": 404, "code": "NotAuthorizedOrNotFound", "message": "Authorization failed"}
    scenario = rig.steer("POST", "/scenarios", {"match": match, "do": refusal})
    refused = playbooks.run("undeploy", {"deployment_name": name})
    assert refused.code != 0
    assert [fault["code"] for fault in refused.faults] == ["cloud_not_found_or_not_authorized"], refused.output
    assert "PAR_MANAGE" in refused.faults[0]["remedy"]
    (state,) = rig.steer("GET", f"/state?tenancy={tenancy.compartment_id}")["tenancies"]
    assert not [pool for pool in state["node_pools"] if pool["name"] == name and pool["state"] != "DELETED"]
    assert rig.kubectl("get", "secret", "--namespace", name, "--output", "name").split() == [f"secret/{name}-source"]
    rig.steer("DELETE", f"/scenarios/{scenario['id']}")
    again = playbooks.run("undeploy", {"deployment_name": name})
    assert again.code == 0, again.output
    assert requests_of(rig, tenancy) == []
    assert f"namespace/{name}" not in rig.kubectl("get", "namespaces", "--output", "name").split()


@pytest.fixture
def hub(rig: RunningRig, tmp_path: Path) -> Iterator[Hub]:
    """A Hub with one gated repository that holds the tiny Llama, its weights in large file storage."""
    hub = Hub(rig.configuration)
    hub.tokens = {TOKEN}
    repository = hub.repositories[REPOSITORY] = Repository(gated=True, readers={TOKEN})
    (tmp_path / "model").mkdir()
    names = write_tiny_llama(tmp_path / "model", shards=4, layers=4, hidden=64)
    repository.commit({name: (tmp_path / "model" / name).read_bytes() for name in names})
    with hub.running():
        yield hub


def test_a_gated_repository_is_staged_at_the_commit_that_the_deployment_was_made_with(
    rig: RunningRig, tenancy: Tenancy, playbooks: Kept, hub: Hub
) -> None:
    name = "hubway"
    playbooks.settings["hugging_face_endpoint"] = hub.url
    # The Hub's certificate is signed by the rig's own authority, as that of a mirror behind a firewall might be.
    authority = {"SSL_CERT_FILE": str(hub.authority)}
    source = {"repository": REPOSITORY, "mount_location": "/models", "volume_size_in_gbs": 50}
    recipe = samples.light_recipe(
        "",
        deployment_name=name,
        input_hugging_face=source,
        recipe_container_env=[{"key": key, "value": value} for key, value in authority.items()],
    )
    del recipe["input_object_storage"]
    repository = hub.repositories[REPOSITORY]
    first_commit = repository.branches["main"]

    # As the pods would read it: a token of this machine's is of no use to them.
    refused = playbooks.run("deploy", recipe, environment={**authority, "HF_TOKEN": TOKEN})
    assert [fault["code"] for fault in refused.faults] == ["repository_gated"], refused.output
    assert "token_secret_name" in refused.faults[0]["remedy"]
    assert not rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool")

    source.update(token_secret_name="hub", token_secret_key="hf")
    refused = playbooks.run("deploy", recipe, environment={**authority, "HF_TOKEN": TOKEN})
    assert [fault["code"] for fault in refused.faults] == ["secret_missing"], refused.output
    assert not rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&operation=CreateNodePool")

    rig.kubectl("create", "namespace", name)
    rig.kubectl("create", "secret", "generic", "hub", "--namespace", name, f"--from-literal=hf={TOKEN}")
    environment = {**authority, "HF_TOKEN": TOKEN}
    try:
        hub.requests.clear()
        first = playbooks.run("deploy", recipe, environment=environment)
        assert first.code == 0, first.output
        assert first.result is not None and first.result["completion"]
        assert first.result["plan"]["model"]["source"]["commit"] == first_commit
        assert any(request.store for request in hub.requests), "the weights came by links"
        assert not any(request.token for request in hub.requests if request.store)

        repository.commit({**repository.commits[first_commit], "README.md": b"another commit"})
        second = playbooks.run("deploy", recipe, environment=environment)
        assert second.recap["changed"] == 0, second.output
        assert second.result is not None
        newer = [warning for warning in second.result["warnings"] if warning["code"] == "newer_choice"]
        assert [warning["found"] for warning in newer] == [f"{first_commit}, kept"]
        assert repository.branches["main"] in newer[0]["expected"]
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
    # What is not ours stays: the namespace that was there, and the Secret in it.
    assert rig.kubectl("get", "secret", "--namespace", name, "--output", "name").split() == ["secret/hub"]
    assert removed.result is not None
    assert f"Namespace/{name} (it was not made for this deployment)" in removed.result["kept"]
    rig.kubectl("delete", "namespace", name, "--wait=false")
    playbooks.show_nowhere(TOKEN, rig)
