# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging as its tests run it, and what they look at afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import group_file
import stage_model
from pod_progress import Board

from tests.unit.runtime.source_server import INDEX, SHARDS, SourceServer

Document = dict[str, Any]


def run(document: Document, number: int | None, tmp_path: Path) -> int:
    """Stage for a pipeline stage; the bytes fetched."""
    path = tmp_path / "group.json"
    path.write_text(json.dumps(document))
    return stage_model.Stager(group_file.load(path).staging, Board()).run(number)


def held(tmp_path: Path) -> set[str]:
    """The files in the model's folder."""
    root = tmp_path / "model"
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path) for path in paths if path.parts[0] != ".multinode"}


def check(tmp_path: Path, files: dict[str, bytes], stage_number: int | None) -> None:
    """See that the stage's files lie there byte by byte, and no other."""
    shards = {name for names in SHARDS for name in names}
    own = set() if stage_number is None else set(SHARDS[stage_number])
    expected = {name for name in files if name in own or name not in shards}
    assert held(tmp_path) == expected
    for name in expected - {INDEX}:
        assert (tmp_path / "model" / name).read_bytes() == files[name], name
    index = json.loads((tmp_path / "model" / INDEX).read_text())
    assert set(index["weight_map"].values()) == own


def from_the_hub(document: Document, source: SourceServer) -> None:
    """Let the files come from a repository instead."""
    document["staging"] |= {
        "source": "hugging_face",
        "endpoint": source.url.partition("/p/")[0],
        "repository": "org/name",
        "commit": "abc123",
    }
    for entry in document["staging"]["files"]:
        entry["md5"] = None
        entry["sha256"] = hashlib.sha256(source.files[entry["name"]]).hexdigest()
