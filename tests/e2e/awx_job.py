# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as AWX runs it: the folder that it lays out, the environment that it sets, and ansible-runner in between."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.tools.environments import program
from tests.tools.setup import REPOSITORY

DEPENDENCIES = REPOSITORY / ".deps" / "ansible_collections"
LONGEST_SECONDS = 600


def lay_out(clone: Path, job: Path) -> None:
    """Make the folder of a job: the project, and the collections that its collections/requirements.yml names."""
    shutil.copytree(clone, job / "project", symlinks=True)
    wanted = yaml.safe_load((clone / "collections" / "requirements.yml").read_text())["collections"]
    for collection in wanted:
        namespace, name = collection["name"].split(".")
        shutil.copytree(
            DEPENDENCIES / namespace / name, job / "requirements_collections" / "ansible_collections" / namespace / name
        )
    (job / "inventory").mkdir()
    (job / "inventory" / "hosts").write_text("[all]\nlocalhost\n")


def forced_environment(job: Path, home: Path) -> dict[str, str]:
    """What AWX sets whatever ansible.cfg says: the collections of requirements.yml stand first."""
    forced = [job / "requirements_collections", home / ".ansible" / "collections", "/usr/share/ansible/collections"]
    return {"ANSIBLE_COLLECTIONS_PATH": ":".join(map(str, forced))}


@dataclasses.dataclass(frozen=True)
class Ended:
    """A job that ended: `status` as ansible-runner says it, what it printed, and its events in their order."""

    status: str
    output: str
    events: list[dict[str, Any]]

    @property
    def artifacts(self) -> dict[str, Any]:
        """What set_stats left, as AWX reads it from the last event."""
        stats = [event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"]
        return dict(stats[-1].get("artifact_data") or {}) if stats else {}

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        (stats,) = [event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"]
        return sum(stats["changed"].values())


class Jobs:
    """Jobs of one project, each with an empty home, as the container of an execution environment has it."""

    def __init__(self, clone: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """`environment`: what the execution environment, the rig and the credentials set."""
        self.folder = folder
        self._home = folder / "home"
        self._home.mkdir()
        self._job = folder / "job"
        lay_out(clone, self._job)
        kept = {name: value for name, value in environment.items() if not name.startswith("ANSIBLE_")}
        forced = forced_environment(self._job, self._home)
        self._environment = {**kept, **forced, "HOME": str(self._home), "AWX_HOST": "https://awx.example.com"}
        self._count = 0

    def _start(self, playbook: str, answers: Mapping[str, Any]) -> tuple[subprocess.Popen[str], Path]:
        self._count += 1
        told = {f"{name}_job_id": self._count for name in ("awx", "tower")} | {"awx_user_name": "somebody"}
        # AWX marks what people typed.
        marked = [f"{json.dumps(name)}: {_marked(value)}" for name, value in {**told, **answers}.items()]
        (self._job / "env").mkdir(exist_ok=True)
        (self._job / "env" / "extravars").write_text("---\n" + "\n".join(marked) + "\n")
        command = [program("ansible-runner"), "run", str(self._job), "-p", f"playbooks/{playbook}.yml", "--ident"]
        process = subprocess.Popen(
            [*command, str(self._count)],
            env={**self._environment, "JOB_ID": str(self._count)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return process, self._job / "artifacts" / str(self._count)

    def run(self, playbook: str, answers: Mapping[str, Any]) -> Ended:
        """Run a job to its end."""
        process, artifacts = self._start(playbook, answers)
        process.wait(LONGEST_SECONDS)
        return _ended(artifacts)

    def cancel_when(self, text: str, playbook: str, answers: Mapping[str, Any]) -> Ended:
        """Start a job, and cancel it once `text` shows: ansible-runner gets SIGTERM, and sends SIGKILL to the playbook."""
        process, artifacts = self._start(playbook, answers)
        printed, deadline = artifacts / "stdout", time.monotonic() + LONGEST_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if printed.exists() and text in printed.read_text():
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.3)
        process.wait(60)
        return _ended(artifacts)

    def processes(self) -> list[str]:
        """The command lines of what still runs of the jobs."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"HOME={self._home}\0".encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return [line for line in found if line]


def _marked(value: Any) -> str:
    return f"!unsafe {json.dumps(value)}" if isinstance(value, str) else json.dumps(value)


def _ended(artifacts: Path) -> Ended:
    paths = sorted((artifacts / "job_events").glob("*.json"), key=lambda path: int(path.name.partition("-")[0]))
    events = [json.loads(path.read_text()) for path in paths if "partial" not in path.name]
    return Ended((artifacts / "status").read_text(), (artifacts / "stdout").read_text(), events)


def environment_of_image(path: str) -> dict[str, str]:
    """The environment of a container: nothing of the tests' own, but for the programs on `path`."""
    return {"PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"} | {
        name: value for name, value in os.environ.items() if name.startswith("RIG_")
    }
