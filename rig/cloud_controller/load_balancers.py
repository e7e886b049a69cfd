# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers: an address of its own for each Service of type LoadBalancer, TCP forwarded to its ready endpoints.

Facts imitated (cloud-provider service controller, OCI cloud controller manager):
- the address stands in status.loadBalancer.ingress some time after the Service was made, and stays the same
- every port of the Service is forwarded to the target port of endpoints that are Ready, in turn
- the finalizer service.kubernetes.io/load-balancer-cleanup keeps a deleted Service until its load balancer has gone
- events EnsuringLoadBalancer, EnsuredLoadBalancer
- a Service with loadBalancerClass is somebody else's
- a load balancer ends TLS on the ports of the annotation ssl-ports with the certificate of Secret tls-secret; without that Secret there is
  no load balancer; the certificate has the Secret's name, and is never read again under that name (ensureSSLCertificates)
- a network load balancer ends no TLS
- a connection over which nothing goes for connection-idle-timeout seconds is closed (300 for TCP listeners)
- whether it is internal cannot be changed after it was made
- loadBalancerSourceRanges are who may connect
- OCI lists it (`../oci/load_balancers.py`) from its making to its end

Differences: addresses are loopback addresses (127.S.x.y, of this rig only), reachable from this machine and not from pods; there is no
health check of its own; with no ready endpoint a connection is refused. The number in `idle_scale` in the rig's folder, where a test has
put one, multiplies the idle time-outs of connections that come from then on.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import ipaddress
import itertools
import ssl
import tempfile
import time
from urllib.parse import quote

import aiohttp

from rig.cluster import ApiError, Cache, Cluster, Key, Object, Tasks, ignore_missing, key, say
from rig.configuration import Rig
from rig.events import Events

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
DELAY_SECONDS = 1.0
"""OCI takes about a minute; long enough here for a client to see a Service without an address."""
CHUNK = 65536
ANNOTATION = "service.beta.kubernetes.io/oci-load-balancer-"
IDLE_SECONDS = 300.0
IDLE_SCALE = "idle_scale"

Target = tuple[str, int]


@dataclasses.dataclass
class LoadBalancer:
    """One load balancer: its address, and what listens there."""

    address: str
    listeners: dict[int, asyncio.Server] = dataclasses.field(default_factory=dict)
    targets: dict[int, list[Target]] = dataclasses.field(default_factory=dict)
    turn: int = 0
    certificates: dict[str, ssl.SSLContext] = dataclasses.field(default_factory=dict)
    """by the names of their Secrets, which are read once"""
    secured: dict[int, str] = dataclasses.field(default_factory=dict)
    """the certificate that a listener has"""
    idle: float = IDLE_SECONDS
    allowed: list[str] = dataclasses.field(default_factory=list)
    node: str | None = None
    """one of the machines behind it, which tells OCI whose it is; None before OCI was told of it"""


