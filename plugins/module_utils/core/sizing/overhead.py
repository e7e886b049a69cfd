# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one GPU needs beside weights and cache, as vLLM measures it before it makes the cache (v1/worker/gpu_worker.py).

It runs a whole batch once and takes the peak: activations of `max_num_batched_tokens` tokens, and the sampling of
`max_num_seqs` requests over the whole vocabulary; what NCCL and the libraries took; and, since 0.21, an estimate of the
CUDA graphs. docs/sizing.md says which logs the factors were fitted to and which were kept for checking.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..model.facts import ModelFacts
from .options import MemoryOptions

GIB = 1 << 30
# Tokens of a batch and requests at once of the server (vllm/engine/arg_utils.py, get_batch_defaults), from that much GPU
# memory on. A100 are left out by their name, whose compute capability is 8.0. The largest batch since 0.29 (not in 0.26).
_LARGE_GIB, _LARGEST_GIB, _A100 = 70.0, 160.0, (8, 0)
_LARGEST_BATCH_SINCE = (0, 27)
# Bytes of sampling for each request and word of the vocabulary: 15 of 256 requests, 36 of 1024 (fitted).
_SAMPLING = ((256, 15.0), (1024, 36.0))
# GiB of libraries and buffers, of NCCL within a node and between nodes (fitted).
_BASE, _WITHIN_NODE, _BETWEEN_NODES = 0.45, 0.4, 0.2
# Copies of a token's hidden state, of its feed-forward, and of what each of its experts gets and gives.
_HIDDEN_COPIES, _WIDTH_COPIES, _EXPERT_COPIES = 4, 1.5, 3
# GiB that the estimate of the graphs takes, and what more it may take of layers with a state: it charges their batch once
# more (vllm-project/vllm issue 50780).
_GRAPHS, _GRAPHS_SINCE = 0.6, (0, 21)
# The range: a part that is always open, and a share of what is expected. Twice as much for GPUs without a log.
_OPEN_GIB, _OPEN_SHARE = 0.8, 0.1
_NARROWEST_GIB, _NARROWEST_SHARE = 1.0, 0.075
# Compute capabilities of GPUs with logs of the V1 engine (A100, A10, H100), and the versions they are from.
_LOGGED = ((8, 0), (8, 6), (9, 0))
_LOGGED_VERSIONS = ((0, 11), (0, 32))


@dataclass(frozen=True)
class Overhead:
    """Bytes beside weights and cache: the least, the most, and why the range is wide; "" where logs bound it."""

    low: int
    high: int
    wide: str = ""


def batched_tokens(
    gpu_memory_gib: float, capability: tuple[int, int] | None, options: MemoryOptions, vllm: tuple[int, int]
) -> int:
    """Tokens of the largest batch of the server."""
    if options.max_num_batched_tokens:
        return options.max_num_batched_tokens
    if gpu_memory_gib >= _LARGEST_GIB and vllm >= _LARGEST_BATCH_SINCE:
        return 16384
    return 8192 if gpu_memory_gib >= _LARGE_GIB and capability != _A100 else 2048


def requests_at_once(gpu_memory_gib: float, capability: tuple[int, int] | None, options: MemoryOptions) -> int:
    """Requests that the server works on at once, where the cache holds them."""
    if options.max_num_seqs:
        return options.max_num_seqs
    return 1024 if gpu_memory_gib >= _LARGE_GIB and capability != _A100 else 256


def overhead_of(
    model: ModelFacts,
    gpu_memory_gib: float,
    capability: tuple[int, int] | None,
    parallel: tuple[int, int],
    left: int,
    options: MemoryOptions,
) -> Overhead:
    """Return what lies beside weights and cache on a GPU. parallel: GPUs of a stage, and stages; left: bytes that weights leave."""
    if options.overhead_gib is not None:
        given = int(options.overhead_gib * GIB)
        return Overhead(given, given)
    tensor, pipeline = parallel
    tokens = batched_tokens(gpu_memory_gib, capability, options, model.vllm)
    requests = requests_at_once(gpu_memory_gib, capability, options)
    peak = max(_activations(model, tokens, tensor), _sampling_bytes(requests) * requests * model.vocab_size)
    fixed = _BASE + (_WITHIN_NODE if tensor > 1 else 0.0) + (_BETWEEN_NODES if pipeline > 1 else 0.0)
    graphs = 0.0 if options.eager or model.vllm < _GRAPHS_SINCE else _GRAPHS
    expected = (fixed + graphs) * GIB + peak + _workspace(model, tokens, tensor)
    states = any(layer.state_values != (0, 0) for layer in model.layers)
    more = _activations(model, tokens, tensor) if states and graphs else 0.0
    half = _OPEN_GIB * GIB + _OPEN_SHARE * expected
    oldest, newest = _LOGGED_VERSIONS
    if capability in _LOGGED and oldest <= model.vllm <= newest:
        half = min(half, max(_NARROWEST_GIB * GIB, _NARROWEST_SHARE * max(0, left - expected)))
        return Overhead(int(max(0.0, expected - half)), int(expected + half + more))
    what = "this GPU" if capability not in _LOGGED else f"vLLM {model.vllm[0]}.{model.vllm[1]}"
    return Overhead(int(max(0.0, expected - 2 * half)), int(expected + 2 * half + more), f"no log of {what} is known")


def _sampling_bytes(requests: int) -> float:
    (few, low), (many, high) = _SAMPLING
    return low + (high - low) * (min(max(requests, few), many) - few) / (many - few)


def _activations(model: ModelFacts, tokens: int, tensor: int) -> float:
    """Bytes of the largest step of one layer over a whole batch."""
    hidden = _HIDDEN_COPIES * model.hidden_size
    dense = _WIDTH_COPIES * 2 * model.intermediate_size / tensor
    return tokens * (hidden + dense) * model.element_bytes + _experts(model, tokens, tensor)


def _experts(model: ModelFacts, tokens: int, tensor: int) -> float:
    """Bytes of what the experts of a layer get and give over a whole batch."""
    width = 2 * model.expert_intermediate_size / tensor
    each = model.experts_per_token * (model.hidden_size + width) if model.experts else 0.0
    return tokens * _EXPERT_COPIES * each * model.element_bytes


def _workspace(model: ModelFacts, tokens: int, tensor: int) -> float:
    """Bytes that the kernels for experts in 8 and 4 bits keep for the next step (fused_moe/modular_kernel.py)."""
    quantization = model.quantization
    kept = quantization is not None and not quantization.experts_only and quantization.native > (0, 0)
    return _experts(model, tokens, tensor) if kept else 0.0
