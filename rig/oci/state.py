# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists in the stand-in's cloud.

A *tenancy* is one account of the rig: an OCI tenancy with its user and key, one compartment, one network, one cluster
and one bucket. Nothing of one tenancy is visible to another, so tests that have each their own do not meet.

Facts imitated:
- availability domains bear a prefix that differs by tenancy (`Uocm:US-ASHBURN-AD-1`), which Kubernetes' zone labels
  lack;
- a cluster's endpoints are host:port without a scheme; names of node pools are not unique;
- a node entry's id is the OCID of its compute instance.
"""

from __future__ import annotations

import dataclasses
import secrets
import string
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.identifiers import REGION, new_etag, new_ocid


def now() -> datetime:
    """The stand-in's clock."""
    return datetime.now(timezone.utc)


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with Z, as OCI writes times."""
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclasses.dataclass
class Timings:
    """How long things take in one tenancy, in seconds; on OCI these are minutes. POST /tenancies can change each."""

    accept: float = 0.3
    """work request ACCEPTED, then IN_PROGRESS"""
    visible: float = 0.7
    """until a pool that was asked for can be read"""
    entries: float = 0.5
    """until a visible pool lists its nodes"""
    launch: float = 1.0
    """of an instance, until its node entry is ACTIVE"""
    boot: float = 1.5
    """of a machine, until its kubelet registers the Node"""
    labels: float = 0.7
    """from joining until initialNodeLabels are on the Node"""
    gpu: float = 1.0
    """from Ready until the device plugin advertises nvidia.com/gpu"""
    terminate: float = 1.0
    """of an instance"""
    drain_minute: float = 1.0
    """one minute of an eviction grace period"""
    remembered: float = 60.0
    """how long a deleted pool is still listed as DELETED"""


@dataclasses.dataclass
class Subnet:
    id: str
    name: str
    cidr: str
    private: bool


@dataclasses.dataclass
class Node:
    """An entry in a pool's list of nodes, and the machine behind it. `id` is the instance's OCID."""

    id: str
    name: str
    number: int
    availability_domain: str
    fault_domain: str
    subnet_id: str
    kubernetes_version: str
    pool: dict[str, Any]
    """the pool's settings when the node was launched: later changes of the pool do not touch it"""
    state: str = "CREATING"
    private_ip: str | None = None
    error: dict[str, str] | None = None
    launched: datetime = dataclasses.field(default_factory=now)
    never_join: bool = False
    no_gpu: bool = False
    small_disk: bool = False
    preemptible: bool = False
    joined: bool = False
    gpu_advertised: bool = False
    shared: bool = False
    """the rig's CPU-only node, which stands in a pool of every tenancy and belongs to none"""


@dataclasses.dataclass
class NodePool:
    """A node pool: `details` holds the fields of CreateNodePoolDetails as given, by their JSON names."""

    id: str
    details: dict[str, Any]
    created: datetime = dataclasses.field(default_factory=now)
    state: str = "CREATING"
    state_details: str | None = None
    visible: bool = False
    nodes: list[Node] = dataclasses.field(default_factory=list)
    etag: str = dataclasses.field(default_factory=new_etag)
    nodes_made: int = 0
    work_request_id: str | None = None
    """the work request that changes the pool now"""
    deletions: int = 0
    """single nodes being deleted now"""

    def changed(self) -> None:
        self.etag = new_etag()


@dataclasses.dataclass
class WorkRequest:
    id: str
    operation: str
    compartment_id: str
    resource_id: str
    cluster_id: str
    status: str = "ACCEPTED"
    action: str = "IN_PROGRESS"
    accepted: datetime = dataclasses.field(default_factory=now)
    started: datetime | None = None
    finished: datetime | None = None
    errors: list[dict[str, str]] = dataclasses.field(default_factory=list)
    logs: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def log(self, message: str) -> None:
        self.logs.append({"message": message, "timestamp": timestamp(now()) or ""})

    def error(self, code: str, message: str) -> None:
        self.errors.append({"code": code, "message": message, "timestamp": timestamp(now()) or ""})


@dataclasses.dataclass
class Volume:
    """A block volume, as the volume provisioner reported it."""

    id: str
    name: str
    size_gb: int
    namespace: str
    claim: str
    availability_domain: str
    created: datetime = dataclasses.field(default_factory=now)


@dataclasses.dataclass
class ComputeCluster:
    """A group of machines that RDMA connects; without any here."""

    id: str
    name: str
    availability_domain: str
    created: datetime = dataclasses.field(default_factory=now)


