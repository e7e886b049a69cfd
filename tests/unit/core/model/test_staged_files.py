# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pods' loader, a file system or Kubernetes would refuse of the model's files is refused before nodes are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.model.staged_files import (
    CONFIG_MAP_BYTES,
    ROOM_FOR_PROGRAMS,
    check_files,
)

from ..plans import facts, plan

PROGRAMS = Path(__file__).parents[4] / "roles" / "raycluster" / "files"


def staging(*names: str, size: Any = 1) -> dict[str, Any]:
    return {"files": [{"name": name, "size": size} for name in names]}


def faults_of(held: dict[str, Any]) -> list[tuple[str, str]]:
    findings = Findings()
    check_files(held, (), findings)
    return [(fault.code, fault.found) for fault in findings.faults]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["../x"], "a part of the name is empty or leads elsewhere"),
        (["a/../../x"], "a part of the name is empty or leads elsewhere"),
        (["/x"], "a part of the name is empty or leads elsewhere"),
        (["a//b"], "a part of the name is empty or leads elsewhere"),
        (["./a"], "a part of the name is empty or leads elsewhere"),
        ([""], "a part of the name is empty or leads elsewhere"),
        (["a\0b"], "control characters in the name"),
        (["a\nb"], "control characters in the name"),
        (["\ud800"], "control characters in the name"),
        ([".multinode/complete.json"], ".multinode is the folder of staging's own records"),
        ([".multinode"], ".multinode is the folder of staging's own records"),
        (["x" * 248], "the name takes more than 247 bytes, / counted as three"),
        (["é" * 124], "the name takes more than 247 bytes, / counted as three"),
        (["/".join("x" * 63)], "the name takes more than 247 bytes, / counted as three"),
        (["a", "a/b"], "it lies in a folder that is a file, too"),
        (["a", "a/b/c"], "it lies in a folder that is a file, too"),
        (["a/b", "a%2Fb"], "two files would be one"),
        (["a", "a"], "two files would be one"),
    ],
)
def test_a_name_that_no_pod_could_stage(names: list[str], problem: str) -> None:
    ((code, found),) = faults_of(staging("config.json", *names))
    assert code == "file_name" and found.endswith(f": {problem}")


@pytest.mark.parametrize("size", [-1, True, 2**63])
def test_a_size_that_cannot_be(size: Any) -> None:
    assert faults_of(staging("a", size=size)) == [("file_name", "'a': its size cannot be")]


def test_names_that_can_be() -> None:
    assert (
        faults_of(staging("config.json", "x" * 247, "a b/c.safetensors", "1_Pooling/config.json", "--x", "a/.b")) == []
    )


def test_many_files_of_one_kind_are_one_fault() -> None:
    assert faults_of(staging(*(f"../{number}" for number in range(500)))) == [
        ("file_name", "'../0', '../1', '../2' and 497 more: a part of the name is empty or leads elsewhere")
    ]


def entries(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"part-{number:05}.json", "size": 10**3, "md5": "x" * 24, "sha256": None} for number in range(count)
    ]


def test_what_is_accepted_fits_into_the_config_map_with_the_programs() -> None:
    programs = {path.name: path.read_text(encoding="utf-8") for path in PROGRAMS.glob("*.py")}
    document = len(json.dumps({"staging": {"files": entries(1000)}, "engine": []}, indent=1))
    most = (CONFIG_MAP_BYTES - ROOM_FOR_PROGRAMS) * 1000 // document
    assert most > 4000
    config = [{"name": "config.json", "size": 800, "md5": None, "sha256": None}]
    made = plan(facts(model={**facts().model, "index": None, "files": [*config, *entries(most - 100)]}))
    (runtime,) = [item for item in render(made, programs) if item["kind"] == "ConfigMap"]
    assert sum(len(text.encode()) for text in runtime["data"].values()) <= CONFIG_MAP_BYTES
    assert sum(len(text.encode()) for text in programs.values()) <= ROOM_FOR_PROGRAMS
    with pytest.raises(Refused) as refused:
        plan(facts(model={**facts().model, "index": None, "files": [*config, *entries(most + 100)]}))
    assert [fault.code for fault in refused.value.faults] == ["too_many_files"]


def test_long_arguments_count_too() -> None:
    findings = Findings()
    check_files(staging("a"), ["x" * CONFIG_MAP_BYTES], findings)
    assert [fault.code for fault in findings.faults] == ["too_many_files"]


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (["pytorch_model.bin", "config.json"], True),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"], True),
        (["consolidated.00.pth"], True),
        (["pytorch_model.bin", "model.safetensors"], False),
        (["training_args.bin", "model.gguf"], False),
        (["training_args.bin", "config.json"], False),
    ],
)
def test_weights_that_are_programs_are_warned_of(names: list[str], warned: bool) -> None:
    findings = Findings()
    check_files(staging(*names), (), findings)
    assert [fault.code for fault in findings.warnings] == ["pickle_weights"] * warned


@given(st.lists(st.tuples(st.text(max_size=9), st.none() | st.integers()), max_size=6))
def test_any_names_and_sizes_give_faults_only(files: list[tuple[str, int | None]]) -> None:
    for code, found in faults_of({"files": [{"name": name, "size": size} for name, size in files]}):
        assert code == "file_name" and json.dumps(found).isascii()
