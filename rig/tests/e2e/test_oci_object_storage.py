# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of Object Storage: objects, listings and pre-authenticated requests, signed and not."""

from __future__ import annotations

import base64
import datetime
import hashlib
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import oci
import pytest
import requests

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, error_of, open_account

models = oci.object_storage.models
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


@pytest.fixture(scope="module")
def folder(account: Account) -> Iterator[str]:
    """The prefix of some objects: `a file.bin`, `config.json`, `shards/1`, `shards/2`."""
    prefix = f"contract-{uuid.uuid4().hex[:8]}/model"
    names = {"a file.bin": CONTENT, "config.json": b"{}", "shards/1": b"1", "shards/2": b"22"}
    for name, content in names.items():
        account.objects.put_object(account.namespace, account.bucket, f"{prefix}/{name}", content)
    yield prefix
    for name in names:
        account.objects.delete_object(account.namespace, account.bucket, f"{prefix}/{name}")


def in_seconds(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def make_par(account: Account, prefix: str | None, **changes: object) -> models.PreauthenticatedRequest:
    details = models.CreatePreauthenticatedRequestDetails(
        **{
            "name": "contract",
            "access_type": "AnyObjectRead",
            "bucket_listing_action": "ListObjects",
            "object_name": prefix,
            "time_expires": in_seconds(3600),
            **changes,
        }
    )
    return account.objects.create_preauthenticated_request(account.namespace, account.bucket, details).data


@pytest.fixture
def par(account: Account, folder: str) -> Iterator[models.PreauthenticatedRequest]:
    """A PAR that reads and lists what lies in `folder`."""
    par = make_par(account, f"{folder}/")
    yield par
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, par.id)


def put_in_parts(account: Account, name: str, content: bytes, part_size: int) -> None:
    upload = account.objects.create_multipart_upload(
        account.namespace, account.bucket, models.CreateMultipartUploadDetails(object=name)
    ).data
    parts = []
    for number, start in enumerate(range(0, len(content), part_size), 1):
        piece = content[start : start + part_size]
        answer = account.objects.upload_part(account.namespace, account.bucket, name, upload.upload_id, number, piece)
        parts.append(models.CommitMultipartUploadPartDetails(part_num=number, etag=answer.headers["etag"]))
    details = models.CommitMultipartUploadDetails(parts_to_commit=parts)
    account.objects.commit_multipart_upload(account.namespace, account.bucket, name, upload.upload_id, details)


def test_the_namespace_is_a_bare_string(account: Account) -> None:
    assert account.namespace
    assert "/" not in account.namespace


def test_a_bucket_is_found_in_its_compartment(account: Account) -> None:
    buckets = account.objects.list_buckets(account.namespace, account.compartment_id).data
    assert account.bucket in [bucket.name for bucket in buckets]
    bucket = account.objects.get_bucket(account.namespace, account.bucket).data
    assert bucket.compartment_id == account.compartment_id
    assert error_of(account.objects.get_bucket, account.namespace, "no-such-bucket") == (404, "BucketNotFound")


def test_an_object_comes_back_with_its_md5(account: Account, folder: str) -> None:
    answer = account.objects.get_object(account.namespace, account.bucket, f"{folder}/a file.bin")
    assert answer.data.content == CONTENT
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    assert answer.headers["content-md5"] == md5
    head = account.objects.head_object(account.namespace, account.bucket, f"{folder}/a file.bin")
    assert head.headers["content-length"] == str(len(CONTENT))
    assert head.headers["etag"] == answer.headers["etag"]
    assert head.headers["etag"] != md5
    assert head.headers["last-modified"].endswith("GMT")


@pytest.mark.parametrize(
    "wanted,expected,first,last",
    [
        ("bytes=10-19", CONTENT[10:20], 10, 19),
        ("bytes=10200-", CONTENT[10200:], 10200, 10239),
        ("bytes=-5", CONTENT[-5:], 10235, 10239),
        ("bytes=10230-99999", CONTENT[10230:], 10230, 10239),
    ],
)
def test_one_range_of_an_object(
    account: Account, folder: str, wanted: str, expected: bytes, first: int, last: int
) -> None:
    answer = account.objects.get_object(account.namespace, account.bucket, f"{folder}/a file.bin", range=wanted)
    assert (answer.status, answer.data.content) == (206, expected)
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"


