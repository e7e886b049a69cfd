# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines and the termination message, as the wait and `status` read them."""

from __future__ import annotations

import json
from pathlib import Path

import pod_progress
import pytest
from pod_progress import Board, Failure


def lines(text: str) -> list[dict[str, object]]:
    """The progress lines in a log."""
    return [json.loads(line.removeprefix("multinode ")) for line in text.splitlines() if line.startswith("multinode ")]


def test_a_line_has_all_agreed_fields(capfd: pytest.CaptureFixture[str]) -> None:
    Board().tell("staging", state="running", done=1, total=4, unit="bytes", rate=2, eta=3)
    [line] = lines(capfd.readouterr().out)
    assert line == {
        "phase": "staging", "state": "running", "done": 1, "total": 4, "unit": "bytes", "rate": 2, "eta": 3, "cause": None,
    }  # fmt: skip


def test_a_change_of_words_is_said_at_once_and_of_numbers_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(pod_progress.time, "monotonic", lambda: now)
    board = Board()
    board.tell("staging", state="running", done=0)
    board.tell("staging", done=1)
    board.tell("staging", done=2, cause="slow")
    now += 4.9
    board.tell("staging", done=3)
    now += 0.1
    board.tell("staging", done=4)
    board.tell("staging", state="done", done=5)
    assert [line["done"] for line in lines(capfd.readouterr().out)] == [0, 2, 4, 5]
    assert board.entries()["staging"]["cause"] == "slow"


@pytest.mark.parametrize("cause", ["short", "long " * 2000, "ü" * 5000])
def test_the_termination_message_fits_and_begins_with_the_cause(
    cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "termination-log"
    monkeypatch.setattr(pod_progress, "TERMINATION_LOG", path)
    pod_progress.leave_message({"phase": "engine", "state": "failed", "cause": cause}, ["line ä"] * 2000)
    data = path.read_bytes()
    assert len(data) <= 4096
    [line] = lines(data.decode())
    assert cause.startswith(str(line["cause"])) and line["cause"]


def test_a_failure_that_a_restart_mends_is_an_end_and_no_failure() -> None:
    assert [Failure("ray", "x", lasting=lasting).state for lasting in (True, False)] == ["failed", "ended"]
