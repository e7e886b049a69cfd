# SPDX-License-Identifier: GPL-3.0-or-later
"""Speculation by the image's vLLM, the model and the number of stages; and parsers by family."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.vllm.speculative_config import method_of
from tests.unit.core.configurations import published
from tests.unit.core.plans import facts, of, on, plan

SHARDS = [f"model-{number:05d}-of-00160.safetensors" for number in range(1, 161)]
MTP = ["--speculative-config", '{"method":"mtp","num_speculative_tokens":1}']
DOTTED = ["--speculative-config.method", "mtp", "--speculative-config.num_speculative_tokens", "1"]


def deepseek() -> Facts:
    """DeepSeek V3 with its 61 layers and the one that drafts, one after the other in the shards."""
    where = {}
    for layer in range(62):
        for shard in range(layer * 160 // 62, max(layer * 160 // 62 + 1, (layer + 1) * 160 // 62)):
            where[f"model.layers.{layer}.part{shard}.weight"] = SHARDS[shard]
    where |= {"model.embed_tokens.weight": SHARDS[0], "model.norm.weight": SHARDS[159], "lm_head.weight": SHARDS[159]}
    size = 688_600_000_000
    model = {
        **facts().model,
        "config": published("deepseek-ai--DeepSeek-V3"),
        "index": {"weight_map": where, "total_size": size},
        "files": [{"name": name, "size": size // 160} for name in SHARDS],
    }
    return facts(model=model)


def h200(nodes: int, vllm: str, **more: Any) -> dict[str, Any]:
    changes = on("BM.GPU.H200.8", 8, nodes, 100, 2000, recipe_node_boot_volume_size_in_gbs=3000, **more)
    image = {"recipe_image_uri": "docker.io/me/vllm:1", "image_contents": {"vllm": vllm, "ray": "2.60.0"}}
    return {**changes, **image, "input_object_storage__0__volume_size_in_gbs": 3000}


def faults(found: Facts, **changes: Any) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        plan(found, **changes)
    return {fault.code: fault.line() for fault in refused.value.faults}


@pytest.mark.parametrize(
    "asked",
    [{"recipe_speculation": "mtp"}, {"recipe_container_command_args": MTP}, {"recipe_container_command_args": DOTTED}],
)
def test_the_drafter_lies_on_the_last_stage(asked: dict[str, Any]) -> None:
    without, made = plan(deepseek(), **h200(2, "0.31.0")), plan(deepseek(), **h200(2, "0.31.0", **asked))
    before, after = without["staging"]["shards_per_stage"], made["staging"]["shards_per_stage"]
    # The layer beyond the last, and the embedding, which the drafter cannot share from another stage.
    assert after[0] == before[0]
    assert set(after[1]) - set(before[1]) >= {SHARDS[158], SHARDS[0]}
    first, last = ([stage["weights_bytes"] for stage in entry["memory"]["per_gpu"]] for entry in (without, made))
    assert last[0] == first[0] and 8 * (last[1] - first[1]) > 11e9
    assert made["memory"]["per_gpu"][1]["kv_tokens"] < without["memory"]["per_gpu"][1]["kv_tokens"]
    assert "--speculative-config" in " ".join(made["engine"]["args"])


def test_the_recipe_becomes_vllms_argument() -> None:
    arguments = plan(deepseek(), **h200(2, "0.31.0", recipe_speculation="mtp"))["engine"]["args"]
    said = json.loads(arguments[arguments.index("--speculative-config") + 1])
    assert said == {"method": "mtp", "num_speculative_tokens": 1}
    assert "--speculative-config" not in plan(deepseek(), **h200(2, "0.31.0"))["engine"]["args"]


@pytest.mark.parametrize("arguments", [MTP, DOTTED])
def test_several_stages_before_vllm_0_31_are_refused_with_the_least_version(arguments: list[str]) -> None:
    said = faults(deepseek(), **h200(2, "0.29.0", recipe_container_command_args=arguments))["speculation_with_stages"]
    assert "vLLM 0.31.0 or newer, or one node" in said and "docs/images.md" in said


def test_one_node_drafts_with_any_version() -> None:
    made = plan(deepseek(), **h200(1, "0.26.0", recipe_container_command_args=MTP))
    assert SHARDS[158] in {file["name"] for file in made["staging"]["files"]}
    without = plan(deepseek(), **h200(1, "0.26.0"))
    added = made["memory"]["per_gpu"][0]["weights_bytes"] - without["memory"]["per_gpu"][0]["weights_bytes"]
    assert 8 * added > 11e9


def test_a_drafter_that_takes_no_part_in_stages_is_refused() -> None:
    found = of(
        "Qwen--Qwen3-32B", architectures=["Qwen3NextForCausalLM"], model_type="qwen3_next", num_nextn_predict_layers=1
    )
    said = faults(found, **h200(2, "0.32.0", recipe_speculation="mtp"))
    assert "Qwen3NextMTP" in said.get("speculation_with_stages", "")


def test_a_model_without_a_drafter_is_refused() -> None:
    assert "speculation_without_drafter" in faults(facts(), recipe_speculation="mtp")


def test_two_wishes_are_one_too_many() -> None:
    asked = {"recipe_speculation": "mtp", "recipe_container_command_args": MTP}
    assert "speculation" in faults(deepseek(), **h200(1, "0.26.0", **asked))


def test_another_draft_model() -> None:
    def args(**config: Any) -> dict[str, Any]:
        return {"recipe_container_command_args": ["--speculative-config", json.dumps(config)]}

    # The pods download nothing.
    assert "speculation_model" in faults(facts(), **args(model="org/draft", num_speculative_tokens=3))
    assert "speculation_with_stages" in faults(facts(), **args(model="/drafts/one", num_speculative_tokens=3))
    # From the request's own tokens: nothing is loaded.
    assert plan(**args(method="ngram", num_speculative_tokens=3))["engine"]["args"]


def drafted(nodes: int, **config: Any) -> dict[str, Any]:
    """The plan of Llama 3.1 70B with a draft model."""
    words = ["--speculative-config", json.dumps({"num_speculative_tokens": 3, **config})]
    more = {"recipe_container_command_args": words} if config else {}
    return plan(of("meta-llama--Meta-Llama-3.1-70B"), **h200(nodes, "0.31.0", **more))


@pytest.mark.parametrize(
    ("config", "states"),
    [
        ({"method": "eagle", "model": "/drafts/a"}, 2),
        ({"method": "eagle3", "model": "/drafts/a"}, 3),
        ({"model": "/drafts/Llama-EAGLE3"}, 3),
        ({"model": "/eagle/small"}, 0),
        ({"method": "draft_model", "model": "/drafts/eagle"}, 0),
    ],
)
def test_a_draft_model_counts_with_the_least_that_is_known(config: dict[str, Any], states: int) -> None:
    without, made = drafted(2), drafted(2, **config)
    first, last = ([stage["weights_bytes"] for stage in entry["memory"]["per_gpu"]] for entry in (without, made))
    hidden, heads, kept = 8192, 8192, 1024
    attention = (hidden * heads * 2 + hidden * kept * 2) // 8
    embedding = 128256 * hidden // 8
    expected = 2 * (states * hidden * hidden + attention + embedding) if states else 0
    assert last[0] == first[0] and last[1] - first[1] == expected
    (warning,) = (entry for entry in made["warnings"] if entry["code"] == "draft_model_not_read")
    assert ("the least" in warning["found"]) == bool(states) and "not certain" in warning["found"]
    fewer = made["memory"]["per_gpu"][1]["kv_tokens"] < without["memory"]["per_gpu"][1]["kv_tokens"]
    assert fewer == bool(states)


def test_a_draft_model_is_divided_like_the_model_or_not_at_all() -> None:
    config = {"model": "/drafts/a", "num_speculative_tokens": 3}
    words = ["--speculative-config", json.dumps({**config, "draft_tensor_parallel_size": 4})]
    assert "draft_division" in faults(facts(), **h200(2, "0.31.0", recipe_container_command_args=words))
    for size in (1, 8):
        assert drafted(2, model="/drafts/a", draft_tensor_parallel_size=size)


def parsers(found: Facts | None = None, **changes: Any) -> list[str]:
    arguments = plan(found, **changes)["engine"]["args"]
    return [word for place, word in enumerate(arguments) if "parser" in arguments[place - 1]] + [
        word for word in arguments if word == "--enable-auto-tool-choice"
    ]


def test_parsers_follow_the_family_and_can_be_replaced_or_switched_off() -> None:
    assert parsers() == ["llama3_json", "--enable-auto-tool-choice"]
    made = [choice for choice in plan()["choices"] if choice["field"] == "recipe_tool_call_parser"]
    assert made == [
        {"field": "recipe_tool_call_parser", "value": "llama3_json", "why": "what models of this family write"}
    ]
    assert parsers(recipe_tool_call_parser="pythonic") == ["pythonic", "--enable-auto-tool-choice"]
    assert parsers(recipe_tool_call_parser="off") == []
    given = ["--tool-call-parser", "pythonic", "--enable-auto-tool-choice"]
    assert parsers(recipe_container_command_args=given) == ["pythonic", "--enable-auto-tool-choice"]
    # A model that is built like Llama, and is none of Llama 3.
    assert parsers(of(vocab_size=32000)) == []
    assert parsers(of("openai--gpt-oss-120b"), **on("BM.GPU.H100.8", 8, 1, 60, 1500))[:2] == ["openai", "openai_gptoss"]


def test_parsers_are_those_of_the_image() -> None:
    said = faults(facts(), recipe_tool_call_parser="kimi_k3")
    assert "vLLM 0.26.0 does not have" in said["parser_unknown"]
    assert "parser_unknown" in faults(facts(), recipe_container_command_args=["--reasoning-parser", "kimi_k3"])
    # Nothing is said for a vLLM that is not known.
    assert parsers(recipe_image_uri="docker.io/me/vllm:1") == []


def test_a_deployment_from_before_there_were_parsers_goes_on_without() -> None:
    assert parsers(facts(deployment={"choices": {"nodes": 4}})) == []
    assert parsers(facts(deployment={"choices": {"nodes": 4}}), adopt_defaults=True)[0] == "llama3_json"


def speculates(vllm: str = "0.32.0", nodes: int = 1, found: Facts | None = None, **config: Any) -> dict[str, str]:
    """The faults of Llama 3.1 70B with this --speculative-config; empty where it is planned."""
    words = ["--speculative-config", json.dumps(config)]
    found = found or of("meta-llama--Meta-Llama-3.1-70B")
    try:
        plan(found, **h200(nodes, vllm, recipe_container_command_args=words))
    except Refused as refused:
        return {fault.code: fault.line() for fault in refused.faults}
    return {}


DRAFT = {"model": "/drafts/a", "num_speculative_tokens": 3}


@pytest.mark.parametrize(
    ("config", "vllm", "code"),
    [
        ({**DRAFT, "moe_backend": "triton"}, "0.32.0", ""),
        ({**DRAFT, "moe_backend": "triton"}, "0.18.0", "speculation_key"),
        ({**DRAFT, "draft_tensor_paralel_size": 1}, "0.32.0", "speculation_key"),
        ({**DRAFT, "tensor_parallel_size": 1}, "0.32.0", "speculation_key"),
        ({**DRAFT, "method": "dflash"}, "0.32.0", ""),
        ({**DRAFT, "method": "dflash"}, "0.18.0", "speculation_method"),
        ({**DRAFT, "method": "draft_model"}, "0.15.0", ""),
        ({**DRAFT, "method": "draft_model"}, "0.12.0", "speculation_method"),
        # Of a version between two tables the stricter counts.
        ({**DRAFT, "method": "dflash"}, "0.20.0", "speculation_method"),
        ({"method": "ngram"}, "0.32.0", "speculation_depth"),
        ({"model": "ngram"}, "0.32.0", "speculation_depth"),
        ({"method": "ngram", "num_speculative_tokens": 0}, "0.32.0", "speculation_depth"),
        ({"model": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}, "0.32.0", ""),
        (
            {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 5, "prompt_lookup_max": 4},
            "0.32.0",
            "speculation_depth",
        ),
        ({"method": "suffix"}, "0.32.0", ""),
    ],
)
def test_the_configuration_of_speculation_is_checked_as_its_vllm_does(
    config: dict[str, Any], vllm: str, code: str
) -> None:
    assert list(speculates(vllm, **config)) == ([code] if code else [])


def test_the_depth_is_a_multiple_of_the_layers_that_draft() -> None:
    two = {"num_nextn_predict_layers": 2}
    mtp = {"found": of("deepseek-ai--DeepSeek-V3", **two), "method": "mtp"}
    assert "give 2 or 4" in speculates(**mtp, num_speculative_tokens=5)["speculation_depth"]
    assert not speculates(**mtp, num_speculative_tokens=4) and not speculates(**mtp, num_speculative_tokens=1)
    assert "speculation_depth" in speculates(**mtp)


@pytest.mark.parametrize(
    ("name", "vllm", "nodes", "works"),
    [
        ("meta-llama--Meta-Llama-3.1-70B", "0.26.0", 1, True),
        ("meta-llama--Meta-Llama-3.1-70B", "0.31.0", 2, True),
        # One node alone: the inner model does not hand the states on to the next stage.
        ("Qwen--Qwen3-235B-A22B", "0.32.0", 1, True),
        ("Qwen--Qwen3-235B-A22B", "0.32.0", 2, False),
        # No version, or a newer one only.
        ("mistralai--Mixtral-8x22B-v0.1", "0.32.0", 1, False),
        ("MiniMaxAI--MiniMax-M2.5", "0.18.0", 1, False),
        ("MiniMaxAI--MiniMax-M2.5", "0.26.0", 1, True),
    ],
)
def test_eagle3_drafts_for_classes_that_hand_out_their_states(name: str, vllm: str, nodes: int, works: bool) -> None:
    said = speculates(vllm, nodes, of(name), **{**DRAFT, "method": "eagle3"})
    assert ("speculation_method" in said) is not works
    if not works and nodes > 1:
        assert "one node" in said["speculation_method"]


def test_a_draft_model_lies_where_the_pods_can_have_it() -> None:
    path = facts().model["prefix"].rstrip("/")
    for folder in (f"/models/{path}", f"/models/{path}/draft", "/models/other"):
        assert (
            "the model's own weights alone" in speculates(model=folder, num_speculative_tokens=3)["speculation_model"]
        )
    assert not speculates(model="/modelsother/one", num_speculative_tokens=3)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"method": "draft_model", "model": "/d/EAGLE-Llama"}, "eagle"),
        ({"model": "/eagle-heads/small"}, "eagle"),
        ({"model": "/d/eagle"}, ""),
        ({"model": "/d/x-eagle3"}, "eagle3"),
        ({"method": "dflash", "model": "/d/eagle3"}, "dflash"),
        ({"model": "ngram"}, "ngram"),
        ({"method": "mtp"}, "mtp"),
    ],
)
def test_the_method_is_told_as_vllm_tells_it(config: dict[str, Any], method: str) -> None:
    assert method_of(config) == method
