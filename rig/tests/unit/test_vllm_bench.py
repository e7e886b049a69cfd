# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for `vllm bench serve`: real requests, and the result file that vLLM writes."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rig.configuration import REPOSITORY

# Of vllm/benchmarks/serve.py (0.12 to 0.32), of a result saved without its details.
KEYS = {
    *("date", "backend", "endpoint_type", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate"),
    *("burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens"),
    *("request_throughput", "request_goodput", "output_throughput", "total_token_throughput"),
    *("max_output_tokens_per_s", "max_concurrent_requests"),
    *(f"{kind}_{name}_ms" for kind in ("mean", "median", "std", "p99") for name in ("ttft", "tpot", "itl", "e2el")),
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = REPOSITORY / "rig" / "images" / "vllm-ray" / "lib" / "vllm" / "bench.py"
    specification = importlib.util.spec_from_file_location("stand_in_bench", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "stand_in_bench", module)
    specification.loader.exec_module(module)
    return module


class Api(BaseHTTPRequestHandler):
    """Streams as many tokens as are asked for, to who has the key; `asked` are the bodies."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer right":
            self.send_error(401)
            return
        self.asked.append(body)
        self.send_response(200)
        self.end_headers()
        for _token in range(body["max_tokens"]):
            self.wfile.write(b'data: {"choices": [{"text": "a"}]}\n\n')
        self.wfile.write(b'data: {"choices": [{"text": ""}]}\n\ndata: [DONE]\n\n')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Api.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def words(url: str, folder: Path) -> list[str]:
    (folder / "tokenizer.json").write_text("{}")
    return [
        *(f"--base-url={url}", "--model=a b", f"--tokenizer={folder}", "--num-prompts=6", "--max-concurrency=2"),
        *("--random-input-len=16", "--random-output-len=3", "--seed=1", "--ignore-eos", "--save-result"),
        *(f"--result-dir={folder}", "--result-filename=r.json", "--percentile-metrics=ttft,tpot,itl,e2el"),
    ]


def test_it_asks_for_real_and_writes_vllms_result(bench: ModuleType, url: str, tmp_path: Path) -> None:
    assert bench.main(words(url, tmp_path)) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result.keys() == KEYS
    assert (result["completed"], result["failed"], result["total_output_tokens"]) == (6, 0, 18)
    assert 1 <= result["max_concurrent_requests"] <= 2
    # The test run, and the prompts.
    assert len(Api.asked) == 7 and all(body["model"] == "a b" and body["ignore_eos"] for body in Api.asked)
    assert len({body["prompt"] for body in Api.asked}) == 6


def test_a_wrong_key_an_option_it_lacks_and_a_tokenizer_that_is_missing_end_it(
    bench: ModuleType, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = words(url, tmp_path)
    with pytest.raises(SystemExit) as ended:
        bench.main([*given, "--no-such-option"])
    assert ended.value.code == 2
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert bench.main(given) == 1
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    (tmp_path / "tokenizer.json").unlink()
    assert bench.main(given) == 1 and not (tmp_path / "r.json").exists()