class LoadBalancers:
    """Keeps a load balancer for each Service that wants one."""

    def __init__(self, rig: Rig, cluster: Cluster, tasks: Tasks, events: Events) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self._events = events
        self._prefix = loopback_prefix(rig)
        self._control = rig.oci.control
        self._idle_scale = rig.directory / IDLE_SCALE
        self._balancers: dict[Key, LoadBalancer] = {}
        self._wake: dict[Key, asyncio.Event] = {}
        self._services = Cache(cluster, "/api/v1/services", self._service_changed)
        self._slices = Cache(cluster, "/apis/discovery.k8s.io/v1/endpointslices", self._slice_changed)

    async def start(self) -> None:
        """Watch Services and their endpoints."""
        for cache in (self._slices, self._services):
            self._tasks.start(cache.run(), "cache")
            await cache.synced.wait()

    async def stop(self) -> None:
        """Listen no more."""
        for balancer in self._balancers.values():
            _close(balancer)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        service = new or old or {}
        if wants(service) or FINALIZER in service["metadata"].get("finalizers", []):
            self._look_at(key(service))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        metadata = (new or old or {})["metadata"]
        name = (metadata["namespace"], metadata.get("labels", {}).get("kubernetes.io/service-name", ""))
        if name in self._balancers:
            self._look_at(name)

    def _look_at(self, name: Key) -> None:
        """One task for each Service, woken when something about it has changed."""
        if name in self._wake:
            self._wake[name].set()
        else:
            self._wake[name] = asyncio.Event()
            self._wake[name].set()
            self._tasks.start(self._keep(name), f"load balancer of {'/'.join(name)}")

    async def _keep(self, name: Key) -> None:
        wake = self._wake[name]
        while True:
            await wake.wait()
            wake.clear()
            service = self._services.get(*name)
            try:
                if service is None or not wants(service) or service["metadata"].get("deletionTimestamp"):
                    await self._remove(name, service)
                    del self._wake[name]
                    return
                await self._ensure(name, service)
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if not (isinstance(error, ApiError) and error.status in (404, 409)):
                    say(f"load balancer of {'/'.join(name)}: {error!r}; trying again")
                if service is not None:
                    text = f"Error syncing load balancer: failed to ensure load balancer: {error}"
                    self._events.report(service, "Service", "Warning", "SyncLoadBalancerFailed", text)
                await asyncio.sleep(DELAY_SECONDS)
                wake.set()

    async def _ensure(self, name: Key, service: Object) -> None:
        path = f"/api/v1/namespaces/{name[0]}/services/{name[1]}"
        metadata = service["metadata"]
        balancer = self._balancers.get(name)
        if balancer is None:
            self._events.report(service, "Service", "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
            finalizers = metadata.get("finalizers", [])
            if FINALIZER not in finalizers:
                change = {"resourceVersion": metadata["resourceVersion"], "finalizers": [*finalizers, FINALIZER]}
                await self._cluster.patch(path, {"metadata": change})
            # OCI has the certificates before it makes a load balancer.
            secured = await self._certificates(service, {})
            ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            if not ingress:
                await asyncio.sleep(DELAY_SECONDS)
            address = ingress[0]["ip"] if ingress else self._free_address(is_internal(service))
            balancer = LoadBalancer(address, certificates=secured)
            self._balancers[name] = balancer
        await self._listen(name, service, balancer)
        await self._report(name, service, balancer)
        said = [{"ip": balancer.address, "ipMode": "VIP", "ports": _ports(service)}]
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") != said:
            await self._cluster.patch(f"{path}/status", {"status": {"loadBalancer": {"ingress": said}}})
            self._events.report(service, "Service", "Normal", "EnsuredLoadBalancer", "Ensured load balancer")

    async def _report(self, name: Key, service: Object, balancer: LoadBalancer) -> None:
        """Tell OCI of a new load balancer, and again when its first machine is known."""
        nodes = sorted(
            endpoint["nodeName"]
            for one in self._slices_of(name)
            for endpoint in one.get("endpoints") or []
            if endpoint.get("nodeName")
        )
        if balancer.node or (balancer.node == "" and not nodes):
            return
        node = nodes[0] if nodes else ""
        body = {"name": display_name(service), "address": balancer.address, "network": is_network(service)}
        await self._oci("POST", "", {**body, "node": node})
        balancer.node = node

    async def _oci(self, method: str, query: str, body: Object | None = None) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"{self._control}/rig/load_balancers{query}", json=body) as answer,
        ):
            if answer.status >= 400 and not (answer.status == 404 and method == "DELETE"):
                raise ApiError(method, query, answer.status, answer.reason or "", await answer.text())

    def _slices_of(self, name: Key) -> list[Object]:
        return [
            one
            for one in self._slices.objects.values()
            if one["metadata"]["namespace"] == name[0]
            and one["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name[1]
        ]

    async def _listen(self, name: Key, service: Object, balancer: LoadBalancer) -> None:
        """Listen on exactly the ports that have ready endpoints."""
        balancer.targets = targets(service, self._slices_of(name))
        balancer.certificates = await self._certificates(service, balancer.certificates)
        balancer.idle = idle_seconds(service)
        balancer.allowed = service["spec"].get("loadBalancerSourceRanges") or []
        wanted = secured_ports(service)
        for port in list(balancer.listeners):
            if not balancer.targets.get(port) or balancer.secured.get(port) != wanted.get(port):
                balancer.listeners.pop(port).close()
                balancer.secured.pop(port, None)
        for port, ready in balancer.targets.items():
            if ready and port not in balancer.listeners:
                balancer.listeners[port] = await asyncio.start_server(
                    lambda reader, writer, port=port: self._forward(balancer, port, reader, writer),
                    balancer.address,
                    port,
                    ssl=balancer.certificates[wanted[port]] if port in wanted else None,
                )
                if port in wanted:
                    balancer.secured[port] = wanted[port]

    async def _certificates(self, service: Object, known: dict[str, ssl.SSLContext]) -> dict[str, ssl.SSLContext]:
        """The certificates of a Service's listeners; those of a name that is known are not read again."""
        found = dict(known)
        for name in set(secured_ports(service).values()) - known.keys():
            path = f"/api/v1/namespaces/{service['metadata']['namespace']}/secrets/{name}"
            found[name] = _context((await self._cluster.get(path)).get("data") or {})
        return found

    async def _forward(
        self, balancer: LoadBalancer, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection to an endpoint: the next in turn that takes it."""
        ready = balancer.targets.get(port, [])
        peer = ipaddress.ip_address(writer.get_extra_info("peername")[0])
        if balancer.allowed and not any(peer in ipaddress.ip_network(block) for block in balancer.allowed):
            ready = []
        for _ in ready:
            balancer.turn += 1
            address, target = ready[balancer.turn % len(ready)]
            try:
                back_reader, back_writer = await asyncio.open_connection(address, target)
            except OSError:
                continue
            moved, idle = [time.monotonic()], balancer.idle * self._scale()
            carried = asyncio.gather(_carry(reader, back_writer, moved), _carry(back_reader, writer, moved))
            while not carried.done():
                await asyncio.wait([carried], timeout=max(0.05, moved[0] + idle - time.monotonic()))
                if time.monotonic() - moved[0] >= idle:
                    carried.cancel()
                    break
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, OSError):
                await carried
            back_writer.close()
            break
        writer.close()

    def _scale(self) -> float:
        try:
            return float(self._idle_scale.read_text())
        except FileNotFoundError:
            return 1.0

    async def _remove(self, name: Key, service: Object | None) -> None:
        balancer = self._balancers.pop(name, None)
        if balancer:
            _close(balancer)
        if service is None:
            return
        path = f"/api/v1/namespaces/{name[0]}/services/{name[1]}"
        metadata = service["metadata"]
        await self._oci("DELETE", f"?name={quote(display_name(service), safe='')}")
        with ignore_missing():
            if not metadata.get("deletionTimestamp"):
                await self._cluster.patch(f"{path}/status", {"status": {"loadBalancer": None}})
            kept = [entry for entry in metadata.get("finalizers", []) if entry != FINALIZER]
            if len(kept) != len(metadata.get("finalizers", [])):
                self._events.report(service, "Service", "Normal", "DeletedLoadBalancer", "Deleted load balancer")
                await self._cluster.patch(path, {"metadata": {"finalizers": kept}})

    def _free_address(self, internal: bool) -> str:
        taken = {balancer.address for balancer in self._balancers.values()}
        for service in self._services.objects.values():
            taken |= {
                entry.get("ip") for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            }
        numbers = itertools.product(range(128, 255) if internal else range(1, 128), range(1, 255))
        return next(address for x, y in numbers if (address := f"{self._prefix}.{x}.{y}") not in taken)


def wants(service: Object) -> bool:
    """Whether a Service is to have a load balancer of ours."""
    return service["spec"].get("type") == "LoadBalancer" and not service["spec"].get("loadBalancerClass")


def is_network(service: Object) -> bool:
    """Whether the Service asks for a network load balancer."""
    annotations = service["metadata"].get("annotations") or {}
    return annotations.get("oci.oraclecloud.com/load-balancer-type") == "nlb"


def is_internal(service: Object) -> bool:
    """Whether the Service asks for a load balancer with a private address."""
    annotations = service["metadata"].get("annotations") or {}
    prefix = "oci-network-load-balancer.oraclecloud.com/" if is_network(service) else ANNOTATION
    return annotations.get(f"{prefix}internal") == "true"


def secured_ports(service: Object) -> dict[int, str]:
    """The ports that TLS ends at, each with the Secret of its certificate."""
    annotations = service["metadata"].get("annotations") or {}
    secret = annotations.get(f"{ANNOTATION}tls-secret")
    if is_network(service) or not secret:
        return {}
    return {int(port): secret for port in annotations.get(f"{ANNOTATION}ssl-ports", "443").split(",")}


def idle_seconds(service: Object) -> float:
    """How long a connection may be silent."""
    annotations = service["metadata"].get("annotations") or {}
    asked = None if is_network(service) else annotations.get(f"{ANNOTATION}connection-idle-timeout")
    return float(asked or IDLE_SECONDS)


def display_name(service: Object) -> str:
    """The name that OCI's cloud controller gives the load balancer of a Service."""
    metadata = service["metadata"]
    if is_network(service):
        return f"{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"
    return str(metadata["uid"])


def loopback_prefix(rig: Rig) -> str:
    """127.S: S is the second octet of the rig's network, else follows from its name."""
    if ipaddress.ip_address(rig.network.address).is_loopback:
        return f"127.{1 + int(rig.name[:2], 16) % 254}"
    return f"127.{rig.network.address.split('.')[1]}"


def targets(service: Object, slices: list[Object]) -> dict[int, list[Target]]:
    """For each TCP port of a Service, the address and port of its Ready endpoints."""
    found: dict[int, list[Target]] = {}
    for port in service["spec"].get("ports", []):
        if port.get("protocol", "TCP") != "TCP":
            continue
        ready = found.setdefault(port["port"], [])
        for one in slices:
            numbers = [
                entry["port"]
                for entry in one.get("ports") or []
                if (entry.get("name") or "") == port.get("name", "") and entry.get("port")
            ]
            for endpoint in one.get("endpoints") or []:
                conditions = endpoint.get("conditions", {})
                if numbers and conditions.get("ready") is not False and not conditions.get("terminating"):
                    ready += [(address, numbers[0]) for address in endpoint["addresses"]]
    return found


def _ports(service: Object) -> list[Object]:
    return [
        {"port": port["port"], "protocol": port.get("protocol", "TCP")} for port in service["spec"].get("ports", [])
    ]


def _close(balancer: LoadBalancer) -> None:
    for listener in balancer.listeners.values():
        listener.close()
    balancer.listeners.clear()


def _context(data: dict[str, str]) -> ssl.SSLContext:
    """What a listener ends TLS with: certificate and key of a Secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as pair:
        for key in ("tls.crt", "tls.key"):
            if key not in data:
                raise OSError(f"{key} not found in secret")
            pair.write(base64.b64decode(data[key]) + b"\n")
        pair.flush()
        context.load_cert_chain(pair.name)
    return context


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: list[float]) -> None:
    """Carry one direction of a connection to its end; `moved` is when something went over it last."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(CHUNK):
            moved[0] = time.monotonic()
            writer.write(data)
            await writer.drain()
            moved[0] = time.monotonic()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
        return
    writer.transport.abort()
