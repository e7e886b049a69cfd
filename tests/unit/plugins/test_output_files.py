# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that settings name are written whole, for their owner alone, and through no link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.plugin_utils.output_files import write_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_its_owners_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert write_file("result_file", str(path), "a") and mode(path) == 0o600
    path.chmod(0o644)
    assert not write_file("result_file", str(path), "a")
    assert mode(path) == 0o600, "the same text in a file that others read"
    assert write_file("result_file", str(path), "b") and path.read_text() == "b"
    assert write_file("html_file", str(tmp_path / "page"), "p", 0o644) and mode(tmp_path / "page") == 0o644
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["page", "result.json"]


def test_who_reads_meanwhile_has_the_old_text_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_file("result_file", str(path), "old")
    with path.open() as reader:
        write_file("result_file", str(path), "new")
        assert reader.read() == "old"


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_nothing_is_written_through_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path, theirs = tmp_path / "result.json", tmp_path / "theirs"
    if kind == "link":
        theirs.write_text("kept")
    if kind in ("link", "dangling"):
        path.symlink_to(theirs)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(Refused) as refused:
        write_file("result_file", str(path), "x")
    assert refused.value.faults[0].code == "result_file"
    assert theirs.exists() == (kind == "link") and (kind != "link" or theirs.read_text() == "kept")
    with pytest.raises(Refused):
        write_file("result_file", str(tmp_path / "no" / "folder"), "x")
