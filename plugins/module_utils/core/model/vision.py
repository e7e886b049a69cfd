# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Weights of the parts beside the language model: vision towers and their projectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..catalog.families import Tower
from .config_fields import Fields
from .tensors import Weight

# Transformers' Llama4VisionConfig, for the fields that a configuration leaves out.
_LLAMA4_VISION = {
    "hidden_size": 768,
    "num_hidden_layers": 34,
    "intermediate_size": 5632,
    "vision_output_dim": 7680,
    "projector_output_dim": 4096,
    "patch_size": 14,
    "image_size": 448,
}
# The same, Glm4vVisionConfig.
_GLM4V_VISION = {
    "depth": 24,
    "hidden_size": 1536,
    "num_heads": 12,
    "intermediate_size": 13696,
    "out_hidden_size": 4096,
    "image_size": 336,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
}


def vision_heads(vision: Fields) -> int:
    """The attention heads of the vision tower, 0 where nothing says."""
    return vision.size("num_heads", "num_attention_heads", "vt_num_attention_heads", "attention_heads")


def vision_weights(config: Mapping[str, Any], vision: Fields, hidden: int, tower: Tower | None) -> Iterator[Weight]:
    """The weights of the vision tower and the projector into the language model's hidden size, where there is one.

    vLLM builds the tower on every pipeline stage. tower: how it is divided; None, not known, counts as whole on each GPU.
    """
    for weight in _weights(config, vision, hidden):
        yield weight if tower is not None and tower.split else replace(weight, split="whole")


def _weights(config: Mapping[str, Any], vision: Fields, hidden: int) -> Iterator[Weight]:
    model_type = Fields(config).text("model_type")
    if model_type == "llama4":
        vision.take_defaults(_LLAMA4_VISION)
    elif model_type.startswith("glm4v"):
        vision.take_defaults(_GLM4V_VISION)
    depth = vision.size("depth", "num_hidden_layers", "num_layers", "layers", "vt_num_hidden_layers")
    # Qwen2-VL calls the language model's size hidden_size, and its own embed_dim.
    width = vision.size("embed_dim", "hidden_size", "width", "vt_hidden_size")
    if not depth or not width or depth > 512:
        return
    inner = vision.size("intermediate_size", "vt_intermediate_size") or int(width * (vision.size("mlp_ratio") or 4))
    if model_type.startswith("glm4v"):
        # GLM's intermediate_size is the merger's (glm4_1v.py).
        inner = vision.size("out_hidden_size") or inner
    at = "visual.blocks.0"
    # Qwen's tower of 2.5, Gemma 4's, GLM's and Pixtral's have three matrices, the others two.
    pixtral = vision.text("model_type") == "pixtral"
    gated = pixtral or model_type.startswith(("qwen2_5_vl", "gemma4", "glm4v"))
    rows, columns = "rows", "columns"
    yield Weight(f"{at}.attn.qkv.weight", 3 * width, width, rows, depth)
    yield Weight(f"{at}.attn.proj.weight", width, width, columns, depth)
    yield Weight(f"{at}.mlp.up_proj.weight", inner, width, rows, depth * (2 if gated else 1))
    yield Weight(f"{at}.mlp.down_proj.weight", width, inner, columns, depth)
    yield Weight(f"{at}.vectors.weight", 8 * width, count=depth)
    patch = vision.size("patch_size") or 14
    channels = vision.size("in_channels", "num_channels") or 3
    temporal = vision.size("temporal_patch_size") or 1
    yield Weight("visual.patch_embed.weight", width, channels * temporal * patch * patch)
    image = vision.size("image_size")
    positions = vision.size("num_position_embeddings") or (0 if pixtral else (image // patch) ** 2)
    if model_type.startswith("gemma4"):
        positions = 2 * vision.size("position_embedding_size")
    grid = vision.size("init_pos_emb_height") * vision.size("init_pos_emb_width")
    positions = positions or grid
    if positions:
        yield Weight("visual.pos_embed.weight", positions, width)
    yield from _projector(config, vision, model_type, width, hidden)


def _projector(config: Mapping[str, Any], vision: Fields, model_type: str, width: int, hidden: int) -> Iterator[Weight]:
    out = vision.size("out_hidden_size") or hidden
    merge = vision.size("spatial_merge_size")
    if model_type.startswith("qwen") and merge:
        merged = width * merge * merge
        mergers = 1 + len(vision.integers("deepstack_visual_indexes"))
        yield Weight("visual.merger.fc1.weight", merged, merged, "rows", mergers)
        yield Weight("visual.merger.fc2.weight", out, merged, "columns", mergers)
    elif model_type.startswith("glm4v"):
        inner = vision.size("intermediate_size")
        yield Weight("visual.downsample.weight", out, width * (merge or 2) ** 2)
        yield Weight("visual.merger.proj.weight", out, out, "rows")
        yield Weight("visual.merger.up_proj.weight", inner, out, "rows", 2)
        yield Weight("visual.merger.down_proj.weight", out, inner, "columns")
    elif model_type == "llama4":
        inner, output = vision.size("intermediate_size"), vision.size("vision_output_dim")
        yield Weight("vision_adapter.mlp.fc1.weight", output // 2, inner, "rows")
        yield Weight("vision_adapter.mlp.fc2.weight", output // 2, output // 2, "columns")
        yield Weight("multi_modal_projector.weight", hidden, output // 2, "rows")
    elif model_type == "mistral3":
        merge = Fields(config).size("spatial_merge_size") or 2
        yield Weight("multi_modal_projector.patch_merger.weight", width, width * merge * merge)
        yield Weight("multi_modal_projector.linear_1.weight", hidden, width, "rows")
        yield Weight("multi_modal_projector.linear_2.weight", hidden, hidden, "columns")
    elif vision.size("vt_hidden_size"):
        # Kimi: patches of 2 x 2 are merged (kimi_k25_vit.py).
        kernel = vision.integers("merge_kernel_size") or (2, 2)
        merged = width * math.prod(kernel)
        yield Weight("mm_projector.proj.0.weight", merged, merged)
        yield Weight("mm_projector.proj.2.weight", hidden, merged)
    else:
        yield Weight("multi_modal_projector.weight", hidden, width)
