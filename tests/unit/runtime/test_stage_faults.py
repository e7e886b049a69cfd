# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on this side of staging, foreseen or not: it ends with its cause, and never in silence."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import group_file
import pytest
import stage_fetch
import stage_model
import stage_partial
from group_file import ModelFile
from pod_progress import Board, Failure
from stage_partial import Part, Wanted, part_name

from tests.unit.runtime.pods import until
from tests.unit.runtime.source_server import INDEX, SECRET, SourceServer, md5
from tests.unit.runtime.staged import Document, check, run

pytestmark = pytest.mark.usefixtures("quick_staging")


@pytest.mark.parametrize(("owner", "method"), [(stage_partial.Part, "wrote"), (stage_model.Stager, "_check_disk")])
def test_a_fault_of_the_programs_ends_it_by_kind_and_place(
    group_document: Document,
    source: SourceServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(owner, method, broken)
    with pytest.raises(Failure, match=r"ZeroDivisionError in broken \(test_stage_faults.py:\d+\)") as caught:
        run(group_document, 0, tmp_path)
    assert SECRET not in caught.value.cause and not caught.value.lasting


@pytest.mark.parametrize(
    "text", ["7", "[]", '{"files": []}', '{"files": {"config.json": 3}}', '{"files": {"config.json": {"size": 39}}}']
)
def test_a_record_of_another_shape_is_none(
    group_document: Document, source: SourceServer, tmp_path: Path, text: str
) -> None:
    (tmp_path / "model" / ".multinode").mkdir(parents=True)
    (tmp_path / "model" / ".multinode" / "complete.json").write_text(text)
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


@pytest.mark.parametrize("name", ["../victim", "/victim", "a/../../victim"])
def test_a_record_that_names_a_file_outside_deletes_nothing(
    group_document: Document, source: SourceServer, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "model" / ".multinode").mkdir(parents=True)
    entry = {"size": 4, "modified": 0, "md5": None, "sha256": None}
    name = str(victim) if name.startswith("/") else name
    (tmp_path / "model" / ".multinode" / "complete.json").write_text(json.dumps({"files": {name: entry}}))
    run(group_document, 0, tmp_path)
    assert victim.read_text() == "mine"
    check(tmp_path, source.files, 0)


def test_a_torn_end_of_a_journal_costs_its_line_alone(tmp_path: Path) -> None:
    wanted = Wanted(ModelFile("a.bin", 100, None, None), 100, tmp_path / "a.bin")
    part = Part(wanted, tmp_path)
    part.wrote(0, 10)
    part.commit()
    with part.journal.open("a") as stream:
        stream.write("10 2")
    for start in (20, 30):
        part = Part(wanted, tmp_path)
        part.wrote(start, start + 10)
        part.commit()
    assert Part(wanted, tmp_path).held == 30


def test_no_two_files_share_what_is_kept_on_the_way() -> None:
    names = ["a/b", "a%2Fb", "a%252Fb", "a%25/b"]
    assert len({part_name(name) for name in names}) == len(names)
    assert not any("/" in part_name(name) for name in names)


@pytest.mark.parametrize("text", ["7\n0 39\n", "[]\n0 39\n", '{"etag": 3}\n0 39\n'])
def test_a_journal_of_another_shape_is_none(
    group_document: Document, source: SourceServer, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "model" / ".multinode" / "parts"
    folder.mkdir(parents=True)
    (folder / "config.json.journal").write_text(text)
    (folder / "config.json.part").write_bytes(bytes(39))
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"layer": {}}}', "\xff"])
def test_an_index_of_another_shape_is_told(
    group_document: Document, source: SourceServer, tmp_path: Path, text: str
) -> None:
    data = source.files[INDEX] = text.encode("latin-1")
    (entry,) = [entry for entry in group_document["staging"]["files"] if entry["name"] == INDEX]
    entry |= {"size": len(data), "md5": md5(data)}
    with pytest.raises(Failure, match=f"{INDEX} is no index of safetensors") as caught:
        run(group_document, 0, tmp_path)
    assert caught.value.lasting


def test_checking_counts_as_progress(
    group_document: Document,
    source: SourceServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    real = hashlib.md5

    class SlowDigest:
        name = "md5"

        def __init__(self, **_: Any) -> None:
            self._digest = real(usedforsecurity=False)
            self.hexdigest = self._digest.hexdigest

        def update(self, block: bytes) -> None:
            time.sleep(0.1)
            self._digest.update(block)

    monkeypatch.setattr(hashlib, "md5", SlowDigest)
    monkeypatch.setattr(stage_partial, "VERIFY_BLOCK_BYTES", 10_000)
    monkeypatch.setattr(stage_fetch, "PATIENCE_SECONDS", 2.0)
    run(group_document, 0, tmp_path)
    check(tmp_path, source.files, 0)
    assert '"step":"checking"' in capfd.readouterr().out


@pytest.mark.parametrize("call", ["fdatasync", "pwrite", "fsync"])
def test_a_file_system_that_hangs_is_told_and_not_waited_for(
    group_document: Document, source: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    answered = threading.Event()
    real = getattr(os, call)

    def hang(*arguments: Any) -> Any:
        if threading.current_thread().name.startswith("stream"):
            answered.wait()
        return real(*arguments)

    monkeypatch.setattr(os, call, hang)
    monkeypatch.setattr(stage_partial, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(stage_fetch, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(stage_fetch, "SILENCE_SECONDS", 3.0)
    path = tmp_path / "group.json"
    path.write_text(json.dumps(group_document))
    board, failures = Board(), []

    def stage_zero() -> None:
        try:
            stage_model.Stager(group_file.load(path).staging, board).run(0)
        except Failure as failure:
            failures.append(failure)

    staging = threading.Thread(target=stage_zero, daemon=True)
    staging.start()
    try:
        words = "nothing could be written or checked for 1 s: the file system of "
        until(lambda: (board.entries().get("staging", {}).get("cause") or "").startswith(words), 5, "told")
        assert board.entries()["staging"]["state"] == "ended"
        assert staging.is_alive(), "it was told before the streams were waited for"
        staging.join(8)
        assert not staging.is_alive() and failures[0].cause.startswith(words)
    finally:
        answered.set()
        staging.join(8)
