# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the pods, imported as they import each other, and a small model to stage."""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.pods import MakeGroup, PodGroup
from tests.unit.runtime.source_server import INDEX, PREFIX, SHARDS, SourceServer, md5

PROGRAMS = Path(__file__).parents[3] / "roles" / "raycluster" / "files"
sys.path.insert(0, str(PROGRAMS))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, in seconds, of the programs that are imported; it stands until it is moved."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def shard(tensors: set[str], data: bytes) -> bytes:
    """A safetensors file of as many bytes as `data`, whose header names the tensors."""
    header = json.dumps({name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for name in tensors}).encode()
    return (struct.pack("<Q", len(header)) + header + data)[: len(data)]


@pytest.fixture
def model_files() -> dict[str, bytes]:
    """Four shards, an index, a config, an empty file and one in a folder."""
    chance = random.Random(7)
    files = {
        name: shard({f"model.layers.{number}.weight"}, chance.randbytes(300_000 + 17 * number))
        for number, [name] in enumerate(SHARDS)
    }
    weight_map = {f"model.layers.{number}.weight": name for number, [name] in enumerate(SHARDS)}
    files[INDEX] = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()
    files["config.json"] = b'{"architectures": ["LlamaForCausalLM"]}'
    files["empty.txt"] = b""
    files["original/params.json"] = b"{}"
    return files


@pytest.fixture
def source(model_files: dict[str, bytes]) -> Iterator[SourceServer]:
    """A server with the model's files."""
    with SourceServer(model_files).running() as server:
        yield server


@pytest.fixture
def group_document(tmp_path: Path, source: SourceServer) -> dict[str, Any]:
    """group.json for the model, one stage per shard; tests change it."""
    (tmp_path / "par").write_text(source.url + "\n")
    return {
        "schema": 1,
        "deployment": "tiny",
        "namespace": "tiny",
        "cluster": "tiny",
        "tensor": 2,
        "pipeline": 4,
        "model": {"path": str(tmp_path / "model"), "served_names": ["tiny", "/models/tiny"]},
        "staging": {
            "source": "par",
            "url_file": str(tmp_path / "par"),
            "prefix": PREFIX,
            "root": str(tmp_path / "model"),
            "files": [{"name": name, "size": len(data), "md5": md5(data)} for name, data in source.files.items()],
            "by_stage": True,
            "shards_per_stage": SHARDS,
            "layers_per_stage": [1, 1, 1, 1],
            "streams": 4,
        },
        "image": {},
        "engine": {"args": ["--tensor-parallel-size", "2"], "optional": [], "port": 8000, "tls": False},
        "ports": {"gcs": 6379, "dashboard": 8265, "metrics": 8080, "client": 10001, "status": 8081},
        "restart": {"limit": 3, "window_minutes": 60},
    }


@pytest.fixture
def quick_staging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ranges, so that a small model has many; pauses too short to wait for."""
    import stage_fetch
    import stage_partial
    import stage_reader

    monkeypatch.setattr(stage_partial, "RANGE_BYTES", 65_536)
    monkeypatch.setattr(stage_fetch, "pause", lambda attempt, asked: 0.01)
    monkeypatch.setattr(stage_fetch, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(stage_reader, "BLOCK_BYTES", 16_384)


@pytest.fixture
def make_group(group_document: dict[str, Any], tmp_path: Path) -> Iterator[MakeGroup]:
    """Makes groups that end with the test."""
    made: list[PodGroup] = []

    def make(labels: list[int | None], **changes: Any) -> PodGroup:
        group_document.update(changes)
        folder = tmp_path / f"group-{len(made)}"
        folder.mkdir()
        made.append(PodGroup(group_document, folder, labels))
        return made[-1]

    yield make
    for group in made:
        group.end()
