# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pre-authenticated request through which the pods read a bucket: its name, its end, and the record of it.

The record is JSON in an annotation of the Secret that holds the URL, and of the RayCluster, where `status` reads it. It
stands on the Secret before the request is made: whatever is killed, the bucket and the name to look for are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .fault import Fault
from .names import REQUEST_ANNOTATION, short_hash

# A request is renewed this long before its end, or when three quarters of a shorter life are over.
RENEWED_BEFORE = timedelta(days=30)
RENEWED_SHARE = 4
_RECORDED = ("name", "region", "namespace", "bucket", "id", "time_expires", "time_renewed")
_PLACE = ("name", "region", "namespace", "bucket")


def request_name(deployment: str, namespace: str, cluster: str) -> str:
    """Return the name of the deployment's request; `cluster` is what tells the cluster from others (a UID)."""
    return f"multinode-inference-{deployment}-{short_hash([cluster, namespace, deployment])}"


def renewal(created: str, expires: str) -> str:
    """Return from when on a request is renewed that lives from `created` to `expires` (ISO 8601, with a zone)."""
    end = datetime.fromisoformat(expires)
    return (end - min(RENEWED_BEFORE, (end - datetime.fromisoformat(created)) / RENEWED_SHARE)).isoformat()


def place_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return of a record what finds the request: its name, and where its bucket is."""
    return {key: record[key] for key in _PLACE if key in record}


def record_of(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotation with the record of a request, or of one that is still to be made.

    `former` are the places of requests for other buckets that are still to be revoked.
    """
    record = {key: request[key] for key in _RECORDED if key in request}
    if request.get("former"):
        record["former"] = request["former"]
    return {REQUEST_ANNOTATION: json.dumps(record, sort_keys=True)}


def recorded(annotations: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the record among an object's annotations, {} where there is none."""
    try:
        record = json.loads((annotations or {}).get(REQUEST_ANNOTATION, ""))
    except ValueError:
        return {}
    return record if isinstance(record, dict) and {"name", "bucket", "namespace"} <= record.keys() else {}


def end_near(record: Mapping[str, Any], now: datetime) -> Fault | None:
    """Return the warning that a recorded request ends soon, or has; None while it does not."""
    if "time_renewed" not in record or now < datetime.fromisoformat(record["time_renewed"]):
        return None
    end = datetime.fromisoformat(record["time_expires"])
    days = (end - now) / timedelta(days=1)
    words = "has ended" if days < 0 else f"ends in {days:.0f} days" if days >= 1.5 else f"ends in {days * 24:.0f} hours"
    return Fault(
        "source_request_ends",
        f"bucket {record['bucket']}",
        f"the pre-authenticated request that the pods read it through {words} ({end:%Y-%m-%d})",
        "one that a pod that is replaced can still read through",
        "run deploy again: it renews it, and restarts nothing",
    )
