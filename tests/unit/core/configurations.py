# SPDX-License-Identifier: GPL-3.0-or-later
"""The model configurations the sizing tests use: published ones, and small ones made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
PUBLISHED = tuple(sorted(path.stem for path in DATA.glob("*--*.json")))


def published(name: str) -> dict[str, Any]:
    """The fields of a published config.json that bear on memory."""
    config: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return config


def without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    """The same structure, stored in 16 bits."""
    return {name: value for name, value in config.items() if name != "quantization_config"}


def llama(**changes: Any) -> dict[str, Any]:
    """A small Llama: 8 layers, 32 heads, 8 key/value heads of 128."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "num_hidden_layers": 8,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
        **changes,
    }
