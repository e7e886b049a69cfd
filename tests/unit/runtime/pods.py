# SPDX-License-Identifier: GPL-3.0-or-later
"""A group's pods as processes on loopback addresses: the programs as they are, with stand-ins for `ray` and `vllm` on PATH."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.runtime.source_server import SHARDS
from tests.waiting import wait

PROGRAMS = Path(__file__).parents[3] / "roles" / "raycluster" / "files"
STAND_INS = Path(__file__).parent / "programs"
API_KEY = "an-api-key"


def free_port() -> int:
    """A port that is free now, and not one that the kernel gives to connections."""
    while True:
        # Below the range that Linux takes for outgoing connections (32768 to 60999), one of which may come between.
        port = random.randrange(20000, 32768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for a true value and return it."""
    return wait(what, condition, seconds, pause=0.05)


class Pod:
    """One pod; `start` is the kubelet's start of its container. Its state folder outlives the container."""

    def __init__(self, group: PodGroup, number: int, label: int | None) -> None:
        self.number = number
        self.address = f"127.0.0.{number + 1}"
        self.folder = group.folder / f"pod-{number}"
        self.folder.mkdir()
        self.programs = self.folder / "programs"
        shutil.copytree(PROGRAMS, self.programs, ignore=shutil.ignore_patterns("__pycache__"))
        document = json.loads(json.dumps(group.document))
        document["staging"]["root"] = str(self.folder / "model")
        (self.programs / "group.json").write_text(json.dumps(document))
        (self.folder / "keys").mkdir()
        (self.folder / "keys" / "default").write_text(API_KEY)
        self.log_file = self.folder / "log"
        ports = group.document["ports"]
        role = "--head" if number == 0 else f"--address=127.0.0.1:{ports['gcs']}"
        self.environment = {
            "PATH": f"{STAND_INS}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(STAND_INS / "python"),
            "POD_IP": self.address,
            "FQ_RAY_IP": "127.0.0.1",
            "KUBERAY_GEN_RAY_START_CMD": f"ray start  {role}  --block  --dashboard-port={ports['dashboard']}  --num-gpus=2 ",
            "RAY_AUTH_TOKEN": "a-ray-token",
            "RAY_STAND_IN": str(group.folder),
            "VLLM_STAND_IN": str(group.folder),
            "MULTINODE_API_KEYS": str(self.folder / "keys"),
            "MULTINODE_STATE": str(self.folder),
            "MULTINODE_TERMINATION_LOG": str(self.folder / "termination"),
        }
        if number and label is not None:
            self.environment["MULTINODE_REPLICA_INDEX"] = str(label)
        self.process: subprocess.Popen[bytes] | None = None

    def change(self, program: str, name: str, value: object) -> None:
        """Give a constant of one of the pod's programs another value."""
        path = self.programs / program
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", path.read_text(), flags=re.MULTILINE)
        assert count == 1, f"{program} has no {name}"
        path.write_text(text)

    def replace(self, program: str, function: str, code: str) -> None:
        """Put other code in the place of a function of one of the pod's programs."""
        path = self.programs / program
        module = path.read_text()
        assert f"def {function.rpartition('.')[2]}(" in module
        path.write_text(f"{module}\n\ndef _instead(*_):\n    {code}\n\n\n{function} = _instead\n")

    def start(self) -> None:
        """Start the container."""
        program = self.programs / ("head.py" if self.number == 0 else "worker.py")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program)], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def probe(self) -> tuple[int, str]:
        """Run the readiness probe: its exit code and what it said."""
        done = subprocess.run(
            [sys.executable, str(self.programs / "ready.py")],
            env=self.environment, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.strip()

    def wait(self, seconds: float) -> int:
        """Wait for the container's end: its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def ended(self) -> bool:
        """Say whether the container has ended."""
        return self.process is None or self.process.poll() is not None

    def terminate(self) -> None:
        """What the kubelet does when the pod is deleted."""
        assert self.process is not None
        self.process.terminate()

    def kill(self) -> None:
        """End the container at once, with all its processes, as the end of its PID 1 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.end_children()

    def kill_raylet(self) -> None:
        """End Ray's node in the container, and nothing else."""
        for path in self.folder.parent.glob("*.node"):
            node = json.loads(path.read_text())
            if node["NodeManagerAddress"] == self.address:
                os.kill(node["pid"], signal.SIGKILL)

    def end_children(self) -> None:
        """End what the container's program left behind: all of a container has its state folder in its environment."""
        mark = f"MULTINODE_STATE={self.folder}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if mark in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def log(self) -> str:
        """All that the container said, over all its starts."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def progress(self, phase: str) -> dict[str, Any]:
        """The latest progress line of a phase; {} before the first."""
        lines = [line for line in self.log().splitlines() if line.startswith('multinode {"phase":"' + phase)]
        return json.loads(lines[-1].removeprefix("multinode ")) if lines else {}

    def failures(self) -> list[dict[str, Any]]:
        """The failures that are noted for the next start."""
        path = self.folder / "failures.json"
        return list(json.loads(path.read_text())["failures"]) if path.exists() else []

    def message(self) -> dict[str, Any]:
        """The progress line of the termination message."""
        first = (self.folder / "termination").read_text().splitlines()[0]
        return dict(json.loads(first.removeprefix("multinode ")))


def shards_of(pod: Any) -> set[str]:
    """The weight files in a pod's model folder."""
    return {path.name for path in (pod.folder / "model").glob("*.safetensors")}


class PodGroup:
    """A head and its workers. labels: the replica index of each worker, None for one without the label."""

    def __init__(self, document: dict[str, Any], folder: Path, labels: list[int | None]) -> None:
        self.folder = folder
        document["pipeline"] = 1 + len(labels)
        document["engine"]["port"] = free_port()
        document["engine"]["args"] = ["--port", str(document["engine"]["port"])]
        document["ports"] = {name: free_port() for name in ("gcs", "dashboard", "metrics", "client", "status")}
        shards = [name for names in SHARDS for name in names]
        self.shards = [{name} for name in shards[: len(labels)]] + [set(shards[len(labels) :])]
        document["staging"]["shards_per_stage"] = [sorted(names) for names in self.shards]
        document["staging"]["layers_per_stage"] = [len(names) for names in self.shards]
        self.document = document
        self.pods = [Pod(self, number, label) for number, label in enumerate([None, *labels])]
        self.head, self.workers = self.pods[0], self.pods[1:]

    def start(self) -> None:
        """Start all containers."""
        for pod in self.pods:
            pod.start()

    def behave(self, **behaviour: Any) -> None:
        """Tell the engine what to do."""
        new = self.folder / "behaviour.new"
        new.write_text(json.dumps(behaviour))
        new.rename(self.folder / "behaviour")

    def served(self, seconds: float = 30) -> None:
        """Wait until a token came back and the head says so."""
        wait(
            "ready",
            lambda: self.head.probe()[0] == 0,
            seconds,
            lambda: "\n".join(pod.log()[-2000:] for pod in self.pods),
            pause=0.05,
        )
        until(lambda: self.head.progress("token").get("state") == "done", 5, "told in the log")

    def end(self) -> None:
        """Leave no process."""
        for pod in self.pods:
            pod.kill()


MakeGroup = Callable[..., PodGroup]
