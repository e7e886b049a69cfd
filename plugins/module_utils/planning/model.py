# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model's config.json, safetensors index and file list say, as vLLM reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fault import Fault


@dataclass(frozen=True)
class Quantization:
    """How the checkpoint's weights are stored. method is vLLM's name (fp8, mxfp4, awq, gptq, compressed-tensors, ...)."""

    method: str
    weight_bits: float
    group_size: int
    block: tuple[int, int] | None
    not_converted: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One decoder layer.

    attention     "full", "sliding", "chunked", "mla", "linear", "mamba" or "none"
    window        tokens a sliding or chunked layer keeps; 0 for the others
    feed_forward  "dense", "experts" or "none"
    """

    index: int
    attention: str
    window: int
    kv_heads: int
    head_dim: int
    feed_forward: str


@dataclass(frozen=True)
class ModelFacts:
    """All that the plan needs to know of a model. Sizes in elements and bytes; nothing here depends on the parallelism."""

    architecture: str
    model_type: str
    certain: bool  # False: weights are estimated from file sizes, a warning says why
    layers: tuple[Layer, ...]
    hidden_size: int
    heads: int
    kv_heads: int
    vocab_size: int
    experts: int
    tied: bool
    dtype: str
    quantization: Quantization | None
    max_length: int | None
    supports_pipeline: bool | None  # None: not known
    multimodal: bool
    remote_code: bool  # the repository brings its own code (auto_map)
    checkpoint_bytes: int  # tensor bytes that are served, from the index, else from the files, else computed
    warnings: tuple[Fault, ...] = ()


def read_model(
    config: Mapping[str, Any],
    index: Mapping[str, Any] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    *,
    tokenizer_config: Mapping[str, Any] | None = None,
    hf_quant_config: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """Read a model. `index` is the content of model.safetensors.index.json; `files` are {name, size}.

    Raises Refused when the configuration cannot be a decoder model at all (no layers and no files).
    """
    raise NotImplementedError
