# SPDX-License-Identifier: GPL-3.0-or-later
"""Identifiers as Oracle Cloud makes them.

Facts imitated:
- an OCID is `ocid1.<type>.<realm>.[region key].<unique>`; those of tenancies, users, groups and compartments name no region,
  others the short key of theirs (iad for us-ashburn-1);
- an etag is opaque and another with every change; a request's id is the client's 32 hex digits and two more parts.
"""

from __future__ import annotations

import base64
import secrets
import uuid

REGION = "us-ashburn-1"
REGION_KEY = "iad"
REALM = "oc1"

_GLOBAL_TYPES = ("tenancy", "user", "group", "compartment")
_UNIQUE_LENGTH = 60


def new_ocid(kind: str) -> str:
    """An OCID of a new resource of type `kind` (cluster, nodepool, instance ...)."""
    region = "" if kind in _GLOBAL_TYPES else REGION_KEY
    letters = base64.b32encode(secrets.token_bytes(40)).decode().lower().rstrip("=")
    return f"ocid1.{kind}.{REALM}.{region}.{('aaaaaaaa' + letters)[:_UNIQUE_LENGTH]}"


def new_etag() -> str:
    """An etag that no resource had before."""
    return str(uuid.uuid4())


def request_id(given: str | None) -> str:
    """The opc-request-id to answer with: what the client sent, and the service's own two parts behind it."""
    first = given or secrets.token_hex(16)
    return f"{first}/{secrets.token_hex(16).upper()}/{secrets.token_hex(16).upper()}"
