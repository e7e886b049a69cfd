# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule of the recipe: one recipe that breaks just it, and the message."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import dns_name
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.model_source import model_prefix
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.rules.source_rules import par_problem
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS

from ..recipes import CLUSTER, PAR, recipe

PARAMS = "recipe_raycluster_params"


def faults_of(variables: dict[str, Any], scope: str = "recipe") -> list[str]:
    with pytest.raises(Refused) as refused:
        read_inputs(variables, scope)
    return [fault.line() for fault in refused.value.faults]


def test_the_published_sample_is_taken_with_numbers_as_text() -> None:
    inputs = read_inputs(recipe())
    assert inputs.name == "rayclustervmtest"
    assert inputs.deployment_name == "raycluster_vm_test"
    assert inputs.recipe["recipe_container_port"] == 8000
    assert inputs.recipe[PARAMS]["head_node_num_cpus"] == 26
    assert inputs.recipe[PARAMS]["redis_port"] == 6379
    assert model_prefix(inputs.recipe) == "NousResearch/Meta-Llama-3.1-8B-Instruct/"


def test_the_secret_is_taken_out_of_the_recipe() -> None:
    inputs = read_inputs(recipe())
    assert inputs.secrets == {"par": PAR}
    assert "s3cr3t" not in repr(inputs.recipe) + repr(inputs.settings)


def test_a_recipe_below_recipe_is_the_same() -> None:
    variables = recipe()
    del variables["oke_cluster_id"]
    nested = read_inputs({"recipe": variables, "oke_cluster_id": CLUSTER, "awx_job_id": 7})
    assert nested.recipe == read_inputs(recipe()).recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe_mode": "serve"}, "recipe_mode: 'serve', expected raycluster; correct recipe_mode"),
        (
            {f"{PARAMS}__worker_node_num_gpus": "4"},
            f"{PARAMS}.worker_node_num_gpus: 4, expected 2, as head_node_num_gpus has; make head and workers equal",
        ),
        (
            {f"{PARAMS}__worker_node_num_cpus": 8},
            f"{PARAMS}.worker_node_num_cpus: 8, expected 26, as head_node_num_cpus has; make head and workers equal",
        ),
        (
            {f"{PARAMS}__num_worker_nodes": "4"},
            (
                f"{PARAMS}.num_worker_nodes: 4, expected 3, one less than recipe_node_pool_size (4), since the head is a "
                "node too; correct one of the two"
            ),
        ),
        (
            {"recipe_container_port": 6379},
            f"{PARAMS}.redis_port: 6379, expected another port than recipe_container_port has; change {PARAMS}.redis_port",
        ),
        (
            {"recipe_container_port": 10500},
            (
                "recipe_container_port: 10500, expected a port that Ray does not use itself (10002-19994); "
                "change recipe_container_port"
            ),
        ),
        (
            {"recipe_container_port": "80000"},
            "recipe_container_port: '80000', expected a whole number from 1024 to 65535; correct recipe_container_port",
        ),
        (
            {"recipe_container_port": 443},
            "recipe_container_port: 443, expected a whole number from 1024 to 65535; correct recipe_container_port",
        ),
        (
            {f"{PARAMS}__metrics_export_port": 8081},
            (
                f"{PARAMS}.metrics_export_port: 8081, expected another port than the group's own status port has; "
                f"change {PARAMS}.metrics_export_port"
            ),
        ),
        (
            {"recipe_node_pool_size": "four"},
            "recipe_node_pool_size: 'four', expected a whole number from 1 to 1000 or auto; correct recipe_node_pool_size",
        ),
        (
            {f"{PARAMS}__model_path_in_container": "/data/model"},
            (
                f"{PARAMS}.model_path_in_container: '/data/model', expected a folder below /models; model files are staged "
                "to the mount_location; put the model's path below it"
            ),
        ),
        (
            {"deployment_name": "9lives"},
            (
                "deployment_name: '9lives', expected letters, digits, hyphens, underscores and spaces, a letter first and no "
                "hyphen last, such as llama-70b; choose another"
            ),
        ),
        (
            {"recipe_node_shap": "x"},
            "recipe_node_shap: a key that is not known, expected a known parameter; did you mean recipe_node_shape?",
        ),
        (
            {"input_object_storage__0__volume_size_in_gb": 3},
            (
                "input_object_storage[0].volume_size_in_gb: a key that is not known, expected a known parameter; "
                "did you mean volume_size_in_gbs?"
            ),
        ),
        (
            {"kubeconfg": "x"},
            "kubeconfg: a key that is not known, expected a known setting; did you mean kubeconfig?",
        ),
        (
            {"endpoint_allowed_ranges": ["10.0.0.0/8"]},
            (
                "endpoint_allowed_ranges: a key that is not known, expected a known setting; see docs/settings.md, or remove "
                "endpoint_allowed_ranges"
            ),
        ),
        (
            {"preflight_result": {}},
            "preflight_result: an extra variable, expected no such variable; remove preflight_result",
        ),
        (
            {"recipe": "x.json"},
            "recipe: 'x.json', expected a mapping; put the recipe's keys below `recipe`",
        ),
        (
            {f"{PARAMS}__model_path_in_container": "/models/a/../b"},
            (
                f"{PARAMS}.model_path_in_container: '/models/a/../b', expected a plain absolute path, no part of which begins "
                "with a hyphen, such as /models/Qwen/Qwen3-32B; correct it"
            ),
        ),
        (
            {"deployment_name": "a" * 41},
            (
                f"deployment_name: '{'a' * 41}', expected a name that makes a DNS name; as a DNS name it has 41 characters, "
                "at most 40 are possible; choose another"
            ),
        ),
        (
            {"recipe_container_env": ["A=1"]},
            "recipe_container_env[0]: 'A=1', expected a mapping; correct recipe_container_env",
        ),
        (
            {"recipe_container_command_args": ["64"]},
            (
                "recipe_container_command_args: a word without an option, expected options, such as --max-num-seqs 64; "
                "correct it"
            ),
        ),
        (
            {"recipe_startup_probe_params": {"period_seconds": 3, "success_threshold": 2}},
            (
                "recipe_startup_probe_params.success_threshold: 2, expected 1; "
                "correct recipe_startup_probe_params.success_threshold"
            ),
        ),
        (
            {"oke_cluster_id": ""},
            (
                "oke_cluster_id: not given, expected the OCID of an OKE cluster; give -e oke_cluster_id=ocid1.cluster..., "
                "or node_provisioner: none with a kubeconfig"
            ),
        ),
    ],
)
def test_one_broken_rule_gives_its_one_message(changes: dict[str, Any], message: str) -> None:
    assert faults_of(recipe(**changes)) == [message]


