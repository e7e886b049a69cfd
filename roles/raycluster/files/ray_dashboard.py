# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ray's dashboard, which the group needs neither to form nor to serve: nobody waits for it, and it takes the CPU that others leave."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pod_processes import yield_cpu
from pod_progress import log

# How `ray start` waits for the dashboard (Ray 2.52 to 2.58, _private/ray_constants.py and dashboard/consts.py). Where an option demands
# the dashboard, Ray would end without it: there it is given time. Its modules are processes, which on a busy machine need it.
STARTUP_SECONDS = "RAY_DASHBOARD_STARTUP_TIMEOUT_S"
MODULE_SECONDS = "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT"
DEMANDED = "--include-dashboard"
PATIENCE_SECONDS = 300
LOOK_SECONDS = 0.2
ASK_SECONDS = 5.0
LOG = Path("/tmp/ray/session_latest/logs/dashboard.log")
LOG_LINES = 10
_PROGRAM = b"ray/dashboard/dashboard.py"
# What `ray start` says where it waits no longer (Ray 2.52 to 2.58, _private/services.py): the dashboard starts all the same. It goes on
# with lines of the dashboard's log, until the command itself says something.
_NOT_WAITED = re.compile(r"services\.py:\d+ -- Failed to start the dashboard\s*$")
_COMMAND = re.compile(r"\sscripts\.py:\d+ -- ")


def environment(command: str) -> dict[str, str]:
    """Return what the environment of a start command says of the dashboard."""
    waited = PATIENCE_SECONDS if DEMANDED in command else 0
    return {STARTUP_SECONDS: str(waited), MODULE_SECONDS: str(PATIENCE_SECONDS)}


class Report:
    """Tells, of the lines of `ray start`, which report that the dashboard has failed, when it was only not waited for."""

    def __init__(self) -> None:
        self._within = False

    def takes(self, line: str) -> bool:
        """Say whether the next line belongs to the report."""
        self._within = bool(_NOT_WAITED.search(line)) or (self._within and not _COMMAND.search(line))
        return self._within


def attend(port: int, warn: Callable[[str], None]) -> None:
    """See to the dashboard in the background until it answers at `port`; say so, and `warn`, where it does not."""
    threading.Thread(target=_attend, args=(port, warn), name="dashboard", daemon=True).start()


def _attend(port: int, warn: Callable[[str], None]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not _answers(port):
        if time.monotonic() > end:
            words = f"Ray's dashboard has not answered for {PATIENCE_SECONDS} s; the group continues without it"
            log(words)
            warn(words)
            with contextlib.suppress(OSError):
                for line in LOG.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                    log(f"dashboard.log: {line}")
            return
        # Before it starts its modules, which take that from it.
        yield_cpu(_PROGRAM)
        time.sleep(LOOK_SECONDS)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/api/version")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
