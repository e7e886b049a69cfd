# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a wait prints, and what it keeps of it for the result."""

from __future__ import annotations

import time
from typing import Any

from ..module_utils.clock import moment
from ..module_utils.core.health.deployment_health import Judgement, readable_seconds

# A line is printed when something changed, but not more often than this, and at the latest after that.
LEAST_SECONDS_BETWEEN_LINES = 5.0
MOST_SECONDS_BETWEEN_LINES = 30.0


class Lines:
    """Prints progress: a line per change, each with the time since the wait began."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._began = time.monotonic()
        self._last = ("", "")
        self._printed = float("-inf")

    def age(self) -> float:
        """Return the seconds since the wait began."""
        return time.monotonic() - self._began

    def say(self, phase: str, text: str, final: bool = False) -> None:
        """Print how far a phase is, unless that was printed just now; what is `final` is always printed."""
        now = time.monotonic()
        since = now - self._printed
        changed = (phase, text) != self._last
        if phase == self._last[0] and not final:
            if since < (LEAST_SECONDS_BETWEEN_LINES if changed else MOST_SECONDS_BETWEEN_LINES):
                return
        self._display(f"  {readable_seconds(self.age()):>6}  {phase:<9} {text}")
        self._last, self._printed = (phase, text), now


class Timeline:
    """When each phase ended; they run side by side, so all of them begin with the wait."""

    def __init__(self) -> None:
        self._began = moment()
        self.entries: list[dict[str, str]] = []

    def see(self, judgement: Judgement) -> None:
        """Add the phases that are finished and not there yet."""
        known = {entry["phase"] for entry in self.entries}
        for step in judgement.steps:
            if step.finished and step.phase not in known:
                self.add(step.phase, self._began)

    def add(self, phase: str, began: str) -> None:
        """Add a phase that ended now."""
        self.entries.append({"phase": phase, "start": began, "end": moment()})