def test_a_range_behind_the_end_is_refused(account: Account, folder: str) -> None:
    name = f"{folder}/a file.bin"
    status, _ = error_of(
        account.objects.get_object, account.namespace, account.bucket, name, range=f"bytes={len(CONTENT)}-"
    )
    assert status == 416


def test_an_unchanged_object_is_not_sent_again(account: Account, folder: str) -> None:
    name = f"{folder}/config.json"
    etag = account.objects.head_object(account.namespace, account.bucket, name).headers["etag"]
    status, _ = error_of(account.objects.get_object, account.namespace, account.bucket, name, if_none_match=etag)
    assert status == 304
    status, _ = error_of(account.objects.get_object, account.namespace, account.bucket, name, if_match="another")
    assert status == 412


def test_a_missing_object(account: Account, folder: str) -> None:
    name = f"{folder}/none"
    assert error_of(account.objects.get_object, account.namespace, account.bucket, name) == (404, "ObjectNotFound")
    assert error_of(account.objects.head_object, account.namespace, account.bucket, name)[0] == 404


def test_a_damaged_upload_is_refused(account: Account, folder: str) -> None:
    status, _ = error_of(
        account.objects.put_object,
        account.namespace,
        account.bucket,
        f"{folder}/damaged",
        b"content",
        content_md5=base64.b64encode(hashlib.md5(b"another").digest()).decode(),
    )
    assert status == 400
    assert error_of(account.objects.head_object, account.namespace, account.bucket, f"{folder}/damaged")[0] == 404


def test_a_listing_has_names_only_unless_asked(account: Account, folder: str) -> None:
    def listed(**options: object) -> list[models.ObjectSummary]:
        return account.objects.list_objects(account.namespace, account.bucket, prefix=folder, **options).data.objects

    assert [one.name.removeprefix(folder) for one in listed()] == [
        "/a file.bin",
        "/config.json",
        "/shards/1",
        "/shards/2",
    ]
    assert {one.size for one in listed()} == {None}
    assert [one.size for one in listed(fields="name,size,md5")] == [len(CONTENT), 2, 1, 2]
    assert error_of(listed, fields="colour")[0] == 400


def test_listings_lead_on_with_next_start_with(account: Account, folder: str) -> None:
    found, start = [], None
    while True:
        page = account.objects.list_objects(account.namespace, account.bucket, prefix=folder, start=start, limit=3).data
        found += [one.name for one in page.objects]
        start = page.next_start_with
        if not start:
            break
    assert len(found) == len(set(found)) == 4
    assert found == sorted(found)


def test_a_delimiter_folds_what_lies_deeper(account: Account, folder: str) -> None:
    page = account.objects.list_objects(account.namespace, account.bucket, prefix=f"{folder}/", delimiter="/").data
    assert [one.name for one in page.objects] == [f"{folder}/a file.bin", f"{folder}/config.json"]
    assert page.prefixes == [f"{folder}/shards/"]


def test_an_object_put_in_parts_has_no_md5(account: Account, folder: str) -> None:
    name, content = f"{folder}-parts", CONTENT * 3
    put_in_parts(account, name, content, len(CONTENT))
    try:
        entry = account.objects.list_objects(
            account.namespace, account.bucket, prefix=name, fields="name,size,md5"
        ).data.objects[0]
        assert (entry.size, entry.md5) == (len(content), None)
        answer = account.objects.get_object(account.namespace, account.bucket, name)
        assert answer.data.content == content
        assert "content-md5" not in answer.headers
        digest = hashlib.md5(hashlib.md5(CONTENT).digest() * 3).digest()
        assert answer.headers["opc-multipart-md5"] == base64.b64encode(digest).decode() + "-3"
    finally:
        account.objects.delete_object(account.namespace, account.bucket, name)


# --- pre-authenticated requests -------------------------------------------------------------------------------------


