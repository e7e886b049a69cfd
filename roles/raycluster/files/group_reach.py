# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a worker reaches rank 0 on a port that nobody chose: NCCL, Gloo and vLLM's queues take their ports as they come.

A NetworkPolicy, security list or security group that opens only the known ports lets a group form, and its engine wait until a time-out.
"""

from __future__ import annotations

import socket
import threading
import time

from pod_progress import Failure

TRY_SECONDS, PAUSE_SECONDS = 5.0, 2.0
# Rules that have just been made take a moment to be in force.
PATIENCE_SECONDS = 120.0


def open_door(address: str) -> int:
    """Accept connections on a free port, and close them at once; the port."""
    listener = socket.create_server((address, 0), backlog=64)

    def take() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                # Whoever knocked went away, or files are short: neither is this program's end.
                time.sleep(0.1)

    threading.Thread(target=take, name="door", daemon=True).start()
    return int(listener.getsockname()[1])


class Reach:
    """Tries to reach rank 0 at `host` and `port`, in the background, until it has."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._began = time.monotonic()
        self._trouble = "not tried yet"
        self.done = False
        threading.Thread(target=self._run, name="reach", daemon=True).start()

    def failure(self) -> Failure | None:
        """Return why rank 0 is not reached; None while there is time, and when it is."""
        if self.done or time.monotonic() - self._began < PATIENCE_SECONDS:
            return None
        return Failure(
            "ray",
            f"this pod cannot connect to rank 0 at {self._host}:{self._port}, though it reaches its "
            f"status port: {self._trouble}; open all ports between the nodes and pods of the group (security lists, network "
            "security groups, NetworkPolicies)",
        )

    def _run(self) -> None:
        while not self.done:
            try:
                socket.create_connection((self._host, self._port), TRY_SECONDS).close()
                self.done = True
            except OSError as error:
                self._trouble = str(error)
                time.sleep(PAUSE_SECONDS)