@pytest.mark.parametrize("name", [key for key in recipe() if key.startswith("recipe_") and key != "recipe_id"])
def test_each_required_parameter_is_missed(name: str) -> None:
    variables = recipe(**{name: None})
    assert [line for line in faults_of(variables) if line.startswith(f"{name}: not given")]


def test_ten_faults_give_ten_messages() -> None:
    variables = recipe(
        recipe_mode="serve",
        recipe_node_shape=None,
        recipe_container_port="http",
        recipe_node_boot_volume_size_in_gbs=10,
        recipe_ephemeral_storage_size="",
        deployment_name="-",
        input_object_storage__0__par="PAR_SECRET",
        recipe_nvidia_gpu_cout=2,
        recipe_raycluster_params__worker_node_cpu_mem_in_gbs=1,
        recipe_raycluster_params__num_worker_nodes=9,
    )
    found = faults_of(variables)
    assert sorted(line.partition(":")[0] for line in found) == [
        "deployment_name",
        "input_object_storage[0].par",
        "recipe_container_port",
        "recipe_ephemeral_storage_size",
        "recipe_mode",
        "recipe_node_boot_volume_size_in_gbs",
        "recipe_node_shape",
        "recipe_nvidia_gpu_cout",
        f"{PARAMS}.num_worker_nodes",
        f"{PARAMS}.worker_node_cpu_mem_in_gbs",
    ]


def nested(**changes: Any) -> dict[str, Any]:
    """The sample below `recipe`."""
    variables = recipe(**changes)
    return {"oke_cluster_id": variables.pop("oke_cluster_id"), "recipe": variables}


def test_below_recipe_every_key_that_is_not_known_is_a_fault() -> None:
    assert faults_of(nested(colour="red", recipe_node_shap="x")) == [
        "recipe.colour: a key that is not known, expected a known parameter; remove recipe.colour",
        (
            "recipe.recipe_node_shap: a key that is not known, expected a known parameter; "
            "did you mean recipe_node_shape?"
        ),
    ]
    assert faults_of({**nested(), "recipe_mode": "raycluster"}) == [
        "recipe_mode: given beside `recipe`, expected one place; move recipe_mode below `recipe`, or remove it"
    ]


