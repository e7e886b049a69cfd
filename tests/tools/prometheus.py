# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus and promtool: those on PATH, else Debian's package unpacked into the cache; nothing is installed, no service starts."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.tools.setup import SetupError, cache_directory

PACKAGE = "prometheus"


def find(program: str) -> Path:
    """The path of `prometheus` or `promtool`. SetupError where there is none and none can be fetched."""
    if found := shutil.which(program):
        return Path(found)
    kept = cache_directory() / "prometheus"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "usr" / "bin" / program).exists():
            _unpack(kept)
    return kept / "usr" / "bin" / program


def _unpack(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for command in (
            ["apt-get", "download", PACKAGE],
            ["apt-get", "update", "-q"],
            ["apt-get", "download", PACKAGE],
        ):
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if packages := list(Path(folder).glob("*.deb")):
                break
        else:
            raise SetupError(f"no {PACKAGE} on PATH, and Debian's package cannot be fetched:\n{done.stdout}")
        subprocess.run(["dpkg", "-x", packages[0], Path(folder) / "x"], check=True)
        shutil.rmtree(target, ignore_errors=True)
        (Path(folder) / "x").rename(target)
