# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig comes up beside another one, and whatever becomes of it, `down` leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import processes
from rig.configuration import REPOSITORY, Rig, rig_name
from rig.control_plane.network import mounts_below

START_SECONDS = 120
POD_IMAGE = "docker.io/rayproject/ray-llm:2.58.0-py311-cu128"


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Path]:
    """The folder of another rig; what is left of it when the test ends is ended, and fails the test."""
    directory = tmp_path / "rig"
    before = _machine(directory)
    yield directory
    result = _rig("down", directory)
    assert result.returncode == 0, result.stdout + result.stderr
    assert _new(before, _machine(directory), rig_name(directory)) == set()
    assert not directory.exists() or list(directory.iterdir()) == []


def _rig(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rig", command],
        cwd=REPOSITORY,
        env=os.environ | {"RIG_DIR": str(directory)} | environment,
        capture_output=True,
        text=True,
        timeout=2 * START_SECONDS,
        check=False,
    )


def _machine(directory: Path) -> set[str]:
    """What a rig could leave on the machine: processes, network namespaces, interfaces and mounts."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    namespaces = Path("/run/netns")
    found = {f"interface {link['ifname']}" for link in links}
    found |= {f"namespace {path.name}" for path in (namespaces.iterdir() if namespaces.is_dir() else ())}
    found |= {f"folder {path}" for path in Path("/etc/netns").glob("*")}
    found |= {f"mount {point}" for point in mounts_below(directory)}
    found |= {f"process {process.pid} {process.name}" for process in processes.members(directory)}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile
                continue
            if any(str(directory).encode() in word for word in words):
                found.add(f"process {entry.name} {words[0].decode()}")
    return found


def _new(before: set[str], after: set[str], name: str) -> set[str]:
    """What came meanwhile, save what bears another rig's name (other tests may be at work)."""

    def of_another_rig(thing: str) -> bool:
        last = thing.split()[-1].rpartition("/")[2]
        return last.startswith("mi") and last[3:9] != name

    return {thing for thing in after - before if not of_another_rig(thing)}


def test_a_second_rig_beside_the_first(rig, second: Path) -> None:
    up = _rig("up", second)
    assert up.returncode == 0, up.stdout + up.stderr
    mine, other = Rig.load(second), rig.configuration
    assert mine.name != other.name
    assert mine.network.subnet != other.network.subnet or not mine.root
    assert {mine.kubernetes.url, mine.oci.endpoint, mine.oci.control}.isdisjoint(
        {other.kubernetes.url, other.oci.endpoint, other.oci.control}
    )
    for part in ("etcd", "kube-apiserver", "oci", "cloud_controller"):
        assert f"{part}" in up.stdout

    again = _rig("up", second)
    assert (again.returncode, "is up since" in again.stdout) == (0, True), again.stdout + again.stderr
    status = _rig("status", second)
    assert status.returncode == 0, status.stdout + status.stderr

    down = _rig("down", second)
    assert down.returncode == 0, down.stdout + down.stderr
    assert rig.kubectl("get", "--raw", "/readyz") == "ok"
    assert "no rig there" in _rig("down", second).stdout


def test_killed_parts_are_seen_and_down_still_leaves_nothing(second: Path) -> None:
    assert _rig("up", second).returncode == 0
    if Rig.load(second).root:
        _run_pod(second)
    killed = [process for process in processes.recorded(second) if process.name in {"nodes", "kube-apiserver"}]
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    status = _rig("status", second)
    assert status.returncode == 1
    ended = {line.split()[0] for line in status.stdout.splitlines() if "ENDED" in line}
    assert ended >= {process.name for process in killed}
    up = _rig("up", second)
    assert up.returncode == 1
    assert "kube-apiserver" in up.stderr and "down" in up.stderr


def _run_pod(directory: Path) -> None:
    """Run a pod whose processes would stay, did nobody end them."""
    container = {"name": "main", "image": POD_IMAGE, "command": ["sh", "-c", f"sleep 3600; echo {directory}"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stays"}, "spec": {"containers": [container]}}
    kubectl = [directory / "bin" / "kubectl", "--kubeconfig", Rig.load(directory).kubernetes.kubeconfig]
    subprocess.run([*kubectl, "create", "-f", "-"], input=json.dumps(pod), text=True, check=True)
    subprocess.run([*kubectl, "wait", "--for=condition=Ready", "pod/stays", "--timeout=60s"], check=True)


def test_killed_while_it_starts_then_started_again_then_its_folder_removed(second: Path) -> None:
    command = [sys.executable, "-m", "rig", "up"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"RIG_DIR": str(second)}, stdout=subprocess.DEVNULL
    ) as up:
        deadline = time.monotonic() + START_SECONDS
        while not (second / "processes" / "kwok.json").exists():
            assert up.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        up.kill()
    left = processes.members(second)
    assert left
    again = _rig("up", second)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {process.pid for process in left}.isdisjoint({process.pid for process in processes.members(second)})
    shutil.rmtree(second)
    assert "nothing is left" in _rig("down", second).stdout


def test_a_part_that_dies_at_the_start_is_shown_and_all_is_ended(second: Path, tmp_path: Path) -> None:
    etcd = tmp_path / "assets" / "etcd"
    etcd.parent.mkdir()
    etcd.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "etcd Version: 3.6.1" && exit\necho no disk today\nexit 3\n'
    )
    etcd.chmod(0o755)
    up = _rig("up", second, KUBEBUILDER_ASSETS=str(etcd.parent))
    assert up.returncode == 1
    assert "no disk today" in up.stdout
    assert "etcd" in up.stderr
    assert processes.members(second) == []
    assert (second / "logs" / "etcd.log").exists()


def test_a_folder_that_is_no_rigs_is_left_alone(second: Path) -> None:
    second.mkdir()
    (second / "thesis.tex").touch()
    up = _rig("up", second)
    assert (up.returncode, "not empty" in up.stderr) == (1, True)
    assert _rig("down", second).returncode == 0
    assert (second / "thesis.tex").exists()
    (second / "thesis.tex").unlink()
