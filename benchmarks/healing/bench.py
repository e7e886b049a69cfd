# SPDX-License-Identifier: GPL-3.0-or-later
"""A group on real Ray whose rank is killed: how long until it serves again, beside the engine's own start in the same restart.

The engine's own start is from the line that vLLM is being started to the token that came back, by the times of the head's log; what
is left is what healing adds: noticing, the containers' end and start, and Ray, whose start and forming are shown too. It fails where
that is more than BOUND_SECONDS in the middle of the rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from rig import access, samples
from rig.configuration import REPOSITORY, Rig, rig_directory
from rig.fixtures import RunningRig
from tests.e2e.playbooks import Playbooks
from tests.e2e.served_group import ServedGroup

NAME = "bench-healing"
ROUNDS = 3
BOUND_SECONDS = 10.0
SERVED_SECONDS = 900


def main() -> None:
    directory = rig_directory()
    was_up = (directory / "env").exists()
    _rig("up")
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Rig.load(directory), Path(folder))
    finally:
        if not was_up:
            _rig("down")


def _measure(rig: Rig, folder: Path) -> None:
    running = RunningRig(rig.directory, rig.as_json(), rig.oci.control, rig.kubernetes.kubeconfig, rig)
    tenancy = running.steer("POST", "/tenancies", {})
    samples.put_model(tenancy, rig)
    settings = {**tenancy["settings"], "endpoint_exposure": "none"}
    playbooks = Playbooks(folder, access.environment(rig.directory), settings)
    group = ServedGroup(running, NAME, tenancy["compartment_id"])
    added = []
    try:
        run = playbooks.run("deploy", samples.recipe(samples.make_par(tenancy, rig), deployment_name=NAME))
        if run.code:
            raise SystemExit(run.output)
        print(
            f"{'seconds':<8} {'served again':>13} {'own start':>10} {'difference':>11} {'of it Ray':>10} {'ratio':>6}"
        )
        for number in range(1, ROUNDS + 1):
            if number > 1:
                # New pods: the kubelet makes the second restart of a container wait, and that is not ours.
                for pod in group.pods():
                    group.delete(pod)
                time.sleep(5)
            group.until_served(time.monotonic(), SERVED_SECONDS)
            began = time.monotonic()
            group.kill_rank(group.worker())
            while group.endpoint_is_open():
                time.sleep(0.2)
            healed = group.until_served(began, SERVED_SECONDS)
            ray, own = _starts(group.log(group.head(), "--timestamps"))
            added.append(healed - own)
            print(
                f"{number:<8} {healed:13.1f} {own:10.1f} {added[-1]:11.1f} {ray:10.1f} {healed / own:6.2f}", flush=True
            )
    finally:
        playbooks.run("undeploy", {"deployment_name": NAME})
    if (middle := statistics.median(added)) > BOUND_SECONDS:
        raise SystemExit(
            f"healing added {middle:.1f} s to the engine's own start, expected {BOUND_SECONDS:.0f} at most"
        )


def _starts(log: str) -> tuple[float, float]:
    """Seconds of Ray, until the group had formed, and from the engine's start to its first token, in a head's log."""
    times: dict[str, datetime] = {}
    for line in log.splitlines():
        moment, _, text = line.partition(" ")
        for phase, state in (("ray", "running"), ("ray", "done"), ("engine", "running"), ("token", "done")):
            if text.startswith(f'multinode {{"phase":"{phase}","state":"{state}"'):
                times.setdefault(f"{phase} {state}", datetime.fromisoformat(moment))
    return (
        (times["ray done"] - times["ray running"]).total_seconds(),
        (times["token done"] - times["engine running"]).total_seconds(),
    )


def _rig(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "rig", command], cwd=REPOSITORY, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the rig: {command} ended with {done.returncode}")
