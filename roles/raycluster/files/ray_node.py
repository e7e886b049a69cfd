# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This pod's Ray node: the command that starts it, its processes, its environment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO

import pod_processes
import ray_agents
import ray_dashboard
from engine_log import Log
from group_file import STATE_FOLDER
from pod_progress import Failure, log, pass_on

# Ray's node IDs have 28 bytes (ray, src/ray/common/constants.h, kUniqueIDSize).
NODE_ID_DIGITS = 56
# KubeRay's own start command asks for as much: Ray and NCCL open many sockets.
OPEN_FILES = 65536
# Without these there is no node; Ray's other processes may come and go.
PROCESSES = ("gcs_server", "raylet")
PR_SET_CHILD_SUBREAPER = 36
# Ray's temporary folder, a volume of the pod.
SESSIONS = Path("/tmp/ray")
# How long `ray start` waits for its own raylet, and how many times, each 2 s after the last, it asks for the head's node (Ray 2.58,
# GlobalStateAccessor::GetNode and _private/ray_constants.py). Ray's own 30 s and 20 times are too few on a busy node.
PATIENCE = {"RAY_raylet_start_wait_time_s": "300", "RAY_NUM_REDIS_GET_RETRIES": "150"}
# The last lines of `ray start` are in the pipe for a moment after its end.
REST_SECONDS = 2.0


def worker_node_id(stage: int | None) -> str:
    """Return a Ray node ID that sorts by the stage: vLLM gives the stages to the driver's node, then by ascending ID.

    A worker that does not know its stage comes last.
    """
    prefix = "ffffffff" if stage is None else f"{stage - 1:08x}"
    return prefix + secrets.token_hex((NODE_ID_DIGITS - len(prefix)) // 2)


class RayNode:
    """Ray on this pod: the command that starts it, then its processes, which become children of this program."""

    def __init__(self) -> None:
        self._command: subprocess.Popen[bytes] | None = None
        # What ends with Ray's node, by process ID; None until the start command is done.
        self._processes: dict[int, str] | None = None
        self._raylet_seen = self._own_raylet_seen = False
        self._output: threading.Thread | None = None
        self._held: list[str] = []
        self._log = Log()

    @property
    def joinable(self) -> bool:
        """Say whether a node's process runs here, which others can join. `ray start` itself returns later.

        The GCS alone would not do: `ray start` of a worker ends where it finds no node of the head (Ray 2.58, _private/node.py).
        """
        self._raylet_seen = self._raylet_seen or bool(pod_processes.named(("raylet",)))
        return self._raylet_seen

    def start(self, node_id: str | None = None) -> None:
        """Start Ray by the command that KubeRay wrote for this pod.

        Without `--block`: that ends Ray with any of its processes, even the dashboard.
        """
        command = os.environ.get("KUBERAY_GEN_RAY_START_CMD")
        if not command:
            raise Failure(
                "ray",
                "KUBERAY_GEN_RAY_START_CMD is not set: this program is for a pod made by KubeRay 1.1 or later",
                lasting=True,
            )
        _provide_home()
        _drop_old_sessions()
        _adopt_orphans()
        _allow_open_files()
        node_id = node_id or worker_node_id(None)
        environment = {**PATIENCE, **ray_agents.ENVIRONMENT, **ray_dashboard.environment(command), **os.environ}
        environment["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = node_id
        ray_agents.attend(SESSIONS, node_id, command)
        # A shell, since KubeRay means it for one; a session of its own, since the signals of this container are ours to pass on.
        self._command = subprocess.Popen(
            ["/bin/bash", "-c", "exec " + re.sub(r"--block\b", "", command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._output = threading.Thread(
            target=self._pass_on, args=(self._command.stdout,), name="ray start", daemon=True
        )
        self._output.start()

    def failure(self) -> Failure | None:
        """Return how Ray ended on this pod; None while it starts or runs."""
        if self._command is None:
            return None
        if self._processes is None:
            code = self._command.poll()
            if code is None:
                # The command itself would wait for it until its patience is at an end.
                children = pod_processes.named(("raylet",), ended=False).values()
                lives = any(parent == self._command.pid for _name, parent in children)
                if self._own_raylet_seen and not lives:
                    return Failure("ray", f"Ray's raylet ended while it started{_last_check()}")
                self._own_raylet_seen = lives
                return None
            if code == 127:
                return Failure(
                    "ray", "the image has no `ray` on its PATH: use an image that holds Ray and vLLM", lasting=True
                )
            if code:
                self._tell_all()
                words, remedy = "see its lines in the log", ""
                if root := self._log.root():
                    words = f"{root.cause.cause} ({root.text})" if root.cause else root.text
                    remedy = root.cause.remedy if root.cause else ""
                return Failure("ray", f"`ray start` ended {_how(code)}: {words}", remedy=remedy)
            self._processes = {
                pid: name for pid, (name, parent) in pod_processes.named(PROCESSES).items() if parent == os.getpid()
            }
            log(f"Ray runs: {', '.join(f'{name} {pid}' for pid, name in self._processes.items())}")
        for pid, name in self._processes.items():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return Failure("ray", f"Ray's {name} ended {_how(os.waitstatus_to_exitcode(status))}")
        return None

    def _pass_on(self, output: IO[bytes]) -> None:
        """Write the lines of `ray start` to the pod's log, and keep those that are true only where it fails."""
        report = ray_dashboard.Report()
        for line in output:
            text = line.decode("utf-8", "replace").rstrip()
            if report.takes(text):
                self._held.append(text)
            else:
                self._log.read(text)
                pass_on(text)

    def _tell_all(self) -> None:
        if self._output is not None:
            self._output.join(REST_SECONDS)
        for line in self._held:
            pass_on(line)

    def stop(self) -> None:
        """End what can be named; the rest of Ray ends with the container."""
        if self._command is None:
            return
        for pid in self._processes or ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pod_processes.end_session(self._command)


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _last_check() -> str:
    """Return what the raylet of the latest session found wrong with itself, as far as it left it."""
    with contextlib.suppress(OSError):
        found = re.findall(
            r"Check failed: (.{1,300})", (SESSIONS / "session_latest/logs/raylet.out").read_text(errors="replace")
        )
        return f": {found[-1].strip()}" if found else ""
    return ""


def _provide_home() -> None:
    """Have a home that can be written, where the image's cannot: compilers and caches keep their files there."""
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK):
        own = STATE_FOLDER / "home"
        own.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(own)
        log(f"{home} cannot be written: HOME is {own}")


def _drop_old_sessions() -> None:
    """Leave of what Ray wrote in earlier starts of this container the last alone: the disk would fill."""
    # Elsewhere than on the pod's volume nothing is left of them, or it is not ours.
    if SESSIONS.is_mount():
        # Their names begin with the time.
        for session in sorted(SESSIONS.glob("session_[0-9]*"))[:-1]:
            shutil.rmtree(session, ignore_errors=True)


def _adopt_orphans() -> None:
    """Become the parent of what `ray start` leaves behind, also where this program is not the pod's first process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
