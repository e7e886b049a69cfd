# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose token it is: verified as strictly as a signed request, and good for one cluster, for four minutes."""

from __future__ import annotations

import base64
import email.utils
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

import oci
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.configuration import OKE_ADMINISTRATORS
from rig.oci.cloud import Cloud
from rig.oci.cluster_tokens import review
from rig.oci.state import Tenancy, Timings

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=timezone.utc)
HOST = "containerengine.us-ashburn-1.oraclecloud.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def tenancy(**changes: object) -> Tenancy:
    fields = {"name": "t", "node_kind": "kwok", "cni": "FLANNEL_OVERLAY", "kubernetes_version": "v1.37.2"}
    key = {"public_key": KEY.public_key(), "fingerprint": "aa:bb", "timings": Timings(), "session_token": "session"}
    return Tenancy(**{**fields, **key, **changes})  # type: ignore[arg-type]


OURS, OTHERS = tenancy(), tenancy(public_key=OTHER_KEY.public_key(), session_token="another")
CLOUD = Cloud("http://cloud.example")
CLOUD.tenancies += [OURS, OTHERS]


def token(
    key: rsa.RSAPrivateKey = KEY,
    cluster: str = OURS.cluster_id,
    age: timedelta = timedelta(0),
    host: str = HOST,
    key_id: str | None = None,
    signed: tuple[str, ...] = ("date", "(request-target)", "host"),
) -> str:
    """A token as oci-cli makes them: by the SDK's signer, the headers put into the query."""
    request = requests.Request("GET", f"https://{host}/cluster_request/{cluster}").prepare()
    request.headers["date"] = email.utils.format_datetime(NOW - age, usegmt=True)
    signer = oci.auth.signers.SecurityTokenSigner("", key, generic_headers=list(signed))
    signer._basic_signer.reset_signer(key_id or OURS.key_id, key)
    headers = signer.do_request_sign(request).headers
    query = urlencode({"authorization": headers["authorization"], "date": headers["date"]})
    return base64.urlsafe_b64encode(f"{request.url}?{query}".encode()).decode()


def ask(given: str, cloud: Cloud = CLOUD) -> dict:
    return review({"spec": {"token": given}}, cloud, NOW)[0]["status"]


@pytest.mark.parametrize("minutes", [-5, 0, 4])
def test_a_token_of_the_last_four_minutes_or_of_a_fast_clock_is_taken(minutes: int) -> None:
    user = ask(token(age=timedelta(minutes=minutes)))["user"]
    assert user["username"] == OURS.user_id
    assert user["groups"] == [OURS.group_id, OKE_ADMINISTRATORS]


def test_a_session_of_the_user_is_the_same_user() -> None:
    assert ask(token(key_id="ST$session"))["user"]["username"] == OURS.user_id


def test_a_user_who_is_no_administrator_is_in_no_such_group() -> None:
    cloud = Cloud("http://cloud.example")
    cloud.tenancies.append(tenancy(administrator=False))
    (only,) = cloud.tenancies
    assert ask(token(cluster=only.cluster_id, key_id=only.key_id), cloud)["user"]["groups"] == [only.group_id]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (token(key=OTHER_KEY), "does not verify"),
        (token(cluster=OTHERS.cluster_id), "another cluster"),
        (token(cluster=OURS.cluster_id + "/"), "another cluster"),
        (token(age=timedelta(minutes=4, seconds=1)), "older than 4 minutes"),
        (token(age=timedelta(minutes=6)), "5 minutes"),
        (token(age=timedelta(minutes=-6)), "5 minutes"),
        (token(host="containerengine.us-phoenix-1.oraclecloud.com"), "another host"),
        (token(key_id="someone"), "keyId"),
        (token(signed=("(request-target)", "host")), "not signed: date"),
        (token(signed=("date", "host")), "not signed: (request-target)"),
        (token()[:-8], ""),
        ("", ""),
        ("no base64!", "URL-safe base64"),
        (base64.urlsafe_b64encode(b"https://[").decode(), "URL-safe base64"),
    ],
    ids=[
        "signature",
        "cluster",
        "path",
        "expired",
        "long expired",
        "from the future",
        "host",
        "caller",
        "date not signed",
        "path not signed",
        "cut",
        "empty",
        "no base64",
        "no URL",
    ],
)
def test_everything_else_is_refused(given: str, words: str) -> None:
    answer = ask(given)
    assert answer["authenticated"] is False and "user" not in answer
    assert words in answer["error"]
