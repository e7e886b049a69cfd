# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A wait of an hour outlives an API server that is away for a moment: one that is renewed, a network that is down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..module_utils.core.fault import Refused
from ..module_utils.core.health.deployment_health import readable_seconds
from ..module_utils.kube.client import may_pass

# As long as one call to Oracle Cloud is retried (module_utils/oci/retry.py).
AWAY_SECONDS = 180.0

_Read = TypeVar("_Read")


class Patience:
    """Tolerates for a while reads that the API server does not answer, or answers with an error that may pass.

    say   told what is the matter, each time
    away  whether the last read was such a one
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.away = False
        self._since = 0.0
        self._say = say

    def read(self, read: Callable[[], _Read]) -> _Read | None:
        """Return what `read` does, None where it could not. Raises Refused where that will not pass, or lasts for too long."""
        try:
            found = read()
        except Refused as refused:
            if not may_pass(refused.faults):
                raise
            now = time.monotonic()
            if not self.away:
                self.away, self._since = True, now
            if now - self._since >= AWAY_SECONDS:
                raise
            fault, left = refused.faults[0], AWAY_SECONDS - (now - self._since)
            self._say(f"{fault.where}: {fault.found}, waited for {readable_seconds(left)} more")
            return None
        self.away = False
        return found
