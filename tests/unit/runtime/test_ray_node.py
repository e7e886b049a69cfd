# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod's Ray node finds when it starts: a home, and what earlier starts of the container left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray_node

from tests.unit.runtime.pods import until


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A node that can be started, with folders of its own."""
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "true --block")
    for name in ("_adopt_orphans", "_allow_open_files"):  # of the process that tests
        monkeypatch.setattr(ray_node, name, lambda: None)
    monkeypatch.setattr(ray_node, "STATE_FOLDER", tmp_path / "state")
    monkeypatch.setattr(ray_node, "SESSIONS", tmp_path / "ray")
    return monkeypatch


def start() -> None:
    node = ray_node.RayNode()
    node.start()
    node.stop()


def test_sessions_of_earlier_starts_are_removed_but_the_last(tmp_path: Path, started: pytest.MonkeyPatch) -> None:
    names = [f"session_2026-11-{day}_10-00-00_000001_7" for day in ("08", "09", "10")]
    for name in names:
        (tmp_path / "ray" / name / "logs").mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(names[-1])
    start()
    assert len(list((tmp_path / "ray").iterdir())) == 4, "no volume: it may be anybody's"
    started.setattr(Path, "is_mount", lambda path: path == tmp_path / "ray")
    start()
    assert {path.name for path in (tmp_path / "ray").iterdir()} == {names[-1], "session_latest"}


def test_a_home_that_cannot_be_written_is_replaced(
    tmp_path: Path, started: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started.setenv("HOME", str(tmp_path))
    start()
    assert os.environ["HOME"] == str(tmp_path) and not capfd.readouterr().out
    started.setenv("HOME", "/proc/none")
    start()
    home = Path(os.environ["HOME"])
    assert home == tmp_path / "state" / "home" and home.is_dir()
    assert f"/proc/none cannot be written: HOME is {home}" in capfd.readouterr().out


def test_a_start_that_failed_says_why_and_its_raylet_is_given_time(started: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(
        "2026-11-30 18:43:45,596\tINFO node.py:438 -- Failed to get node info b'RPC error: Deadline Exceeded'\n"
        "Traceback (most recent call last):\n"
        '  File "/opt/ray/_private/node.py", line 440, in __init__\n'
        "    raise Exception(\n"
        "Exception: The current node timed out during startup.\n"
    )
    started.setenv("KUBERAY_GEN_RAY_START_CMD", f"sh -c 'env > {tmp_path}/env; cat {tmp_path}/lines; exit 1'")
    node = ray_node.RayNode()
    node.start()
    failure = until(node.failure, 10, "the failure")
    assert failure.cause == "`ray start` ended with exit code 1: Exception: The current node timed out during startup."
    assert not failure.lasting
    # Ray's own bounds are too short on a busy node.
    assert {"RAY_raylet_start_wait_time_s=300", "RAY_NUM_REDIS_GET_RETRIES=150"} < set(
        (tmp_path / "env").read_text().splitlines()
    )
    node.stop()


def test_a_start_that_failed_for_a_known_cause_says_what_to_do(started: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(
        "Traceback (most recent call last):\n"
        '  File "/opt/venv/bin/ray", line 10, in <module>\n'
        "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.58.0\nThis process was started with:\n    Ray: 2.55.0\n"
    )
    started.setenv("KUBERAY_GEN_RAY_START_CMD", f"bash -c 'cat {tmp_path}/lines; exit 1'")
    node = ray_node.RayNode()
    node.start()
    failure = until(node.failure, 10, "the failure")
    node.stop()
    assert (
        "exit code 1: the pods of the group have different versions of Ray or Python (RuntimeError: Version"
        in failure.cause
    )
    assert failure.remedy == "use one image for all pods"
