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
from .names import REQUEST_ANNOTATION
from .text import read_json

# A request is renewed this long before its end, or when three quarters of a shorter life are over.
RENEWED_BEFORE = timedelta(days=30)
RENEWED_SHARE = 4
_RECORDED = ("name", "region", "namespace", "bucket", "id", "time_expires", "time_renewed")
_PLACE = ("name", "region", "namespace", "bucket")


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
        record = read_json((annotations or {}).get(REQUEST_ANNOTATION, ""))
    except (ValueError, TypeError):
        return {}
    if not _is_place(record):
        return {}
    former = record.get("former")
    former = [place for place in former if _is_place(place)] if isinstance(former, list) else []
    texts = {key: record[key] for key in _RECORDED if isinstance(record.get(key), str)}
    for key in ("time_expires", "time_renewed"):
        if key in texts and not _is_moment(texts[key]):
            del texts[key]
    return {**texts, "former": former} if former else texts


def _is_place(value: Any) -> bool:
    """Tell whether a value that anybody may have written has the form of a request's place."""
    return (
        isinstance(value, dict)
        and {"name", "bucket", "namespace"} <= value.keys()
        and all(isinstance(value.get(key, ""), str) for key in _PLACE)
    )


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def end_near(record: Mapping[str, Any], now: datetime) -> Fault | None:
    """Return the warning that a recorded request ends soon, or has; None while it does not."""
    if not {"time_renewed", "time_expires"} <= record.keys() or now < datetime.fromisoformat(record["time_renewed"]):
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
