# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a wait bears an API server that is away."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils import outage_tolerance as patience
from ansible_collections.multinode.inference.plugins.plugin_utils.outage_tolerance import AWAY_SECONDS, Patience


class Wait:
    """Reads that fail with a code, at times that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.code = ""
        self.said: list[str] = []
        self.patience = Patience(self.said.append)
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)

    def read(self, after: float, code: str = "") -> Any:
        self.now += after
        self.code = code
        return self.patience.read(self._answer)

    def _answer(self) -> str:
        if self.code:
            raise Refused([Fault(self.code, "Kubernetes API https://a", "no answer (refused)", "", "")])
        return "seen"


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    return Wait(monkeypatch)


@pytest.mark.parametrize("code", ["unreachable", "kubernetes"])
def test_what_passes_is_waited_for_and_said(wait: Wait, code: str) -> None:
    assert wait.read(0, code) is None and wait.patience.away
    assert wait.said == ["Kubernetes API https://a: no answer (refused), waited for 3m00s more"]
    assert wait.read(AWAY_SECONDS - 1, code) is None
    assert wait.read(10) == "seen" and not wait.patience.away
    assert wait.read(10, code) is None, "a time of its own"


def test_what_lasts_ends_the_wait(wait: Wait) -> None:
    wait.read(0, "unreachable")
    with pytest.raises(Refused):
        wait.read(AWAY_SECONDS, "unreachable")


@pytest.mark.parametrize("code", ["unauthorized", "forbidden"])
def test_what_does_not_pass_ends_it_at_once(wait: Wait, code: str) -> None:
    with pytest.raises(Refused):
        wait.read(0, code)
