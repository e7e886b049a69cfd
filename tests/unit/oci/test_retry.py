# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import oci
import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci import retry
from ansible_collections.multinode.inference.plugins.module_utils.oci.errors import explained, is_ambiguous
from ansible_collections.multinode.inference.plugins.module_utils.oci.retry import Retry
from tests.unit.oci.fakes import service_error


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """A call that raises these errors, then answers; and the list of its calls."""
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return "answer"

    return call, calls


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (service_error(429, "TooManyRequests"), 8),
        (service_error(503, "ServiceUnavailable"), 8),
        (service_error(500, "InternalError", "oops"), 8),
        (service_error(409, "LockConflict"), 8),
        (service_error(500, "InternalError", "Out of host capacity."), 1),
        (service_error(409, "IncorrectState"), 1),
        (service_error(501, "NotImplemented"), 1),
        (service_error(404, "NotAuthorizedOrNotFound"), 1),
        (service_error(400, "LimitExceeded"), 1),
        (service_error(401, "NotAuthenticated"), 1),
        (oci.exceptions.RequestException("refused"), 3),
        (oci.exceptions.ConnectTimeout("timed out"), 3),
        (ValueError("a fault of ours"), 1),
    ],
)
def test_how_often(error: Exception, calls: int) -> None:
    pauses: list[float] = []
    call, made = failing(*[error] * 20)
    with pytest.raises(type(error)):
        Retry(sleep=pauses.append).make_retrying_call(call)
    assert len(made) == calls
    assert sum(pauses) <= 180 and all(pause <= 30 * 1.25 for pause in pauses)


def test_storm_of_429_is_survived() -> None:
    pauses: list[float] = []
    call, made = failing(*[service_error(429, "TooManyRequests")] * 5)
    assert Retry(sleep=pauses.append).make_retrying_call(call) == "answer"
    assert len(made) == 6 and pauses == sorted(pauses)


def test_total_time_is_bounded() -> None:
    pauses: list[float] = []
    call, _made = failing(*[service_error(503, "ServiceUnavailable")] * 50)
    with pytest.raises(oci.exceptions.ServiceError):
        Retry(attempts=50, total=60, sleep=pauses.append).make_retrying_call(call)
    assert 0 < sum(pauses) <= 60


def test_sdk_takes_it(monkeypatch: Any) -> None:
    """The SDK's clients ask a strategy for two methods and send a retry token with it."""
    client = oci.container_engine.ContainerEngineClient(
        {"region": "us-ashburn-1"},
        signer=oci.auth.signers.SecurityTokenSigner("token", _key()),
        service_endpoint="http://127.0.0.1:9",
        retry_strategy=Retry(sleep=lambda seconds: None),
    )
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(client.base_client, "call_api", lambda **kwargs: sent.append(kwargs) or "answer")
    assert client.create_node_pool({}, opc_retry_token="mine") == "answer"
    assert sent[0]["header_params"]["opc-retry-token"] == "mine"


def _key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_call_whose_answer_never_ends_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of it comes in time; whether the call was carried out is not known."""
    monkeypatch.setattr(retry, "LONGEST_SECONDS", 0.05)
    asked: list[int] = []

    def call() -> None:
        asked.append(1)
        time.sleep(1)

    with pytest.raises(TimeoutError) as raised:
        Retry(sleep=lambda _seconds: None).make_retrying_call(call)
    assert len(asked) == 3 and is_ambiguous(raised.value)
    with pytest.raises(Refused) as refused, explained("reading", "x"):
        raise raised.value
    assert refused.value.faults[0].code == "cloud_unreachable"
