# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of a pre-authenticated request on a deployment's objects, and when it is renewed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.source_request import (
    end_near,
    record_of,
    recorded,
    renewal,
)

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


def request(made: datetime, days: int) -> dict[str, str]:
    created, expires = made.isoformat(), (made + timedelta(days=days)).isoformat()
    return {
        "name": "multinode-inference-llama-0123",
        "region": "us-ashburn-1",
        "namespace": "ns",
        "bucket": "models",
        "id": "x",
        "time_expires": expires,
        "time_renewed": renewal(created, expires),
    }


@pytest.mark.parametrize(("days", "left"), [(365, 30), (120, 30), (40, 10), (4, 1)])
def test_a_request_is_renewed_before_its_end(days: int, left: int) -> None:
    made = request(NOW, days)
    end = datetime.fromisoformat(made["time_expires"])
    assert end - datetime.fromisoformat(made["time_renewed"]) == timedelta(days=left)
    assert end_near(made, end - timedelta(days=left, seconds=1)) is None
    assert end_near(made, end - timedelta(days=left)) is not None


@pytest.mark.parametrize(
    ("after", "words"), [(340, "ends in 25 days"), (364.5, "ends in 12 hours"), (400, "has ended (2027-03-01)")]
)
def test_its_end_is_told(after: float, words: str) -> None:
    fault = end_near(request(NOW, 365), NOW + timedelta(days=after))
    assert fault and words in fault.found and "deploy again" in fault.remedy


def test_the_record_comes_back_from_the_annotation() -> None:
    made = request(NOW, 365)
    assert recorded(record_of({**made, "url": "secret"})) == made
    assert "secret" not in str(record_of({**made, "url": "secret"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"name": "x"}',
        '{"name": ["x"], "bucket": "b", "namespace": "n"}',
        '{"name": "x", "bucket": "b", "namespace": "n", "region": 7}',
        "[" * 100_000,
    ],
)
def test_an_annotation_of_no_use_is_no_record(text: str) -> None:
    assert recorded({"multinode.inference/source-request": text}) == {}
    assert recorded(None) == {}
