# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting in tests, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def wait(
    what: str, answer: Callable[[], Any], seconds: float = 120, also: Callable[[], str] = str, *, pause: float = 0.2
) -> Any:
    """The first true answer; fails the test when none comes in time, with what `also` says.

    The bound is long unless a test is about it: a pod of a node that another test takes away is remade in a minute.
    """
    end = time.monotonic() + seconds
    while not (found := answer()):
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s\n{also()}".rstrip())
        time.sleep(pause)
    return found
