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


def environment(name: str, *requirements: str, on_top_of: Path | None = None) -> Path:
    """The folder of an environment that holds `requirements`; another list of them makes another one.

    `on_top_of`: site-packages of another environment, seen after the environment's own.
    """
    base = cache_directory() / "environments"
    base.mkdir(parents=True, exist_ok=True)
    identity = "\n".join([sys.version, *requirements, str(on_top_of)])
    folder = base / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    with open(base / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            print(f"making the environment {folder.name}: {' '.join(requirements)}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements], check=True)
            if on_top_of:
                (site_packages(folder) / "beneath.pth").write_text(f"{on_top_of}\n")
            (folder / "complete").touch()
    return folder


def site_packages(folder: Path) -> Path:
    """The site-packages of the environment in `folder`."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def program(name: str) -> str:
    """The path of a program of the environment that runs this."""
    return str(Path(sys.executable).with_name(name))
