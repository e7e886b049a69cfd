# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that vLLM serves with where TLS ends in the pod: it follows the Secret, whose files the kubelet replaces."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import engine_certificate
import pytest
from engine_certificate import Certificate

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.endpoint import TLS_FOLDER
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates

NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, str]]:
    return [certificates.new_authority(name, NOW) for name in ("one", "two", "three")]


class Mount:
    """A mounted Secret: the files of an entry are links through `..data`, which the kubelet leads to another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def hold(self, **data: str) -> None:
        self._number += 1
        held = self.folder / f"..{self._number}"
        held.mkdir()
        for name, text in data.items():
            (held / f"tls.{name}").write_text(text)
        (self.folder / "..new").symlink_to(held.name)
        os.replace(self.folder / "..new", self.folder / "..data")


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    folder = tmp_path / "tls"
    folder.mkdir()
    monkeypatch.setattr(engine_certificate, "FOLDER", folder)
    return Mount(folder)


def arguments(tmp_path: Path) -> tuple[str, ...]:
    served = tmp_path / "served"
    return ("--port", "8000", "--ssl-certfile", f"{served}/tls.crt", "--ssl-keyfile", f"{served}/tls.key")


def test_each_change_is_written_into_the_files_that_vllm_watches(
    mount: Mount, tmp_path: Path, pairs: list[dict[str, str]]
) -> None:
    certificate, served = Certificate(arguments(tmp_path)), tmp_path / "served"
    inodes = set()
    for pair in pairs:
        mount.hold(crt=pair["tls.crt"], key=pair["tls.key"])
        certificate.bring()
        for name in ("tls.crt", "tls.key"):
            assert (served / name).read_text() == pair[name]
            inodes.add((served / name).stat().st_ino)
    assert len(inodes) == 2, "the same two files: vLLM sees no other"
    assert (served / "tls.key").stat().st_mode & 0o777 == 0o600
    before = (served / "tls.key").stat().st_mtime_ns
    certificate.bring()
    assert (served / "tls.key").stat().st_mtime_ns == before, "nothing is written where nothing changed"


@pytest.mark.parametrize("key", ["nonsense", ""])
def test_a_pair_that_cannot_be_used_is_told_once_and_the_former_stays(
    mount: Mount, tmp_path: Path, pairs: list[dict[str, str]], key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, served = Certificate(arguments(tmp_path)), tmp_path / "served"
    mount.hold(crt=pairs[0]["tls.crt"], key=pairs[0]["tls.key"])
    certificate.bring()
    for bad in (key, pairs[1]["tls.key"]):
        mount.hold(crt=pairs[2]["tls.crt"], key=bad)
        capfd.readouterr()
        certificate.bring()
        certificate.bring()
        said = capfd.readouterr().out
        assert said.count("cannot be used, the former one stays") == 1 and "PRIVATE" not in said
        assert (served / "tls.crt").read_text() == pairs[0]["tls.crt"]
    mount.hold(crt=pairs[2]["tls.crt"], key=pairs[2]["tls.key"])
    certificate.bring()
    assert (served / "tls.crt").read_text() == pairs[2]["tls.crt"]


def test_a_key_with_a_pass_phrase_does_not_wait_for_one(
    mount: Mount, tmp_path: Path, pairs: list[dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pairs[0]["tls.key"].encode(), password=None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"phrase"),
    ).decode()
    mount.hold(crt=pairs[0]["tls.crt"], key=sealed)
    Certificate(arguments(tmp_path)).bring()
    assert "cannot be used" in capfd.readouterr().out and not (tmp_path / "served").exists()


def test_without_tls_nothing_is_written(mount: Mount, tmp_path: Path, pairs: list[dict[str, str]]) -> None:
    mount.hold(crt=pairs[0]["tls.crt"], key=pairs[0]["tls.key"])
    Certificate(("--port", "8000")).bring()
    assert not (tmp_path / "served").exists()


def test_a_secret_that_is_not_there_yet_is_waited_for(mount: Mount, tmp_path: Path) -> None:
    Certificate(arguments(tmp_path)).bring()
    assert not (tmp_path / "served").exists()


def test_the_folder_is_where_the_plan_mounts_it() -> None:
    assert str(Path("/run/secrets/multinode/tls")) == TLS_FOLDER
