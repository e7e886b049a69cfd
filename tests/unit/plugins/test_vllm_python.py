# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM of another Python is asked in a process of its own: bounded, without secrets, and never believed to be another version."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.vllm.answer import Question
from ansible_collections.multinode.inference.plugins.plugin_utils.vllm_python import stage_models
from ansible_collections.multinode.inference.plugins.plugin_utils.vllm_python.asking import ask_vllm
from tests.unit.core.plan.test_plan_playbook import plan_playbook
from tests.unit.core.plans import facts
from tests.unit.core.recipes import recipe
from tests.waiting import wait

QUESTION = Question(
    "0.26.0",
    ("--tensor-parallel-size", "2"),
    {"VLLM_PP_LAYER_PARTITION": "3,5"},
    {"config.json": {"a": 1}, "model.safetensors.index.json": {"weight_map": {}}},
    "/models/of-the-pods",
)
OK = {"ok": True, "layers_per_stage": [8, 8, 8, 8], "max_model_len": 131072, "stages": []}


def stand_in(folder: Path, version: str = "0.26.0+cpu", answer: Any = None, **behaviour: Any) -> str:
    """An executable that behaves as Python does for this purpose; its path."""
    program = folder / "stand_in_python"
    text = Path(__file__).with_name("stand_in_python.py").read_text()
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    (folder / "behaviour.json").write_text(json.dumps({"version": version, "answer": answer or OK, **behaviour}))
    return str(program)


def seen(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "seen.json").read_text()))


def test_it_gets_the_small_files_the_arguments_and_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("OCI_CLI_KEY", "secret")
    assert ask_vllm(stand_in(tmp_path), QUESTION) == OK
    found = seen(tmp_path)
    assert found["arguments"] == list(QUESTION.arguments) and found["files"] == QUESTION.files and found["question"]
    environment = found["environment"]
    assert environment["VLLM_PP_LAYER_PARTITION"] == "3,5" and environment["HF_HUB_OFFLINE"] == "1"
    assert "secret" not in environment.values()
    assert environment["HOME"] != os.environ["HOME"] and not Path(found["model"]).exists(), "its folder is gone"


def test_what_it_says_of_its_folder_is_said_of_the_models(tmp_path: Path) -> None:
    said = {"ok": False, "kind": "ValueError", "error": "MODEL is no model"}
    assert ask_vllm(stand_in(tmp_path, answer=said), QUESTION)["error"] == "/models/of-the-pods is no model"


def test_it_ends_in_time_with_all_that_it_started(tmp_path: Path) -> None:
    answer = ask_vllm(stand_in(tmp_path, hang=True), QUESTION, seconds=3)
    assert answer == {"ok": None, "error": "no answer within 3 s"}
    child = int((tmp_path / "child").read_text())
    wait("the child ends", lambda: not _runs(child))


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [({"crash": True}, "exit code 139: Segmentation fault"), ({"flood": True}, "exit code 0")],
)
def test_what_is_no_answer_counts_as_none(tmp_path: Path, behaviour: dict[str, bool], words: str) -> None:
    answer = ask_vllm(stand_in(tmp_path, **behaviour), QUESTION)
    assert answer["ok"] is None and words in answer["error"]


@pytest.mark.parametrize(
    ("version", "words"),
    [("none", "has no vLLM"), ("", "does not answer as a Python"), ("0.32.0", "vLLM 0.32.0, expected vLLM 0.26.0")],
)
def test_another_vllm_than_the_images_is_a_fault(tmp_path: Path, version: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        ask_vllm(stand_in(tmp_path, version), QUESTION)
    assert not (tmp_path / "seen.json").exists(), "it was not asked"


def test_a_path_that_is_no_python_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "binary").write_text("x")
    (tmp_path / "binary").chmod(0o755)
    for name, words in (("", "no file"), ("none", "no file"), ("text", "cannot be run"), ("binary", "Exec format")):
        with pytest.raises(Refused, match=words):
            ask_vllm(str(tmp_path / name), QUESTION)


def test_an_image_of_which_nothing_is_known_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="image_contents"):
        ask_vllm(stand_in(tmp_path), Question(None, (), {}, {}, ""))


def test_plan_asks_it_in_check_mode_too(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(facts().model))
    given = recipe(
        oke_cluster_id=None,
        node_provisioner="none",
        model_facts_file=str(tmp_path / "facts.json"),
        vllm_python=stand_in(tmp_path),
    )
    output = plan_playbook(tmp_path, given, options=("--check",))
    assert "from vLLM 0.26.0 itself: layers of each stage, context" in output
    assert seen(tmp_path)["files"]["config.json"] == facts().model["config"]


