# SPDX-License-Identifier: GPL-3.0-or-later
"""A log that is followed is printed as it is written, for as long as was asked; time is virtual."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import deployment_log_follow
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils.playbook_results import logs

STAGED = '2026-01-01T00:00:01.000000000Z multinode {"phase": "staging", "state": "done"}'
AWAY = [Fault("no_pod", "llama", "none"), Fault("no_pod", "llama", "none"), Fault("unreachable", "API", "away")]
READS: list[Any] = [[STAGED], [STAGED, "2026-01-01T00:00:02.000000000Z x"], *AWAY, ["2026-01-01T00:00:09.000000000Z y"]]


def followed(monkeypatch: pytest.MonkeyPatch, reads: list[Any], **asked: Any) -> tuple[dict[str, Any], list[str]]:
    left, now = list(reads), [0.0]
    shown: list[str] = []

    class Log:
        source = "models/p/ray"

        def __init__(self, *_arguments: Any) -> None: ...

        def read(self) -> list[str]:
            found = left.pop(0) if left else []
            if isinstance(found, Fault):
                raise Refused([found])
            return list(found)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(deployment_log_follow, "time", clock)
    monkeypatch.setattr(deployment_log_follow, "FollowedLog", Log)
    action: Any = deployment_log_follow.ActionModule.__new__(deployment_log_follow.ActionModule)
    action.registered, action.show = {}, shown.append
    action.reach = lambda _settings: SimpleNamespace(connect=lambda: None)
    result = action.act({"name": "llama", "minutes": 1, **asked}, {})
    assert now[0] == 60.0
    return result, shown


def test_lines_are_shown_as_they_come_and_what_passes_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    result, shown = followed(monkeypatch, READS, lines=2)
    assert shown == ["00:00:01  staging   done", "x", "llama: none", "API: away", "y"]
    assert result["lines"] == ["x", "y"]
    details, printed = logs({"follow": result, "logs": {"skipped": True}})
    assert details == {"source": "models/p/ray", "lines": ["x", "y"]} and printed == []


def test_raw_lines_are_as_the_pod_wrote_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(monkeypatch, [[STAGED]], raw=True)[1] == ['multinode {"phase": "staging", "state": "done"}']


@pytest.mark.parametrize("reads", [[Fault("no_pod", "llama", "none")], [[], Fault("forbidden", "kubeconfig", "403")]])
def test_what_does_not_pass_ends_it(monkeypatch: pytest.MonkeyPatch, reads: list[Any]) -> None:
    with pytest.raises(Refused):
        followed(monkeypatch, reads)


def test_events_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused) as refused:
        followed(monkeypatch, [], component="events")
    assert refused.value.faults[0].code == "logs_follow"
