# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs, volumes' files and DNS of process nodes, without a cluster."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from rig.nodes import dns, logs, payload, volumes

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def log(tmp_path: Path) -> logs.ContainerLog:
    return logs.ContainerLog(tmp_path / "ray" / "0.log")


def read(log: logs.ContainerLog, **query: str) -> str:
    async def collect() -> bytes:
        options = logs.Options.from_query(query, datetime.datetime.now(datetime.timezone.utc))
        return b"".join([part async for part in logs.read(log, options)])

    return asyncio.run(collect()).decode()


def test_a_log_is_read_line_by_line(log: logs.ContainerLog) -> None:
    log.write(b"one\ntwo\nthr")
    assert read(log) == "one\ntwo\n"
    log.write(b"ee\nfour")
    assert read(log, tailLines="1") == "three\n"
    log.close()
    assert read(log) == "one\ntwo\nthree\nfour\n"
    assert read(log, tailLines="0") == ""
    assert read(log, limitBytes="5") == "one\nt"
    assert read(log, sinceSeconds="60", tailLines="1") == "four\n"
    assert read(log, sinceTime="2100-01-01T00:00:00Z") == ""


def test_timestamps_stand_before_each_line(log: logs.ContainerLog) -> None:
    log.write(b"one\n")
    time, line = read(log, timestamps="true").split(" ")
    assert line == "one\n"
    assert datetime.datetime.strptime(time[:26], "%Y-%m-%dT%H:%M:%S.%f").year >= 2024


def test_a_long_line_is_one_line(log: logs.ContainerLog) -> None:
    long = b"x" * 40_000
    log.write(b"first\n" + long[:20_000])
    log.write(long[20_000:] + b"\nlast\n")
    assert read(log, tailLines="2") == long.decode() + "\nlast\n"
    assert read(log, tailLines="2", timestamps="true").count("Z ") == 2


def test_following_ends_with_the_container(log: logs.ContainerLog) -> None:
    async def follow() -> bytes:
        async def write() -> None:
            for number in range(3):
                log.write(b"line %d\n" % number)
                await asyncio.sleep(0.01)
            log.close()

        writing = asyncio.create_task(write())
        found = b"".join([part async for part in logs.read(log, logs.Options(follow=True))])
        await writing
        return found

    assert asyncio.run(asyncio.wait_for(follow(), 5)) == b"line 0\nline 1\nline 2\n"


def test_options_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        logs.Options.from_query({"tailLines": "many"}, NOW)


def files(**contents: str) -> dict[str, payload.File]:
    return {name: payload.File(text.encode(), 0o640) for name, text in contents.items()}


def test_files_are_swapped_all_at_once(tmp_path: Path) -> None:
    payload.write(tmp_path, files(par="old", other="x"), None)
    first = (tmp_path / "..data").readlink()
    held = (tmp_path / "par").open()
    payload.write(tmp_path, files(par="old", other="x"), None)
    assert (tmp_path / "..data").readlink() == first
    payload.write(tmp_path, files(par="new"), None)
    assert (tmp_path / "par").read_text() == "new"
    assert held.read() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..2")) == ["..data", "par"]
    assert stat.S_IMODE((tmp_path / "par").stat().st_mode) == 0o640


def test_items_choose_keys_and_paths() -> None:
    contents = {"a": b"1", "b": b"2"}
    fields = {"items": [{"key": "a", "path": "deep/a.txt", "mode": 0o400}]}
    assert payload.choose(contents, fields, 0o644, "secret") == {"deep/a.txt": payload.File(b"1", 0o400)}
    with pytest.raises(payload.MountError, match="references non-existent secret key: c"):
        payload.choose(contents, {"items": [{"key": "c", "path": "c"}]}, 0o644, "secret")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes groups of files")
