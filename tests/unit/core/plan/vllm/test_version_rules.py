# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan refuses, warns of and takes over by the image's vLLM."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from tests.unit.core.plans import facts, of, on, plan

RAY_LLM = "docker.io/rayproject/ray-llm"


def own(vllm: str) -> dict[str, Any]:
    """A recipe for an image of one's own with that vLLM."""
    return {"recipe_image_uri": "docker.io/me/vllm:1", "image_contents": {"vllm": vllm, "ray": "2.60.0"}}


def env(**variables: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in variables.items()]


def faults(*given: Any, **changes: Any) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        plan(*given, **changes)
    return {fault.code: fault.line() for fault in refused.value.faults}


def warned(*given: Any, **changes: Any) -> set[str]:
    return {entry["code"] for entry in plan(*given, **changes)["warnings"]}


def test_a_class_that_the_image_does_not_have_yet_names_the_way_out() -> None:
    found = of(architectures=["NanbeigeForCausalLM"], model_type="nanbeige")
    assert faults(found) == {
        "architecture_too_new": (
            "config.json architectures: NanbeigeForCausalLM, which vLLM 0.26.0 does not have yet, expected a class of that vLLM, or "
            "vLLM 0.31.0; build an image with vLLM 0.31.0 or newer (docs/images.md) and say in image_contents what it holds"
        )
    }
    assert "architecture_too_new" not in warned(found, **own("0.31.0"))
    # Between two tables of which one lacks it.
    assert "architecture_too_new" in faults(found, **own("0.30.0"))


def test_a_class_that_a_newer_ray_llm_has_names_it() -> None:
    found = of(architectures=["GlmMoeDsaForCausalLM"])
    assert (
        f"such as {RAY_LLM} of Ray 2.55"
        in faults(found, **on("VM.GPU.A10.2", 2, 2), **own("0.12.0"))["architecture_too_new"]
    )


def test_a_class_that_is_gone() -> None:
    found = of(architectures=["MPTForCausalLM"])
    assert "vLLM 0.28.0 or older" in faults(found, **own("0.32.0"))["architecture_removed"]
    assert "architecture_removed" not in warned(found)
    # Transformers has this one, and vLLM runs it so.
    assert "architecture_unknown" in warned(of(architectures=["Dots1ForCausalLM"]), **own("0.32.0"))
    assert "architecture_removed" in faults(of(architectures=["BambaForCausalLM"]), **own("0.32.0"))


def test_a_class_of_no_table_is_said_and_not_refused() -> None:
    assert "architecture_unknown" in warned(of(architectures=["InventedForCausalLM"]))
    assert "architecture_unknown" not in warned(
        of(architectures=["InventedForCausalLM"]), recipe_image_uri="docker.io/me/v:1"
    )


def test_a_class_by_transformers_is_the_users_word() -> None:
    found = of(architectures=["NanbeigeForCausalLM"], model_type="nanbeige")
    assert "argument_not_reckoned" in warned(found, recipe_container_command_args=["--model-impl", "transformers"])


@pytest.mark.parametrize(("vllm", "refused"), [("0.12.0", True), ("0.18.0", True), ("0.21.0", True), ("0.26.0", False)])
def test_three_stages_with_the_first_executor(vllm: str, refused: bool) -> None:
    if refused:
        assert "30128" in faults(**own(vllm))["old_ray_executor"]
        assert "old_ray_executor" not in warned(**own(vllm), **on("VM.GPU.A10.2", 2, 2))
    else:
        assert "old_ray_executor" not in warned(**own(vllm))


def test_the_executor_is_chosen_where_releases_differ_in_their_default() -> None:
    made = plan(**own("0.22.0"))
    assert made["engine"]["env"]["VLLM_USE_RAY_V2_EXECUTOR_BACKEND"] == "1"
    assert "old_ray_executor" in {entry["code"] for entry in made["warnings"]}
    assert "VLLM_USE_RAY_V2_EXECUTOR_BACKEND" not in plan()["engine"]["env"]


def test_the_first_executor_by_its_variable() -> None:
    asked = {"recipe_container_env": env(VLLM_USE_RAY_V2_EXECUTOR_BACKEND="0")}
    assert "old_ray_executor" in faults(**asked)
    assert "old_ray_executor" not in warned(**asked, **on("VM.GPU.A10.2", 2, 2))
    # 0.33 has no such variable, and no such executor.
    assert "variable_unknown" in warned(**asked, **own("0.33.0"))


@pytest.mark.parametrize(("vllm", "hit"), [("0.25.1", False), ("0.26.0", True), ("0.29.0", True), ("0.31.0", False)])
def test_structured_output_with_several_stages(vllm: str, hit: bool) -> None:
    assert ("structured_output_fails" in warned(**own(vllm))) == hit
    without = {"recipe_container_command_args": ["--no-async-scheduling"]}
    assert "structured_output_fails" not in warned(**own(vllm), **without)


def test_a_class_that_does_not_load_with_several_stages() -> None:
    found = of(architectures=["GraniteMoeHybridForCausalLM"])
    assert "class_does_not_load" in faults(found)


