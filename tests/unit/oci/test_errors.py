# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import oci
import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci.errors import explained
from tests.unit.oci.fakes import service_error


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, "InvalidParameter", "no", "cloud_invalid_request"),
        (400, "LimitExceeded", "The following service limits were exceeded: gpu-a10-count.", "cloud_limit_exceeded"),
        (400, "QuotaExceeded", "no", "cloud_limit_exceeded"),
        (400, "LimitExceeded", "Out of host capacity.", "cloud_out_of_host_capacity"),
        (401, "NotAuthenticated", "no", "cloud_not_authenticated"),
        (403, "NotAuthorized", "no", "cloud_not_authorized"),
        (404, "NotAuthorizedOrNotFound", "no", "cloud_not_found_or_not_authorized"),
        (409, "IncorrectState", "no", "cloud_conflict"),
        (412, "NoEtagMatch", "no", "cloud_conflict"),
        (429, "TooManyRequests", "no", "cloud_too_many_requests"),
        (500, "InternalError", "Out of Host Capacity", "cloud_out_of_host_capacity"),
        (500, "InternalError", "no", "cloud_unavailable"),
        (503, None, "", "cloud_unavailable"),
        (418, "Teapot", "no", "cloud_error"),
    ],
)
def test_codes(status: int, code: str | None, message: str, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        with explained("asking", "there", policy="use clusters"):
            raise service_error(status, code, message)  # type: ignore[arg-type]
    (fault,) = refused.value.faults
    assert fault.code == expected
    data = fault.as_dict()
    assert data["status"] == status and data["request_id"] == "REQUEST/1" and data["service"] == "container_engine"
    assert fault.line().startswith("there: asking: HTTP") and fault.line().endswith("(opc-request-id REQUEST/1)")


def test_what_is_no_clouds_fault_is_told_without_its_words() -> None:
    with pytest.raises(Refused) as refused:
        with explained("asking", "there"):
            raise ValueError("Invalid header value b'ST$canary'")
    (fault,) = refused.value.faults
    assert fault.code == "unexpected" and fault.found.startswith("asking: ValueError at test_errors.py:")
    assert "canary" not in fault.line()


def test_what_is_refused_inside_passes() -> None:
    first = Refused([])
    with pytest.raises(Refused) as refused:
        with explained("asking", "there"):
            raise first
    assert refused.value is first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            (
                "HTTPConnectionPool(host='h', port=9): Max retries exceeded with url: /x (Caused by NewConnectionError(\"HTTP"
                "Connection(host='h', port=9): Failed to establish a new connection: [Errno 111] Connection refused\"))"
            ),
            "[Errno 111] Connection refused",
        ),
        (
            '(Caused by NameResolutionError("... ([Errno -2] Name or service not known)"))',
            "[Errno -2] Name or service not known",
        ),
        ("HTTPSConnectionPool(host='h', port=443): Read timed out. (read timeout=60)", "timed out"),
        (
            (
                "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed "
                "certificate (_ssl.c:1006)'))"
            ),
            "certificate verify failed: self-signed certificate",
        ),
        (
            "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
            "Connection aborted",
        ),
        ("something else", "something else"),
    ],
)
def test_reason_of_a_connection_error(text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        with explained("asking", "there", endpoint="https://endpoint"):
            raise oci.exceptions.RequestException(text, "Request Endpoint: GET https://endpoint See ...")
    (fault,) = refused.value.faults
    assert (fault.code, fault.where) == ("cloud_unreachable", "https://endpoint")
    assert fault.found == f"asking: no answer ({reason})" or reason == "something else"
