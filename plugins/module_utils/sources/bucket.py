# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Model files in a bucket of OCI Object Storage, read with the caller's own sign-in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ..core.fault import Fault, Refused
from ..deadline import LONGEST_SECONDS, within
from ..oci.client import Connection
from ..oci.errors import is_service_error
from .par import LISTED_FIELDS, refuse_archived
from .source import MOST_FILES, MOST_PAGES, ModelFile, as_prefix, listed_file


class BucketSource:
    """The objects below `prefix` of a bucket. `namespace` is the tenancy's own when empty."""

    def __init__(self, connection: Connection, bucket: str, prefix: str, namespace: str = "") -> None:
        self.connection = connection
        self.storage = connection.client("object_storage")
        self.bucket = bucket
        self.prefix = as_prefix(prefix)
        self.namespace = namespace
        if not namespace:
            with self._asking(
                "reading the Object Storage namespace", "objectstorage-namespaces", "read objectstorage-namespaces"
            ):
                self.namespace = self.storage.get_namespace().data
        self.place = f"/n/{self.namespace}/b/{bucket}/o/{self.prefix}"

    def _asking(self, doing: str, where: str, policy: str) -> AbstractContextManager[None]:
        return self.connection.asking("object_storage", doing, where, policy)

    def describe(self) -> dict[str, Any]:
        """Return what the source is."""
        return {
            "kind": "bucket",
            "place": self.place,
            "region": self.connection.region,
            "namespace": self.namespace,
            "bucket": self.bucket,
        }

    def files(self) -> list[ModelFile]:
        """List the objects below the prefix, all pages."""
        found: list[ModelFile] = []
        archived: list[str] = []
        start = None
        for _number in range(MOST_PAGES):
            page = self._page(self.prefix, start)
            for item in page.objects or ():
                try:
                    found.append(listed_file(item.name[len(self.prefix) :], item.size, item.md5))
                except (ValueError, TypeError):
                    raise Refused(
                        [
                            Fault(
                                "list_malformed",
                                self.place,
                                "an entry without a name, or of no size",
                                "a list of objects",
                            )
                        ]
                    ) from None
                if item.archival_state in ("Archived", "Restoring"):
                    archived.append(item.name)
            start = page.next_start_with
            if not start:
                break
            if len(found) > MOST_FILES:
                raise Refused(
                    [Fault("too_many_files", self.place, f"more than {MOST_FILES} objects", "a model's folder")]
                )
        else:
            raise Refused([Fault("list_endless", self.place, f"more than {MOST_PAGES} pages", "a model's folder")])
        refuse_archived(archived, self.place)
        return found

    def nearby(self) -> list[str]:
        """Return the first names of the bucket."""
        return [item.name for item in self._page("", None).objects or () if item.name]

    def _page(self, prefix: str, start: str | None) -> Any:
        arguments = {"fields": LISTED_FIELDS, "limit": 1000, **({"prefix": prefix} if prefix else {})}
        if start:
            arguments["start"] = start
        with self._asking("listing the objects", f"bucket {self.bucket}", f"read objects in bucket {self.bucket}"):
            return self.storage.list_objects(self.namespace, self.bucket, **arguments).data

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of one small object."""
        with self._asking(f"reading {name}", f"bucket {self.bucket}", f"read objects in bucket {self.bucket}"):
            try:
                response = self.storage.get_object(self.namespace, self.bucket, self.prefix + name)
            except Exception as error:
                if is_service_error(error, 404):
                    raise Refused(
                        [
                            Fault(
                                "file_missing",
                                self.place + name,
                                "no such object",
                                "a file that the list has",
                                "run again",
                            )
                        ]
                    ) from error
                raise
            # The answer begins with the call, and ends with the last byte of the object.
            body: bytes = within(LONGEST_SECONDS, lambda: response.data.raw.read(limit + 1))
        if len(body) > limit:
            raise Refused([Fault("file_too_large", self.place + name, f"more than {limit} bytes", "a small file")])
        return body
