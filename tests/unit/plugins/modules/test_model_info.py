# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against servers on loopback, folders, and a bucket with state."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import commit_choice
from ansible_collections.multinode.inference.plugins.module_utils.sources import http
from ansible_collections.multinode.inference.plugins.modules import model_info
from tests.unit.oci.fakes import Connection, Response, service_error
from tests.unit.plugins.modules.module_runner import run_module
from tests.unit.sources.http_server import Asked, Reply, Served, serving

OLD = "0" * 40
SECRET = "kNmS7ecretOfThePar-9"
PREFIX = "org/tiny/"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
MODEL = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}).encode(),
    "tokenizer.json": b"{}",
    SHARDS[0]: b"w" * 100,
    SHARDS[1]: b"w" * 50,
    "model.safetensors.index.json": json.dumps(
        {
            "metadata": {"total_size": 150},
            "weight_map": {"model.layers.0.a": SHARDS[0], "model.layers.1.a": SHARDS[1]},
        }
    ).encode(),
    "original/params.json": b"{}",
}


class ObjectStorage:
    """What a PAR of Object Storage answers: pages of names, objects, errors."""

    def __init__(self) -> None:
        self.objects = {PREFIX + name: content for name, content in MODEL.items()}
        self.objects["other/model/config.json"] = b"{}"
        self.page_size = 2
        self.valid = True
        self.lists = True
        self.archived: set[str] = set()
        self.failures: list[Reply] = []

    def __call__(self, asked: Asked) -> Reply:
        if self.failures:
            return self.failures.pop(0)
        base = f"/p/{SECRET}/n/ns/b/models/o/"
        if not self.valid or not asked.path.startswith(base):
            return error(404, "BucketNotFound", f"no such thing as {asked.path}")
        name = asked.path[len(base) :]
        if name:
            return Reply(200, self.objects[name]) if name in self.objects else error(404, "ObjectNotFound", name)
        return self._list(asked.query) if self.lists else error(404, "NotAuthorizedOrNotFound", "no listing")

    def _list(self, query: dict[str, str]) -> Reply:
        names = [name for name in sorted(self.objects) if name.startswith(query.get("prefix", ""))]
        names = [name for name in names if name >= query.get("start", "")]
        fields = query.get("fields", "name").split(",")
        page = []
        for name in names[: self.page_size]:
            values = {"name": name, "size": len(self.objects[name]), "md5": "bWQ1"}
            if name in self.archived:
                values["archivalState"] = "Archived"
            page.append({key: value for key, value in values.items() if key in fields})
        answer: dict[str, Any] = {"objects": page, "prefixes": []}
        if len(names) > self.page_size:
            answer["nextStartWith"] = names[self.page_size]
        return Reply(200, json.dumps(answer).encode())


def error(status: int, code: str, message: str) -> Reply:
    return Reply(status, json.dumps({"code": code, "message": message}).encode())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def storage() -> ObjectStorage:
    return ObjectStorage()


@pytest.fixture
def served(storage: ObjectStorage) -> Iterator[Served]:
    with serving(storage) as server:
        yield server


def ask_par(served: Served, **options: Any) -> dict[str, Any]:
    par = f"http://{served.address}/p/{SECRET}/n/ns/b/models/o/"
    endpoint = {"oci_service_endpoint": f"http://{served.address}"}
    result = run_module(model_info, {"par": par, "prefix": PREFIX, **endpoint, **options})
    assert SECRET not in json.dumps(result), "the secret is in the result"
    return result


def only_fault(result: dict[str, Any]) -> dict[str, Any]:
    (fault,) = result["faults"]
    assert result["msg"].startswith(fault["where"])
    return fault