def test_the_url_of_a_par_is_given_once(account: Account, par: models.PreauthenticatedRequest) -> None:
    assert par.access_uri.startswith("/p/")
    assert par.access_uri.endswith(f"/n/{account.namespace}/b/{account.bucket}/o/")
    assert par.full_path.endswith(par.access_uri)
    listed = account.objects.list_preauthenticated_requests(account.namespace, account.bucket).data
    one = next(one for one in listed if one.id == par.id)
    assert not getattr(one, "access_uri", None)
    assert (one.object_name, one.access_type) == (par.object_name, "AnyObjectRead")
    got = account.objects.get_preauthenticated_request(account.namespace, account.bucket, par.id).data
    assert (got.name, got.time_expires) == ("contract", one.time_expires)


def test_a_par_lists_and_reads_its_prefix(folder: str, par: models.PreauthenticatedRequest) -> None:
    page = requests.get(par.full_path, params={"prefix": f"{folder}/", "fields": "name,size"}, timeout=30).json()
    assert [one["name"].removeprefix(folder) for one in page["objects"]] == [
        "/a file.bin",
        "/config.json",
        "/shards/1",
        "/shards/2",
    ]
    assert page["objects"][0]["size"] == len(CONTENT)
    for name in (quote(f"{folder}/shards/2"), quote(f"{folder}/shards/2", safe="")):
        assert requests.get(par.full_path + name, timeout=30).content == b"22"
    part = requests.get(f"{par.full_path}{quote(folder)}/a%20file.bin", headers={"Range": "bytes=0-3"}, timeout=30)
    assert (part.status_code, part.content) == (206, CONTENT[:4])
    head = requests.head(f"{par.full_path}{quote(folder)}/a%20file.bin", timeout=30)
    assert head.headers["content-length"] == str(len(CONTENT))


def test_a_par_leads_on_with_next_start_with(folder: str, par: models.PreauthenticatedRequest) -> None:
    page = requests.get(par.full_path, params={"prefix": f"{folder}/", "limit": 3}, timeout=30).json()
    rest = requests.get(
        par.full_path, params={"prefix": f"{folder}/", "start": page["nextStartWith"]}, timeout=30
    ).json()
    assert [one["name"] for one in rest["objects"]] == [f"{folder}/shards/2"]
    assert "nextStartWith" not in rest


def test_a_par_ends_at_its_prefix(account: Account, folder: str, par: models.PreauthenticatedRequest) -> None:
    account.objects.put_object(account.namespace, account.bucket, "contract-outside", b"no")
    try:
        assert requests.get(par.full_path + "contract-outside", timeout=30).status_code in (401, 403, 404)
        assert requests.get(par.full_path, params={"prefix": "contract-outside"}, timeout=30).status_code in (
            401,
            403,
            404,
        )
        assert requests.put(f"{par.full_path}{folder}/new", data=b"x", timeout=30).status_code in (401, 403, 404)
        assert requests.delete(f"{par.full_path}{folder}/config.json", timeout=30).status_code in (403, 404, 405)
    finally:
        account.objects.delete_object(account.namespace, account.bucket, "contract-outside")


def test_a_par_may_read_and_not_list(account: Account, folder: str) -> None:
    par = make_par(account, f"{folder}/", bucket_listing_action="Deny")
    assert requests.get(par.full_path, params={"prefix": f"{folder}/"}, timeout=30).status_code in (401, 403, 404)
    assert requests.get(f"{par.full_path}{folder}/config.json", timeout=30).content == b"{}"
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, par.id)


def test_a_par_of_one_object_names_it(account: Account, folder: str) -> None:
    par = make_par(account, f"{folder}/config.json", access_type="ObjectRead", bucket_listing_action=None)
    assert requests.get(par.full_path, timeout=30).content == b"{}"
    assert par.access_uri.endswith(quote(f"{folder}/config.json"))
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, par.id)


def test_a_par_may_write(account: Account, folder: str) -> None:
    par = make_par(account, f"{folder}-written/", access_type="AnyObjectReadWrite")
    assert requests.put(f"{par.full_path}{folder}-written/new", data=b"x", timeout=30).status_code == 200
    assert account.objects.get_object(account.namespace, account.bucket, f"{folder}-written/new").data.content == b"x"
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, par.id)
    account.objects.delete_object(account.namespace, account.bucket, f"{folder}-written/new")


