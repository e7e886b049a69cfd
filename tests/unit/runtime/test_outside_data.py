# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an engine's log, another pod, or a file in the pod says: the programs read it or count it as not said, and live on."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benchmark
import engine_answer
import engine_process
import group_file
import group_metrics
import group_restarts
import pod_status
import pytest
import ray_driver
import stage_division
import stage_partial
import stage_tensors
from engine_measures import measured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pod_progress import Board, Failure

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
NUMBER = st.sampled_from(["1", "1.2.3", ".", ",", "-", "٣", "9" * 5000, "9" * 400, "1,234"]) | st.text(
    "0123456789.,-", max_size=6
)
LINES = [
    "(EngineCore pid=7) ERROR 11-27 21:40:00 x",
    "(Worker_PP{0}_TP{1} pid={2}, ip=192.0.2.1) ERROR 11-27 21:40:00 ValueError: rank=[{0}, {1}] died",
    "Model loading took {0} GiB memory and {1} seconds",
    "Available KV cache memory: {0} GiB",
    "GPU KV cache size: {0} tokens",
    "Maximum concurrency for {0} tokens per request: {1}x",
    "Loading safetensors checkpoint shards:  {0}% Completed | {1}/{2} [00:01<00:00]",
    "Capturing CUDA graphs: {0}%| {1}/{2}",
    'Traceback (most recent call last):\n  File "{0}", line {1}, in x\nValueError: rank=[{2}]',
    "keys {0}",
    "multinode {0}",
]
SAID = st.builds(lambda line, *numbers: line.format(*numbers), st.sampled_from(LINES), NUMBER, NUMBER, NUMBER)


@FEW
@given(st.lists(SAID | st.text(max_size=60), max_size=6))
def test_a_log_of_an_engine(said: list[str]) -> None:
    group: Any = SimpleNamespace(model_path="/nowhere", tensor=8, pipeline=2)
    engine = engine_process.Engine(group, Board())
    child: Any = SimpleNamespace(poll=lambda: 1, stdout=None)
    engine._process = child
    for text in said:
        for line in text.splitlines():
            engine._read(line)
            assert all(math.isfinite(value) for value in measured(line, {}).values())
    failure = engine.failure()
    assert failure is None or failure.cause


