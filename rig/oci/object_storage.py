# SPDX-License-Identifier: GPL-3.0-or-later
"""Object Storage: namespace, buckets, objects, uploads in parts. No version in its paths.

Facts imitated:
- GET /n gives the namespace as a bare JSON string;
- the SDK writes `/` in an object's name as %2F; others send plain slashes; both are the same object;
- a single range (`bytes=a-b`, `bytes=a-`, `bytes=-n`) gives 206 and content-range; one that begins behind the end 416;
- if-match and if-none-match; 304 when nothing changed; HEAD has content-length, etag and last-modified;
- an object's bytes are put without x-content-sha256 in the signature.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from rig.oci import errors
from rig.oci.errors import ServiceError
from rig.oci.objects import MAXIMUM_LISTED, Bucket, Part, Store, StoredObject, Upload
from rig.oci.service import Answer, Call, Content, Operations, page
from rig.oci.state import now, timestamp

CHUNK = 256 * 1024
BUCKET = "/n/{namespace}/b/{bucket}"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class ObjectStorage:
    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, operations: Operations) -> None:
        for name, method, path, handler in (
            ("GetNamespace", "GET", "/n", self.get_namespace),
            ("GetNamespace", "GET", "/n/", self.get_namespace),
            ("ListBuckets", "GET", "/n/{namespace}/b", self.list_buckets),
            ("CreateBucket", "POST", "/n/{namespace}/b", self.create_bucket),
            ("GetBucket", "GET", BUCKET, self.get_bucket),
            ("HeadBucket", "HEAD", BUCKET, self.get_bucket),
            ("ListObjects", "GET", BUCKET + "/o", self.list_objects),
            ("GetObject", "GET", BUCKET + "/o/{object*}", self.get_object),
            ("HeadObject", "HEAD", BUCKET + "/o/{object*}", self.get_object),
            ("DeleteObject", "DELETE", BUCKET + "/o/{object*}", self.delete_object),
            ("CreateMultipartUpload", "POST", BUCKET + "/u", self.create_upload),
            ("CommitMultipartUpload", "POST", BUCKET + "/u/{object*}", self.commit_upload),
            ("AbortMultipartUpload", "DELETE", BUCKET + "/u/{object*}", self.abort_upload),
        ):
            operations.add("objectstorage", name, method, path, handler)
        operations.add("objectstorage", "PutObject", "PUT", BUCKET + "/o/{object*}", self.put_object, takes_bytes=True)
        operations.add(
            "objectstorage", "UploadPart", "PUT", BUCKET + "/u/{object*}", self.upload_part, takes_bytes=True
        )

    # --- namespace and buckets ------------------------------------------------------------------------------------

    async def get_namespace(self, call: Call) -> Answer:
        return Answer(call.tenancy.namespace)

    async def list_buckets(self, call: Call) -> Answer:
        call.compartment()
        if call.parameters["namespace"] != call.tenancy.namespace:
            raise _no_namespace(call.parameters["namespace"])
        found, headers = page(call, self._store.of(call.tenancy))
        return Answer([_bucket_summary(bucket) for bucket in found], headers=headers)

    async def create_bucket(self, call: Call) -> Answer:
        namespace, name = call.parameters["namespace"], call.json().get("name")
        if namespace != call.tenancy.namespace:
            raise _no_namespace(namespace)
        if not name:
            raise errors.missing_parameter("name")
        if self._store.find(namespace, name):
            raise ServiceError(
                409, "BucketAlreadyExists", f"The bucket '{name}' already exists in namespace '{namespace}'"
            )
        return Answer(_bucket_summary(self._store.create(call.tenancy, name)))

    async def get_bucket(self, call: Call) -> Answer:
        bucket = self._bucket(call)
        fields = (call.query("fields") or "").split(",")
        body = _bucket_summary(bucket) | {
            "metadata": {},
            "publicAccessType": "NoPublicAccess",
            "storageTier": "Standard",
            "objectEventsEnabled": False,
            "replicationEnabled": False,
            "isReadOnly": False,
            "versioning": "Disabled",
            "autoTiering": "Disabled",
        }
        if "approximateCount" in fields:
            body["approximateCount"] = len(bucket.objects)
        if "approximateSize" in fields:
            body["approximateSize"] = sum(one.size for one in bucket.objects.values())
        return Answer(body, headers={"etag": bucket.etag})

    def _bucket(self, call: Call) -> Bucket:
        """The bucket in the path, which must be the caller's."""
        bucket = self._store.find(call.parameters["namespace"], call.parameters["bucket"])
        if bucket is None or bucket.tenancy is not call.tenancy:
            raise no_bucket(call.parameters["bucket"], call.parameters["namespace"])
        return bucket

    # --- objects --------------------------------------------------------------------------------------------------

    async def list_objects(self, call: Call) -> Answer:
        return list_objects(call, self._bucket(call))

    async def get_object(self, call: Call) -> Answer:
        return read_object(call, self._bucket(call))

    async def put_object(self, call: Call) -> Answer:
        return await write_object(call, self._bucket(call))

    async def delete_object(self, call: Call) -> Answer:
        bucket = self._bucket(call)
        find_object(bucket, call.parameters["object"])
        bucket.remove(call.parameters["object"])
        return Answer(status=204)

    # --- uploads in parts -----------------------------------------------------------------------------------------

    async def create_upload(self, call: Call) -> Answer:
        bucket, body = self._bucket(call), call.json()
        if not body.get("object"):
            raise errors.missing_parameter("object")
        upload = Upload(secrets.token_hex(16), body["object"], body.get("contentType") or "application/octet-stream")
        bucket.uploads[upload.id] = upload
        return Answer(
            {
                "namespace": bucket.namespace,
                "bucket": bucket.name,
                "object": upload.object_name,
                "uploadId": upload.id,
                "timeCreated": timestamp(now()),
                "storageTier": "Standard",
            }
        )

    async def upload_part(self, call: Call) -> Answer:
        bucket, upload = self._bucket(call), self._upload(call)
        number = call.number("uploadPartNum") or 0
        if not 1 <= number <= 10_000:
            raise errors.invalid_parameter(f"uploadPartNum is {number}; expected 1 to 10000")
        path, size, digest = await bucket.receive(_chunks(call))
        part = Part(path, size, digest)
        _check_md5(call, digest)
        if old := upload.parts.pop(number, None):
            old.path.unlink(missing_ok=True)
        upload.parts[number] = part
        return Answer(headers={"etag": part.etag, "opc-content-md5": base64.b64encode(digest).decode()})

    async def commit_upload(self, call: Call) -> Answer:
        bucket, upload = self._bucket(call), self._upload(call)
        wanted = call.json().get("partsToCommit") or []
        for one in wanted:
            part = upload.parts.get(one.get("partNum"))
            if part is None or part.etag != one.get("etag"):
                raise ServiceError(
                    400, "InvalidUploadPart", f"Part {one.get('partNum')} was not uploaded, or is another."
                )
        if not wanted:
            raise errors.missing_parameter("partsToCommit")
        stored = bucket.commit(upload, [one["partNum"] for one in wanted])
        return Answer(headers={"etag": stored.etag, "opc-multipart-md5": stored.multipart_md5 or ""})

    async def abort_upload(self, call: Call) -> Answer:
        self._bucket(call).abort(self._upload(call))
        return Answer(status=204)

    def _upload(self, call: Call) -> Upload:
        upload = self._bucket(call).uploads.get(call.required("uploadId"))
        if upload is None or upload.object_name != call.parameters["object"]:
            raise ServiceError(404, "NoSuchUpload", f"There is no upload {call.query('uploadId')}")
        return upload


