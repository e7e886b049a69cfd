# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a rig: started with a record of what they are, ended by that record.

A record holds the process id with the time that process started (and the boot it started in), so that an id which the
kernel has given to another process since is never signalled. Each process also carries its rig's folder in its
environment (`RIG_MEMBER`), which its children inherit: what a killed part leaves behind is found by it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rig.configuration import REPOSITORY, RigError, write_whole

MEMBER = "RIG_MEMBER"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class PartEnded(RigError):
    """A process of the rig ended though it should go on."""

    def __init__(self, process: Process) -> None:
        super().__init__(f"{process.name} (process {process.pid}) ended; its log: {process.log}")
        self.process = process


@dataclasses.dataclass(frozen=True)
class Process:
    """A started process; `started` is in clock ticks since the boot `boot`."""

    name: str
    pid: int
    started: int
    boot: str
    log: str

    def is_running(self) -> bool:
        """Whether this very process still runs; one that ended and is not yet reaped does not."""
        return self.boot == BOOT and start_time(self.pid) == self.started

    def started_seconds_ago(self) -> float:
        """How long ago the process started, by the machine's uptime."""
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")


def start(directory: Path, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Process:
    """Start `command` in a session of its own, its output to `logs/<name>.log`, and record it; RigError if that fails."""
    log = directory / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        try:
            child = subprocess.Popen(
                command,
                cwd=REPOSITORY,  # from where `python -m rig.<part>` finds itself
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**(os.environ if environment is None else environment), MEMBER: str(directory)},
                start_new_session=True,
            )
        except OSError as error:
            raise RigError(f"cannot start {name}: {error}") from error
    child.returncode = 0  # it outlives us: nobody waits for it here, and Python need not say so
    process = Process(name, child.pid, start_time(child.pid, ended_too=True) or 0, BOOT, str(log))
    write_whole(_record(directory, name), json.dumps(dataclasses.asdict(process)))
    return process


def recorded(directory: Path) -> list[Process]:
    """The processes recorded in the rig's folder, in the order in which they were started."""
    records = [Process(**json.loads(path.read_text())) for path in (directory / "processes").glob("*.json")]
    return sorted(records, key=lambda process: process.started)


def start_time(pid: int, ended_too: bool = False) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when there is none (or only its unreaped remains)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces and brackets
    if fields[0] in "ZX" and not ended_too:
        return None
    return int(fields[19])


def wait_until(condition: Callable[[], bool], processes: Iterable[Process], timeout_s: float, what: str) -> None:
    """Wait for `condition`; PartEnded as soon as one of `processes` ends, RigError after `timeout_s` seconds."""
    processes = list(processes)
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        for process in processes:
            descriptor = _open(process, stack)
            if descriptor is None:
                raise PartEnded(process)
            poll.register(descriptor, select.POLLIN)
        while not condition():
            if poll.poll(50):
                raise PartEnded(next(process for process in processes if not process.is_running()))
            if time.monotonic() > deadline:
                raise RigError(
                    f"{what} not there after {timeout_s:.0f} s; see the logs of {', '.join(p.name for p in processes)}"
                )


def end(processes: Iterable[Process], grace_s: float) -> list[Process]:
    """Ask `processes` to end, wait `grace_s` seconds, kill those that did not, and return these; 0: kill at once."""
    with contextlib.ExitStack() as stack:
        waiting: dict[int, Process] = {}
        poll = select.poll()
        for process in processes:
            descriptor = _open(process, stack)
            if descriptor is not None:
                waiting[descriptor] = process
                poll.register(descriptor, select.POLLIN)
        if grace_s:
            _signal(waiting, signal.SIGTERM)
            _await_ends(poll, waiting, grace_s)
        killed = list(waiting.values())
        _signal(waiting, signal.SIGKILL)
        _await_ends(poll, waiting, 10)
    if waiting:
        names = ", ".join(f"{process.name} ({process.pid})" for process in waiting.values())
        raise RigError(f"killed, and not gone after 10 s: {names}; look at their state in /proc, then run `down` again")
    return killed


def members(directory: Path) -> list[Process]:
    """Every running process that a part of this rig started, directly or not: those whose environment says so."""
    marker = f"{MEMBER}={directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if marker in (entry / "environ").read_bytes().split(b"\0") and (started := start_time(int(entry.name))):
                found.append(Process((entry / "comm").read_text().strip(), int(entry.name), started, BOOT, ""))
    return found


def by_id(pid: int) -> Process | None:
    """The running process with this id."""
    started = start_time(pid)
    return None if started is None else Process(f"process {pid}", pid, started, BOOT, "")


def _record(directory: Path, name: str) -> Path:
    return directory / "processes" / f"{name}.json"


def _open(process: Process, stack: contextlib.ExitStack) -> int | None:
    """A descriptor of exactly this process, None when it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor if process.is_running() else None


def _signal(waiting: dict[int, Process], number: signal.Signals) -> None:
    for descriptor in waiting:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _await_ends(poll: select.poll, waiting: dict[int, Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            del waiting[descriptor]
