# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets and their objects: contents as files on disk, everything else in memory.

Facts imitated (Object Storage):
- an object put whole has a base64 MD5; one put in parts has none, but `opc-multipart-md5`: the base64 MD5 of its parts'
  binary MD5s, a dash and the number of parts;
- an etag is opaque, no MD5;
- a listing has names only unless `fields` asks for more, at most 1000 entries, and leads on with `nextStartWith`, to be
  given as `start`; `end` is exclusive; with delimiter `/` what lies deeper is named once, under `prefixes`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rig.oci.errors import invalid_parameter
from rig.oci.identifiers import new_etag
from rig.oci.state import Tenancy, now, timestamp

MAXIMUM_LISTED = 1000
FIELDS = ("name", "size", "etag", "md5", "timeCreated", "timeModified", "storageTier", "archivalState")


@dataclasses.dataclass
class StoredObject:
    """One object; `md5` is base64, None for one put in parts."""

    name: str
    path: Path
    size: int
    md5: str | None
    multipart_md5: str | None = None
    content_type: str = "application/octet-stream"
    etag: str = dataclasses.field(default_factory=new_etag)
    created: datetime = dataclasses.field(default_factory=now)

    def summary(self, fields: tuple[str, ...]) -> dict[str, Any]:
        everything = {
            "name": self.name,
            "size": self.size,
            "etag": self.etag,
            "md5": self.md5,
            "timeCreated": timestamp(self.created),
            "timeModified": timestamp(self.created),
            "storageTier": "Standard",
            "archivalState": None,
        }
        return {name: everything[name] for name in fields}


@dataclasses.dataclass
class Part:
    path: Path
    size: int
    md5: bytes
    etag: str = dataclasses.field(default_factory=new_etag)


@dataclasses.dataclass
class Upload:
    """A multipart upload that is not yet committed."""

    id: str
    object_name: str
    content_type: str
    parts: dict[int, Part] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Bucket:
    namespace: str
    name: str
    tenancy: Tenancy
    folder: Path
    objects: dict[str, StoredObject] = dataclasses.field(default_factory=dict)
    uploads: dict[str, Upload] = dataclasses.field(default_factory=dict)
    etag: str = dataclasses.field(default_factory=new_etag)
    created: datetime = dataclasses.field(default_factory=now)

    async def put(
        self,
        name: str,
        chunks: AsyncIterator[bytes],
        content_type: str = "application/octet-stream",
        *,
        size: int | None = None,
        part_size: int | None = None,
    ) -> StoredObject:
        """Store an object.

        With `size`, it is made that many bytes long by zeros that take no place on disk. With `part_size`, it is held
        as if it had been put in parts of so many bytes; both have no MD5.
        """
        path, written, digest = await self.receive(chunks)
        stored = StoredObject(name, path, written, base64.b64encode(digest).decode(), content_type=content_type)
        if size is not None and size > written:
            with path.open("r+b") as file:
                file.truncate(size)
            stored.size, stored.md5 = size, None
            stored.multipart_md5 = f"{base64.b64encode(digest).decode()}-2"
        elif part_size:
            stored.md5, stored.multipart_md5 = None, _multipart_md5(_part_digests(path, part_size))
        self.replace(stored)
        return stored

    async def receive(self, chunks: AsyncIterator[bytes]) -> tuple[Path, int, bytes]:
        """Write chunks to a new file: its path, size and binary MD5. A file whose sender gives up is removed."""
        path = self.folder / secrets.token_hex(12)
        digest, written = hashlib.md5(), 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
                    digest.update(chunk)
                    written += len(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path, written, digest.digest()

    def commit(self, upload: Upload, numbers: list[int]) -> StoredObject:
        """Make the object out of the parts with these numbers."""
        parts = [upload.parts[number] for number in sorted(numbers)]
        path = self.folder / secrets.token_hex(12)
        with path.open("wb") as target:
            for part in parts:
                with part.path.open("rb") as source:
                    shutil.copyfileobj(source, target)
        stored = StoredObject(
            upload.object_name,
            path,
            sum(part.size for part in parts),
            None,
            _multipart_md5([part.md5 for part in parts]),
            upload.content_type,
        )
        self.abort(upload)
        self.replace(stored)
        return stored

    def abort(self, upload: Upload) -> None:
        del self.uploads[upload.id]
        for part in upload.parts.values():
            part.path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        self.objects.pop(name).path.unlink(missing_ok=True)

    def replace(self, stored: StoredObject) -> None:
        old = self.objects.get(stored.name)
        if old is not None:
            old.path.unlink(missing_ok=True)
            stored.created = old.created
        self.objects[stored.name] = stored

    def listing(
        self,
        *,
        prefix: str = "",
        start: str = "",
        start_after: str | None = None,
        end: str | None = None,
        limit: int = MAXIMUM_LISTED,
        delimiter: str | None = None,
        fields: str | None = None,
    ) -> dict[str, Any]:
        """One page of the objects, as ListObjects gives it."""
        wanted = _fields(fields)
        if delimiter not in (None, "", "/"):
            raise invalid_parameter(f"delimiter is {delimiter!r}; only / is supported")
        if limit < 1:
            raise invalid_parameter(f"limit is {limit}; expected 1 to {MAXIMUM_LISTED}")
        page: list[dict[str, Any]] = []
        prefixes: list[str] = []
        following = None
        for name in sorted(self.objects, key=str.encode):
            if not name.startswith(prefix) or name < start or (start_after is not None and name <= start_after):
                continue
            if end is not None and name >= end:
                break
            deeper = name.find("/", len(prefix)) if delimiter else -1
            group = name[: deeper + 1] if deeper >= 0 else None
            if group is not None and prefixes and prefixes[-1] == group:
                continue
            if len(page) + len(prefixes) >= min(limit, MAXIMUM_LISTED):
                following = name
                break
            if group is not None:
                prefixes.append(group)
            else:
                page.append(self.objects[name].summary(wanted))
        body: dict[str, Any] = {"objects": page}
        if delimiter:
            body["prefixes"] = prefixes
        if following is not None:
            body["nextStartWith"] = following
        return body


class Store:
    """All buckets; their files lie below `folder`, which is emptied at the start."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self.buckets: dict[tuple[str, str], Bucket] = {}

    def create(self, tenancy: Tenancy, name: str) -> Bucket:
        folder = self._folder / tenancy.namespace / name
        folder.mkdir(parents=True)
        bucket = Bucket(tenancy.namespace, name, tenancy, folder)
        self.buckets[(tenancy.namespace, name)] = bucket
        return bucket

    def find(self, namespace: str, name: str) -> Bucket | None:
        return self.buckets.get((namespace, name))

    def of(self, tenancy: Tenancy) -> list[Bucket]:
        return [bucket for bucket in self.buckets.values() if bucket.tenancy is tenancy]


def _fields(fields: str | None) -> tuple[str, ...]:
    if not fields:
        return ("name",)
    wanted = tuple(name.strip() for name in fields.split(","))
    for name in wanted:
        if name not in FIELDS:
            raise invalid_parameter(f"fields names {name!r}; known are {', '.join(FIELDS)}")
    return wanted if "name" in wanted else ("name", *wanted)


def _multipart_md5(digests: list[bytes]) -> str:
    return f"{base64.b64encode(hashlib.md5(b''.join(digests)).digest()).decode()}-{len(digests)}"


def _part_digests(path: Path, part_size: int) -> list[bytes]:
    digests = []
    with path.open("rb") as file:
        while chunk := file.read(part_size):
            digests.append(hashlib.md5(chunk).digest())
    return digests
