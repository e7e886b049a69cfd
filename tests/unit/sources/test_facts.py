# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a source's files are the model, and what is found wrong with them before anything is paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.sources.facts import model_facts
from ansible_collections.multinode.inference.plugins.module_utils.sources.folder import FolderSource

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 4015000000\n"
CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2})


def read(folder: Path, layout: dict[str, Any], load_format: str = "auto") -> dict[str, Any]:
    for name, content in {"config.json": CONFIG, **layout}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            with path.open("wb") as file:
                file.truncate(content)
        elif content is not None:
            path.write_text(content)
    return model_facts(FolderSource(str(folder)), load_format=load_format)


def staged(facts: dict[str, Any]) -> list[str]:
    return [file["name"] for file in facts["files"]]


def refused(folder: Path, layout: dict[str, Any], load_format: str = "auto") -> tuple[str, str]:
    with pytest.raises(Refused) as refusal:
        read(folder, layout, load_format)
    (fault,) = refusal.value.faults
    return fault.code, fault.found


@pytest.mark.parametrize(
    "leftover",
    [
        ".cache/huggingface/download/model.safetensors.lock",
        ".cache/huggingface/download/abc.incomplete",
        ".cache/huggingface/tokenizer.json",
        ".git/lfs/objects/aa/bb/model.safetensors",
        ".huggingface/model.safetensors.metadata",
        "model-00001-of-00002.safetensors.incomplete",
        "model.safetensors.aria2",
    ],
)
def test_what_a_download_leaves_is_left_out(tmp_path: Path, leftover: str) -> None:
    facts = read(tmp_path, {"model.safetensors": 5000, leftover: 9000})
    assert staged(facts) == ["config.json", "model.safetensors"]
    assert facts["left_out"] == [{"name": leftover, "why": "left behind by a download"}]
    assert facts["tokenizer"] == []


def test_pointers_are_no_weights(tmp_path: Path) -> None:
    shards = {f"model-0000{number}-of-00004.safetensors": POINTER for number in range(1, 5)}
    code, found = refused(tmp_path, shards)
    assert code == "weights_are_pointers"
    assert found.startswith("4 files of at most 135 bytes that point to weights: model-00001-of-00004.safetensors")


@pytest.mark.parametrize(
    "layout",
    [
        {"some-Q4_K_M-00001-of-00002.gguf": 5000},
        {"onnx/model.onnx": 5000},
        {"model.onnx": 5000, "model.onnx_data": 5000},
        {"original/consolidated.00.pth": 5000},
        {"consolidated.00.pth": 5000},
        {"flax_model.msgpack": 5000},
        {"tf_model.h5": 5000},
        {"model.nemo": 5000},
        {"adapter_model.safetensors": 5000, "adapter_config.json": "{}"},
        {"transformer/model.safetensors": 5000},
    ],
)
def test_a_folder_without_weights_that_vllm_reads(tmp_path: Path, layout: dict[str, Any]) -> None:
    code, found = refused(tmp_path, layout)
    assert code == "weights_missing"
    assert next(iter(layout)) in found


BOTH = {
    "params.json": "{}",
    "tekken.json": "{}",
    "consolidated.safetensors": 9000,
    "model-00001-of-00001.safetensors": 9000,
    "pytorch_model.bin": 9000,
    "model.pt": 9000,
    "model.tensors": 9000,
}


@pytest.mark.parametrize(
    ("load_format", "weights"),
    [
        ("auto", "model-00001-of-00001.safetensors"),
        ("hf", "model-00001-of-00001.safetensors"),
        ("safetensors", "model-00001-of-00001.safetensors"),
        ("runai_streamer", "model-00001-of-00001.safetensors"),
        ("mistral", "consolidated.safetensors"),
        ("npcache", "pytorch_model.bin"),
        ("pt", "model.pt"),
        ("tensorizer", "model.tensors"),
    ],
)
def test_what_a_load_format_reads(tmp_path: Path, load_format: str, weights: str) -> None:
    facts = read(tmp_path, BOTH, load_format)
    assert {name for name in staged(facts) if name in BOTH and not name.endswith(".json")} == {weights}
    assert len(facts["left_out"]) == 4


def test_the_consolidated_files_beside_an_index_of_the_others(tmp_path: Path) -> None:
    index = {"weight_map": {"model.layers.0.mlp.up_proj.weight": "model-00001-of-00001.safetensors"}}
    layout = {**BOTH, "model.safetensors.index.json": json.dumps(index)}
    facts = read(tmp_path, layout, "mistral")
    assert "consolidated.safetensors" in staged(facts)
    assert "model-00001-of-00001.safetensors" not in staged(facts)
    assert facts["index"] == {}


@pytest.mark.parametrize("load_format", ["pt", "npcache", "mistral", "tensorizer"])
def test_a_load_format_whose_files_are_not_there(tmp_path: Path, load_format: str) -> None:
    code, found = refused(tmp_path, {"model.safetensors": 9000}, load_format)
    assert code == "weights_missing"
    assert f"load format {load_format}, but model.safetensors" in found


def test_a_dummy_model_needs_no_weights(tmp_path: Path) -> None:
    assert staged(read(tmp_path, {}, "dummy")) == ["config.json"]


def test_the_publishers_own_form_of_mistral_is_refused_by_name(tmp_path: Path) -> None:
    code, found = refused(tmp_path, {"config.json": None, "params.json": "{}", "consolidated.safetensors": 9000})
    assert code == "mistral_layout"
    assert "params.json and no config.json" in found


def test_a_quantization_in_a_file_of_its_own(tmp_path: Path) -> None:
    stated = {"quantization": {"quant_algo": "NVFP4"}}
    facts = read(tmp_path, {"model.safetensors": 9000, "hf_quant_config.json": json.dumps(stated)})
    assert facts["hf_quant_config"] == stated
    # What config.json says goes before it.
    own = json.dumps({**json.loads(CONFIG), "quantization_config": {"quant_method": "fp8"}})
    assert read(tmp_path, {"config.json": own})["hf_quant_config"] == {}