def test_at_top_level_other_peoples_variables_are_left_alone() -> None:
    others = {"awx_job_id": 1, "tower_user_name": "x", "ansible_ssh_pipelining": True, "environment_name": "test"}
    assert read_inputs({**recipe(), **others}).recipe == read_inputs(recipe()).recipe
    for key in ("recipe_colour", "input_colour", "output_colour", "skip_colour", "deployment_colour"):
        assert faults_of({**recipe(), key: 1}) == [
            f"{key}: a key that is not known, expected a known parameter; remove {key}"
        ]


@pytest.mark.parametrize("empty", ["", "  ", None, [], {}])
def test_what_is_empty_was_not_given(empty: Any) -> None:
    names = ("recipe_image_uri", "recipe_container_env", "recipe_max_model_length", "namespace", "prices")
    assert read_inputs({**recipe(), **dict.fromkeys(names, empty)}).recipe == read_inputs(recipe()).recipe


@pytest.mark.parametrize("given_port", [8000, "8000", " 8000 ", 8000.0])
def test_whole_numbers_in_every_spelling(given_port: Any) -> None:
    assert read_inputs(recipe(recipe_container_port=given_port)).recipe["recipe_container_port"] == 8000


@pytest.mark.parametrize(
    "odd",
    [8000.5, "8000.5", "8e3", "0x1f40", True, float("nan"), float("inf"), 10**40, "9" * 5000, "-1", -1, "٨٠٠٠", [8000]],
)
def test_what_is_no_whole_number_is_refused(odd: Any) -> None:
    (line,) = faults_of(recipe(recipe_container_port=odd))
    assert line.startswith("recipe_container_port: ") and "a whole number from 1024 to 65535" in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("given_text", "meant"), [("true", True), ("False", False), ("yes", True), (0, False), (1, True)]
)
def test_truth_in_every_spelling(given_text: Any, meant: bool) -> None:
    assert read_inputs(recipe(recipe_trust_remote_code=given_text)).recipe["recipe_trust_remote_code"] is meant


@pytest.mark.parametrize("odd", ["maybe", 2, 0.5, ["true"]])
def test_what_is_neither_true_nor_false_is_refused(odd: Any) -> None:
    (line,) = faults_of(recipe(recipe_trust_remote_code=odd))
    assert line.endswith("expected true or false; correct recipe_trust_remote_code")


def test_the_model_has_one_source() -> None:
    repository = {"repository": "org/model", "mount_location": "/hub", "volume_size_in_gbs": 100}
    assert faults_of(recipe(input_hugging_face=repository)) == [
        "input_hugging_face: given beside input_object_storage, expected one source of the model; remove one of the two"
    ]
    variables = recipe()
    second = {**variables["input_object_storage"][0], "mount_location": "/more"}
    variables["input_object_storage"].append(second)
    assert faults_of(variables) == ["input_object_storage: 2 entries, expected one; keep the one that holds the model"]
    alone = recipe(input_hugging_face={**repository, "repository": "model"}, input_object_storage=None)
    alone[PARAMS]["model_path_in_container"] = "/hub"
    assert faults_of(alone) == [
        "input_hugging_face.repository: 'model', expected organization/name, such as Qwen/Qwen3-32B; correct it"
    ]


@pytest.mark.parametrize(
    ("par", "problem"),
    [
        (PAR, None),
        ("https://ns.objectstorage.us-ashburn-1.oci.customer-oci.com/p/x/n/ns/b/models/o/", None),
        ("https://objectstorage.us-ashburn-1.oraclecloud.com/p/PAR_SECRET/n/N/b/b/o/", "the placeholder of the sample"),
        ("http://objectstorage.us-ashburn-1.oraclecloud.com/p/x/n/ns/b/models/o/", "a URL of plain http"),
        ("http://10.0.0.1:99999/p/x/n/ns/b/models/o/", "a URL whose host or port cannot be"),
        ("", "not given"),
    ],
)
def test_a_par_is_checked_without_asking_anybody(par: str, problem: str | None) -> None:
    assert par_problem(par, None) == problem


