# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model's config.json, safetensors index and file list say, as vLLM reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..catalog.config_defaults import DEFAULTS, TIED_AT_TOP
from ..catalog.families import CLASSES, FAMILIES, TOWERS, UNKNOWN
from ..catalog.vllm.release import release
from ..catalog.vllm_version import version_of
from ..fault import Fault, Refused
from .checkpoint import Checkpoint, read_checkpoint
from .completeness import check_alike, check_layers
from .config_fields import Fields, as_mapping
from .doubts import DBRX_PARTS, TEXT_PARTS, doubts_of, missing_fields, read_otherwise, stated_layers, unread_fields
from .facts import ModelFacts
from .inventory import EXPERT_WIDTHS, Builder, key_value_heads, latent_copies
from .layers import MOST_LAYERS, expert_count, is_mla, layer_list, mamba_groups, read_layers
from .lengths import read_lengths
from .overrides import with_overrides
from .quantization import on_vllm, read_quantization
from .quantization_schemes import quantization_schemes
from .tensors import Weight
from .vision import vision_heads, vision_weights

# The computed size of a checkpoint counts as confirmed when it differs from the stated one by no more than this.
_TOLERANCE = 0.02
# Since then vLLM builds a head of its own where the checkpoint of a tied model has one.
_UNTIES_SINCE = (0, 29)
# Since then the whole's tie_word_embeddings goes before its text part's, and with it the default of its configuration class.
_TOP_DECIDES_SINCE = (0, 22)
_PREDICTED = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers")
_EXPERTS_PER_TOKEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
)
# Of the types that a checkpoint may state; what is served in 16 bits counts 2 bytes.
_DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float64": 8}


