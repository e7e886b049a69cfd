# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPU memory: weights, KV cache, what context and how many requests fit; the fewest nodes; other shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..catalog.shapes import SHAPES, Shape
from ..fault import Fault
from ..model.model import ModelFacts
from .kv_cache import CacheLayout, cache_layout
from .parallelism import check_parallelism, layers_per_stage

GIB = 1 << 30
# Where nobody asks for a context, a plan that holds fewer tokens than this (or than the model's own length) is refused.
LEAST_CONTEXT = 8192
# What lies beside weights and cache is an estimate, and vLLM refuses a context that does not fit whole: a context that
# the plan chooses itself leaves this share of the capacity, and is a multiple of the step.
_CONTEXT_SHARE = 0.9
_CONTEXT_STEP = 1024
# vLLM's length for a model that states none (vllm/config/model.py).
DEFAULT_LENGTH = 2048

# What one GPU needs beside weights and cache: CUDA context, NCCL, activations, CUDA graphs. Guidance, not measured:
# (GPU memory in GiB from, GiB). vLLM plans larger batches on larger GPUs.
_OVERHEAD_GIB = ((160.0, 6.0), (100.0, 5.0), (60.0, 4.0), (30.0, 3.0), (0.0, 2.0))
# Tokens in one batch of the server, by GPU memory in GiB (vllm/engine/arg_utils.py, get_batch_defaults).
_BATCHED_TOKENS = ((160.0, 16384), (70.0, 8192), (0.0, 2048))


@dataclass(frozen=True)
class MemoryOptions:
    """What of vLLM's settings bears on memory. None means vLLM's default for the GPU.

    gpu_memory_gib   memory of one GPU, for shapes of which it is not known
    """

    gpu_memory_utilization: float = 0.92
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    block_size: int = 16
    max_num_batched_tokens: int | None = None
    overhead_gib: float | None = None
    gpu_memory_gib: float | None = None


_DEFAULTS = MemoryOptions()


@dataclass(frozen=True)
class StageMemory:
    """One GPU of one stage (all GPUs of a stage are alike). Bytes.

    kv_bytes_per_token        all layers that keep something per token, windowed ones included
    state_bytes_per_request   the constant states of linear and mamba layers
    usable_bytes              GPU memory times utilization
    available_bytes           left for the KV cache; negative when the weights do not fit
    kv_tokens                 tokens that this stage could hold, in requests of the plan's context
    """

    stage: int
    first_layer: int
    layers: int
    weights_bytes: int
    kv_bytes_per_token: int
    state_bytes_per_request: int
    overhead_bytes: int
    usable_bytes: int
    available_bytes: int
    kv_tokens: int


@dataclass(frozen=True)
class MemoryPlan:
    """What lies in the GPUs of a group.

    kv_tokens     capacity in tokens, in requests of `context` tokens (the least of the stages)
    max_context   longest single request that fits, never above the model's own length; 0: none
    context       what is served: max_model_len, else the model's length, else what safely fits
    concurrent    requests of `context` tokens that fit at once
    """

    tensor: int
    pipeline: int
    stages: tuple[StageMemory, ...]
    kv_tokens: int
    max_context: int
    context: int
    concurrent: float
    fits: bool
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Alternative:
    """A shape that serves the model, with the fewest nodes of it and their price."""

    shape: str
    nodes: int
    kv_tokens: int
    max_context: int
    usd_per_hour: float | None


def memory_plan(
    model: ModelFacts, shape: Shape, tensor: int, pipeline: int, options: MemoryOptions = _DEFAULTS
) -> MemoryPlan:
    """What lies in each stage's GPUs. Does not raise when it does not fit: `fits` is False and `faults` say the way out.

    Raises Refused when there are more stages than layers.
    """
    memory = options.gpu_memory_gib or shape.gpu_memory_gib
    if memory is None:
        plan = _plan(model, 0.0, tensor, pipeline, options)
        unknown = Fault(
            "gpu_memory_unknown",
            "recipe_node_shape",
            f"{shape.name}, whose GPU memory is not known",
            "",
            "whether the model fits cannot be said; vLLM says it at its start",
        )
        context = options.max_model_len or model.max_length or DEFAULT_LENGTH
        return replace(plan, fits=True, context=context, warnings=(unknown,))
    plan = _plan(model, memory, tensor, pipeline, options)
    if options.max_model_len and model.max_length and options.max_model_len > model.max_length:
        beyond = Fault(
            "context_beyond_model",
            "recipe_max_model_length",
            f"{options.max_model_len} tokens",
            f"at most {model.max_length}, for which the model was made",
            "ask for a shorter context; vLLM refuses a longer one",
        )
        return replace(plan, fits=False, faults=(beyond,))
    if not plan.fits:
        return replace(plan, faults=(_misfit(model, shape, plan, options),))
    return replace(plan, warnings=tuple(_remarks(model, shape, plan, options)))


