# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters in Prometheus' text format, by vLLM's names (vllm/v1/metrics/loggers.py, stats.py).

A request that the engine ends by an error counts as a step, with its prompt, and under the reason "error". Answers are counted by
the instrumentator of the API server (prometheus_fastapi_instrumentator, entrypoints/serve/instrumentator/metrics.py).
"""

from __future__ import annotations

import collections
import dataclasses
import threading


@dataclasses.dataclass
class Metrics:
    """What the server counts; changed by several threads under `lock`."""

    model: str
    running: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    steps: int = 0
    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    first_token_seconds: float = 0.0
    answers: collections.Counter[tuple[str, str, str]] = dataclasses.field(default_factory=collections.Counter)
    """By path, method and class of the status."""
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def text(self) -> str:
        """The page /metrics."""
        gauges = {
            "vllm:num_requests_running": self.running,
            "vllm:num_requests_waiting": 0,
            "vllm:kv_cache_usage_perc": 0.001 * self.running,
        }
        counters = {
            "vllm:num_preemptions_total": 0,
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generation_tokens,
            "vllm:prefix_cache_queries_total": self.prompt_tokens,
            "vllm:prefix_cache_hits_total": 0,
        }
        model = self.model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        label = f'engine="0",model_name="{model}"'
        lines = []
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [f"# TYPE {name.removesuffix('_total')} {kind}", f"{name}{{{label}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success counter")
        for reason, value in (("stop", 0), ("length", self.requests), ("abort", 0), ("error", self.failures)):
            lines.append(f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {float(value)}')
        for name, total, count in (
            ("vllm:time_to_first_token_seconds", self.first_token_seconds, self.requests),
            (
                "vllm:inter_token_latency_seconds",
                self.seconds - self.first_token_seconds,
                max(0, self.generation_tokens - self.requests),
            ),
            ("vllm:e2e_request_latency_seconds", self.seconds, self.requests),
            ("vllm:iteration_tokens_total", self.prompt_tokens + self.generation_tokens, self.steps),
        ):
            lines.append(f"# TYPE {name} histogram")
            # One bucket for all: Prometheus takes no quantile of the one without an end.
            lines += [f'{name}_bucket{{{label},le="{bound}"}} {float(count)}' for bound in ("60.0", "+Inf")]
            lines += [f"{name}_count{{{label}}} {float(count)}", f"{name}_sum{{{label}}} {float(total)}"]
        lines.append("# TYPE http_requests_total counter")
        for (path, method, status), count in sorted(self.answers.items()):
            label = f'handler="{path}",method="{method}",status="{status}"'
            lines.append(f"http_requests_total{{{label}}} {float(count)}")
        return "\n".join(lines) + "\n"