def test_par(served: Served) -> None:
    model = ask_par(served)["model"]
    assert model["config"]["architectures"] == ["LlamaForCausalLM"]
    assert model["index"]["total_size"] == 150 and len(model["index"]["weight_map"]) == 2
    assert [file["name"] for file in model["files"]] == sorted(set(MODEL) - {"original/params.json"})
    assert model["files"][1] == {"name": SHARDS[0], "size": 100, "md5": "bWQ1", "sha256": None}
    assert model["bytes"] == sum(map(len, MODEL.values())) - 2
    assert model["tokenizer"] == ["tokenizer.json"]
    assert [item["name"] for item in model["left_out"]] == ["original/params.json"]
    assert model["prefix"] == PREFIX
    assert model["source"] == {
        "kind": "par",
        "place": f"{served.address}/p/***/n/ns/b/models/o/{PREFIX}",
        "host": served.address,
        "namespace": "ns",
        "bucket": "models",
    }
    assert all(asked.path.rpartition("/")[2] not in SHARDS for asked in served.asked), "no weights are read"


def test_thousands_of_objects_are_paged(served: Served, storage: ObjectStorage) -> None:
    storage.page_size = 1000
    storage.objects.update({f"{PREFIX}notes/{number:05}.txt": b"" for number in range(2500)})
    assert len(ask_par(served)["model"]["files"]) == 5 + 2500


@pytest.mark.parametrize("status", [401, 403, 404])
def test_par_that_is_not_valid(served: Served, storage: ObjectStorage, status: int) -> None:
    storage.failures = [error(status, "NotAuthenticated", f"the PAR {SECRET} has expired")] * 2
    fault = only_fault(ask_par(served))
    assert fault["code"] == "par_invalid"
    assert "PAR invalid, expired or out of scope" in fault["found"] and str(status) in fault["found"]
    assert "AnyObjectRead" in fault["remedy"]


def test_par_without_listing(served: Served, storage: ObjectStorage) -> None:
    storage.lists = False
    fault = only_fault(ask_par(served))
    assert fault["code"] == "par_without_listing" and "ListObjects" in fault["remedy"]


def test_service_that_fails_for_a_moment(served: Served, storage: ObjectStorage) -> None:
    storage.failures = [Reply(503), Reply(cut=True), error(429, "TooManyRequests", "slow down")]
    assert "model" in ask_par(served)
    storage.failures = [Reply(200, b'{"objects": []}', cut_body=True)]
    assert "model" in ask_par(served)
    storage.failures = [Reply(503)] * 9
    assert only_fault(ask_par(served))["code"] == "par_unavailable"
    storage.failures = [Reply(cut=True)] * 9
    assert only_fault(ask_par(served))["code"] == "par_unreachable"


def test_host_that_refuses() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    fault = only_fault(ask_par(Served(address, [])))
    assert (fault["code"], fault["where"]) == ("par_unreachable", address)
    assert "Connection refused" in fault["found"]


@pytest.mark.parametrize(
    ("par", "code"),
    [
        ("https://objectstorage.us-ashburn-1.oraclecloud.com/n/ns/b/models/o/", "par_malformed"),
        (f"https://host/p/{SECRET}/n/ns/b/mod els/o/", "par_malformed"),
        (f"ftp://host/p/{SECRET}/n/ns/b/models/o/", "par_malformed"),
        (f"https://host/p/{SECRET}/n/ns/b/models/o/config.json", "par_of_one_object"),
        (f"http://host/p/{SECRET}/n/ns/b/models/o/", "par_without_tls"),
    ],
)
def test_url_that_cannot_be(par: str, code: str) -> None:
    result = run_module(model_info, {"par": par})
    assert only_fault(result)["code"] == code
    assert SECRET not in json.dumps(result)


def test_plain_http_only_for_the_named_endpoint(served: Served) -> None:
    for endpoint in ("http://127.0.0.1:1", f"https://{served.address}", {"compute": f"http://{served.address}"}):
        assert only_fault(ask_par(served, oci_service_endpoint=endpoint))["code"] == "par_without_tls"
    assert "model" in ask_par(served, oci_service_endpoint={"object_storage": f"http://{served.address}/"})
    assert not ask_par(served, oci_service_endpoint="").get("model")


def test_wrong_prefix_names_the_models_there_are(served: Served, storage: ObjectStorage) -> None:
    storage.page_size = 1000
    fault = only_fault(ask_par(served, prefix="org/tinny"))
    assert fault["code"] == "model_missing"
    assert fault["found"].endswith("models are at org/tiny, other/model")


