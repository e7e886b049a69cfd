# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of vLLM's settings affects the memory and the division of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryOptions:
    """vLLM's settings; None means vLLM's default for the GPU.

    dtype             --dtype
    allow_long        a context beyond the model's own is accepted (VLLM_ALLOW_LONG_MAX_MODEL_LEN)
    kv_cache_bytes    --kv-cache-memory-bytes: what the cache has, whatever is left
    cpu_offload_gib   --cpu-offload-gb: weights of each GPU that lie in the node's memory
    expert_parallel   --enable-expert-parallel: experts are dealt out whole
    encoder_whole     --mm-encoder-tp-mode data: each GPU has the whole vision tower
    eager             --enforce-eager: no CUDA graphs
    overhead_gib      what one GPU needs beside weights and cache, where somebody has measured it
    gpu_memory_gib    memory of one GPU, for shapes of which it is not known
    layers            the layers of each stage, where a person asks for them (VLLM_PP_LAYER_PARTITION)
    draft_layers      layers of the model's own drafter, which the last stage holds
    draft_states      hidden states that a drafter made for the model projects (EAGLE); 0 without one
    """

    gpu_memory_utilization: float = 0.92
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    allow_long: bool = False
    block_size: int = 16
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    kv_cache_bytes: int | None = None
    cpu_offload_gib: float = 0.0
    expert_parallel: bool = False
    encoder_whole: bool = False
    eager: bool = False
    overhead_gib: float | None = None
    gpu_memory_gib: float | None = None
    layers: tuple[int, ...] = ()
    draft_layers: int = 0
    draft_states: int = 0

    @property
    def element_bytes(self) -> int:
        """Bytes of one unquantized weight as served."""
        return 4 if self.dtype in ("float32", "float") else 2
