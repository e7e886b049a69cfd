# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that differ from what staging would like: each is read to the last byte, or ends with its cause."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import Any

import pytest
import stage_fetch
import stage_partial
import stage_reader
import stage_source
from pod_progress import Failure

from rig.control_plane.certificates import write_certificates
from tests.unit.runtime.source_server import HUB, SHARDS, Fault, SourceServer
from tests.unit.runtime.staged import Document, check, from_the_hub, run

pytestmark = pytest.mark.usefixtures("quick_staging")
SHARD = SHARDS[0][0]


@pytest.mark.parametrize("every", [1, 3])
def test_a_connection_that_ends_after_its_answer_is_no_interruption(
    group_document: Document, source: SourceServer, tmp_path: Path, every: int
) -> None:
    source.fault = lambda number, name, start: Fault(close=True) if number % every == 0 else None
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert len(source.requests) == len(set(source.requests)), "no range is asked for twice"


def test_with_tls_it_is_none_either(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificates(tmp_path, "example", ["127.0.0.1"])
    source.speak_tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    (tmp_path / "par").write_text(source.url)
    test_a_connection_that_ends_after_its_answer_is_no_interruption(group_document, source, tmp_path, 3)


def test_a_mirror_that_speaks_http_1_0_is_read(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    source.handler.protocol_version = "HTTP/1.0"
    group_document["staging"]["files"][0]["size"] = None
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


@pytest.mark.parametrize("streams", [1, 4])
def test_a_source_that_ignores_ranges_is_read_all_the_same(
    group_document: Document, source: SourceServer, tmp_path: Path, streams: int
) -> None:
    group_document["staging"]["streams"] = streams
    source.fault = lambda number, name, start: Fault(whole=True)
    fetched = run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert fetched == sum(len(data) for name, data in source.files.items() if name == SHARD or "-of-" not in name)
    if streams == 1:
        assert source.sent == fetched, "what comes anyway is not asked for once more"


def test_what_is_skipped_of_a_whole_file_counts_as_progress(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_fetch, "PATIENCE_SECONDS", 1.5)
    group_document["staging"]["streams"] = 1
    size = len(source.files[SHARD])

    def cut_late_then_slow(number: int, name: str, start: int) -> Fault | None:
        if name != SHARD:
            return None
        return Fault(whole=True, rate=size / 3) if start else Fault(whole=True, cut=size - 1000)

    source.fault = cut_late_then_slow
    fetched = run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert fetched < 2 * size


def test_a_size_that_the_source_does_not_say_ends_it(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    group_document["staging"]["files"][0]["size"] = None
    source.fault = lambda number, name, start: Fault(length=False, close=True)
    with pytest.raises(Failure, match="the source does not say how many bytes model-00001-of-00004.safetensors has"):
        run(group_document, 0, tmp_path)


def test_a_file_shorter_than_the_plan_says_ends_it(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    source.fault = lambda number, name, start: Fault(status=416)
    with pytest.raises(Failure, match="is shorter at the source than the plan says") as caught:
        run(group_document, 0, tmp_path)
    assert caught.value.lasting


def test_a_pause_that_the_source_asks_for_is_made(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(attempt: int, asked: float) -> float:
        pauses.append(stage_reader.pause(attempt, asked))
        return 0.01

    monkeypatch.setattr(stage_fetch, "pause", pause)
    asked = ["7", "3600", "Wed, 21 Oct 2026 07:28:00 GMT"]
    source.fault = lambda number, name, start: (
        Fault(status=429, headers={"Retry-After": asked[number]}) if number < 3 else None
    )
    group_document["staging"]["streams"] = 1
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert pauses[:2] == [7.0, 60.0] and 1.5 <= pauses[2] <= 2.5


def test_a_stream_much_slower_than_the_others_is_opened_anew(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_fetch, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(stage_reader, "GATHER_SECONDS", 0.1)
    # The range would take half a minute.
    name, start = SHARDS[0][0], 0
    source.fault = lambda number, asked, other: Fault(rate=2000) if (asked, other) == (name, start) else None
    began = time.monotonic()
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert time.monotonic() - began < 10
    assert any(asked == name and start < other < start + stage_partial.RANGE_BYTES for asked, other in source.requests)


def test_without_a_byte_it_ends_with_what_the_source_said(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_fetch, "PATIENCE_SECONDS", 1.0)
    source.fault = lambda number, name, start: Fault(status=503)
    with pytest.raises(Failure, match="no byte from the source for 1 s: .*HTTP 503 Service Unavailable") as caught:
        run(group_document, 0, tmp_path)
    assert not caught.value.lasting


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("https://127.0.0.1:port/file", "to an address that is no URL"),
        ("https://127.0.0.1:99999/file", "to an address that is no URL"),
        ("https://[::1/file", "to an address that is no URL"),
        ("ftp://127.0.0.1/file", "to an address that is no URL"),
        (f"{HUB}{SHARD}", "is redirected more than 5 times"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_told(
    group_document: Document, source: SourceServer, tmp_path: Path, location: str, cause: str
) -> None:
    from_the_hub(group_document, source)
    source.location = location
    with pytest.raises(Failure, match=cause) as caught:
        run(group_document, 0, tmp_path)
    assert caught.value.lasting
    assert "127.0.0.1:port" not in caught.value.cause


@pytest.mark.parametrize("size", [0, 100, 8 << 20])
def test_of_a_long_redirect_only_its_header_is_read(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    read: list[int] = []
    real = http.client.HTTPResponse.read

    def noted(response: Any, *amount: int) -> bytes:
        data = real(response, *amount)
        read.append(len(data))
        return data

    monkeypatch.setattr(http.client.HTTPResponse, "read", noted)
    from_the_hub(group_document, source)
    source.redirect_body = bytes(size)
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert max(read) <= 1 << 16


def test_a_redirect_from_tls_to_plain_http_is_refused() -> None:
    hub = stage_source.HuggingFace("https://hub.example", "org/name", "abc123", "hf_secret")
    with pytest.raises(Failure, match="hub.example sends the request for config.json to an address without TLS"):
        hub.redirected("config.json", "http://elsewhere.example/config.json")
    assert hub.address("config.json").secure
    hub.redirected("config.json", "https://elsewhere.example/config.json?signature=1")
    assert hub.address("config.json").headers == {}, "the token is for the hub alone"
    with pytest.raises(Failure, match="elsewhere.example sends the request for config.json to an address without TLS"):
        hub.redirected("config.json", "http://elsewhere.example/config.json?signature=1")


def test_a_link_that_another_stream_forgot_meanwhile_is_no_refusal(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    from_the_hub(group_document, source)
    hub = stage_source.HuggingFace(source.url.partition("/p/")[0], "org/name", "abc123", "")
    one = stage_reader.Reader(hub)
    _answer, blocks = one.read(SHARD, 0, 1000)
    list(blocks)
    source.link = 1

    def forget(number: int, name: str, start: int) -> None:
        hub.forget(name)

    source.fault = forget
    with pytest.raises(stage_reader.Interrupted, match="HTTP 403 where the request was sent to"):
        one.read(SHARD, 1000, 2000)
    one.close()
