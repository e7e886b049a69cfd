# SPDX-License-Identifier: GPL-3.0-or-later
"""The Linux system calls that Python 3.11 does not offer, for the container runtime. Imported without site-packages."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones (the PID namespace: for the children to come)."""
    _check(_libc.unshare(flags), "unshare", f"{flags:#x}")


def enter(pid: int, flags: int) -> None:
    """Enter the namespaces in `flags` of process `pid`, all at once (Linux 5.8)."""
    descriptor = os.pidfd_open(pid)
    try:
        _check(_libc.setns(descriptor, flags), "setns", f"process {pid}")
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None)
    _check(result, f"mount {kind or 'bind'} {source}", target)


def bind(source: str, target: str, read_only: bool = False) -> None:
    """Show `source` and all that is mounted below it at `target`."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace; the root so far is found at `old`, below it."""
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, new.encode(), old.encode()), "pivot_root", new)


def detach(target: str) -> None:
    """Unmount `target` with all that is below it."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), "umount", target)


def die_with_parent(number: int) -> None:
    """Have the kernel send this signal when the thread that started this process ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl", "PR_SET_PDEATHSIG")


def no_new_privileges() -> None:
    """From here on no program started gains rights (allowPrivilegeEscalation: false)."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS")


def keep_capabilities(kept: set[int]) -> None:
    """Take all other capabilities out of the bounding set: no program started from here on can have them."""
    with open("/proc/sys/kernel/cap_last_cap") as stream:
        last = int(stream.read())
    for number in range(last + 1):
        if number not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl", "PR_CAPBSET_DROP")


def _check(result: int, call: str, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", what)
