# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of a real vLLM 0.32, printed line by line: `../../failures` has the shortened logs, and with which code each ended.

A negative code is a signal.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "failures"


def play(name: str) -> int:
    """Print the log of this name and return the exit code; one that was ended by a signal ends itself by it."""
    code = int(json.loads((FOLDER / "exit_codes.json").read_text())[name])
    for line in (FOLDER / f"{name}.log").read_text(encoding="utf-8").splitlines():
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if code < 0:
        os.kill(os.getpid(), -code)
    return code
