# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each decoder layer is: its attention with what it keeps per token or per request, and its feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..catalog.families import MLA_TYPES
from .config_fields import Fields, as_integer, as_mapping

# More layers than any model has: a configuration that says so is broken.
MOST_LAYERS = 2048

# layer_types of Transformers, and what they are here.
_LAYER_TYPES = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    # DeepSeek's sparse attention keeps all tokens; which it reads is the indexer's matter.
    "deepseek_sparse_attention": "full",
}
# 512 values in 8 bits, four scales, and 64 values of the rotary part in 16 bits (vllm/v1/attention/backends/mla).
_PACKED_LATENT = 656
# Older vLLM builds an index on every layer (read in 0.12 and 0.26).
_SHARES_INDEX_SINCE = (0, 26)
# Blocks of Nemotron-H by the names of Transformers and of the publisher: (attention, feed-forward).
_NEMOTRON_H_BLOCKS = {
    "mamba": ("mamba", "none"),
    "linear_attention": ("mamba", "none"),
    "attention": ("full", "none"),
    "full_attention": ("full", "none"),
    "mlp": ("none", "dense"),
    "moe": ("none", "experts"),
}
# Every n-th layer sees everything, the others a window (defaults of Transformers' configuration classes).
_WINDOW_PATTERNS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3_text": 6,
    "gemma4": 6,
    "gemma4_text": 6,
    "gpt_oss": 2,
    "cohere2": 4,
    "olmo3": 4,
    "exaone4": 4,
}
# Families whose classes give each layer a window of its own (vllm/model_executor/models, per_layer_sliding_window); of others all
# layers have the window, or none where layers differ (vllm/engine/arg_utils.py).
_WINDOW_BY_LAYER = (
    *_WINDOW_PATTERNS,
    *("llama", "mistral", "ministral3", "phi3", "arcee", "apertus", "granite", "granitemoe", "smollm3", "minimax_m2"),
)
# Those that are refused where layers differ, but for one value of a field that bears on nothing else (qwen2.py).
_WINDOW_FOR_ALL = ("qwen2", "qwen3")
# Since then a window of Cohere's counts the token itself on top (commandr.py; read in 0.29, not there in 0.26).
_COHERE_SEES_ITSELF_SINCE = (0, 27)
# Default of Transformers' Llama4TextConfig: every fourth layer has no rotary embedding and sees everything.
_LLAMA4_FULL_INTERVAL = 4


# Names of what a mamba layer is divided by (vllm/model_executor/layers/mamba/mamba_mixer2.py).
_MAMBA_HEADS = ("mamba_num_heads", "mamba_n_heads", "n_mamba_heads")
_MAMBA_GROUPS = ("n_groups", "mamba_n_groups", "mamba_ngroups")

# Of a block of Nemotron-NAS: what the cache of other software needs.
_NAS_HARMLESS = (
    "num_sink_tokens",
    "unshifted_sink",
    "use_prefill_window_in_sink_attention",
    "window_length",
    "sparsify",
)