def fewest_nodes(
    model: ModelFacts, shape: Shape, options: MemoryOptions = _DEFAULTS, limit: int = 16
) -> MemoryPlan | None:
    """The plan with the fewest nodes of the shape (tensor parallel = its GPUs) that serves the model, or None.

    It holds max_model_len where that is given, else LEAST_CONTEXT or the model's own length.
    """
    memory = options.gpu_memory_gib or shape.gpu_memory_gib
    if memory is None:
        return None
    for nodes in range(1, min(limit, len(model.layers)) + 1):
        if check_parallelism(model, shape, shape.gpus, nodes).faults:
            continue
        plan = _plan(model, memory, shape.gpus, nodes, options)
        if plan.fits:
            return plan
    return None


def alternatives(
    model: ModelFacts,
    options: MemoryOptions = _DEFAULTS,
    limit: int = 8,
    shapes: Sequence[Shape] = SHAPES,
) -> list[Alternative]:
    """Shapes that would serve the model with at most `limit` nodes, cheapest first; those without a price last.

    Of x86 only: the image that is taken by itself is made for it (images.py).
    """
    # What was given is of the recipe's own GPUs.
    options = replace(options, gpu_memory_gib=None, overhead_gib=None)
    found = []
    for shape in shapes:
        if shape.vendor != "nvidia" or shape.architecture != "amd64":
            continue
        plan = fewest_nodes(model, shape, options, limit)
        if plan is not None:
            price = None if shape.usd_per_hour is None else shape.usd_per_hour * plan.pipeline
            found.append(Alternative(shape.name, plan.pipeline, plan.kv_tokens, plan.max_context, price))
    return sorted(found, key=lambda item: (item.usd_per_hour is None, item.usd_per_hour or 0.0, item.nodes, item.shape))


def _by_size(table: Sequence[tuple[float, float]], memory_gib: float) -> float:
    return next(value for least, value in table if memory_gib >= least)


def _layout(model: ModelFacts, memory_gib: float, tensor: int, pipeline: int, options: MemoryOptions) -> CacheLayout:
    batched = options.max_num_batched_tokens or int(_by_size(_BATCHED_TOKENS, memory_gib))
    # Every stage works on a batch, and one more is being scheduled (vllm/config/vllm.py, max_concurrent_batches).
    element = 1 if options.kv_cache_dtype.startswith("fp8") else 2
    return cache_layout(
        model.layers, tensor, element, model.recurrent_element, options.block_size, batched * (pipeline + 1)
    )


