# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the weight files on a node hold, by their headers, against what the index names.

vLLM does not see that a tensor of a quantized layer is missing: it would serve with what was in memory.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from group_file import Staging
from pod_progress import Failure

INDEX_SUFFIX = ".safetensors.index.json"
# The format's own bound (safetensors, MAX_HEADER_SIZE).
_HEADER_BYTES = 100_000_000
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_NAMED = 3


def check_tensors(staging: Staging) -> None:
    """See that the files here hold each tensor of a layer that the index here names for them.

    Failure with the tensor and its file where one does not. Layers beyond the model's are a drafter's, which need not run.
    """
    layers = sum(staging.layers_per_stage)
    for name, weight_map in _indexes(staging, staging.root):
        folder = (staging.root / name).parent
        wanted = {tensor: file for tensor, file in weight_map.items() if _layer_of(tensor, layers) is not None}
        held = {tensor for file in set(wanted.values()) for tensor in _tensors(folder / file)}
        if lacking := sorted(set(wanted) - held):
            shown = ", ".join(f"{tensor} ({wanted[tensor]})" for tensor in lacking[:_NAMED])
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            raise Failure(
                "staging",
                f"{name} names tensors that their files do not hold: {shown}{more}",
                lasting=True,
                remedy="upload the model again at the source: index and files are of different versions",
            )


def lacking(layers: Sequence[int], staging: Staging) -> str | None:
    """Return the first file that a stage would lack with so many layers on each, in words; None where all are there."""
    stages = _stages(layers)
    for layer, file in _tensors_of_the_index(staging, len(stages)):
        if layer is not None and file not in staging.shards_per_stage[stages[layer]]:
            return f"stage {stages[layer]} has no {file}, which holds layer {layer}"
    return None


def shards_of_division(layers: Sequence[int], staging: Staging) -> tuple[frozenset[str], ...]:
    """Return the weight files of each stage with so many layers on each: those of its layers, and all that hold anything beside layers."""
    stages = _stages(layers)
    held: list[set[str]] = [set() for _count in layers]
    for layer, file in _tensors_of_the_index(staging, len(stages)):
        for stage in range(len(layers)) if layer is None else (stages[layer],):
            held[stage].add(file)
    shards = frozenset().union(*staging.shards_per_stage)
    return tuple(shards & files for files in held)


def _stages(layers: Sequence[int]) -> list[int]:
    """Return the stage of each layer, with so many layers on each stage."""
    return [stage for stage, count in enumerate(layers) for _layer in range(count)]


def _tensors_of_the_index(staging: Staging, layers: int) -> Iterator[tuple[int | None, str]]:
    """Yield the layer and the file of each tensor that the whole index names."""
    for name, weight_map in _indexes(staging, staging.root / ".multinode" / "index"):
        for tensor, shard in weight_map.items():
            yield _layer_of(tensor, layers), str(PurePath(name).parent / shard)


def _indexes(staging: Staging, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each index in the folder, by its name; Failure where one is none."""
    for file in staging.files:
        if not file.name.endswith(INDEX_SUFFIX):
            continue
        try:
            yield file.name, dict(json.loads((folder / file.name).read_text())["weight_map"])
        except (ValueError, KeyError, TypeError):
            raise no_index(file.name) from None


def no_index(name: str) -> Failure:
    """Return the failure that an unreadable index is."""
    return Failure(
        "staging",
        f"{name} is no index of safetensors (a JSON object whose weight_map names a file for each tensor); "
        "upload it again at the source",
        lasting=True,
    )


def _tensors(path: Path) -> set[str]:
    """Return the names of the tensors in a safetensors file; Failure where it is none."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _HEADER_BYTES:
                raise ValueError("the header is too long")
            return set(json.loads(stream.read(length))) - {"__metadata__"}
    except FileNotFoundError:
        return set()
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        raise Failure(
            "staging",
            f"{path.name} is no safetensors file: its header cannot be read ({error}); upload it again at the source",
            lasting=True,
        ) from None


def _layer_of(tensor: str, layers: int) -> int | None:
    """Return the layer that a tensor is of, by its name; None of one that is of none of so many."""
    match = _LAYER.search(tensor)
    # No model has layers of ten digits.
    number = int(match[1]) if match and len(match[1]) < 10 else layers
    return number if number < layers else None