def test_prefix_above_the_model(served: Served) -> None:
    fault = only_fault(ask_par(served, prefix="org"))
    assert fault["code"] == "config_missing" and "there is one in tiny" in fault["found"]


def test_missing_files(served: Served, storage: ObjectStorage) -> None:
    del storage.objects[PREFIX + SHARDS[1]]
    fault = only_fault(ask_par(served))
    assert fault["code"] == "shards_missing" and SHARDS[1] in fault["found"] and "1 of the 2" in fault["found"]
    del storage.objects[PREFIX + "config.json"]
    assert only_fault(ask_par(served))["code"] == "config_missing"


def test_excluded_shard_is_explained(served: Served) -> None:
    fault = only_fault(ask_par(served, exclude=[SHARDS[0]]))
    assert fault["code"] == "shards_missing" and "in exclude" in fault["found"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("config.json", b"{", "file_malformed"),
        ("config.json", b"[]", "file_malformed"),
        ("config.json", b"version https://git-lfs.github.com/spec/v1\n", "file_malformed"),
        ("config.json", b"\xff\xfe", "file_malformed"),
        ("config.json", b" " * (9 * 1024 * 1024), "file_too_large"),
        ("model.safetensors.index.json", b"{}", "index_malformed"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": ["b"]}}', "index_malformed"),
        (SHARDS[0], b"", "weights_empty"),
    ],
)
def test_odd_files(served: Served, storage: ObjectStorage, name: str, content: bytes, code: str) -> None:
    storage.objects[PREFIX + name] = content
    assert only_fault(ask_par(served))["code"] == code


def test_no_weights(served: Served, storage: ObjectStorage) -> None:
    for name in (*SHARDS, "model.safetensors.index.json"):
        del storage.objects[PREFIX + name]
    assert only_fault(ask_par(served))["code"] == "weights_missing"


def test_archived_objects(served: Served, storage: ObjectStorage) -> None:
    storage.archived = {PREFIX + SHARDS[0]}
    fault = only_fault(ask_par(served))
    assert fault["code"] == "object_archived" and SHARDS[0] in fault["found"]


def test_host_that_is_something_else(served: Served, storage: ObjectStorage) -> None:
    storage.failures = [Reply(200, b"<html>")]
    assert only_fault(ask_par(served))["code"] == "par_malformed"


def test_folder(tmp_path: Path) -> None:
    for name, content in MODEL.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    model = run_module(model_info, {"folder": str(tmp_path)})["model"]
    assert model["bytes"] == sum(map(len, MODEL.values())) - 2
    assert model["source"]["kind"] == "folder" and model["prefix"] == ""
    (tmp_path / SHARDS[0]).unlink()
    (tmp_path / SHARDS[0]).symlink_to(tmp_path / "away")
    assert only_fault(run_module(model_info, {"folder": str(tmp_path)}))["code"] == "file_unreadable"
    assert only_fault(run_module(model_info, {"folder": str(tmp_path / "no")}))["code"] == "folder_missing"


class Hub:
    """What the Hugging Face Hub answers for one repository."""

    def __init__(self) -> None:
        self.gated = False
        self.commits = {"main": "c0ffee", "v2": "c0ffee", OLD: OLD}
        self.host = ""

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/api/models/old/tiny/revision/main":
            return Reply(307, headers={"location": "/api/models/org/tiny/revision/main?blobs=true"})
        revision = asked.path.removeprefix("/api/models/org/tiny/revision/")
        if revision in self.commits and asked.query == {"blobs": "true"}:
            siblings = [
                {"rfilename": name, "size": len(content), **({"lfs": {"sha256": "ab"}} if "model-" in name else {})}
                for name, content in MODEL.items()
            ]
            return Reply(200, json.dumps({"sha": self.commits[revision], "siblings": siblings}).encode())
        if asked.path.startswith("/api/models/org/tiny/revision/"):
            return Reply(404, headers={"x-error-code": "RevisionNotFound"})
        name = asked.path.partition("/resolve/")[2].partition("/")
        if asked.path.startswith("/org/tiny/resolve/") and name[0] in self.commits.values():
            if self.gated:
                return Reply(401, headers={"x-error-code": "GatedRepo"})
            return Reply(200, MODEL[name[2]])
        return Reply(401, headers={"x-error-code": "RepoNotFound"})