@dataclasses.dataclass
class LoadBalancer:
    """A load balancer, as the cluster's cloud controller reported it."""

    id: str
    name: str
    address: str
    network: bool
    created: datetime = dataclasses.field(default_factory=now)


@dataclasses.dataclass
class Tenancy:
    """One account of the rig."""

    name: str
    node_kind: str
    cni: str
    kubernetes_version: str
    public_key: rsa.RSAPublicKey
    fingerprint: str
    timings: Timings
    tenancy_id: str = dataclasses.field(default_factory=lambda: new_ocid("tenancy"))
    user_id: str = dataclasses.field(default_factory=lambda: new_ocid("user"))
    compartment_id: str = dataclasses.field(default_factory=lambda: new_ocid("compartment"))
    cluster_id: str = dataclasses.field(default_factory=lambda: new_ocid("cluster"))
    group_id: str = dataclasses.field(default_factory=lambda: new_ocid("group"))
    """the one group that the user is in"""
    administrator: bool = True
    """whether the user may do everything in the cluster; else what RBAC there gives to user or group"""
    session_token: str = ""
    """of a session of the user, beside the API key"""
    principals: dict[str, rsa.RSAPublicKey] = dataclasses.field(default_factory=dict)
    """token of an instance or a pod of the account -> the key that signs with it; each has the user's rights"""
    endpoints: dict[str, str] = dataclasses.field(default_factory=dict)
    """public, private -> host:port of the cluster's API; without any, the API server's address as private"""
    vcn_id: str = dataclasses.field(default_factory=lambda: new_ocid("vcn"))
    created: datetime = dataclasses.field(default_factory=now)
    cluster_etag: str = dataclasses.field(default_factory=new_etag)
    config_file: str = ""
    bucket: str = ""
    namespace: str = ""
    domains: list[str] = dataclasses.field(default_factory=list)
    subnets: dict[str, Subnet] = dataclasses.field(default_factory=dict)
    images: dict[str, str] = dataclasses.field(default_factory=dict)
    """image OCID -> name"""
    pools: dict[str, NodePool] = dataclasses.field(default_factory=dict)
    work_requests: dict[str, WorkRequest] = dataclasses.field(default_factory=dict)
    volumes: dict[str, Volume] = dataclasses.field(default_factory=dict)
    compute_clusters: dict[str, ComputeCluster] = dataclasses.field(default_factory=dict)
    load_balancers: dict[str, LoadBalancer] = dataclasses.field(default_factory=dict)
    limits: dict[str, int] = dataclasses.field(default_factory=dict)
    """service limit -> how much the account may have of it, where it is not the default"""
    quotas: dict[str, int] = dataclasses.field(default_factory=dict)
    """service limit -> how much of it the compartment may have, where a quota policy says so"""
    retry_tokens: dict[tuple[str, str], tuple[datetime, str, Any]] = dataclasses.field(default_factory=dict)
    """(operation, token) -> when, digest of the request, the answer"""

    def __post_init__(self) -> None:
        prefix = "".join(secrets.choice(string.ascii_letters) for _ in range(4))
        place = REGION.rsplit("-", 1)[0].upper()
        self.domains = [f"{prefix}:{place}-AD-{number}" for number in (1, 2, 3)]
        for name, cidr, private in (
            ("k8s-api-endpoint", "10.0.0.0/28", True),
            ("workers", "10.0.96.0/20", True),
            ("load-balancers", "10.0.16.0/24", False),
            ("pods", "10.0.128.0/17", True),
        ):
            ocid = new_ocid("subnet")
            self.subnets[name] = Subnet(ocid, name, cidr, private)

    @property
    def key_id(self) -> str:
        return f"{self.tenancy_id}/{self.user_id}/{self.fingerprint}"

    @property
    def keys(self) -> dict[str, rsa.RSAPublicKey]:
        """What signatures name as the key, and the key: the API key's, the session's, and the principals'."""
        tokens = {self.session_token: self.public_key, **self.principals}
        return {self.key_id: self.public_key, **{f"ST${token}": key for token, key in tokens.items()}}

    @property
    def zones(self) -> dict[str, str]:
        """Availability domain -> Kubernetes zone."""
        return {domain: domain.split(":", 1)[1] for domain in self.domains}

    def subnet(self, ocid: str) -> Subnet | None:
        return next((subnet for subnet in self.subnets.values() if subnet.id == ocid), None)

    def answers_to(self, name: str) -> bool:
        """Whether `name` (a name, or an OCID of tenancy, compartment or cluster) means this tenancy."""
        return name in (self.name, self.tenancy_id, self.compartment_id, self.cluster_id)