def test_a_line_without_an_end_takes_no_more_memory_than_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is read from the engine matters: the rest of a line is passed on as lines of its own."""
    monkeypatch.setattr(engine_process, "LINE_BYTES", 100)
    group: Any = None
    engine, read = engine_process.Engine(group, Board()), []
    stream = BytesIO(b"x" * 1000 + b"\nend\n")
    monkeypatch.setattr(engine_process.os, "read", lambda _file, _most: stream.read(64))
    monkeypatch.setattr(engine, "_read", read.append)
    process: Any = SimpleNamespace(stdout=SimpleNamespace(fileno=lambda: 0))
    engine._process = process
    engine._pass_on()
    assert "".join(read) == "x" * 1000 + "end" and max(map(len, read)) < 200


class _Pod(HTTPServer):
    said = b""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            # The server is a _Pod, which BaseHTTPRequestHandler does not know.
            self.wfile.write(self.server.said)  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pod() -> Iterator[_Pod]:
    server = _Pod(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


STATUS = {"role": "worker", "run": "a", "phases": {}, "state": "forming"}


@settings(FEW, max_examples=60)
@given(said=JSON.map(json.dumps) | st.text(max_size=20) | st.sampled_from([json.dumps(STATUS), "[" * 200_000]))
def test_a_status_of_another_pod(pod: _Pod, said: str) -> None:
    pod.said = said.encode()
    with contextlib.suppress(OSError, ValueError):
        status = pod_status.ask("127.0.0.1", pod.server_port)
        assert isinstance(status["run"], str) and isinstance(status["role"], str)


def test_a_status_that_never_ends_is_none(pod: _Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_status, "MOST_BYTES", 1000)
    pod.said = b'{"run": "' + b"x" * 10_000
    with pytest.raises(ValueError):
        pod_status.ask("127.0.0.1", pod.server_port)


@FEW
@given(JSON.map(json.dumps) | st.text(max_size=20), JSON, JSON)
def test_files_of_the_pod(tmp_path: Path, text: str, served: Any, entry: Any) -> None:
    documents = [text, json.dumps({"served": served, "failures": [entry]}), json.dumps({"failures": entry})]
    documents.append(json.dumps({"served": None, "failures": [{"time": served, "cause": entry}]}))
    for document in documents:
        (tmp_path / "failures.json").write_bytes(document.encode(errors="surrogatepass"))
        restarts = group_restarts.Restarts.__new__(group_restarts.Restarts)
        restarts._path, restarts._window, restarts._served = tmp_path / "failures.json", 60.0, None
        restarts._failures = restarts._read()
        json.dumps([restarts.count, restarts.unserved])
        (tmp_path / "result.json").write_bytes(document.encode(errors="surrogatepass"))
        with contextlib.suppress(Failure):
            benchmark.figures(tmp_path / "result.json")


@FEW
@given(JSON)
def test_what_the_images_vllm_answers(answer: Any) -> None:
    for said in (answer, {"ok": True, "layers_per_stage": answer}, {"ok": False, "kind": "x", "error": answer}):
        with contextlib.suppress(ValueError):
            assert engine_answer._checked(said)["ok"] in (True, False, None)


@FEW
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 5000, b'{"size": 9}\n1 2\n3', b"\xff\n"]))
def test_a_journal(tmp_path: Path, written: bytes) -> None:
    file = group_file.ModelFile("a/b", 9, None, None)
    (tmp_path / f"{stage_partial.part_name('a/b')}.journal").write_bytes(written)
    stage_partial.Part(stage_partial.Wanted(file, 9, tmp_path / "whole"), tmp_path)


@FEW
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 5000), NUMBER)
def test_a_header_of_a_weight_file(tmp_path: Path, header: bytes, number: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with contextlib.suppress(Failure):
        stage_tensors._tensors(tmp_path / "a.safetensors")
    assert stage_tensors._layer_of(f"model.layers.{number}.weight", 8) in (None, *range(8))


@FEW
@given(st.lists(JSON.map(lambda value: ray_driver.MARK + json.dumps(value)) | st.text(max_size=20), max_size=4))
def test_what_the_program_says_that_asks_ray(said: list[str]) -> None:
    cluster = ray_driver.Cluster("192.0.2.1:6379")
    driver: Any = SimpleNamespace(stdout=[line.encode(errors="replace") for line in said])
    cluster._listen(driver)
    with contextlib.suppress(ConnectionError):
        assert all(isinstance(node, ray_driver.Node) for node in cluster.nodes())


@FEW
@given(JSON, JSON)
def test_the_groups_metrics(done: Any, quiet: Any) -> None:
    status = {"state": "serving", "phases": {"ray": {"done": done}}, "unserved": quiet, "quiet": quiet}
    for line in group_metrics.text(status, {"ray": 1.0}, 0, 0).splitlines():
        assert line.startswith("#") or math.isfinite(float(line.rpartition(" ")[2]))


@FEW
@given(JSON)
def test_a_division_of_layers(said: Any) -> None:
    group: Any = SimpleNamespace(staging=SimpleNamespace(by_stage=True), pipeline=3)
    if stage_division.is_division(said, group):
        assert [type(count) for count in said] == [int, int, int]


def test_every_program_that_reads_json_is_here() -> None:
    """A program that begins to read some has to be added, or told why not."""
    elsewhere: dict[str, str] = {
        "engine_line.py": "a line of the engine's log, which is read here",
        "head.py": "what ready.py left",
        "engine_options.py": "the image's own list of options, caught whole",
        "group_file.py": "rendered by the collection",
        "engine_question.py": "its own argument list; what it answers is checked here",
        "engine_keys.py": "files of a Secret (test_engine_key_guard)",
        "pod_progress.py": "writes only",
        "engine_heartbeat.py": "what the engine answers (test_engine_heartbeat)",
        "stage_model.py": "the record of complete files (test_stage_model)",
        "ready.py": "what the engine answers, caught whole",
    }
    here = Path(__file__).read_text(encoding="utf-8")
    folder = Path(engine_process.__file__).parent
    for path in folder.glob("*.py"):
        if "json.load" in path.read_text(encoding="utf-8"):
            assert path.name in elsewhere or f"{path.stem}." in here, path.name
