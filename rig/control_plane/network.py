# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig's own network: one bridge in a subnet that nothing else on this machine uses, and free ports."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rig.configuration import Network, RigError
from rig.processes import by_id, end

MOUNTS = Path("/proc/self/mountinfo")
LOOPBACK = Network(bridge="", address="127.0.0.1", subnet="127.0.0.0/8", pods="", node_prefix="10.0.2.")
"""Without root: no bridge; the nodes' names are only names."""
SECOND_OCTETS = range(60, 96)
"""10.60.0.0/16 to 10.95.0.0/16; 10.96.0.0/16 is the services' range inside the cluster."""
PORTS = range(20000, 30000)
"""Below the range from which the kernel takes ports for outgoing connections."""
PORT_BLOCK = 16


def make_bridge(name: str) -> Network:
    """Make the bridge of rig `name` in a free subnet; RigError when the machine does not let us."""
    bridge = bridge_name(name)
    with _machine_lock():
        taken = _taken_networks()
        start = int(name, 16)
        for index in range(len(SECOND_OCTETS)):
            prefix = f"10.{SECOND_OCTETS[(start + index) % len(SECOND_OCTETS)]}"
            subnet = ipaddress.ip_network(f"{prefix}.0.0/16")
            if not any(subnet.overlaps(other) for other in taken):
                break
        else:
            raise RigError(
                f"no free subnet: 10.{SECOND_OCTETS[0]}.0.0/16 to 10.{SECOND_OCTETS[-1]}.0.0/16 are all in use; "
                "end other rigs"
            )
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{prefix}.0.1/16", "dev", bridge)
        _ip("link", "set", bridge, "up")
    return Network(bridge, f"{prefix}.0.1", str(subnet), f"{prefix}.1.0/24", f"{prefix}.2.")


def bridge_name(name: str) -> str:
    """The bridge of rig `name`: short enough for an interface (15 characters)."""
    return f"mib{name}"


def free_ports(name: str, count: int) -> list[int]:
    """`count` ports on which nothing listens; each rig starts its search at a block of its own."""
    blocks = len(PORTS) // PORT_BLOCK
    for index in range(blocks):
        first = PORTS.start + (int(name, 16) + index) % blocks * PORT_BLOCK
        if all(_is_free(port) for port in range(first, first + count)):
            return list(range(first, first + count))
    raise RigError(f"no {count} free ports in a row between {PORTS.start} and {PORTS.stop}; see `ss -ltn`")


def leftovers(name: str) -> list[str]:
    """The network namespaces and interfaces of rig `name` that are there."""
    return [*_namespaces(name), *_links(name)]


def remove_network(name: str) -> None:
    """Remove every namespace (ending what runs in it) and interface of rig `name`, and the folders of /etc/netns."""
    for namespace in _namespaces(name):
        identifiers = _ip("netns", "pids", namespace).split()
        end([process for text in identifiers if (process := by_id(int(text)))], grace_s=0)
        _ip("netns", "delete", namespace)
        shutil.rmtree(Path("/etc/netns") / namespace, ignore_errors=True)
    for link in _links(name):
        with contextlib.suppress(RigError):  # the other end of a pair goes with the first
            _ip("link", "delete", link)


def remove_mounts(directory: Path) -> None:
    """Unmount what is mounted below the rig's folder, the innermost first."""
    for point in reversed(mounts_below(directory)):
        result = subprocess.run(["umount", "--lazy", point], capture_output=True, text=True, check=False)
        if result.returncode:
            raise RigError(f"cannot unmount {point}: {result.stderr.strip()}")


def mounts_below(directory: Path) -> list[str]:
    """The mount points below a folder, as this process sees them, outermost first."""
    points = [line.split()[4] for line in MOUNTS.read_text().splitlines()]
    points = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points]
    return [point for point in points if point.startswith(f"{directory}/")]


def _namespaces(name: str) -> list[str]:
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.iterdir() if is_ours(path.name, name)) if folder.is_dir() else []


def _links(name: str) -> list[str]:
    if not shutil.which("ip"):
        return []
    bridge = bridge_name(name)
    links = [(link["ifname"], link.get("master")) for link in json.loads(_ip("-json", "link", "show") or "[]")]
    return [link for link, master in links if link != bridge and (master == bridge or is_ours(link, name))] + [
        link for link, _ in links if link == bridge
    ]


def is_ours(name: str, rig: str) -> bool:
    """Names of namespaces and interfaces start with `mi`, a letter for the kind, and the rig's name."""
    return name.startswith("mi") and name[3:9] == rig


def _taken_networks() -> list[ipaddress.IPv4Network]:
    routes = json.loads(_ip("-json", "-4", "route", "show", "table", "all") or "[]")
    destinations = [route["dst"] for route in routes if route.get("dst", "default") != "default"]
    return [ipaddress.ip_network(text, strict=False) for text in destinations]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # remains of closed connections do not count
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    """One rig at a time looks for a free subnet. The lock is on a folder that is always there: it leaves no file."""
    descriptor = os.open("/run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ip(*arguments: str) -> str:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RigError(f"`ip {' '.join(arguments)}` failed: {result.stderr.strip()}")
    return result.stdout
