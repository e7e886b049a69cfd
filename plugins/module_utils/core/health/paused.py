# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A deployment whose nodes are gone for a while: since when, by whom, and what is kept, billed or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from ..names import PAUSED_ANNOTATION
from ..parts import head_pod_spec, inner
from ..sizing.costs import Prices
from ..source_request import recorded
from ..text import plain, read_json

# How long a word of the record may be: anybody may have written it.
_SHOWN = 100


class Kept(TypedDict):
    """What a paused deployment keeps. usd_per_hour: None where it is not known here, 0 where nothing is billed."""

    what: str
    usd_per_hour: float | None


def is_paused(raycluster: Mapping[str, Any] | None) -> bool:
    """Tell whether KubeRay is told to run no pod of the RayCluster (spec.suspend)."""
    return ((raycluster or {}).get("spec") or {}).get("suspend") is True


def paused_record(since: str, by: str) -> dict[str, str]:
    """Return the annotation that says since when (ISO 8601) and by whom a deployment is paused."""
    return {PAUSED_ANNOTATION: json.dumps({"since": since, "by": by}, sort_keys=True)}


def read_paused(raycluster: Mapping[str, Any]) -> dict[str, str]:
    """Return {since, by} of a paused RayCluster; "" for what its annotation does not say."""
    annotations = (raycluster.get("metadata") or {}).get("annotations") or {}
    try:
        record = read_json(annotations.get(PAUSED_ANNOTATION, ""))
    except (ValueError, TypeError):
        record = None
    found = record if isinstance(record, dict) else {}
    texts = {key: found.get(key) for key in ("since", "by")}
    return {key: plain(value[:_SHOWN]) if isinstance(value, str) else "" for key, value in texts.items()}


def kept_while_paused(raycluster: Mapping[str, Any], endpoint: Mapping[str, Any]) -> list[Kept]:
    """Return what stays while the nodes are gone.

    endpoint: what the Service says of the endpoint (`manifests/endpoint.record`)
    """
    kept: list[Kept] = []
    if endpoint.get("exposure") == "load_balancer":
        kept.append({"what": "load balancer, with its address", "usd_per_hour": Prices(None).load_balancer_hour})
    for volume in head_pod_spec(raycluster).get("volumes") or ():
        if claim := inner(volume, "persistentVolumeClaim").get("claimName"):
            kept.append({"what": f"file system of the volume claim {claim}", "usd_per_hour": None})
    if bucket := recorded(inner(raycluster, "metadata", "annotations")).get("bucket"):
        kept.append({"what": f"bucket {bucket} with the model's files", "usd_per_hour": None})
    kept.append({"what": "Kubernetes objects: keys, endpoint, choices", "usd_per_hour": 0.0})
    return kept


def billed_while_paused(kept: list[Kept]) -> float:
    """Return the US dollars an hour of what is kept, as far as its price is known here."""
    return round(sum(entry["usd_per_hour"] or 0.0 for entry in kept), 4)


def kept_line(entry: Kept) -> str:
    """Return an entry as a line: what it is, and its price."""
    price = entry["usd_per_hour"]
    words = "billed by its size" if price is None else f"{price:.4f} US dollars an hour" if price else "not billed"
    return f"{entry['what']} ({words})"
