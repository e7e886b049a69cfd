# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Weights: how large one is, and what of it lies on one GPU of a tensor-parallel group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .quantization import Quantization

# vLLM pads the vocabulary to a multiple of this before it divides it (vocab_parallel_embedding.py).
VOCABULARY_PADDING = 64


@dataclass(frozen=True)
class Weight:
    """One matrix (or vector: columns 1) of the model.

    name       the checkpoint's name, below its layer where it belongs to one
    split      how tensor parallelism divides it: "rows" (outputs), "columns" (inputs), "heads" (rows of key or value
               heads, repeated where there are more GPUs than heads), "vocabulary" (padded rows) or "whole" (a copy each)
    count      how many such matrices there are (experts)
    heads      number of key or value heads, for split "heads"
    converted  stored in the quantization's form
    stored     the checkpoint has it too; False for copies that vLLM makes
    """

    name: str
    rows: int
    columns: int = 1
    split: str = "whole"
    count: int = 1
    heads: int = 0
    converted: bool = False
    stored: bool = True

    def rank_shape(self, tensor: int) -> tuple[int, int]:
        """Rows and columns of one matrix's part on one GPU."""
        rows, columns = self.rows, self.columns
        if self.split == "rows":
            rows = -(-rows // tensor)
        elif self.split == "columns":
            columns = -(-columns // tensor)
        elif self.split == "heads" and self.heads:
            rows = rows // self.heads * max(1, self.heads // tensor)
        elif self.split == "vocabulary":
            padded = -(-rows // VOCABULARY_PADDING) * VOCABULARY_PADDING
            rows = -(-padded // tensor)
        return rows, columns

    def rank_bytes(self, tensor: int, element: int, quantization: Quantization | None) -> int:
        """Bytes on one GPU. element: bytes of one weight that is not converted."""
        rows, columns = self.rank_shape(tensor)
        if self.converted and quantization is not None and ".experts" in self.name and self.split != "whole":
            of_width, of_hidden = quantization.padding
            per_row, per_column = (of_width, of_hidden) if self.split == "rows" else (of_hidden, of_width)
            rows, columns = -(-rows // per_row) * per_row, -(-columns // per_column) * per_column
        return self.count * _bytes(rows, columns, self.converted, element, quantization)

    def stored_bytes(self, element: int, quantization: Quantization | None) -> int:
        """Bytes in the checkpoint."""
        return self.count * _bytes(self.rows, self.columns, self.converted, element, quantization) if self.stored else 0

    @property
    def elements(self) -> int:
        """Parameters of all `count` matrices."""
        return self.rows * self.columns * self.count


def _bytes(rows: int, columns: int, converted: bool, element: int, quantization: Quantization | None) -> int:
    if not converted or quantization is None or not quantization.weight_bits:
        return rows * columns * element
    size = rows * columns * quantization.weight_bits / 8
    if quantization.block:
        size += -(-rows // quantization.block[0]) * -(-columns // quantization.block[1]) * quantization.scale_bytes
    elif quantization.group_size:
        size += rows * -(-columns // quantization.group_size) * quantization.scale_bytes
    return int(size)


@dataclass(frozen=True)
class Inventory:
    """All weights of a model, by where pipeline parallelism puts them.

    embedding, head   on the first and on the last stage; a tied model has no head, and the embedding on both
    layers            one tuple per layer
    final             on the last stage (norms)
    everywhere        on every stage (vision tower, projector)
    extra             in the checkpoint but not loaded without speculation (multi-token prediction)
    """

    embedding: tuple[Weight, ...]
    layers: tuple[tuple[Weight, ...], ...]
    final: tuple[Weight, ...]
    head: tuple[Weight, ...]
    everywhere: tuple[Weight, ...]
    extra: tuple[Weight, ...]
    tied: bool
    embedding_everywhere: bool
    head_everywhere: bool

    def stage(self, first: int, last: int, of: int) -> Iterable[tuple[Weight, ...]]:
        """The groups of weights of the stage that holds the layers first..last-1 of `of`."""
        is_first, is_last = first == 0, last == of
        yield from self.layers[first:last]
        if is_first or self.embedding_everywhere or (is_last and self.tied):
            yield self.embedding
        if is_last:
            yield self.final
        if is_last or self.head_everywhere:
            yield self.head
        yield self.everywhere

    def stored(self) -> Iterable[Weight]:
        """All weights that the checkpoint holds."""
        for group in (self.embedding, *self.layers, self.final, self.head, self.everywhere, self.extra):
            yield from group
