# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints as publishers make them: every tensor with its bytes, in files of about equal size, with an index.

Written out here independently of the planner, from the published layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BLOCK = 128


def tensors(config: dict[str, Any]) -> dict[str, int]:
    """The bytes of each tensor of a Llama, Qwen3-MoE, Mixtral or DeepSeek-V3 checkpoint, in the order of the model."""
    fp8 = "quantization_config" in config
    found: dict[str, int] = {}

    def add(name: str, rows: int, columns: int = 0, plain: bool = False) -> None:
        if fp8 and columns and not plain:
            found[f"{name}.weight"] = rows * columns
            found[f"{name}.weight_scale_inv"] = 4 * -(-rows // BLOCK) * -(-columns // BLOCK)
        else:
            found[f"{name}.weight"] = 2 * rows * max(columns, 1)

    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    add("model.embed_tokens", vocabulary, hidden, plain=True)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        attention = _latent_attention if "kv_lora_rank" in config else _attention
        for name, rows, columns in (*attention(config), *_feed_forward(config, layer)):
            add(f"{at}.{name}", rows, columns, plain=name.endswith("gate"))
        if config["model_type"] == "deepseek_v3" and layer >= config["first_k_dense_replace"]:
            # Kept in 32 bits; the planner counts two bytes, 512 too few a layer.
            found[f"{at}.mlp.gate.e_score_correction_bias"] = 2 * config["n_routed_experts"]
        add(f"{at}.input_layernorm", hidden)
        add(f"{at}.post_attention_layernorm", hidden)
    add("model.norm", hidden)
    if not config["tie_word_embeddings"]:
        add("lm_head", vocabulary, hidden, plain=True)
    return found


def _attention(config: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    hidden, heads, keys = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or hidden // heads
    yield "self_attn.q_proj", heads * width, hidden
    yield "self_attn.k_proj", keys * width, hidden
    yield "self_attn.v_proj", keys * width, hidden
    yield "self_attn.o_proj", hidden, heads * width
    if config["model_type"] == "qwen3_moe":
        yield "self_attn.q_norm", width, 0
        yield "self_attn.k_norm", width, 0


def _latent_attention(config: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    yield "self_attn.q_a_proj", config["q_lora_rank"], hidden
    yield "self_attn.q_a_layernorm", config["q_lora_rank"], 0
    yield "self_attn.q_b_proj", heads * (nope + rope), config["q_lora_rank"]
    yield "self_attn.kv_a_proj_with_mqa", config["kv_lora_rank"] + rope, hidden
    yield "self_attn.kv_a_layernorm", config["kv_lora_rank"], 0
    yield "self_attn.kv_b_proj", heads * (nope + value), config["kv_lora_rank"]
    yield "self_attn.o_proj", hidden, heads * value


def _feed_forward(config: dict[str, Any], layer: int) -> Iterator[tuple[str, int, int]]:
    hidden, family = config["hidden_size"], config["model_type"]
    if family == "mixtral":
        yield "block_sparse_moe.gate", config["num_local_experts"], hidden
        for expert in range(config["num_local_experts"]):
            at = f"block_sparse_moe.experts.{expert}"
            yield f"{at}.w1", config["intermediate_size"], hidden
            yield f"{at}.w2", hidden, config["intermediate_size"]
            yield f"{at}.w3", config["intermediate_size"], hidden
        return
    experts = config.get("num_experts") or config.get("n_routed_experts") or 0
    if not experts or layer < config.get("first_k_dense_replace", 0):
        yield from _gated("mlp", hidden, config["intermediate_size"])
        return
    yield "mlp.gate", experts, hidden
    for expert in range(experts):
        yield from _gated(f"mlp.experts.{expert}", hidden, config["moe_intermediate_size"])
    if config.get("n_shared_experts"):
        yield from _gated("mlp.shared_experts", hidden, config["n_shared_experts"] * config["moe_intermediate_size"])


def _gated(at: str, hidden: int, width: int) -> Iterator[tuple[str, int, int]]:
    yield f"{at}.gate_proj", width, hidden
    yield f"{at}.up_proj", width, hidden
    yield f"{at}.down_proj", hidden, width


def index(sizes: dict[str, int], per_file: int) -> dict[str, Any]:
    """A safetensors index: the tensors in turn, a new file whenever one has reached `per_file` bytes."""
    weight_map: dict[str, str] = {}
    number, filled = 1, 0
    for name, size in sizes.items():
        if filled + size > per_file and filled:
            number, filled = number + 1, 0
        filled += size
        weight_map[name] = f"model-{number:05d}.safetensors"
    return {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
