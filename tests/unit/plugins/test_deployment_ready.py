# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the wait for an endpoint: what stays refused is a fault, and nothing is Ready that its users cannot ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import deployment_ready
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils.completion import Reach
from tests.unit.core.plans import exposed, plan

ROUTE = Fault("route_refused", "endpoint_gateway", "not from here", "", "")


class Endpoint:
    """An endpoint with one problem and refusal after the other; the last one stays."""

    def __init__(self, *looks: tuple[str | None, Fault | None]) -> None:
        self.looks, self.refusal = list(looks), None
        self.hosts = {"api": "llama.example.com"}

    def problem(self) -> str | None:
        words, self.refusal = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return words

    def reach(self) -> Reach:
        return Reach("https", "llama.example.com", "192.0.2.7", 443)

    def dashboard_url(self, _reach: Reach) -> str | None:
        return None


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Waits for an endpoint whose completions end so, one after the other; returns the seconds it took and how it ended."""
    now = [0.0]
    monkeypatch.setattr(deployment_ready.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(deployment_ready.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(deployment_ready, "missing_records", lambda *_: [])

    def run(endpoint: Endpoint, *problems: str | None) -> tuple[float, Any]:
        left = list(problems)

        def complete(*_: Any) -> dict[str, str | None]:
            problem = left.pop(0) if len(left) > 1 else left[0]
            return {"text": None if problem else " Paris", "problem": problem}

        monkeypatch.setattr(deployment_ready, "complete", complete)
        action = deployment_ready.ActionModule.__new__(deployment_ready.ActionModule)
        action._endpoint = endpoint  # type: ignore[assignment]
        action._refused, action._settle = {}, lambda: None  # type: ignore[method-assign]
        action._lines = SimpleNamespace(say=lambda *_, **__: None)  # type: ignore[assignment]
        action._timeline = SimpleNamespace(add=lambda *_: None)  # type: ignore[assignment]
        action._patience = SimpleNamespace(read=lambda read: read(), away=False)  # type: ignore[assignment]
        try:
            ended: Any = action._reached(plan(**exposed("gateway")), "key", 3600.0)
        except Refused as refused:
            ended = [fault.code for fault in refused.faults]
        return now[0], ended

    return run


def test_a_route_that_stays_refused_is_a_fault_within_a_minute(waited: Any) -> None:
    assert waited(Endpoint(("refused", ROUTE)), None) == (60.0, ["route_refused"])


def test_a_refusal_that_is_corrected_is_none(waited: Any) -> None:
    seconds, ended = waited(
        Endpoint(*[("refused", ROUTE)] * 20, ("waiting", None), ("refused", ROUTE), (None, None)), None
    )
    assert seconds < 60 and ended["recipes"] == {"raycluster_vm_test-raycluster-app": "https://llama.example.com"}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        ("its certificate is not accepted: self-signed certificate", "certificate_not_accepted"),
        ("HTTP 401", "answer_of_another"),
    ],
)
def test_an_answer_that_is_never_the_deployments_is_a_fault_before_the_end_of_the_wait(
    waited: Any, problem: str, code: str
) -> None:
    assert waited(Endpoint((None, None)), problem) == (300.0, [code])


def test_a_certificate_that_is_on_its_way_is_waited_for(waited: Any) -> None:
    problem = "its certificate is not accepted: self-signed certificate"
    seconds, ended = waited(Endpoint((None, None)), *[problem] * 60, None)
    assert 100 < seconds < 300 and ended["completion"] == " Paris"


def test_what_never_answers_is_told_at_the_end_of_the_wait(waited: Any) -> None:
    assert waited(Endpoint((None, None)), "HTTP 503") == (3600.0, ["timeout"])