# --- what signed and pre-authenticated requests share ---------------------------------------------------------------


def list_objects(call: Call, bucket: Bucket) -> Answer:
    return Answer(
        bucket.listing(
            prefix=call.query("prefix") or "",
            start=call.query("start") or "",
            start_after=call.query("startAfter"),
            end=call.query("end"),
            limit=call.number("limit", MAXIMUM_LISTED) or 0,
            delimiter=call.query("delimiter"),
            fields=call.query("fields"),
        )
    )


def find_object(bucket: Bucket, name: str) -> StoredObject:
    stored = bucket.objects.get(name)
    if stored is None:
        raise ServiceError(
            404,
            "ObjectNotFound",
            f"The object '{name}' was not found in the bucket '{bucket.name}' of namespace '{bucket.namespace}'",
        )
    return stored


def read_object(call: Call, bucket: Bucket) -> Answer:
    """GET or HEAD of an object."""
    stored = find_object(bucket, call.parameters["object"])
    call.details["object"] = stored.name
    if_match, if_none_match = call.header("if-match"), call.header("if-none-match")
    if if_match is not None and if_match not in (stored.etag, "*"):
        raise errors.no_etag_match(if_match)
    headers = _object_headers(stored)
    if if_none_match is not None and if_none_match in (stored.etag, "*"):
        return Answer(status=304, headers=headers)
    start, length, status = 0, stored.size, 200
    if call.request.method == "GET" and (wanted := call.header("range")):
        start, length = _range(wanted, stored.size)
        status = 206
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
        call.details["range"] = [start, start + length - 1]
    headers["content-length"] = str(length)
    return Answer(status=status, headers=headers, content=Content(str(stored.path), start, length))


