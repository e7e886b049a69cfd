# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in verifies what the real SDK signs, and refuses what is not quite that."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import oci
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.structures import CaseInsensitiveDict

from rig.oci.errors import ServiceError
from rig.oci.signature import verify

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FINGERPRINT = ":".join(["ab"] * 16)


def signer(key: rsa.RSAPrivateKey = KEY) -> oci.signer.Signer:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return oci.signer.Signer("tenancy", "user", FINGERPRINT, None, private_key_content=pem)


def signed(method: str, body: bytes | None = None, key: rsa.RSAPrivateKey = KEY, **headers: str):
    url = "http://cloud.example:80/20180222/nodePools/a%2Fb?compartmentId=x%3Ay"
    request = requests.Request(method, url, data=body, headers=headers).prepare()
    return signer(key).do_request_sign(request)


def check(request, body: bytes | None, key: rsa.RSAPrivateKey = KEY, now: datetime | None = None) -> str:
    return verify(
        method=request.method,
        target=request.path_url,
        headers=CaseInsensitiveDict(request.headers),
        body=body,
        keys={f"tenancy/user/{FINGERPRINT}": key.public_key()},
        now=now or datetime.now(timezone.utc),
    )


@pytest.mark.parametrize("method,body", [("GET", None), ("DELETE", None), ("POST", b'{"a": 1}'), ("PUT", b"{}")])
def test_what_the_sdk_signs_is_accepted(method: str, body: bytes | None) -> None:
    assert check(signed(method, body), body or b"") == f"tenancy/user/{FINGERPRINT}"


def refused(request, body: bytes | None = b"", **options) -> str:
    with pytest.raises(ServiceError) as raised:
        check(request, body, **options)
    assert (raised.value.status, raised.value.code) == (401, "NotAuthenticated")
    return raised.value.message


def test_another_key_is_refused() -> None:
    assert "does not verify" in refused(signed("GET", key=OTHER_KEY))


def test_an_unknown_caller_is_refused() -> None:
    request = signed("GET")
    request.headers["authorization"] = request.headers["authorization"].replace("/user/", "/someone/")
    assert "keyId" in refused(request)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_date_too_far_off_is_refused(minutes: int) -> None:
    assert "5 minutes" in refused(signed("GET"), now=datetime.now(timezone.utc) + timedelta(minutes=minutes))


def test_a_date_four_minutes_old_is_accepted() -> None:
    check(signed("GET"), b"", now=datetime.now(timezone.utc) + timedelta(minutes=4))


def test_another_body_than_the_signed_one_is_refused() -> None:
    assert "x-content-sha256" in refused(signed("POST", b'{"size": 1}'), b'{"size": 2}')


def test_another_path_than_the_signed_one_is_refused() -> None:
    request = signed("GET")
    request.url = request.url.replace("nodePools", "clusters")
    assert "does not verify" in refused(request)


def test_a_body_must_be_signed_except_where_bytes_are_put() -> None:
    request = requests.Request("PUT", "http://cloud.example/n/b", data=b"bytes").prepare()
    request = signer().do_request_sign(request, enforce_content_headers=False)
    assert "not signed: content-length" in refused(request, b"bytes")
    assert check(request, None)


@pytest.mark.parametrize("authorization", ["", "Bearer abc", 'Signature version="1"'])
def test_what_is_no_signature_is_refused(authorization: str) -> None:
    request = signed("GET")
    request.headers["authorization"] = authorization
    assert "no complete Signature" in refused(request)
