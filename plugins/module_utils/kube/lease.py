# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Lease of a deployment (coordination.k8s.io/v1): the run that holds it is the only one that changes the deployment.

Clocks of two machines are never compared. A holder is the one whose identity the Lease has, however old it is; who waits
takes it over once it has seen no renewal for DURATION by its own clock, as client-go's leader election does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..core.fault import Fault, Refused
from ..core.names import HOLDER_ANNOTATION, common_labels, object_names
from ..core.ownership import is_ours, not_ours
from ..core.text import plain, read_json
from .client import Kubernetes, part, unless_forbidden

# Seconds that a Lease holds without a renewal, and between two renewals: five of them may fail.
DURATION = 120
RENEW_SECONDS = 20.0
# How long a word of the holder's record may be: anybody may have written it.
_SHOWN = 100


class Lease:
    """One deployment's Lease; `identity` is that of this run."""

    def __init__(self, kubernetes: Kubernetes, name: str, namespace: str, identity: str) -> None:
        self.kubernetes = kubernetes
        self.name = object_names(name)["lease"]
        self.namespace = namespace
        self.identity = identity
        self._deployment = name
        self._all = f"/apis/coordination.k8s.io/v1/namespaces/{part(namespace)}/leases"
        self._path = f"{self._all}/{part(self.name)}"

    def read(self) -> dict[str, Any] | None:
        """Return the Lease, None where there is none. Raises Refused where one of the name is somebody else's."""
        found: dict[str, Any] | None = self.kubernetes.get(self._path)
        if found is not None and not is_ours(found, self._deployment):
            raise Refused([not_ours("Lease", self.name, self._deployment, self.namespace)])
        return found

    def take(self, found: Mapping[str, Any] | None, record: Mapping[str, str]) -> bool:
        """Make this run the holder of the Lease as it was read; False where another run came first."""
        now = _micro_time()
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": _transitions(found) + 1 if found else 0,
        }
        annotations = {HOLDER_ANNOTATION: json.dumps(record, sort_keys=True)}
        if found is None:
            metadata = {"name": self.name, "namespace": self.namespace, "labels": common_labels(self._deployment)}
            item = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
            made = self.kubernetes.create(self._all, {**item, "metadata": {**metadata, "annotations": annotations}})
            # As below: a request whose answer was lost is sent again, and then meets what it made.
            return made or holder_of(self.read()) == self.identity
        others = found["metadata"].get("annotations") or {}
        operations = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"].get("resourceVersion")},
            {"op": "add", "path": "/metadata/annotations", "value": {**others, **annotations}},
            {"op": "add", "path": "/spec", "value": spec},
        ]
        try:
            return self.kubernetes.edit(self._path, operations)
        except Refused as refused:
            # An answer that was lost may have been this run's own success.
            if not _conflict(refused):
                raise
            return holder_of(self.read()) == self.identity

    def renew(self, may_go: bool = False) -> None:
        """Write that this run is still there. Raises Refused (`lease_lost`) where it no longer holds the Lease.

        may_go  a removal takes the Lease with it: then only another holder is a fault
        """
        if self._edit("renewTime", _micro_time()):
            return
        found = self.read()
        if (holder := holder_of(found)) == self.identity or (may_go and not holder):
            return
        what = f"held by {holder_words(found)}" if holder else "released by somebody" if found else "deleted"
        raise Refused(
            [
                Fault(
                    "lease_lost",
                    f"Lease {self.name} in namespace {self.namespace}",
                    f"{what} while this run was working",
                    "held by this run until its end",
                    "nothing more is changed by this run; when the other one has ended, run again",
                )
            ]
        )

    def release(self) -> None:
        """Let the next run take the Lease at once."""
        self._edit("holderIdentity", "")

    def delete(self) -> None:
        """Delete the Lease where this run still holds it."""
        found = self.read()
        if found is not None and holder_of(found) == self.identity:
            self.kubernetes.delete(self._path, found["metadata"]["resourceVersion"])

    def _edit(self, field: str, value: str) -> bool:
        """Write one field where this run holds the Lease; False where it does not, or there is none."""
        operations = [
            {"op": "test", "path": "/spec/holderIdentity", "value": self.identity},
            {"op": "add", "path": f"/spec/{field}", "value": value},
        ]
        try:
            return self.kubernetes.edit(self._path, operations)
        except Refused as refused:
            if not _conflict(refused):
                raise
            return False


def read_version(kubernetes: Kubernetes, name: str, namespace: str) -> str:
    """Return `version_of` a deployment's Lease; "" where the user may not read it, which preflight tells in its own words."""
    return version_of(unless_forbidden(Lease(kubernetes, name, namespace, "").read))


def version_of(lease: Mapping[str, Any] | None) -> str:
    """Return the resourceVersion of a Lease, "" where there is none: equal ones mean that no run has held it in between."""
    return str(lease["metadata"].get("resourceVersion", "")) if lease else ""


def holder_of(lease: Mapping[str, Any] | None) -> str:
    """Return the identity that holds a Lease, "" where it is free."""
    return str(_spec(lease).get("holderIdentity") or "")


def last_renewal(lease: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what changes with each renewal."""
    return holder_of(lease), str(_spec(lease).get("renewTime"))


def holder_record(lease: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what the holder wrote of itself, as far as it is text."""
    annotations = ((lease or {}).get("metadata") or {}).get("annotations") or {}
    try:
        record = read_json(annotations.get(HOLDER_ANNOTATION, "{}"))
    except ValueError:
        return {}
    if not isinstance(record, dict):
        return {}
    return {str(key): plain(value[:_SHOWN]) for key, value in record.items() if isinstance(value, str)}


def holder_words(lease: Mapping[str, Any] | None) -> str:
    """Return who holds a Lease: user and host, playbook and job, since when."""
    record = holder_record(lease)
    user, host = record.get("user"), record.get("host")
    who = f"{user}@{host}" if user and host else plain(holder_of(lease)[:_SHOWN])
    what = ", ".join(filter(None, [record.get("playbook"), f"job {record['job']}" if record.get("job") else ""]))
    since = str(_spec(lease).get("acquireTime") or "an unknown time")[:_SHOWN]
    return f"{who}{f' ({what})' if what else ''} since {plain(since)}"


def _conflict(refused: Refused) -> bool:
    return [fault.code for fault in refused.faults] == ["conflict"]


def _transitions(lease: Mapping[str, Any]) -> int:
    found = _spec(lease).get("leaseTransitions")
    return found if isinstance(found, int) and 0 <= found < 2**31 - 1 else 0


def _spec(lease: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = (lease or {}).get("spec")
    return found if isinstance(found, Mapping) else {}


def _micro_time() -> str:
    """Return now as Kubernetes' MicroTime."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
