# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments beside `.venv`, for tools that do not go together with it; made once, kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tools.setup import cache_directory


def environment(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """The folder of an environment that holds `requirements`; another list of them makes another one."""
    base = cache_directory() / "environments"
    base.mkdir(parents=True, exist_ok=True)
    identity = "\n".join([version_of(python) or "", *requirements])
    folder = base / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    with open(base / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            print(f"making the environment {folder.name}: {' '.join(requirements)}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements], check=True)
            (folder / "complete").touch()
    return folder


def program(name: str) -> str:
    """The path of a program of the environment that runs this."""
    return str(Path(sys.executable).with_name(name))


def find_python(minor: str) -> str | None:
    """A Python of the version `minor` ("3.12") that can make environments; None where there is none."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{minor}.*/bin/python{minor}"))  # as pyenv and others lay them
    for candidate in (f"python{minor}", f"/usr/bin/python{minor}", f"/usr/local/bin/python{minor}", *map(str, beside)):
        found = version_of(candidate)
        if found and found.startswith(f"{minor}."):
            return candidate
    return None


def version_of(python: str) -> str | None:
    """The version of a Python that runs and can make environments; a pyenv shim may stand on PATH and not run."""
    asked = "import ensurepip, sys, venv; print(sys.version)"
    try:
        done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
