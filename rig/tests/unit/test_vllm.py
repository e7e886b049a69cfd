# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for vLLM, without Ray: command line, the model's files, what is refused; and the stand-in for nvidia-smi."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rig.configuration import REPOSITORY
from rig.model import INDEX_NAME, write_tiny_llama
from rig.oci.engines import Engines

IMAGE = REPOSITORY / "rig" / "images" / "vllm-ray"
sys.path.insert(0, str(IMAGE / "lib"))

# Found on the path since the line above, so they cannot stand with the others.
from vllm import arguments, checkpoint, checks  # noqa: E402
from vllm.metrics import Metrics  # noqa: E402
from vllm.server import Server  # noqa: E402


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the image with the tests' Python in front."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(IMAGE / "bin" / program), *words],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestArguments:
    def test_what_the_product_gives(self) -> None:
        words = "/models/m -tp 2 --pipeline_parallel_size=3 --served-model-name a b --max-model-len 8k --enforce-eager"
        found = arguments.parse(words.split())
        assert (found.model_tag, found.tensor_parallel_size, found.pipeline_parallel_size) == ("/models/m", 2, 3)
        assert (found.served_model_name, found.max_model_len, found.enforce_eager) == (["a", "b"], 8000, True)

    def test_unknown_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            arguments.parse(["/models/m", "--no-such-option", "1"])
        assert ended.value.code == 2
        assert "vllm serve: error: unrecognized arguments: --no-such-option 1" in capsys.readouterr().err

    @pytest.mark.parametrize(("version", "known"), [("0.22.0", False), ("0.26.0", True)])
    def test_options_by_version(self, version: str, known: bool) -> None:
        words = ["/models/m", "--shutdown-timeout", "5"]
        if known:
            assert arguments.parse(words, version).shutdown_timeout == 5
        else:
            with pytest.raises(SystemExit):
                arguments.parse(words, version)

    def test_options_that_went(self) -> None:
        assert arguments.parse(["m", "--swap-space", "2"], "0.26.0").swap_space == 2
        with pytest.raises(SystemExit):
            arguments.parse(["m", "--swap-space", "2"], "0.32.0")

    def test_no_key_is_shown(self) -> None:
        shown = arguments.given(arguments.parse(["/models/m", "--api-key", "secret"]))
        assert shown == {"model_tag": "/models/m", "api_key": ["***"]}

    def test_help_and_version(self) -> None:
        everything = run("vllm", "serve", "--help=all", RIG_VLLM_VERSION="0.24.0")
        assert everything.returncode == 0
        assert "--tensor-parallel-size" in everything.stdout
        assert "--enable-ep-weight-filter" not in everything.stdout
        assert "--help=all" in run("vllm", "serve", "--help").stdout
        one = run("vllm", "serve", "--help=max-model-len").stdout
        assert "--max-model-len" in one
        assert "--port" not in one
        assert run("vllm", "--version", RIG_VLLM_VERSION="0.31.1").stdout.strip() == "0.31.1"


class TestStages:
    @pytest.mark.parametrize(
        ("layers", "count", "sizes"),
        [
            (61, 2, [31, 30]),
            (61, 3, [20, 21, 20]),
            (61, 4, [15, 15, 16, 15]),
            (80, 3, [27, 27, 26]),
            (126, 4, [31, 32, 32, 31]),
            (94, 4, [23, 24, 24, 23]),
            (4, 1, [4]),
        ],
    )
    def test_division_as_in_vllm(self, layers: int, count: int, sizes: list[int]) -> None:
        found = checkpoint.stages(layers, count)
        assert [stage.end_layer - stage.first_layer for stage in found] == sizes
        assert (found[0].first_layer, found[-1].end_layer) == (0, layers)
        assert [stage.is_first for stage in found] == [True] + [False] * (count - 1)

    def test_given_division(self) -> None:
        assert [stage.end_layer for stage in checkpoint.stages(61, 3, "20,20,21")] == [20, 40, 61]
        for wrong in ("30,31", "20,20,20"):
            with pytest.raises(ValueError, match="does not match"):
                checkpoint.stages(61, 3, wrong)


def load(folder: Path, stage: checkpoint.Stage) -> list[bytes]:
    """What a rank makes of the files."""
    digests: dict[str, bytes] = {}
    for _, _, part in checkpoint.load(str(folder), checkpoint.read_config(str(folder)), stage):
        digests.update(part)
    return checkpoint.chain(digests, stage)


