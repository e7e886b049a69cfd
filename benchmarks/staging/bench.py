# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging beside curl, aria2 and rclone: the same files through the same pre-authenticated request, in one run.

Each tool is used as one would for this: curl with a connection per file, aria2 and rclone with several. All write to the same disk,
and the time counts until the files are on it (`sync`), since staging promises that. Staging checks the MD5 of each file, as aria2 does
where it is told them; on loopback that is most of the work, so a second line of each is without, like curl and rclone.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import samples
from rig.configuration import REPOSITORY, Rig, rig_directory

FILES, FILE_BYTES = 6, 96 << 20
STREAMS = 8
ROUNDS = 5
PREFIX = "bench/model/"

Command = Callable[[Path], list[str]]


def main() -> None:
    directory = rig_directory()
    was_up = (directory / "env").exists()
    _run([sys.executable, "-m", "rig", "up"])
    try:
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            _measure(Rig.load(directory), Path(folder))
    finally:
        if not was_up:
            _run([sys.executable, "-m", "rig", "down"])


def _measure(rig: Rig, folder: Path) -> None:
    request = urllib.request.Request(f"{rig.oci.control}/tenancies", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        tenancy = json.loads(answer.read())
    files = _put_files(tenancy, rig)
    url = samples.make_par(tenancy, rig)
    tools = _tools(folder, url, files)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    for _ in range(ROUNDS):
        for name, command in tools.items():
            times[name].append(_timed(command, folder / "target", files))
    best = {name: min(seconds for seconds, _ in taken) for name, taken in times.items()}
    total = sum(entry["size"] for entry in files)
    print(
        f"{FILES} files, {total / 1e6:.0f} MB, best of {ROUNDS} (ratio: time of the tool / time of staging, likewise checked)"
    )
    print(f"{'':<19} {'seconds':>8} {'MB/s':>7} {'CPU s':>7} {'ratio':>7}")
    for name, taken in times.items():
        processor = statistics.median(used for _, used in taken)
        ratio = best[name] / best["staging" if name in ("staging", "aria2") else "staging, unchecked"]
        print(f"{name:<19} {best[name]:8.2f} {total / best[name] / 1e6:7.0f} {processor:7.2f} {ratio:7.2f}")


def _put_files(tenancy: dict[str, Any], rig: Rig) -> list[dict[str, Any]]:
    client = samples.object_storage(tenancy, rig)
    names = [f"model-{number:05}-of-{FILES:05}.safetensors" for number in range(1, FILES + 1)]
    for name in names:
        client.put_object(tenancy["namespace"], tenancy["bucket"], PREFIX + name, os.urandom(FILE_BYTES))
    listed = client.list_objects(tenancy["namespace"], tenancy["bucket"], prefix=PREFIX, fields="name,size,md5").data
    return [{"name": entry.name.removeprefix(PREFIX), "size": entry.size, "md5": entry.md5} for entry in listed.objects]


def _tools(folder: Path, url: str, files: list[dict[str, Any]]) -> dict[str, Command]:
    (folder / "par").write_text(url)
    checked, unchecked = folder / "checked.json", folder / "unchecked.json"
    checked.write_text(json.dumps(_group(folder, files)))
    unchecked.write_text(json.dumps(_group(folder, [{**entry, "md5": None} for entry in files])))
    stage = [sys.executable, str(REPOSITORY / "roles/raycluster/files/stage_model.py"), "--group"]
    names = folder / "names"
    names.write_text("".join(f"{entry['name']}\n" for entry in files))
    base = url + PREFIX
    listing, digests = folder / "aria2", folder / "aria2-checked"
    lines = [f"{base}{entry['name']}\n out={entry['name']}\n" for entry in files]
    listing.write_text("".join(lines))
    digests.write_text(
        "".join(
            line + f" checksum=md5={_hexadecimal(entry['md5'])}\n" for line, entry in zip(lines, files, strict=True)
        )
    )
    aria2 = [
        "aria2c",
        "--quiet",
        f"--max-concurrent-downloads={STREAMS // 4}",
        "--split=4",
        "--max-connection-per-server=4",
    ]
    aria2 += ["--min-split-size=16M", "--file-allocation=falloc"]
    tools: dict[str, Command] = {
        "staging": lambda target: [*stage, str(checked)],
        "aria2": lambda target: [*aria2, f"--dir={target}", f"--input-file={digests}"],
        "staging, unchecked": lambda target: [*stage, str(unchecked)],
        "aria2, unchecked": lambda target: [*aria2, f"--dir={target}", f"--input-file={listing}"],
        "curl": lambda target: [
            "curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", str(STREAMS),
            *(word for entry in files for word in (base + entry["name"], "--output", str(target / entry["name"]))),
        ],
        "rclone": lambda target: [
            "rclone", "copy", ":http:", str(target), "--http-url", base, "--no-traverse", "--files-from-raw", str(names),
            "--transfers", str(STREAMS // 4), "--multi-thread-streams", "4", "--multi-thread-cutoff", "16M",
            "--config", "/dev/null",
        ],
    }  # fmt: skip
    missing = {name for name in tools if shutil.which(tools[name](folder)[0]) is None}
    if missing:
        print(f"left out, not on PATH: {', '.join(sorted(missing))} (apt packages curl, aria2, rclone)")
    return {name: command for name, command in tools.items() if name not in missing}


def _hexadecimal(digest: str) -> str:
    return base64.b64decode(digest).hex()


def _group(folder: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return group.json with all that the staging program reads."""
    return {
        "schema": 1,
        "deployment": "bench",
        "tensor": 1,
        "pipeline": 1,
        "model": {"path": str(folder / "target"), "served_names": ["bench"]},
        "staging": {
            "source": "par",
            "url_file": str(folder / "par"),
            "prefix": PREFIX,
            "root": str(folder / "target"),
            "files": files,
            "by_stage": False,
            "shards_per_stage": [],
            "layers_per_stage": [],
            "streams": STREAMS,
        },
        "image": {},
        "engine": {"args": [], "optional": [], "port": 8000, "tls": False},
        "ports": {},
        "restart": {"limit": 0, "window_minutes": 1},
    }


def _timed(command: Command, target: Path, files: list[dict[str, Any]]) -> tuple[float, float]:
    """Run a tool into an empty folder: seconds until all is on the disk, and seconds of CPU."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    os.sync()
    before = _processor()
    began = time.monotonic()
    _run(command(target))
    os.sync()
    seconds = time.monotonic() - began
    for entry in files:
        size = (target / entry["name"]).stat().st_size
        if size != entry["size"]:
            raise SystemExit(f"{entry['name']}: {size} bytes, expected {entry['size']}")
    return seconds, _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
