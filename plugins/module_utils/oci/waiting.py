# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waiting for a state, apart from retrying a call: minutes to an hour, ever slower polls, ended early by a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Wait:
    """A wait of at most `seconds`. `first` and `longest` are the pauses between two looks, in seconds.

    Polling the work requests of a user faster than every ten seconds or so meets 429 in practice, so the pauses grow.
    """

    seconds: float
    first: float = 1.0
    longest: float = 15.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def looks(self) -> Iterator[float]:
        """Yield the seconds waited so far, once before each look, until the time is over."""
        start, pause = self.clock(), self.first
        while True:
            waited = self.clock() - start
            yield waited
            if waited + pause > self.seconds:
                return
            self.sleep(pause)
            pause = min(pause * 1.5, self.longest)
