# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as a person counts."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import readable_count


@pytest.mark.parametrize(
    ("count", "words"),
    [(0.46, "0.5"), (3, "3"), (3.44, "3.4"), (12.4, "12"), (350, "350"), (37354.9, "37,000"), (2e6, "2,000,000")],
)
def test_an_estimate_has_two_digits_that_count(count: float, words: str) -> None:
    assert readable_count(count) == words
