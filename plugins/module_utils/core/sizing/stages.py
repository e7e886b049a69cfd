# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What lies in the GPUs of each stage, and which context and how many requests that leaves room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..catalog.shapes import Shape
from ..fault import Fault
from ..model.facts import ModelFacts
from .kv_cache import CacheLayout, cache_layout
from .options import MemoryOptions
from .overhead import GIB, Overhead, batched_tokens, overhead_of, requests_at_once
from .parallelism import layers_per_stage

# Where nobody asks for a context, a plan that holds fewer tokens than this (or than the model's own length) is refused.
LEAST_CONTEXT = 8192
# A context that the plan chooses itself is a multiple of this where the model's own does not fit.
_CONTEXT_STEP = 1024
# vLLM's length for a model that states none (vllm/config/model.py).
DEFAULT_LENGTH = 2048
# Sparse MLA keeps 8 bits a value there where nobody asks for another type.
_SPARSE_IN_8_BITS = (10, 0)


@dataclass(frozen=True)
class StageMemory:
    """One GPU of one stage (all GPUs of a stage are alike). Bytes.

    kv_bytes_per_token        all layers that keep something per token, windowed ones included
    state_bytes_per_request   the constant states of linear and mamba layers
    usable_bytes              GPU memory times utilization
    overhead_bytes            what lies beside weights and cache, at most
    overhead_low_bytes        the same, at least
    available_bytes           left for the KV cache, at least; negative when the weights do not fit
    available_high_bytes      the same, at most
    kv_tokens                 tokens that this stage could hold, in requests of the plan's context
    """

    stage: int
    first_layer: int
    layers: int
    weights_bytes: int
    kv_bytes_per_token: int
    state_bytes_per_request: int
    overhead_bytes: int
    overhead_low_bytes: int
    usable_bytes: int
    available_bytes: int
    available_high_bytes: int
    kv_tokens: int


@dataclass(frozen=True)
class MemoryPlan:
    """What lies in the GPUs of a group.

    kv_tokens         capacity in tokens, in requests of `context` tokens (the least of the stages), at least
    kv_tokens_high    the same, at most
    max_context       longest single request that is sure to fit, never above the model's own length; 0: none
    max_context_high  longest one that may fit
    context           what is served: max_model_len, else the model's length, else what fits
    concurrent        requests of `context` tokens that fit at once, at least
    wide              why what lies beside weights and cache has a wide range; "" where logs bound it
    max_num_seqs      requests at once that vLLM is told, where its own default is more than the states allow
    most_requests     requests at once that the states allow at most; None: nothing bounds them
    """

    tensor: int
    pipeline: int
    stages: tuple[StageMemory, ...]
    kv_tokens: int
    kv_tokens_high: int
    max_context: int
    max_context_high: int
    context: int
    concurrent: float
    fits: bool
    max_num_seqs: int | None = None
    most_requests: int | None = None
    wide: str = ""
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Gpu:
    """One GPU: GiB as CUDA reports them, and its compute capability."""

    memory_gib: float
    capability: tuple[int, int] | None


def gpu_of(shape: Shape, options: MemoryOptions) -> Gpu | None:
    """The shape's GPU, with the memory that was given for it; None where nothing says how much it has."""
    memory = options.gpu_memory_gib or shape.gpu_memory_gib
    return None if memory is None else Gpu(memory, shape.compute_capability)


def plan_stages(model: ModelFacts, gpu: Gpu, tensor: int, pipeline: int, options: MemoryOptions) -> MemoryPlan:
    """What lies in the GPUs of each stage. Raises Refused when there are more stages than layers."""
    model = model.served(gpu.capability, options.element_bytes, model.tower_is_whole(tensor, options.encoder_whole))
    capability = gpu.capability or (0, 0)
    element = model.kv_element(options.kv_cache_dtype, sparse_in_8_bits=capability >= _SPARSE_IN_8_BITS)
    packed = capability[0] == 9 and element == 1
    tokens = batched_tokens(gpu.memory_gib, gpu.capability, options, model.vllm)
    # Every stage works on a batch, and one more is being scheduled (vllm/config/vllm.py, max_concurrent_batches).
    layout = cache_layout(
        model,
        tensor,
        element,
        packed,
        options.block_size,
        tokens * (pipeline + 1),
        options.draft_layers or bool(options.draft_states),
    )
    usable = int(gpu.memory_gib * GIB * options.gpu_memory_utilization)
    stages: list[StageMemory] = []
    first, beside = 0, Overhead(0, 0)
    for stage, count in enumerate(layers_per_stage(len(model.layers), pipeline, options.layers)):
        held = model.layers[first : first + count]
        weights = model.weight_bytes(tensor, first, first + count)
        if options.draft_layers and stage == pipeline - 1:
            # The drafter is whole on the last stage; from the second on it cannot share the model's embedding.
            weights += model.draft_bytes(tensor, embedding=pipeline > 1)
        if options.draft_states and stage == pipeline - 1:
            weights += model.least_draft_bytes(tensor, options.draft_states, embedding=pipeline > 1)
        weights = max(0, weights - int(options.cpu_offload_gib * GIB))
        copies = count * model.latent_copies // tensor * model.element_bytes
        beside = overhead_of(
            model, gpu.memory_gib, gpu.capability, (tensor, pipeline), usable - weights - copies, options
        )
        low, high = (usable - weights - copies - size for size in (beside.high, beside.low))
        if options.kv_cache_bytes is not None:
            # vLLM makes the cache that large, whatever is left (gpu_worker.py).
            low = high = options.kv_cache_bytes
        stages.append(
            StageMemory(
                stage=stage,
                first_layer=first,
                layers=count,
                weights_bytes=weights,
                kv_bytes_per_token=sum(layer.kv_bytes_per_token(tensor, element, packed) for layer in held),
                state_bytes_per_request=sum(
                    layer.state_bytes(tensor, max(2.0, element), model.recurrent_element) for layer in held
                ),
                overhead_bytes=beside.high + copies,
                overhead_low_bytes=beside.low + copies,
                usable_bytes=usable,
                available_bytes=low,
                available_high_bytes=high,
                kv_tokens=0,
            )
        )
        first += count
    return replace(_with_context(model, layout, stages, options, (tensor, pipeline), gpu), wide=beside.wide)


