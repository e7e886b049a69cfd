# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes of this pod: found by name, and ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path

# Of the 20 steps that a process can be nicer than others.
NICENESS = 15


def named(names: Collection[str], ended: bool = True) -> dict[int, tuple[str, int]]:
    """Return the processes that have one of the names, each with its name and its parent; `ended`: those too that nobody has waited for."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # pid (name) state parent ...; a name may hold anything.
            before, _bracket, after = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        name, (state, parent) = before.partition("(")[2], after.split()[:2]
        if name in names and (ended or state != "Z"):
            found[int(folder.name)] = name, int(parent)
    return found


def yield_cpu(program: bytes) -> bool:
    """Make those that run the Python `program` (the end of its path) nice, with what they start from then on; say whether one does."""
    found = False
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            # A raylet has the commands of its agents in its own.
            if any(word.endswith(program) for word in path.read_bytes().split(b"\0")[:3]):
                os.setpriority(os.PRIO_PROCESS, int(path.parent.name), NICENESS)
                found = True
    return found


def end_session(leader: subprocess.Popen[bytes]) -> None:
    """End at once a child that leads a session of its own, and what has stayed in that; return when the child has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
