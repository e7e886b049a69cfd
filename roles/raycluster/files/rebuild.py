# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often this pod's container may end before its program stops trying, and what ended it first.

A rebuild is a container exit: the kubelet starts it again, and the GPUs' memory is free for sure. The record lies on an emptyDir, so
it outlives the container and ends with the pod.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from progress import Failure

# Lines of a log kept with the first failure: what came later is often only its consequence.
EVIDENCE_LINES = 60


class Rebuilds:
    """The failures of this pod within the window. Times are of the wall clock: a monotonic one does not outlive a node."""

    def __init__(self, path: Path, limit: int, window_seconds: float) -> None:
        self._path = path
        self._limit = limit
        self._window = window_seconds
        self._failures = self._read()

    @property
    def count(self) -> int:
        """How many failures there were within the window."""
        return len(self._failures)

    @property
    def spent(self) -> bool:
        """Say whether no further try is due: the limit is reached, or no try can succeed."""
        return self.count > self._limit or any(failure["lasting"] for failure in self._failures)

    @property
    def first(self) -> dict[str, Any] | None:
        """The first failure within the window: time, phase, cause, lasting, evidence."""
        return self._failures[0] if self._failures else None

    def note(self, failure: Failure) -> None:
        """Record a failure before the container ends by it."""
        self._failures = self._read()
        entry = {"time": time.time(), "phase": failure.phase, "cause": failure.cause, "lasting": failure.lasting}
        entry["evidence"] = [] if self._failures else list(failure.evidence[-EVIDENCE_LINES:])
        self._failures.append(entry)
        new = self._path.with_name(f".{self._path.name}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"failures": self._failures}, indent=1))
        os.replace(new, self._path)

    def forget(self) -> None:
        """Begin to count anew."""
        self._failures = []
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[dict[str, Any]]:
        try:
            found = json.loads(self._path.read_text())["failures"]
        except (FileNotFoundError, ValueError, KeyError):
            return []
        since = time.time() - self._window
        return [entry for entry in found if entry["time"] >= since]
