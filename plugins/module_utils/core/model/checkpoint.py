# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a checkpoint's file list and safetensors index say: its size, its layers, what is not served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config_fields import as_integer, as_mapping

# `model.layers.12.mlp...`, `transformer.h.12.attn...`, `backbone.layers.12.mixer...`
_LAYER_NAME = re.compile(r"(?:^|\.)(?:layers|h|blocks|decoder_layers)\.(\d{1,4})\.")
# Parts of a tensor's name that show it belongs to a tower beside the language model, which has layers of its own.
_BESIDE_NAME = re.compile(
    r"(?:^|\.)(?:visual|vision\w*|vit|vpm|apm|audio\w*|speech\w*|sound\w*|image\w*|sam_model|resampler|talker|tts|"
    r"token2wav|code2wav|mm_projector|multi_modal_projector|mlp1|embed_vision|embed_audio)\.|"
    # ChatGLM's decoder is called so.
    r"(?:^|(?<!transformer)\.)encoder\."
)
# The same before the number of a layer; behind it such words name parts of a decoder's layer.
_BESIDE_BEFORE = re.compile(
    r"(?:^|\.)(?:\w*(?:projector|projection|connector|aligner|adapter|adaptor|perceiver|sampler|merger|qformer|conformer|tower|encoder|vit)|"
    r"dino\w*|siglip\w*|clip\w*|radio\w*)\."
)
# Layers for multi-token prediction that stand beside the decoder's own; vLLM loads them for speculation only.
_PREDICTION_NAME = re.compile(r"(?:^|\.)(?:mtp|nextn)\w*\.")
_HEAD_NAME = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_layer|score)\.")
_EMBEDDING_NAME = re.compile(r"(?:^|\.)(?:embed_tokens|embed_tokens_per_layer|wte|word_embeddings|tok_embeddings)\.")
_FINAL_NAME = re.compile(r"(?:^|\.)(?:norm|ln_f|norm_f|final_layernorm|final_layer_norm)\.(?:weight|bias)$")

# Of a file or of a whole checkpoint; the largest published ones have 3 TB.
_MOST_BYTES = 1 << 50

PREDICTION, BESIDE, EMBEDDING, HEAD, FINAL, OTHER = "prediction", "beside", "embedding", "head", "final", "other"


def places(names: Iterable[str]) -> Iterator[int | str]:
    """Where each tensor belongs: the number of its layer, or one of the words above.

    A checkpoint has up to 100,000 names; those of one layer are told by their common beginning, once.
    """
    known: dict[str, int | str] = {}
    for name in names:
        start = name.find("layers.")
        end = name.find(".", start + 7) if start >= 0 else -1
        beginning = name[: end + 1] if end > 0 else name
        place = known.get(beginning)
        if place is None:
            place = known[beginning] = _place(beginning)
        yield place


def _place(name: str) -> int | str:
    if _PREDICTION_NAME.search(name):
        return PREDICTION
    if _BESIDE_NAME.search(name):
        return BESIDE
    layer = _LAYER_NAME.search(name)
    if layer is not None:
        before = name[: layer.start() + 1]
        own = before.startswith("transformer.") or not _BESIDE_BEFORE.search(before)
        return int(layer[1]) if own else BESIDE
    for pattern, place in ((_EMBEDDING_NAME, EMBEDDING), (_HEAD_NAME, HEAD), (_FINAL_NAME, FINAL)):
        if pattern.search(name):
            return place
    return OTHER


def layer_tensors(names: Iterable[str]) -> dict[int, list[str]]:
    """The tensors of each decoder layer, by what stands behind the layer's number."""
    found: dict[int, list[str]] = {}
    kept = list(names)
    for place, name in zip(places(kept), kept, strict=True):
        if isinstance(place, int):
            match = _LAYER_NAME.search(name)
            found.setdefault(place, []).append(name[match.end() :] if match else name)
    return found


@dataclass(frozen=True)
class Checkpoint:
    """What index and files say.

    total_bytes  tensor bytes that are served, by the index, else by the files; 0 when not known
    file_bytes   size of the files that are served; 0 where one is not known
    layers       0 when no name tells
    """

    total_bytes: int
    file_bytes: int
    source: str
    layers: int
    has_head: bool | None


def read_checkpoint(index: Mapping[str, Any] | None, files: Sequence[Mapping[str, Any]]) -> Checkpoint:
    """Read what the index and the file list say. The index's total_size counts, else the files' sizes."""
    weight_map = {
        name: file
        for name, file in as_mapping((index or {}).get("weight_map")).items()
        if isinstance(name, str) and isinstance(file, str)
    }
    total = as_integer(as_mapping((index or {}).get("metadata")).get("total_size"), _MOST_BYTES) or 0
    source = "index" if total else ""
    sizes = {
        entry["name"]: as_integer(entry.get("size"), _MOST_BYTES) or 0
        for entry in files
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    }
    served = _served(sizes, set(weight_map.values()))
    whole = bool(served) and all(served.values()) and len(served) >= len(set(weight_map.values()))
    file_bytes = sum(served.values()) if whole else 0
    if not total:
        total = sum(served.values())
        source = "files" if total else ""
    found = set(places(weight_map))
    numbers = [place for place in found if isinstance(place, int)]
    has_head = HEAD in found if weight_map else None
    return Checkpoint(total, file_bytes, source, max(numbers) + 1 if numbers else 0, has_head)


def _served(sizes: Mapping[str, int], indexed: set[str]) -> dict[str, int]:
    """The weight files that vLLM would load: those of the index, else *.safetensors, else *.bin (default_loader.py)."""
    named = {name: size for name, size in sizes.items() if name.rpartition("/")[2] in indexed or name in indexed}
    if named:
        return named
    for ending in (".safetensors", ".bin", ".pt"):
        found = {
            name: size
            for name, size in sizes.items()
            if name.endswith(ending)
            and not name.startswith("original/")
            and "/original/" not in name
            and not name.rpartition("/")[2].startswith(("consolidated", "training_args", "optimizer"))
        }
        if found:
            return found
    return {}
