# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods' and nodes' addresses on the rig's bridge, and the files that tell a pod of its network.

Facts imitated (kubelet, CNI):
- a pod has one interface, eth0, and an address that no other pod has; containers of a pod share it
- a pod reaches all pods and nodes; each node has an address of its own (another one of the bridge)
- /etc/hosts and /etc/resolv.conf by the kubelet; dnsPolicy Default and pods in the host's network have the machine's

Differences: there is no kube-proxy. The service range is unreachable from pods ("No route to host"), NetworkPolicies are not enforced.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from rig.configuration import Network
from rig.nodes.process import CannotStart, command

Object = dict[str, Any]


class Addresses:
    """Gives each pod an address; one given back comes last in turn, so that an old name does not soon mean another pod."""

    def __init__(self, network: Network) -> None:
        self._free = [str(address) for address in ipaddress.ip_network(network.pods).hosts()]
        self._pods = network.pods

    def take(self) -> str:
        """An address; CannotStart when there is none left."""
        if not self._free:
            raise CannotStart(f"failed to set up pod network: no free address in {self._pods}")
        return self._free.pop(0)

    def give_back(self, address: str) -> None:
        """The pod has gone."""
        self._free.append(address)


async def connect(network: Network, rig: str, pid: int, address: str, services: str) -> None:
    """Give the network namespace of process `pid` the interface eth0 on the bridge; `services` is the unreachable range, if known."""
    numbers = [int(part) for part in address.split(".")[2:]]
    link = f"miv{rig}{numbers[0]:02x}{numbers[1]:02x}"
    prefix = network.subnet.partition("/")[2]
    outside = [
        f"link add {link} type veth peer name eth0 netns {pid}",
        f"link set {link} master {network.bridge} up",
    ]
    inside = [
        "link set lo up",
        f"addr add {address}/{prefix} dev eth0",
        "link set eth0 up",
        f"route add default via {network.address}",
    ]
    if services:
        inside.append(f"route add unreachable {services}")
    await command("ip", "-batch", "-", given="\n".join(outside) + "\n")
    await command("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-", given="\n".join(inside) + "\n")


async def add_node(network: Network, address: str) -> None:
    """Make a node's address one of this machine's."""
    await command("ip", "addr", "replace", f"{address}/32", "dev", network.bridge)


async def remove_node(network: Network, address: str) -> None:
    """The node has gone; its address too, unless the bridge went first."""
    try:
        await command("ip", "addr", "del", f"{address}/32", "dev", network.bridge)
    except CannotStart as error:
        if "Cannot" not in str(error):
            raise


def hosts_file(pod: Object, address: str, domain: str) -> str:
    """/etc/hosts of a pod."""
    spec, metadata = pod["spec"], pod["metadata"]
    name = spec.get("hostname") or metadata["name"]
    names = name
    if spec.get("subdomain"):
        names = f"{name}.{spec['subdomain']}.{metadata['namespace']}.svc.{domain}\t{name}"
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"{address}\t{names}",
    ]
    for alias in spec.get("hostAliases") or []:
        lines.append("\t".join([alias["ip"], *alias.get("hostnames", [])]))
    return "\n".join(lines) + "\n"


def resolv_file(pod: Object, server: str, domain: str) -> str:
    """/etc/resolv.conf of a pod, whose DNS server is at `server`."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy == "Default" or (policy == "ClusterFirst" and spec.get("hostNetwork")):
        return Path("/etc/resolv.conf").read_text()
    if policy != "None":
        namespace = pod["metadata"]["namespace"]
        servers, searches = [server], [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    own = spec.get("dnsConfig") or {}
    servers += own.get("nameservers", [])
    searches += own.get("searches", [])
    options |= {option["name"]: option.get("value") for option in own.get("options", [])}
    lines = [f"nameserver {address}" for address in servers]
    if searches:
        lines.append(f"search {' '.join(searches)}")
    if options:
        lines.append(
            "options " + " ".join(name if value is None else f"{name}:{value}" for name, value in options.items())
        )
    return "\n".join(lines) + "\n"