class TestCheckpoint:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        write_tiny_llama(tmp_path, shards=4, layers=4)
        return tmp_path

    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_the_same_whatever_the_division(self, model: Path, count: int) -> None:
        whole = load(model, checkpoint.stages(4, 1)[0])
        assert sum((load(model, stage) for stage in checkpoint.stages(4, count)), []) == whole

    def test_a_stage_needs_only_its_own_files(self, model: Path) -> None:
        first, last = checkpoint.stages(4, 2)
        whole = load(model, last)
        index = json.loads((model / INDEX_NAME).read_text())
        needed = {file for name, file in index["weight_map"].items() if checkpoint.belongs(name, last, tied=False)}
        assert len(needed) < 4
        kept = {name: file for name, file in index["weight_map"].items() if file in needed}
        (model / INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": kept}))
        for path in model.glob("*.safetensors"):
            if path.name not in needed:
                path.unlink()
        assert load(model, last) == whole
        with pytest.raises(ValueError, match=r"not initialized from checkpoint: .*embed_tokens"):
            load(model, first)

    def test_a_file_that_the_index_names_is_missing(self, model: Path) -> None:
        (model / "model-00002-of-00004.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match="referenced in index but missing: model-00002"):
            load(model, checkpoint.stages(4, 1)[0])

    def test_without_index_all_files_are_taken(self, model: Path) -> None:
        whole = load(model, checkpoint.stages(4, 1)[0])
        (model / INDEX_NAME).unlink()
        assert load(model, checkpoint.stages(4, 1)[0]) == whole

    def test_a_file_cut_short(self, model: Path) -> None:
        path = model / "model-00002-of-00004.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(checkpoint.CheckpointError, match="incomplete metadata, file not fully covered"):
            load(model, checkpoint.stages(4, 1)[0])

    def test_changed_bytes_change_the_answer(self, model: Path) -> None:
        path = model / "model-00002-of-00004.safetensors"
        before = load(model, checkpoint.stages(4, 1)[0])
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert load(model, checkpoint.stages(4, 1)[0]) != before

    def test_no_files_no_config_no_folder(self, model: Path, tmp_path: Path) -> None:
        for path in model.glob("model*"):
            path.unlink()
        with pytest.raises(RuntimeError, match="Cannot find any model weights"):
            load(model, checkpoint.stages(4, 1)[0])
        (model / "config.json").unlink()
        with pytest.raises(ValueError, match="Invalid repository ID or local directory"):
            checkpoint.read_config(str(model))
        with pytest.raises(OSError, match="not a local folder"):
            checkpoint.read_config("org/name")


class TestChecks:
    def check(self, **changes: Any) -> SimpleNamespace:
        given = {
            "tensor_parallel_size": 2,
            "pipeline_parallel_size": 2,
            "distributed_executor_backend": "ray",
            "max_model_len": None,
        }
        found = SimpleNamespace(**{**given, **changes})
        checks.check(found, {"num_attention_heads": 4, "num_hidden_layers": 4, "max_position_embeddings": 2048})
        return found

    def test_length_comes_from_the_model(self) -> None:
        assert self.check().max_model_len == 2048
        assert self.check(max_model_len=512).max_model_len == 512

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            ({"tensor_parallel_size": 3}, r"attention heads \(4\) must be divisible by tensor parallel size \(3\)"),
            ({"distributed_executor_backend": None}, r"World size \(4\) is larger than"),
            ({"max_model_len": 4096}, r"max_model_len \(4096\) is greater than the derived"),
            ({"pipeline_parallel_size": 5}, "5 pipeline stages"),
        ],
    )
    def test_refused(self, changes: dict[str, Any], part: str) -> None:
        with pytest.raises(ValueError, match=part):
            self.check(**changes)

    def test_service_named_vllm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLLM_PORT", "tcp://10.96.0.7:8000")
        with pytest.raises(ValueError, match="appears to be a URI"):
            self.check()


class TestMiddleware:
    """`--middleware`: what the classes answer, and in which order they are asked."""

    MODULE = """
class Log:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        scope["headers"].append((b"seen-by", type(self).__name__.encode()))
        await self.app(scope, receive, send)
class Refuse(Log):
    async def __call__(self, scope, receive, send):
        seen = b",".join(value for name, value in scope["headers"] if name == b"seen-by")
        if scope["path"] == "/closed here":
            start = {"type": "http.response.start", "status": 418, "headers": [(b"seen", seen)]}
            await send(start)
            await send({"type": "http.response.body", "body": scope["method"].encode() + scope["query_string"]})
        else:
            await self.app(scope, receive, send)
def function(): pass
"""

    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A module of classes on Python's path."""
        (tmp_path / "rig_middleware.py").write_text(self.MODULE)
        monkeypatch.syspath_prepend(str(tmp_path))
        yield
        sys.modules.pop("rig_middleware", None)

    def ask(self, names: list[str], path: str, **options: Any) -> tuple[int, str | None, str]:
        """Status, header `seen` and text of the server's answer with these classes."""
        words = [word for name in names for word in ("--middleware", f"rig_middleware.{name}")]
        given = arguments.parse(["/models/m", *words])
        engine: Any = SimpleNamespace(dead=threading.Event())

        async def answer() -> tuple[int, str | None, str]:
            async with TestClient(TestServer(Server(engine, given, {"key"}).application())) as client:
                found = await client.get(path, **options)
                return found.status, found.headers.get("seen"), await found.text()

        return asyncio.run(answer())

    def test_the_last_one_is_asked_first(self) -> None:
        assert self.ask(["Log", "Refuse"], "/closed%20here?a=1") == (418, "", "GETa=1")
        assert self.ask(["Refuse", "Log"], "/closed%20here") == (418, "Log", "GET")

    def test_what_passes_is_answered_as_without(self) -> None:
        for names in ([], ["Refuse", "Log"]):
            assert self.ask(names, "/version")[0] == 200
            assert self.ask(names, "/v1/models")[0] == 401
            assert self.ask(names, "/v1/models", headers={"Authorization": "Bearer key"})[0] == 200

    def test_what_is_no_class_ends_the_start(self) -> None:
        with pytest.raises(ValueError, match="Invalid middleware rig_middleware.function"):
            self.ask(["function"], "/version")
        with pytest.raises(AttributeError):
            self.ask(["Missing"], "/version")