def test_expired_deleted_and_unknown_pars_are_gone(account: Account, folder: str) -> None:
    short = make_par(account, f"{folder}/", time_expires=in_seconds(1.5))
    name = f"{folder}/config.json"
    assert requests.get(short.full_path + name, timeout=30).status_code == 200
    account.eventually(lambda: requests.get(short.full_path + name, timeout=30).status_code in (401, 403, 404))
    unknown = short.full_path.replace("/p/", "/p/x")
    assert requests.get(unknown + name, timeout=30).status_code in (401, 403, 404)
    deleted = make_par(account, f"{folder}/")
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, deleted.id)
    answer = requests.get(deleted.full_path + name, timeout=30)
    assert answer.status_code in (401, 403, 404)
    assert answer.json()["code"]
    account.objects.delete_preauthenticated_request(account.namespace, account.bucket, short.id)


@pytest.mark.parametrize(
    "changes",
    [
        {"time_expires": in_seconds(-60)},
        {"access_type": "Everything"},
        {"access_type": "ObjectRead", "object_name": None, "bucket_listing_action": None},
        {"access_type": "AnyObjectWrite"},
    ],
)
def test_a_par_that_cannot_be_is_refused(account: Account, changes: dict[str, object]) -> None:
    prefix = changes.pop("object_name", "contract/") if "object_name" in changes else "contract/"
    try:
        with pytest.raises(oci.exceptions.ServiceError) as raised:
            make_par(account, prefix, **changes)
        assert raised.value.status == 400
    except ValueError:
        pass  # the SDK itself refuses values that it does not know


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_read_can_be_cut_and_another_goes_on(
    account: Account, folder: str, par: models.PreauthenticatedRequest
) -> None:
    url = f"{par.full_path}{quote(folder)}/a%20file.bin"
    with account.scenario({"operation": "GetObject", "resource": "a file.bin"}, cut_bytes=4000, times=1):
        with pytest.raises(requests.RequestException):
            requests.get(url, timeout=30)
        assert requests.get(url, headers={"Range": "bytes=4000-"}, timeout=30).content == CONTENT[4000:]
    first, second = account.calls("GetObject")[-2:]
    assert (first["bytes"], first["lost"]) == (4000, True)
    assert (second["range"], second["bytes"]) == ([4000, len(CONTENT) - 1], len(CONTENT) - 4000)
    assert second["object"] == f"{folder}/a file.bin"


def test_a_read_can_be_slow(account: Account, folder: str) -> None:
    with account.scenario({"operation": "GetObject"}, rate_bytes_per_s=10_000):
        started = time.monotonic()
        answer = account.objects.get_object(account.namespace, account.bucket, f"{folder}/a file.bin")
        assert answer.data.content == CONTENT
        assert time.monotonic() - started > 0.7


def test_tests_put_objects_over_the_control_address(account: Account, tmp_path: Path) -> None:
    account.steer("GET", "/tenancies")
    assert account.rig is not None
    url = f"{account.rig.control}/objects/{account.namespace}/{account.bucket}/org/name/weights%201.bin"
    stored = requests.put(url, params={"size": 5 * 10**9}, data=b"header", timeout=30).json()
    assert (stored["size"], stored["md5"]) == (5 * 10**9, None)
    answer = account.objects.get_object(account.namespace, account.bucket, "org/name/weights 1.bin", range="bytes=0-7")
    assert answer.data.content == b"header\0\0"
    stored = requests.put(url, params={"part_size": 4}, data=b"0123456789", timeout=30).json()
    assert stored["md5"] is None
    head = account.objects.head_object(account.namespace, account.bucket, "org/name/weights 1.bin")
    assert head.headers["opc-multipart-md5"].endswith("-3")


def test_many_reads_at_once(account: Account, par: models.PreauthenticatedRequest, folder: str) -> None:
    contents = []

    def read(start: int) -> None:
        headers = {"Range": f"bytes={start}-{start + 255}"}
        url = f"{par.full_path}{quote(folder)}/a%20file.bin"
        contents.append(requests.get(url, headers=headers, timeout=30).content)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, len(CONTENT), 512)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [bytes(range(256))] * len(threads)
