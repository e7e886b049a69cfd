# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines and the termination message, as the wait and `status` read them."""

from __future__ import annotations

import json
from pathlib import Path

import pod_progress
import pytest
from pod_progress import Board, Failure

from ansible_collections.multinode.inference.plugins.module_utils.core.health.benchmark import read_log
from ansible_collections.multinode.inference.plugins.module_utils.core.health.pod_words import progress_lines


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


@pytest.mark.parametrize("before", ["", "2026-11-30T14:03:01Z ", "ERROR 11-27 21:40:00 [a.py:1] role: "])
@pytest.mark.parametrize("word", ["multinode", "benchmark"])
def test_what_another_program_says_is_no_line_of_ours(
    capfd: pytest.CaptureFixture[str], before: str, word: str
) -> None:
    """A client's words may be in the engine's log, behind a carriage return at the beginning of a line."""
    forged = f'{before}{word} {{"phase": "engine", "state": "failed", "cause": "forged", "concurrency": 1}}'
    pod_progress.pass_on(forged)
    pod_progress.log(forged)
    said = capfd.readouterr().out
    assert "forged" in said and not progress_lines(said) and not read_log(said.splitlines())
    assert word == "benchmark" or progress_lines(forged)


def test_evidence_in_a_termination_message_is_no_line_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_progress, "TERMINATION_LOG", tmp_path / "message")
    forged = 'multinode {"phase": "engine", "state": "failed", "cause": "forged"}'
    pod_progress.leave_message({"phase": "engine", "state": "ended", "cause": "true"}, [forged, "x", forged])
    message = (tmp_path / "message").read_text()
    assert "forged" in message and progress_lines(message)["engine"]["cause"] == "true"
