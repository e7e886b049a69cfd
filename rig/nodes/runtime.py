# SPDX-License-Identifier: GPL-3.0-or-later
"""The container runtime of process nodes: `python -I -S runtime.py sandbox|container|exec REPORT`, a specification (JSON) on stdin.

Started by the nodes part for each pod (sandbox), container and exec probe; imports nothing outside the standard library and its
neighbour, so that a start costs some 20 ms. What happens is told as JSON lines on descriptor REPORT: {"started": pid},
{"error": text}, {"exited": code}.

- A sandbox holds what the containers of a pod share: network, IPC and UTS namespace, and a mount namespace with the pod's tmpfs.
- A container has a mount and a PID namespace of its own. Its root is an overlay over the machine's root, so that nothing it writes
  and no mount point stays on the machine. Its first process is PID 1: when that ends, the kernel ends all the others.
- An exec runs a command inside a container.

Whatever runs ends when the nodes part ends, even by SIGKILL: each process dies with its parent.

Facts imitated (containerd, CRI-O, runc):
- a started process that ends by signal N is reported with exit code 128 + N; a command that cannot be started with 128
- /proc of its own, /sys read-only, /dev with a few devices, /dev/shm of the pod (64 MiB unless the pod mounts one)
- standard output belongs to the container's user, so that /dev/stdout can be opened
- a process may open 1048576 files (on a machine that lets us raise the limit)
- root in a container has a short list of capabilities only
"""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import system_calls as sc

CANNOT_START = 128
OLD_ROOT = "/.old"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
OPEN_FILES = 1048576
POD_NAMESPACES = sc.CLONE_NEWNET | sc.CLONE_NEWUTS


def main() -> None:
    """Run one sandbox, container or exec to its end."""
    mode, report = sys.argv[1], int(sys.argv[2])
    specification = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sc.die_with_parent(signal.SIGKILL)
    try:
        code = {"sandbox": sandbox, "container": container, "exec": execute}[mode](specification, report)
    except Exception as error:  # told to the nodes part, which has no other way to learn of it
        tell(report, error=f"{type(error).__name__}: {error}")
        raise SystemExit(CANNOT_START) from error
    tell(report, exited=code)


def tell(report: int, **fields: Any) -> None:
    """One line to the nodes part."""
    os.write(report, json.dumps(fields).encode() + b"\n")


def sandbox(specification: dict[str, Any], report: int) -> int:
    """Hold the namespaces of a pod until SIGTERM."""
    own = 0 if specification["host_network"] else POD_NAMESPACES
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWIPC | own)
    sc.mount("", "/", flags=sc.MS_REC | sc.MS_PRIVATE)
    if own:
        with open("/proc/sys/kernel/hostname", "w") as stream:
            stream.write(specification["hostname"])
    for memory in specification["memory"]:
        os.makedirs(memory["target"], exist_ok=True)
        sc.mount("tmpfs", memory["target"], "tmpfs", options=memory["options"])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    tell(report, started=os.getpid())
    signal.sigwait({signal.SIGTERM})
    return 0


def container(specification: dict[str, Any], report: int) -> int:
    """Run a container's command as PID 1 of a new PID namespace; its exit code."""
    host_network = specification["host_network"]
    sc.enter(specification["sandbox"], sc.CLONE_NEWNS | sc.CLONE_NEWIPC | (0 if host_network else POD_NAMESPACES))
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWPID)
    return _run_child(lambda: _become_container(specification), report)


def execute(specification: dict[str, Any], report: int) -> int:
    """Run a command in the namespaces of a container, as its user; its exit code."""
    host_network = specification["host_network"]
    namespaces = sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWIPC | (0 if host_network else POD_NAMESPACES)
    sc.enter(specification["container"], namespaces)
    return _run_child(lambda: _start(specification), report)


def _run_child(become: Any, report: int) -> int:
    """Fork, let the child `become` a program, wait for it. SIGTERM is passed on; SIGQUIT to us kills it."""
    child = 0

    def pass_on(number: int, _frame: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL if number == signal.SIGQUIT else number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, pass_on)
    failure, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become()
        except BaseException as error:
            os.write(told, str(error).encode())
        os._exit(CANNOT_START)
    os.close(told)
    error = b"".join(iter(lambda: os.read(failure, 4096), b""))  # ends when the child's exec closes the pipe
    if error:
        tell(report, error=error.decode())
    else:
        tell(report, started=child)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become_container(specification: dict[str, Any]) -> None:
    os.setsid()
    sc.mount("", "/", flags=sc.MS_REC | sc.MS_PRIVATE)
    _make_root(specification)
    _start(specification)


