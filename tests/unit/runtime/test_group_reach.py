# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker reaches rank 0 on a port that nobody chose, or says that it does not."""

from __future__ import annotations

import group_reach
import pytest

from tests.unit.runtime.pods import free_port, until


def test_an_open_door_is_reached() -> None:
    found = group_reach.Reach("127.0.0.1", group_reach.open_door("127.0.0.1"))
    until(lambda: found.done, 5, "reached")
    assert found.failure() is None


def test_a_closed_one_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_reach, "PAUSE_SECONDS", 0.05)
    found = group_reach.Reach("127.0.0.1", port := free_port())
    assert found.failure() is None
    monkeypatch.setattr(group_reach, "PATIENCE_SECONDS", 0.0)
    failure = until(found.failure, 5, "told")
    assert f"cannot connect to rank 0 at 127.0.0.1:{port}" in failure.cause
    assert "open all ports between the nodes" in failure.cause
    assert not failure.lasting
    found.done = True
