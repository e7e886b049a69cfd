# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What tensor parallelism cuts: every matrix must divide, and at the blocks of its quantization."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..fault import Findings
from ..model.facts import ModelFacts
from ..model.quantization import Quantization
from ..model.tensors import VOCABULARY_PADDING, Weight
from .options import MemoryOptions

GPUS = "recipe_nvidia_gpu_count"
_FEWER = "choose a shape with such a number of GPUs"
EXPERT_PARALLEL = "--enable-expert-parallel"
ENCODER_WHOLE = "--mm-encoder-tp-mode data"
# Since then the blocks of cut experts are made finer where a common divisor is no smaller than the least
# (vllm/model_executor/layers/fused_moe/oracle/fp8.py, refine_fp8_moe_block_shape).
_FINER_SINCE, _LEAST_BLOCK = (0, 29), 32
# Faults of counts alone. vLLM that has built the model with this division has shown that there are none.
COUNTS = (
    "heads_not_divisible",
    "heads_not_grouped",
    "intermediate_not_divisible",
    "expert_not_divisible",
    "vocabulary_not_divisible",
    "kv_heads_not_divisible",
    "mamba_groups_not_divisible",
    "linear_heads_not_divisible",
    "vision_heads_not_divisible",
    "part_not_divisible",
)
# How the parts of a layer are called, by what stands in a weight's name; the first that fits counts.
_PARTS = (
    ("shared_expert", "the shared expert"),
    (".experts.", "an expert"),
    ("self_attn.", "the attention"),
    ("linear_attn.", "the linear attention"),
    ("mixer.in_proj", "the mamba layer"),
    ("mixer.out_proj", "the mamba layer"),
    ("visual.", "the vision tower"),
    ("vision", "the vision tower"),
    ("multi_modal_projector.", "the projector"),
)


def check_division(model: ModelFacts, tensor: int, options: MemoryOptions, findings: Findings) -> None:
    """Check that `tensor` GPUs divide every part of the model that vLLM cuts."""
    _check_counts(model, tensor, options, findings)
    if findings.faults or tensor == 1:
        return
    drafter = model.inventory.extra if options.draft_layers else ()
    for weight in _distinct(model, model.tower_is_whole(tensor, options.encoder_whole), drafter):
        of_experts = ".experts." in weight.name
        if weight.split == "whole" or weight.columns == 1 or (of_experts and options.expert_parallel):
            continue
        _check_even(weight, tensor, findings)
        if weight.converted and model.quantization is not None:
            if of_experts:
                _check_expert(model, model.quantization, weight, tensor, findings)
            else:
                _check_blocks(model.quantization, weight, tensor, findings)


