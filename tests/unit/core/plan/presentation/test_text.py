# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as a person counts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import (
    describe,
    describe_shortly,
    readable_count,
)
from tests.unit.core.plans import plan


@pytest.mark.parametrize(
    ("count", "words"),
    [(0.46, "0.5"), (3, "3"), (3.44, "3.4"), (12.4, "12"), (350, "350"), (37354.9, "37,000"), (2e6, "2,000,000")],
)
def test_an_estimate_has_two_digits_that_count(count: float, words: str) -> None:
    assert readable_count(count) == words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "inside the cluster only"),
        (
            {"endpoint_exposure": "load_balancer"},
            "load_balancer, internal, open to every address that reaches it, HTTPS (self_signed)",
        ),
        (
            {"endpoint_exposure": "load_balancer", "endpoint_public": True, "endpoint_source_ranges": ["192.0.2.0/24"]},
            "load_balancer, public, open to 192.0.2.0/24, HTTPS (self_signed)",
        ),
        (
            {"endpoint_exposure": "load_balancer", "endpoint_tls": "none"},
            "load_balancer, internal, open to every address that reaches it, plain HTTP",
        ),
    ],
)
def test_who_reaches_the_endpoint_is_said_before_money_is_spent(settings: dict[str, Any], words: str) -> None:
    made: Any = plan(**settings)
    for lines in (describe(made), describe_shortly(made)):
        assert f"Endpoint     {words}" in lines