class Asked(types.ModuleType):
    """A stand-in for engine_question: refuses as it is told while the model has a quantization."""

    class NotAnswered(Exception):
        """As there."""

    def __init__(self, model: Path, first: dict[str, Any] | Exception, then: dict[str, Any]) -> None:
        super().__init__("engine_question")
        self.model, self.first, self.then = model, first, then

    def ask(self, arguments: list[str], _more: Any) -> dict[str, Any]:
        assert arguments == [str(self.model), "--x"]
        text = (self.model / "config.json").read_text()
        if "quantization_config" in text or (self.model / "hf_quant_config.json").exists():
            if isinstance(self.first, Exception):
                raise self.first
            return self.first
        return self.then


def quantized(folder: Path, beside: bool = False) -> Path:
    config: dict[str, Any] = {"a": 1, "text_config": {"b": 2}}
    if beside:
        (folder / "hf_quant_config.json").write_text("{}")
    else:
        config["text_config"]["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("beside", [False, True])
def test_what_cannot_be_built_here_as_it_is_quantized_is_asked_without(tmp_path: Path, beside: bool) -> None:
    first = {**OK, "not_built": {"kind": "ValueError", "error": "no kernel"}}
    model = quantized(tmp_path, beside)
    said = stage_models.answer(Asked(model, first, OK), model, ["--x"])
    assert said == {**OK, "removed": "no kernel"}
    assert json.loads((model / "config.json").read_text()) == {"a": 1, "text_config": {"b": 2}}


@pytest.mark.parametrize(
    "first",
    [
        {"ok": False, "kind": "ValueError", "error": "awq quantization is not supported in cpu"},
        Asked.NotAnswered("RuntimeError: no device"),
    ],
)
def test_a_refusal_of_the_platform_leaves_the_rest_to_be_said(tmp_path: Path, first: Any) -> None:
    model = quantized(tmp_path)
    assert "removed" in stage_models.answer(Asked(model, first, OK), model, ["--x"])


def test_a_refused_argument_and_a_model_without_quantization_are_asked_about_once(tmp_path: Path) -> None:
    refusal = {"ok": False, "kind": "argument", "error": "--x"}
    model = quantized(tmp_path)
    assert stage_models.answer(Asked(model, refusal, OK), model, ["--x"]) == refusal
    (model / "config.json").write_text("{}")
    other = {"ok": False, "kind": "ValueError", "error": "not divisible"}
    assert stage_models.answer(Asked(model, OK, other), model, ["--x"]) == other


def test_a_stage_that_cannot_be_built_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = types.SimpleNamespace(parallel_config=types.SimpleNamespace(pipeline_parallel_size=2))

    def fails(_config: Any, _number: int) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(stage_models, "_stage", fails)
    assert stage_models.build_stages(config) == {"not_built": {"kind": "RuntimeError", "error": "no kernel"}}


def test_an_assertion_without_words_is_told_by_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = types.SimpleNamespace(parallel_config=types.SimpleNamespace(pipeline_parallel_size=1))

    def fails(_config: Any, _number: int) -> None:
        raise AssertionError  # 7 % tp_size

    monkeypatch.setattr(stage_models, "_stage", fails)
    said = stage_models.build_stages(config)["not_built"]
    assert said["kind"] == "AssertionError" and "7 % tp_size" in said["error"]


def test_caches_are_told_by_their_layers() -> None:
    class FullAttentionSpec:
        block_size, page_size_bytes, sliding_window = 16, 65536, None
        dtype = types.SimpleNamespace(itemsize=2)

    class MambaSpec:
        page_size_bytes = 4096

    full = stage_models._cache("model.layers.7.self_attn.attn", FullAttentionSpec())
    assert full == {
        "layer": 7, "kind": "FullAttentionSpec", "window": 0, "bytes_per_token": 4096, "value_bytes": 2, "state_bytes": 0,
    }  # fmt: skip
    state = stage_models._cache("model.layers.8.mixer", MambaSpec())
    assert state and state["state_bytes"] == 4096 and state["bytes_per_token"] == 0
    assert stage_models._cache("model.layers.9.attn", None) is None
    with pytest.raises(stage_models._AnotherModel):
        stage_models._cache("model.tower.attn", FullAttentionSpec())


def test_a_layer_that_uses_another_ones_cache_keeps_none() -> None:
    own = SimpleNamespace(get_kv_cache_spec=None, kv_sharing_target_layer_name=None)
    assert stage_models._keeps(own) and not stage_models._keeps(SimpleNamespace())
    assert not stage_models._keeps(
        SimpleNamespace(get_kv_cache_spec=None, kv_sharing_target_layer_name="model.layers.1")
    )