def test_a_method_that_wants_to_be_allowed_by_name() -> None:
    found = of(quantization_config={"quant_method": "fbgemm_fp8"})
    allowed = {"recipe_container_command_args": ["--allow-deprecated-quantization"]}
    assert "quantization_deprecated" in faults(found)
    assert "quantization_deprecated" not in warned(found, **allowed)


def test_the_layers_of_each_stage_as_they_are_asked_for() -> None:
    found = facts()
    made = plan(found, recipe_container_env=env(VLLM_PP_LAYER_PARTITION="10,8,8,6"))
    assert made["parallelism"]["layers_per_stage"] == [10, 8, 8, 6]
    assert [stage["layers"] for stage in made["memory"]["per_gpu"]] == [10, 8, 8, 6]
    # Eight layers lie in each shard: the first stage needs the second shard too.
    assert made["staging"]["shards_per_stage"][0] == [
        "model-00001-of-00004.safetensors",
        "model-00002-of-00004.safetensors",
    ]


@pytest.mark.parametrize("text", ["30,31", "8,8,8,9", "32,0,0,0", "a,b", "8,8,8", "8;8;8;8"])
def test_layers_that_vllm_would_refuse(text: str) -> None:
    assert "layer_partition" in faults(recipe_container_env=env(VLLM_PP_LAYER_PARTITION=text))


def test_variables_that_would_change_the_plan_unseen_are_refused() -> None:
    for name in ("VLLM_MLA_DISABLE", "VLLM_RAY_PER_WORKER_GPUS", "VLLM_RAY_BUNDLE_INDICES"):
        assert name in faults(recipe_container_env=env(**{name: "1"}))["variable_refused"]
    secret = [{"envvar_name": "VLLM_PP_LAYER_PARTITION", "secret_name": "s", "secret_key": "k"}]
    assert "from a Secret" in faults(recipe_environment_secrets=secret)["variable_refused"]


def test_variables_that_are_not_reckoned_or_not_known_are_said() -> None:
    made = plan(
        recipe_container_env=env(VLLM_KV_CACHE_LAYOUT="HND", VLLM_LOGGING_LEVELL="DEBUG", VLLM_LOGGING_COLOR="0")
    )
    said = {entry["code"]: entry for entry in made["warnings"] if entry["code"].startswith("variable")}
    assert set(said) == {"variable_not_reckoned", "variable_unknown"}
    assert said["variable_unknown"]["remedy"] == "did you mean VLLM_LOGGING_LEVEL?"


def test_options_are_those_of_the_image() -> None:
    swap = {"recipe_container_command_args": ["--swap-space", "4"]}
    assert "argument_unknown" in faults(**swap)
    assert "argument_unknown" not in warned(**swap, **own("0.15.0"), **on("VM.GPU.A10.2", 2, 2))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        # 8 key/value heads on 2 GPUs.
        (["--decode-context-parallel-size", "2"], "context_parallel"),
        (["--tokenizer", "org/tokenizer"], "argument"),
        (["--max-num-seqs", "0"], "argument"),
    ],
)
def test_values_that_cannot_work(arguments: list[str], code: str) -> None:
    assert code in faults(recipe_container_command_args=arguments)


def test_a_cache_that_is_divided_over_gpus_with_the_same_heads() -> None:
    found = of(num_key_value_heads=1)
    asked = {"recipe_container_command_args": ["-dcp", "2"]}
    assert "argument_not_reckoned" in warned(found, **asked)


def test_a_tokenizer_in_a_folder_of_the_pods() -> None:
    assert plan(recipe_container_command_args=["--tokenizer", "/models/tokenizer"])["engine"]["args"]


@pytest.mark.parametrize(
    ("kind", "own", "vllm", "expected"),
    [
        # Neither vLLM nor Transformers has its configuration, though vLLM has the class.
        ("internvl_chat", True, "0.32.0", "fault"),
        ("internvl_chat", False, "0.32.0", "warning"),
        # Transformers has it, vLLM has one of its own, or has one since.
        ("llama", True, "0.32.0", ""),
        ("kimi_linear", True, "0.26.0", ""),
        ("kimi_k2", True, "0.18.0", ""),
        ("kimi_k2", True, "0.12.0", "fault"),
        # A newer Transformers may have it.
        ("internvl_chat", True, "0.33.0", ""),
    ],
)
def test_a_configuration_that_only_the_models_own_code_reads_wants_trust(
    kind: str, own: bool, vllm: str, expected: str
) -> None:
    code = {"auto_map": {"AutoConfig": "configuration.Config"}} if own else {}
    found = of(model_type=kind, architectures=["LlamaForCausalLM"], **code)
    image = {"recipe_image_uri": "docker.io/me/vllm:1", "image_contents": {"vllm": vllm, "ray": "2.60.0"}}

    def codes(**more: Any) -> list[str]:
        try:
            return [warning["code"] for warning in plan(found, **image, **more)["warnings"]]
        except Refused as refused:
            return [fault.code for fault in refused.faults]

    assert ("remote_code" in codes()) is (expected == "fault")
    assert "remote_code" not in codes(recipe_trust_remote_code=True)
    assert ("config_unknown" in codes()) is (expected == "warning")