def ask_hub(served: Served, repository: str = "org/tiny", **options: Any) -> dict[str, Any]:
    return run_module(
        model_info, {"repository": repository, "huggingface_endpoint": f"http://{served.address}", **options}
    )


def test_hugging_face() -> None:
    hub = Hub()
    with serving(hub) as served:
        model = ask_hub(served)["model"]
        assert model["source"]["commit"] == "c0ffee"
        assert {file["name"]: file["sha256"] for file in model["files"]}[SHARDS[0]] == "ab"
        assert model["bytes"] == sum(map(len, MODEL.values())) - 2
        assert "model" not in ask_hub(served, "old/tiny"), "read from the new name only"
        assert only_fault(ask_hub(served, revision="v9"))["code"] == "revision_missing"
        assert only_fault(ask_hub(served, "org/none"))["code"] == "repository_missing"
        hub.gated = True
        assert only_fault(ask_hub(served))["code"] == "repository_gated"
        assert only_fault(ask_hub(served, huggingface_token="hf_canary"))["code"] == "token_without_tls"
        assert all("authorization" not in asked.headers for asked in served.asked)
        assert "asked without a token" in only_fault(ask_hub(served))["found"]
    assert only_fault(ask_hub(served))["code"] == "repository_unreachable"
    assert only_fault(ask_hub(served, "a/b/c"))["code"] == "repository_malformed"


def test_a_deployment_stays_at_its_commit() -> None:
    kept = {commit_choice("org/tiny", "main"): OLD}
    with serving(Hub()) as served:
        source = ask_hub(served, choices=kept)["model"]["source"]
        assert (source["commit"], source["newest"]) == (OLD, "c0ffee")
        assert any(f"/resolve/{OLD}/" in asked.path for asked in served.asked), "and its files are read there"
        assert ask_hub(served, choices={commit_choice("org/tiny", "v2"): OLD})["model"]["source"]["commit"] == "c0ffee"
        source = ask_hub(served, revision=OLD, choices=kept)["model"]["source"]
        assert source["commit"] == OLD and "newest" not in source, "a commit names itself"
        gone = {commit_choice("org/tiny", "main"): "f" * 40}
        assert only_fault(ask_hub(served, choices=gone))["code"] == "commit_gone"


class Bucket:
    """The object storage client of the SDK, as far as reading goes."""

    base_client = SimpleNamespace(endpoint="https://object_storage.test")

    def get_namespace(self) -> Response:
        return Response("ns")

    def list_objects(self, namespace: str, bucket: str, **query: Any) -> Response:
        if bucket != "models":
            raise service_error(404, "BucketNotFound", "Either the bucket does not exist or you are not authorized")
        answer = json.loads(ObjectStorage()._list({key: str(value) for key, value in query.items()}).body)
        objects = [
            SimpleNamespace(name=item["name"], size=item["size"], md5=item["md5"], archival_state=None)
            for item in answer["objects"]
        ]
        return Response(SimpleNamespace(objects=objects, next_start_with=answer.get("nextStartWith")))

    def get_object(self, namespace: str, bucket: str, name: str) -> Response:
        content = ObjectStorage().objects[name]
        return Response(SimpleNamespace(raw=SimpleNamespace(read=lambda limit: content[:limit])))


def test_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_info, "connect", lambda module, ocid: Connection(object_storage=Bucket()))
    model = run_module(model_info, {"bucket_name": "models", "prefix": PREFIX})["model"]
    assert model["source"]["place"] == f"/n/ns/b/models/o/{PREFIX}"
    assert model["bytes"] == sum(map(len, MODEL.values())) - 2
    fault = only_fault(run_module(model_info, {"bucket_name": "none"}))
    assert fault["code"] == "cloud_not_found_or_not_authorized" and "read objects in bucket none" in fault["remedy"]


def test_one_source_is_needed() -> None:
    assert run_module(model_info, {})["failed"]
    assert run_module(model_info, {"folder": "/a", "repository": "a/b"})["failed"]
