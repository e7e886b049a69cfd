# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks the API server: its token webhook sends each bearer token here, which is what OKE's control plane does.

Facts imitated:
- a token is the URL `https://containerengine.<region>.oraclecloud.com/cluster_request/<cluster OCID>` of a signed GET in
  URL-safe base64, with the request's `authorization` and `date` as query parameters, where + means a space;
- signed are date, (request-target) and host; the request's target is the path without that query;
- a token is good for 4 minutes after its date; a clock that is fast by up to 5 minutes is borne;
- it is good for the cluster in its path only, and only for a caller who may use that cluster;
- Kubernetes then knows the caller as a user and the groups that it is in, by their OCIDs; what they may do is the
  cluster's own RBAC. Members of the tenancy's administrators may do all. (The names are unverified.)
"""

from __future__ import annotations

import base64
import binascii
import email.utils
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rig.configuration import OKE_ADMINISTRATORS
from rig.oci.cloud import Cloud
from rig.oci.errors import ServiceError, not_authenticated
from rig.oci.identifiers import REGION
from rig.oci.signature import verify
from rig.oci.state import Tenancy

LIFE = timedelta(minutes=4)
HOSTS = (f"containerengine.{REGION}.oraclecloud.com", f"containerengine.{REGION}.oci.oraclecloud.com")


def caller_of(token: str, cloud: Cloud, now: datetime) -> Tenancy:
    """The tenancy whose user made the token, for its own cluster. ServiceError 401 says why there is none."""
    try:
        url = urlsplit(base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise not_authenticated("the token is no URL in URL-safe base64") from None
    if url.scheme != "https" or url.netloc not in HOSTS:
        raise not_authenticated("the token is for another host")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    key_id = verify(
        method="GET", target=url.path, headers={**query, "host": url.netloc}, body=None, keys=cloud.keys, now=now
    )
    if now - _date(query.get("date")) > LIFE:
        raise not_authenticated("the token is older than 4 minutes")
    tenancy = cloud.caller(key_id)
    if url.path != f"/cluster_request/{tenancy.cluster_id}":
        raise not_authenticated("the token is for another cluster")
    return tenancy


def _date(text: str | None) -> datetime:
    if not text:
        raise not_authenticated("the token has no date")
    date = email.utils.parsedate_to_datetime(text)  # readable: it is verified by now
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def review(body: dict[str, Any], cloud: Cloud, now: datetime) -> tuple[dict[str, Any], Tenancy | None, str]:
    """The answer to a TokenReview, whose token it was, and why none is."""
    answer = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    try:
        tenancy = caller_of(str((body.get("spec") or {}).get("token") or ""), cloud, now)
    except ServiceError as error:
        return {**answer, "status": {"authenticated": False, "error": error.message}}, None, error.message
    groups = [tenancy.group_id] + ([OKE_ADMINISTRATORS] if tenancy.administrator else [])
    user = {"username": tenancy.user_id, "uid": tenancy.user_id, "groups": groups}
    return {**answer, "status": {"authenticated": True, "user": user}}, tenancy, ""
