# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a test asks of the engine: RIG_ENGINE_CONTROL is a URL that answers with JSON {"do": ..., "seconds": ...}.

`do` is null, or
  die   the last rank is killed
  hang  no step comes back: requests run, counters stand, /health says 200
  lie   completions end with 500, /health says 200
  fail  the start prints the log named `log` and ends as that one did (failures.py)
  small the start measures half the memory for the cache
  slow  every token and every file of the model takes `seconds` more (1)
The URL is asked twice a second; a fault lasts until the answer changes, and meets the next start of the engine too.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

POLL_SECONDS = 0.5


class Control:
    """The fault asked for now; without RIG_ENGINE_CONTROL there is none."""

    def __init__(self) -> None:
        self._url = os.environ.get("RIG_ENGINE_CONTROL")
        self._asked: dict[str, Any] = {}
        if self._url:
            self._poll()

    @property
    def fault(self) -> str | None:
        """Which fault, or None."""
        return self._asked.get("do")

    @property
    def failure(self) -> str | None:
        """The log of the failure that a start shall have, or None."""
        return str(self._asked["log"]) if self.fault == "fail" else None

    @property
    def seconds(self) -> float:
        """How much longer a token or a file takes."""
        return float(self._asked.get("seconds", 1)) if self.fault == "slow" else 0.0

    @property
    def cache_share(self) -> float:
        """Which part of the memory for the cache the start measures."""
        return 0.5 if self.fault == "small" else 1.0

    def watch(self, die: Callable[[], None]) -> None:
        """Ask from now on; `die` is called once when that is asked."""
        if self._url:
            threading.Thread(target=self._run, args=(die,), daemon=True).start()

    def _run(self, die: Callable[[], None]) -> None:
        while self.fault != "die":
            time.sleep(POLL_SECONDS)
            self._poll()
        die()

    def _poll(self) -> None:
        """An address that does not answer changes nothing."""
        try:
            with urllib.request.urlopen(str(self._url), timeout=5) as answer:
                self._asked = json.loads(answer.read()) or {}
        except (OSError, ValueError) as error:
            print(f"RIG_ENGINE_CONTROL: {self._url}: {error}", flush=True)
            time.sleep(POLL_SECONDS)
