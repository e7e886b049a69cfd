# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What vLLM's environment variables mean for a plan, where they change what it counts. Every other is harmless.

Those that the pods' programs set, and those that switch a protection off, have rules of their own (recipe/rules).

Read in vLLM 0.12 to 0.33 (vllm/envs.py and where it is used).
"""

from __future__ import annotations

_PLACEMENT = "which GPU of which node a rank gets follows from the plan"
# Variable -> why it is refused.
REFUSED = {
    "VLLM_RAY_BUNDLE_INDICES": _PLACEMENT,
    "VLLM_RAY_PER_WORKER_GPUS": _PLACEMENT,
    "VLLM_RAY_DP_PACK_STRATEGY": "one engine takes all nodes",
    "VLLM_RAY_DP_PLACEMENT_NODE_IPS": "one engine takes all nodes",
    "VLLM_DP_RANK": "one engine takes all nodes",
    "VLLM_DP_RANK_LOCAL": "one engine takes all nodes",
    "VLLM_DP_SIZE": "one engine takes all nodes",
    "VLLM_DP_MASTER_IP": "one engine takes all nodes",
    "VLLM_DP_MASTER_PORT": "one engine takes all nodes",
    "VLLM_LOOPBACK_IP": "each pod has an address of its own",
    "VLLM_MLA_DISABLE": "without MLA the cache of such a model is many times what the plan assumes",
    "VLLM_TEST_FORCE_LOAD_FORMAT": "--load-format says which files are read",
    "VLLM_MODEL_REDIRECT_PATH": "the engine reads the files that were staged",
    "VLLM_USE_MODELSCOPE": "the files are staged before vLLM starts",
    "VLLM_TARGET_DEVICE": "the engine runs on NVIDIA's GPUs",
    "VLLM_ELASTIC_EP_SCALE_UP_LAUNCH": "it scales data parallel ranks, and there is one",
}
# Variables that the plan counts with.
RECKONED = frozenset(("VLLM_PP_LAYER_PARTITION", "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_USE_RAY_V2_EXECUTOR_BACKEND"))
_CACHE = "the plan's cache assumes vLLM's own choice"
_KERNELS = "another kernel may keep weights or cache otherwise than the plan assumes"
# Variable -> the effect that the plan does not know of.
NOT_RECKONED = {
    "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE": _CACHE,
    "VLLM_KV_CACHE_LAYOUT": _CACHE,
    "VLLM_SSM_CONV_STATE_LAYOUT": _CACHE,
    "VLLM_ATTENTION_BACKEND": _KERNELS,
    "VLLM_MARLIN_INPUT_DTYPE": _KERNELS,
    "VLLM_MXFP4_EMULATION_DEQUANT_AT_LOAD": "weights that are unpacked when they are loaded take more memory",
    "VLLM_MXFP8_EMULATION_DEQUANT_AT_LOAD": "weights that are unpacked when they are loaded take more memory",
    "VLLM_HUMMING_ONLINE_QUANT_CONFIG": "the plan's weights follow the model's config",
    "VLLM_REPLICATE_EMBED": "an embedding on each GPU takes memory that the plan does not count",
    "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS": "the plan's memory assumes vLLM's default",
    "VLLM_FUSED_MOE_CHUNK_SIZE": "the plan's peak assumes vLLM's default",
    "VLLM_ENABLE_FUSED_MOE_ACTIVATION_CHUNKING": "the plan's peak assumes vLLM's default",
    "VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE": "the plan's peak assumes vLLM's default",
    "VLLM_SPARSE_INDEXER_MAX_LOGITS_MB": "the plan's peak assumes vLLM's default",
    "VLLM_DEEPEP_BUFFER_SIZE_MB": "the plan's peak assumes vLLM's default",
    "VLLM_USE_NCCL_SYMM_MEM": "NCCL's memory assumes vLLM's default",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "NCCL's memory assumes vLLM's default",
    "VLLM_USE_V2_MODEL_RUNNER": "the plan assumes vLLM's own choice of the model runner",
    "VLLM_USE_RAY_COMPILED_DAG_CHANNEL_TYPE": "the group is tried with vLLM's default",
    "VLLM_USE_RAY_COMPILED_DAG_OVERLAP_COMM": "the group is tried with vLLM's default",
    "VLLM_USE_RAY_WRAPPED_PP_COMM": "the group is tried with vLLM's default",
    "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "a dead engine that keeps answering delays the restart of the group",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "the group is tried with vLLM's default",
}
