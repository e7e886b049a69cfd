# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the playbooks as a person does: ansible-playbook from the checkout, the recipe and the settings as files."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from rig.configuration import REPOSITORY

LONGEST_SECONDS = 600
# Operations of OCI that read, though by POST.
READS_BY_POST = ("CreateComputeCapacityReport", "CreateKubeconfig")


@dataclasses.dataclass(frozen=True)
class Run:
    """How a playbook ended. `result` is its result file, None where it wrote none; `recap` the counts of the recap."""

    code: int
    output: str
    result: dict[str, Any] | None
    recap: dict[str, int]

    @property
    def faults(self) -> list[dict[str, Any]]:
        return list((self.result or {}).get("faults") or [])


class Playbooks:
    """The playbooks with a tenancy's settings, and with a folder of their own for what they read and write."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        settings: dict[str, Any],
        tree: Path = REPOSITORY,
        prefix: tuple[str, ...] = (),
        seconds: float = LONGEST_SECONDS,
    ) -> None:
        """`tree`: the checkout whose playbooks run; `prefix`: words before the command; `seconds`: the longest that one may run."""
        self.seconds = seconds
        self.folder = folder
        self.tree = tree
        self.prefix = prefix
        self.environment = environment
        self.settings = settings

    def command(self, playbook: str, *variables: dict[str, Any] | str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line; each of `variables` becomes a file, or is passed as it is."""
        command = [*self.prefix, "ansible-playbook", f"playbooks/{playbook}.yml", *options]
        for number, given in enumerate((self.settings, *variables)):
            if isinstance(given, str):
                command += ["-e", given]
                continue
            path = self.folder / f"{Path(playbook).name}-{number}.json"
            path.write_text(json.dumps(given), encoding="utf-8")
            command += ["-e", f"@{path}"]
        return [*command, "-e", f"result_file={self.folder / 'result.json'}"]

    def run(
        self,
        playbook: str,
        *variables: dict[str, Any] | str,
        options: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> Run:
        """Run a playbook to its end."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        ended = subprocess.run(
            self.command(playbook, *variables, options=options),
            cwd=self.tree,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.seconds,
            check=False,
        )
        written = json.loads(result.read_text(encoding="utf-8")) if result.exists() else None
        return Run(ended.returncode, ended.stdout, written, recap(ended.stdout))

    def kill_when(self, text: str, playbook: str, *variables: dict[str, Any] | str) -> str:
        """Start a playbook, kill it with all its children once `text` shows in its output, and return that output."""
        process = subprocess.Popen(
            self.command(playbook, *variables),
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        seen = ""
        deadline = time.monotonic() + self.seconds
        try:
            for line in process.stdout:
                seen += line
                if text in line or time.monotonic() > deadline:
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert text in seen, f"{text!r} never showed:\n{seen}"
        return seen


def recap(output: str) -> dict[str, int]:
    """The counts of the play's recap, by their names."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("localhost ")), "")
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}
