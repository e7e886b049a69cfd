# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging: every byte equal to the source, nothing twice, whatever the source does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import stage_partial
from pod_progress import Failure

from tests.unit.runtime.source_server import SECRET, SHARDS, Fault, SourceServer
from tests.unit.runtime.staged import Document, check, from_the_hub, held, run

pytestmark = pytest.mark.usefixtures("quick_staging")


def test_a_stage_holds_its_shards_and_a_trimmed_index(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    for number in (None, 0, 3):
        run(group_document, number, tmp_path)
        check(tmp_path, source.files, number)


def test_the_full_set_where_stages_may_not_be_told_apart(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    group_document["staging"]["by_stage"] = False
    fetched = run(group_document, 1, tmp_path)
    assert held(tmp_path) == set(source.files)
    assert fetched == sum(map(len, source.files.values())) == source.sent
    for name, data in source.files.items():
        assert (tmp_path / "model" / name).read_bytes() == data


def test_a_stage_fetches_its_own_bytes_and_not_the_full_set(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    whole = sum(map(len, source.files.values()))
    shards = sum(len(source.files[name]) for [name] in SHARDS)
    for number, [shard] in enumerate(SHARDS):
        before = source.sent
        group_document["staging"]["root"] = str(tmp_path / f"node-{number}")
        fetched = run(group_document, number, tmp_path)
        assert fetched == source.sent - before == whole - shards + len(source.files[shard])


def test_a_second_start_asks_the_source_nothing(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    run(group_document, 1, tmp_path)
    requests = len(source.requests)
    (tmp_path / "par").unlink()
    assert run(group_document, 1, tmp_path) == 0
    assert len(source.requests) == requests


def test_another_stage_fetches_its_shards_only(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    run(group_document, 1, tmp_path)
    assert run(group_document, 2, tmp_path) == len(source.files[SHARDS[2][0]])


def test_a_damaged_file_is_fetched_again(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    run(group_document, 1, tmp_path)
    damaged = tmp_path / "model" / SHARDS[1][0]
    os.truncate(damaged, 100)
    assert run(group_document, 1, tmp_path) == len(source.files[damaged.name])
    check(tmp_path, source.files, 1)


def test_a_file_unknown_to_staging_is_left_alone(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    run(group_document, 0, tmp_path)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    run(group_document, 1, tmp_path)
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("cut", [0, 1, 1000, 16_384, 40_000, 65_535])
def test_cut_connections_lose_no_byte(group_document: Document, source: SourceServer, tmp_path: Path, cut: int) -> None:
    source.fault = lambda number, name, start: Fault(cut=cut) if number % 2 == 0 else None
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


@pytest.mark.parametrize("status", [429, 500, 503, 520, 527])
def test_refusals_that_pass_are_tried_again(
    group_document: Document, source: SourceServer, tmp_path: Path, status: int
) -> None:
    source.fault = lambda number, name, start: Fault(status=status) if number < 7 else None
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_the_par_ends_at_once_without_its_secret(
    group_document: Document, source: SourceServer, tmp_path: Path, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    source.fault = lambda number, name, start: Fault(status=status)
    with pytest.raises(Failure, match="PAR invalid, expired or out of scope") as caught:
        run(group_document, 0, tmp_path)
    assert caught.value.lasting
    assert SECRET not in caught.value.cause + "".join(capfd.readouterr())


def test_a_file_corrupt_once_is_fetched_again_and_twice_ends(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    good = dict(source.files)
    name = SHARDS[0][0]
    source.files[name] = bytes(len(good[name]))
    ranges = -(-len(good[name]) // stage_partial.RANGE_BYTES)

    def mend(number: int, asked: str, start: int) -> Fault | None:
        if sum(1 for asked_name, _ in source.requests if asked_name == name) > ranges:
            source.files[name] = good[name]
        return Fault(headers={"ETag": "same"})

    source.fault = mend
    run(group_document, 0, tmp_path)
    check(tmp_path, good, 0)
    source.files[SHARDS[1][0]] = bytes(len(good[SHARDS[1][0]]))
    with pytest.raises(Failure, match="is corrupt: fetched twice") as caught:
        run(group_document, 1, tmp_path)
    assert caught.value.lasting
    assert SHARDS[1][0] not in held(tmp_path)


def test_a_changed_size_is_told(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    source.files["config.json"] += b" "
    with pytest.raises(Failure, match="40 bytes at the source, the plan says 39: it changed since the plan was made"):
        run(group_document, 0, tmp_path)


def test_sizes_that_the_plan_does_not_know_are_asked(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    for entry in group_document["staging"]["files"]:
        entry["size"] = entry["md5"] = None
    run(group_document, 2, tmp_path)
    check(tmp_path, source.files, 2)


def test_no_room_is_said_before_a_byte_is_fetched(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    group_document["staging"]["files"][0]["size"] = 1 << 60
    with pytest.raises(Failure, match="disk full: 1152921504.61 GB are still to be fetched") as caught:
        run(group_document, 0, tmp_path)
    assert caught.value.lasting
    assert source.requests == []


def test_files_of_a_repository_are_read_where_it_sends_us(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    from_the_hub(group_document, source)
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert source.redirects <= 4, "a link is asked for once by each stream, not for each range"


def test_a_link_that_has_expired_is_asked_for_again(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    from_the_hub(group_document, source)

    def expire(number: int, name: str, start: int) -> Fault | None:
        source.link = number // 3
        return None

    source.fault = expire
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert source.redirects > 1


def test_a_token_does_not_travel_in_clear(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    from_the_hub(group_document, source)
    (tmp_path / "token").write_text("hf_secret")
    with pytest.raises(Failure, match="the token would be sent in clear text"):
        run(group_document, 0, tmp_path)
    assert source.tokens == set()


def test_a_corrupt_file_of_a_repository_is_found_by_its_digest(
    group_document: Document, source: SourceServer, tmp_path: Path
) -> None:
    from_the_hub(group_document, source)
    source.files[SHARDS[0][0]] = bytes(len(source.files[SHARDS[0][0]]))
    with pytest.raises(Failure, match="is corrupt: fetched twice, sha256"):
        run(group_document, 0, tmp_path)


def test_a_folder_is_taken_as_it_is(group_document: Document, source: SourceServer, tmp_path: Path) -> None:
    for name, data in source.files.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    group_document["staging"]["source"] = "folder"
    assert run(group_document, 0, tmp_path) == 0
    assert held(tmp_path) == set(source.files)
    assert not (tmp_path / "model" / ".multinode").exists()
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(Failure, match="config.json is missing in"):
        run(group_document, 0, tmp_path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [(None, "cannot be read"), ("", "not the URL of a pre-authenticated request"), ("ftp://x/o/", "not the URL")],
)
def test_a_useless_url_file_is_told(group_document: Document, tmp_path: Path, text: str | None, cause: str) -> None:
    path = tmp_path / "par"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(Failure, match=cause):
        run(group_document, 0, tmp_path)
