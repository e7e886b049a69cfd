# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not the deployment's is neither deleted nor written over, wherever the playbooks are pointed and whatever objects say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oci
import pytest

from rig.control_plane.certificates import write_certificates
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.playbooks import Run
from tests.waiting import wait

REQUEST = "multinode.inference/source-request"
NODE_POOL = "multinode.inference/node-pool"


@pytest.fixture
def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, rig: RunningRig, tenancy: Tenancy
) -> Iterator[Deployment]:
    found = Deployment(f"own{abs(hash(request.node.name)) % 10000}", tmp_path, rig, tenancy)
    yield found
    rig.kubectl("delete", "namespace", found.name, "--ignore-not-found")
    for pool in found.pools():
        found.engine().delete_node_pool(pool.id, override_eviction_grace_duration="PT0M")


def codes(run: Run) -> list[str]:
    return [fault["code"] for fault in run.faults]


def put(rig: RunningRig, *objects: dict[str, Any]) -> None:
    rig.kubectl(
        "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    )


def thing(kind: str, name: str, namespace: str = "", api: str = "v1", **content: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def killed_with_objects(deployment: Deployment) -> None:
    """A deployment whose objects stand, as a run left it that was killed before the wait."""
    deployment.playbooks.kill_when("TASK [multinode.inference.endpoint", "deploy", deployment.recipe)
    wait("the pool", lambda: (found := deployment.pools()) and found[0].lifecycle_state == "ACTIVE")


def test_a_namespace_goes_only_with_nothing_of_others_in_it(rig: RunningRig, deployment: Deployment) -> None:
    killed_with_objects(deployment)
    name = deployment.name
    put(rig, thing("ConfigMap", "notes", name, data={"a": "b"}), thing("Secret", "hub", name, stringData={"a": "b"}))
    removed = deployment.playbooks.run("undeploy", {"deployment_name": name})
    assert removed.code == 0 and removed.result is not None, removed.output
    assert f"RayCluster/{name}" in removed.result["removed"] and not deployment.pools()
    (kept,) = [words for words in removed.result["kept"] if words.startswith("Namespace/")]
    assert "ConfigMap/notes, Secret/hub" in kept
    assert rig.kubectl("get", "configmap,secret", "--namespace", name, "--output", "name").split()[-1] == "secret/hub"
    rig.kubectl("delete", "--namespace", name, "configmap/notes", "secret/hub")
    again = deployment.playbooks.run("undeploy", {"deployment_name": name})
    assert again.result is not None and again.result["removed"] == [f"Namespace/{name}"], again.output


def test_a_namespace_that_was_given_stays_and_undeploy_goes_nowhere_else(
    rig: RunningRig, deployment: Deployment
) -> None:
    shared = f"{deployment.name}shared"
    try:
        deployment.recipe["namespace"] = shared
        killed_with_objects(deployment)
        labels = rig.kubectl("get", "namespace", shared, "--output", "jsonpath={.metadata.labels}")
        assert "multinode" not in labels
        other = deployment.playbooks.run("undeploy", {"deployment_name": deployment.name, "namespace": "other"})
        assert codes(other) == ["namespace_taken"] and deployment.pools(), other.output
        removed = deployment.playbooks.run("undeploy", {"deployment_name": deployment.name, "namespace": shared})
        assert removed.code == 0 and not deployment.pools(), removed.output
        assert f"namespace/{shared}" in rig.kubectl("get", "namespaces", "--output", "name")
    finally:
        rig.kubectl("delete", "namespace", shared, "--ignore-not-found")


def test_objects_of_our_names_are_a_fault_before_money_is_spent(rig: RunningRig, deployment: Deployment) -> None:
    name = deployment.name
    put(
        rig,
        thing("Namespace", name),
        thing("Service", f"{name}-api", name, spec={"ports": [{"port": 80}]}),
        thing("Secret", f"{name}-api-key", name, stringData={"default": "theirs"}),
    )
    run = deployment.playbooks.run("deploy", deployment.recipe)
    found = [fault for fault in run.faults if fault["code"] == "not_ours"]
    assert [fault["where"].split(" in ")[0] for fault in found] == [f"Service {name}-api", f"Secret {name}-api-key"]
    assert not deployment.pools(), run.output
    removed = deployment.playbooks.run("undeploy", {"deployment_name": name})
    assert removed.result is not None and removed.result["removed"] == [], removed.output
    assert f"service/{name}-api" in rig.kubectl("get", "service,secret", "--namespace", name, "--output", "name")


def test_forged_records_revoke_and_spend_nothing(rig: RunningRig, tenancy: Tenancy, deployment: Deployment) -> None:
    killed_with_objects(deployment)
    name, bucket, tenant = deployment.name, tenancy.json["bucket"], tenancy.json["namespace"]
    config = oci.config.from_file(tenancy.settings["config_file_location"])
    storage = oci.object_storage.ObjectStorageClient(config, service_endpoint=rig.configuration.oci.endpoint)
    before = [one.id for one in storage.list_preauthenticated_requests(tenant, bucket).data]
    theirs = storage.list_preauthenticated_requests(tenant, bucket).data[0].name
    record = {"name": theirs, "bucket": bucket, "namespace": tenant, "id": before[0], "region": "evil.test/x"}
    forged = {REQUEST: json.dumps({**record, "former": [record]})}
    put(
        rig,
        {
            **thing("Secret", f"{name}-source", name),
            "metadata": {"name": f"{name}-source", "namespace": name, "annotations": forged},
        },
    )
    (pool,) = deployment.pools()
    nowhere = json.dumps({"id": pool.id.replace("nodepool", "nodepool.x"), "compartment_id": pool.compartment_id})
    rig.kubectl(
        "annotate",
        "--overwrite",
        "--namespace",
        name,
        f"raycluster/{name}",
        f"{REQUEST}={forged[REQUEST]}",
        f"{NODE_POOL}={nowhere}",
    )
    removed = deployment.playbooks.run("undeploy", {"deployment_name": name})
    assert removed.code == 0 and removed.result is not None and not deployment.pools(), removed.output
    assert any(theirs in words for words in removed.result["kept"])
    assert [one.id for one in storage.list_preauthenticated_requests(tenant, bucket).data] == before


def test_a_kubeconfig_of_another_cluster_is_refused(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, deployment: Deployment
) -> None:
    config = json.loads(rig.kubeconfig.read_text(encoding="utf-8"))
    write_certificates(tmp_path / "other", "cluster.local", ["127.0.0.1"])
    cluster = config["clusters"][0]["cluster"]
    cluster.pop("certificate-authority-data", None)
    cluster.update({"server": "https://127.0.0.1:1", "certificate-authority": str(tmp_path / "other" / "ca.crt")})
    other = tmp_path / "other.kubeconfig"
    other.write_text(json.dumps(config), encoding="utf-8")
    for playbook in ("plan", "deploy", "status", "undeploy"):
        run = deployment.playbooks.run(playbook, {**deployment.recipe, "kubeconfig": str(other)})
        assert codes(run)[0] == "kubeconfig_of_another_cluster", run.output
    assert not deployment.pools()


@pytest.mark.soak
def test_of_two_deploys_at_once_both_have_one_key_and_one_request(rig: RunningRig, deployment: Deployment) -> None:
    """The second begins while the first is between its Secrets and its wait: whoever made them first, they stay."""
    name, keys = deployment.name, []
    for _run in range(2):
        deployment.playbooks.kill_when("TASK [multinode.inference.endpoint", "deploy", deployment.recipe)
        secrets = ("secret", f"{name}-api-key", f"{name}-ray-token", "--namespace", name)
        keys.append(rig.kubectl("get", *secrets, "--output", "jsonpath={.items[*].data}"))
    assert keys[0] == keys[1]
    deployment.undeploy()