def test_metrics_have_vllms_names() -> None:
    metrics = Metrics("tiny", running=2, generation_tokens=7, steps=9, failures=2)
    metrics.answers["/v1/completions", "POST", "5xx"] += 2
    page = metrics.text()
    assert 'vllm:num_requests_running{engine="0",model_name="tiny"} 2.0' in page
    assert 'vllm:generation_tokens_total{engine="0",model_name="tiny"} 7.0' in page
    assert 'vllm:iteration_tokens_total_count{engine="0",model_name="tiny"} 9.0' in page
    assert 'vllm:request_success_total{engine="0",model_name="tiny",finished_reason="error"} 2.0' in page
    assert 'http_requests_total{handler="/v1/completions",method="POST",status="5xx"} 2.0' in page


class TestNvidiaSmi:
    QUERY = (
        "--query-gpu=index,name,memory.total,memory.free,driver_version,compute_cap",
        "--format=csv,noheader,nounits",
    )

    def test_shows_the_devices_of_the_pod(self) -> None:
        found = run("nvidia-smi", *self.QUERY, RIG_NODE_SHAPE="BM.GPU.A10.4", NVIDIA_VISIBLE_DEVICES="2,3")
        assert found.stdout.splitlines() == [
            "0, NVIDIA A10, 23028, 22578, 580.95.05, 8.6",
            "1, NVIDIA A10, 23028, 22578, 580.95.05, 8.6",
        ]

    def test_list_and_header(self) -> None:
        listed = run("nvidia-smi", "-L", RIG_NODE_SHAPE="BM.GPU.H100.8", NVIDIA_VISIBLE_DEVICES="all").stdout
        assert listed.count("GPU ") == 8
        head = run("nvidia-smi", "--query-gpu=memory.total", RIG_NODE_SHAPE="VM.GPU.A10.1").stdout.splitlines()
        assert head == ["memory.total [MiB]", "23028 MiB"]

    def test_no_gpu_and_wrong_field(self) -> None:
        none = run("nvidia-smi", "-L", NVIDIA_VISIBLE_DEVICES="void", RIG_NODE_SHAPE="VM.GPU.A10.1")
        assert none.returncode == 9
        assert "couldn't communicate with the NVIDIA driver" in none.stdout
        wrong = run("nvidia-smi", "--query-gpu=colour", RIG_NODE_SHAPE="VM.GPU.A10.1")
        assert (wrong.returncode, "not a valid field" in wrong.stdout) == (2, True)


FAILURES = json.loads((IMAGE / "failures" / "exit_codes.json").read_text())


def test_each_failure_has_its_log() -> None:
    assert sorted(FAILURES) == sorted(path.stem for path in (IMAGE / "failures").glob("*.log"))


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_it_fails_as_the_real_one_did(name: str) -> None:
    engines = Engines()
    engines.steer("tiny", "fail", {"log": name})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(engines.asked("tiny")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        ended = run("vllm", "serve", "/models/m", RIG_ENGINE_CONTROL=f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
    assert ended.returncode == FAILURES[name]
    assert ended.stdout == (IMAGE / "failures" / f"{name}.log").read_text()
    assert engines.steer("tiny", "heal", {})["told"] == 1, "a start asks once"


QUESTION = REPOSITORY / "roles" / "raycluster" / "files" / "engine_question.py"


def asked(folder: Path, words: str) -> dict[str, Any]:
    """What the stand-in answers to the question that the pods ask vLLM."""
    (folder / "config.json").write_text(
        json.dumps(
            {"architectures": ["A"], "num_attention_heads": 4, "num_hidden_layers": 6, "max_position_embeddings": 64}
        )
    )
    done = subprocess.run(
        [sys.executable, str(QUESTION), str(folder), *words.split()],
        env={**os.environ, "PYTHONPATH": str(IMAGE / "lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_it_can_be_asked_before_it_is_started_as_vllm_can(tmp_path: Path) -> None:
    said = asked(tmp_path, "--pipeline-parallel-size 4 --distributed-executor-backend ray --max-model-len 32")
    assert said["ok"] and said["layers_per_stage"] == [1, 2, 2, 1] and said["max_model_len"] == 32
    assert "must be divisible" in asked(tmp_path, "--tensor-parallel-size 3")["error"]
    assert "greater than the derived" in asked(tmp_path, "--max-model-len 65")["error"]
    assert "unrecognized arguments: --foo" in asked(tmp_path, "--foo 1")["error"]
