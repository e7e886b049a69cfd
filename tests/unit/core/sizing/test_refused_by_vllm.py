# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM 0.32 refuses or accepts of families and divisions, asked of itself."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import check_parallelism
from tests.unit.core.configurations import llama


def codes(config: dict[str, Any], tensor: int, pipeline: int) -> list[str]:
    shape = find_shape("BM.GPU.H100.8")
    assert shape is not None
    return [fault.code for fault in check_parallelism(read_model(config), shape, tensor, pipeline).faults]


def gemma(layers: int, shared: int) -> dict[str, Any]:
    """A Gemma 4 whose last layers use the cache of earlier ones."""
    return llama(
        architectures=["Gemma4ForCausalLM"],
        model_type="gemma4_text",
        num_hidden_layers=layers,
        num_kv_shared_layers=shared,
        num_key_value_heads=2,
        sliding_window=512,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * (layers // 6),
        hidden_size_per_layer_input=256,
        vocab_size_per_layer_input=262144,
    )


@pytest.mark.parametrize(
    ("layers", "shared", "pipeline", "refused"),
    [
        (36, 20, 1, False),
        (36, 20, 2, True),
        # The last stage holds the layers 6 to 11: what they share lies there, too.
        (12, 0, 2, False),
        (24, 6, 2, False),
        (24, 12, 2, True),
    ],
)
def test_layers_that_share_a_cache_lie_on_one_stage(layers: int, shared: int, pipeline: int, refused: bool) -> None:
    assert ("cache_shared_over_stages" in codes(gemma(layers, shared), 1, pipeline)) is refused


FALCON_H1 = llama(
    architectures=["FalconH1ForCausalLM"], model_type="falcon_h1", mamba_n_groups=2, mamba_n_heads=32, mamba_d_state=256
)
GRANITE_4 = llama(architectures=["GraniteMoeHybridForCausalLM"], model_type="granitemoehybrid", mamba_n_heads=48)


@pytest.mark.parametrize(
    ("config", "tensor", "expected"),
    [
        (FALCON_H1, 2, []),
        (FALCON_H1, 4, ["mamba_groups_not_divisible"]),
        ({**FALCON_H1, "mamba_n_groups": 1}, 4, []),
        (GRANITE_4, 8, []),
        ({**GRANITE_4, "mamba_n_heads": 12}, 8, ["linear_heads_not_divisible"]),
        # Without a layer of that kind its heads are not read.
        ({**GRANITE_4, "mamba_n_heads": 12, "layer_types": ["attention"] * 8}, 8, []),
        (
            {**GRANITE_4, "mamba_n_heads": 12, "layer_types": ["attention"] * 7 + ["mamba"]},
            8,
            ["linear_heads_not_divisible"],
        ),
    ],
)
def test_mamba_layers_of_families_that_are_not_known_are_divided_too(
    config: dict[str, Any], tensor: int, expected: list[str]
) -> None:
    assert codes(config, tensor, 1) == expected