def _blocks(layout: CacheLayout, stages: Sequence[StageMemory], high: bool) -> int:
    """Blocks of the pool, the least of the stages. One is vLLM's null block; a stage that keeps nothing bounds nothing."""
    blocks = []
    for stage in stages:
        available = stage.available_high_bytes if high else stage.available_bytes
        block_bytes = layout.block_bytes(stage.first_layer, stage.first_layer + stage.layers)
        if block_bytes:
            blocks.append(max(0, available // block_bytes - 1))
        elif available < 0:
            blocks.append(0)
    return min(blocks, default=0)


def _with_context(
    model: ModelFacts,
    layout: CacheLayout,
    stages: list[StageMemory],
    options: MemoryOptions,
    parallel: tuple[int, int],
    gpu: Gpu,
) -> MemoryPlan:
    tensor, pipeline = parallel
    length = model.default_length or options.max_model_len or DEFAULT_LENGTH
    holds = all(stage.available_bytes > 0 for stage in stages)
    if not model.kv_known:
        # Nothing tells what a token takes: the weights are all that can be judged.
        context = options.max_model_len or length
        return MemoryPlan(tensor, pipeline, tuple(stages), 0, 0, 0, 0, context, 0.0, holds)
    blocks, most_blocks = (_blocks(layout, stages, high) for high in (False, True))
    bound = max(length, options.max_model_len or 0)
    longest = _longest(layout, blocks, bound) if holds else 0
    may_hold = all(stage.available_high_bytes > 0 for stage in stages)
    longest_high = _longest(layout, most_blocks, bound) if may_hold else 0
    wanted = options.max_model_len or min(LEAST_CONTEXT, length)
    context = options.max_model_len or _chosen_context(length, longest)
    each = layout.blocks(context) if context and layout.groups else 0
    concurrent = blocks / each if longest and each else 0.0
    measured = tuple(
        replace(stage, kv_tokens=_stage_tokens(layout, stage, context) if longest and context else 0)
        for stage in stages
    )
    # vLLM refuses more requests at once than the pool has blocks for their states (config/compilation.py).
    at_once = requests_at_once(gpu.memory_gib, gpu.capability, options)
    bounded = layout.has_states and not options.eager
    lowered = blocks if bounded and not options.max_num_seqs and 0 < blocks < at_once else None
    return MemoryPlan(
        tensor=tensor,
        pipeline=pipeline,
        stages=measured,
        kv_tokens=int(concurrent * context),
        kv_tokens_high=int(most_blocks / each * context) if longest_high and each else 0,
        max_context=min(longest, max(length, options.max_model_len or 0)),
        max_context_high=longest_high,
        context=context,
        concurrent=round(concurrent, 2),
        fits=holds and longest >= wanted,
        max_num_seqs=lowered,
        most_requests=most_blocks if bounded else None,
    )


def _chosen_context(length: int, longest: int) -> int:
    """The context that the plan serves where nobody asks for one: the model's length, or what is sure to fit."""
    if longest >= length:
        return length
    return min(longest, max(min(LEAST_CONTEXT, length), longest - longest % _CONTEXT_STEP))


def _longest(layout: CacheLayout, blocks: int, length: int) -> int:
    """The longest request that so many blocks hold, at most `length` tokens."""
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        if layout.blocks(middle) <= blocks:
            low = middle
        else:
            high = middle - 1
    return low


def _stage_tokens(layout: CacheLayout, stage: StageMemory, context: int) -> int:
    block_bytes = layout.block_bytes(stage.first_layer, stage.first_layer + stage.layers)
    if not block_bytes or stage.available_bytes <= 0:
        return 0
    return (stage.available_bytes // block_bytes - 1) * context // layout.blocks(context)
