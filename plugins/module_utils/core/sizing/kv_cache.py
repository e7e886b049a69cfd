# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The KV cache: which blocks vLLM makes, and how many of them one request takes.

Follows vllm/v1/core/kv_cache_utils.py and vllm/v1/kv_cache_interface.py of vLLM 0.32. Layers that keep the same are
one kind; kinds are cut into groups of as many layers each, and all groups draw blocks of equal size from one pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..model.facts import ModelFacts
from ..model.layers import Layer

# A group with fewer layers is filled up when the largest kind has less than this many times the layers of the smallest.
_PADDING_LIMIT = 1.5
# With prefix caching a hybrid model keeps two states of each request (mamba_cache_mode "align"), and mamba layers one more
# since vLLM marks where a prefill may begin again (num_prefill_checkpoint_blocks; read in 0.32, not there in 0.31).
_STATES_PER_REQUEST, _CHECKPOINT_SINCE = 2, (0, 32)


@dataclass(frozen=True)
class Kind:
    """Layers that keep the same: attention and window as in Layer, tokens per block ("full" without a window)."""

    attention: str
    window: int
    block: int
    layers: tuple[int, ...]


@dataclass(frozen=True)
class CacheLayout:
    """How the cache of a whole model is cut, for one number of GPUs a stage.

    groups       the layers of each group, with the kind they are of
    page_bytes   bytes of a block of one layer, by layer; 0 for layers that keep nothing
    in_flight    tokens that windowed layers hold beyond their window
    states       blocks that a request takes of a group of mamba layers
    drafts       layers of a drafter, which stand after the model's own and lie with the last of them
    """

    groups: tuple[tuple[Kind, tuple[int, ...]], ...]
    page_bytes: tuple[int, ...]
    in_flight: int
    states: int = _STATES_PER_REQUEST
    drafts: int = 0

    @property
    def has_states(self) -> bool:
        """Whether some layers keep a constant state of each request."""
        return any(kind.attention in ("linear", "mamba") for kind, _layers in self.groups)

    def block_bytes(self, first: int, last: int) -> int:
        """Bytes of one block of the pool on the stage that holds the layers first..last-1."""
        if last == len(self.page_bytes) - self.drafts:
            last = len(self.page_bytes)
        return max(
            (sum(self.page_bytes[layer] for layer in layers if first <= layer < last) for _kind, layers in self.groups),
            default=0,
        )

    def blocks(self, tokens: int) -> int:
        """Blocks that one request of so many tokens takes, over all groups."""
        return sum(self._blocks(kind, tokens) for kind, _layers in self.groups)

    def _blocks(self, kind: Kind, tokens: int) -> int:
        if kind.attention == "mamba":
            return self.states
        if kind.attention == "linear":
            return _STATES_PER_REQUEST
        if kind.attention == "sliding":
            # One more: the window may begin inside a block.
            return -(-min(kind.window - 1 + self.in_flight, tokens) // kind.block) + 1
        if kind.attention == "chunked":
            return -(-min(kind.window + self.in_flight, tokens) // kind.block)
        return -(-tokens // kind.block)


def cache_layout(
    model: ModelFacts, tensor: int, element: float, packed: bool, block: int, in_flight: int, drafts: int = 0
) -> CacheLayout:
    """Cut the cache of the model's layers.

    element: bytes of one cached value; packed: sparse MLA keeps them in its own format; block: tokens in a block of full
    attention; drafts: layers of the model's own drafter, which keep what its last layer with attention keeps.
    """
    layers, recurrent_element = model.layers, model.recurrent_element
    attentive = [layer for layer in layers if layer.attention not in ("linear", "mamba", "none")]
    layers += tuple(attentive[-1:]) * drafts
    checkpoints = 1 if model.vllm >= _CHECKPOINT_SINCE else 0
    layout = _layout(layers, tensor, element, packed, recurrent_element, block, in_flight)
    return replace(layout, states=_STATES_PER_REQUEST + checkpoints, drafts=len(layers) - len(model.layers))


def _layout(
    layers: Sequence[Layer],
    tensor: int,
    element: float,
    packed: bool,
    recurrent_element: int,
    block: int,
    in_flight: int,
) -> CacheLayout:
    per_token = [layer.kv_bytes_per_token(tensor, element, packed) for layer in layers]
    states = [layer.state_bytes(tensor, max(2.0, element), recurrent_element) for layer in layers]
    keeping = [index for index, layer in enumerate(layers) if per_token[index] or states[index]]
    largest_state = max((states[index] for index in keeping), default=0)
    tokens = [size for size in per_token if size]
    if largest_state and tokens:
        # A block of attention has to hold a state: vLLM makes it longer (models/config.py), in steps of its size.
        block *= max(1, -(-largest_state // (block * max(tokens))))
    windows = {_kind(layers[index]) for index in keeping}
    if len(windows) <= 1:
        page = tuple((size * block) or state for size, state in zip(per_token, states, strict=True))
        return CacheLayout(_one_group(layers, keeping, block), page, in_flight)
    # Kinds of several sizes: the smaller ones get longer blocks, until all blocks are of equal size.
    page_size = max([largest_state, *(size * block for size in tokens)])
    kinds: dict[tuple[str, int, int], list[int]] = {}
    for index in keeping:
        size = per_token[index]
        # What does not divide the common size keeps its tokens, and its page is filled up.
        length = page_size // size if size and page_size % (size * block) == 0 else block
        kinds.setdefault((*_kind(layers[index]), length), []).append(index)
    page = tuple(page_size if index in set(keeping) else 0 for index in range(len(layers)))
    smallest, largest = min(map(len, kinds.values())), max(map(len, kinds.values()))
    members_each = largest if largest < _PADDING_LIMIT * smallest else smallest
    groups: list[tuple[Kind, tuple[int, ...]]] = []
    for (attention, window, length), members in kinds.items():
        kind = Kind(attention, window, length, tuple(members))
        count = -(-len(members) // members_each)
        groups.extend((kind, tuple(members[start::count])) for start in range(count))
    return CacheLayout(tuple(groups), page, in_flight)


def _kind(layer: Layer) -> tuple[str, int]:
    attention = "full" if layer.attention in ("full", "mla") else layer.attention
    return attention, layer.window


def _one_group(layers: Sequence[Layer], keeping: Sequence[int], block: int) -> tuple[tuple[Kind, tuple[int, ...]], ...]:
    if not keeping:
        return ()
    attention, window = _kind(layers[keeping[0]])
    members = tuple(keeping)
    return ((Kind(attention, window, block, members), members),)
