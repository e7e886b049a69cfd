# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's metrics prove: that it gives tokens and fails nobody."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from engine_heartbeat import Pulse

PAGE = """# TYPE vllm:generation_tokens counter
vllm:num_requests_running{{engine="0",model_name="tiny"}} {running}
vllm:prompt_tokens_total{{engine="0",model_name="tiny"}} {steps}
vllm:generation_tokens_total{{engine="0",model_name="tiny"}} {tokens}
vllm:request_generation_tokens_sum{{engine="0",model_name="tiny"}} {steps}
vllm:iteration_tokens_total_count{{engine="0",model_name="tiny"}} {steps}
vllm:request_success_total{{engine="0",finished_reason="length",model_name="tiny"}} {steps}
vllm:request_success_total{{engine="0",finished_reason="error",model_name="tiny"}} {ended}
http_requests_total{{handler="/v1/completions",method="POST",status="2xx"}} {steps}
http_requests_total{{handler="/v1/completions",method="POST",status="4xx"}} {steps}
http_requests_total{{handler="/v1/chat/completions",method="POST",status="5xx"}} {refused}
"""
BEFORE = {"running": 1, "steps": 5, "tokens": 50, "ended": 2, "refused": 3}


@pytest.fixture
def pulse(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Pulse:
    """The pulse of an engine, looked at once."""
    monkeypatch.setattr(Pulse, "_run", lambda self: None)
    made = Pulse(8000)
    made.note(PAGE.format(**BEFORE))
    clock[0] += 100
    return made


@pytest.mark.parametrize(
    ("meanwhile", "gave", "proven"),
    [
        ({"steps": 6, "tokens": 90}, True, True),
        ({}, False, False),
        # It counts a failed request as a step, with its prompt.
        ({"steps": 9, "ended": 6}, False, False),
        ({"steps": 9, "tokens": 90, "ended": 3}, True, False),
        # The engine does its part, and the API server fails to answer with it.
        ({"steps": 9, "tokens": 90, "refused": 4}, True, False),
        # Whoever asks amiss is refused by a healthy engine.
        ({"steps": 9}, False, False),
    ],
    ids=["serves", "idle", "fails", "fails some", "fails to answer", "refuses"],
)
def test_tokens_given_while_nobody_is_failed_prove_it(
    pulse: Pulse, clock: list[float], meanwhile: dict[str, int], gave: bool, proven: bool
) -> None:
    pulse.note(PAGE.format(**BEFORE | meanwhile))
    assert (pulse.gave == clock[0], pulse.proven == clock[0]) == (gave, proven)


@pytest.mark.parametrize(
    "page",
    [
        "vllm:num_requests_running x",
        "vllm:num_requests_running NaN\nvllm:generation_tokens_total +Inf",
        "vllm:num_requests_running " + "9" * 5000,
        "vllm:generation_tokens_total{" * 10_000,
        "\x00\ufffd",
        "",
    ],
)
def test_a_page_that_is_none_ends_no_watch(pulse: Pulse, page: str) -> None:
    pulse.note(page)
    assert pulse.failure() is None


def test_what_failed_before_is_not_held_against_it(pulse: Pulse, clock: list[float]) -> None:
    pulse.note(PAGE.format(**BEFORE | {"tokens": 60, "refused": 9}))
    clock[0] += 10
    pulse.note(PAGE.format(**BEFORE | {"tokens": 70, "refused": 9}))
    assert pulse.proven == clock[0]


def test_no_step_while_requests_run_is_a_hang_and_a_step_is_none(pulse: Pulse, clock: list[float]) -> None:
    clock[0] += 400
    pulse.note(PAGE.format(**BEFORE | {"running": 3}))
    failure = pulse.failure()
    assert failure is not None
    assert failure.cause == "the engine hangs: for 500 s 3 requests are running and it makes no step"
    pulse.note(PAGE.format(**BEFORE | {"running": 3, "steps": 6}))
    assert pulse.failure() is None
    clock[0] += 400
    pulse.note(PAGE.format(**BEFORE | {"running": 0, "steps": 6}))
    assert pulse.failure() is None


def test_the_metrics_are_asked_for_with_the_key(pulse: Pulse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f"{self.path} {self.headers['Authorization']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    (tmp_path / "default").write_text("the-key\n")
    monkeypatch.setattr("engine_keys.FOLDER", tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        pulse._port = server.server_port
        assert pulse._ask() == "/metrics Bearer the-key"
