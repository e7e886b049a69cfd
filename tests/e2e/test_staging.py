# SPDX-License-Identifier: GPL-3.0-or-later
"""The staging program alone against the cloud's Object Storage: killed, cut, slow, corrupt; every byte as at the source."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rig import samples
from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig, Tenancy

PROGRAM = REPOSITORY / "roles" / "raycluster" / "files" / "stage_model.py"
PREFIX = "org/staged/"
MEMORY_BYTES = 300 << 20
LARGE_BYTES = 512 << 20
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


def sha256(data: bytes) -> str:
    """The digest by which files are compared: where they differ it is shorter to show than megabytes."""
    return hashlib.sha256(data).hexdigest()


class Staging:
    """Files in a bucket, and the program that brings them into a folder."""

    def __init__(self, rig: RunningRig, tenancy: Tenancy, folder: Path) -> None:
        self.rig, self.tenancy, self.folder = rig, tenancy, folder
        self.root = folder / "model"
        self.files: dict[str, bytes] = {}
        self.objects = rig.directory / "objects" / tenancy.json["namespace"] / tenancy.json["bucket"]
        """Where the rig keeps the contents of the bucket."""
        self._client = samples.object_storage(tenancy.json, rig.configuration)
        (folder / "par").write_text(samples.make_par(tenancy.json, rig.configuration))

    def put(self, name: str, data: bytes) -> None:
        """Put a file into the bucket."""
        self.files[name] = data
        self._client.put_object(self.tenancy.json["namespace"], self.tenancy.json["bucket"], PREFIX + name, data)

    def start(self, stage: int | None = None) -> subprocess.Popen[str]:
        """Start the program for all that the bucket has, or for a stage: one for each shard."""
        place = self.tenancy.json["namespace"], self.tenancy.json["bucket"]
        listed = self._client.list_objects(*place, prefix=PREFIX, fields="name,size,md5").data.objects
        document = {
            "schema": 1,
            "deployment": "staged",
            "tensor": 1,
            "pipeline": len(SHARDS),
            "model": {"path": str(self.root), "served_names": ["staged"]},
            "image": {},
            "engine": {"args": [], "optional": [], "port": 8000, "tls": False},
            "ports": {},
            "restart": {"limit": 0, "window_minutes": 1},
            "staging": {
                "source": "par",
                "url_file": str(self.folder / "par"),
                "prefix": PREFIX,
                "root": str(self.root),
                "files": [
                    {"name": entry.name.removeprefix(PREFIX), "size": entry.size, "md5": entry.md5} for entry in listed
                ],
                "by_stage": stage is not None,
                "shards_per_stage": [[name] for name in SHARDS],
                "layers_per_stage": [],
                "streams": 8,
            },
        }
        group = self.folder / "group.json"
        group.write_text(json.dumps(document))
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), "--group", str(group), "--stage", str(stage or 0)],
            env={"PATH": "/usr/bin:/bin", "MULTINODE_TERMINATION_LOG": str(self.folder / "termination")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, stage: int | None = None) -> dict[str, Any]:
        """Run the program to its end: its last progress line."""
        output, _ = self.start(stage).communicate(timeout=300)
        assert "Traceback" not in output, output
        lines = [line for line in output.splitlines() if line.startswith("multinode ")]
        return dict(json.loads(lines[-1].removeprefix("multinode ")))

    def check(self) -> None:
        """See that every file is there, and every byte."""
        for name, data in self.files.items():
            assert sha256((self.root / name).read_bytes()) == sha256(data), name

    def suffer(self, **do: Any) -> None:
        """Have the reads of the weights suffer from now on."""
        match = {"tenancy": self.tenancy.compartment_id, "operation": "GetObject", "resource": "*.safetensors"}
        self.rig.steer("POST", "/scenarios", {"match": match, "do": do})

    def heal(self) -> None:
        """No more faults."""
        self.rig.steer("DELETE", f"/scenarios?tenancy={self.tenancy.compartment_id}")

    def sent(self) -> int:
        """How many bytes the cloud has sent."""
        calls = self.rig.steer("GET", f"/calls?tenancy={self.tenancy.compartment_id}&operation=GetObject")
        return sum(call.get("bytes") or 0 for call in calls)


@pytest.fixture
def staging(rig: RunningRig, tenancy: Tenancy, tmp_path: Path) -> Staging:
    """Three shards and a config."""
    found = Staging(rig, tenancy, tmp_path)
    chance = random.Random(6)
    for number, name in enumerate(SHARDS):
        found.put(name, chance.randbytes(2_000_000 + number))
    found.put("config.json", b"{}")
    return found


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_in_the_middle_every_byte_comes_and_little_twice(staging: Staging, kills: int) -> None:
    size = sum(map(len, staging.files.values()))
    # So slow that it takes longer than what the kills leave of it.
    staging.suffer(rate_bytes_per_s=size / 60)
    chance = random.Random(kills)
    for _ in range(kills):
        process = staging.start()
        time.sleep(0.3 + 2.5 * chance.random())
        process.kill()
        process.communicate()
        assert process.returncode == -9
    staging.heal()
    last = staging.run()
    assert (last["state"], last["done"]) == ("done", size)
    staging.check()
    assert last["fetched"] < size
    assert not list((staging.root / ".multinode" / "parts").iterdir())
    print(f"{kills} kills: {staging.sent()} bytes sent for {size}")


def test_a_node_fetches_its_stage_and_not_the_full_set(staging: Staging) -> None:
    whole = sum(map(len, staging.files.values()))
    for stage, shard in enumerate(SHARDS):
        own = {name: data for name, data in staging.files.items() if name == shard or name not in SHARDS}
        size, before = sum(map(len, own.values())), staging.sent()
        last = staging.run(stage)
        assert (last["state"], last["done"], last["fetched"]) == ("done", size, size)
        assert staging.sent() - before == size
        held = {path.name: path.read_bytes() for path in staging.root.iterdir() if path.is_file()}
        assert {name: sha256(data) for name, data in held.items()} == {name: sha256(data) for name, data in own.items()}
        print(f"stage {stage}: {size} bytes fetched, the full set has {whole}")
        subprocess.run(["rm", "-r", str(staging.root)], check=True)


def test_cut_at_ten_points_no_byte_is_lost(staging: Staging) -> None:
    size = len(staging.files[SHARDS[0]])
    for point in range(10):
        # Three reads of each run are cut there; the later ones go on from where they were.
        staging.suffer(cut_bytes=point * size // 10, times=3)
        last = staging.run()
        assert last["state"] == "done", last
        staging.check()
        subprocess.run(["rm", "-r", str(staging.root)], check=True)
        staging.heal()


@pytest.mark.soak
def test_a_slow_source_is_waited_for(staging: Staging) -> None:
    size = sum(map(len, staging.files.values()))
    staging.suffer(rate_bytes_per_s=size / 60)
    last = staging.run()
    assert (last["state"], last["done"], last["fetched"]) == ("done", size, size)
    staging.check()


def test_a_file_that_is_not_what_its_digest_says_ends_it(staging: Staging) -> None:
    name = SHARDS[1]
    (stored,) = [path for path in staging.objects.iterdir() if path.read_bytes() == staging.files[name]]
    stored.write_bytes(bytes(len(staging.files[name])))
    last = staging.run()
    assert last["state"] == "failed"
    assert f"{name} is corrupt: fetched twice, md5" in last["cause"]
    assert not (staging.root / name).exists()
    message = (staging.folder / "termination").read_text()
    assert message.startswith("multinode {") and "is corrupt" in message


def test_memory_stays_small_whatever_a_file_weighs(staging: Staging) -> None:
    place = f"{staging.tenancy.json['namespace']}/{staging.tenancy.json['bucket']}"
    url = f"{staging.rig.control}/objects/{place}/{quote(PREFIX)}large.safetensors?size={LARGE_BYTES}"
    urllib.request.urlopen(urllib.request.Request(url, data=b"header", method="PUT"), timeout=60).close()
    last = staging.run()
    assert (last["state"], last["done"]) == ("done", LARGE_BYTES + sum(map(len, staging.files.values())))
    # Of all children of this process: the largest there ever was.
    taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"at most {taken / 1e6:.0f} MB of memory for a file of {LARGE_BYTES / 1e6:.0f} MB")
    assert taken < MEMORY_BYTES