def test_fs_group_is_given_to_all_that_a_volume_holds(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder" / "file").touch(mode=0o600)
    volumes.give_to_group(tmp_path, 1000, only_on_mismatch=True)
    found = (tmp_path / "folder" / "file").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (1000, 0o660)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o2775
    os.chown(tmp_path / "folder", 0, 0)
    volumes.give_to_group(tmp_path, 1000, only_on_mismatch=True)
    assert (tmp_path / "folder").stat().st_gid == 0  # the volume's root has the group: no further look
    volumes.give_to_group(tmp_path, 1000, only_on_mismatch=False)
    assert (tmp_path / "folder").stat().st_gid == 1000


def test_a_host_path_is_the_nodes_own(tmp_path: Path) -> None:
    made = volumes.host_path({"path": "/mnt/nvme"}, tmp_path)
    assert made == tmp_path / "root" / "mnt" / "nvme"
    assert made.is_dir()
    with pytest.raises(payload.MountError, match="hostPath type check failed"):
        volumes.host_path({"path": "/mnt/other", "type": "Directory"}, tmp_path)


def test_a_volume_is_attached_to_one_node_at_a_time() -> None:
    attachments = volumes.Attachments()
    attachments.attach("v", "node-1", "pod-1", once=True)
    attachments.attach("v", "node-1", "pod-2", once=True)
    with pytest.raises(payload.MountError, match="Multi-Attach"):
        attachments.attach("v", "node-2", "pod-3", once=True)
    for pod in ("pod-1", "pod-2"):
        attachments.detach(pod)
    attachments.attach("v", "node-2", "pod-3", once=True)


def endpoint_slice(service: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"namespace": "ns", "labels": labels}, "addressType": "IPv4", "endpoints": list(endpoints)}


def endpoint(address: str, ready: bool = True, **fields: Any) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {"ready": ready}, **fields}


def service(name: str, cluster_ip: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"clusterIP": cluster_ip}}


@pytest.fixture
def zone() -> dns.Zone:
    services = {"a": service("head-svc", "None"), "b": service("api", "10.96.0.9"), "c": service("none", "10.96.0.8")}
    slices = {
        "a": endpoint_slice("head-svc", endpoint("10.60.1.2", hostname="llm-0"), endpoint("10.60.1.3", ready=False)),
        "b": endpoint_slice("api", endpoint("10.60.1.4")),
    }
    return dns.Zone("cluster.local", services, slices)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("head-svc.ns.svc.cluster.local", ["10.60.1.2"]),
        ("llm-0.head-svc.ns.svc.cluster.local", ["10.60.1.2"]),
        ("api.ns.svc.cluster.local", ["10.60.1.4"]),
        ("none.ns.svc.cluster.local", ["10.96.0.8"]),
        ("10-1-2-3.ns.pod.cluster.local", ["10.1.2.3"]),
        ("absent.ns.svc.cluster.local", None),
        ("objectstorage.example.com", None),
    ],
)
def test_names(zone: dns.Zone, name: str, addresses: list[str] | None) -> None:
    assert zone.addresses(name, 0) == addresses


def test_a_name_asked_for_while_absent_stays_absent_for_a_while(zone: dns.Zone) -> None:
    name = "late.ns.svc.cluster.local"
    assert zone.addresses(name, 100) is None
    zone._slices["late"] = endpoint_slice("late", endpoint("10.60.1.9"))
    zone.changed()
    assert zone.addresses(name, 129) is None
    assert zone.addresses(name, 131) == ["10.60.1.9"]


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_answers_on_the_wire(zone: dns.Zone) -> None:
    said = dns.answer(query("Head-Svc.ns.svc.cluster.local", dns.A), zone, 0, 512)
    assert said is not None
    number, flags, _, answers, authority, _ = struct.unpack("!HHHHHH", said[:12])
    assert (number, flags & 15, answers, authority) == (7, 0, 1, 0)
    assert said.endswith(struct.pack("!IH", dns.TTL_SECONDS, 4) + socket.inet_aton("10.60.1.2"))
    for name, kind, code in (("api.ns.svc.cluster.local", dns.AAAA, 0), ("absent.ns.svc.cluster.local", dns.A, 3)):
        said = dns.answer(query(name, kind), zone, 0, 512)
        assert said is not None
        _, flags, _, answers, authority, _ = struct.unpack("!HHHHHH", said[:12])
        assert (flags & 15, answers, authority) == (code, 0, 1)
    said = dns.answer(query("2.1.60.10.in-addr.arpa", dns.PTR), zone, 0, 512)
    assert said is not None
    assert b"\x05llm-0\x08head-svc" in said
    assert dns.answer(b"short", zone, 0, 512) is None
