# SPDX-License-Identifier: GPL-3.0-or-later
"""The length that each vLLM derives, for every spelling and type of RoPE."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.model.overrides import with_overrides
from tests.unit.core.configurations import llama

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("rope", "vllm", "length"),
    [
        (None, "0.26.0", 40960),
        ({"rope_type": "default"}, "0.26.0", 40960),
        (YARN, "0.12.0", 131072),
        (YARN, "0.26.0", 131072),
        (YARN, "0.29.0", 131072),
        # Since 0.31 the stated length is the scaled one; between the two that were read the shorter counts.
        (YARN, "0.30.0", 40960),
        (YARN, "0.31.0", 40960),
        (YARN, "0.32.0", 40960),
        ({**YARN, "rope_type": "telechat3-yarn"}, "0.26.0", 131072),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, "0.26.0", 131072),
        ({"rope_type": "yarn", "factor": 2.0}, "0.26.0", 81920),
        ({"rope_type": "linear", "factor": 2.0}, "0.26.0", 81920),
        ({"rope_type": "dynamic", "factor": 2.0}, "0.32.0", 81920),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, "0.26.0", 40960),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, "0.26.0", 40960),
        ({"rope_type": "linear", "factor": None}, "0.26.0", 40960),
        ({"rope_type": "linear", "factor": True}, "0.26.0", 40960),
        # One set of parameters per type of layer.
        ({"full_attention": YARN, "sliding_attention": {"rope_type": "default"}}, "0.26.0", 131072),
        ({"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": None}, "0.26.0", 81920),
    ],
)
@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
def test_the_length_of_each_type(name: str, rope: dict[str, Any] | None, vllm: str, length: int) -> None:
    model = read_model(llama(max_position_embeddings=40960, **{name: rope}), vllm=vllm)
    assert (model.default_length, model.max_length) == (length, length)


@pytest.mark.parametrize("kind", ["longrope", "su"])
@pytest.mark.parametrize("inside", [True, False])
def test_longrope_serves_the_original_length_unless_asked(kind: str, inside: bool) -> None:
    rope: dict[str, Any] = {"type": kind, "short_factor": [1.0], "long_factor": [2.0]}
    outside: dict[str, Any] = {}
    (rope if inside else outside)["original_max_position_embeddings"] = 4096
    model = read_model(llama(max_position_embeddings=131072, rope_scaling=rope, **outside))
    assert (model.default_length, model.max_length) == (4096, 131072)


def test_the_shortest_of_several_fields_and_model_max_length() -> None:
    assert read_model(llama(max_seq_len=4096)).max_length == 4096
    command_r = read_model(llama(max_position_embeddings=8192, model_max_length=131072))
    assert (command_r.default_length, command_r.max_length) == (131072, 131072)
    gemma = llama(model_type="gemma3_text", rope_scaling={"rope_type": "linear", "factor": 8.0})
    assert read_model(gemma).max_length == 32768


def test_overrides() -> None:
    config = {"text_config": {"a": 1, "b": 2}, "rope_scaling": {"type": "linear"}, "quantization_config": {"x": 1}}
    changed = with_overrides(
        config, {"text_config": {"b": 3}, "rope_parameters": {"rope_type": "yarn"}, "quantization_config": {"y": 2}}
    )
    assert changed == {
        "text_config": {"a": 1, "b": 3},
        "rope_parameters": {"rope_type": "yarn"},
        "quantization_config": {"y": 2},
    }
    assert config["text_config"] == {"a": 1, "b": 2}
