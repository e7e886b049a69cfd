# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a configuration means where it leaves a field out: the defaults of Transformers 5's configuration classes.

Repositories of models with a vision tower often write only the fields of `text_config` that differ from these. A field
that is there and null keeps its null.
"""

from __future__ import annotations

# By model_type of the whole: embeddings are tied where it does not say, whatever its text part says.
TIED_AT_TOP = frozenset(("gemma3", "gemma4", "mistral3", "paligemma"))

_BASIC = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "sliding_window",
)


def _defaults(basic: tuple[int, ...], **further: int) -> dict[str, int]:
    """The basic fields in order, 0 for those without a default, and the further ones of the family."""
    given = {name: value for name, value in zip(_BASIC, basic, strict=True) if value}
    return {**given, **further}


_DEEPSEEK = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
_DELTA_NET = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
_SPARSE = {"index_topk": 2048, "index_head_dim": 128}

# A configuration may have the fields of its text part at the top.
_QWEN2_VL = _defaults((152064, 8192, 29568, 80, 64, 8, 0, 32768, 0), use_sliding_window=False)

# By model_type of the text part.
DEFAULTS: dict[str, dict[str, int]] = {
    "llama": _defaults((32000, 4096, 11008, 32, 32, 0, 0, 2048, 0)),
    "mistral": _defaults((32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096)),
    "ministral3": _defaults((131072, 4096, 14336, 34, 32, 8, 128, 262144, 0)),
    "gemma": _defaults((256000, 3072, 24576, 28, 16, 16, 256, 8192, 0)),
    "gemma2": _defaults((256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096)),
    "gemma3_text": _defaults((262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096)),
    "qwen2": _defaults((151936, 4096, 22016, 32, 32, 32, 0, 32768, 0), use_sliding_window=False),
    **dict.fromkeys(("qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"), _QWEN2_VL),
    "qwen2_moe": _defaults(
        (151936, 2048, 5632, 24, 16, 16, 0, 32768, 0),
        use_sliding_window=False,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        num_experts=60,
    ),
    "qwen3": _defaults((151936, 4096, 22016, 32, 32, 32, 128, 32768, 0), use_sliding_window=False),
    "qwen3_vl_text": _defaults((151936, 4096, 22016, 32, 32, 32, 128, 128000, 0)),
    "qwen3_moe": _defaults(
        (151936, 2048, 6144, 24, 32, 4, 0, 32768, 0),
        use_sliding_window=False,
        moe_intermediate_size=768,
        num_experts=128,
    ),
    "qwen3_vl_moe_text": _defaults(
        (151936, 2048, 5632, 24, 16, 16, 0, 128000, 0), moe_intermediate_size=1408, num_experts=60
    ),
    "qwen3_next": _defaults(
        (151936, 2048, 5632, 48, 16, 2, 256, 32768, 0),
        moe_intermediate_size=512,
        shared_expert_intermediate_size=512,
        num_experts=512,
        **_DELTA_NET,
    ),
    "qwen3_5_text": _defaults((248320, 4096, 12288, 32, 16, 4, 256, 32768, 0), **_DELTA_NET),
    "qwen3_5_moe_text": _defaults(
        (248320, 2048, 0, 40, 16, 2, 256, 32768, 0),
        moe_intermediate_size=512,
        shared_expert_intermediate_size=512,
        num_experts=256,
        **_DELTA_NET,
    ),
    "mixtral": _defaults((32000, 4096, 14336, 32, 32, 8, 0, 131072, 0), num_local_experts=8),
    "glm4": _defaults((151552, 4096, 13696, 40, 32, 2, 128, 131072, 0)),
    "glm4v_text": _defaults((151552, 4096, 13696, 40, 32, 2, 0, 32768, 0)),
    "glm4_moe": _defaults(
        (151552, 4096, 10944, 46, 96, 8, 0, 131072, 0),
        n_routed_experts=128,
        n_shared_experts=1,
        moe_intermediate_size=1408,
        first_k_dense_replace=1,
    ),
    "glm4v_moe_text": _defaults(
        (151424, 4096, 10944, 46, 96, 8, 0, 65536, 0),
        n_routed_experts=128,
        n_shared_experts=1,
        moe_intermediate_size=1408,
        first_k_dense_replace=1,
    ),
    "glm4_moe_lite": _defaults(
        (154880, 2048, 10240, 47, 20, 20, 0, 202752, 0),
        n_routed_experts=64,
        n_shared_experts=1,
        moe_intermediate_size=1536,
        q_lora_rank=768,
        kv_lora_rank=512,
        qk_nope_head_dim=192,
        qk_rope_head_dim=64,
        v_head_dim=256,
    ),
    "glm_moe_dsa": _defaults(
        (154880, 6144, 12288, 78, 64, 64, 0, 202752, 0),
        n_routed_experts=256,
        n_shared_experts=1,
        moe_intermediate_size=2048,
        q_lora_rank=2048,
        kv_lora_rank=512,
        qk_nope_head_dim=192,
        qk_rope_head_dim=64,
        v_head_dim=256,
        first_k_dense_replace=3,
        index_n_heads=32,
        **_SPARSE,
    ),
    "deepseek_v2": _defaults(
        (102400, 4096, 11008, 32, 32, 0, 0, 2048, 0),
        n_routed_experts=64,
        n_shared_experts=2,
        moe_intermediate_size=1407,
        first_k_dense_replace=0,
        **_DEEPSEEK,
    ),
    "deepseek_v3": _defaults(
        (129280, 7168, 18432, 61, 128, 128, 0, 4096, 0),
        n_routed_experts=256,
        n_shared_experts=1,
        moe_intermediate_size=2048,
        first_k_dense_replace=3,
        **_DEEPSEEK,
    ),
    "kimi_k2": _defaults(
        (129280, 7168, 18432, 61, 128, 128, 0, 4096, 0),
        n_routed_experts=256,
        n_shared_experts=1,
        moe_intermediate_size=2048,
        first_k_dense_replace=3,
        **_DEEPSEEK,
    ),
    "deepseek_v32": _defaults(
        (129280, 7168, 18432, 61, 128, 128, 0, 163840, 0),
        n_routed_experts=256,
        n_shared_experts=1,
        moe_intermediate_size=2048,
        first_k_dense_replace=3,
        index_n_heads=64,
        **_DEEPSEEK,
        **_SPARSE,
    ),
    "llama4_text": _defaults(
        (202048, 5120, 8192, 48, 40, 8, 128, 131072, 0),
        intermediate_size_mlp=16384,
        attention_chunk_size=8192,
        interleave_moe_layer_step=1,
        num_local_experts=16,
    ),
    "gpt_oss": _defaults((201088, 2880, 2880, 36, 64, 8, 64, 131072, 128), num_local_experts=128),
    "minimax_m2": _defaults((200064, 3072, 1536, 62, 48, 8, 128, 196608, 0), num_local_experts=256),
    "nemotron_h": _defaults(
        (131072, 4096, 21504, 0, 32, 8, 128, 4096, 0),
        n_routed_experts=8,
        n_shared_experts=1,
        moe_intermediate_size=7688,
        n_groups=8,
        conv_kernel=4,
        mamba_num_heads=128,
        mamba_head_dim=64,
        ssm_state_size=128,
    ),
}

# Fields without which a configuration of a family that has no defaults above is not certain: what its class takes for them is
# not known here.
_ALWAYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_WITH_KEYS = (*_ALWAYS, "num_key_value_heads")
# By model_type; what those have under names of their own is not asked for. Of some classes vLLM reads a field that is not
# among the defaults (glm4_moe.py, glm4_moe_lite.py).
_NEEDED: dict[str, tuple[str, ...]] = {
    "bailing_moe": (*_WITH_KEYS, "num_experts", "moe_intermediate_size", "num_shared_experts"),
    "bailing_moe_v2": (
        *_WITH_KEYS,
        "num_experts",
        "moe_intermediate_size",
        "num_shared_experts",
        "first_k_dense_replace",
    ),
    **dict.fromkeys(("ernie4_5", "glm", "seed_oss"), (*_WITH_KEYS, "head_dim")),
    **dict.fromkeys(("cwm", "exaone4", "ministral", "olmo3"), (*_WITH_KEYS, "sliding_window")),
    "cohere2": (*_WITH_KEYS, "head_dim", "sliding_window"),
    "dbrx": ("vocab_size", "d_model", "n_heads", "n_layers"),
    "ernie4_5_moe": (
        *_WITH_KEYS,
        "moe_num_experts",
        "moe_intermediate_size",
        "moe_num_shared_experts",
        "moe_layer_start_index",
    ),
    "falcon": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    "gemma3": (),
    **dict.fromkeys(("gemma4", "gemma4_text"), (*_WITH_KEYS, "head_dim", "global_head_dim", "sliding_window")),
    "glm4_moe": ("head_dim",),
    "glm4v_moe_text": ("head_dim", "use_qk_norm"),
    "glm4_moe_lite": ("first_k_dense_replace",),
    "gpt_neox": _ALWAYS,
    "granitemoe": (*_WITH_KEYS, "num_local_experts"),
    "hunyuan_v1_dense": (*_WITH_KEYS, "head_dim"),
    "hunyuan_v1_moe": (*_WITH_KEYS, "head_dim", "num_experts"),
    "hy_v3": (*_WITH_KEYS, "head_dim", "num_experts", "num_shared_experts"),
    "mimo_v2_flash": (*_WITH_KEYS, "n_routed_experts", "moe_intermediate_size", "head_dim", "v_head_dim"),
    "olmoe": (*_WITH_KEYS, "num_experts"),
    "phimoe": (*_WITH_KEYS, "num_local_experts"),
    "qwen3_5": (),
}


def needed(model_type: str) -> tuple[str, ...]:
    """Return the fields that a configuration of this known family has to have for its plan to be certain."""
    return _NEEDED.get(model_type, () if model_type in DEFAULTS else _WITH_KEYS)
