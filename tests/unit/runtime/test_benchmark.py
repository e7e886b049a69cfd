# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's program: what it stages, how it calls vLLM, and what it says of each load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import benchmark
import group_file
import pytest
from pod_progress import Board, Failure

from tests.unit.runtime.source_server import INDEX, SHARDS, SourceServer
from tests.unit.runtime.staged import Document, held

pytestmark = pytest.mark.usefixtures("quick_staging")

ASKED = {
    "url": "http://head:8000",
    "model": '-a "name"/b $(id)',
    "loads": [1, 4],
    "input_tokens": 32,
    "output_tokens": 4,
}
RESULT = {**dict.fromkeys(benchmark._FIGURES, 2.5), "generated_texts": ["secret"], "errors": []}
STAND_IN = """#!/usr/bin/env python3
import json, os, pathlib, sys
given = dict(word[2:].partition("=")[::2] for word in sys.argv[3:])
folder = pathlib.Path(os.environ["VLLM_STAND_IN"])
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
print("ran at", given["max-concurrency"])
code, text = json.loads((folder / "answers").read_text())[given["max-concurrency"]]
if text is not None:
    (pathlib.Path(given["result-dir"]) / given["result-filename"]).write_text(text)
if code == "sleep":
    import time
    time.sleep(60)
sys.exit(code)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vllm").write_text(STAND_IN)
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_STAND_IN", str(tmp_path))
    monkeypatch.setattr(benchmark, "STATE_FOLDER", tmp_path)
    return tmp_path


def measure(
    document: Document, place: Path, capfd: pytest.CaptureFixture[str], answers: dict[str, Any], seconds: float = 60
) -> tuple[int, list[dict[str, Any]]]:
    (place / "answers").write_text(json.dumps(answers))
    (place / "group.json").write_text(json.dumps(document))
    capfd.readouterr()
    code = benchmark.measure(group_file.load(place / "group.json"), place / "model", {**ASKED, "seconds": seconds})
    lines = capfd.readouterr().out.splitlines()
    return code, [json.loads(line[10:]) for line in lines if line.startswith("benchmark {")]


def test_every_file_but_the_weights_is_staged_beside_the_programs(
    group_document: Document, source: SourceServer, place: Path
) -> None:
    (place / "group.json").write_text(json.dumps(group_document))
    folder = benchmark._stage(group_file.load(place / "group.json"), Board())
    assert folder == place / "model"
    weights = {name for names in SHARDS for name in names} | {INDEX}
    assert held(place) == set(source.files) - weights


def test_files_of_a_folder_are_where_they_are(group_document: Document, place: Path) -> None:
    group_document["staging"] |= {"source": "folder", "root": str(place / "there")}
    (place / "group.json").write_text(json.dumps(group_document))
    assert benchmark._stage(group_file.load(place / "group.json"), Board()) == place / "there"


def test_each_load_is_a_line_with_figures_and_no_texts(
    group_document: Document, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = measure(group_document, place, capfd, dict.fromkeys("14", [0, json.dumps(RESULT)]))
    assert code == 0 and [entry["concurrency"] for entry in said] == [1, 4]
    assert all(entry["result"].keys() == set(benchmark._FIGURES) for entry in said)
    for line, concurrency, prompts in zip((place / "calls").read_text().splitlines(), (1, 4), (8, 12), strict=True):
        words = json.loads(line)
        assert words[:2] == ["bench", "serve"] and f"--model={ASKED['model']}" in words
        assert f"--tokenizer={place / 'model'}" in words and f"--num-prompts={prompts}" in words
        assert f"--max-concurrency={concurrency}" in words and "--ignore-eos" in words and "--insecure" not in words


def test_the_tokenizer_is_read_as_the_engine_reads_it(tmp_path: Path) -> None:
    given = ("--tokenizer", "/data/t", "--tokenizer-mode=mistral", "--trust-remote-code", "--seed", "1")
    expected = ["--tokenizer=/data/t", "--tokenizer-mode=mistral", "--trust-remote-code"]
    assert benchmark.tokenizer_options(given, tmp_path) == expected
    assert benchmark.tokenizer_options(("--tokenizer",), tmp_path) == ["--tokenizer="]


def test_a_group_with_tls_in_its_pod_is_asked_over_it(group_document: Document, place: Path) -> None:
    group_document["engine"]["tls"] = True
    (place / "group.json").write_text(json.dumps(group_document))
    words = benchmark.command(group_file.load(place / "group.json"), place, ASKED, 1)
    assert words[-1] == "--insecure"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([2, None], "ended with 2: ran at 4"),
        ([0, None], "no result that can be read: FileNotFoundError"),
        ([0, '{"duration": '], "no result that can be read: JSONDecodeError"),
        ([0, '{"duration": "x"}'], "no result that can be read: ValueError"),
        ([0, "[]"], "no result that can be read: AttributeError"),
        ([0, "[" * 100000], "no result that can be read"),
        ([0, '{"duration": 1' + " " * 2**20 + "}"], "no result that can be read: JSONDecodeError"),
    ],
)
def test_a_load_that_fails_is_told_and_those_before_it_count(
    group_document: Document, place: Path, capfd: pytest.CaptureFixture[str], answer: Any, words: str
) -> None:
    code, said = measure(group_document, place, capfd, {"1": [0, json.dumps(RESULT)], "4": answer})
    assert code == 0 and said[0]["result"] and words in said[1]["error"]
    with pytest.raises(Failure, match="ended|no result"):
        measure(group_document, place, capfd, {"1": answer})


def test_a_load_that_takes_too_long_is_ended(
    group_document: Document, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(RESULT)
    _code, said = measure(group_document, place, capfd, {"1": [0, good], "4": ["sleep", good]}, seconds=2)
    assert said[1] == {"concurrency": 4, "error": "the time of the benchmark is over"}
