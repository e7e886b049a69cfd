# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets: listing, checksums, parts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.errors import ServiceError
from rig.oci.objects import Bucket, Store
from rig.oci.state import Tenancy, Timings

PUBLIC_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 7):
        yield content[start : start + 7]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    tenancy = Tenancy("one", "kwok", "FLANNEL_OVERLAY", "v1.37.2", PUBLIC_KEY, "aa:bb", Timings(), namespace="ns")
    bucket = Store(tmp_path / "objects").create(tenancy, "models")
    for name in ("a/1", "a/2", "a/b/3", "a/b/4", "b", "c/5"):
        asyncio.run(bucket.put(name, pieces(name.encode())))
    return bucket


def names(page: dict) -> list[str]:
    return [entry["name"] for entry in page["objects"]]


def test_a_listing_has_names_only_unless_asked(bucket: Bucket) -> None:
    assert bucket.listing()["objects"][0] == {"name": "a/1"}
    assert bucket.listing(fields="size,md5")["objects"][0] == {
        "name": "a/1",
        "size": 3,
        "md5": base64.b64encode(hashlib.md5(b"a/1").digest()).decode(),
    }
    with pytest.raises(ServiceError, match="colour"):
        bucket.listing(fields="name,colour")


def test_pages_lead_on_until_the_end(bucket: Bucket) -> None:
    first = bucket.listing(limit=4)
    assert (names(first), first["nextStartWith"]) == (["a/1", "a/2", "a/b/3", "a/b/4"], "b")
    last = bucket.listing(limit=4, start=first["nextStartWith"])
    assert names(last) == ["b", "c/5"]
    assert "nextStartWith" not in last


def test_prefix_start_end_and_start_after(bucket: Bucket) -> None:
    assert names(bucket.listing(prefix="a/b/")) == ["a/b/3", "a/b/4"]
    assert names(bucket.listing(start="a/b/4", end="c/5")) == ["a/b/4", "b"]
    assert names(bucket.listing(start_after="a/b/4")) == ["b", "c/5"]


def test_a_delimiter_names_what_lies_deeper_once(bucket: Bucket) -> None:
    page = bucket.listing(prefix="a/", delimiter="/")
    assert (names(page), page["prefixes"]) == (["a/1", "a/2"], ["a/b/"])
    page = bucket.listing(delimiter="/", limit=2)
    assert (names(page), page["prefixes"], page["nextStartWith"]) == (["b"], ["a/"], "c/5")
    with pytest.raises(ServiceError, match="only / is supported"):
        bucket.listing(delimiter="-")


def test_an_object_put_in_parts_has_no_md5(bucket: Bucket) -> None:
    content = b"0123456789" * 5
    stored = asyncio.run(bucket.put("parts", pieces(content), part_size=20))
    digests = b"".join(hashlib.md5(content[start : start + 20]).digest() for start in (0, 20, 40))
    assert stored.md5 is None
    assert stored.multipart_md5 == base64.b64encode(hashlib.md5(digests).digest()).decode() + "-3"


def test_a_large_object_takes_no_place_on_disk(bucket: Bucket) -> None:
    stored = asyncio.run(bucket.put("large", pieces(b"header"), size=1024**4))
    assert stored.size == 1024**4
    assert stored.path.stat().st_blocks * 512 < 1024**2
    assert stored.path.open("rb").read(8) == b"header\0\0"


def test_a_new_version_replaces_the_file_and_keeps_its_birth(bucket: Bucket) -> None:
    old = bucket.objects["b"]
    new = asyncio.run(bucket.put("b", pieces(b"new")))
    assert not old.path.exists()
    assert new.etag != old.etag
    assert new.created == old.created
