# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a plan is not certain: each reason is a warning that names what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..catalog.config_defaults import needed
from ..catalog.config_keys import HARMLESS, HARMLESS_TOP, HARMLESS_VISION
from ..catalog.families import FAMILIES
from ..fault import Fault
from .config_fields import Fields, as_mapping
from .facts import ModelFacts
from .quantization import Quantization

# Parts that are read as configurations of their own.
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
DBRX_PARTS = ("attn_config", "ffn_config")
_CONTAINERS = (*TEXT_PARTS, *DBRX_PARTS, "vision_config", "quantization_config", "compression_config")

# Families whose classes divide the hidden size by the heads, whatever head_dim says.
_OF_HIDDEN_SIZE = ("qwen2", "qwen2_moe", "granitemoe", "falcon", "stablelm", "olmoe", "dbrx", "minicpm")
# Fields that no class takes as nothing.
_NEVER_NULL = ("first_k_dense_replace", "interleave_moe_layer_step", "decoder_sparse_step", "max_position_embeddings")

# Families whose classes have a head of their own, or none, whatever the configuration says of tied embeddings.
_NEVER_TIED = (
    *(
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "glm_moe_dsa",
        "kimi_k2",
        "glm4_moe",
        "glm4v_moe_text",
        "glm4_moe_lite",
    ),
    *("gpt_oss", "minimax_m2", "nemotron_h", "olmoe", "phimoe", "qwen3_next"),
)
_ALWAYS_TIED = ("cohere", "cohere2", "gemma2")


def stated_layers(text: Fields, count: int) -> list[Fault]:
    """A doubt where num_hidden_layers says something else than the list of layers that decides."""
    stated = text.size("num_hidden_layers")
    if not stated or stated == count:
        return []
    return [
        Fault(
            "layers_uncertain",
            "config.json num_hidden_layers",
            f"{stated}, where the list of layers has {count}",
            "as many as are listed",
            "the plan goes by the list, as vLLM does",
        )
    ]


