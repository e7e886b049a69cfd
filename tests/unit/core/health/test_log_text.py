# SPDX-License-Identifier: GPL-3.0-or-later
"""What the logs playbook shows of progress lines and events."""

from __future__ import annotations

import json

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.log_text import readable, readable_events
from ansible_collections.multinode.inference.plugins.module_utils.core.health.pod_words import progress_lines
from ansible_collections.multinode.inference.plugins.module_utils.core.text import log_lines


def said(second: int, **entry: object) -> str:
    return f"2026-11-30T14:03:{second:02}.123456789Z multinode {json.dumps(entry)}"


LINES = [
    said(1, phase="staging", state="running", done=5e9, total=2e10, unit="bytes", eta=90, step="fetching"),
    said(31, phase="staging", state="running", done=5e9, total=2e10, unit="bytes", eta=90, step="fetching"),
    "2026-11-30T14:03:32.5Z (EngineCore pid=7) INFO loading",
    said(
        33, phase="engine", state="failed", done=1, total=4, unit="shards", cause="no memory", remedy="use more nodes"
    ),
    said(34, phase="token", state="done", done=1, total=1, text=" world"),
    "no time here",
]


def test_progress_is_time_phase_how_far_and_cause_and_other_lines_stay() -> None:
    assert readable(LINES) == [
        "14:03:01  staging   running, 5.0 GB of 20.0 GB, 1m30s left, fetching",
        "(EngineCore pid=7) INFO loading",
        "14:03:33  engine    failed, 1/4 shards, no memory, use more nodes",
        "14:03:34  token     done, answered ' world'",
        "no time here",
    ]


def test_one_phase_alone() -> None:
    assert readable(LINES, "staging") == ["14:03:01  staging   running, 5.0 GB of 20.0 GB, 1m30s left, fetching"]


def test_events_are_lines_by_their_time() -> None:
    late = {"lastTimestamp": "2026-11-30T14:05:00Z", "type": "Warning", "reason": "FailedMount", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "w"}, "message": "timed\n out"}  # fmt: skip
    early = {"eventTime": "2026-11-30T14:01:00Z", "type": "Normal", "reason": "Pulled", "message": None}
    assert readable_events([late, early]) == [
        "2026-11-30T14:01:00Z  Normal  Pulled  None/None: ",
        "2026-11-30T14:05:00Z  Warning  FailedMount  Pod/w (3 times): timed out",
    ]


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_line(end: str) -> None:
    """Else a client's words would be a line of their own, and one of ours where they look like it."""
    line = f"2026-11-30T14:03:33Z INFO role: {'x' * 60}{end}" + said(33, phase="engine", state="failed")
    assert log_lines(f"{line}\r\nb\n".encode()) == [line, "b"] and log_lines(b"") == log_lines(None) == []
    assert progress_lines(line) == {}
