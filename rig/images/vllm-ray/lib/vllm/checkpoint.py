# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a model as vLLM reads them: which layers a stage holds, which tensors it needs, whether the files have them.

Sources: vllm/distributed/utils.py (division of layers), model_executor/model_loader/weight_utils.py and
default_loader.py (index, missing files, missing weights).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+)$")
ATTENTION = tuple(f"self_attn.{part}_proj.weight" for part in "qkvo")
FEED_FORWARD = tuple(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down"))
DENSE_LAYER = ("input_layernorm.weight", *ATTENTION, "post_attention_layernorm.weight", *FEED_FORWARD)
# Architectures whose layers hold exactly the tensors above; of others only that each layer holds any is checked.
DENSE_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")


class CheckpointError(Exception):
    """A file that is no safetensors file, or not whole."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A pipeline stage: the half-open range of its layers and its place."""

    first_layer: int
    end_layer: int
    is_first: bool
    is_last: bool


@dataclasses.dataclass(frozen=True)
class Location:
    """Where the bytes of a tensor lie."""

    file: Path
    offset: int
    size: int


def stages(layers: int, count: int, partition: str | None = None) -> list[Stage]:
    """The stages of `layers` layers; `partition` is VLLM_PP_LAYER_PARTITION ("20,20,21")."""
    if partition:
        sizes = [int(part) for part in partition.split(",")]
        if len(sizes) != count:
            raise ValueError(f"len(partitions)={len(sizes)} does not match pp_size={count}.")
        if sum(sizes) != layers:
            raise ValueError(f"sum(partitions)={sum(sizes)} does not match num_hidden_layers={layers}.")
    else:
        sizes = [layers // count] * count
        # One more for each layer left over, from the stage before the last backwards.
        for extra in range(layers % count):
            sizes[-(extra + 2)] += 1
    ends = [sum(sizes[: position + 1]) for position in range(count)]
    return [
        Stage(end - size, end, position == 0, position == count - 1)
        for position, (end, size) in enumerate(zip(ends, sizes, strict=True))
    ]


def read_config(folder: str) -> dict[str, Any]:
    """config.json of the model; ValueError and OSError with vLLM's words when there is none."""
    path = Path(folder)
    if not path.is_dir():
        raise OSError(
            f"We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached "
            f"files. '{folder}' is not a local folder."
        )
    if not (path / "config.json").is_file():
        raise ValueError(
            f"Invalid repository ID or local directory specified: '{folder}'. Please verify the following requirements: "
            "1. Provide a valid Hugging Face repository ID. 2. Specify a local directory that contains a recognized "
            "configuration file (config.json)."
        )
    return json.loads((path / "config.json").read_text())


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of the configuration that describes the language model."""
    return config.get("text_config") or config


def weight_files(folder: str) -> list[Path]:
    """The files that are loaded: those that the index names, else all; all that it names must be there."""
    root = Path(folder)
    index = root / INDEX
    if index.is_file():
        named = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        missing = [name for name in named if not (root / name).is_file()]
        if missing:
            raise FileNotFoundError(f"Weight files referenced in index but missing: {', '.join(missing)} (in {folder})")
        return [root / name for name in named]
    files = sorted(root.glob("*.safetensors"))
    if not files:
        raise RuntimeError(f"Cannot find any model weights with `{folder}`")
    return files


def read_header(path: Path) -> dict[str, Location]:
    """The tensors of one safetensors file; CheckpointError when the file does not hold what its header says."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise CheckpointError(f"Error while deserializing header: header too large ({path})")
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            raise CheckpointError(f"Error while deserializing header: invalid JSON in header ({path})") from None
    header.pop("__metadata__", None)
    begin = 8 + length
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if begin + end != size:
        raise CheckpointError(
            f"Error while deserializing header: incomplete metadata, file not fully covered ({path}: {size} bytes, "
            f"expected {begin + end})"
        )
    return {
        name: Location(path, begin + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
    }


def belongs(name: str, stage: Stage, tied: bool) -> bool:
    """Whether a stage keeps the tensor `name`: its layers, the embedding first, norm and head last, all else everywhere."""
    if found := LAYER.search(name):
        return stage.first_layer <= int(found[1]) < stage.end_layer
    if "embed_tokens" in name:
        return stage.is_first or (stage.is_last and tied)
    if name.startswith(("lm_head.", "model.norm.", "norm.")):
        return stage.is_last
    return True


def missing_weights(config: dict[str, Any], stage: Stage, present: set[str]) -> set[str]:
    """The weights that the stage needs and the files do not hold."""
    tied = bool(text_config(config).get("tie_word_embeddings"))
    expected = set()
    if stage.is_first or (stage.is_last and tied):
        expected.add("model.embed_tokens.weight")
    if stage.is_last:
        expected |= {"model.norm.weight"} | (set() if tied else {"lm_head.weight"})
    dense = (config.get("architectures") or [""])[0] in DENSE_ARCHITECTURES
    held = {int(found[1]) for name in present if (found := LAYER.search(name))}
    for layer in range(stage.first_layer, stage.end_layer):
        if dense:
            expected |= {f"model.layers.{layer}.{name}" for name in DENSE_LAYER}
        elif layer not in held:
            expected.add(f"model.layers.{layer}.*")
    return {name for name in expected if name.rsplit("model.", 1)[-1] not in _bare(present)}


def _bare(names: set[str]) -> set[str]:
    """Names without the prefix that multimodal checkpoints put in front."""
    return {name.rsplit("model.", 1)[-1] for name in names}


def load(folder: str, config: dict[str, Any], stage: Stage) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """Read the stage's tensors, file by file: (files done, files in all, digest by tensor name of that file)."""
    tied = bool(text_config(config).get("tie_word_embeddings"))
    files = weight_files(folder)
    present: set[str] = set()
    for done, path in enumerate(files, 1):
        digests = {}
        for name, place in read_header(path).items():
            if belongs(name, stage, tied):
                digests[name] = _digest(place)
        present |= digests.keys()
        yield done, len(files), digests
    if missing := missing_weights(config, stage, present):
        raise ValueError(f"Following weights were not initialized from checkpoint: {sorted(missing)}")


def _digest(place: Location) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with place.file.open("rb") as stream:
        stream.seek(place.offset)
        left = place.size
        while left:
            block = stream.read(min(left, 1 << 20))
            if not block:
                raise CheckpointError(f"{place.file} ended {left} bytes early")
            digest.update(block)
            left -= len(block)
    return digest.digest()


def chain(digests: dict[str, bytes], stage: Stage) -> list[bytes]:
    """One digest per step of the forward pass: embedding, each layer, norm and head. Independent of the division in stages."""
    groups: dict[int, list[bytes]] = {}
    for name, digest in sorted(digests.items()):
        if found := LAYER.search(name):
            groups.setdefault(int(found[1]), []).append(digest)
        elif stage.is_first and "embed_tokens" in name:
            groups.setdefault(-1, []).append(digest)
        elif stage.is_last and name.startswith(("lm_head.", "model.norm.", "norm.")):
            groups.setdefault(stage.end_layer, []).append(digest)
    return [b"".join(groups[key]) for key in sorted(groups)]


def filesystem_type(folder: str) -> str:
    """The type of the file system that holds `folder`, as the mount table names it."""
    real = os.path.realpath(folder)
    best, kind = "", "unknown"
    with open("/proc/mounts") as mounts:
        for line in mounts:
            _, point, found, *_ = line.split()
            if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, found
    return kind.upper()