def read_otherwise(text: Fields, model_type: str, count: int) -> list[str]:
    """Return what vLLM or Transformers reads otherwise than it says, or refuses. count: the layers."""
    hidden = text.size("hidden_size", "n_embd", "d_model")
    heads = text.size("num_attention_heads", "n_head", "n_heads", "num_heads")
    found = []
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers") if model_type != "nemotron_h" else ():
        listed = text.raw.get(name)
        if isinstance(listed, (list, tuple)) and listed and len(listed) != count:
            found.append(f"{name} of {len(listed)} layers")
    if isinstance(text.raw.get("moe_layer_freq"), (list, tuple)) and not model_type.startswith("mimo_v2"):
        found.append("moe_layer_freq as a list")
    found += [f"{name} that is null" for name in _NEVER_NULL if name in text.raw and text.raw[name] is None]
    given = text.size("head_dim")
    found += [*_odd_factors(text), *_odd_sections(text, given or (hidden // heads if heads else 0))]
    if model_type == "glm4_moe_lite" and given not in (0, text.integer("qk_rope_head_dim") or 0):
        found.append("head_dim, which the class takes for qk_rope_head_dim")
    if model_type in ("nemotron_h", "falcon") and text.size("sliding_window"):
        found.append("sliding_window, which no model of the family has")
    if model_type in _OF_HIDDEN_SIZE and heads and given not in (0, hidden // heads):
        found.append("head_dim, which the class does not read")
    if model_type == "hunyuan_v1_moe" and text.integer("num_shared_expert") not in (None, 1):
        found.append("num_shared_expert, which not every version counts")
    return found


def _odd_sections(text: Fields, head_dim: int) -> list[str]:
    """Sections of a multimodal rotary embedding that are not half of what is rotated (rotary_embedding/mrope.py)."""
    for name in ("rope_scaling", "rope_parameters"):
        rope = Fields(as_mapping(text.raw.get(name)))
        sections = rope.integers("mrope_section")
        share = rope.raw.get("partial_rotary_factor") or text.raw.get("partial_rotary_factor") or 1
        if sections and isinstance(share, (int, float)) and 2 * sum(sections) != int(head_dim * share):
            return [f"mrope_section of {sum(sections)} for heads of {head_dim}"]
    return []


def _odd_factors(text: Fields) -> list[str]:
    """Factors of a rotary embedding with which vLLM ends: a text, and for linear scaling a whole number (rotary_embedding)."""
    found = []
    for name in ("rope_scaling", "rope_parameters"):
        rope = as_mapping(text.raw.get(name))
        factor = rope.get("factor")
        linear = "linear" in (rope.get("type"), rope.get("rope_type"))
        if isinstance(factor, (str, list)) or (linear and isinstance(factor, int)):
            found.append(f"{name} with the factor {factor!r}"[:60])
    return found


def doubts_of(facts: ModelFacts, unknown_types: Sequence[str]) -> list[Fault]:
    """The doubts that follow from the family, the class, the kinds of layers and the quantization."""
    faults = []
    model_type, quantization = facts.model_type, facts.quantization
    if model_type not in FAMILIES:
        faults.append(
            Fault(
                "model_type_unknown",
                "config.json model_type",
                f"{model_type or 'nothing'}, which the planner does not know",
                "a known family",
                "its memory is estimated from the files' sizes, with full attention in every layer; leave a margin",
            )
        )
    elif not facts.known:
        beside = "with parts beside the language model " if facts.multimodal else ""
        faults.append(
            Fault(
                "class_unknown",
                "config.json architectures",
                f"{facts.architecture or 'nothing'}, {beside}for the family {model_type}",
                "a class of vLLM that the planner knows for it",
                "the class decides what is built: what is planned here is an estimate; leave a margin",
            )
        )
    if facts.quantization is not None and _tower_weighs(facts) and _may_convert_tower(facts.quantization):
        faults.append(
            Fault(
                "tower_uncertain",
                "config.json quantization_config",
                f"{facts.quantization.method}, which does not leave out the vision tower",
                "",
                "the plan counts the tower in 16 bits; leave a margin",
            )
        )
    if (facts.tied and model_type in _NEVER_TIED) or (not facts.tied and model_type in _ALWAYS_TIED):
        faults.append(
            Fault(
                "tie_uncertain",
                "config.json tie_word_embeddings",
                f"{'tied' if facts.tied else 'not tied'}, which the class {facts.architecture or model_type} is not",
                "as the class has it",
                "the plan counts as the configuration says; leave a margin",
            )
        )
    if unknown_types:
        faults.append(
            Fault(
                "layers_uncertain",
                "config.json, the kinds of its layers",
                ", ".join(unknown_types),
                "kinds that the planner knows",
                "these layers are planned with full attention, which needs the most memory",
            )
        )
    if quantization is not None and (not quantization.weight_bits or quantization.doubts):
        unread = ", ".join(quantization.doubts)
        faults.append(
            Fault(
                "quantization_uncertain",
                "config.json quantization_config",
                f"{quantization.method}, {unread + ' in it' if unread else 'whose bytes per weight'} the planner cannot tell",
                "",
                "the weights' size is taken from the files; leave a margin",
            )
        )
    return faults


def _tower_weighs(facts: ModelFacts) -> bool:
    """Whether the parts beside the language model are more than a hundredth of it."""
    beside = sum(weight.elements for weight in facts.inventory.everywhere)
    return beside * 100 > sum(weight.elements for group in facts.inventory.layers for weight in group)


def _may_convert_tower(quantization: Quantization) -> bool:
    named = any(mark in name for name in quantization.not_converted for mark in ("vis", "tower", "mm_proj"))
    return bool(quantization.weight_bits) and not (quantization.experts_only or quantization.targets or named)


# Names of other families' classes for the same; of a known family its own class decides which is read.
_OTHER_NAMES = {
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "hidden_size": ("n_embd", "d_model"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups"),
    "head_dim": ("attention_head_dim", "hidden_size_per_head"),
    "intermediate_size": ("ffn_hidden_size", "n_inner"),
    "vocab_size": ("padded_vocab_size",),
}
_WITH_OTHER_NAMES = ("dbrx", "falcon", "nemotron_h")


def missing_fields(model_type: str, raw: Mapping[str, Any], given: Mapping[str, Any]) -> list[Fault]:
    """A doubt that names every field which the configuration (raw) lacks and whose default is not known.

    given: the same with the known defaults
    """
    names = [name for name in needed(model_type) if name not in given]
    if model_type not in _WITH_OTHER_NAMES:
        names += [
            name
            for name, others in _OTHER_NAMES.items()
            if name not in raw and name not in names and any(other in raw for other in others)
        ]
    if not names:
        return []
    return [
        Fault(
            "fields_missing",
            "config.json",
            f"no {', '.join(names)}",
            "every field that says the sizes of the model",
            "vLLM takes the default of its configuration class, or ends at its start; take the model's whole config.json",
        )
    ]


def unread_fields(top: Fields, text: Fields, vision: Fields, nested: bool) -> list[Fault]:
    """A doubt that names every field which the planner neither reads nor knows to be harmless."""
    names = text.unread({*HARMLESS, *_CONTAINERS, *(HARMLESS_TOP if not nested else ())})
    if nested:
        names += top.unread({*HARMLESS_TOP, *_CONTAINERS})
    names += [f"vision_config.{name}" for name in vision.unread(HARMLESS_VISION)]
    if not names:
        return []
    return [
        Fault(
            "fields_unknown",
            "config.json",
            ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""),
            "fields that the planner knows",
            "what they change in weights or cache is not planned; leave a margin",
        )
    ]