def read_model(
    config: Mapping[str, Any],
    index: Mapping[str, Any] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    *,
    vllm: str = "",
    overrides: Mapping[str, Any] | None = None,
    hf_quant_config: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """Read a model as that version of vLLM does; "" for the newest that was read.

    `index` is the content of model.safetensors.index.json; `files` are {name, size}; `overrides` are --hf-overrides.
    Raises Refused when nothing says how many layers there are: then no stage can be planned.
    """
    version, known_vllm = version_of(vllm), release(vllm or None)
    config = with_overrides(config, overrides or {})
    raw_text = text_part(config)
    top = Fields(config)
    model_type = Fields(raw_text).text("model_type") or top.text("model_type")
    text = Fields({**DEFAULTS.get(model_type, {}), **raw_text, **_nested_sizes(model_type, raw_text)})
    text.text("model_type")
    architecture = next(iter(top.strings("architectures")), "")
    checkpoint = read_checkpoint(index, files)
    count = _layer_count(text, model_type, checkpoint)
    family = FAMILIES.get(model_type, UNKNOWN)
    quantization = read_quantization(config, raw_text, hf_quant_config)
    if quantization is not None:
        quantization = on_vllm(quantization, known_vllm, quantization_schemes(config))
    multimodal = raw_text is not config or bool(_parts_beside(config))
    tower = TOWERS.get(architecture) if multimodal else None
    known = model_type in FAMILIES and (model_type in CLASSES.get(architecture, ()) or tower is not None)
    layers, unknown_types = read_layers(text, model_type, count, model_type in FAMILIES, version)
    unknown_types += read_otherwise(text, model_type, count)
    if raw_text is not config and top.value("tie_word_embeddings") is None and raw_text.get("tie_word_embeddings"):
        if top.text("model_type") not in TIED_AT_TOP:
            # Most classes of a whole say that nothing is tied where the whole does not.
            unknown_types.append("tie_word_embeddings of the text part alone")
    tied = _tied(top, text, raw_text is not config, family.tied, checkpoint, version)
    builder = Builder(text, model_type, family, quantization)
    vision = Fields(as_mapping(config.get("vision_config")))
    heads_beside = vision_heads(vision)
    everywhere = tuple(vision_weights(config, vision, builder.hidden, tower))
    predicted = text.integer(*_PREDICTED) or 0
    attentive = [layer for layer in layers if layer.attention not in ("linear", "mamba", "none")]
    heads = text.size("num_attention_heads", "n_head", "n_heads", "num_heads")
    lengths = read_lengths(text, (top.text("model_type"), model_type), version)
    weight_map = as_mapping((index or {}).get("weight_map"))
    facts = ModelFacts(
        architecture=architecture,
        model_type=model_type,
        certain=True,
        known=known,
        layers=layers,
        hidden_size=builder.hidden,
        heads=heads,
        kv_heads=key_value_heads(text, model_type),
        intermediate_size=builder.intermediate if any(layer.feed_forward == "dense" for layer in layers) else 0,
        expert_intermediate_size=text.size(*EXPERT_WIDTHS) or builder.intermediate if builder.experts else 0,
        vocab_size=text.size("vocab_size", "padded_vocab_size"),
        experts=expert_count(text),
        tied=tied,
        mla=is_mla(text, model_type),
        dtype=_served_dtype(top, text),
        quantization=quantization,
        default_length=lengths.default,
        max_length=lengths.longest,
        supports_pipeline=known_vllm.supports_pipeline(architecture),
        multimodal=multimodal,
        config_type=top.text("model_type"),
        remote_code=bool(as_mapping(top.value("auto_map"))),
        remote_config="AutoConfig" in as_mapping(top.value("auto_map")),
        checkpoint_bytes=checkpoint.total_bytes,
        checkpoint_source=checkpoint.source,
        kv_known=bool(builder.hidden and heads) and all(layer.kv_heads and layer.head_dim for layer in attentive),
        inventory=builder.inventory(everywhere, layers, tied, predicted),
        vllm=version,
        predicted=predicted,
        mamba_groups=mamba_groups(text, layers),
        latent_copies=latent_copies(text, model_type),
        recurrent_element=2 if "16" in text.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype") else 4,
        experts_per_token=text.size(*_EXPERTS_PER_TOKEN),
        unsure_heads=heads_beside if tower is None else 0,
        vision_heads=heads_beside if tower is not None and tower.split else 0,
        vision_falls_back=tower is not None and tower.falls_back,
    )
    stated = stated_layers(text, count)
    doubts = doubts_of(facts, unknown_types)
    if known:
        doubts += unread_fields(top, text, vision, raw_text is not config)
        doubts += missing_fields(model_type, raw_text, text.raw)
    alike = check_alike(weight_map, layers, quantization) if weight_map else []
    facts = replace(facts, faults=(*check_layers(weight_map, count, predicted), *(alike if known else [])))
    facts, differing = _by_the_files(facts, checkpoint, _stored_element(top, text))
    return _weighed(facts, _stored_element(top, text), [*differing, *doubts, *stated, *([] if known else alike)])


# Parts of a configuration that describe what stands beside the language model.
_BESIDE = (
    "vision_config",
    "audio_config",
    "speech_config",
    "sound_config",
    "talker_config",
    "code2wav_config",
    "encoder",
)


def _parts_beside(config: Mapping[str, Any]) -> list[str]:
    return [name for name in _BESIDE if as_mapping(config.get(name))]


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model."""
    for name in TEXT_PARTS:
        nested = as_mapping(config.get(name))
        if nested:
            return text_part(nested)
    return config


def _nested_sizes(model_type: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Dbrx keeps the sizes of attention and experts in objects of their own."""
    if model_type != "dbrx":
        return {}
    attention, experts = (Fields(as_mapping(raw.get(name))) for name in DBRX_PARTS)
    return {
        "num_key_value_heads": attention.size("kv_n_heads"),
        "num_experts": experts.size("moe_num_experts"),
        "moe_intermediate_size": experts.size("ffn_hidden_size"),
    }


def _layer_count(text: Fields, model_type: str, checkpoint: Checkpoint) -> int:
    count = layer_list(text, model_type) or text.size("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if not count and checkpoint.layers:
        count = max(1, checkpoint.layers - (text.integer(*_PREDICTED) or 0))
    if not 0 < count <= MOST_LAYERS:
        raise Refused(
            [
                Fault(
                    "layers_unknown",
                    "config.json num_hidden_layers",
                    repr(text.value("num_hidden_layers"))[:60],
                    f"a number from 1 to {MOST_LAYERS}",
                    "give the configuration of a decoder model; without its layers no pipeline stage can be planned",
                )
            ]
        )
    return count


def _tied(
    top: Fields, text: Fields, nested: bool, default: bool, checkpoint: Checkpoint, vllm: tuple[int, int]
) -> bool:
    given = top.optional_flag("tie_word_embeddings")
    if given is None and nested and vllm >= _TOP_DECIDES_SINCE and top.text("model_type") in TIED_AT_TOP:
        given = True
    if given is None:
        given = text.optional_flag("tie_word_embeddings")
    if given is None:
        # Only where neither says, the checkpoint does: a tied one has no head.
        return default if checkpoint.has_head is None else not checkpoint.has_head
    text.optional_flag("tie_word_embeddings")
    # A head in the checkpoint of a tied model is built and loaded since then (config/model.py, maybe_untie_word_embeddings).
    return given and not (checkpoint.has_head and vllm >= _UNTIES_SINCE)


def _served_dtype(top: Fields, text: Fields) -> str:
    name = _stated_dtype(top, text)
    return name if name in ("float16", "bfloat16") else "bfloat16"


def _stated_dtype(top: Fields, text: Fields) -> str:
    vision = Fields(top.mapping("vision_config"))
    for fields in (top, text, vision):
        name = fields.text("dtype", "torch_dtype").removeprefix("torch.")
        if name:
            return name
    return ""


def _stored_element(top: Fields, text: Fields) -> int:
    return _DTYPE_BYTES.get(_stated_dtype(top, text), 2)


def _by_the_files(facts: ModelFacts, checkpoint: Checkpoint, stored_element: int) -> tuple[ModelFacts, list[Fault]]:
    """Compare the files with what the index states: a shorter sum is a copy that broke off, or an index that is not theirs."""
    size = checkpoint.file_bytes
    if checkpoint.source != "index" or not size or size >= checkpoint.total_bytes:
        return facts, []
    inventory = facts.inventory
    guesses = [
        sum(weight.stored_bytes(stored_element, facts.quantization) for weight in weights)
        for weights in (inventory.stored(), inventory.extra)
    ]
    if facts.known and any(abs(size - guess) <= _TOLERANCE * size for guess in (guesses[0], guesses[0] - guesses[1])):
        # The configuration agrees with the files: the index was not written for them.
        differs = Fault(
            "size_differs",
            "model.safetensors.index.json",
            f"{checkpoint.total_bytes / 1e9:.1f} GB of weights",
            f"{size / 1e9:.1f} GB, as the files have and the configuration says",
            "the plan goes by the files; check whether the index belongs to them",
        )
        return replace(facts, checkpoint_bytes=size, checkpoint_source="files"), [differs]
    short = Fault(
        "weights_short",
        "the model's files",
        f"{size / 1e9:.2f} GB of weights",
        f"at least {checkpoint.total_bytes / 1e9:.2f} GB, as the index states",
        "copy the model again, whole: a copy broke off, or files are only pointers",
    )
    return replace(facts, faults=(*facts.faults, short)), []


def _weighed(facts: ModelFacts, stored_element: int, doubts: list[Fault]) -> ModelFacts:
    """Compare what was computed with what the checkpoint states, and go by the latter where they differ."""
    inventory = facts.inventory
    total, extra = (
        sum(weight.stored_bytes(stored_element, facts.quantization) for weight in weights)
        for weights in (inventory.stored(), inventory.extra)
    )
    warnings = list(doubts)
    if not facts.kv_known:
        warnings.append(
            Fault(
                "kv_unknown",
                "config.json num_attention_heads",
                "no usable sizes of the attention",
                "",
                "the KV cache cannot be planned; vLLM says at its start what fits",
            )
        )
    if not facts.checkpoint_bytes:
        # Nothing states a size: what the configuration says is all there is.
        warnings.append(
            Fault(
                "size_computed",
                "the model's files",
                "no sizes given",
                "an index or a file list",
                "the weights are computed from config.json alone; a quantization it does not name would not be seen",
            )
        )
        return replace(
            facts,
            checkpoint_bytes=total - extra,
            checkpoint_source="computed",
            certain=not doubts and facts.kv_known,
            warnings=tuple(warnings),
        )
    stated = facts.checkpoint_bytes
    if not doubts and any(abs(stated - guess) <= _TOLERANCE * stated for guess in (total, total - extra)):
        return replace(facts, warnings=tuple(warnings), certain=facts.kv_known)
    if not doubts:
        warnings.append(
            Fault(
                "size_differs",
                "model.safetensors.index.json" if facts.checkpoint_source == "index" else "the model's files",
                f"{stated / 1e9:.1f} GB of weights",
                f"{(total - extra) / 1e9:.1f} GB by the configuration",
                "the plan goes by the files; check whether they hold the model twice, or another type than config.json says",
            )
        )
    return replace(_scaled(facts, stored_element, total - extra), certain=False, warnings=tuple(warnings))


def _scaled(facts: ModelFacts, stored_element: int, computed: int) -> ModelFacts:
    inventory = facts.inventory
    outside = sum(
        weight.stored_bytes(stored_element, facts.quantization)
        for group in (inventory.embedding, inventory.final, inventory.head, inventory.everywhere)
        for weight in group
    )
    # What is stored in 32 bits is served in 16.
    served = facts.element_bytes / stored_element if stored_element > facts.element_bytes else 1.0
    left = facts.checkpoint_bytes - outside
    if left <= 0 or not facts.hidden_size:
        # The configuration does not even tell the embedding: every layer gets an equal part of all bytes.
        each = round(facts.checkpoint_bytes * served) // len(facts.layers) // facts.element_bytes
        layer = (Weight("layer", each, 1, "rows"),)
        bare = replace(inventory, embedding=(), final=(), head=(), everywhere=(), layers=(layer,) * len(facts.layers))
        return replace(facts, inventory=bare)
    in_layers = computed - outside
    return replace(facts, layer_scale=left / in_layers if in_layers > 0 else 1.0)
