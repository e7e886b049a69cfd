# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of formats: what each takes, and what Kubernetes, Oracle Cloud, argparse or the kubelet would refuse later."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe import formats
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.formats import Format
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ..recipes import recipe

FORMATS = {name: value for name, value in vars(formats).items() if isinstance(value, Format)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_takes_its_example_and_nothing_longer_than_it_says(name: str) -> None:
    form = FORMATS[name]
    assert form.takes(form.example)
    assert not form.takes(form.example * (form.longest // len(form.example) + 1))


@pytest.mark.parametrize("name", FORMATS)
def test_no_text_takes_a_format_long(name: str) -> None:
    form = FORMATS[name]
    longest = min(form.longest, 4096)
    for piece in ("a", "-", "a-", "_", "a_", ".", "a.", "/", "/a", "/.", "1", "1.", ":", " ", "@", "\n"):
        for text in (piece * longest, form.example[:8] + piece * longest + "!"):
            text = text[:longest]
            began = time.process_time()
            form.takes(text)
            assert time.process_time() - began < 1, (piece, len(text))


@given(st.text(max_size=40))
def test_no_format_takes_a_nul_or_a_text_that_it_would_not_show_in_a_line(text: str) -> None:
    for name, form in FORMATS.items():
        if form.takes(text):
            assert "\0" not in text
            assert "\n" not in text or name in ("TEXT", "ARGUMENT")


TOO_LONG = "x" * 300
WRONG: list[tuple[dict[str, Any], str, str]] = [
    *(
        ({"namespace": value}, "namespace", "namespace")
        for value in ("Bad_NS", "a b", "x" * 64, "a/../../x", "../kube-system", "default", "kube-system", "kube-x", "-a", "a.b")
    ),
    ({"kuberay_namespace": "a/b"}, "namespace", "kuberay_namespace"),
    *(
        ({"kuberay_chart_version": value}, "chart_version", "kuberay_chart_version")
        for value in ("1.7.1 --post-renderer=/tmp/x", "--devel", "1.7.1\t--debug", "latest")
    ),
    *(
        ({name: value}, "chart", name)
        for name in ("kuberay_chart_ref", "kuberay_chart_repository")
        for value in ("kuberay-operator --post-renderer /tmp/x", "--post-renderer=/tmp/x", "x'y", "a\\ b")
    ),
    ({"metrics_namespaces": ["ok", "A"]}, "namespace", "metrics_namespaces[1]"),
    ({"service_annotations": {"bad key!": "x"}}, "annotation", "service_annotations.bad key!"),
    ({"service_annotations": {"a//b": "x"}}, "annotation", "service_annotations.a//b"),
    ({"service_annotations": {"-.example.com/b": "x"}}, "annotation", "service_annotations.-.example.com/b"),
    (
        {"service_annotations": {"multinode.inference/plan-hash": "x"}},
        "annotation",
        "service_annotations.multinode.inference/plan-hash",
    ),
    ({"node_pool_labels": {"team": "a b"}}, "label", "node_pool_labels.team"),
    ({"node_pool_labels": {"team": "x" * 64}}, "label", "node_pool_labels.team"),
    ({"node_pool_labels": {"a..b/team": "x"}}, "label", "node_pool_labels.a..b/team"),
    ({"node_pool_taints": ["gpu=yes:Never"]}, "taint", "node_pool_taints[0]"),
    ({"node_pool_tags": {"a\nb": "x"}}, "tag", "node_pool_tags.'a\\nb'"),
    ({"model_storage_class": "Fast"}, "object_name", "model_storage_class"),
    ({"image_registry": "https://registry.example.com"}, "image", "image_registry"),
    ({"default_image": "Registry/Image:1"}, "image", "default_image"),
    ({"kuberay_image": "quay.io/kuberay/operator:v1"}, "image", "kuberay_image"),
    ({"hugging_face_endpoint": "https://user:pass@hub.example.com"}, "url", "hugging_face_endpoint"),
    ({"hugging_face_endpoint": "file:///etc/passwd"}, "url", "hugging_face_endpoint"),
    ({"oci_service_endpoint": {"iaas": "ftp://x"}}, "url", "oci_service_endpoint.iaas"),
    ({"region": "evil.test/x"}, "region", "region"),
    ({"compartment_id": "mine"}, "ocid", "compartment_id"),
    ({"oke_cluster_id": "ocid1.instance.oc1.iad.aaaa"}, "ocid", "oke_cluster_id"),
    ({"rdma_socket_interface": "eth0 --x"}, "interface", "rdma_socket_interface"),
    ({"model_cache_folder": "/data/../etc"}, "path", "model_cache_folder"),
    ({"recipe_image_uri": "docker.io//vllm"}, "image", "recipe_image_uri"),
    ({"recipe_image_uri": "docker.io/vllm/vllm:"}, "image", "recipe_image_uri"),
    ({"recipe_image_uri": "docker.io/vllm/vllm@sha256:abc"}, "image", "recipe_image_uri"),
    ({"recipe_node_shape": "BM.GPU H100"}, "shape", "recipe_node_shape"),
    ({"recipe_served_model_name": "a\nb"}, "served_name", "recipe_served_model_name"),
    ({"recipe_id": "a\0b"}, "text", "recipe_id"),
    ({"recipe_id": "half \ud800"}, "text", "recipe_id"),
    ({"deployment_name": "Kelvin\u212a"}, "name", "deployment_name"),
    ({"service_endpoint_domain": "a..b"}, "domain", "service_endpoint_domain"),
    ({"service_endpoint_domain": "x" * 64 + ".example.com"}, "domain", "service_endpoint_domain"),
    ({"recipe_availability_domain": "AD 1"}, "availability_domain", "recipe_availability_domain"),
    ({"recipe_container_env": [{"key": "A", "value": "a\0b"}]}, "text", "recipe_container_env[0].value"),
    ({"recipe_container_env": [{"key": "A.B", "value": "x"}]}, "variable", "recipe_container_env[0].key"),
    ({"recipe_container_env": [{"key": "A", "value": "x" * 200_000}]}, "text", "recipe_container_env[0].value"),
    (
        {"recipe_environment_secrets": [{"envvar_name": "A", "secret_name": "s", "secret_key": "../x"}]},
        "secret_key",
        "recipe_environment_secrets[0].secret_key",
    ),
    ({"recipe_container_command_args": ["--seed", "\0"]}, "text", "recipe_container_command_args[1]"),
    ({"recipe_raycluster_params__model_path_in_container": "/models/-x"}, "model_path", ""),
    ({"recipe_raycluster_params__model_path_in_container": "/models/--api-key=foo"}, "model_path", ""),
    ({"recipe_raycluster_params__model_path_in_container": "/models/a\nb"}, "model_path", ""),
    ({"recipe_raycluster_params__model_path_in_container": "models/a"}, "model_path", ""),
    ({"recipe_raycluster_params__head_node_num_cpus": 10**30}, "range", ""),
    ({"recipe_startup_probe_params": {"period_seconds": 2**31}}, "range", "recipe_startup_probe_params.period_seconds"),
    ({"input_object_storage__0__mount_location": "/models:ro"}, "path", "input_object_storage[0].mount_location"),
    ({"input_object_storage__0__mount_location": "/"}, "path", "input_object_storage[0].mount_location"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "where"), WRONG, ids=lambda value: str(value)[:40])
def test_what_would_be_refused_later_is_refused_by_the_plan(changes: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes))
    (fault,) = refused.value.faults
    assert fault.code == code and (fault.where == where or not where) and len(fault.line()) < 500
    fault.line().encode()


def test_the_environment_fits_into_a_raycluster() -> None:
    variables = [{"key": f"A{number}", "value": "x" * 30_000} for number in range(9)]
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(recipe_container_env=variables))
    assert [fault.code for fault in refused.value.faults] == ["environment_too_large"]
    assert read_inputs(recipe(recipe_container_env=variables[:8]))


@pytest.mark.parametrize(
    ("mount", "owner"),
    [
        ("/tmp", "the deployment"),
        ("/tmp/ray/logs", "the deployment"),
        ("/run", "the deployment"),
        ("/opt", "the deployment"),
        ("/usr", "the container's system"),
        ("/usr/local/lib", "the container's system"),
        ("/etc", "the container's system"),
        ("/proc/x", "the container's system"),
        ("/sys", "the container's system"),
        ("/home/ray", "the container's system"),
        ("/models", "input_object_storage[0]"),
        ("/models/x", "input_object_storage[0]"),
    ],
)
def test_no_mount_hides_what_the_container_needs(mount: str, owner: str) -> None:
    # One at the model's own place holds the model instead.
    name = "/models/deep" if mount == "/models" else "/models"
    changes = {
        "input_object_storage__0__mount_location": name,
        "recipe_raycluster_params__model_path_in_container": f"{name}/x",
    }
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes, local_filesystem=[{"node_directory_path": "/mnt/x", "mount_location": mount}]))
    assert [fault.expected for fault in refused.value.faults] == [f"a folder that {owner} does not use"]


