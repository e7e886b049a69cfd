# SPDX-License-Identifier: GPL-3.0-or-later
"""The pause before a head's drain: only where requests may still come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import group_file
import pause
import pod_status
import pytest


@pytest.mark.parametrize(
    ("answer", "waits"),
    [({"state": "serving"}, True), ({"state": "forming"}, False), ({"state": "given_up"}, False), (None, False)],
)
def test_only_a_head_that_serves_pauses(
    tmp_path: Path,
    group_document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any] | None,
    waits: bool,
) -> None:
    path = tmp_path / "group.json"
    path.write_text(json.dumps(group_document))
    group = group_file.load(path)
    monkeypatch.setattr(group_file, "load", lambda: group)

    def ask(host: str, port: int) -> dict[str, Any]:
        if answer is None:
            raise ConnectionRefusedError
        return answer

    slept: list[float] = []
    monkeypatch.setattr(pod_status, "ask", ask)
    monkeypatch.setattr("pause.time.sleep", slept.append)
    assert pause.main() == 0
    assert slept == ([pause.PAUSE_SECONDS] if waits else [])
