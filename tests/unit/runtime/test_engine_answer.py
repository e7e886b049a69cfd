# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM is asked before its start: what it refuses ends the group with its words, and a question without an answer ends nothing."""

from __future__ import annotations

import json
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_answer
import group_file
import pytest
import stage_division
from group_file import Group
from pod_progress import Failure
from stage_division import Redivided

from tests.unit.runtime.pods import MakeGroup, shards_of
from tests.unit.runtime.source_server import INDEX, SHARDS, Fault, SourceServer

Document = dict[str, Any]
PARSER = """
    import argparse
    class FlexibleArgumentParser(argparse.ArgumentParser):
        pass
"""
ARGUMENTS = """
    def make_arg_parser(parser):
        parser.add_argument("model_tag")
        parser.add_argument("--tensor-parallel-size", type=int)
        return parser
"""
ENGINE = """
    import os
    from types import SimpleNamespace as Is
    class AsyncEngineArgs:
        @classmethod
        def from_cli_args(cls, args):
            assert "RAY_ADDRESS" not in os.environ
            return cls()
        def create_engine_config(self):
            print("INFO a line of the log")
            WHAT
            model = Is(get_total_num_hidden_layers=lambda: 4, max_model_len=2048, architecture="LlamaForCausalLM")
            return Is(
                model_config=model, parallel_config=Is(pipeline_parallel_size=4), cache_config=Is(cache_dtype="auto")
            )
"""
INDICES = "def get_pp_indices(layers, stage, stages):\n    return LAYERS\n"