@pytest.mark.parametrize("mount", ["/home/ray/models", "/data", "/srv/a", "/etc/prompts", "/usr/share/x"])
def test_other_mounts_are_free(mount: str) -> None:
    assert read_inputs(recipe(local_filesystem=[{"node_directory_path": "/mnt/x", "mount_location": mount}]))


@pytest.mark.parametrize(
    ("folder", "allowed", "good"),
    [
        ("/mnt", None, True),
        ("/mnt/", None, True),
        ("/mnt/nvme/models", None, True),
        ("/etc", None, False),
        ("/var/lib/kubelet", None, False),
        ("/run/containerd", None, False),
        ("/mntx", None, False),
        ("/srv/models", ["/mnt", "/srv"], True),
        ("/mnt/x", ["/srv"], False),
    ],
)
def test_a_recipe_reaches_only_the_folders_of_a_node_that_are_allowed(
    folder: str, allowed: list[str] | None, good: bool
) -> None:
    entry = {"node_directory_path": folder, "mount_location": "/cache"}
    changes = {"local_filesystem": [entry], **({"local_filesystem_folders": allowed} if allowed else {})}
    if good:
        assert read_inputs(recipe(**changes))
        return
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes))
    assert [fault.code for fault in refused.value.faults] == ["folder_not_allowed"]


@pytest.mark.parametrize(
    "folder", ["/mnt/../etc", "/mnt/./x", "/mnt//x", "/mnt/..", "mnt", "/mnt/a b", "/mnt/\u2024\u2024/etc"]
)
def test_no_path_leads_out_of_them(folder: str) -> None:
    entry = {"node_directory_path": folder, "mount_location": "/cache"}
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(local_filesystem=[entry]))
    assert [fault.code for fault in refused.value.faults] == ["path"]
