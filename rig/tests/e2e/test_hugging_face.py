# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the Hugging Face Hub, as the Hub's own client huggingface_hub finds it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.fixtures import RunningRig
from rig.hugging_face import Hub, Repository

TOKEN = "hf_of_the_contract"
SMALL, LARGE = b'{"a": 1}', bytes(range(256)) * 100
PROGRAM = """
import sys
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
api = HfApi(token=False)
info = api.model_info("org/open", files_metadata=True)
files = {entry.rfilename: entry for entry in info.siblings}
assert info.sha == sys.argv[1], info.sha
assert files["config.json"].size == 8 and files["config.json"].lfs is None
assert files["deep/model.safetensors"].lfs.sha256 == sys.argv[2]
for revision in ("main", info.sha):
    for name in files:
        path = hf_hub_download("org/open", name, revision=revision, token=False, force_download=True)
        print(name, open(path, "rb").read().hex())
def refused(kind, repository, token, revision="main"):
    try:
        hf_hub_download(repository, "config.json", token=token, revision=revision)
    except kind:
        return
    raise AssertionError(f"{repository} was not refused with {kind.__name__}")
refused(GatedRepoError, "org/gated", False)
refused(GatedRepoError, "org/gated", "hf_other")
refused(RepositoryNotFoundError, "org/none", False)
refused(RevisionNotFoundError, "org/open", False, "v9")
assert api.model_info("org/gated").gated == "manual"
hf_hub_download("org/gated", "config.json", token="hf_of_the_contract")
"""


@pytest.fixture
def hub(rig: RunningRig) -> Iterator[Hub]:
    hub = Hub(rig.configuration)
    hub.tokens = {TOKEN, "hf_other"}
    hub.repositories = {"org/open": Repository(), "org/gated": Repository(gated=True, readers={TOKEN})}
    for repository in hub.repositories.values():
        repository.commit({"config.json": SMALL, "deep/model.safetensors": LARGE})
    with hub.running():
        yield hub


def test_its_own_client_reads_from_it(hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories["org/open"].branches["main"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "SSL_CERT_FILE": str(hub.authority),
        "HF_HUB_DISABLE_XET": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, commit, hashlib.sha256(LARGE).hexdigest()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    read = dict(line.split() for line in ended.stdout.splitlines() if " " in line)
    assert read == {"config.json": SMALL.hex(), "deep/model.safetensors": LARGE.hex()}
    assert any(request.store for request in hub.requests), "large files come from elsewhere"
    assert not any(request.token for request in hub.requests if request.store)