@pytest.fixture
def asks(tmp_path: Path, group_document: Document, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks a vLLM which does WHAT when its configuration is made, and divides the layers as given."""

    def ask(what: str = "pass", layers: str = "(stage, stage + 1)", places: str = "openai", **changes: Any) -> None:
        modules = {
            "__init__": "__version__ = '0.26.0'",
            "utils.argparse_utils": PARSER,
            f"entrypoints.{places}.cli_args": ARGUMENTS,
            "engine.arg_utils": ENGINE.replace("WHAT", what),
            "distributed.utils": INDICES.replace("LAYERS", layers),
        }
        for name, code in modules.items():
            path = tmp_path / "lib" / "vllm" / (name.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(code))
        if not changes.get("only_make"):
            question(changes.get("arguments"))

    def question(arguments: Any = None) -> None:
        (tmp_path / "group.json").write_text(json.dumps(group_document))
        group = group_file.load(tmp_path / "group.json")
        place_index(group, json.loads(source_index(group_document)))
        if arguments:
            group = replace(group, engine_arguments=arguments)
        engine_answer.Question(group).ask()

    monkeypatch.setattr(engine_answer, "STATE_FOLDER", tmp_path / "state")
    monkeypatch.setattr(stage_division, "_PATH", tmp_path / "state" / "layers.json")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    ask.again = question  # type: ignore[attr-defined]
    return ask


def source_index(document: Document) -> str:
    """The index of a model of one layer for each shard."""
    shards = [name for names in document["staging"]["shards_per_stage"] for name in names]
    return json.dumps({"weight_map": {f"model.layers.{layer}.weight": name for layer, name in enumerate(shards)}})


def place_index(group: Group, index: Document) -> None:
    path = group.staging.root / ".multinode" / "index" / INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    "said",
    [
        *("", "x", "[]", "7", "{}", "null", '{"ok": 1}', '{"ok": "yes"}', '{"ok": false}', '{"ok": null}'),
        *(
            '{"ok": false, "kind": 7, "error": "x"}',
            '{"ok": true, "layers_per_stage": 7}',
            '{"ok": true}',
            '{"ok": []}',
        ),
        "[" * 100_000,
    ],
)
def test_what_is_no_answer_is_none_and_ends_nothing(
    said: str,
    group_document: Document,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The image's libraries, or a model's code, may have printed it."""
    (tmp_path / "said").write_text(said)
    (tmp_path / "question.py").write_text(f"print(open({str(tmp_path / 'said')!r}).read())")
    (tmp_path / "group.json").write_text(json.dumps(group_document))
    monkeypatch.setattr(engine_answer, "STATE_FOLDER", tmp_path / "state")
    monkeypatch.setattr(engine_answer, "QUESTION", tmp_path / "question.py")
    engine_answer.Question(group_file.load(tmp_path / "group.json")).ask()
    assert "vLLM was not asked before its start" in capfd.readouterr().out


@pytest.mark.parametrize("places", ["openai", "launchers"])
def test_an_answer_that_agrees_is_said_once_and_asked_once(
    asks: Any, places: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asks(places=places)
    assert '"layers_per_stage": [1, 1, 1, 1]' in capfd.readouterr().out
    asks("raise ValueError('would end it')")
    assert json.loads((tmp_path / "state" / "answer.json").read_text())["max_model_len"] == 2048


def test_a_refused_configuration_ends_the_group_with_its_cause_and_remedy(asks: Any) -> None:
    with pytest.raises(
        Failure, match="refuses to start: .*longer than the model's.*max_model_len .9999. is greater"
    ) as found:
        asks("raise ValueError('User-specified max_model_len (9999) is greater than the derived max_model_len')")
    assert found.value.lasting and found.value.phase == "engine" and "recipe_max_model_length" in found.value.remedy


def test_a_refused_argument_ends_it_with_the_words_of_argparse(asks: Any) -> None:
    with pytest.raises(Failure, match="unrecognized arguments: --foo") as found:
        asks(arguments=("--foo",))
    assert found.value.lasting


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raise RuntimeError('no device')", "RuntimeError: no device"),
        ("raise ValueError('Model architectures failed to be inspected')", "failed to be inspected"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("import time; time.sleep(60)", "no answer within"),
    ],
)
def test_no_answer_is_a_line_in_the_log(
    asks: Any, what: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_answer, "ASK_SECONDS", 3.0 if "sleep" in what else 60.0)
    began = time.monotonic()
    asks(what)
    assert said in capfd.readouterr().out and time.monotonic() - began < 50


def test_an_image_whose_vllm_lacks_an_entry_point_is_a_line_too(
    asks: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lib" / "vllm").mkdir(parents=True)
    (tmp_path / "lib" / "vllm" / "__init__.py").write_text("__version__ = '0.12.0'")
    asks.again()
    assert "this vLLM has no make_arg_parser" in capfd.readouterr().out


def test_no_cuda_context_is_made_for_the_question(asks: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lib" / "torch").mkdir(parents=True)
    (tmp_path / "lib" / "torch" / "__init__.py").write_text("")
    (tmp_path / "lib" / "torch" / "cuda.py").write_text("def _lazy_init():\n    raise SystemExit('GPU memory taken')\n")
    asks("import torch.cuda; torch.cuda._lazy_init()")
    assert "NeedsDevice" in capfd.readouterr().out


def test_another_division_is_served_where_the_files_allow_it(
    asks: Any, group_document: Document, capfd: pytest.CaptureFixture[str]
) -> None:
    layers = "((0, 2), (2, 3), (3, 4), (4, 4))[stage]"
    with pytest.raises(
        Redivided, match=r"\[2, 1, 1, 0\], the plan into \[1, 1, 1, 1\]: the files are staged by vLLM's"
    ):
        asks(layers=layers)
    # Another start that still lacks them cannot help itself.
    with pytest.raises(
        Failure, match=r"\[2, 1, 1, 0\], the plan into \[1, 1, 1, 1\]: stage 0 has no .*-00002"
    ) as found:
        asks(layers=layers)
    assert found.value.lasting and 'VLLM_PP_LAYER_PARTITION: "1,1,1,1"' in found.value.remedy
    group_document["staging"] |= {"by_stage": False, "shards_per_stage": []}
    asks(layers=layers)
    assert "vLLM divides the layers into [2, 1, 1, 0]" in capfd.readouterr().out


def test_a_refusal_ends_the_group_before_its_weights_have_arrived(
    asks: Any, make_group: MakeGroup, source: SourceServer, tmp_path: Path
) -> None:
    asks(
        "raise ValueError('User-specified max_model_len (9) is greater than the derived max_model_len')", only_make=True
    )
    group = make_group([0])
    group.head.environment["PYTHONPATH"] += f":{tmp_path / 'lib'}"
    # The stand-in's parser knows no more than this.
    document = json.loads((group.head.programs / "group.json").read_text())
    document["engine"]["args"] = ["--tensor-parallel-size", "2"]
    (group.head.programs / "group.json").write_text(json.dumps(document))
    source.fault = lambda number, name, start: Fault(rate=3000) if name.endswith(".safetensors") else None
    group.start()
    assert group.head.wait(60) == 1
    message = group.head.message()
    assert (message["phase"], message["state"]) == ("engine", "failed") and "max_model_len (9)" in message["cause"]
    assert "recipe_max_model_length" in message["remedy"]
    assert group.head.progress("staging")["state"] == "running"


def test_files_are_staged_as_vllm_divides_the_layers(
    asks: Any, make_group: MakeGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan has one, one and two layers on its stages."""
    monkeypatch.setitem(globals(), "ENGINE", ENGINE.replace("pipeline_parallel_size=4", "pipeline_parallel_size=3"))
    monkeypatch.setitem(globals(), "ARGUMENTS", ARGUMENTS.replace("--tensor-parallel-size", "--port"))
    asks(layers="((0, 2), (2, 3), (3, 4))[stage]", only_make=True)
    group = make_group([0, 1])
    group.head.environment["PYTHONPATH"] += f":{tmp_path / 'lib'}"
    group.start()
    assert group.head.wait(60) == 1
    assert "[2, 1, 1], the plan into [1, 1, 2]: the files are staged by vLLM's" in group.head.message()["cause"]
    began = time.monotonic()
    while group.head.probe()[0]:
        assert time.monotonic() - began < 60, group.head.log()
        for pod in group.pods:
            if pod.ended():
                pod.start()
        time.sleep(0.2)
    shards = [name for [name] in SHARDS]
    assert [shards_of(pod) for pod in group.pods] == [set(shards[:2]), {shards[2]}, {shards[3]}]
    assert [pod.failures() for pod in group.pods] == [[], [], []]
