# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.sources.selection import (
    index_name,
    leave_out_unindexed,
    matches,
    select,
)
from ansible_collections.multinode.inference.plugins.module_utils.sources.source import ModelFile, as_prefix


def chosen(*names: str, **how: object) -> tuple[list[str], dict[str, str]]:
    selection = select([ModelFile(name, 1) for name in names], **how)  # type: ignore[arg-type]
    return [file.name for file in selection.files], {item["name"]: item["why"] for item in selection.left_out}


COMMON = ("config.json", "tokenizer.json")


def test_safetensors_are_taken_alone() -> None:
    files, left_out = chosen(
        *COMMON,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model-00001.bin",
        "pytorch_model.bin.index.json",
        "original/consolidated.00.pth",
        "original/params.json",
        "consolidated.safetensors",
        "params.pth",
        "onnx/model.onnx",
        "flax_model.msgpack",
        "tf_model.h5",
        "metal/model.bin",
        "1_Pooling/config.json",
        "modeling_own.py",
        "folder/",
    )
    assert files == [
        "1_Pooling/config.json",
        *COMMON[:1],
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_own.py",
        *COMMON[1:],
    ]
    assert left_out["pytorch_model-00001.bin"] == "safetensors are there"
    assert "original" in left_out["original/params.json"]
    assert "mistral" in left_out["consolidated.safetensors"]
    assert "framework" in left_out["tf_model.h5"]
    assert len(left_out) == 11


def test_bin_where_there_is_nothing_else() -> None:
    files, _left_out = chosen(*COMMON, "pytorch_model.bin", "consolidated.00.pth")
    assert files == ["config.json", "pytorch_model.bin", "tokenizer.json"]


def test_mistral_format() -> None:
    names = (*COMMON, "consolidated.safetensors", "params.json", "model-1.safetensors", "tekken.json")
    files, left_out = chosen(*names, load_format="mistral")
    assert "consolidated.safetensors" in files and "model-1.safetensors" in left_out
    files, left_out = chosen(*names)
    assert "model-1.safetensors" in files and "consolidated.safetensors" in left_out
    files, _left_out = chosen("config.json", "consolidated.safetensors")
    assert "consolidated.safetensors" in files, "the only weights there are"


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("org/model", True),
        ("org/model/", True),
        ("/org/model", True),
        ("org", True),
        ("org/mod", False),
        ("org/model/config.json", True),
        ("config.json", True),
        ("*.json", True),
        ("org/*/config.*", True),
        ("other/*", False),
        ("model", False),
    ],
)
def test_patterns(pattern: str, meant: bool) -> None:
    assert matches(pattern, "org/model/", "config.json") is meant


def test_include_and_exclude() -> None:
    files, left_out = chosen(
        *COMMON, "a.safetensors", "notes.md", prefix="org/model/", include=["org/model"], exclude=["*.md"]
    )
    assert files == ["a.safetensors", *COMMON]
    assert left_out == {"notes.md": "in exclude"}
    assert chosen("config.json", prefix="org/model/", include=["org/other"]) == ([], {"config.json": "not in include"})


def test_unindexed_safetensors_are_left_out() -> None:
    selection = select([ModelFile(name, 1) for name in ("a.safetensors", "b.safetensors", "config.json")])
    kept = leave_out_unindexed(selection, {"a.safetensors"})
    assert [file.name for file in kept.files] == ["a.safetensors", "config.json"]
    assert kept.left_out == [{"name": "b.safetensors", "why": "the index does not name it"}]


def test_index_name() -> None:
    both = {"model.safetensors.index.json", "consolidated.safetensors.index.json"}
    assert index_name(both) == "model.safetensors.index.json"
    assert index_name(both, "mistral") == "consolidated.safetensors.index.json"
    assert index_name({"config.json"}) == ""


def test_as_prefix() -> None:
    assert [as_prefix(path) for path in ("", "/", "a", "/a/b/", "a/")] == ["", "", "a/", "a/b/", "a/"]
