# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs of a rig, as a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rig.configuration import Rig
from rig.processes import Process, recorded


def show(directory: Path, say: Callable[[str], None]) -> int:
    """Say one line per process; 0 if the rig is whole, 1 if something of it ended or it never came up."""
    rig = Rig.load(directory)
    processes = recorded(directory)
    addresses = f"API server {rig.kubernetes.url}, OCI {rig.oci.endpoint}, control {rig.oci.control}"
    say(f"rig {rig.name} in {directory}: {addresses}")
    if not rig.root:
        say("no process nodes (not started as root): KWOK's only")
    say(f"{'PART':26}{'PROCESS':>9}  {'STATE':8}{'AGE':>8}{'MEMORY':>10}  LOG")
    for process in processes:
        running = process.is_running()
        age = f"{process.started_seconds_ago():.0f} s" if running else ""
        memory = f"{_resident_mebibytes(process)} MiB" if running else ""
        say(f"{process.name:26}{process.pid:>9}  {'runs' if running else 'ENDED':8}{age:>8}{memory:>10}  {process.log}")
    whole = (directory / "env").exists()
    if not whole:
        say("`up` has not finished here; if none works on it, run `up` again")
    return 0 if whole and all(process.is_running() for process in processes) else 1


def _resident_mebibytes(process: Process) -> int:
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it ended just now
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
