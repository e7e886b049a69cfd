# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an answer of the Kubernetes API means: an object, or a fault in the API server's own words."""

from __future__ import annotations

from typing import Any

from ..core.fault import Fault, Refused
from ..core.text import plain, read_json


def object_of(body: bytes | None, path: str) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    try:
        value = read_json(body or b"")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refused([malformed(path)])
    return value


def has_name(item: Any) -> bool:
    """Tell whether an item of a list has a name."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def malformed(path: str, found: str = "an answer that is not from a Kubernetes API") -> Fault:
    """Return the fault of an answer that cannot be understood."""
    return Fault("kubernetes", f"Kubernetes API {path}", found, "the API's JSON", "see what answers at its address")


def fault_of_answer(status: int, body: bytes, request: str, signed_in_by: str) -> Fault:
    """Return the fault that an answer of the API server means, in its own words."""
    try:
        message = str(read_json(body)["message"])[:1000]
    except (ValueError, KeyError, TypeError):
        message = plain(body[:200].decode(errors="replace")).strip() or "no message"
    if status == 409 and "AlreadyExists" in body[:10_000].decode(errors="replace"):
        return Fault("exists", request, message)
    if status in (409, 422):
        return Fault("conflict", request, f"{status} {message}", "the object as it was read", "running again is safe")
    if status == 401:
        return Fault(
            "unauthorized",
            signed_in_by,
            f"401 {message} ({request})",
            "a user that the cluster knows",
            f"renew the {signed_in_by}"
            + ("'s credentials" if signed_in_by == "kubeconfig" else ", and check this machine's clock"),
        )
    if status == 403:
        return Fault(
            "forbidden",
            signed_in_by,
            f"403 {message}",
            "the right to read it",
            "grant the user this right, or use another user",
        )
    return Fault(
        "kubernetes", "Kubernetes API", f"{status} {message} ({request})", "an answer", "running again is safe"
    )
