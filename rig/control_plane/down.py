# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending a rig, from whatever state it is in: all that is needed to find it again follows from its folder's path."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.configuration import RigError, rig_name, shared_memory_folder
from rig.control_plane import network
from rig.processes import end, members, recorded

CLAIM = ".multinode-inference-rig"
"""The file that says that a folder is a rig's: nothing is ever removed from a folder without it."""
PARTS_GRACE_SECONDS = 20
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "etcd")
"""Ended without grace: their state goes with them."""


def down(directory: Path, say: Callable[[str], None]) -> None:
    """End the rig of `directory`: processes, namespaces, mounts, interfaces, and the folder's content."""
    if directory.is_dir():
        with only_one(directory, say):
            something = tear_down(directory, say)
    else:
        something = tear_down(directory, say)
    say(f"down    {directory}: {'ended, nothing is left' if something else 'no rig there'}")


def claim(directory: Path) -> None:
    """Take an empty folder (logs of a failed start aside) for a rig."""
    if not (directory / CLAIM).exists() and any(directory.iterdir()):
        raise RigError(f"{directory} is no rig's folder and is not empty; empty it, or set RIG_DIR to another")
    (directory / CLAIM).touch()


def tear_down(directory: Path, say: Callable[[str], None], keep_logs: bool = False) -> bool:
    """End and remove all of the rig, also where its folder was removed under it; whether there was anything."""
    claimed = (directory / CLAIM).exists()
    processes = recorded(directory) if claimed else []
    # The parts end what they started (pods, DNS, namespaces) while the API server still answers.
    for process in end([process for process in processes if process.name not in CONTROL_PLANE], PARTS_GRACE_SECONDS):
        say(f"down    {process.name} did not end within {PARTS_GRACE_SECONDS} s and was killed")
    end(processes, grace_s=0)
    something = claimed
    while strays := members(directory):
        something = True
        end(strays, grace_s=0)
    name = rig_name(directory)
    something |= bool(network.leftovers(name))
    network.remove_network(name)
    network.remove_mounts(directory)
    shutil.rmtree(shared_memory_folder(name), ignore_errors=True)
    _check_nothing_left(directory, name)
    if claimed:
        _empty(directory, keep={"logs", CLAIM} if keep_logs else set())
    return something


def _empty(directory: Path, keep: set[str]) -> None:
    for path in directory.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def only_one(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One `up` or `down` at a time in a folder; the lock is on the folder itself, so there is no file to remove."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"        another `up` or `down` works in {directory}; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_nothing_left(directory: Path, name: str) -> None:
    left = [*network.leftovers(name), *network.mounts_below(directory)]
    if left:
        raise RigError(
            f"still there after the rig in {directory} was ended: {', '.join(left)}; remove them, then run `down` again"
        )
