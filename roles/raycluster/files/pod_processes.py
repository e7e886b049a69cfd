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


def named(names: Collection[str]) -> dict[int, tuple[str, int]]:
    """Return the processes that have one of the names, each with its name and its parent."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # pid (name) state parent ...; a name may hold anything.
            before, _bracket, after = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        name = before.partition("(")[2]
        if name in names:
            found[int(folder.name)] = name, int(after.split()[1])
    return found


def end_session(leader: subprocess.Popen[bytes]) -> None:
    """End at once a child that leads a session of its own, and what has stayed in that; return when the child has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
