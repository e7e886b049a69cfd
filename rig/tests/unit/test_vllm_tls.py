# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's TLS: as vLLM, it sees files that are written in place each time, and files that are replaced once."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from rig.configuration import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "rig" / "images" / "vllm-ray" / "lib"))

# Found on the path since the line above.
from vllm import tls

NAMES = ("tls.crt", "tls.key")


class Context:
    """An ssl.SSLContext as far as the refresher goes: what it has loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load_cert_chain(self, certificate: str, key: str) -> None:
        text = Path(certificate).read_text()
        if text == "bad":
            raise ssl.SSLError("no start line")
        self.loaded.append(text)


def seen(folder: Path, change: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.01)
    for name in NAMES:
        (folder / name).write_text("first")
    context = Context()

    async def run() -> None:
        task = asyncio.create_task(tls.refresh(context, *(str(folder / name) for name in NAMES)))  # type: ignore[arg-type]
        for text in texts:
            await asyncio.sleep(0.1)
            for name in NAMES:
                change(folder / name, text)
        await asyncio.sleep(0.1)
        task.cancel()

    asyncio.run(run())
    return list(dict.fromkeys(context.loaded))


def replace(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_written_in_place_each_change_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(tmp_path, Path.write_text, ["a", "bad", "b"], monkeypatch)[-2:] == ["a", "b"]


def test_of_replaced_files_the_first_change_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(tmp_path, replace, ["a", "b"], monkeypatch) == ["a"]


def test_the_context_has_the_pair(tmp_path: Path) -> None:
    own = certificates.new_authority("x", datetime.datetime.now(datetime.timezone.utc))
    for name in NAMES:
        (tmp_path / name).write_text(own[name])

    class Options:
        ssl_certfile, ssl_keyfile = (str(tmp_path / name) for name in NAMES)

    assert isinstance(tls.context_of(Options), ssl.SSLContext)
    Options.ssl_certfile = ""
    assert tls.context_of(Options) is None
