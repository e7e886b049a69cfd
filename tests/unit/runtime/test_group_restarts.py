# SPDX-License-Identifier: GPL-3.0-or-later
"""Which failures count: tries may take longer than the window, the container may be killed, and the disk be full."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import group_restarts
import pytest
from group_restarts import Restarts
from pod_progress import Failure

WINDOW = 3600.0


class Container:
    """The starts of one pod's container, on a clock that stands until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000.0
        staging = SimpleNamespace(source="par", url_file=folder / "par", token_file=folder / "token")
        self._group: Any = SimpleNamespace(restart_limit=2, restart_window_seconds=WINDOW, staging=staging)

    @property
    def record(self) -> Restarts:
        return Restarts(self._group)

    def start(self) -> Restarts:
        restarts = Restarts(self._group)
        restarts.begin()
        return restarts

    def fail(self, seconds: float, served: bool = False) -> None:
        """A try that fails after `seconds`; where it served, it did at once."""
        restarts = self.start()
        if served:
            restarts.served()
        self.now += seconds
        restarts.note(Failure("engine", "the engine ended"))
        restarts.end()


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container(tmp_path)
    monkeypatch.setattr(group_restarts, "STATE_FOLDER", tmp_path)
    monkeypatch.setattr("group_restarts.time.time", lambda: made.now)
    return made


@pytest.mark.parametrize("served", [False, True], ids=["never", "once"])
def test_tries_longer_than_the_window_count_as_long_as_none_serves(container: Container, served: bool) -> None:
    container.fail(10, served)
    for _ in range(2):
        assert not container.record.spent
        container.fail(WINDOW * 1.5)
    assert container.record.spent


def test_what_failed_before_it_served_ages(container: Container) -> None:
    for _ in range(5):
        container.fail(WINDOW * 1.5, served=True)
        assert container.record.count == 1
    container.start().served()
    assert container.record.count == 1, "it may fail again at once"
    container.now += WINDOW * 1.1
    assert container.record.count == 0


def test_tries_that_failed_since_it_served_are_told(container: Container) -> None:
    for expected in (0, 1, 2):
        assert container.record.unserved == expected
        container.fail(10)
    container.fail(10, served=True)
    assert (container.record.unserved, container.record.count) == (1, 4)


def test_a_container_killed_from_outside_counts(container: Container) -> None:
    for _ in range(3):
        assert not container.start().spent
    restarts = container.start()
    assert restarts.spent
    assert restarts.first is not None and restarts.first["cause"].startswith("the container was killed from outside")
    assert "kubectl describe pod" in restarts.verdict()


def test_one_that_ended_by_itself_does_not(container: Container) -> None:
    for _ in range(5):
        container.start().end()
    assert container.record.count == 0


def test_a_full_disk_keeps_nobody_from_ending(
    container: Container, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".failures.json.new").mkdir()
    container.fail(1, served=True)
    assert "cannot be written" in capfd.readouterr().out