def _make_root(specification: dict[str, Any]) -> None:
    """Build the container's root and move into it."""
    scratch = specification["scratch"]
    sc.mount("tmpfs", scratch, "tmpfs", options="mode=755")  # in this mount namespace only: it goes with the container
    upper, work, root = (os.path.join(scratch, name) for name in ("upper", "work", "root"))
    os.umask(0o022)
    for folder in (upper, work, root):
        os.makedirs(folder, 0o755)
    _open(upper, "", specification["opened"])
    for path, text in specification["files"].items():
        os.makedirs(os.path.dirname(upper + path), 0o755, exist_ok=True)
        with open(upper + path, "w") as stream:
            stream.write(text)
        os.chmod(upper + path, 0o644)
    sc.mount("overlay", root, "overlay", options=f"lowerdir=/,upperdir={upper},workdir={work}")
    os.mkdir(root + OLD_ROOT, 0o700)
    sc.pivot_root(root, root + OLD_ROOT)
    os.chdir("/")
    sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    sc.bind(f"{OLD_ROOT}/sys", "/sys", read_only=True)
    sc.mount("tmpfs", "/run", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=755,size=64m")
    _make_devices()
    for mount in specification["own"]:
        _mount(mount["source"], mount["target"], mount["read_only"])
    for number, folder in enumerate(specification["hidden"]):
        _show(folder, f"{OLD_ROOT}{scratch}/shown-{number}", specification["opened"])
    for mount in specification["mounts"]:
        _mount(mount["source"], mount["target"], mount["read_only"])
    sc.detach(OLD_ROOT)
    os.rmdir(OLD_ROOT)
    if specification["read_only_root"]:
        sc.mount("", "/", flags=sc.MS_BIND | sc.MS_REMOUNT | sc.MS_RDONLY)


def _open(upper: str, below: str, closed: list[str]) -> None:
    """In the upper layer of an overlay over the folder `below`, make the closed folders ones that everybody may enter."""
    for folder in closed:
        if folder.startswith(f"{below}/"):
            os.makedirs(upper + folder[len(below) :], 0o755, exist_ok=True)


def _show(folder: str, scratch: str, closed: list[str]) -> None:
    """Show a folder of the machine that the root does not show, by an overlay of its own."""
    upper, work = f"{scratch}/upper", f"{scratch}/work"
    for path in (upper, work, folder):
        os.makedirs(path, 0o755, exist_ok=True)
    _open(upper, folder, closed)
    options = f"lowerdir={OLD_ROOT}{folder},upperdir={upper},workdir={work}"
    sc.mount("overlay", folder, "overlay", options=options)


def _make_devices() -> None:
    sc.mount("tmpfs", "/dev", "tmpfs", sc.MS_NOSUID, "mode=755,size=1m")
    for name in DEVICES:
        open(f"/dev/{name}", "w").close()
        sc.bind(f"{OLD_ROOT}/dev/{name}", f"/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"/dev/{name}", 0o755)
    sc.mount("devpts", "/dev/pts", "devpts", sc.MS_NOSUID | sc.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", "/dev/ptmx")
    os.symlink("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")


def _mount(source: str, target: str, read_only: bool) -> None:
    """Bind a file or folder of the machine to `target`, which is made where it is not there."""
    source = OLD_ROOT + source
    if stat.S_ISDIR(os.stat(source).st_mode):
        os.makedirs(target, 0o755, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        open(target, "w").close()
    sc.bind(source, target, read_only)


def _start(specification: dict[str, Any]) -> None:
    """Become the container's user and program; returns only by an error."""
    uid, gid = specification["uid"], specification["gid"]
    for descriptor in (1, 2):
        os.fchown(descriptor, uid, gid)
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    except ValueError:  # without CAP_SYS_RESOURCE: as many as this machine lets us
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    folder = specification["directory"]
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o755)
    if specification["capabilities"] is not None:
        sc.keep_capabilities(set(specification["capabilities"]))
    os.setgroups(specification["groups"])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.chdir(folder)
    if specification["no_new_privileges"]:
        sc.no_new_privileges()
    sc.die_with_parent(signal.SIGKILL)  # forgotten by the kernel when the user changes: so here
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and a program started inherits that
        signal.signal(number, signal.SIG_DFL)
    command, environment = specification["command"], specification["environment"]
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        where = "no such file or directory" if "/" in command[0] else "executable file not found in $PATH"
        raise RuntimeError(f'exec: "{command[0]}": {where}: unknown') from None
    except PermissionError:
        raise RuntimeError(f'exec: "{command[0]}": permission denied: unknown') from None


if __name__ == "__main__":
    main()
