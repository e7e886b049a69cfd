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

    def fail(self, seconds: float, served: bool = False, cause: str = "the engine ended") -> None:
        """A try that fails after `seconds`; where it served, it did at once."""
        restarts = self.start()
        if served:
            restarts.served()
        self.now += seconds
        restarts.note(Failure("engine", cause))
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
    for cause in ("it died", "it hung"):
        assert not container.record.spent
        container.fail(WINDOW * 1.5, cause=cause)
    assert container.record.spent


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (
            "the engine died: stage 1 (10.0.3.17): RuntimeError: CUDA error at 0x7f12ab34cd56, pid 4711",
            "the engine died: stage 2 (10.0.9.2): RuntimeError: CUDA error at 0x7fffab34cd00, pid 12",
            True,
        ),
        ("ActorDied: 0950ec4f5b8a8557412418bb01000000", "ActorDied: 21300104e4794fa250132ef501000000", True),
        ("the engine ended with exit code 1", "the engine ended with exit code 139", False),
        ("the engine died: OSError: no space", "the engine died: ValueError: too large", False),
    ],
)
def test_the_same_cause_twice_before_the_first_token_ends_the_tries(
    container: Container, first: str, second: str, same: bool
) -> None:
    container.fail(10, cause=first)
    assert not container.record.spent
    container.fail(10, cause=second)
    assert container.record.spent is same
    if same:
        assert container.record.verdict().startswith(
            "given up after 2 failures, the same twice before the first token: "
        )


def test_the_same_cause_after_a_first_token_counts_in_the_window(container: Container) -> None:
    container.fail(10, served=True)
    container.fail(10)
    assert not container.record.spent


@pytest.mark.parametrize("phase", ["staging", "ray"])
def test_what_costs_no_start_of_the_engine_may_come_twice(container: Container, phase: str) -> None:
    """Staging goes on where it ended, and another pod may come in the place of one that was lost."""
    for _ in range(2):
        restarts = container.start()
        restarts.note(Failure(phase, "the other side does not answer"))
        restarts.end()
    assert not container.record.spent


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
    for _ in range(2):
        assert not container.start().spent
    restarts = container.start()
    assert restarts.spent
    assert restarts.first is not None and restarts.first["cause"].startswith("the container was killed from outside")
    assert "kubectl describe pod" in restarts.verdict()


def test_one_that_ended_by_itself_does_not(container: Container) -> None:
    for _ in range(5):
        container.start().end()
    assert container.record.count == 0


def test_a_failure_that_cannot_be_recorded_is_told_so_and_kept_in_memory(container: Container, tmp_path: Path) -> None:
    restarts = container.start()
    (tmp_path / ".failures.json.new").mkdir()
    assert not restarts.note(Failure("engine", "it died", remedy="look"))
    assert restarts.count == 1 and restarts.remedy == "look"
    assert "it died; no further try, since failures cannot be counted" in restarts.verdict()


def test_a_folder_that_takes_no_mark_lets_no_try_begin(container: Container, tmp_path: Path) -> None:
    (tmp_path / "begun").symlink_to(tmp_path / "nowhere" / "begun")
    with pytest.raises(Failure, match="a pod that cannot count its failures does not try") as raised:
        container.start()
    assert raised.value.lasting
