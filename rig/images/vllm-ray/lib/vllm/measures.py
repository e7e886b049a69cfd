# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start measures: the memory that is left on the GPUs of the node, and what it holds of the model that was loaded.

Weights are those of the fullest rank; beside them lies what a model without size needs (CUDA context, NCCL, graphs).
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

BLOCK = 16
BESIDE_GIB = 1.65
# Where no GPU says how much it has.
UNKNOWN_GIB = 24.0


@dataclasses.dataclass(frozen=True)
class Measures:
    """GiB left for the cache on a GPU, the tokens that it holds, and the requests of the longest kind."""

    cache_gib: float
    tokens: int
    concurrency: float


def gpu_gib() -> float:
    """Memory of the node's first GPU."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        return float(said.split()[0]) / 1024
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return UNKNOWN_GIB


def measure(
    config: Mapping[str, Any],
    layers: Sequence[int],
    tensor: int,
    usable_gib: float,
    weights_gib: float,
    longest: int,
    share: float = 1.0,
) -> Measures:
    """Return what the start finds. layers: of each stage. share: of what is left, to measure otherwise than a plan says."""
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    per_layer = 2 * max(1, heads // tensor) * width * 2
    left = share * (usable_gib - weights_gib - BESIDE_GIB)
    blocks = int(left * 2**30) // (BLOCK * per_layer * max(layers)) - 1
    tokens = max(0, blocks) * BLOCK
    return Measures(left, tokens, tokens / longest)
