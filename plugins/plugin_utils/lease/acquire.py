# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Getting the Lease of a deployment, and waiting for the run that has it."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...module_utils.core.fault import Fault, Refused
from ...module_utils.core.health.deployment_health import readable_seconds
from ...module_utils.kube.lease import DURATION, Lease, holder_of, holder_record, holder_words, last_renewal, version_of

LOOK_SECONDS = 2.0
# How often the line about the holder is repeated.
SAY_SECONDS = 30.0
_PROC = Path("/proc")
# AWX and Tower give these extra variables to each job (AWX, "Extra Variables"), and JOB_ID to its environment.
_JOB_VARIABLES = ("awx_job_id", "tower_job_id")
_USER_VARIABLES = ("awx_user_name", "tower_user_name")


class _Ended(Exception):
    """A process that has ended."""


def acquire(
    lease: Lease,
    record: Mapping[str, str],
    wait_seconds: float,
    show: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    lives: Callable[[str], bool] | None = None,
    place: Callable[[], bool] = lambda: True,
) -> str:
    """Take the Lease, or wait for its holder. Raises Refused (`lease_held`).

    Return the `version_of` the Lease that was taken: of another one than a reader has seen, another run was there meanwhile.

    record        what this run writes of itself (`record_of_run`)
    wait_seconds  how long another run is waited for
    lives         says of a process, as a holder's record names it, whether it may still be there
    place         makes sure of the namespace of a Lease that is not there; False while it is being deleted
    """
    lives = lives or may_live
    began = clock()
    seen: tuple[str, str] | None = None
    since, said = began, float("-inf")
    while True:
        found = lease.read()
        if last_renewal(found) != seen:
            seen, since = last_renewal(found), clock()
        if found is None and not place():
            fault = _terminating(lease)
        elif holder_of(found) and clock() - since < DURATION and lives(holder_record(found).get("process", "")):
            fault = _held(lease, holder_words(found))
        elif lease.take(found, record):
            return version_of(found)
        else:
            # Another run came first; who it is shows with the next look.
            sleep(LOOK_SECONDS)
            continue
        waited = clock() - began
        if waited >= wait_seconds:
            raise Refused([fault])
        if clock() - said >= SAY_SECONDS:
            left = readable_seconds(wait_seconds - waited)
            show(f"  {readable_seconds(waited):>6}  {fault.where}: {fault.found}; waiting {left} more")
            said = clock()
        sleep(LOOK_SECONDS)


def _held(lease: Lease, words: str) -> Fault:
    return Fault(
        "lease_held",
        f"Lease {lease.name} in namespace {lease.namespace}",
        f"another run works on this deployment, held by {words}",
        "one run at a time for a deployment",
        "run again when the other one has ended, or give lease_wait_seconds",
    )


def _terminating(lease: Lease) -> Fault:
    return Fault(
        "namespace_terminating",
        f"namespace {lease.namespace}",
        "it is being deleted",
        "a namespace that stays",
        "run again when it is gone (kubectl get namespace)",
    )


def record_of_run(variables: Mapping[str, Any], playbook: str) -> dict[str, str]:
    """Return what this run writes of itself: user, host, playbook, job where AWX runs it, and its process.

    variables: the extra variables
    """

    def given(names: tuple[str, ...]) -> str:
        return next((str(variables[name]) for name in names if variables.get(name)), "")

    record = {
        "user": given(_USER_VARIABLES) or _user(),
        "host": socket.gethostname(),
        "playbook": playbook,
        "job": given(_JOB_VARIABLES) or os.environ.get("JOB_ID", ""),
        "process": process(os.getppid()),
    }
    return {name: value for name, value in record.items() if value}


def identity_of(record: Mapping[str, str]) -> str:
    """Return a holderIdentity that no other run has."""
    return f"{record['user']}@{record['host']}/{secrets.token_hex(6)}"


def process(pid: int) -> str:
    """Return words that name a process among those of all machines, "" where Linux' /proc does not tell (proc(5)).

    Boot, PID namespace (of a container), number, and start, since numbers are used again.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')} {pid} {_start(pid)}"
    except (OSError, LookupError, _Ended):
        return ""


def may_live(named: str) -> bool:
    """Tell whether the process that `process` named may still be there; one of another machine or container may."""
    try:
        boot, space, pid, began = named.split()
        if process(os.getpid()).split()[:2] != [boot, space]:
            return True
        os.kill(int(pid), 0)
        return _start(int(pid)) == began
    except (ProcessLookupError, _Ended):
        return False
    except (OSError, LookupError, ValueError, OverflowError):
        # Another user's, perhaps behind a /proc that shows a user their own processes only.
        return True


def _start(pid: int) -> str:
    """The start of a process in ticks since boot. Raises _Ended for one that only waits to be reaped."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise _Ended(pid)
    return fields[19]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # No name for the user, as in containers.
        return str(os.getuid())
