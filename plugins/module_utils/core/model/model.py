# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model's config.json, safetensors index and file list say, as vLLM reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalog.config_defaults import DEFAULTS
from ..catalog.families import FAMILIES, REMOVED, UNKNOWN, supports_pipeline
from ..fault import Fault, Refused
from .checkpoint import Checkpoint, read_checkpoint
from .config_fields import Fields, as_mapping
from .inventory import EXPERT_WIDTHS, Builder, key_value_heads, latent_copies
from .layers import MOST_LAYERS, Layer, expert_count, is_mla, read_layers
from .quantization import Quantization, read_quantization
from .tensors import Inventory, Weight

# The computed size of a checkpoint counts as confirmed when it differs from the stated one by no more than this.
_TOLERANCE = 0.02
# Fields that announce something which the families here do not have.
_STRANGE_FIELDS = (
    "compress_ratios",
    "block_configs",
    "attn_layer_period",
    "mamba_d_state",
    "full_attn_idxs",
    "ssm_cfg",
)
# Of the types that a checkpoint may state; what is served in 16 bits counts 2 bytes.
_DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float64": 8}


@dataclass(frozen=True)
class ModelFacts:
    """All that the plan needs to know of a model. Sizes in elements and bytes; nothing here depends on the parallelism.

    certain            False: weights or KV cache are estimates, a warning says why
    kv_known           False: nothing tells what a token keeps; the KV cache cannot be planned
    kv_heads           as the configuration states them, for vLLM's checks; MLA ignores them
    dtype              the type vLLM serves in: float32 becomes bfloat16
    max_length         longest context that the model was made for; None when nothing says
    supports_pipeline  None: not known
    remote_code        the repository brings its own code (auto_map)
    checkpoint_bytes   tensor bytes that are served, from the index, else from the files, else computed
    checkpoint_source  "index", "files" or "computed"
    layer_scale        factor by which the layers' computed bytes differ from the stated ones
    latent_copies      values per layer that vLLM keeps beside the weights for MLA
    """

    architecture: str
    model_type: str
    certain: bool
    layers: tuple[Layer, ...]
    hidden_size: int
    heads: int
    kv_heads: int
    intermediate_size: int
    expert_intermediate_size: int
    vocab_size: int
    experts: int
    tied: bool
    mla: bool
    dtype: str
    quantization: Quantization | None
    max_length: int | None
    supports_pipeline: bool | None
    remote_code: bool
    checkpoint_bytes: int
    checkpoint_source: str
    kv_known: bool
    inventory: Inventory
    mamba_groups: int = 0
    layer_scale: float = 1.0
    latent_copies: int = 0
    recurrent_element: int = 4
    warnings: tuple[Fault, ...] = ()
    _sums: dict[tuple[int, int, int], int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def element_bytes(self) -> int:
        """Bytes of one unquantized weight as served."""
        return 2

    def weight_bytes(self, tensor: int, first: int, last: int) -> int:
        """Bytes of weights on one GPU of the stage that holds the layers first..last-1, with `tensor` GPUs a stage."""
        key = (tensor, first, last)
        if key not in self._sums:
            # Layers that are alike share one tuple: each is summed once.
            known: dict[int, int] = {}
            total = 0.0
            for number, group in enumerate(self.inventory.stage(first, last, len(self.layers))):
                if id(group) not in known:
                    known[id(group)] = sum(
                        weight.rank_bytes(tensor, self.element_bytes, self.quantization) for weight in group
                    )
                total += known[id(group)] * (self.layer_scale if number < last - first else 1.0)
            self._sums[key] = round(total)
        return self._sums[key]


def read_model(
    config: Mapping[str, Any],
    index: Mapping[str, Any] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    *,
    tokenizer_config: Mapping[str, Any] | None = None,
    hf_quant_config: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """Read a model. `index` is the content of model.safetensors.index.json; `files` are {name, size}.

    Raises Refused when nothing says how many layers there are: then no stage can be planned.
    """
    raw_text = text_part(config)
    top = Fields(config)
    model_type = Fields(raw_text).text("model_type") or top.text("model_type")
    text = Fields({**DEFAULTS.get(model_type, {}), **raw_text, **_nested_sizes(model_type, raw_text)})
    architecture = next(iter(top.strings("architectures")), "")
    checkpoint = read_checkpoint(index, files)
    count = _layer_count(text, checkpoint)
    family = FAMILIES.get(model_type, UNKNOWN)
    quantization = read_quantization(config, raw_text, hf_quant_config)
    layers, unknown_types = read_layers(text, model_type, count)
    tied = _tied(top, text, family.tied, checkpoint)
    builder = Builder(text, model_type, family, quantization)
    attentive = [layer for layer in layers if layer.attention not in ("linear", "mamba", "none")]
    heads = text.size("num_attention_heads", "n_head", "n_heads", "num_heads")
    facts = ModelFacts(
        architecture=architecture,
        model_type=model_type,
        certain=True,
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
        max_length=_max_length(top, text, tokenizer_config),
        supports_pipeline=supports_pipeline(architecture),
        remote_code=bool(as_mapping(config.get("auto_map"))),
        checkpoint_bytes=checkpoint.total_bytes,
        checkpoint_source=checkpoint.source,
        kv_known=bool(builder.hidden and heads) and all(layer.kv_heads and layer.head_dim for layer in attentive),
        inventory=builder.inventory(config, layers, tied),
        mamba_groups=text.size("n_groups") if any(layer.attention == "mamba" for layer in layers) else 0,
        latent_copies=latent_copies(text, model_type),
        recurrent_element=2 if "16" in text.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype") else 4,
    )
    reasons = _doubts(config, text, model_type, quantization, unknown_types)
    return _weighed(facts, _stored_element(top, text), reasons)


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model."""
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        nested = as_mapping(config.get(name))
        if nested:
            return text_part(nested)
    return config


def _nested_sizes(model_type: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Dbrx keeps the sizes of attention and experts in objects of their own."""
    if model_type != "dbrx":
        return {}
    attention, experts = Fields(as_mapping(raw.get("attn_config"))), Fields(as_mapping(raw.get("ffn_config")))
    return {
        "num_key_value_heads": attention.size("kv_n_heads"),
        "num_experts": experts.size("moe_num_experts"),
        "moe_intermediate_size": experts.size("ffn_hidden_size"),
    }


def _layer_count(text: Fields, checkpoint: Checkpoint) -> int:
    count = text.size("num_hidden_layers", "n_layer", "num_layers", "n_layers") or len(
        text.text("hybrid_override_pattern")
    )
    if not count and checkpoint.layers:
        count = max(1, checkpoint.layers - (text.integer("num_nextn_predict_layers") or 0))
    if not 0 < count <= MOST_LAYERS:
        raise Refused(
            [
                Fault(
                    "layers_unknown",
                    "config.json num_hidden_layers",
                    repr(text.raw.get("num_hidden_layers"))[:60],
                    f"a number from 1 to {MOST_LAYERS}",
                    "give the configuration of a decoder model; without its layers no pipeline stage can be planned",
                )
            ]
        )
    return count


def _tied(top: Fields, text: Fields, default: bool, checkpoint: Checkpoint) -> bool:
    given = top.optional_flag("tie_word_embeddings")
    if given is None:
        given = text.optional_flag("tie_word_embeddings")
    if given is None:
        # Only where neither says, the checkpoint does: a tied one has no head.
        return default if checkpoint.has_head is None else not checkpoint.has_head
    return given


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


_LENGTH_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# RoPE types whose stated length is already the scaled one (vllm/config/model.py, _get_and_verify_max_len).
_SCALED_ROPES = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")


def _max_length(top: Fields, text: Fields, tokenizer_config: Mapping[str, Any] | None) -> int | None:
    lengths = [length for name in _LENGTH_NAMES if (length := text.size(name))]
    longest = text.size("model_max_length") or (min(lengths) if lengths else 0)
    of_tokenizer = Fields(as_mapping(tokenizer_config)).size("model_max_length")
    if of_tokenizer:
        longest = min(longest, of_tokenizer) if longest else of_tokenizer
    if not longest:
        return None
    rope = text.mapping("rope_scaling", "rope_parameters")
    kind = Fields(rope).text("rope_type", "type")
    factor = rope.get("factor")
    if kind == "longrope":
        # vLLM serves the original length unless told otherwise.
        return (
            Fields(rope).size("original_max_position_embeddings")
            or text.size("original_max_position_embeddings")
            or longest
        )
    usable = isinstance(factor, (int, float)) and not isinstance(factor, bool) and 1 < factor < 1024
    if usable and kind not in _SCALED_ROPES and "gemma3" not in (top.text("model_type") or text.text("model_type")):
        return int(longest * float(rope["factor"]))
    return longest


def _doubts(
    config: Mapping[str, Any],
    text: Fields,
    model_type: str,
    quantization: Quantization | None,
    unknown_types: Sequence[str],
) -> list[Fault]:
    faults = []
    if model_type not in FAMILIES:
        faults.append(
            Fault(
                "model_type_unknown",
                "config.json model_type",
                f"{model_type or 'nothing'}, which the planner does not know",
                "a known family",
                "its memory is estimated from the files' sizes and the usual fields; leave a margin",
            )
        )
    strange = [name for name in _STRANGE_FIELDS if text.raw.get(name) or config.get(name)]
    if unknown_types or (strange and model_type in FAMILIES):
        faults.append(
            Fault(
                "layers_uncertain",
                "config.json " + ("layer_types" if unknown_types else strange[0]),
                ", ".join(unknown_types) or "a field the planner does not know",
                "",
                "these layers are planned with full attention, which needs the most memory",
            )
        )
    if quantization is not None and not quantization.weight_bits:
        faults.append(
            Fault(
                "quantization_uncertain",
                "config.json quantization_config",
                f"{quantization.method}, whose bytes per weight the planner cannot tell",
                "",
                "the weights' size is taken from the files; leave a margin",
            )
        )
    return faults


def _weighed(facts: ModelFacts, stored_element: int, doubts: list[Fault]) -> ModelFacts:
    """Compare what was computed with what the checkpoint states, and go by the latter where they differ."""
    inventory = facts.inventory
    total, extra = (
        sum(weight.stored_bytes(stored_element, facts.quantization) for weight in weights)
        for weights in (inventory.stored(), inventory.extra)
    )
    warnings = list(doubts)
    architecture_gone = REMOVED.get(facts.architecture)
    if architecture_gone:
        warnings.append(
            Fault(
                "architecture_removed",
                "config.json architectures",
                f"{facts.architecture}, which vLLM had until {architecture_gone}",
                "",
                f"name an image with vLLM {architecture_gone} in recipe_image_uri",
            )
        )
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
