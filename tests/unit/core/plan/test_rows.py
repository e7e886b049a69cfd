# SPDX-License-Identifier: GPL-3.0-or-later
"""Each row of the tables, given a value, changes the plan, the objects, or which files are read: one without effect would lie."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import GIVEN_ANNOTATION
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import make_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.model_source import model_options
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE, Parameter
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS

from ..plans import DOMAINS, PARAMS, cluster, facts
from ..recipes import recipe

ROWS = {row.name: row for row in (*RECIPE, *SETTINGS)}
FOLDER = {"node_directory_path": "/mnt/nvme/x", "mount_location": "/cache"}
FILE_SYSTEM = {
    "file_system_ocid": "ocid1.filesystem.oc1.iad.aaaa",
    "mount_target_ocid": "ocid1.mounttarget.oc1.iad.bbbb",
    "mount_target_ip": "10.0.1.8",
    "export_path": "/shared",
    "mount_location": "/shared",
    "volume_size_in_gbs": 100,
}
HUB = {"repository": "org/model", "mount_location": "/models", "volume_size_in_gbs": 500, "token_secret_name": "hub"}
VARIABLE = {"key": "NCCL_DEBUG", "value": "WARN"}
SECRET = {"envvar_name": "WANDB", "secret_name": "wandb", "secret_key": "key"}
H100 = {
    "recipe_node_shape": "BM.GPU.H100.8",
    "recipe_nvidia_gpu_count": 8,
    **{f"{PARAMS}__{role}_node_num_gpus": 8 for role in ("head", "worker")},
}
EXPOSED = {"endpoint_exposure": "load_balancer"}
HOST = {"service_endpoint_domain": "example.com"}

# With pods in a subnet of their own, and the shape in two domains.
_POOL = {**cluster()["node_pools"][0], "pod_network": {"pod_subnet_ids": ["ocid1.subnet.oc1.iad.pods"]}}
CLUSTER = cluster(shapes=dict.fromkeys(DOMAINS[:2], {}), cni_type="OCI_VCN_IP_NATIVE", node_pools=[_POOL])

# What a row needs beside it to have an effect; with it, the plan is compared with and without the row.
BESIDE: dict[str, dict[str, Any]] = {
    "service_endpoint_domain": EXPOSED,
    "service_annotations": EXPOSED,
    **dict.fromkeys(
        ("endpoint_tls", "endpoint_tls_secret", "endpoint_tls_issuer", "endpoint_tls_to_pod", "endpoint_dashboard"),
        EXPOSED | HOST,
    ),
    "endpoint_source_ranges": EXPOSED,
    "endpoint_ingress_class": {"endpoint_exposure": "ingress", "endpoint_ingress_class": "other", **HOST},
    "endpoint_gateway": {"endpoint_exposure": "gateway", "endpoint_gateway": "a/b", **HOST},
    "nvme_folder": {**H100, "model_cache": "node"},
    "model_cache_folder": {"model_cache": "node"},
    "rdma": {**H100, "recipe_node_image_ocid": "ocid1.image.oc1.iad.bbbb"},
    "rdma_socket_interface": {**H100, "recipe_node_image_ocid": "ocid1.image.oc1.iad.bbbb", "rdma": "host_network"},
    "compute_cluster_id": {
        **H100,
        "recipe_node_image_ocid": "ocid1.image.oc1.iad.bbbb",
        "recipe_availability_domain": DOMAINS[0],
        "rdma": "none",
    },
    "image_contents": {"recipe_image_uri": "registry.example.com/own/vllm:1"},
}
# What is given where the value that follows from the row would break a rule.
GIVEN: dict[str, dict[str, Any]] = {
    "recipe_node_shape": {"recipe_node_shape": "VM.GPU.A10.2", **H100},
    "recipe_node_pool_size": {"recipe_node_pool_size": 2, f"{PARAMS}__num_worker_nodes": 1},
    "recipe_nvidia_gpu_count": H100,
    f"{PARAMS}.num_worker_nodes": {"recipe_node_pool_size": 2, f"{PARAMS}__num_worker_nodes": 1},
    f"{PARAMS}.model_path_in_container": {f"{PARAMS}__model_path_in_container": "/models/other"},
    "recipe_container_command_args": {"recipe_container_command_args": ["--max-num-seqs", "64"]},
    "local_filesystem": {"local_filesystem": [FOLDER]},
    "input_file_system": {"input_file_system": [FILE_SYSTEM]},
    "recipe_container_env": {"recipe_container_env": [VARIABLE]},
    "recipe_environment_secrets": {"recipe_environment_secrets": [SECRET]},
    "recipe_node_boot_volume_size_in_gbs": {"recipe_node_boot_volume_size_in_gbs": 900},
    "rdma_socket_interface": {"rdma_socket_interface": "ens300"},
    "default_image": {"default_image": "registry.example.com/own/vllm:1"},
    "model_storage_class": {"model_storage_class": "fast"},
    "gpu_memory_mib": {"gpu_memory_mib": 22000},
    f"{PARAMS}.metrics_export_port": {f"{PARAMS}__metrics_export_port": 9090},
    f"{PARAMS}.rayclient_server_port": {f"{PARAMS}__rayclient_server_port": 9091},
    "endpoint_tls": {"endpoint_tls": "none"},
    "endpoint_source_ranges": {"endpoint_source_ranges": ["10.0.0.0/16"]},
    "prices": {"prices": {"gpu_hour": "1"}},
    "image_contents": {"image_contents": {"vllm": "0.32.0", "ray": "2.55.0", "cuda": "12.8", "python": "3.12"}},
    "recipe_reasoning_parser": {"recipe_reasoning_parser": "qwen3"},
    "recipe_speculation": {"recipe_speculation": "off"},
    "recipe_availability_domain": {"recipe_availability_domain": DOMAINS[1]},
    "node_pool_availability_domains": {"node_pool_availability_domains": [DOMAINS[1]]},
    "rdma": {"rdma": "host_network"},
    **{
        f"{PARAMS}.{role}_node_{what}": {f"{PARAMS}__{both}_node_{what}": value for both in ("head", "worker")}
        for role in ("head", "worker")
        for what, value in (("num_cpus", 20), ("cpu_mem_in_gbs", 300))
    },
    **{f"{PARAMS}.{role}_node_num_gpus": H100 for role in ("head", "worker")},
}
SIGN_IN = "it says how Oracle Cloud or Kubernetes is reached, not what is deployed there"
WRITTEN = "it names a file that a playbook writes or reads"
OF_LOGS = "of the logs playbook"
OF_KEYS = "of the keys playbook"
WAITS = "it bounds how long or how often deploy tries; nothing is made of it"
PERMITS = "it permits or forbids, and makes nothing (test_recipe_rules.py, test_placement.py)"
# Rows that can change neither plan nor objects, each with the reason.
ELSEWHERE = {
    "recipe_mode": "it has one value",
    "recipe_replica_count": "it has one value",
    "skip_capacity_validation": PERMITS,
    "skip_quota_validation": PERMITS,
    "local_filesystem_folders": PERMITS,
    "recipe_speculation": "mtp needs a model that brings such layers (test_speculation.py)",
    "adopt_defaults": "a new deployment has nothing to keep (test_standing_deployment.py)",
    "node_pods_vcpus": "it narrows what fits on a node (test_plan_refusals.py)",
    "node_pods_memory_gb": "it narrows what fits on a node (test_plan_refusals.py)",
    "hugging_face_endpoint": "model_info reads from it and hands it on with the files (test_model_info.py)",
    "vllm_python": "plan asks it and hands its answer on (test_vllm_python.py)",
    "lease_wait_seconds": "how long a second run waits for the first (test_lease.py)",
    "source_request_days": "of the pre-authenticated request that deploy makes (test_bucket_access.py)",
    **dict.fromkeys(
        ("kuberay_chart_ref", "kuberay_chart_repository", "kuberay_chart_version", "kuberay_image", "kuberay_upgrade"),
        "of the operator, which is no deployment's (test_operator.py)",
    ),
    **dict.fromkeys(
        ("kuberay_image_pull_secret", "kuberay_namespace", "helm_binary"),
        "of the operator, which is no deployment's (test_operator.py)",
    ),
    **dict.fromkeys(
        ("region", "auth_type", "config_file_location", "config_profile_name", "oci_service_endpoint"), SIGN_IN
    ),
    **dict.fromkeys(("kubeconfig", "kubeconfig_context", "kubernetes_endpoint", "kubernetes_strict_tls"), SIGN_IN),
    **dict.fromkeys(("convert_to", "failure_bundle", "html_file", "model_facts_file", "result_file"), WRITTEN),
    **dict.fromkeys(("logs_component", "logs_worker", "logs_lines", "logs_previous", "logs_raw"), OF_LOGS),
    **dict.fromkeys(("logs_follow", "logs_follow_minutes"), OF_LOGS),
    **dict.fromkeys(("keys_action", "key_name", "key_show", "key_overlap_minutes"), OF_KEYS),
    **dict.fromkeys(
        ("benchmark_input_tokens", "benchmark_output_tokens", "benchmark_requests", "benchmark_minutes"),
        "of the benchmark playbook (test_benchmark.py)",
    ),
    **dict.fromkeys(("on_shortfall", "shortfall_keep_minutes", "node_repair_limit"), WAITS),
    **dict.fromkeys(("node_join_minutes", "node_gpu_minutes", "wait_timeout_minutes"), WAITS),
}


def outcome(changes: dict[str, Any]) -> dict[str, Any]:
    """All that follows from a recipe, but what is only said of it."""
    inputs = read_inputs(recipe(**changes))
    ours = inputs.settings["node_provisioner"] == "oke"
    made = make_plan(inputs, facts(cluster=CLUSTER if ours else None))
    objects = render(made, {})
    for item in objects:
        item["metadata"]["annotations"].pop(GIVEN_ANNOTATION, None)
    made["deployment"].pop("given")
    made.pop("warnings")
    return {"plan": made, "objects": objects, "read": model_options(inputs.recipe), "secrets": inputs.secrets}


def value_of(row: Parameter) -> Any:
    """A value of the row that is not its default."""
    if row.choices:
        return next(choice for choice in row.choices if choice != row.default)
    if row.kind == "boolean":
        return not row.default
    if row.kind == "integer":
        return min(max(row.default or 0, row.minimum or 0) + 1, row.maximum or 2**31)
    if row.kind == "list":
        return [row.format.example]
    return {row.key_format.example: row.format.example} if row.kind == "mapping" else row.format.example


def differs(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return json.dumps(outcome(before), sort_keys=True) != json.dumps(outcome(before | after), sort_keys=True)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if name not in ELSEWHERE and not row.properties])
def test_a_row_has_an_effect(name: str) -> None:
    assert differs(BESIDE.get(name, {}), GIVEN.get(name, {name: value_of(ROWS[name])}))


@pytest.mark.parametrize("name", ["local_filesystem", "input_file_system", "recipe_container_env"])
def test_a_row_of_entries_has_an_effect(name: str) -> None:
    assert differs({}, GIVEN[name])


def nested(name: str) -> list[Parameter]:
    return [row for row in ROWS[name].properties if not row.not_served]


@pytest.mark.parametrize("row", nested(PARAMS), ids=lambda row: row.name)
def test_a_size_or_port_of_the_pods_has_an_effect(row: Parameter) -> None:
    assert differs({}, GIVEN.get(f"{PARAMS}.{row.name}", {f"{PARAMS}__{row.name}": value_of(row)}))


OTHER = {
    "par": "https://objectstorage.us-ashburn-1.oraclecloud.com/p/other/n/tenancy/b/models/o/",
    "mount_location": "/models/NousResearch",
    "token_secret_key": "other",
    "revision": "v1",
    "exclude": ["*.md"],
    "include": ["NousResearch"],
}


@pytest.mark.parametrize("row", nested("input_object_storage"), ids=lambda row: row.name)
def test_a_parameter_of_the_bucket_has_an_effect(row: Parameter) -> None:
    entry = recipe()["input_object_storage"][0]
    other = {**entry, row.name: OTHER.get(row.name, value_of(row))}
    if row.name == "bucket_name":
        del other["par"]
    assert differs({}, {"input_object_storage": [other]})


@pytest.mark.parametrize("row", nested("input_hugging_face"), ids=lambda row: row.name)
def test_a_parameter_of_the_repository_has_an_effect(row: Parameter) -> None:
    before = {"input_object_storage": None, "input_hugging_face": HUB}
    assert differs(before, {"input_hugging_face": {**HUB, row.name: OTHER.get(row.name, value_of(row))}})


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("input_file_system", FILE_SYSTEM),
        ("local_filesystem", FOLDER),
        ("recipe_container_env", VARIABLE),
        ("recipe_environment_secrets", SECRET),
    ],
)
def test_a_parameter_of_an_entry_has_an_effect(name: str, entry: dict[str, Any]) -> None:
    for row in nested(name):
        if row.name == "mount_target_ocid":
            continue  # Address and export are looked up with it where they are not given (test_storage.py).
        other = "CUDA_CACHE_PATH" if entry is VARIABLE and row.name == "key" else value_of(row)
        assert differs({name: [entry]}, {name: [{**entry, row.name: other}]}), row.name


@pytest.mark.parametrize("probe", ["startup", "liveness", "readiness"])
def test_the_timing_of_a_probe_has_an_effect(probe: str) -> None:
    name = f"recipe_{probe}_probe_params"
    for row in nested(name):
        value = {"timeout_seconds": 90}.get(row.name, value_of(row))
        # One success is all that Kubernetes takes for two of them.
        before = {"success_threshold": {"failure_threshold": 3}}.get(row.name, {"period_seconds": 77})
        assert differs({name: before}, {name: {**before, row.name: value}}), row.name


def test_no_row_is_listed_that_is_gone_or_has_an_effect_after_all() -> None:
    assert ELSEWHERE.keys() <= ROWS.keys() and BESIDE.keys() <= ROWS.keys()
    single = {"recipe_mode", "recipe_replica_count"}
    assert [
        name for name in sorted(ELSEWHERE.keys() - single) if differs({}, GIVEN.get(name, {name: value_of(ROWS[name])}))
    ] == []


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.reaches_pods and name not in ELSEWHERE])
def test_a_row_that_reaches_no_pod_leaves_the_pods_as_they_are(name: str) -> None:
    before = BESIDE.get(name, {})
    after = before | GIVEN.get(name, {name: value_of(ROWS[name])})
    if name == "deployment_name":
        return  # Another name is another deployment.
    pods = [
        [
            item.get("spec") or item.get("data")
            for item in outcome(given)["objects"]
            if item["kind"] in ("RayCluster", "ConfigMap")
        ]
        for given in (before, after)
    ]
    assert pods[0] == pods[1]
