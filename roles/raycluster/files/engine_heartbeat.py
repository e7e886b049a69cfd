# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine's pulse: whether it makes steps while requests run. Idle is healthy; /health says 200 for an engine that hangs.

vLLM counts a request as running only after a step (SchedulerStats come with the step's outputs): an engine that hangs in the first
step after a pause looks idle. And a request that fails counts as a step, with its prompt (vllm/v1/metrics/stats.py,
IterationStats.update_from_output): an engine that answers all with errors looks busy. So one that has not proven for a while that it
answers is asked for a token; see `Head._ask_again`.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import re
import threading
import time

import engine_client
from pod_progress import Failure

ASK_SECONDS = 5.0
# vLLM ends an engine itself whose step takes 300 s (VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS), with a better cause than this one.
HANG_SECONDS = float(os.environ.get("MULTINODE_HANG_SECONDS", "360"))
# Several looks within each bound below.
LOOK_SECONDS = min(15.0, HANG_SECONDS / 12)
# An engine that has not proven for so long that it answers is asked for a token.
QUIET_SECONDS = HANG_SECONDS / 3
# vLLM's metrics: a gauge of running requests; a histogram that every step of the engine counts in, and its tokens.
_RUNNING = re.compile(r"^vllm:num_requests_running(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_STEPS = re.compile(
    r"^vllm:(?:iteration_tokens_total_count|generation_tokens_total|prompt_tokens_total)(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
# What it gave, and whom it failed: requests that the engine ended by an error (vllm/v1/engine, FinishReason), and answers of the API
# server (prometheus_fastapi_instrumentator, which groups them by class).
_TOKENS = re.compile(r"^vllm:generation_tokens_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_FAILED = re.compile(
    r"^(?:vllm:request_success_total\{[^}]*finished_reason=\"error\"[^}]*\}"
    r"|http_requests_total\{[^}]*status=\"5\w\w\"[^}]*\}) (\S+)$",
    re.MULTILINE,
)


class Pulse:
    """Looks at the metrics of the engine at `port` in the background."""

    def __init__(self, port: int, tls: bool = False) -> None:
        self._port = port
        self._tls = tls
        self._lock = threading.Lock()
        self._well = self._gave = self._proven = time.monotonic()
        self._steps = self._tokens = self._failed = -1.0
        self._running = 0.0
        self._trouble: str | None = None
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    @property
    def gave(self) -> float:
        """When the engine last gave a token to anyone (monotonic)."""
        with self._lock:
            return self._gave

    @property
    def proven(self) -> float:
        """When the engine last gave tokens while no request failed (monotonic): it needs not be asked for one."""
        with self._lock:
            return self._proven

    def failure(self) -> Failure | None:
        """Return how the engine hangs; None while it does not."""
        with self._lock:
            still = time.monotonic() - self._well
            if still < HANG_SECONDS:
                return None
            what = self._trouble or f"{self._running:.0f} requests are running and it makes no step"
        return Failure("engine", f"the engine hangs: for {still:.0f} s {what}")

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                text = self._ask()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self._trouble = f"its metrics do not answer ({type(error).__name__})"
                continue
            self.note(text)

    def note(self, page: str) -> None:
        """Take in what the engine's metrics say now."""
        steps, tokens, failed = _sum(_STEPS, page), _sum(_TOKENS, page), _sum(_FAILED, page)
        with self._lock:
            now = time.monotonic()
            self._trouble = None
            self._running = _sum(_RUNNING, page)
            # An engine without these metrics (--disable-log-stats) cannot be judged by them.
            if not self._running or steps != self._steps:
                self._well = now
            if tokens != self._tokens:
                self._gave = now
                if failed == self._failed:
                    self._proven = now
            self._steps, self._tokens, self._failed = steps, tokens, failed

    def _ask(self) -> str:
        connection = engine_client.connect(self._port, self._tls, ASK_SECONDS)
        try:
            connection.request("GET", "/metrics", headers=engine_client.authorization())
            return connection.getresponse().read(engine_client.MOST_BYTES).decode("utf-8", "replace")
        finally:
            connection.close()


def _sum(pattern: re.Pattern[str], text: str) -> float:
    """Return the sum of what the page counts so; a value that is no number counts nothing."""
    found = 0.0
    for value in pattern.findall(text):
        with contextlib.suppress(ValueError):
            number = float(value)
            found += number if math.isfinite(number) else 0.0
    return found
