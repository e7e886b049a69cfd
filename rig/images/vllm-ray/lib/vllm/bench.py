# SPDX-License-Identifier: GPL-3.0-or-later
"""`vllm bench serve` with random prompts against an OpenAI API: real requests, vLLM's options, output and result file.

Source: vllm/benchmarks/serve.py and lib/endpoint_request_func.py. The key comes by OPENAI_API_KEY. What the product does not use is not
imitated: other data sets and back ends, rates, warm-ups, LoRA. As there, the tokenizer is read from its folder before anything is asked.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import os
import random
import ssl
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METRICS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2EL"}


@dataclasses.dataclass
class Answer:
    """One request: when each of its tokens came, in seconds."""

    began: float
    error: str = ""
    arrivals: list[float] = dataclasses.field(default_factory=list)


def main(words: Sequence[str]) -> int:
    """Run the benchmark; the exit code."""
    options = _parse(words)
    print(options)
    random.seed(options.seed)
    tokenizer = Path(options.tokenizer or options.model)
    if not (tokenizer / "tokenizer.json").is_file() and not (tokenizer / "tokenizer_config.json").is_file():
        print(f"OSError: Can't load tokenizer for '{tokenizer}'.", file=sys.stderr)
        return 1
    prompts = ["".join(random.choices("abcdefgh ", k=options.random_input_len)) for _ in range(options.num_prompts)]
    print("Starting initial single prompt test run...")
    first = _ask(options, prompts[0])
    if first.error:
        print(f"ValueError: Initial test run failed. Error: {first.error}", file=sys.stderr)
        return 1
    print("Starting main benchmark run...")
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.max_concurrency or options.num_prompts) as pool:
        answers = list(pool.map(lambda prompt: _ask(options, prompt), prompts))
    result = _result(options, answers, time.monotonic() - began)
    print("{s:{c}^{n}}".format(s=" Serving Benchmark Result ", n=50, c="="))
    for name in ("completed", "failed", "output_throughput", "total_token_throughput"):
        print(f"{name + ':':<40} {result[name]:<10}")
    print("=" * 50)
    if options.save_result:
        (Path(options.result_dir) / options.result_filename).write_text(json.dumps(result))
    return 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm bench serve")
    for name, kind, default in (
        ("backend", str, "openai"),
        ("base-url", str, None),
        ("endpoint", str, "/v1/completions"),
        ("model", str, None),
        ("tokenizer", str, None),
        ("tokenizer-mode", str, "auto"),
        ("dataset-name", str, "random"),
        ("seed", int, 0),
        ("temperature", float, None),
        ("random-input-len", int, 1024),
        ("random-output-len", int, 128),
        ("num-prompts", int, 1000),
        ("max-concurrency", int, None),
        ("ready-check-timeout-sec", int, 0),
        ("percentile-metrics", str, "ttft,tpot,itl"),
        ("metric-percentiles", str, "99"),
        ("result-dir", str, "."),
        ("result-filename", str, "result.json"),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    for name in ("ignore-eos", "disable-tqdm", "save-result", "trust-remote-code", "insecure"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args(list(words))


def _ask(options: argparse.Namespace, prompt: str) -> Answer:
    """Ask for a completion and note when its tokens come."""
    body = {
        "model": options.model,
        "prompt": prompt,
        "max_tokens": options.random_output_len,
        "temperature": options.temperature,
        "stream": True,
        "ignore_eos": options.ignore_eos,
        "stream_options": {"include_usage": True},
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY')}"}
    request = urllib.request.Request(options.base_url + options.endpoint, json.dumps(body).encode(), headers)
    context = ssl._create_unverified_context() if options.insecure else None
    answer = Answer(time.monotonic())
    try:
        with urllib.request.urlopen(request, timeout=300, context=context) as stream:
            for line in stream:
                text = line.decode().removeprefix("data: ").strip()
                if not text or text == "[DONE]":
                    continue
                event = json.loads(text)
                if "error" in event:
                    answer.error = str(event["error"])
                elif event.get("choices") and event["choices"][0]["text"]:
                    answer.arrivals.append(time.monotonic())
    except (OSError, ValueError) as error:
        answer.error = str(error)
        if isinstance(error, urllib.error.HTTPError):
            with contextlib.suppress(OSError):
                answer.error = error.read().decode("utf-8", "replace")
    if not answer.arrivals and not answer.error:
        answer.error = "Never received a valid chunk to calculate TTFT."
    return answer


def _result(options: argparse.Namespace, answers: list[Answer], seconds: float) -> dict[str, Any]:
    good = [answer for answer in answers if not answer.error]
    times: dict[str, list[float]] = {name: [] for name in METRICS}
    for answer in good:
        arrivals = answer.arrivals
        times["ttft"].append(arrivals[0] - answer.began)
        times["e2el"].append(arrivals[-1] - answer.began)
        times["itl"] += [later - earlier for earlier, later in zip(arrivals, arrivals[1:], strict=False)]
        if len(arrivals) > 1:
            times["tpot"].append((arrivals[-1] - arrivals[0]) / (len(arrivals) - 1))
    generated = sum(len(answer.arrivals) for answer in good)
    asked = options.random_input_len * len(good)
    moments = [(answer.began, 1) for answer in good] + [(answer.arrivals[-1], -1) for answer in good]
    most = now = 0
    for _moment, change in sorted(moments):
        now += change
        most = max(most, now)
    result: dict[str, Any] = {
        "date": datetime.datetime.now().strftime("%Y%m%d-%H%M%S"),
        "backend": options.backend,
        "endpoint_type": options.backend,
        "label": None,
        "model_id": options.model,
        "tokenizer_id": options.tokenizer,
        "num_prompts": options.num_prompts,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": options.max_concurrency,
        "duration": seconds,
        "completed": len(good),
        "failed": len(answers) - len(good),
        "total_input_tokens": asked,
        "total_output_tokens": generated,
        "request_throughput": len(good) / seconds,
        "request_goodput": None,
        "output_throughput": generated / seconds,
        "total_token_throughput": (asked + generated) / seconds,
        "max_output_tokens_per_s": generated / seconds,
        "max_concurrent_requests": most,
    }
    for name in options.percentile_metrics.split(","):
        values = sorted(1000 * value for value in times[name]) or [0.0]
        result[f"mean_{name}_ms"] = statistics.fmean(values)
        result[f"median_{name}_ms"] = statistics.median(values)
        result[f"std_{name}_ms"] = statistics.pstdev(values)
        for percentile in options.metric_percentiles.split(","):
            result[f"p{percentile}_{name}_ms"] = values[
                min(len(values) - 1, int(len(values) * float(percentile) / 100))
            ]
    return result
