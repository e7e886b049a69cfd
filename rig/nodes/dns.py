# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's DNS server, on the bridge's address: what CoreDNS answers for services and pods.

Ray's gRPC resolves names by c-ares, which asks a DNS server and no hosts file.

Facts imitated (Kubernetes DNS specification, CoreDNS plugins `kubernetes` and `cache 30`):
- a headless service is the addresses of its ready endpoints (all, with publishNotReadyAddresses), one without any does not exist;
  an endpoint's own name is its hostname or its address with dashes; addresses resolve back to it
- 30 s TTL; a name asked for while absent stays absent for 30 s
- a name outside the cluster's domain does not exist: there is no way out of the rig

Differences: there is no kube-proxy, so a service with a cluster IP is its ready endpoints' addresses (ports are not translated), or its
cluster IP, which nothing answers, when there are none. Answers for names that are there are current: CoreDNS may give them 30 s longer.
No SRV records.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from typing import Any

Object = dict[str, Any]

TTL_SECONDS = 30
A, SOA, PTR, AAAA = 1, 6, 12, 28
NO_ERROR, FORMAT_ERROR, NO_NAME, NOT_IMPLEMENTED = 0, 1, 3, 4
LARGEST_UDP = 512


class Zone:
    """The names of a cluster, made of its services and endpoint slices when first asked after a change."""

    def __init__(self, domain: str, services: dict[Any, Object], slices: dict[Any, Object]) -> None:
        self.domain = domain
        self._services = services
        self._slices = slices
        self._names: dict[str, list[str]] | None = None
        self._pointers: dict[str, str] = {}
        self._absent: dict[str, float] = {}

    def changed(self) -> None:
        """A service or a slice is another one."""
        self._names = None

    def addresses(self, name: str, now: float) -> list[str] | None:
        """The IPv4 addresses of a name; None when it does not exist, or did not when last asked within the TTL."""
        if self._absent.get(name, 0) > now:
            return None
        if self._names is None:
            self._names, self._pointers = self._build()
        found = self._names.get(name)
        if found is None:
            found = self._address_of_pod(name)
        if found is None and name.endswith(f".{self.domain}"):
            self._absent = {other: until for other, until in self._absent.items() if until > now}
            self._absent[name] = now + TTL_SECONDS
        return found

    def pointer(self, address: str) -> str | None:
        """The name of an endpoint's address."""
        if self._names is None:
            self._names, self._pointers = self._build()
        return self._pointers.get(address)

    def _address_of_pod(self, name: str) -> list[str] | None:
        labels = name.removesuffix(f".pod.{self.domain}").split(".")
        if not name.endswith(f".pod.{self.domain}") or len(labels) != 2:
            return None
        try:
            return [str(ipaddress.IPv4Address(labels[0].replace("-", ".")))]
        except ValueError:
            return None

    def _build(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        names: dict[str, list[str]] = {}
        pointers: dict[str, str] = {}
        for one in self._slices.values():
            service = one["metadata"].get("labels", {}).get("kubernetes.io/service-name")
            if not service or one.get("addressType") != "IPv4":
                continue
            base = f"{service}.{one['metadata']['namespace']}.svc.{self.domain}"
            for endpoint in one.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready") is False:
                    continue
                for address in endpoint["addresses"]:
                    own = f"{endpoint.get('hostname') or address.replace('.', '-')}.{base}"
                    for name in (base, own):
                        names.setdefault(name.lower(), []).append(address)
                    pointers[address] = own
        for service in self._services.values():
            metadata, address = service["metadata"], service["spec"].get("clusterIP")
            name = f"{metadata['name']}.{metadata['namespace']}.svc.{self.domain}"
            if address and address != "None":
                names.setdefault(name, [address])
        return names, pointers


def answer(query: bytes, zone: Zone, now: float, largest: int) -> bytes | None:
    """The answer to a DNS query in wire format; None when it is no query at all."""
    if len(query) < 12:
        return None
    number, flags, questions = struct.unpack("!HHH", query[:6])
    if flags & 0x8000:
        return None
    recursion = flags & 0x0100
    if flags & 0x7800 or questions != 1:
        return struct.pack("!HHHHHH", number, 0x8080 | recursion | NOT_IMPLEMENTED, 0, 0, 0, 0)
    try:
        name, end = _read_name(query, 12)
        kind, _ = struct.unpack("!HH", query[end : end + 4])
    except (IndexError, struct.error, UnicodeDecodeError):
        return struct.pack("!HHHHHH", number, 0x8080 | recursion | FORMAT_ERROR, 0, 0, 0, 0)
    code, records = _resolve(name.lower(), kind, zone, now)
    authority = [] if records else [_authority(zone.domain)]
    question = query[12 : end + 4]
    while True:
        head = struct.pack("!HHHHHH", number, 0x8480 | recursion | code, 1, len(records), len(authority), 0)
        made = head + question + b"".join(records + authority)
        if len(made) <= largest or not records:
            return made
        records.pop()  # a service of very many endpoints: as many as fit


def _resolve(name: str, kind: int, zone: Zone, now: float) -> tuple[int, list[bytes]]:
    if name.endswith(".in-addr.arpa"):
        target = zone.pointer(".".join(reversed(name.removesuffix(".in-addr.arpa").split("."))))
        if target is None:
            return NO_NAME, []
        return NO_ERROR, [_record(PTR, _name(target))] if kind == PTR else []
    addresses = zone.addresses(name, now)
    if addresses is None:
        return NO_NAME, []
    return NO_ERROR, [_record(A, socket.inet_aton(address)) for address in addresses] if kind == A else []


def _record(kind: int, data: bytes) -> bytes:
    """A record of the name asked for (a pointer to byte 12, where the question is)."""
    return struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_SECONDS, len(data)) + data


def _authority(domain: str) -> bytes:
    """The SOA record that tells how long an absence may be remembered."""
    data = _name(f"ns.dns.{domain}") + _name(f"hostmaster.{domain}")
    data += struct.pack("!IIIII", 1, 7200, 1800, 86400, TTL_SECONDS)
    return _name(domain) + struct.pack("!HHIH", SOA, 1, TTL_SECONDS, len(data)) + data


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _read_name(query: bytes, start: int) -> tuple[str, int]:
    labels = []
    while length := query[start]:
        labels.append(query[start + 1 : start + 1 + length].decode())
        start += 1 + length
    return ".".join(labels), start + 1


class Server(asyncio.DatagramProtocol):
    """Answers over UDP and TCP on port 53."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport
        self._server: asyncio.Server

    async def start(self, address: str) -> None:
        """Begin to answer at `address`."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, 53))
        self._server = await asyncio.start_server(self._serve_tcp, address, 53)

    def stop(self) -> None:
        """Answer no more."""
        self._transport.close()
        self._server.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to do: `start` has the transport."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One query."""
        said = answer(data, self._zone, time.monotonic(), LARGEST_UDP)
        if said is not None:
            self._transport.sendto(said, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                said = answer(await reader.readexactly(length), self._zone, time.monotonic(), 65535)
                if said is None:
                    break
                writer.write(struct.pack("!H", len(said)) + said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
