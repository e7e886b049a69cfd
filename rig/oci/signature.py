# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying the signature of a request with the caller's public key.

Facts imitated (OCI "Request Signatures"):
- `authorization: Signature
  version="1",keyId="<tenancy>/<user>/<fingerprint>",algorithm="rsa-sha256",headers="...",signature="..."`;
- signed at least: date (or x-date), (request-target), host; with POST, PUT and PATCH also content-length, content-type
  and x-content-sha256, except where Object Storage takes an object's or a part's bytes;
- x-content-sha256 is the base64 SHA-256 of the body and must fit it;
- a date more than 5 minutes from the service's clock, a key that is not known, a signature that does not verify: 401
  NotAuthenticated.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rig.oci.errors import not_authenticated

MAXIMUM_SKEW = timedelta(minutes=5)
BODY_METHODS = ("POST", "PUT", "PATCH")
ALWAYS_SIGNED = ("(request-target)", "host")
SIGNED_WITH_BODY = ("content-length", "content-type", "x-content-sha256")

_FIELD = re.compile(r'(\w+)="([^"]*)"')


def verify(
    *,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    keys: Mapping[str, rsa.RSAPublicKey],
    now: datetime,
    needed: Sequence[str] | None = None,
) -> str:
    """Verify one request and return its keyId; ServiceError 401 when anything does not fit.

    `target` is the path with its query, as it stood on the wire. `headers` must find names whatever their case. `body`
    is None where the service takes the bytes unsigned (an object's content). `needed`: what has to be signed at least, where
    a service asks for something else than others.
    """
    fields = _fields(headers)
    key = keys.get(fields["keyId"])
    if key is None:
        raise not_authenticated("the keyId is not known")
    signed = fields["headers"].split()
    _check_signed(signed, _needed(method, body) if needed is None else needed)
    _check_date(headers, signed, now)
    if "x-content-sha256" in signed:
        _check_body(headers, body)
    try:
        key.verify(
            base64.b64decode(fields["signature"], validate=True),
            _signing_string(signed, method, target, headers).encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except (InvalidSignature, binascii.Error):
        raise not_authenticated("the signature does not verify") from None
    return fields["keyId"]


def _fields(headers: Mapping[str, str]) -> dict[str, str]:
    authorization = headers.get("authorization", "")
    scheme, _, rest = authorization.partition(" ")
    fields = dict(_FIELD.findall(rest))
    missing = [name for name in ("keyId", "headers", "signature", "algorithm", "version") if name not in fields]
    if scheme.lower() != "signature" or missing:
        raise not_authenticated("the authorization header is no complete Signature")
    if fields["algorithm"] != "rsa-sha256" or fields["version"] != "1":
        raise not_authenticated("the signature must have algorithm rsa-sha256 and version 1")
    return fields


def _needed(method: str, body: bytes | None) -> tuple[str, ...]:
    return ALWAYS_SIGNED + (SIGNED_WITH_BODY if method in BODY_METHODS and body is not None else ())


def _check_signed(signed: list[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in signed]
    if missing:
        raise not_authenticated(f"not signed: {' '.join(missing)}")
    if "date" not in signed and "x-date" not in signed:
        raise not_authenticated("not signed: date")


def _check_date(headers: Mapping[str, str], signed: list[str], now: datetime) -> None:
    text = headers.get("x-date" if "x-date" in signed else "date", "")
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        raise not_authenticated("the date is missing or unreadable") from None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    if abs(now - date) > MAXIMUM_SKEW:
        raise not_authenticated("the date is more than 5 minutes from the service's clock")


def _check_body(headers: Mapping[str, str], body: bytes | None) -> None:
    digest = base64.b64encode(hashlib.sha256(body or b"").digest()).decode()
    if headers.get("x-content-sha256") != digest:
        raise not_authenticated("x-content-sha256 does not fit the body")


def _signing_string(signed: list[str], method: str, target: str, headers: Mapping[str, str]) -> str:
    lines = []
    for name in signed:
        if name == "(request-target)":
            lines.append(f"(request-target): {method.lower()} {target}")
        elif name in headers:
            lines.append(f"{name}: {headers[name]}")
        else:
            raise not_authenticated(f"signed but not sent: {name}")
    return "\n".join(lines)
