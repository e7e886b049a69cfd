# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPU memory: weights, KV cache, what context and how many requests fit; the fewest nodes; other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .fault import Fault
from .model import ModelFacts
from .shapes import Shape


@dataclass(frozen=True)
class MemoryOptions:
    """What of vLLM's settings bears on memory. None means vLLM's default for the GPU."""

    gpu_memory_utilization: float = 0.92
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    block_size: int = 16
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    overhead_gib: float | None = None


@dataclass(frozen=True)
class StageMemory:
    """One GPU of one stage (all GPUs of a stage are alike). Bytes."""

    stage: int
    first_layer: int
    layers: int
    weights_bytes: int
    kv_bytes_per_token: int
    state_bytes_per_request: int
    overhead_bytes: int
    usable_bytes: int  # GPU memory times utilization
    available_bytes: int  # left for the KV cache; negative when the weights do not fit
    kv_tokens: int


@dataclass(frozen=True)
class MemoryPlan:
    """kv_tokens: capacity in tokens (the least of the stages). max_context: longest single request that fits (0: none),
    never above the model's own length. concurrent: requests of `context` tokens that fit at once."""

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
    model: ModelFacts, shape: Shape, tensor: int, pipeline: int, options: MemoryOptions = MemoryOptions()
) -> MemoryPlan:
    """What lies in each stage's GPUs. Does not raise when it does not fit: `fits` is False and `faults` say the way out."""
    raise NotImplementedError


def fewest_nodes(
    model: ModelFacts, shape: Shape, options: MemoryOptions = MemoryOptions(), limit: int = 16
) -> MemoryPlan | None:
    """The plan with the fewest nodes of the shape (tensor parallel = its GPUs) that holds max_model_len, or None."""
    raise NotImplementedError


def alternatives(
    model: ModelFacts,
    options: MemoryOptions = MemoryOptions(),
    limit: int = 8,
    shapes: Sequence[Shape] | None = None,
) -> list[Alternative]:
    """Shapes that would serve the model, cheapest first."""
    raise NotImplementedError
