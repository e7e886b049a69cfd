# SPDX-License-Identifier: GPL-3.0-or-later
"""Families beside the published ones: what vLLM 0.32 said of each, and of the numbers of its stages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import (
    check_parallelism,
    layers_per_stage,
)
from tests.unit.core.configurations import DATA, llama

# A few layers of the published widths. refused: [tensor, pipeline]; rows: [tensor, pipeline, stage, GiB of weights, bytes of
# cache per token, bytes of states per request].
MEASURED = json.loads((DATA / "more_families.json").read_text())
GIB = 1 << 30
CERTAIN = {
    "mistral-large-3",
    "ministral3-14b",
    "ministral3-3b",
    "ministral3-text",
    "nemotron-h-8b",
    "ernie45-21b",
    "glm45v",
    "glm41v-9b",
    "ling-flash-2",
    "ling-mini",
    "ling-plus-v1",
    "olmo3-7b",
    "gemma4-e2b-text",
    "llama4-mav-text",
    "exaone4-1.2b",
    "exaone4-32b",
    "smollm3",
    "glm5-flash",
    "qwen3vl-moe-8",
    "internlm3",
    "command-r7b",
    "glm45-air",
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_vllm_refuses_is_refused_and_nothing_else(name: str) -> None:
    entry, shape = MEASURED[name], find_shape("BM.GPU.H100.8")
    assert shape is not None
    model = read_model(entry["config"], vllm="0.32.0")
    accepted = {(tensor, pipeline) for tensor, pipeline, *_numbers in entry["rows"]}
    for tensor, pipeline in [*map(tuple, entry["refused"]), *sorted(accepted)]:
        faults = check_parallelism(model, shape, tensor, pipeline).faults
        assert bool(faults) is ((tensor, pipeline) not in accepted), [fault.line() for fault in faults]


@pytest.mark.parametrize("name", MEASURED)
def test_no_number_is_certain_and_wrong(name: str) -> None:
    entry = MEASURED[name]
    model = read_model(entry["config"], vllm="0.32.0")
    assert model.certain is (name in CERTAIN)
    for tensor, pipeline, stage, weights_gib, kv_bytes, state_bytes in entry["rows"] if model.certain else ():
        per_stage = layers_per_stage(len(model.layers), pipeline)
        first = sum(per_stage[:stage])
        held = model.layers[first : first + per_stage[stage]]
        assert model.weight_bytes(tensor, first, first + len(held)) / GIB == pytest.approx(weights_gib, rel=0.001)
        assert sum(layer.kv_bytes_per_token(tensor, 2) for layer in held) == kv_bytes
        assert sum(layer.state_bytes(tensor, 2, model.recurrent_element) for layer in held) == state_bytes


def nested(**changes: Any) -> dict[str, Any]:
    """A Mistral with a vision tower, whose text part says that nothing is tied."""
    text = llama(architectures=None, model_type="mistral", tie_word_embeddings=False)
    tower = {"model_type": "pixtral", "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16}
    whole = {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3"}
    return {**whole, "text_config": text, "vision_config": {**tower, "intermediate_size": 4096}, **changes}


@pytest.mark.parametrize(
    ("changes", "vllm", "tied"),
    [
        # The whole decides, and where it says nothing the default of its configuration class.
        ({}, "0.32.0", True),
        ({"tie_word_embeddings": False}, "0.32.0", False),
        ({"tie_word_embeddings": True}, "0.32.0", True),
        ({}, "0.18.0", False),
        ({"model_type": "llama4"}, "0.32.0", False),
    ],
)
def test_which_part_of_a_configuration_ties_the_embeddings(changes: dict[str, Any], vllm: str, tied: bool) -> None:
    assert read_model(nested(**changes), vllm=vllm).tied is tied


def test_a_head_in_the_checkpoint_decides_where_the_default_ties() -> None:
    names = {"language_model.lm_head.weight": "a", "language_model.model.embed_tokens.weight": "a"}
    names |= {f"language_model.model.layers.{layer}.mlp.up_proj.weight": "a" for layer in range(8)}
    assert not read_model(nested(), {"weight_map": names}, vllm="0.32.0").tied
    assert read_model(nested(), {"weight_map": names}, vllm="0.26.0").tied
