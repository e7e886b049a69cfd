# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's tarball from what git tracks: `python -m tests.tools.build FOLDER`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.environments import program
from tests.tools.setup import REPOSITORY


def copy_tracked(target: Path) -> None:
    """Copy the files that git tracks, as they are now, into `target`; links stay links."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    for name in filter(None, listing.stdout.split("\0")):
        source = REPOSITORY / name
        if not os.path.lexists(source):
            continue  # deleted, not yet committed
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name, follow_symlinks=False)


def build(folder: Path) -> Path:
    """Build the tarball into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as copy:
        copy_tracked(Path(copy))
        command = [
            program("ansible-galaxy"),
            "collection",
            "build",
            "--force",
            "--output-path",
            str(folder.resolve()),
            copy,
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=copy)
    # "Created collection for multinode.inference at /.../multinode-inference-0.1.0.tar.gz"
    return Path(done.stdout.split(" at ")[-1].strip())


def install(tarball: Path, folder: Path) -> Path:
    """Install `tarball` below `folder` (a collections path of its own) and return the collection's folder."""
    subprocess.run(
        [program("ansible-galaxy"), "collection", "install", "--no-deps", "--force", "-p", str(folder), str(tarball)],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(folder)),
    )
    return folder / "ansible_collections" / "multinode" / "inference"


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
