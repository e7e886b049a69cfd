# SPDX-License-Identifier: GPL-3.0-or-later
"""The head's own metrics: for who has a key, in Prometheus' format, and as many series whatever the group does."""

from __future__ import annotations

import http.client
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import group_metrics
import pod_status
import pytest
from engine_keys import Keys
from pod_progress import Board

from tests.tools import prometheus
from tests.unit.runtime.pods import free_port

STATUS: dict[str, Any] = {
    "state": "serving",
    "unserved": 1,
    "quiet": 3.5,
    "phases": {
        "ray": {"state": "done", "done": 16, "total": 16},
        "staging": {"state": "done", "done": 10**12, "total": 10**12, "fetched": 10**9},
        "engine": {"state": "running"},
    },
}


def page(**changes: Any) -> dict[str, float]:
    text = group_metrics.text({**STATUS, **changes}, {"ray": 12.5, "staging": 7.0, "odd": 1.0}, 2, 9)
    assert text.endswith("\n") and all(
        re.fullmatch(r"# (HELP|TYPE) .*|\w+(\{\w+=\"\w+\"\})? \S+", line) for line in text.splitlines()
    )
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_each_figure_is_there_once() -> None:
    found = page()
    assert (
        found['multinode_state{state="serving"}'] == 1
        and sum(value for name, value in found.items() if name.startswith("multinode_state{")) == 1
    )
    assert found['multinode_phase_seconds{phase="ray"}'] == 12.5 and 'multinode_phase_seconds{phase="odd"}' not in found
    assert found["multinode_failures"] == 2 and found["multinode_own_completions_total"] == 9
    assert (
        found["multinode_staged_bytes"] == 10**12 and found["multinode_gpus"] == found["multinode_gpus_expected"] == 16
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": {}, "quiet": None},
        {"phases": {"ray": {"state": 'x"\n', "done": "many", "total": math.nan}}},
        {"state": 'evil"} 1\nfake 2'},
    ],
)
def test_what_is_not_known_or_odd_makes_no_series(changes: dict[str, Any]) -> None:
    assert page(**changes).keys() <= page().keys()


def test_promtool_has_nothing_against_it() -> None:
    text = group_metrics.text(STATUS, {"ray": 1.0}, 0, 1)
    command = [prometheus.find("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    (tmp_path / "default").write_text("right")
    monkeypatch.setattr("engine_keys.FOLDER", tmp_path)
    monkeypatch.setattr(group_metrics, "_keys", Keys())
    monkeypatch.setenv("POD_IP", "127.0.0.1")
    port = free_port()
    pod_status.serve(port, lambda: {"role": "head"}, lambda: "page\n")
    return port


def ask(port: int, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic right", "right", "Bearer \xff"])
def test_who_has_no_key_gets_no_metrics(served: int, given: str) -> None:
    status, text = ask(served, "/metrics", *([("Authorization", given)] if given else []))
    assert status == 401 and "page" not in text


def test_who_has_the_key_gets_them_and_the_status_is_as_it_was(served: int) -> None:
    for path in ("/metrics", "/metrics?name=x"):
        assert ask(served, path, ("Authorization", "bearer right")) == (200, "page\n")
    for path in ("/", "/metrics/", "/other"):
        status, text = ask(served, path)
        assert status == 200 and json.loads(text) == {"role": "head"}


def test_a_phase_takes_from_its_begin_to_its_end(clock: list[float]) -> None:
    board = Board()
    board.tell("ray", state="running")
    clock[0] += 5
    board.tell("staging", state="running")
    clock[0] += 2
    board.tell("ray", state="done")
    clock[0] += 10
    assert board.seconds() == {"ray": 7.0, "staging": 12.0}
    board.tell("ray", state="done", step=None)
    assert board.seconds()["ray"] == 7.0
