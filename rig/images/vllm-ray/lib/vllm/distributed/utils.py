# SPDX-License-Identifier: GPL-3.0-or-later
"""The division of layers, by the name that vLLM has for it."""

import os

from vllm import checkpoint


def get_pp_indices(num_hidden_layers: int, pp_rank: int, pp_size: int) -> tuple[int, int]:
    """The half-open range of layers of a stage."""
    stage = checkpoint.stages(num_hidden_layers, pp_size, os.environ.get("VLLM_PP_LAYER_PARTITION"))[pp_rank]
    return stage.first_layer, stage.end_layer
