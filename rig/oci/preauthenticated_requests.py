# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-authenticated requests (PARs): URLs that read or write a bucket without a signature.

Facts imitated:
- accessType ObjectRead, ObjectWrite, ObjectReadWrite (one object, objectName required) or AnyObjectRead,
  AnyObjectWrite, AnyObjectReadWrite (the bucket, or what begins with the prefix given as objectName); timeExpires is
  required;
- bucketListingAction ListObjects only with AnyObjectRead and AnyObjectReadWrite; the default is Deny;
- accessUri (`/p/<secret>/n/<namespace>/b/<bucket>/o/[object]`) and fullPath are given once, in the answer to the
  creation;
- listing, reading and writing outside the prefix fail; a PAR cannot delete;
- a list without a prefix, through a PAR of a prefix, is refused here (what OCI does is not known: ask with the prefix);
- expired, deleted and unknown PARs are 404 NotAuthenticated (the code is not certain: take any of 401, 403, 404).
"""

from __future__ import annotations

import dataclasses
import secrets
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from rig.oci import errors
from rig.oci.errors import ServiceError
from rig.oci.object_storage import BUCKET, list_objects, no_bucket, read_object, write_object
from rig.oci.objects import Bucket, Store
from rig.oci.service import Answer, Call, Operations, page
from rig.oci.state import Tenancy, now, timestamp

ONE_OBJECT = ("ObjectRead", "ObjectWrite", "ObjectReadWrite")
ANY_OBJECT = ("AnyObjectRead", "AnyObjectWrite", "AnyObjectReadWrite")
LISTING = ("AnyObjectRead", "AnyObjectReadWrite")
UNSIGNED = "/p/{secret}" + BUCKET + "/o"


@dataclasses.dataclass
class PreauthenticatedRequest:
    id: str
    secret: str
    name: str
    bucket: Bucket
    access_type: str
    listing: str
    object_name: str | None
    expires: datetime
    created: datetime = dataclasses.field(default_factory=now)
    deleted: bool = False

    @property
    def usable(self) -> bool:
        return not self.deleted and now() < self.expires

    def covers(self, name: str) -> bool:
        """Whether an object of this name may be reached."""
        if self.access_type in ONE_OBJECT:
            return name == self.object_name
        return name.startswith(self.object_name or "")

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "objectName": self.object_name,
            "accessType": self.access_type,
            "bucketListingAction": self.listing,
            "timeExpires": timestamp(self.expires),
            "timeCreated": timestamp(self.created),
        }


class PreauthenticatedRequests:
    """`endpoint` is the URL that fullPath begins with."""

    def __init__(self, store: Store, endpoint: str) -> None:
        self._store = store
        self._endpoint = endpoint
        self._requests: dict[str, PreauthenticatedRequest] = {}
        """secret -> request, deleted ones included"""

    def register(self, operations: Operations) -> None:
        for name, method, path, handler in (
            ("CreatePreauthenticatedRequest", "POST", BUCKET + "/p", self.create),
            ("ListPreauthenticatedRequests", "GET", BUCKET + "/p", self.list_requests),
            # The identifier may bear a slash: it is the rest of the path.
            ("GetPreauthenticatedRequest", "GET", BUCKET + "/p/{par_id*}", self.get),
            ("DeletePreauthenticatedRequest", "DELETE", BUCKET + "/p/{par_id*}", self.delete),
        ):
            operations.add("objectstorage", name, method, path, handler)
        for name, method, path, handler in (
            ("ListObjects", "GET", UNSIGNED, self.list_objects),
            ("ListObjects", "GET", UNSIGNED + "/", self.list_objects),
            ("GetObject", "GET", UNSIGNED + "/{object*}", self.read_object),
            ("HeadObject", "HEAD", UNSIGNED + "/{object*}", self.read_object),
        ):
            operations.add("objectstorage", name, method, path, handler, owner=self.owner)
        operations.add(
            "objectstorage",
            "PutObject",
            "PUT",
            UNSIGNED + "/{object*}",
            self.write_object,
            owner=self.owner,
            takes_bytes=True,
        )

    # --- signed ---------------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> Answer:
        bucket, body = self._bucket(call), call.json()
        request = PreauthenticatedRequest(
            id=secrets.token_urlsafe(32),
            secret=secrets.token_urlsafe(48),
            name=_needed(body, "name"),
            bucket=bucket,
            access_type=_needed(body, "accessType"),
            listing=body.get("bucketListingAction") or "Deny",
            object_name=body.get("objectName") or None,
            expires=_moment(_needed(body, "timeExpires")),
        )
        _check(request)
        self._requests[request.secret] = request
        path = f"/p/{request.secret}/n/{bucket.namespace}/b/{quote(bucket.name)}/o/"
        if request.access_type in ONE_OBJECT:
            path += quote(request.object_name or "")
        return Answer(request.as_json() | {"accessUri": path, "fullPath": self._endpoint.rstrip("/") + path})

    async def list_requests(self, call: Call) -> Answer:
        bucket, prefix = self._bucket(call), call.query("objectNamePrefix") or ""
        found, headers = page(call, [one for one in self.of(bucket) if (one.object_name or "").startswith(prefix)])
        return Answer([one.as_json() for one in found], headers=headers)

    async def get(self, call: Call) -> Answer:
        return Answer(self._by_id(call).as_json())

    async def delete(self, call: Call) -> Answer:
        self._by_id(call).deleted = True
        return Answer(status=204)

    def of(self, bucket: Bucket) -> list[PreauthenticatedRequest]:
        """The PARs of a bucket that are not deleted; expired ones are listed until they are."""
        return [one for one in self._requests.values() if one.bucket is bucket and not one.deleted]

    def _bucket(self, call: Call) -> Bucket:
        bucket = self._store.find(call.parameters["namespace"], call.parameters["bucket"])
        if bucket is None or bucket.tenancy is not call.tenancy:
            raise no_bucket(call.parameters["bucket"], call.parameters["namespace"])
        return bucket

    def _by_id(self, call: Call) -> PreauthenticatedRequest:
        for one in self.of(self._bucket(call)):
            if one.id == call.parameters["par_id"]:
                return one
        raise errors.not_found()

    # --- without a signature --------------------------------------------------------------------------------------

    def owner(self, call: Call) -> Tenancy:
        """Whose bucket the secret in the path opens."""
        request = self._requests.get(call.parameters["secret"])
        if request is None:
            raise _unusable()
        call.details["par"] = request.id
        return request.bucket.tenancy

    async def list_objects(self, call: Call) -> Answer:
        request = self._usable(call)
        if request.access_type not in LISTING or request.listing != "ListObjects":
            raise errors.not_found()
        if not request.covers(call.query("prefix") or ""):
            raise errors.not_found()
        return list_objects(call, request.bucket)

    async def read_object(self, call: Call) -> Answer:
        request = self._usable(call)
        if "Read" not in request.access_type or not request.covers(call.parameters["object"]):
            raise errors.not_found()
        return read_object(call, request.bucket)

    async def write_object(self, call: Call) -> Answer:
        request = self._usable(call)
        if "Write" not in request.access_type or not request.covers(call.parameters["object"]):
            raise errors.not_found()
        return await write_object(call, request.bucket)

    def _usable(self, call: Call) -> PreauthenticatedRequest:
        request = self._requests[call.parameters["secret"]]
        path = (call.parameters["namespace"], call.parameters["bucket"])
        if not request.usable or path != (request.bucket.namespace, request.bucket.name):
            raise _unusable()
        return request


def _check(request: PreauthenticatedRequest) -> None:
    if request.access_type not in ONE_OBJECT + ANY_OBJECT:
        raise errors.invalid_parameter(f"accessType is {request.access_type!r}")
    if request.access_type in ONE_OBJECT and not request.object_name:
        raise errors.missing_parameter("objectName")
    if request.listing not in ("Deny", "ListObjects"):
        raise errors.invalid_parameter(f"bucketListingAction is {request.listing!r}; expected Deny or ListObjects")
    if request.listing == "ListObjects" and request.access_type not in LISTING:
        raise errors.invalid_parameter(f"bucketListingAction ListObjects is not possible with {request.access_type}")
    if request.expires <= now():
        raise errors.invalid_parameter(f"timeExpires {timestamp(request.expires)} has passed")


def _needed(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not value:
        raise errors.missing_parameter(name)
    return str(value)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise errors.invalid_parameter(f"timeExpires is {text!r}; expected RFC 3339") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _unusable() -> ServiceError:
    return ServiceError(404, "NotAuthenticated", "PAR does not exist")
