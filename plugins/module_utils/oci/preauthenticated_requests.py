# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pre-authenticated requests (PARs) of one name that read a folder of a bucket.

- The URL is returned once, when the request is created, and cannot be read again; a request cannot be extended.
- Names are not unique, and a creation takes no retry token: one whose answer was lost leaves a request of no use.
- A request that reads what begins with a prefix is of type AnyObjectRead with the prefix as its object's name.
(OCI Object Storage API, PreauthenticatedRequest.)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import Any

from ..core.source_request import renewal
from .client import Connection, all_pages
from .errors import is_service_error
from .models import as_data

try:
    import oci
except ImportError:  # reported by the module (module.py)
    oci = None

MANAGE = "manage buckets where request.permission = 'PAR_MANAGE', and read objects,"
ACCESS, LISTING = "AnyObjectRead", "ListObjects"
# Longer than any deploy takes from the request to the Secret that has its URL.
ABANDONED = timedelta(hours=1)


class PreauthenticatedRequests:
    """The requests called `name` in a bucket. `namespace` is the tenancy's own when empty."""

    def __init__(self, connection: Connection, bucket: str, name: str, namespace: str = "") -> None:
        self.connection = connection
        self.storage = connection.client("object_storage")
        self.bucket = bucket
        self.name = name
        self.namespace = namespace
        if not namespace:
            with self._asking("reading the Object Storage namespace", "read objectstorage-namespaces"):
                self.namespace = self.storage.get_namespace().data

    def _asking(self, doing: str, policy: str = MANAGE, ambiguous_remedy: str = "") -> AbstractContextManager[None]:
        return self.connection.asking("object_storage", doing, f"bucket {self.bucket}", policy, ambiguous_remedy)

    def listed(self) -> list[dict[str, Any]]:
        """Return the requests of the name, expired ones too, as they are shown: without URL."""
        with self._asking("listing the pre-authenticated requests"):
            found = all_pages(
                self.storage.list_preauthenticated_requests, namespace_name=self.namespace, bucket_name=self.bucket
            )
            return [self._shown(request) for request in found if request.name == self.name]

    def create(self, prefix: str, days: int) -> tuple[dict[str, Any], str]:
        """Make a request that lists and reads what begins with `prefix`; return it and its URL, which is a secret."""
        details = oci.object_storage.models.CreatePreauthenticatedRequestDetails(
            name=self.name,
            access_type=ACCESS,
            bucket_listing_action=LISTING,
            object_name=prefix or None,
            time_expires=datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days),
        )
        remedy = "it may exist; run again to find it by its name and revoke it"
        with self._asking("making a pre-authenticated request", ambiguous_remedy=remedy):
            made = self.storage.create_preauthenticated_request(self.namespace, self.bucket, details).data
            # Services of before the field have the path alone.
            url = made.full_path or self.storage.base_client.endpoint.rstrip("/") + made.access_uri
            return self._shown(made), url

    def delete(self, request_id: str) -> None:
        """Revoke a request; one that is gone already is as good."""
        with self._asking("revoking a pre-authenticated request"):
            try:
                self.storage.delete_preauthenticated_request(self.namespace, self.bucket, request_id)
            except Exception as error:
                if not is_service_error(error, 404) or any(one["id"] == request_id for one in self.listed()):
                    raise

    def _shown(self, request: Any) -> dict[str, Any]:
        data = as_data(request, "id", "name", "access_type", "time_created", "time_expires")
        created, expires = data["time_created"], data["time_expires"]
        return {
            "id": data["id"],
            "name": data["name"],
            "namespace": self.namespace,
            "bucket": self.bucket,
            "region": self.connection.region,
            "prefix": data.get("object_name", ""),
            "access_type": data["access_type"],
            "bucket_listing_action": data.get("bucket_listing_action", ""),
            "time_created": created,
            "time_expires": expires,
            "time_renewed": renewal(created, expires),
        }


def superseded(request: dict[str, Any], kept: dict[str, Any], now: datetime) -> bool:
    """Say whether a request of the same name as the one in use is of no use to anybody.

    A newer one may be another deploy's, which has not told the Secret of it yet; but not for an hour.
    """
    made, before = (datetime.fromisoformat(one["time_created"]) for one in (request, kept))
    return request["id"] != kept["id"] and (made < before or now - made > ABANDONED)


def serves(request: dict[str, Any], prefix: str, now: datetime) -> bool:
    """Say whether a request reads and lists the folder, and is not so near its end that it is renewed."""
    wanted = (prefix, ACCESS, LISTING)
    given = (request["prefix"], request["access_type"], request["bucket_listing_action"])
    return given == wanted and now < datetime.fromisoformat(request["time_renewed"])
