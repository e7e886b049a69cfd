# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's files hold what the index names for its layers, or staging says which tensor they lack; small files come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pod_progress import Failure

from tests.unit.runtime.conftest import shard
from tests.unit.runtime.source_server import INDEX, SHARDS, SourceServer, md5
from tests.unit.runtime.staged import run

Document = dict[str, Any]
pytestmark = pytest.mark.usefixtures("quick_staging")


def put(document: Document, source: SourceServer, name: str, data: bytes) -> None:
    """Let the source have a file."""
    source.files[name] = data
    files = [entry for entry in document["staging"]["files"] if entry["name"] != name]
    document["staging"]["files"] = [*files, {"name": name, "size": len(data), "md5": md5(data)}]


def test_a_tensor_that_its_file_does_not_hold_is_named(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    put(group_document, source, SHARDS[1][0], shard({"model.layers.1.bias"}, bytes(5000)))
    run(group_document, 0, tmp_path)
    with pytest.raises(Failure, match=rf"model\.layers\.1\.weight \({SHARDS[1][0]}\)") as found:
        run(group_document, 1, tmp_path)
    assert found.value.lasting


def test_layers_of_a_drafter_need_not_be_there(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    index = json.loads(source.files[INDEX])
    index["weight_map"]["model.layers.4.eh_proj.weight"] = SHARDS[3][0]
    put(group_document, source, INDEX, json.dumps(index).encode())
    run(group_document, 3, tmp_path)


def test_a_file_without_a_header_is_told(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    put(group_document, source, SHARDS[0][0], b"version https://git-lfs.github.com/spec/v1\n" * 9)
    with pytest.raises(Failure, match=f"{SHARDS[0][0]} is no safetensors file") as found:
        run(group_document, 0, tmp_path)
    assert found.value.lasting


def test_the_weights_are_asked_for_last(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    group_document["staging"]["files"].sort(key=lambda entry: not entry["name"].endswith(".safetensors"))
    group_document["staging"]["streams"] = 1
    run(group_document, 0, tmp_path)
    weights = [name.endswith(".safetensors") for name, _start in source.requests]
    assert any(weights) and weights == sorted(weights)
