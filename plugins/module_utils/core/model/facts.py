# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan knows of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..fault import Fault
from .layers import Layer
from .quantization import Quantization, kernel_padding
from .tensors import Inventory

# Bytes of a cached value by its bits; 4 bits with a byte of scale for 16 of them (vllm/utils/torch_utils.py).
_KV_ELEMENTS = {8: 1.0, 4: 0.5625}
# The types of --kv-cache-dtype whose size is known; what others keep, with scales of their own, is less than 16 bits.
CACHE_TYPES = {
    "auto": 2.0,
    **dict.fromkeys(("bfloat16", "float16", "half"), 2.0),
    **dict.fromkeys(("float32", "float"), 4.0),
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla"), _KV_ELEMENTS[8]),
    **dict.fromkeys(("nvfp4", "nvfp4_4over6"), _KV_ELEMENTS[4]),
}


@dataclass(frozen=True)
class ModelFacts:
    """All that the plan needs to know of a model. Sizes in elements and bytes; nothing here depends on the parallelism.

    certain            False: weights or KV cache are estimates, a warning says why
    known              the planner knows the family and the class: which file has which layer can be told
    kv_known           False: nothing tells what a token keeps; the KV cache cannot be planned
    kv_heads           as the configuration states them, for vLLM's checks; MLA ignores them
    dtype              the type vLLM serves in: float32 becomes bfloat16
    default_length     the context that vLLM serves where nobody asks for one; None when nothing says
    max_length         the longest context that vLLM accepts; None when nothing says
    supports_pipeline  None: not known
    predicted          layers beyond the last that draft for the model (multi-token prediction)
    config_type        model_type of the whole, by which its configuration class is found
    remote_code        the repository brings its own code (auto_map)
    remote_config      its configuration class is among that code
    checkpoint_bytes   tensor bytes that are served, from the index, else from the files, else computed
    checkpoint_source  "index", "files" or "computed"
    layer_scale        factor by which the layers' computed bytes differ from the stated ones
    latent_copies      values per layer that vLLM keeps beside the weights for MLA
    element_bytes      bytes of one unquantized weight as served
    vision_heads       attention heads of a vision tower that vLLM divides over the GPUs; 0 without one
    unsure_heads       the same of a tower of which it is not known whether vLLM divides it
    vision_falls_back  each GPU has the whole tower where its heads do not divide; else vLLM refuses
    vllm               the version of vLLM, (major, minor)
    said_weights       bytes on one GPU that vLLM itself says, by (GPUs of a stage, first layer, last layer + 1)
    faults             what forbids serving this model from these files
    """

    architecture: str
    model_type: str
    certain: bool
    known: bool
    layers: tuple[Layer, ...]
    hidden_size: int
    heads: int
    kv_heads: int
    intermediate_size: int
    expert_intermediate_size: int
    vocab_size: int
    experts: int
    tied: bool
    mla: bool
    dtype: str
    quantization: Quantization | None
    default_length: int | None
    max_length: int | None
    supports_pipeline: bool | None
    multimodal: bool
    remote_code: bool
    checkpoint_bytes: int
    checkpoint_source: str
    kv_known: bool
    inventory: Inventory
    vllm: tuple[int, int]
    config_type: str = ""
    remote_config: bool = False
    mamba_groups: int = 0
    layer_scale: float = 1.0
    latent_copies: int = 0
    recurrent_element: int = 4
    element_bytes: int = 2
    experts_per_token: int = 0
    vision_heads: int = 0
    unsure_heads: int = 0
    vision_falls_back: bool = False
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    predicted: int = 0
    said_weights: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    _sums: dict[tuple[int, int, int], int] = field(default_factory=dict, compare=False, repr=False)

    def weight_bytes(self, tensor: int, first: int, last: int) -> int:
        """Bytes of weights on one GPU of the stage that holds the layers first..last-1, with `tensor` GPUs a stage."""
        key = (tensor, first, last)
        # What the kernels of a GPU pad is not in what a build without one says.
        padded = self.quantization is not None and self.quantization.padding != (1, 1)
        if key in self.said_weights and not padded:
            return self.said_weights[key]
        if key not in self._sums:
            # Layers that are alike share one tuple: each is summed once.
            known: dict[int, int] = {}
            total = 0.0
            for number, group in enumerate(self.inventory.stage(first, last, len(self.layers))):
                if id(group) not in known:
                    known[id(group)] = sum(
                        weight.rank_bytes(tensor, self.element_bytes, self.quantization) for weight in group
                    )
                total += known[id(group)] * (self.layer_scale if number < last - first else 1.0)
            self._sums[key] = round(total)
        return self._sums[key]

    def draft_bytes(self, tensor: int, embedding: bool) -> int:
        """Bytes on one GPU of the model's own drafter; embedding: it has one of its own, beside the model's."""
        weights = (*self.inventory.extra, *(self.inventory.embedding if embedding else ()))
        return sum(weight.rank_bytes(tensor, self.element_bytes, self.quantization) for weight in weights)

    def least_draft_bytes(self, tensor: int, states: int, embedding: bool) -> int:
        """Least bytes on one GPU of a drafter that was made for the model and whose files are not known.

        It projects `states` hidden states, whole on each GPU, and has the attention of one layer at least, in 16 bits; embedding: it
        has one of its own.
        """
        attentive = [
            weights
            for layer, weights in zip(self.layers, self.inventory.layers, strict=True)
            if layer.attention not in ("linear", "mamba", "none")
        ]
        attention = [weight for weight in (attentive[-1] if attentive else ()) if "self_attn." in weight.name]
        weights = (*attention, *(self.inventory.embedding if embedding else ()))
        projection = states * self.hidden_size * self.hidden_size * self.element_bytes
        return projection + sum(weight.rank_bytes(tensor, self.element_bytes, None) for weight in weights)

    def kv_element(self, cache_dtype: str = "auto", sparse_in_8_bits: bool = False) -> float:
        """Bytes of one cached value with vLLM's --kv-cache-dtype.

        sparse_in_8_bits: where nobody asks, sparse MLA keeps 8 bits on these GPUs.
        """
        bits = self.quantization.kv_bits if self.quantization is not None else 0
        if self.mla and self.quantization is not None and self.quantization.method == "compressed-tensors":
            # MLA does not look for the scheme of compressed-tensors (vllm, mla_attention.py).
            bits = 0
        if cache_dtype == "auto":
            if not bits and sparse_in_8_bits and any(layer.indexer_bytes for layer in self.layers):
                bits = 8
            return _KV_ELEMENTS.get(bits, float(self.element_bytes))
        return CACHE_TYPES.get(cache_dtype, 2.0)

    def tower_is_whole(self, tensor: int, asked: bool = False) -> bool:
        """Whether each GPU has the whole vision tower. asked: --mm-encoder-tp-mode data."""
        return asked or (self.vision_falls_back and self.vision_heads % tensor != 0)

    def served(
        self, capability: tuple[int, int] | None, element_bytes: int = 2, tower_whole: bool = False
    ) -> ModelFacts:
        """The model as it lies on GPUs of that compute capability.

        element_bytes: of one unquantized weight, 4 with --dtype float32. tower_whole: each GPU has the whole vision
        tower.
        """
        quantization, inventory = self.quantization, self.inventory
        if quantization is not None:
            quantization = replace(quantization, padding=kernel_padding(quantization, capability))
        if tower_whole:
            whole = tuple(replace(weight, split="whole") for weight in inventory.everywhere)
            inventory = replace(inventory, everywhere=whole)
        return replace(
            self,
            quantization=quantization,
            inventory=inventory,
            element_bytes=element_bytes,
            _sums={},
        )
