# SPDX-License-Identifier: GPL-3.0-or-later
"""Ray's dashboard is not waited for, and what `ray start` says of it then is not passed on, for it starts all the same."""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import ray_dashboard
import ray_node

from tests.unit.runtime.pods import free_port, until

FIRST = "2026-11-28 01:52:47,602\tINFO scripts.py:1042 -- Local node IP: 10.0.0.1"
# As Ray 2.58 prints it.
REPORT = [
    "2026-11-28 01:52:48,920\tERROR services.py:1431 -- Failed to start the dashboard ",
    "2026-11-28 01:52:48,921\tERROR services.py:1456 -- Error should be written to 'dashboard.log' or 'dashboard.err'.",
    "2026-11-28 01:52:48,921\tERROR services.py:1500 -- ",
    "The last 20 lines of /tmp/ray/session_1/logs/dashboard.log (it contains the error message from the dashboard): ",
    "2026-11-28 01:52:48,801\tINFO head.py:177 -- Starting dashboard metrics server on port 44227",
    "",
]
LAST = ["2026-11-28 01:52:54,115\tSUCC scripts.py:1082 -- Ray runtime started.", "  ray stop"]
ENDED = "2026-11-28 01:52:48,920\tERROR services.py:1431 -- Failed to start the dashboard , return code 1"


def test_the_dashboard_is_not_waited_for_unless_an_option_demands_it() -> None:
    seconds = "RAY_DASHBOARD_STARTUP_TIMEOUT_S"
    assert ray_dashboard.environment("ray start --head --dashboard-host=0.0.0.0")[seconds] == "0"
    # Ray would end with it.
    assert ray_dashboard.environment("ray start --head --include-dashboard=true")[seconds] == "300"


def starts_ray(lines: list[str], code: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ray_node.RayNode:
    (folder / "lines").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", f"sh -c 'cat {folder}/lines; exit {code}' --block")
    for name in ("_adopt_orphans", "_allow_open_files"):  # of the process that tests
        monkeypatch.setattr(ray_node, name, lambda: None)
    monkeypatch.setattr(ray_node, "SESSIONS", folder / "ray")
    node = ray_node.RayNode()
    node.start()
    return node


def test_a_dashboard_that_was_not_waited_for_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    node = starts_ray([FIRST, *REPORT, *LAST], 0, tmp_path, monkeypatch)
    said = ""

    def all_is_said() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return LAST[-1] in said

    until(all_is_said, 10, "the last line")
    assert said.splitlines() == [FIRST, *LAST]
    node.stop()


def test_a_dashboard_that_ended_and_all_of_a_start_that_failed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    node = starts_ray([FIRST, ENDED, *REPORT], 1, tmp_path, monkeypatch)
    failure = until(node.failure, 10, "the failure")
    assert failure.cause == "`ray start` ended with exit code 1: Failed to start the dashboard , return code 1"
    assert capfd.readouterr().out.splitlines() == [line.rstrip() for line in (FIRST, ENDED, *REPORT)]
    node.stop()


def test_the_dashboard_takes_the_cpu_that_others_leave_until_it_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "ray" / "dashboard" / "dashboard.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time\ntime.sleep(60)\n")
    port = free_port()
    with subprocess.Popen(["python3", str(program)]) as process:
        try:
            before = os.getpriority(os.PRIO_PROCESS, process.pid)
            attending = threading.Thread(target=ray_dashboard._attend, args=(port, str), daemon=True)
            attending.start()
            until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) > before, 10, "a nicer dashboard")
            assert attending.is_alive()
            with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as server:
                # That it answers is enough, be it an error.
                server.handle_request()
            attending.join(10)
            assert not attending.is_alive()
        finally:
            process.kill()
    assert capfd.readouterr().out == ""


def test_a_dashboard_that_never_answers_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_dashboard, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(ray_dashboard, "LOG", tmp_path / "dashboard.log")
    (tmp_path / "dashboard.log").write_text("".join(f"line {number}\n" for number in range(30)))
    warned: list[str] = []
    ray_dashboard._attend(free_port(), warned.append)
    assert len(warned) == 1 and warned[0].startswith("Ray's dashboard has not answered")
    said = capfd.readouterr().out
    assert "Ray's dashboard has not answered for 0 s; the group continues without it" in said
    assert "dashboard.log: line 20\n" in said and "dashboard.log: line 29\n" in said and "line 19" not in said
