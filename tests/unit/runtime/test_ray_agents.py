# SPDX-License-Identifier: GPL-3.0-or-later
"""A raylet finds the ports of its agents before they have started, and a crash of its own is noticed at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pod_processes
import pytest
import ray_agents
import ray_node

from tests.unit.runtime.pods import until


def test_they_are_written_for_the_node_into_the_session_of_this_start(tmp_path: Path) -> None:
    old = tmp_path / "session_2026-11-08_10-00-00_000001_7"
    old.mkdir()
    made = tmp_path / "made"
    made.mkdir()
    (made / "runtime_env_agent_port_a1").write_text("4713")
    ray_agents.attend(
        tmp_path,
        "a1",
        "ray start --head  --dashboard-agent-listen-port=4711  --runtime-env-agent-port 4712 --num-gpus=1",
    )
    new = tmp_path / "session_2026-11-09_10-00-00_000001_7"
    made.rename(new)
    until((new / "dashboard_agent_listen_port_a1").exists, 5, "the port")
    assert (new / "dashboard_agent_listen_port_a1").read_text() == "4711"
    assert (new / "runtime_env_agent_port_a1").read_text() == "4713", "the agent's own"
    assert not list(old.iterdir()) and len(list(new.iterdir())) == 2


def test_the_dashboards_agent_takes_the_cpu_that_others_leave(tmp_path: Path) -> None:
    program = tmp_path / "ray" / "dashboard" / "agent.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time\ntime.sleep(60)\n")
    raylet = subprocess.Popen(
        ["python3", "-c", "import time; time.sleep(60)", "--raylet", f"--dashboard_agent_command=python3 {program}"]
    )
    with subprocess.Popen(["python3", "-u", str(program)]) as process:
        try:
            before = os.getpriority(os.PRIO_PROCESS, process.pid)
            ray_agents.attend(tmp_path, "a1", "ray start")
            (tmp_path / "session_2026-11-09_10-00-00_000001_7").mkdir()
            until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) > before, 10, "a nicer agent")
            assert os.getpriority(os.PRIO_PROCESS, raylet.pid) == before
        finally:
            process.kill()
            raylet.kill()
            raylet.wait()


def test_a_raylet_that_ends_while_it_starts_is_noticed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "sh -c 'sleep 60' --block")
    for name in ("_adopt_orphans", "_allow_open_files"):  # of the process that tests
        monkeypatch.setattr(ray_node, name, lambda: None)
    monkeypatch.setattr(ray_node, "SESSIONS", tmp_path)
    logs = tmp_path / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text(
        "[2026 C 1] node_manager.cc:3555:  Check failed: x.has_value() Timed out waiting for it\n"
    )
    living: dict[int, tuple[str, int]] = {4711: ("raylet", 1)}
    monkeypatch.setattr(pod_processes, "named", lambda names, ended=True: living)
    node = ray_node.RayNode()
    node.start()
    try:
        assert node.failure() is None
        assert node._command is not None
        living[4712] = ("raylet", node._command.pid)
        assert node.failure() is None
        # That another pod's lives says nothing.
        del living[4712]
        failure = node.failure()
        assert failure is not None
        assert failure.cause == "Ray's raylet ended while it started: x.has_value() Timed out waiting for it"
    finally:
        node.stop()