def _check_counts(model: ModelFacts, tensor: int, options: MemoryOptions, findings: Findings) -> None:
    def divisible(count: int, what: str, code: str, remedy: str = _FEWER) -> None:
        if count and count % tensor:
            findings.fault(code, GPUS, f"{tensor} GPUs for {count} {what}", f"a divisor of {count}", remedy)

    divisible(model.heads, "attention heads", "heads_not_divisible")
    divisible(model.intermediate_size, "columns of the feed-forward", "intermediate_not_divisible")
    if not options.expert_parallel:
        divisible(model.expert_intermediate_size, "columns of an expert", "expert_not_divisible")
    padded = -(-model.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING
    divisible(padded, "rows of the padded vocabulary", "vocabulary_not_divisible")
    for layer_kv in sorted({layer.kv_heads for layer in model.layers if layer.attention != "mla" and layer.kv_heads}):
        if model.heads % layer_kv:
            findings.fault(
                "heads_not_grouped",
                "config.json num_key_value_heads",
                f"{layer_kv} key/value heads for {model.heads} attention heads",
                f"a divisor of {model.heads}",
                "take the configuration that belongs to the weights",
            )
        larger, smaller = max(layer_kv, tensor), min(layer_kv, tensor)
        if larger % smaller:
            findings.fault(
                "kv_heads_not_divisible",
                GPUS,
                f"{tensor} GPUs for {layer_kv} key/value heads",
                f"a divisor or a multiple of {layer_kv}",
                _FEWER,
            )
    if model.mamba_groups > 1:
        divisible(model.mamba_groups, "groups of the mamba layers", "mamba_groups_not_divisible")
    for heads in sorted({count for layer in model.layers for count in layer.state_heads}):
        divisible(heads, "heads of the linear layers", "linear_heads_not_divisible")
    if not model.tower_is_whole(tensor, options.encoder_whole):
        divisible(model.vision_heads, "heads of the vision tower", "vision_heads_not_divisible")
    if model.unsure_heads % tensor and not options.encoder_whole:
        findings.warn(
            "vision_heads_not_divisible",
            GPUS,
            f"{tensor} GPUs for {model.unsure_heads} heads of the vision tower of {model.architecture or 'the model'}",
            "",
            f"vLLM refuses that where it divides this tower; {_FEWER}, or give vLLM {ENCODER_WHOLE}",
        )


def _distinct(model: ModelFacts, tower_whole: bool, drafter: tuple[Weight, ...]) -> Iterable[Weight]:
    """The matrices of the model and of its drafter, those that are alike once."""
    seen: dict[tuple[str, int, int, bool], Weight] = {}
    beside = () if tower_whole else model.inventory.everywhere
    groups = {id(group): group for group in (*model.inventory.layers, beside, drafter)}
    for group in groups.values():
        for weight in group:
            seen.setdefault((weight.name, weight.rows, weight.columns, weight.converted), weight)
    return seen.values()


def _part(weight: Weight) -> str:
    return next((part for mark, part in _PARTS if mark in weight.name), "the feed-forward")


def _check_even(weight: Weight, tensor: int, findings: Findings) -> None:
    size = {"rows": weight.rows, "columns": weight.columns}.get(weight.split, tensor)
    if size % tensor and not any(fault.code == "part_not_divisible" for fault in findings.faults):
        findings.fault(
            "part_not_divisible",
            GPUS,
            f"{tensor} GPUs for {size} columns of {_part(weight)}",
            f"a divisor of {size}",
            _FEWER,
        )


def _check_blocks(quantization: Quantization, weight: Weight, tensor: int, findings: Findings) -> None:
    """Linear layers: "... is not divisible by weight quantization block_n", "... by group_size" (quantization/*.py)."""
    rows, columns = weight.rank_shape(tensor)
    if quantization.block:
        size, unit = (columns, quantization.block[1]) if weight.split == "columns" else (rows, quantization.block[0])
    elif weight.split == "columns":
        size, unit = columns, quantization.group_size
    else:
        return
    if unit > 1 and size % unit and not any(fault.code == "group_cut" for fault in findings.faults):
        findings.fault(
            "group_cut",
            GPUS,
            f"{size} columns of {_part(weight)} for each of {tensor} GPUs",
            f"a multiple of {unit}, the {quantization.method} group",
            "use fewer GPUs a node and more nodes, or the model in another form",
        )


def _check_expert(
    model: ModelFacts, quantization: Quantization, weight: Weight, tensor: int, findings: Findings
) -> None:
    width = weight.rank_shape(tensor)[0 if weight.split == "rows" else 1]
    unit = quantization.block[0] if quantization.block else quantization.group_size
    if unit <= 1 or width % unit == 0 or quantization.experts_only:
        return
    said = [*findings.faults, *findings.warnings]
    if any(fault.code == "expert_group_cut" for fault in said):
        return
    found = f"{width} columns of an expert for each of {tensor} GPUs"
    fewer = f"give vLLM {EXPERT_PARALLEL}, or use fewer GPUs a node and more nodes"
    if quantization.block is None:
        expected = f"a multiple of {unit}, the {quantization.method} group"
        findings.warn("expert_group_cut", GPUS, found, expected, f"not every kernel can; {fewer}")
        return
    finer = math.gcd(*quantization.block, width, model.hidden_size) >= _LEAST_BLOCK
    if quantization.method == "fp8" and model.vllm >= _FINER_SINCE and finer:
        return
    findings.fault("expert_group_cut", GPUS, found, f"a multiple of {unit}, the {quantization.method} block", fewer)