@pytest.mark.parametrize(
    "par",
    [
        "https://objectstorage.example.com/n/ns/b/models/o/",
        "s3://bucket",
        "https://objectstorage.example.com/p/ca\nnary/n/ns/b/models/o/",
        "https://objectstorage.example.com/p/canaryé/n/ns/b/models/o/",
        "https://user@objectstorage.example.com/p/canary/n/ns/b/models/o/",
    ],
)
def test_what_is_no_par_is_refused_and_not_shown(par: str) -> None:
    (line,) = faults_of(recipe(input_object_storage__0__par=par))
    assert line.startswith("input_object_storage[0].par: text in the wrong format, expected the URL of a pre-auth")
    assert "canary" not in line


def test_plain_http_is_taken_from_the_endpoint_that_the_settings_name() -> None:
    par = "http://10.1.0.1:8080/p/x/n/ns/b/models/o/"
    assert par_problem(par, "http://10.1.0.1:8080") is None
    assert par_problem(par, {"object_storage": "http://10.1.0.1:8080"}) is None
    assert par_problem(par, "http://10.1.0.2:8080") == "a URL of plain http"


def test_other_playbooks_need_only_the_name() -> None:
    assert read_inputs({"deployment_name": "llama"}, "deployment").name == "llama"
    assert read_inputs({}, "any").name == ""
    assert read_inputs(recipe(recipe_mode="service"), "deployment").name == "rayclustervmtest"
    assert faults_of({}, "deployment")[0].startswith("deployment_name: not given")
    assert [line.partition(":")[0] for line in faults_of({}, "removal")] == ["deployment_name", "oke_cluster_id"]


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*recipe(), "recipe", "endpoint_exposure", "oci_service_endpoint"]), _junk))
def test_no_recipe_gives_a_traceback(changes: dict[str, Any]) -> None:
    try:
        read_inputs({**recipe(), **changes})
    except Refused as refused:
        assert all(fault.where and fault.found for fault in refused.faults)


# Text with what JSON can carry and no encoding can, and numbers beyond all measure.
_texts = st.text(st.characters() | st.characters(categories=["Cs"]) | st.just("\0"), max_size=20)
_numbers = st.integers() | st.sampled_from([10**400, -(10**4000), float("nan"), float("inf"), -0.0, 1e308, True])
_ANY = st.recursive(
    st.none() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_ROWS = sorted({row.name for row in (*RECIPE, *SETTINGS)} | {"recipe", "recipe_file", "blueprint_mode", "x_result"})


def deep(levels: int, key: str) -> Any:
    value: Any = {}
    for _level in range(levels):
        value = {key: value} if key else [value]
    return value


def read_in_time(variables: Any, scope: str) -> None:
    began = time.process_time()
    try:
        read_inputs(variables, scope)
    except Refused as refused:
        assert refused.faults
        for fault in refused.faults:
            assert fault.where and len(fault.line()) < 2000
            fault.line().encode()
    assert time.process_time() - began < 5


@given(
    st.dictionaries(st.sampled_from(_ROWS) | _texts, _ANY, max_size=5),
    st.sampled_from(["recipe", "removal", "deployment", "any"]),
    st.sampled_from(["", "recipe", "recipe_file"]),
)
def test_any_json_gives_faults_in_time(changes: dict[str, Any], scope: str, below: str) -> None:
    variables = {**recipe(), **changes}
    read_in_time({below: variables} if below else variables, scope)


@pytest.mark.parametrize(
    "name",
    [
        *("recipe", "recipe_file", "recipe_raycluster_params", "input_object_storage", "recipe_id", "blueprint_mode"),
        *("recipe_container_command_args", "namespace", "node_pool_labels", "oci_service_endpoint", "adopt_defaults"),
    ],
)
def test_a_value_of_any_depth_gives_a_fault(name: str) -> None:
    for key in ("", "par", "a"):
        read_in_time({**recipe(), name: deep(20_000, key)}, "recipe")
    read_in_time({**recipe(), name: "[" * 100_000}, "recipe")
    read_in_time({**recipe(), name: "9" * 100_000}, "recipe")
    read_in_time({**recipe(), name: 10**5000}, "recipe")


@given(st.text(max_size=60))
def test_a_dns_name_of_a_dns_name_is_itself(name: str) -> None:
    assert dns_name(dns_name(name)) == dns_name(name)
