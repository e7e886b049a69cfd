# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeping the Lease of a deployment while a task runs.

Each task of Ansible is a process of its own, so each renews the Lease by itself: in a thread, and before it writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from ...module_utils.core.fault import Fault, Refused
from ...module_utils.kube.client import may_pass
from ...module_utils.kube.lease import DURATION, RENEW_SECONDS, Lease

# A renewal as young as this one counts before a write: nobody takes the Lease over before DURATION is over.
FRESH_SECONDS = DURATION / 2
# Seconds between the tries of a renewal that a write waits for, where the API server is away or too busy.
AWAY_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)


class Hold:
    """Renews the Lease from `with` to its end.

    connect  returns the Lease; called when it is needed first, since most tasks are over before that
    removal  the task may remove the Lease with the rest, and goes on without an API server
    """

    def __init__(
        self,
        connect: Callable[[], Lease],
        removal: bool = False,
        clock: Callable[[], float] = time.monotonic,
        renew_seconds: float = RENEW_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._removal = removal
        self._clock = clock
        self._renew_seconds = renew_seconds
        self._sleep = sleep
        self._lease: Lease | None = None
        self._renewed: float | None = None
        self._lost: list[Fault] = []
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Hold:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is None:
            self.refuse_lost()

    def check(self) -> None:
        """Make sure before a write that this run holds the Lease. Raises Refused where it does not."""
        with self._turn:
            self.refuse_lost()
            if self._renewed is not None and self._clock() - self._renewed <= FRESH_SECONDS:
                return
            for pause in (*AWAY_PAUSES, None):
                try:
                    self._renew()
                    return
                except Refused as refused:
                    if pause is None or not may_pass(refused.faults):
                        raise
                self._sleep(pause)

    def refuse_lost(self) -> None:
        """Raise Refused where a renewal has found that this run no longer holds the Lease."""
        if self._lost:
            raise Refused(self._lost)

    def _keep(self) -> None:
        while not self._ended.wait(self._renew_seconds):
            with self._turn:
                try:
                    self._renew()
                except Refused as refused:
                    # Without an answer nothing is lost: nobody else gets one that takes the Lease over, or the next renewal tells.
                    if not may_pass(refused.faults):
                        self._lost = refused.faults
                        return

    def _renew(self) -> None:
        try:
            self._lease = self._lease or self._connect()
            self._lease.renew(may_go=self._removal)
        except Refused as refused:
            # Nodes cost money: they are removed without an API server, too, and by who may not read Leases.
            if not self._removal or {fault.code for fault in refused.faults} & {"lease_lost", "not_ours"}:
                raise
        self._renewed = self._clock()
