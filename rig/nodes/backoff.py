# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet's back-off between starts of a container, and between pulls of an image.

Facts imitated (client-go util/flowcontrol/backoff.go, kubelet): the first restart is at once; then 10 s after the end, doubling to
300 s; forgotten when the container ran longer than 10 minutes.
"""

from __future__ import annotations

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0
FORGOTTEN_AFTER_SECONDS = 2 * LONGEST_SECONDS


class BackOff:
    """How long to wait before the next start. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._updated = 0.0

    def until(self, ended: float) -> float:
        """When a container that ended at `ended` may start again: `ended` itself when at once."""
        return ended if self._is_forgotten(ended) else ended + self.seconds

    def advance(self, ended: float, now: float) -> None:
        """It starts again at `now`, after having ended at `ended`: the next wait is longer."""
        forgotten = self._is_forgotten(ended)
        self.seconds = FIRST_SECONDS if forgotten else min(self.seconds * 2, LONGEST_SECONDS)
        self._updated = now

    def _is_forgotten(self, ended: float) -> bool:
        return not self.seconds or ended - self._updated > FORGOTTEN_AFTER_SECONDS