async def write_object(call: Call, bucket: Bucket) -> Answer:
    """PUT of an object."""
    name = call.parameters["object"]
    old = bucket.objects.get(name)
    if call.header("if-none-match") == "*" and old is not None:
        raise ServiceError(412, "IfNoneMatchFailed", f"The object '{name}' exists.")
    if_match = call.header("if-match")
    if if_match is not None and (old is None or if_match not in (old.etag, "*")):
        raise errors.no_etag_match(if_match)
    content_type = call.header("content-type") or "application/octet-stream"
    path, size, digest = await bucket.receive(_chunks(call))
    try:
        _check_md5(call, digest)
    except ServiceError:
        path.unlink()
        raise
    md5 = base64.b64encode(digest).decode()
    stored = StoredObject(name, path, size, md5, content_type=content_type)
    bucket.replace(stored)
    call.details["object"] = name
    headers = {"etag": stored.etag, "opc-content-md5": md5, "last-modified": _http_date(stored.created)}
    return Answer(headers=headers)


def no_bucket(name: str, namespace: str) -> ServiceError:
    return ServiceError(
        404,
        "BucketNotFound",
        f"Either the bucket named '{name}' does not exist in the namespace '{namespace}' "
        "or you are not authorized to access it",
    )


def _no_namespace(namespace: str) -> ServiceError:
    return ServiceError(
        404,
        "NamespaceNotFound",
        f"You do not have authorization to perform this request, or {namespace} does not exist.",
    )


async def _chunks(call: Call) -> AsyncIterator[bytes]:
    async for chunk in call.request.content.iter_chunked(CHUNK):
        yield chunk


def _check_md5(call: Call, digest: bytes) -> None:
    given = call.header("content-md5")
    if given is not None and given != base64.b64encode(digest).decode():
        raise ServiceError(400, "UnmatchedContentMD5", "The computed MD5 of the body does not match content-md5.")


def _object_headers(stored: StoredObject) -> dict[str, str]:
    headers = {
        "etag": stored.etag,
        "last-modified": _http_date(stored.created),
        "content-type": stored.content_type,
        "accept-ranges": "bytes",
        "storage-tier": "Standard",
    }
    if stored.md5:
        headers["content-md5"] = stored.md5
    if stored.multipart_md5:
        headers["opc-multipart-md5"] = stored.multipart_md5
    return headers


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _range(text: str, size: int) -> tuple[int, int]:
    """Start and length of the bytes that a Range header asks for."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        raise errors.invalid_parameter(f"Range is {text!r}; expected one range of bytes")
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start >= size or end < start:
        raise ServiceError(416, "InvalidRange", f"Range {text!r} lies outside the object's {size} bytes")
    return start, end - start + 1


def _bucket_summary(bucket: Bucket) -> dict[str, Any]:
    return {
        "namespace": bucket.namespace,
        "name": bucket.name,
        "compartmentId": bucket.tenancy.compartment_id,
        "createdBy": bucket.tenancy.user_id,
        "timeCreated": timestamp(bucket.created),
        "etag": bucket.etag,
        "freeformTags": {},
        "definedTags": {},
    }