@dataclass(frozen=True)
class Layer:
    """One decoder layer.

    attention     "full", "sliding", "chunked", "mla", "linear", "mamba" or "none"
    window        tokens that a sliding or chunked layer keeps; 0 for the others
    kv_heads      key/value heads of the whole layer; 1 latent for mla; 0 where there is no attention
    head_dim      width of a key; the latent's for mla
    value_dim     width of a value; 0 for mla, which keeps one vector
    feed_forward  "dense", "experts" or "none"
    width         of its dense feed-forward where it has one of its own; 0: that of the model
    kv_shared     uses an earlier layer's cache
    state_values  values of the constant state of a linear or mamba layer: (convolution, recurrent)
    state_whole   of its convolution's state: values that are on every GPU, since one group is repeated
    state_heads   heads of a linear or mamba layer, which tensor parallelism must divide
    indexer_bytes bytes per token of a sparse layer's index, on every GPU
    sparse        sparse attention: which of the latents is read is chosen by an index, its own or an earlier layer's
    """

    index: int
    attention: str
    window: int
    kv_heads: int
    head_dim: int
    value_dim: int
    feed_forward: str
    width: int = 0
    kv_shared: bool = False
    state_values: tuple[int, int] = (0, 0)
    state_whole: int = 0
    state_heads: tuple[int, ...] = ()
    indexer_bytes: int = 0
    sparse: bool = False

    def kv_bytes_per_token(self, tensor: int, element: float, packed: bool = False) -> int:
        """Bytes of KV cache per token on one GPU (vllm/v1/kv_cache_interface.py).

        Heads are divided over the GPUs and repeated where there are more GPUs than heads; MLA's latent is on every GPU.
        packed: sparse MLA in 8 bits has a format of its own (fp8_ds_mla).
        """
        if self.kv_shared or not self.kv_heads:
            return 0
        if packed and self.sparse:
            return _PACKED_LATENT + self.indexer_bytes
        heads = 1 if self.attention == "mla" else max(1, self.kv_heads // tensor)
        return int(heads * (self.head_dim + self.value_dim) * element) + self.indexer_bytes

    def state_bytes(self, tensor: int, element: float, recurrent_element: int) -> int:
        """Bytes of the constant state of one request on one GPU (mamba_utils.py, MambaStateShapeCalculator)."""
        convolution, recurrent = self.state_values
        divided = -(-(convolution - self.state_whole) // tensor) + self.state_whole
        return int(divided * element) + -(-recurrent // tensor) * recurrent_element


def is_mla(text: Fields, model_type: str) -> bool:
    """Whether vLLM runs the model's attention as MLA."""
    return model_type in MLA_TYPES and text.size("kv_lora_rank") > 0


def layer_list(text: Fields, model_type: str) -> int:
    """The number of layers where the configuration lists them and the list decides; 0 where none does."""
    if model_type == "nemotron_h":
        # The list goes before num_hidden_layers, which may lack (Transformers, NemotronHConfig).
        return len(_blocks_of_nemotron_h(text))
    return 0


def _blocks_of_nemotron_h(text: Fields) -> list[str]:
    given = text.strings("layers_block_type") or text.strings("layer_types")
    if given:
        return list(given)
    letters = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
    return [letters.get(letter, letter) for letter in text.text("hybrid_override_pattern")]


def read_layers(
    text: Fields, model_type: str, count: int, known: bool, vllm: tuple[int, int]
) -> tuple[tuple[Layer, ...], list[str]]:
    """Return the layers, and the names of layer types that are not known here (taken as full attention).

    known: whether the planner knows the family; all layers of one that it does not know count as full attention.
    """
    heads = text.size("num_attention_heads", "n_head", "n_heads", "num_heads")
    hidden = text.size("hidden_size", "n_embd", "d_model")
    kv_heads = kv_head_count(text, heads, model_type)
    head_dim = text.size("head_dim", "attention_head_dim", "hidden_size_per_head") or (hidden // heads if heads else 0)
    value_dim = text.size("v_head_dim") or head_dim
    if is_mla(text, model_type):
        kv_heads, value_dim = 1, 0
        head_dim = text.size("kv_lora_rank") + (text.integer("qk_rope_head_dim") or 0)
    kinds, unknown = _attention_kinds(text, model_type, count) if known else (["full"] * count, [])
    if {"sliding", "full"} <= set(kinds) and not model_type.startswith(("mimo_v2", *_WINDOW_BY_LAYER)):
        kinds = ["full"] * count
        if model_type not in _WINDOW_FOR_ALL or text.integer("max_window_layers") != count:
            unknown = [*unknown, "layers with and without a window"]
    window = text.size("sliding_window", "attention_window_size")
    if window and model_type == "cohere2" and vllm >= _COHERE_SEES_ITSELF_SINCE:
        window += 1
    chunk = text.size("attention_chunk_size")
    shared_from = count - min(count, text.integer("num_kv_shared_layers") or 0)
    feed_forwards = _feed_forwards(text, model_type, count)
    indexer = _indexer_bytes(text)
    # Transformers' name for what first_k_dense_replace says; vLLM goes by the latter.
    types = text.strings("mlp_layer_types")
    if any(("sparse" in kind) != (built == "experts") for kind, built in zip(types, feed_forwards, strict=False)):
        unknown = [*unknown, "mlp_layer_types"]
    indexed = _indexed_layers(text, count, vllm) if indexer else []
    beside = _mamba_beside(text) if not known else ()
    blocks = _blocks_of_nemotron_nas(text, heads, hidden, unknown) if model_type == "nemotron-nas" else []
    layers = []
    for index, kind in enumerate(kinds):
        keys, dim, value = kv_heads, head_dim, value_dim
        width = 0
        if model_type.startswith("gemma4") and kind == "full":
            # Gemma 4's full layers have their own width and, where key and value are the same, their own heads.
            dim = value = text.size("global_head_dim") or head_dim
            if text.flag("attention_k_eq_v"):
                keys = text.size("num_global_key_value_heads") or kv_heads
        if model_type.startswith("mimo_v2") and kind == "sliding":
            # MiMo's windowed layers have heads and widths of their own (mimo_v2.py).
            keys = text.size("swa_num_key_value_heads") or kv_heads
            dim, value = text.size("swa_head_dim") or head_dim, text.size("swa_v_head_dim") or value_dim
        if index < len(blocks):
            kind, keys, width = blocks[index]
        if kind in ("linear", "mamba", "none"):
            keys = dim = value = 0
        layers.append(
            Layer(
                index=index,
                attention="mla" if kind == "full" and not value and keys else kind,
                window=chunk if kind == "chunked" else window if kind == "sliding" else 0,
                kv_heads=keys,
                head_dim=dim,
                value_dim=value,
                feed_forward="none" if index < len(blocks) and not width else feed_forwards[index],
                width=width,
                kv_shared=index >= shared_from,
                state_values=_state(text, kind),
                state_whole=_state_whole(text, kind),
                state_heads=_state_heads(text, kind) or beside,
                indexer_bytes=indexer if indexer and keys and indexed[index] else 0,
                sparse=bool(indexer and keys and kv_heads == 1 and not value_dim),
            )
        )
    return tuple(layers), unknown


def _blocks_of_nemotron_nas(text: Fields, heads: int, hidden: int, unknown: list[str]) -> list[tuple[str, int, int]]:
    """(attention, key/value heads, width) of each of block_configs (vllm/model_executor/models/nemotron_nas.py)."""
    blocks = []
    listed = text.value("block_configs")
    for entry in listed if isinstance(listed, (list, tuple)) else ():
        attention, feed_forward = (Fields(as_mapping(as_mapping(entry).get(part))) for part in ("attention", "ffn"))
        group = attention.size("n_heads_in_group")
        keys = 0 if attention.flag("no_op") else heads // group if group else heads
        multiple = feed_forward.value("ffn_mult")
        width = text.size("intermediate_size")
        if isinstance(multiple, (int, float)) and 0 < multiple < 1024:
            width = -(-int(2 * multiple * hidden / 3) // 256) * 256
        width = 0 if feed_forward.flag("no_op") else feed_forward.size("intermediate_size") or width
        for part in (attention, feed_forward):
            odd = [name for name in part.unread(_NAS_HARMLESS) if part.raw[name] is not False]
            unknown.extend(name for name in odd if name not in unknown)
        blocks.append(("full" if keys else "none", keys, width))
    return blocks


def kv_head_count(text: Fields, heads: int, model_type: str) -> int:
    """Key/value heads, from the names that vLLM knows; as many as attention heads when none is given."""
    if model_type == "falcon" and text.flag("multi_query") and not text.flag("new_decoder_architecture"):
        return 1
    names = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
    return text.size(*names) or heads


def _attention_kinds(text: Fields, model_type: str, count: int) -> tuple[list[str], list[str]]:
    if model_type == "nemotron_h":
        listed = _blocks_of_nemotron_h(text) or ["no layers_block_type"] * count
        strange = sorted({kind for kind in listed if kind not in _NEMOTRON_H_BLOCKS})
        return [_NEMOTRON_H_BLOCKS.get(kind, ("full", "none"))[0] for kind in listed[:count]], strange
    hybrid = text.integers("hybrid_layer_pattern")
    if model_type.startswith("mimo_v2") and len(hybrid) >= count:
        return ["sliding" if flag else "full" for flag in hybrid[:count]], []
    if model_type == "minimax_m2" and any(kind != 1 for kind in text.integers("attn_type_list")):
        # 0 was the linear attention of the publisher's earlier models.
        return ["full"] * count, ["attn_type_list"]
    if model_type == "llama4_text":
        return _by_rope(text, count), []
    every = text.size("full_attention_interval")
    given = text.strings("layer_types")
    if given and len(given) >= count:
        # Where both are given, the list decides.
        text.value("sliding_window_pattern")
        unknown = sorted({kind for kind in given[:count] if kind not in _LAYER_TYPES})
        return [_LAYER_TYPES.get(kind, "full") for kind in given[:count]], unknown
    interval = every or (4 if model_type.startswith(("qwen3_next", "qwen3_5")) else 0)
    if interval and text.size("linear_num_value_heads"):
        return ["full" if (index + 1) % interval == 0 else "linear" for index in range(count)], []
    if not text.size("sliding_window") or text.optional_flag("use_sliding_window") is False:
        return ["full"] * count, []
    pattern = text.value("sliding_window_pattern")
    if pattern is not None and not text.size("sliding_window_pattern"):
        return ["full"] * count, ["sliding_window_pattern"]
    every = text.size("sliding_window_pattern") or _WINDOW_PATTERNS.get(model_type, 0)
    if every:
        kinds_in_turn = ["full" if (index + 1) % every == 0 else "sliding" for index in range(count)]
        if model_type.startswith("gemma4"):
            kinds_in_turn[-1] = "full"
        return kinds_in_turn, []
    if text.optional_flag("use_sliding_window"):
        # Qwen: the first max_window_layers see everything.
        first = text.integer("max_window_layers") or 0
        return ["sliding" if index >= first else "full" for index in range(count)], []
    return ["sliding"] * count, []


def _by_rope(text: Fields, count: int) -> list[str]:
    """Llama 4: layers with a rotary embedding see a chunk, where there are chunks; layer_types says nothing (llama4.py)."""
    text.value("layer_types")
    rope, every = text.value("no_rope_layers"), text.size("no_rope_layer_interval") or _LLAMA4_FULL_INTERVAL
    if not text.size("attention_chunk_size"):
        return ["full"] * count
    if isinstance(rope, (list, tuple)) and len(rope) >= count:
        return ["chunked" if as_integer(item) else "full" for item in rope[:count]]
    return ["full" if (index + 1) % every == 0 else "chunked" for index in range(count)]


def _feed_forwards(text: Fields, model_type: str, count: int) -> list[str]:
    if model_type == "nemotron_h":
        return [_NEMOTRON_H_BLOCKS.get(kind, ("", "dense"))[1] for kind in _blocks_of_nemotron_h(text) or [""] * count]
    if not expert_count(text):
        return ["dense"] * count
    return ["experts" if _has_experts(text, model_type, index, count) else "dense" for index in range(count)]


def _has_experts(text: Fields, model_type: str, index: int, count: int) -> bool:
    if model_type == "llama4_text":
        # moe_layers is what Transformers makes of it, and vLLM does not read it (llama4.py).
        text.value("moe_layers")
        step = text.integer("interleave_moe_layer_step")
        step = 1 if step is None else step
        return step > 0 and (index + 1) % step == 0
    if index in text.integers("mlp_only_layers") or index < (text.integer("first_k_dense_replace") or 0):
        return False
    frequency = text.integers("moe_layer_freq")
    if frequency:
        return index < len(frequency) and frequency[index] == 1
    every = text.size("moe_layer_freq")
    if every and index % every:
        return False
    step = text.size("decoder_sparse_step")
    if step and (index + 1) % step:
        return False
    if text.has(("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval")):
        # Ernie 4.5 (ernie45_moe.py).
        last = text.value("moe_layer_end_index")
        last = count - 1 if as_integer(last) is None else as_integer(last) or 0
        first = text.integer("moe_layer_start_index") or 0
        return first <= index <= last and (index + 1) % (text.size("moe_layer_interval") or 1) == 0
    return True


def expert_count(text: Fields) -> int:
    """Routed experts of a layer, from the names that vLLM knows."""
    if text.optional_flag("enable_moe_block") is False:
        # Gemma 4 without experts.
        return 0
    return text.size("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")


def _state(text: Fields, kind: str) -> tuple[int, int]:
    if kind == "linear":
        keys = text.size("linear_num_key_heads") * text.size("linear_key_head_dim")
        value_heads, value_dim = text.size("linear_num_value_heads"), text.size("linear_value_head_dim")
        convolution = (2 * keys + value_heads * value_dim) * max(0, text.size("linear_conv_kernel_dim") - 1)
        return convolution, value_heads * value_dim * text.size("linear_key_head_dim")
    if kind == "mamba":
        heads, dim, state = text.size("mamba_num_heads"), text.size("mamba_head_dim"), text.size("ssm_state_size")
        width = heads * dim + 2 * text.size("n_groups", "mamba_n_groups") * state
        return width * max(0, text.size("conv_kernel", "mamba_d_conv") - 1), heads * dim * state
    return 0, 0


def _state_whole(text: Fields, kind: str) -> int:
    if kind != "mamba" or text.size(*_MAMBA_GROUPS) != 1:
        return 0
    return 2 * text.size("ssm_state_size") * max(0, text.size("conv_kernel", "mamba_d_conv") - 1)


def _state_heads(text: Fields, kind: str) -> tuple[int, ...]:
    names = {"linear": ("linear_num_key_heads", "linear_num_value_heads"), "mamba": ("mamba_num_heads",)}.get(kind, ())
    return tuple(count for name in names if (count := text.size(name)))


def _mamba_beside(text: Fields) -> tuple[int, ...]:
    """Heads of the mamba layers of a family that is not known, which has some where its list of layers does not say otherwise."""
    kinds = text.strings("layer_types") or text.strings("layers_block_type")
    heads = text.size(*_MAMBA_HEADS)
    return (heads,) if heads and (not kinds or {"mamba", "hybrid"} & set(kinds)) else ()


def mamba_groups(text: Fields, layers: Sequence[Layer]) -> int:
    """Groups of the mamba layers, 0 where there are none."""
    has = any(layer.attention == "mamba" or (layer.state_heads and layer.attention != "linear") for layer in layers)
    return text.size(*_MAMBA_GROUPS) if has else 0


def _indexer_bytes(text: Fields) -> int:
    # DeepSeek's sparse attention keeps a key of 8 bits per token, and four bytes of scale for 128 of them.
    if not text.size("index_topk"):
        return 0
    width = text.size("index_head_dim")
    return width + width // 128 * 4


def _indexed_layers(text: Fields, count: int, vllm: tuple[int, int]) -> list[bool]:
    """Which layers have an index of their own; the others use an earlier one's (vllm/models/deepseek_v32/attention.py)."""
    types = text.strings("indexer_types")
    pattern = text.text("index_topk_pattern") or "".join(text.strings("index_topk_pattern"))
    every, offset = text.size("index_topk_freq") or 1, text.integer("index_skip_topk_offset")
    offset = 2 if offset is None else offset
    if vllm < _SHARES_INDEX_SINCE:
        return [True] * count
    if pattern:
        return [index >= len(pattern) or pattern[index] != "S" for index in range(count)]
    if len(types) >= count and not text.has(("index_topk_freq",)):
        return [kind != "shared" for kind in types[:count]]
    return [max(index - offset + 1, 0) % every == 0 for index in range(count)]
