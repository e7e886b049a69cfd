# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the model's files lie decides what a replaced pod reads again: on a file system, and in a folder of the node, nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import Playbooks
from tests.waiting import wait

WORKER = "ray.io/node-type=worker"


def fetched(rig: RunningRig, namespace: str, pod: str) -> list[int]:
    """The bytes that each staging of the pod brought over the network."""
    lines = rig.kubectl("--namespace", namespace, "logs", pod).splitlines()
    said = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("multinode {")]
    return [entry["fetched"] for entry in said if entry["phase"] == "staging" and entry["state"] == "done"]


def workers(rig: RunningRig, namespace: str) -> list[dict[str, Any]]:
    found = json.loads(rig.kubectl("--namespace", namespace, "get", "pods", "-l", WORKER, "-o", "json"))["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def replaced_worker(rig: RunningRig, namespace: str) -> str:
    """Delete the worker and return the name of the one in its place, once it has staged."""
    (old,) = [pod["metadata"]["name"] for pod in workers(rig, namespace)]
    rig.kubectl("--namespace", namespace, "delete", "pod", old)

    def new() -> str:
        names = [
            pod["metadata"]["name"]
            for pod in workers(rig, namespace)
            if any("running" in one["state"] for one in pod["status"].get("containerStatuses") or ())
        ]
        return next((name for name in names if name != old and fetched(rig, namespace, name)), "")

    return str(wait("another worker that has staged", new, 120))


def check_names(rig: RunningRig, result: dict[str, Any]) -> None:
    """The endpoint is asked by its name at the load balancer's address; no name server here knows the name, which is said."""
    names = ["shared.llm.rig.example", "dashboard.shared.llm.rig.example"]
    hosts = [url.partition("://")[2].partition(":")[0] for url in result["recipes"].values()]
    assert hosts == names
    missing = [warning for warning in result["warnings"] if warning["code"] == "dns_record_missing"]
    assert [warning["where"] for warning in missing] == names
    address = json.loads(rig.kubectl("-n", "shared", "get", "service", "shared-api", "-o", "json"))
    ip = address["status"]["loadBalancer"]["ingress"][0]["ip"]
    assert f"{names[0]} A {ip}" in missing[0]["remedy"] and f":443:{ip} " in result["curl"]
    annotation = address["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/hostname"]
    assert annotation == ",".join(names)


def test_a_file_system_is_filled_once_for_all_nodes(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    entry = {
        "file_system_ocid": tenancy.json["file_system_id"],
        "mount_target_ocid": tenancy.json["mount_target_id"],
        "mount_location": "/models",
        "volume_size_in_gbs": 50,
    }
    par = samples.make_par(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(
        par, deployment_name="shared", input_file_system=[entry], service_endpoint_domain="llm.rig.example"
    )
    playbooks = Playbooks(tmp_path, rig.environment(), tenancy.settings)
    try:
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        assert first.result is not None
        check_names(rig, first.result)
        size = first.result["plan"]["model"]["bytes"]
        head = json.loads(rig.kubectl("--namespace", "shared", "get", "pods", "-o", "json"))["items"]
        brought = [sum(fetched(rig, "shared", pod["metadata"]["name"])) for pod in head]
        assert sorted(brought) == [0, size], "one pod brings all files, the other finds them"
        export = rig.directory / "file_systems" / entry["file_system_ocid"] / "models"
        folder = export / "rig" / "tiny-llama"
        assert (folder.stat().st_uid, export.stat().st_uid) == (1000, 0), "the model's folder alone changed hands"
        again = playbooks.run("deploy", recipe)
        assert again.code == 0, again.output
        assert again.recap["changed"] == 0, again.output
        assert fetched(rig, "shared", replaced_worker(rig, "shared")) == [0]
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
    assert "shared" not in rig.kubectl("get", "persistentvolumes,namespaces", "--output", "name")
    assert sum(len(files) for _, _, files in os.walk(folder)) > 0, "the files are the user's"


@pytest.mark.soak
def test_a_folder_of_the_node_outlives_the_pod(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(par, deployment_name="kept")
    playbooks = Playbooks(tmp_path, rig.environment(), {**tenancy.settings, "model_cache": "node"})
    try:
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        (worker,) = workers(rig, "kept")
        assert all(count > 0 for count in fetched(rig, "kept", worker["metadata"]["name"]))
        assert fetched(rig, "kept", replaced_worker(rig, "kept")) == [0]
        assert "ephemeral" not in json.dumps(worker["spec"]["volumes"])
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