def _plan(model: ModelFacts, memory_gib: float, tensor: int, pipeline: int, options: MemoryOptions) -> MemoryPlan:
    layout = _layout(model, memory_gib, tensor, pipeline, options)
    element = 1 if options.kv_cache_dtype.startswith("fp8") else 2
    usable = int(memory_gib * GIB * options.gpu_memory_utilization)
    overhead_gib = options.overhead_gib
    if overhead_gib is None:
        overhead_gib = _by_size(_OVERHEAD_GIB, memory_gib)
    stages: list[StageMemory] = []
    blocks: list[int] = []
    first = 0
    for stage, count in enumerate(layers_per_stage(len(model.layers), pipeline)):
        held = model.layers[first : first + count]
        weights = model.weight_bytes(tensor, first, first + count)
        overhead = int(overhead_gib * GIB) + count * model.latent_copies // tensor * model.element_bytes
        available = usable - weights - overhead
        block_bytes = layout.block_bytes(first, first + count)
        # One block is vLLM's null block. A stage whose layers keep nothing bounds nothing.
        if block_bytes:
            blocks.append(max(0, available // block_bytes - 1))
        elif available < 0:
            blocks.append(0)
        stages.append(
            StageMemory(
                stage=stage,
                first_layer=first,
                layers=count,
                weights_bytes=weights,
                kv_bytes_per_token=sum(layer.kv_bytes_per_token(tensor, element) for layer in held),
                state_bytes_per_request=sum(
                    layer.state_bytes(tensor, max(2, element), model.recurrent_element) for layer in held
                ),
                overhead_bytes=overhead,
                usable_bytes=usable,
                available_bytes=available,
                kv_tokens=0,
            )
        )
        first += count
    return _with_context(model, layout, stages, min(blocks, default=0), options, tensor, pipeline)


def _with_context(
    model: ModelFacts,
    layout: CacheLayout,
    stages: list[StageMemory],
    blocks: int,
    options: MemoryOptions,
    tensor: int,
    pipeline: int,
) -> MemoryPlan:
    length = model.max_length or options.max_model_len or DEFAULT_LENGTH
    holds = all(stage.available_bytes > 0 for stage in stages)
    if not model.kv_known:
        # Nothing tells what a token takes: the weights are all that can be judged.
        context = options.max_model_len or length
        return MemoryPlan(tensor, pipeline, tuple(stages), 0, 0, context, 0.0, holds)
    # Searched a little beyond the model's length: whether that much is left over decides what is served.
    bound = int(max(length, options.max_model_len or 0) / _CONTEXT_SHARE) + 1
    longest = _longest(layout, blocks, bound) if holds else 0
    wanted = options.max_model_len or min(LEAST_CONTEXT, length)
    context = options.max_model_len or _chosen_context(length, longest)
    concurrent = blocks / layout.blocks(context) if longest and context and layout.groups else 0.0
    measured = tuple(
        replace(stage, kv_tokens=_stage_tokens(layout, stage, context) if longest and context else 0)
        for stage in stages
    )
    return MemoryPlan(
        tensor=tensor,
        pipeline=pipeline,
        stages=measured,
        kv_tokens=int(concurrent * context),
        max_context=min(longest, length),
        context=context,
        concurrent=round(concurrent, 2),
        fits=holds and longest >= wanted,
    )


def _chosen_context(length: int, longest: int) -> int:
    """The context that the plan serves where nobody asks for one: the model's length, or what safely fits."""
    safe = int(longest * _CONTEXT_SHARE)
    if safe >= length:
        return length
    return min(length, longest, max(LEAST_CONTEXT, safe - safe % _CONTEXT_STEP))


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


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _misfit(model: ModelFacts, shape: Shape, plan: MemoryPlan, options: MemoryOptions) -> Fault:
    """The fault of a plan that does not fit, with the ways out."""
    tight = min(plan.stages, key=lambda stage: stage.available_bytes)
    ways = []
    nodes = fewest_nodes(model, shape, options)
    if nodes is not None:
        ways.append(f"use {nodes.pipeline} nodes of {shape.name}")
    others = _distinct(item for item in alternatives(model, options) if item.shape != shape.name)
    if others:
        ways.append("or " * bool(ways) + "choose " + ", ".join(f"{item.nodes} x {item.shape}" for item in others))
    if plan.max_context:
        ways.append(f"or ask for at most {plan.max_context} tokens of context")
    remedy = "; ".join(ways) if ways else "take a smaller or a quantized form of the model"
    where = f"{plan.pipeline} x {shape.name}"
    if tight.available_bytes <= 0:
        return Fault(
            "does_not_fit",
            where,
            f"{_gib(tight.weights_bytes)} of weights for each GPU of stage {tight.stage}",
            f"at most {_gib(tight.usable_bytes - tight.overhead_bytes)}",
            remedy,
        )
    wanted = options.max_model_len or min(LEAST_CONTEXT, model.max_length or DEFAULT_LENGTH)
    return Fault(
        "context_does_not_fit",
        where,
        f"KV cache for {plan.max_context} tokens beside the weights",
        f"at least {wanted}",
        remedy,
    )


def served_by(model: ModelFacts, shape: Shape, options: MemoryOptions = _DEFAULTS) -> list[str]:
    """Return what would serve the model, as `2 x BM.GPU.H100.8`: the fewest nodes of the shape, then other shapes."""
    nodes = fewest_nodes(model, shape, options)
    others = _distinct(item for item in alternatives(model, options) if item.shape != shape.name)
    found = [f"{nodes.pipeline} x {shape.name}"] if nodes is not None else []
    return found + [f"{item.nodes} x {item.shape}" for item in others]


def _distinct(found: Iterable[Alternative]) -> list[Alternative]:
    """The three cheapest with different GPUs, and the cheapest of one node."""
    gpus: set[str] = set()
    chosen: list[Alternative] = []
    for item in found:
        gpu = next(shape.gpu for shape in SHAPES if shape.name == item.shape)
        alone = item.nodes == 1 and all(other.nodes > 1 for other in chosen)
        if gpu not in gpus and (len(chosen) < 3 or alone):
            gpus.add(gpu)
            chosen.append(item)
    return chosen


def _remarks(model: ModelFacts, shape: Shape, plan: MemoryPlan, options: MemoryOptions) -> list[Fault]:
    remarks = []
    length = model.max_length
    if options.max_model_len is None and length and model.kv_known and plan.context < length:
        remarks.append(
            Fault(
                "context_shortened",
                "context",
                f"{plan.context} tokens, the model was made for {length}",
                "",
                f"{plan.max_context} fit, of which a tenth is left free; more nodes or GPUs with more memory hold more",
            )
        )
    if plan.pipeline > 1 and shape.gpus == plan.tensor and model.kv_known:
        fewest = fewest_nodes(model, shape, options, plan.pipeline - 1)
        if fewest is not None:
            remarks.append(
                Fault(
                    "fewer_nodes_suffice",
                    "recipe_node_pool_size",
                    f"{plan.pipeline} nodes, and {fewest.pipeline} would do",
                    "",
                    f"{fewest.pipeline} of {shape.name} hold {fewest.kv_tokens} tokens of KV cache, "
                    f"these hold {plan.kv_tokens}",
                )
            )
    return remarks
