# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is known of model families: what their config.json does not say and vLLM's code decides.

Read in vLLM 0.32 (vllm/model_executor/models) and in the configuration classes of Transformers 5.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How the decoder of one model_type is built, where it differs from Llama's.

    gated                  the feed-forward has three matrices (gate, up, down), not two
    tied                   embedding and head share their weights when the configuration does not say
    embedding_everywhere   vLLM builds the embedding on every pipeline stage, not only where it is used
    head_everywhere        the same for the head
    qkv_bias, output_bias  biases of the attention when the configuration does not say
    mlp_bias               biases of the feed-forward when the configuration does not say
    norms                  vectors of hidden size in a layer
    head_norms             "head": q and k are normed per head; "full": over all heads; "" otherwise
    output_gate            the query projection is twice as wide
    shared_gate            a shared expert has a gate of its own
    router_bias            the router has a bias per expert
    router_wide            vLLM keeps the router in 32 bits
    expert_bias            the experts' matrices have biases
    experts_at             where the checkpoint keeps a layer's feed-forward
    """

    gated: bool = True
    tied: bool = False
    embedding_everywhere: bool = False
    head_everywhere: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    head_norms: str = ""
    output_gate: bool = False
    shared_gate: bool = False
    router_bias: bool = False
    router_wide: bool = False
    expert_bias: bool = False
    experts_at: str = "mlp"


_LLAMA = Family()
# What is assumed of a family that is not known: the most memory.
UNKNOWN = Family(embedding_everywhere=True, head_everywhere=True)
_EVERYWHERE = Family(embedding_everywhere=True, head_everywhere=True)
_DEEPSEEK = Family(router_bias=True)
_QWEN3_MOE = Family(embedding_everywhere=True, head_everywhere=True, head_norms="head")
_QWEN3_5 = Family(embedding_everywhere=True, head_norms="head", output_gate=True, shared_gate=True)

# By model_type of the text part.
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "ministral",
            "ministral3",
            "internlm3",
            "solar",
            "granite",
            "phi3",
            "nanbeige",
            "cwm",
            "nemotron-nas",
        ),
        _LLAMA,
    ),
    "arcee": Family(gated=False),
    "apertus": Family(gated=False, head_norms="head"),
    "nemotron": Family(gated=False),
    "seed_oss": Family(qkv_bias=True),
    "smollm3": Family(tied=True),
    "olmo2": Family(head_norms="full"),
    "olmo3": Family(head_norms="full"),
    "exaone4": Family(head_norms="head"),
    "glm": Family(qkv_bias=True),
    "glm4": Family(qkv_bias=True, norms=4),
    "glm4v_text": Family(qkv_bias=True, norms=4),
    "hunyuan_v1_dense": Family(head_norms="head"),
    "ernie4_5": Family(tied=True),
    "minicpm": Family(tied=True, embedding_everywhere=True, head_everywhere=True),
    "starcoder2": Family(gated=False, tied=True, qkv_bias=True, output_bias=True, mlp_bias=True, norms=4),
    "stablelm": Family(embedding_everywhere=True, head_everywhere=True, norms=4),
    "cohere": Family(tied=True, embedding_everywhere=True, norms=1),
    "cohere2": Family(tied=True, embedding_everywhere=True, norms=1),
    "falcon": Family(gated=False, tied=True, embedding_everywhere=True, head_everywhere=True, norms=4),
    "gemma": Family(tied=True, embedding_everywhere=True, head_everywhere=True),
    "gemma2": Family(tied=True, embedding_everywhere=True, norms=4),
    "gemma3": Family(tied=True, embedding_everywhere=True, norms=4, head_norms="head"),
    "gemma3_text": Family(tied=True, embedding_everywhere=True, norms=4, head_norms="head"),
    "gemma4": Family(tied=True, embedding_everywhere=True, norms=4, head_norms="head"),
    "gemma4_text": Family(tied=True, embedding_everywhere=True, norms=4, head_norms="head"),
    "qwen2": Family(qkv_bias=True),
    "qwen2_vl": Family(qkv_bias=True),
    "qwen2_vl_text": Family(qkv_bias=True),
    "qwen2_5_vl": Family(qkv_bias=True),
    "qwen2_5_vl_text": Family(qkv_bias=True),
    "qwen3": Family(head_norms="head"),
    "qwen3_vl_text": Family(head_norms="head"),
    "mixtral": Family(embedding_everywhere=True, head_everywhere=True, experts_at="block_sparse_moe"),
    "qwen2_moe": Family(embedding_everywhere=True, head_everywhere=True, qkv_bias=True, shared_gate=True),
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "qwen3_next": Family(True, False, True, True, head_norms="head", output_gate=True, shared_gate=True),
    "qwen3_5": _QWEN3_5,
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5,
    "olmoe": Family(embedding_everywhere=True, head_everywhere=True, head_norms="full"),
    "phimoe": Family(True, False, True, True, qkv_bias=True, output_bias=True, norms=4, experts_at="block_sparse_moe"),
    "granitemoe": _EVERYWHERE,
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "glm_moe_dsa": _DEEPSEEK,
    "glm4_moe_lite": Family(router_bias=True, router_wide=True),
    "bailing_moe": Family(head_norms="head", router_bias=True),
    "bailing_moe_v2": Family(head_norms="head", router_bias=True),
    "hy_v3": Family(True, False, True, True, head_norms="head", router_bias=True, router_wide=True),
    "hunyuan_v1_moe": Family(head_norms="head"),
    "dbrx": _EVERYWHERE,
    "mimo": Family(qkv_bias=True),
    "mimo_v2_flash": Family(router_bias=True),
    "gpt_neox": Family(gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norms=4),
    "glm4_moe": Family(router_bias=True, router_wide=True),
    "glm4v_moe_text": Family(router_bias=True, router_wide=True),
    "ernie4_5_moe": Family(tied=True, router_bias=True),
    "minimax_m2": Family(head_norms="full", router_bias=True, router_wide=True, experts_at="block_sparse_moe"),
    "llama4_text": Family(experts_at="feed_forward"),
    "gpt_oss": Family(
        embedding_everywhere=True,
        head_everywhere=True,
        qkv_bias=True,
        output_bias=True,
        router_bias=True,
        expert_bias=True,
    ),
    "nemotron_h": Family(gated=False, embedding_everywhere=True, head_everywhere=True, norms=1, router_bias=True),
}

# model_type of models whose attention vLLM runs as MLA when kv_lora_rank is given
# (vllm/transformers_utils/model_arch_config_convertor.py, is_deepseek_mla).
MLA_TYPES = frozenset(
    (
        "axk1",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "glm_moe_dsa",
        "glm4_moe_lite",
        "kimi_k2",
        "kimi_linear",
        "longcat_flash",
        "pangu_ultra_moe",
        "bailing_hybrid",
    )
)

# Classes of vLLM's registry, and the families (model_type of the text part) that each is built for: a class decides what
# is built, so the same model_type with another class is not known. "*": any known family.
_CLASSES = """
ApertusForCausalLM apertus; ArceeForCausalLM arcee; BailingMoeForCausalLM bailing_moe
BailingMoeV2ForCausalLM bailing_moe bailing_moe_v2
CohereForCausalLM cohere; Cohere2ForCausalLM cohere2; CwmForCausalLM cwm
DbrxForCausalLM dbrx; DeciLMForCausalLM nemotron-nas; DeepseekV2ForCausalLM deepseek_v2
DeepseekV3ForCausalLM deepseek_v3 kimi_k2; DeepseekV32ForCausalLM deepseek_v32; Ernie4_5ForCausalLM ernie4_5
Ernie4_5_MoeForCausalLM ernie4_5_moe; Exaone4ForCausalLM exaone4; FalconForCausalLM falcon; GPTNeoXForCausalLM gpt_neox
GemmaForCausalLM gemma; Gemma2ForCausalLM gemma2; Gemma3ForCausalLM gemma3 gemma3_text
Gemma4ForCausalLM gemma4 gemma4_text; GlmForCausalLM glm; Glm4ForCausalLM glm4; Glm4MoeForCausalLM glm4_moe
Glm4MoeLiteForCausalLM glm4_moe_lite; GlmMoeDsaForCausalLM glm_moe_dsa; GptOssForCausalLM gpt_oss
GraniteForCausalLM granite; GraniteMoeForCausalLM granitemoe; HYV3ForCausalLM hy_v3
HunYuanDenseV1ForCausalLM hunyuan_v1_dense; HunYuanMoEV1ForCausalLM hunyuan_v1_moe; InternLM3ForCausalLM internlm3
LlamaForCausalLM llama; Llama4ForCausalLM llama4_text; MiMoForCausalLM mimo; MiMoV2FlashForCausalLM mimo_v2_flash
MiniCPMForCausalLM minicpm; MiniMaxM2ForCausalLM minimax_m2; MistralForCausalLM mistral ministral
MistralLarge3ForCausalLM deepseek_v3
Ministral3ForCausalLM ministral3; MixtralForCausalLM mixtral; NanbeigeForCausalLM nanbeige; NemotronForCausalLM nemotron
NemotronHForCausalLM nemotron_h; Olmo2ForCausalLM olmo2; Olmo3ForCausalLM olmo3; OlmoeForCausalLM olmoe
Phi3ForCausalLM phi3; PhiMoEForCausalLM phimoe; Qwen2ForCausalLM qwen2; Qwen2MoeForCausalLM qwen2_moe
Qwen3ForCausalLM qwen3; Qwen3MoeForCausalLM qwen3_moe; Qwen3NextForCausalLM qwen3_next
Qwen3_5ForCausalLM qwen3_5 qwen3_5_text; Qwen3_5MoeForCausalLM qwen3_5_moe_text; SeedOssForCausalLM seed_oss
SmolLM3ForCausalLM smollm3; SolarForCausalLM solar; StableLmForCausalLM stablelm; Starcoder2ForCausalLM starcoder2
"""
CLASSES: dict[str, frozenset[str]] = {
    words[0]: frozenset(words[1:]) for entry in _CLASSES.replace("\n", ";").split(";") if (words := entry.split())
}


@dataclass(frozen=True)
class Tower:
    """The vision tower of a class.

    split      vLLM cuts its attention and feed-forward over the GPUs
    falls_back where its heads do not divide, each GPU gets all of it (vllm/model_executor/models/vision.py,
               is_vit_use_data_parallel); else vLLM refuses
    """

    split: bool = True
    falls_back: bool = False


# Towers that were compared with what vLLM builds. Every other one is kept whole on each GPU by the plan, which then is
# uncertain.
TOWERS: dict[str, Tower] = {
    **dict.fromkeys(
        (
            "Gemma3ForConditionalGeneration",
            "Llama4ForConditionalGeneration",
            "LlavaForConditionalGeneration",
            "LlavaNextForConditionalGeneration",
            "Mistral3ForConditionalGeneration",
            "PaliGemmaForConditionalGeneration",
            "Glm4vForConditionalGeneration",
            "Glm4vMoeForConditionalGeneration",
            "Qwen2VLForConditionalGeneration",
            "Qwen2_5_VLForConditionalGeneration",
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLMoeForConditionalGeneration",
            "Qwen3_5ForConditionalGeneration",
            "Qwen3_5MoeForConditionalGeneration",
        ),
        Tower(),
    ),
    "Gemma4ForConditionalGeneration": Tower(split=False),
    "KimiK25ForConditionalGeneration": Tower(falls_back=True),
}
