# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects that follow from a plan."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.planning.facts import commit_choice
from ansible_collections.multinode.inference.plugins.module_utils.planning.manifests.objects import (
    group_document,
    render,
    secret,
)

from .plans import facts, plan

PROGRAMS = {"head.py": "print('head')", "worker.py": "print('worker')"}


def objects(**changes: Any) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in render(plan(**changes), PROGRAMS)}


def test_the_namespace_comes_first_and_the_raycluster_after_what_its_pods_mount() -> None:
    kinds = [item["kind"] for item in render(plan(), PROGRAMS)]
    assert kinds[0] == "Namespace"
    assert kinds.index("ConfigMap") < kinds.index("RayCluster")


def test_every_object_is_found_again_by_its_labels() -> None:
    for item in [*objects().values(), secret(plan(), "api_key_secret", {"api_key": "x"})]:
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == "rayclustervmtest"
        assert item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "multinode.inference"


def test_head_and_workers_are_the_same_pod_but_for_their_program() -> None:
    spec = objects()["RayCluster"]["spec"]
    (workers,) = spec["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 3
    head_pod, worker_pod = (group["template"]["spec"] for group in (spec["headGroupSpec"], workers))
    head, worker = head_pod["containers"][0], worker_pod["containers"][0]
    assert head["resources"] == worker["resources"]
    assert head["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert (head["command"][1], worker["command"][1]) == ("/opt/multinode/head.py", "/opt/multinode/worker.py")
    for pod in (head_pod, worker_pod):
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False


def test_ray_asks_for_its_token_and_templates_reach_living_pods() -> None:
    spec = objects()["RayCluster"]["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "rayclustervmtest-ray-token"}
    assert spec["upgradeStrategy"] == {"type": "Recreate"}


def test_all_ports_of_the_recipe_changed_together() -> None:
    params = "recipe_raycluster_params__"
    changed = {"redis_port": 7001, "dashboard_port": 7002, "metrics_export_port": 7003, "rayclient_server_port": 7004}
    made = objects(recipe_container_port=7000, **{params + name: port for name, port in changed.items()})
    spec = made["RayCluster"]["spec"]
    ports = {
        entry["name"]: entry["containerPort"]
        for entry in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert ports == {"gcs-server": 7001, "dashboard": 7002, "metrics": 7003, "client": 7004, "api": 7000}
    start = spec["headGroupSpec"]["rayStartParams"]
    assert (start["port"], start["dashboard-port"], start["metrics-export-port"], start["ray-client-server-port"]) == (
        "7001",
        "7002",
        "7003",
        "7004",
    )
    assert spec["workerGroupSpecs"][0]["rayStartParams"]["metrics-export-port"] == "7003"


def test_nothing_is_exposed_unasked() -> None:
    inside, outside = objects(), objects(endpoint_exposure="load_balancer")
    assert inside["Service"]["spec"]["type"] == "ClusterIP"
    assert [port["name"] for port in inside["Service"]["spec"]["ports"]] == ["api"]
    assert outside["Service"]["spec"]["type"] == "LoadBalancer"
    assert [port["name"] for port in outside["Service"]["spec"]["ports"]] == ["api", "dashboard"]


def test_the_programs_are_named_by_their_content() -> None:
    name = objects()["ConfigMap"]["metadata"]["name"]
    other = {item["kind"]: item for item in render(plan(), {**PROGRAMS, "head.py": "print('other')"})}
    assert name != other["ConfigMap"]["metadata"]["name"]
    assert objects()["ConfigMap"]["immutable"] is True


def test_the_pods_know_what_to_stage_and_no_secret() -> None:
    document = group_document(plan())
    assert document["staging"]["by_stage"] and len(document["staging"]["shards_per_stage"]) == 4
    assert document["staging"]["url_file"].startswith("/run/secrets/")
    assert "s3cr3t" not in json.dumps(document)


def test_the_pods_know_the_ray_of_an_image_that_the_plan_does_not_know() -> None:
    assert group_document(plan())["image"]["ray"] == plan()["pod"]["ray_version"]
    own = {"recipe_image_uri": "docker.io/me/vllm:1"}
    assert group_document(plan(**own))["image"] == {"ray": "2.58.0"}
    assert group_document(plan(**own, ray_version="2.60.1"))["image"] == {"ray": "2.60.1"}


def test_a_single_node_has_no_worker_group() -> None:
    made = objects(
        recipe_node_pool_size=1, recipe_raycluster_params__num_worker_nodes=0, recipe_node_shape="VM.GPU.A10.2"
    )
    assert made["RayCluster"]["spec"]["workerGroupSpecs"] == []


def head(**changes: Any) -> dict[str, Any]:
    """The head's pod."""
    pod: dict[str, Any] = objects(**changes)["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]
    return pod


def test_variables_of_the_recipe_are_set_in_every_pod() -> None:
    pod = head(
        recipe_container_env=[{"key": "NCCL_DEBUG", "value": "INFO"}, {"key": "NCCL_SOCKET_IFNAME", "value": "eth1"}],
        recipe_environment_secrets=[{"envvar_name": "WANDB_TOKEN", "secret_name": "wandb", "secret_key": "token"}],
    )
    variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    assert variables["NCCL_DEBUG"]["value"] == "INFO"
    assert variables["NCCL_SOCKET_IFNAME"]["value"] == "eth1"
    assert variables["WANDB_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "wandb", "key": "token"}}
    assert len(variables) == len(pod["containers"][0]["env"]), "each variable once"


def repository(**changes: Any) -> dict[str, Any]:
    """The objects of the sample with a repository as the model's source."""
    found = facts()
    commit = "c" * 40
    source = {
        "kind": "hugging_face",
        "place": "hub/a/b",
        "endpoint": "https://hub",
        "repository": "a/b",
        "revision": "main",
    }
    found.model = {**found.model, "prefix": "", "source": {**source, "commit": commit, "newest": commit}}
    given = {
        "input_object_storage": None,
        "input_hugging_face": {"repository": "a/b", "mount_location": "/models", "volume_size_in_gbs": 500, **changes},
    }
    return {item["kind"]: item for item in render(plan(found, **given), PROGRAMS)}


def test_a_repository_is_staged_at_its_commit() -> None:
    made = repository()
    staging = json.loads(made["ConfigMap"]["data"]["group.json"])["staging"]
    assert (staging["source"], staging["endpoint"], staging["repository"]) == ("hugging_face", "https://hub", "a/b")
    assert staging["commit"] == "c" * 40 and staging["prefix"] == ""
    choices = json.loads(made["RayCluster"]["metadata"]["annotations"]["multinode.inference/choices"])
    assert choices[commit_choice("a/b", "main")] == "c" * 40
    pod = made["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]
    assert not [volume for volume in pod["volumes"] if "secret" in volume], "no Secret is needed"


def test_a_repository_s_token_is_mounted_where_the_programs_look_for_it() -> None:
    made = repository(token_secret_name="hub", token_secret_key="hf_token")
    pod = made["RayCluster"]["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    assert volume["secret"]["secretName"] == "hub"
    assert volume["secret"]["items"] == [{"key": "hf_token", "path": "token"}]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "source"]
    staging = json.loads(made["ConfigMap"]["data"]["group.json"])["staging"]
    assert staging["url_file"] == f"{mount['mountPath']}/par" and mount["readOnly"]


def test_a_pull_secret_is_named_where_it_is_given() -> None:
    assert "imagePullSecrets" not in head()
    assert head(recipe_container_secret_name="registry")["imagePullSecrets"] == [{"name": "registry"}]


def test_times_of_the_probes() -> None:
    pod = head(
        recipe_readiness_probe_params={"period_seconds": 20, "failure_threshold": 4},
        recipe_liveness_probe_params={"initial_delay_seconds": 90},
    )
    container = pod["containers"][0]
    assert (container["readinessProbe"]["periodSeconds"], container["readinessProbe"]["failureThreshold"]) == (20, 4)
    assert container["livenessProbe"]["initialDelaySeconds"] == 90
    assert container["readinessProbe"]["exec"] == {"command": ["python3", "/opt/multinode/ready.py"]}
    assert "startupProbe" not in container
    given = head(recipe_startup_probe_params={"period_seconds": 3, "failure_threshold": 20})["containers"][0]
    assert given["startupProbe"] == {
        "exec": {"command": ["python3", "/opt/multinode/live.py"]},
        "periodSeconds": 3,
        "timeoutSeconds": 20,
        "failureThreshold": 20,
    }
