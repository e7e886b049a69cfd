# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects that follow from a plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import (
    group_document,
    render,
    secret,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.engine import DRAIN_SECONDS
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import commit_choice
from rig.kuberay import pods as kuberay_pods
from rig.kuberay import ray_cluster

from ..plans import facts, plan

PROGRAMS = {"head.py": "print('head')", "worker.py": "print('worker')"}


def objects(**changes: Any) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in render(plan(**changes), PROGRAMS)}


def groups(made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    spec = made["RayCluster"]["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_the_namespace_comes_first_and_the_raycluster_after_what_its_pods_mount() -> None:
    kinds = [item["kind"] for item in render(plan(), PROGRAMS)]
    assert kinds[0] == "Namespace"
    assert kinds.index("ConfigMap") < kinds.index("RayCluster")


def test_every_object_is_found_again_by_its_labels() -> None:
    for item in [*objects().values(), secret(plan(), "api_key_secret", {"default": "x"})]:
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
    assert ports.pop("status") == 8081
    assert ports == {"gcs-server": 7001, "dashboard": 7002, "metrics": 7003, "client": 7004, "api": 7000}
    start = spec["headGroupSpec"]["rayStartParams"]
    assert (start["port"], start["dashboard-port"], start["metrics-export-port"], start["ray-client-server-port"]) == (
        "7001",
        "7002",
        "7003",
        "7004",
    )
    (workers,) = spec["workerGroupSpecs"]
    assert workers["rayStartParams"]["metrics-export-port"] == "7003"
    # As KubeRay makes it: of a container without a port of that name it says 8080.
    made["RayCluster"]["metadata"]["uid"] = "1"
    (group,) = ray_cluster.worker_groups(made["RayCluster"])
    container = kuberay_pods.worker_pod(made["RayCluster"], group, 0, ray_cluster.Settings())["spec"]["containers"][0]
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("metrics", 7003)]


def test_ray_s_other_ports_are_fixed_below_those_that_the_kernel_gives_away() -> None:
    for group in groups(objects()):
        start = group["rayStartParams"]
        workers = range(int(start["min-worker-port"]), int(start["max-worker-port"]) + 1)
        others = [int(value) for name, value in start.items() if name.endswith("port") and "worker" not in name]
        for name in (
            "node-manager",
            "object-manager",
            "runtime-env-agent",
            "dashboard-agent-grpc",
            "dashboard-agent-listen",
        ):
            with pytest.raises(Refused) as refused:
                plan(recipe_container_port=int(start[f"{name}-port"]))
            assert [fault.code for fault in refused.value.faults] == ["port_of_ray"]
        assert len(set(others)) == len(others) and not set(others) & set(workers)
        assert max(*others, *workers) < 32768 and len(workers) > 9000


@pytest.mark.parametrize("number", [0, 1])
def test_what_every_pod_has(number: int) -> None:
    """Clauses that nothing else holds, of the head and of the workers."""
    made = objects()
    group = groups(made)[number]
    template, pod = group["template"], group["template"]["spec"]
    container = pod["containers"][0]
    variables = {entry["name"]: entry for entry in container["env"]}
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert pod["nodeSelector"] == {"multinode.inference/deployment": "rayclustervmtest"}
    assert pod["enableServiceLinks"] is False
    assert variables["VLLM_HOST_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert variables["RAY_memory_monitor_refresh_ms"]["value"] == "0"
    assert variables["HF_HUB_OFFLINE"]["value"] == "1"
    assert int(group["rayStartParams"]["object-store-memory"]) == 200_000_000
    assert group.get("numOfHosts", 1) == 1
    own = {"matchLabels": {"ray.io/cluster": "rayclustervmtest"}}
    (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart == {"labelSelector": own, "topologyKey": "kubernetes.io/hostname"}
    (near,) = pod["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert near["podAffinityTerm"] == {"labelSelector": own, "topologyKey": "topology.kubernetes.io/zone"}
    budget = made["PodDisruptionBudget"]["spec"]
    assert budget == {"minAvailable": 4, "selector": own, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    # What is compiled and logged outlives the container.
    outliving = {volume["name"] for volume in pod["volumes"] if volume.get("emptyDir") == {}}
    folders = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in outliving]
    assert "/tmp/ray" in folders
    for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"):
        assert any(variables[name]["value"].startswith(f"{folder}/") for folder in folders), name
    assert not any(variables["TORCH_EXTENSIONS_DIR"]["value"].startswith(f"{folder}/") for folder in folders)


def test_the_api_keys_are_files_of_the_head_and_of_no_environment() -> None:
    names = [item["metadata"]["name"] for item in (secret(plan(), "api_key_secret", {"default": "x"}),)]
    head_pod, worker_pod = (group["template"]["spec"] for group in groups(objects()))
    (volume,) = [entry for entry in head_pod["volumes"] if entry.get("secret", {}).get("secretName") in names]
    assert "items" not in volume["secret"], "a key that is added later is mounted as well"
    container = head_pod["containers"][0]
    (mount,) = [entry for entry in container["volumeMounts"] if entry["name"] == volume["name"]]
    assert mount["readOnly"] and "subPath" not in mount, "the kubelet updates no subPath"
    variables = {entry["name"]: entry for entry in container["env"]}
    assert variables["MULTINODE_API_KEYS"]["value"] == mount["mountPath"]
    assert not {"MULTINODE_API_KEYS", "VLLM_API_KEY"} & {entry["name"] for entry in worker_pod["containers"][0]["env"]}
    assert "VLLM_API_KEY" not in variables and names[0] not in json.dumps(worker_pod)


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
    assert document["staging"]["layers_per_stage"] == plan()["parallelism"]["layers_per_stage"]
    assert document["staging"]["url_file"].startswith("/run/secrets/")
    assert "s3cr3t" not in json.dumps(document)


def test_the_pods_know_the_ray_of_an_image_that_the_plan_does_not_know() -> None:
    assert group_document(plan())["image"]["ray"] == plan()["pod"]["ray_version"]
    own = {"recipe_image_uri": "docker.io/me/vllm:1"}
    assert group_document(plan(**own))["image"] == {"ray": "2.58.0"}
    said = group_document(plan(**own, image_contents={"ray": "2.60.1", "vllm": "0.32.0"}))["image"]
    assert said == {"ray": "2.60.1", "vllm": "0.32.0", "given": True}


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


def test_a_variable_of_ours_may_come_from_a_secret() -> None:
    secret_name = {"envvar_name": "VLLM_CACHE_ROOT", "secret_name": "caches", "secret_key": "folder"}
    changes = {"recipe_environment_secrets": [secret_name]}
    (variable,) = [entry for entry in head(**changes)["containers"][0]["env"] if entry["name"] == "VLLM_CACHE_ROOT"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "caches", "key": "folder"}}
    places = [entry["where"] for entry in plan(**changes)["warnings"] if entry["code"] == "variable_overridden"]
    assert places == ["recipe_environment_secrets[0].envvar_name"]


@pytest.mark.parametrize(("words", "ours"), [([], True), (["--no-disable-uvicorn-access-log"], False)])
def test_an_option_that_no_plan_needs_is_not_demanded_of_an_image(words: list[str], ours: bool) -> None:
    made = group_document(plan(recipe_container_command_args=words))["engine"]
    assert "--disable-uvicorn-access-log" not in made["args"]
    assert (["--disable-uvicorn-access-log"] in made["optional"]) is ours


def test_the_limit_of_the_queue_is_given_to_an_image_that_has_the_option() -> None:
    assert ["--max-num-queued-reqs", "64"] in group_document(plan(max_queued_requests=64))["engine"]["optional"]
    assert "--max-num-queued-reqs" not in str(group_document(plan())["engine"])


def test_the_head_pauses_before_it_drains_within_its_grace_period() -> None:
    spec = head()
    assert spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["python3", "/opt/multinode/pause.py"]
    assert spec["terminationGracePeriodSeconds"] >= DRAIN_SECONDS + 10


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
    assert [volume["name"] for volume in pod["volumes"] if "secret" in volume] == ["api-keys"], "no other is needed"


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
    assert container["readinessProbe"]["timeoutSeconds"] == 60
    given = head(recipe_startup_probe_params={"period_seconds": 3, "failure_threshold": 20})["containers"][0]
    assert given["startupProbe"] == {
        "exec": {"command": ["python3", "/opt/multinode/live.py"]},
        "periodSeconds": 3,
        "timeoutSeconds": 20,
        "failureThreshold": 20,
    }


@pytest.mark.parametrize(("given", "used"), [(1, (60, 20, 20)), (90, (90, 90, 90))])
def test_no_probe_is_cut_off_before_its_check_ends(given: int, used: tuple[int, ...]) -> None:
    names = ("readiness", "liveness", "startup")
    container = head(**{f"recipe_{name}_probe_params": {"timeout_seconds": given} for name in names})["containers"][0]
    assert tuple(container[f"{name}Probe"]["timeoutSeconds"] for name in names) == used
