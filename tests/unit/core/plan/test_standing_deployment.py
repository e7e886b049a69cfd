# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment that stands: whose it is, what a run changes of it, and what it leaves alone."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.running import (
    keep_pods,
    runtime_of,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    CHOICES_ANNOTATION,
    FIELDS_ANNOTATION,
    GIVEN_ANNOTATION,
    RENDERED_ANNOTATION,
    VALUES_ANNOTATION,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.plan import engine
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.changes import (
    CLASSES,
    LIVE,
    RESTART,
    change_classes,
    class_of,
    field_hashes,
    field_values,
    fields,
    plan_hash,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.page import page
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import (
    describe,
    describe_shortly,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.standing_deployment import (
    belongs_to_another,
    effect_on,
    named_otherwise,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import OF_PODS
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing import times
from rig.kuberay.ray_cluster import spec_hash

from ..plans import facts, plan
from ..recipes import recipe

PARAMS = "recipe_raycluster_params"
PROGRAMS = {"head.py": "print('head')", "worker.py": "print('worker')"}
NEWER = {**PROGRAMS, "head.py": "print('a better head')"}


def rendered(made: dict[str, Any], programs: dict[str, str] = PROGRAMS) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in render(made, programs)}


def stands(made: dict[str, Any]) -> dict[str, Any]:
    """What `deployment_info` finds of the deployment that `made` was applied for."""
    annotations = rendered(made)["RayCluster"]["metadata"]["annotations"]
    return {
        "deployment_name": made["deployment"]["deployment_name"],
        "namespace": made["deployment"]["namespace"],
        "choices": json.loads(annotations[CHOICES_ANNOTATION]),
        "given": annotations[GIVEN_ANNOTATION],
        "fields": json.loads(annotations[FIELDS_ANNOTATION]),
        "values": json.loads(annotations[VALUES_ANNOTATION]),
    }


def kept(existing: dict[str, Any]) -> list[str]:
    """The fields that stay as they are."""
    return [entry["field"] for entry in existing["kept"]]


def changed(existing: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields that change, each with its class."""
    return [(entry["field"], entry["class"]) for entry in existing["changes"]]


def again(found: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The plan of a further run with `changes` of what was given."""
    return plan(facts(deployment=stands(plan()), **(found or {})), **changes)


def applied(made: dict[str, Any], programs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What a further run applies over the deployment that PROGRAMS made."""
    before = rendered(plan())
    objects = render(made, programs)
    if made["existing"]["keep_pods"]:
        keep_pods(objects, before["RayCluster"], before["ConfigMap"])
    return {item["kind"]: item for item in objects}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"endpoint_exposure": "load_balancer"},
        {"endpoint_exposure": "load_balancer", "service_annotations": {"a": "b"}},
        {"prices": {"gpu_hour": "1"}},
        {"model_volume_vpus_per_gb": 20},
        {"wait_timeout_minutes": 7},
        {"metrics_namespaces": ["monitoring"]},
        {"kuberay_image": "mirror.example.com/kuberay"},
        {"node_pool_labels": {"team": "a"}},
        {"shortfall_keep_minutes": 5},
        {"recipe_id": "another"},
        {"skip_capacity_validation": True},
        {"kuberay_chart_version": "1.7.2"},
        {"input_object_storage__0__par": "https://objectstorage.x.com/p/other/n/tenancy/b/models/o/"},
        {"recipe_public_ssh_key": "ssh-ed25519 AAAA"},
    ],
)
def test_what_is_live_leaves_the_pods_as_they_are_byte_for_byte(changes: dict[str, Any]) -> None:
    before, after = rendered(plan()), rendered(again(**changes))
    assert json.dumps(after["RayCluster"]["spec"]) == json.dumps(before["RayCluster"]["spec"])
    assert after["ConfigMap"]["metadata"]["name"] == before["ConfigMap"]["metadata"]["name"]
    assert RESTART not in [change["class"] for change in again(**changes)["existing"]["changes"]]


def test_minutes_and_prices_of_another_version_change_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render(plan(), PROGRAMS)
    monkeypatch.setattr(times, "IMAGE_PULL", 40.0)
    assert render(plan(), PROGRAMS) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipe_container_port": 9000}, "engine.args"),
        ({f"{PARAMS}__redis_port": 7001}, "engine.ray_start"),
        ({"recipe_image_uri": "docker.io/rayproject/ray-llm:2.57.0-py312-cu128"}, "pod.image"),
        ({"recipe_shared_memory_volume_size_limit_in_mb": 4096}, "pod.shared_memory_mib"),
        ({"recipe_container_env": [{"key": "NCCL_DEBUG", "value": "INFO"}]}, "engine.env"),
        ({"recipe_max_model_length": 4096}, "engine.args"),
        ({"restart_limit": 3}, "restart.limit"),
        ({"recipe_node_pool_size": 3, f"{PARAMS}__num_worker_nodes": 2}, "nodes.count"),
        ({"recipe_readiness_probe_params": {"period_seconds": 20}}, "pod.probes"),
        ({"image_registry": "mirror.example.com"}, "pod.image"),
        ({"model_storage_class": "fast"}, "pod.volumes"),
    ],
)
def test_what_restarts_the_group_is_said_and_reaches_the_pods(changes: dict[str, Any], field: str) -> None:
    made = again(**changes)
    assert (field, RESTART) in changed(made["existing"])
    assert made["existing"]["keep_pods"] is False and made["existing"]["kept"] == []
    before, after = rendered(plan()), applied(made, NEWER)
    assert after["RayCluster"]["spec"] != before["RayCluster"]["spec"]
    # It starts again anyhow, so it gets the programs of today.
    assert after["ConfigMap"]["data"]["head.py"] == NEWER["head.py"]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"node_pool_taints": ["team=a:NoSchedule"]}, True),
        ({"node_pool_preemptible": True}, True),
        ({"recipe_container_port": 9000}, False),
        ({"recipe_shared_memory_volume_size_limit_in_mb": 4096}, False),
        ({"model_storage_class": "fast"}, False),
    ],
)
def test_the_pods_are_made_again_where_kuberay_makes_them_again(changes: dict[str, Any], same: bool) -> None:
    made = again(**changes)
    before, after = rendered(plan())["RayCluster"], rendered(made)["RayCluster"]
    assert before["spec"] != after["spec"]
    assert (spec_hash(before) == spec_hash(after)) is same
    marks = [item["metadata"]["annotations"][RENDERED_ANNOTATION] for item in (before, after)]
    assert (marks[0] == marks[1]) is same
    assert (RESTART not in {change["class"] for change in made["existing"]["changes"]}) is same


def test_every_field_of_the_plan_has_a_class() -> None:
    made = plan()
    assert {key for key in made if key != "change_class"} <= set(CLASSES)
    assert class_of("of.another.version") == RESTART
    classes = change_classes(made)
    assert set(classes) == {name for name, _value in fields(made)}
    assert classes["node_pool.node_config_details.size"] == LIVE
    assert classes["node_pool.node_config_details.placement_configs"] == "new_pool"


def test_a_run_that_changes_nothing_says_so() -> None:
    assert plan()["existing"] is None, "there is none yet"
    assert not [line for line in describe(plan()) if line.startswith("Changes")]
    assert again()["existing"] == {"keep_pods": True, "changes": [], "kept": [], "by_delete": False, "failed": False}
    assert "Changes      none: the deployment is up to date" in describe_shortly(again())


def without(made: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """The plan as a version that did not know the key would have made it."""
    earlier = copy.deepcopy(made)
    target: Any = earlier
    for key in path[:-1]:
        target = target[key]
    assert target.pop(path[-1]) is None, "only a key without a value may be absent"
    return earlier


@pytest.mark.parametrize(
    "path", [("pod", "pull_secret"), ("pod", "model_cache", "path"), ("staging", "files", 0, "sha256")]
)
def test_a_key_that_the_record_does_not_have_means_none(path: tuple[str | int, ...]) -> None:
    """A later version may add an optional parameter: deployments that stand do not change, and nothing is warned of."""
    made = plan()
    earlier = without(made, *path)
    record = {**stands(made), "fields": field_hashes(earlier)}
    now = plan(facts(deployment=record))
    assert now["existing"] == {"keep_pods": True, "changes": [], "kept": [], "by_delete": False, "failed": False}
    assert now["deployment"]["hash"] == plan_hash(earlier)
    assert "newer_choice" not in [warning["code"] for warning in now["warnings"]]


def test_a_value_for_a_key_that_the_record_does_not_have_is_a_change() -> None:
    record = {**stands(plan()), "fields": field_hashes(without(plan(), "pod", "pull_secret"))}
    given = plan(facts(deployment=record), recipe_container_secret_name="registry")
    assert ("pod.pull_secret", RESTART) in changed(given["existing"])
    record = stands(given)
    assert ("pod.pull_secret", RESTART) in changed(plan(facts(deployment=record))["existing"])


def test_a_person_reads_what_a_change_means() -> None:
    made = again(recipe_container_port=9000, endpoint_exposure="load_balancer", recipe_node_boot_volume_size_in_gbs=900)
    lines = describe_shortly(made)
    first = next(number for number, line in enumerate(lines) if line.startswith("Changes"))
    assert lines[first : first + 9] == [
        "Changes      live, the group keeps serving",
        "               endpoint.dashboard: false -> true",
        "               endpoint.exposure: none -> load_balancer",
        "               endpoint.tls: (not given) -> self_signed",
        "             restart, the pods are recreated: about 3.9 minutes until it serves",
        "               --port: 8000 -> 9000",
        "               pod.ports.api: 8000 -> 9000",
        "             new_pool, only new nodes get it: undeploy and deploy take about 13.4 minutes",
        "               boot volume (GB): 800 -> 900",
    ]


def test_the_plan_says_which_option_changes_from_what_to_what() -> None:
    (change,) = again(recipe_max_model_length=1024)["existing"]["changes"]
    assert change["parts"] == [{"name": "--max-model-len", "was": "(model's own)", "now": "1024"}]
    assert "               --max-model-len: (model's own) -> 1024" in describe(again(recipe_max_model_length=1024))


def test_a_change_of_many_fields_is_shown_in_bounds_and_says_how_many_more() -> None:
    variables = [{"key": f"NAME_{number}", "value": "a"} for number in range(200)]
    made = again(recipe_container_env=variables)
    lines = describe_shortly(made)
    assert len([line for line in lines if "variable NAME_" in line]) == 40
    assert "               and 160 more" in lines
    assert len(made["existing"]["changes"][0]["parts"]) == 200, "the plan as data has them all"


@pytest.mark.parametrize("values", [{}, {"engine.args": [["odd"]], "engine.env": 5}, {"engine.args": None}])
def test_a_record_without_values_or_with_odd_ones_says_what_it_can(values: dict[str, Any]) -> None:
    record = {**stands(plan()), "values": values}
    made = plan(facts(deployment=record), recipe_max_model_length=1024)
    (change,) = made["existing"]["changes"]
    assert change["field"] == "engine.args" and change["parts"]
    assert "restart, the pods are recreated" in "\n".join(describe(made))


def test_the_recorded_values_are_bounded_and_keep_no_secret() -> None:
    made = plan()
    made["engine"]["env"] = {"my_token": "hunter2hunter2", "URL": "https://u:hunter2@example.com", "A": "b"}
    record = field_values(made)
    assert "hunter2" not in record and json.loads(record)["engine.env"]["A"] == "b"
    made["engine"]["env"] = {f"NAME_{number}": "a" * 500 for number in range(100)}
    record = field_values(made)
    assert len(record) < 34 * 1024
    assert "engine.env" not in json.loads(record) and json.loads(record)["nodes.shape"] == made["nodes"]["shape"]


def test_the_warning_of_a_kept_field_says_what_is_kept_and_what_would_be_new(monkeypatch: pytest.MonkeyPatch) -> None:
    found = stands(plan())
    monkeypatch.setattr(engine, "OBJECT_STORE_BYTES", 300_000_000)
    (warning,) = [entry for entry in plan(facts(deployment=found))["warnings"] if entry["code"] == "newer_choice"]
    assert "object-store-memory 200000000" in warning["found"]
    assert "object-store-memory 300000000" in warning["expected"]


def test_another_version_of_the_programs_restarts_nothing_unasked() -> None:
    before = rendered(plan())
    for changes in ({}, {"endpoint_exposure": "load_balancer"}):
        after = applied(again(**changes), NEWER)
        assert after["RayCluster"]["spec"] == before["RayCluster"]["spec"]
        assert runtime_of(after["RayCluster"]) == after["ConfigMap"]["metadata"]["name"]
        assert after["ConfigMap"]["data"] == before["ConfigMap"]["data"]
    objects = render(again(), NEWER)
    faults = keep_pods(objects, before["RayCluster"], before["ConfigMap"])
    assert [fault.line() for fault in faults] == [
        (
            "programs: kept from the deployment's creation, expected newer ones for a new deployment; "
            "take it with adopt_defaults: true"
        )
    ]


@pytest.mark.parametrize("forged", ["nonsense", "[]", "[" * 100_000, '"x"', ""])
def test_a_record_of_fields_that_somebody_wrote_over_stops_no_deploy(forged: str) -> None:
    before = rendered(plan())
    before["RayCluster"]["metadata"]["annotations"][FIELDS_ANNOTATION] = forged
    objects = render(again(), NEWER)
    assert keep_pods(objects, before["RayCluster"], before["ConfigMap"])
    after = {item["kind"]: item for item in objects}
    assert after["RayCluster"]["spec"] == before["RayCluster"]["spec"]
    assert isinstance(json.loads(after["RayCluster"]["metadata"]["annotations"][FIELDS_ANNOTATION]), dict)


def test_another_version_that_renders_other_pods_restarts_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = rendered(plan()), stands(plan())
    monkeypatch.setattr(engine, "OBJECT_STORE_BYTES", 300_000_000)
    made = plan(facts(deployment=found), endpoint_exposure="load_balancer")
    assert changed(made["existing"]) == [(f"endpoint.{part}", LIVE) for part in ("dashboard", "exposure", "tls")]
    assert kept(made["existing"]) == ["engine.ray_start"]
    assert {**made["existing"], "changes": [], "kept": []} == {
        "keep_pods": True,
        "changes": [],
        "kept": [],
        "by_delete": False,
        "failed": False,
    }
    assert ("newer_choice", "engine.ray_start") in [(entry["code"], entry["where"]) for entry in made["warnings"]]
    objects = render(made, PROGRAMS)
    assert [fault.where for fault in keep_pods(objects, before["RayCluster"], before["ConfigMap"])] == ["pods"]
    after = {item["kind"]: item for item in objects}
    assert after["RayCluster"]["spec"] == before["RayCluster"]["spec"]
    assert after["Service"]["spec"]["type"] == "LoadBalancer"
    # The next run sees the same: the exposure is done, the pods are still those of then.
    annotations = after["RayCluster"]["metadata"]["annotations"]
    next_run = plan(
        facts(deployment={**found, "fields": json.loads(annotations[FIELDS_ANNOTATION])}),
        endpoint_exposure="load_balancer",
    )
    assert kept(next_run["existing"]) == ["engine.ray_start"]
    assert {**next_run["existing"], "kept": []} == {
        "keep_pods": True,
        "changes": [],
        "kept": [],
        "by_delete": False,
        "failed": False,
    }


def test_pods_from_before_the_guard_of_the_api_get_it_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(engine, "GUARD", ())
        found = stands(plan())
    assert kept(plan(facts(deployment=found))["existing"]) == ["engine.args"]
    made = plan(facts(deployment=found), adopt_defaults=True)
    assert changed(made["existing"]) == [("engine.args", RESTART)]


@pytest.mark.parametrize(
    ("changes", "known", "by_delete"),
    [
        ({"recipe_container_port": 9000}, ["authOptions", "rayVersion"], True),
        ({"recipe_container_port": 9000}, ["authOptions", "rayVersion", "upgradeStrategy"], False),
        ({"recipe_container_port": 9000}, None, False),
        ({"endpoint_exposure": "load_balancer"}, ["authOptions", "rayVersion"], False),
    ],
    ids=["older KubeRay", "KubeRay", "unknown", "live"],
)
def test_a_raycluster_that_has_to_be_deleted_is_said_in_the_plan(
    changes: dict[str, Any], known: list[str] | None, by_delete: bool
) -> None:
    made = again(**changes)
    made["existing"] = effect = effect_on(made, stands(plan()), False, Findings(), known)
    assert effect is not None and effect["by_delete"] is by_delete
    assert ("deleting the RayCluster" in " ".join("\n".join(describe(made)).split())) is by_delete
    assert ("deleted and recreated" in page(made)) is by_delete


def test_other_files_at_the_source_restart_nothing_unasked() -> None:
    model = {**facts().model, "files": [*facts().model["files"], {"name": "new.txt", "size": 5, "md5": None}]}
    made = again({"model": model})
    assert kept(made["existing"]) == ["model.bytes", "staging.files"]
    assert applied(made, PROGRAMS)["RayCluster"]["spec"] == rendered(plan())["RayCluster"]["spec"]


def test_what_a_new_deployment_would_get_is_taken_when_it_is_asked_for() -> None:
    made = again(adopt_defaults=True)
    assert made["existing"]["keep_pods"] is False
    assert applied(made, NEWER)["ConfigMap"]["data"]["head.py"] == NEWER["head.py"]
    older = {**stands(plan()), "choices": {"image": "docker.io/rayproject/ray-llm:2.57.0-py312-cu128"}}
    made = plan(facts(deployment=older), adopt_defaults=True)
    assert made["pod"]["image"].endswith(":2.58.0-py312-cu130")
    assert "newer_choice" not in [warning["code"] for warning in made["warnings"]]


def test_a_group_that_failed_gets_the_programs_of_today() -> None:
    failed = {**stands(plan()), "state": "Failed"}
    made = plan(facts(deployment=failed))
    assert made["existing"] == {"keep_pods": False, "changes": [], "kept": [], "by_delete": False, "failed": True}
    assert applied(made, NEWER)["ConfigMap"]["data"]["head.py"] == NEWER["head.py"]


def test_pods_that_were_changed_by_hand_go_back_to_the_plan() -> None:
    before = rendered(plan())
    edited = json.loads(json.dumps(before["RayCluster"]))
    edited["spec"]["rayVersion"] = "2.0.0"
    objects = render(again(), PROGRAMS)
    assert keep_pods(objects, edited, before["ConfigMap"]) == []
    assert {item["kind"]: item for item in objects}["RayCluster"]["spec"] == before["RayCluster"]["spec"]


def test_programs_that_are_gone_are_made_anew() -> None:
    objects = render(again(), NEWER)
    assert keep_pods(objects, rendered(plan())["RayCluster"], None) == []


@pytest.mark.parametrize("second", ["mymodel", "My_Model", "my_mo_del"])
def test_a_name_that_collapses_to_anothers_takes_nothing_over(second: str) -> None:
    inputs = read_inputs(recipe(deployment_name=second))
    first = read_inputs(recipe(deployment_name="my_model"))
    assert inputs.name == first.name == "mymodel"
    group = {"deployment_name": "my_model", "namespace": "mymodel"}
    message = (
        f"deployment_name: {second}, whose DNS name mymodel the deployment my_model has, expected a name of its own; "
        "choose another deployment_name, or undeploy the other"
    )
    assert [fault.line() for fault in belongs_to_another(inputs, group, [])] == [message]
    # Killed before its RayCluster was made, the other has a node pool all the same.
    pool = plan(deployment_name="my_model")["node_pool"]
    listed = {"freeform_tags": pool["freeform_tags"], "lifecycle_state": "ACTIVE"}
    assert [fault.line() for fault in belongs_to_another(inputs, {}, [listed])] == [message]
    assert belongs_to_another(inputs, {}, [{**listed, "lifecycle_state": "DELETED"}]) == []
    assert belongs_to_another(first, group, [listed]) == []


def test_anothers_deployment_is_not_removed() -> None:
    standing = rendered(plan(deployment_name="my_model"))["RayCluster"]
    assert named_otherwise("my_model", "mymodel", standing) == [] == named_otherwise("mymodel", "mymodel", None)
    assert [fault.line() for fault in named_otherwise("mymodel", "mymodel", standing)] == [
        (
            "deployment_name: mymodel, and the deployment that has the DNS name mymodel is my_model, expected the name of the "
            "deployment as its recipe has it; give deployment_name: my_model if that one is meant"
        )
    ]


def test_a_deployment_does_not_move_to_another_namespace() -> None:
    group = {"deployment_name": "raycluster_vm_test", "namespace": "models"}
    faults = belongs_to_another(read_inputs(recipe(namespace="other")), group, [])
    assert [fault.line() for fault in faults] == [
        (
            "namespace: other, and the deployment raycluster_vm_test is in models, expected models; "
            "give namespace: models, or undeploy it first: a deployment does not move"
        )
    ]
    assert belongs_to_another(read_inputs(recipe(namespace="models")), group, []) == []


def test_a_setting_that_may_reach_the_pods_is_never_taken_for_nobodys_wish() -> None:
    names = {parameter.name for parameter in OF_PODS}
    assert {"node_provisioner", "hugging_face_endpoint", "image_registry", "restart_limit", "node_pool_taints"} <= names
    assert {"rdma", "rdma_socket_interface", "nvme_folder", "model_cache"} <= names
    assert not names & {"endpoint_exposure", "service_annotations", "kubeconfig", "prices", "wait_timeout_minutes"}
    assert read_inputs(recipe(image_contents={"ray": "2.58.0"})).given != read_inputs(recipe()).given
    assert read_inputs(recipe(endpoint_exposure="load_balancer")).given == read_inputs(recipe()).given


def test_a_deployment_whose_pool_lies_in_another_compartment_gets_no_second_one() -> None:
    stands_in = {"deployment_name": "raycluster_vm_test", "node_pool": {"compartment_id": "ocid1.compartment.oc1..x"}}
    given = read_inputs(recipe(compartment_id="ocid1.compartment.oc1..x"))
    other = read_inputs(recipe())
    stands_in["deployment_name"] = other.deployment_name
    assert belongs_to_another(given, stands_in, [], "ocid1.compartment.oc1..clusters") == []
    assert belongs_to_another(other, stands_in, [], "ocid1.compartment.oc1..x") == []
    assert belongs_to_another(other, stands_in, []) == []
    (fault,) = belongs_to_another(other, stands_in, [], "ocid1.compartment.oc1..clusters")
    assert fault.code == "compartment_taken" and fault.expected == "ocid1.compartment.oc1..x"
