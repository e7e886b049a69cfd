# SPDX-License-Identifier: GPL-3.0-or-later
"""Oracle's own command-line client against the stand-in: what it asks, waits for and shows is none of the project's code.

It lives in an environment of its own, since it wants other versions of PyYAML and certifi. Like the other contract tests these run
against a real account, too (`oci_account.py`).
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, open_account
from tests.tools.environments import environment

# The version whose SDK is that of requirements-dev.txt.
REQUIREMENT = "oci-cli==3.95.1"
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


class Failed(Exception):
    """The command ended with an error; `error` is what it shows of the service's answer."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.error: dict[str, Any] = json.loads(output[output.index("{") :]) if "{" in output else {}


@pytest.fixture(scope="module")
def cli(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Runs `oci` with these words, and returns the JSON that it prints."""
    program = environment("oci-cli", REQUIREMENT) / "bin" / "oci"
    folder = tmp_path_factory.mktemp("oci-cli")
    names = ("user", "fingerprint", "tenancy", "region", "key_file")
    config = folder / "config"
    config.write_text("[DEFAULT]\n" + "".join(f"{name}={account.config[name]}\n" for name in names))
    config.chmod(0o600)
    where = ["--config-file", str(config)] + (["--endpoint", account.endpoint] if account.endpoint else [])

    def run(*words: str) -> Any:
        ended = subprocess.run(
            [str(program), *where, *words], capture_output=True, text=True, timeout=account.patience_s + 60, check=False
        )
        if ended.returncode:
            raise Failed(ended.stderr + ended.stdout)
        # Progress of a wait goes to standard error.
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    return run


def create_words(account: Account, name: str) -> list[str]:
    """The words that ask for a pool of one small node."""
    cluster = account.container_engine.get_cluster(account.cluster_id).data
    placement = [{"availabilityDomain": account.domains()[0], "subnetId": account.subnet()}]
    given = {
        "compartment-id": account.compartment_id,
        "cluster-id": account.cluster_id,
        "name": name,
        "node-shape": "VM.Standard.E5.Flex",
        "node-shape-config": json.dumps({"ocpus": 1, "memoryInGBs": 8}),
        "node-image-id": account.image(gpu=False),
        "kubernetes-version": cluster.kubernetes_version,
        "size": "1",
        "placement-configs": json.dumps(placement),
        "freeform-tags": json.dumps({"made": "by-cli"}),
    }
    return ["ce", "node-pool", "create", *(word for name, value in given.items() for word in (f"--{name}", value))]


WAIT = ("--wait-for-state", "SUCCEEDED", "--wait-for-state", "FAILED", "--wait-interval-seconds", "1")


def pool_of(work_request: dict[str, Any]) -> str:
    return next(one["identifier"] for one in work_request["resources"] if one["entity-type"] == "nodepool")


def test_a_node_pool_is_made_shown_and_deleted(account: Account, cli: Cli) -> None:
    name = f"cli-{uuid.uuid4().hex[:6]}"
    made = cli(*create_words(account, name), *WAIT)["data"]
    assert (made["operation-type"], made["status"]) == ("NODEPOOL_CREATE", "SUCCEEDED")
    ocid = pool_of(made)
    shown = cli("ce", "node-pool", "get", "--node-pool-id", ocid)["data"]
    assert (shown["name"], shown["node-shape"], shown["freeform-tags"]) == (
        name,
        "VM.Standard.E5.Flex",
        {"made": "by-cli"},
    )
    assert shown["node-config-details"]["size"] == len(shown["nodes"]) == 1
    cli("ce", "node-pool", "delete", "--node-pool-id", ocid, "--force", *WAIT)
    listed = cli("ce", "node-pool", "list", "--compartment-id", account.compartment_id, "--all")["data"]
    assert [pool["lifecycle-state"] for pool in listed if pool["id"] == ocid] in ([], ["DELETED"])


@pytest.mark.soak
def test_a_node_pool_is_changed_and_listed(account: Account, cli: Cli) -> None:
    with account.node_pool(f"cli-{uuid.uuid4().hex[:6]}") as pool:
        words = ("--node-pool-id", pool.id, "--size", "2", "--freeform-tags", json.dumps({"now": "two"}), "--force")
        changed = cli("ce", "node-pool", "update", *words, *WAIT)["data"]
        assert (changed["operation-type"], changed["status"]) == ("NODEPOOL_UPDATE", "SUCCEEDED")
        place = ("--compartment-id", account.compartment_id, "--cluster-id", account.cluster_id)
        listed = cli("ce", "node-pool", "list", *place, "--name", pool.name)["data"]
        assert [(one["id"], one["freeform-tags"]) for one in listed] == [(pool.id, {"now": "two"})]
        assert listed[0]["node-config-details"]["size"] == 2
        options = cli("ce", "node-pool-options", "get", "--node-pool-option-id", account.cluster_id)["data"]
        assert any("-OKE-" in source["source-name"] for source in options["sources"])


@pytest.mark.soak
def test_a_work_request_that_failed_tells_why(account: Account, cli: Cli) -> None:
    words = create_words(account, f"cli-{uuid.uuid4().hex[:6]}")
    with account.scenario(
        {"operation": "LaunchInstance"}, status=500, code="InternalError", message="Out of host capacity."
    ):
        made = cli(*words, *WAIT)["data"]
    assert made["status"] == "FAILED"
    place = ("--compartment-id", account.compartment_id, "--work-request-id", made["id"])
    errors = cli("ce", "work-request-error", "list", *place)["data"]
    assert any("Out of host capacity" in error["message"] for error in errors)
    assert cli("ce", "work-request-log-entry", "list", *place)["data"]
    found = cli("ce", "work-request", "list", "--compartment-id", account.compartment_id, "--all")["data"]
    assert made["id"] in [one["id"] for one in found]
    assert cli("ce", "work-request", "get", "--work-request-id", made["id"])["data"]["status"] == "FAILED"
    account.delete(pool_of(made))


@pytest.mark.soak
def test_errors_are_shown_as_the_services_are(account: Account, cli: Cli) -> None:
    with pytest.raises(Failed) as raised:
        cli("ce", "node-pool", "get", "--node-pool-id", account.cluster_id.replace("cluster", "nodepool"))
    error = raised.value.error
    assert (error["status"], error["code"]) == (404, "NotAuthorizedOrNotFound")
    assert error["opc-request-id"]


@pytest.mark.soak
def test_objects_and_pre_authenticated_requests(account: Account, cli: Cli, tmp_path: Path) -> None:
    place = ("--namespace-name", account.namespace, "--bucket-name", account.bucket)
    name, content = f"cli/{uuid.uuid4().hex}", b"hello from the command line"
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    assert cli("os", "ns", "get")["data"] == account.namespace
    assert cli("os", "object", "put", *place, "--name", name, "--file", str(source), "--no-multipart")["etag"]
    listed = cli("os", "object", "list", *place, "--prefix", "cli/", "--fields", "name,size,md5")["data"]
    assert (name, len(content)) in [(one["name"], one["size"]) for one in listed]
    cli("os", "object", "get", *place, "--name", name, "--file", str(target))
    assert target.read_bytes() == content

    expires = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = ("--name", "cli", "--access-type", "AnyObjectRead", "--bucket-listing-action", "ListObjects")
    made = cli("os", "preauth-request", "create", *place, *asked, "--time-expires", expires)["data"]
    assert made["access-type"] == "AnyObjectRead"
    assert made["id"] in [one["id"] for one in cli("os", "preauth-request", "list", *place)["data"]]
    url = f"{account.objects.base_client.endpoint}{made['access-uri']}{name}"
    assert requests.get(url, timeout=30).content == content
    cli("os", "preauth-request", "delete", *place, "--par-id", made["id"], "--force")
    assert requests.get(url, timeout=30).status_code == 404
    cli("os", "object", "delete", *place, "--object-name", name, "--force")


@pytest.mark.soak
def test_what_else_a_deployment_asks(account: Account, cli: Cli) -> None:
    compartment = ("--compartment-id", account.compartment_id)
    assert cli("iam", "availability-domain", "list", *compartment)["data"]
    assert cli("compute", "shape", "list", *compartment, "--all")["data"]
    assert cli("compute", "instance", "list", *compartment, "--all") is not None
    assert cli("network", "subnet", "list", *compartment, "--all")["data"]
    for words in (("bv", "volume", "list"), ("lb", "load-balancer", "list"), ("nlb", "network-load-balancer", "list")):
        cli(*words, *compartment, "--all")
    domain = account.domains()[0]
    limit = ("--service-name", "compute", "--limit-name", "gpu-a10-count", "--availability-domain", domain)
    root = ("--compartment-id", account.config["tenancy"])
    assert cli("limits", "resource-availability", "get", *limit, *root)["data"]["available"] >= 0
