# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny Llama: files that vLLM and transformers accept, the same on every run."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from rig.model import INDEX_NAME, write_tiny_llama


def header(path: Path) -> dict:
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]) | {"size": len(content) - 8 - length}


@pytest.mark.parametrize("shards", [1, 3, 4, 7])
def test_index_and_shards_agree(tmp_path: Path, shards: int) -> None:
    files = write_tiny_llama(tmp_path, shards=shards, layers=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    index = json.loads((tmp_path / INDEX_NAME).read_text())
    named = sorted(set(index["weight_map"].values()))
    assert named == [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    total = 0
    for name in named:
        found = header(tmp_path / name)
        size = found.pop("size")
        found.pop("__metadata__")
        assert {tensor for tensor, file in index["weight_map"].items() if file == name} == set(found)
        assert max(entry["data_offsets"][1] for entry in found.values()) == size
        assert {entry["dtype"] for entry in found.values()} == {"BF16"}
        total += size
    assert index["metadata"]["total_size"] == total
    assert len(index["weight_map"]) == 4 * 9 + 3


def test_same_bytes_every_time(tmp_path: Path) -> None:
    digests = []
    for run in ("a", "b"):
        names = write_tiny_llama(tmp_path / run)
        digests.append([hashlib.sha256((tmp_path / run / name).read_bytes()).hexdigest() for name in names])
    assert digests[0] == digests[1]


def test_weights_are_small_numbers(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path, shards=1)
    path = tmp_path / "model-00001-of-00001.safetensors"
    begin, end = header(path)["model.embed_tokens.weight"]["data_offsets"]
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    halves = struct.unpack(f"<{(end - begin) // 2}H", content[start + begin : start + end])
    # The upper half of a float32.
    numbers = [struct.unpack(">f", struct.pack(">HH", half, 0))[0] for half in halves]
    assert 1 / 128 <= min(map(abs, numbers)) <= max(map(abs, numbers)) < 1 / 8
    assert abs(sum(numbers) / len(numbers)) < 0.01


def test_size_follows_hidden(tmp_path: Path) -> None:
    sizes = []
    for hidden in (64, 128):
        names = write_tiny_llama(tmp_path / str(hidden), hidden=hidden)
        sizes.append(sum((tmp_path / str(hidden) / name).stat().st_size for name in names))
    assert 3 < sizes[1] / sizes[0] < 4


def test_tokenizer_knows_every_byte(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len([word for word in vocabulary if len(word) == 1]) == 256
    for first, second in tokenizer["model"]["merges"]:
        assert {first, second, first + second} <= set(vocabulary)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["vocab_size"] >= len(vocabulary)
    assert config["vocab_size"] % 64 == 0


def test_too_many_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give 1 to 39"):
        write_tiny_llama(tmp_path, shards=40)
