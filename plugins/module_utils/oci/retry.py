# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When one call to Oracle Cloud is retried.

The SDK's own default tries eight times within ten minutes whatever 5xx it meets, a missing host included, and lets a
deployment hang on an address that refuses. This one differs: "Out of host capacity" is an answer, an address that does
not answer is tried for seconds only, and a resource that is busy (409 IncorrectState) is the caller's to wait for.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import Any

from ..core.health.launch_errors import is_out_of_capacity
from ..deadline import LONGEST_SECONDS, within
from .errors import is_connection_error, is_service_error


class Retry:
    """A retry strategy as the SDK's clients take it.

    attempts             calls at most, the first included
    connection_attempts  the same when no answer came
    base, cap, total     seconds: first pause, longest pause, all pauses together
    """

    def __init__(
        self,
        attempts: int = 8,
        connection_attempts: int = 3,
        base: float = 1.0,
        cap: float = 30.0,
        total: float = 180.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.attempts = attempts
        self.connection_attempts = connection_attempts
        self.base = base
        self.cap = cap
        self.total = total
        self.sleep = sleep

    def add_circuit_breaker_callback(self, callback: Any) -> None:
        """Asked for by the SDK; there is no circuit breaker (see `client.py`)."""

    def make_retrying_call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` until it answers or its error is one to report."""
        attempt, paused = 0, 0.0
        while True:
            try:
                return within(LONGEST_SECONDS, functools.partial(function, *args, **kwargs))
            except Exception as error:
                attempt += 1
                pause = min(self.cap, self.base * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)
                if attempt >= self._attempts_for(error) or paused + pause > self.total:
                    raise
                paused += pause
                self.sleep(pause)

    def _attempts_for(self, error: Exception) -> int:
        if is_connection_error(error):
            return self.connection_attempts
        if not is_service_error(error) or is_out_of_capacity(error.code, error.message):  # type: ignore[attr-defined]
            return 1
        status, code = error.status, error.code  # type: ignore[attr-defined]
        if status in (-1, 429) or (status >= 500 and status != 501) or (status == 409 and code == "LockConflict"):
            return self.attempts
        return 1
