# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a tenancy: its key and config file, its images, its bucket, the node pool it has from the start.

Facts imitated:
- `oci session authenticate` makes a profile without user and with security_token_file (here: SESSION);
- a profile of the config file has user, tenancy, fingerprint (of the public key, aa:bb:...), region and key_file;
- a key file made by the Console ends with the line OCI_API_KEY;
- OKE images are named `<platform image>-OKE-<version without v>-<build>`; there are ones for x86 and Arm, with and
  without GPU drivers, of several dates and builds; platform images without `-OKE-` beside them;
- a cluster in use has a pool of CPU nodes whose subnets and availability domains tell where nodes may go.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import itertools
import json
import secrets
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.cloud import Cloud
from rig.oci.errors import ServiceError, invalid_parameter
from rig.oci.file_storage import FileStorage
from rig.oci.identifiers import REGION, new_ocid
from rig.oci.limits import LIMITS
from rig.oci.node_pools import NodePools
from rig.oci.objects import Store
from rig.oci.state import Tenancy, Timings

DEFAULT = "default"
OPTIONS = (
    "name",
    "node_kind",
    "cni",
    "timings",
    "system_pool",
    "limits",
    "quotas",
    "subnets",
    "administrator",
    "endpoints",
)
ENDPOINTS = ("public", "private")
CNI = ("FLANNEL_OVERLAY", "OCI_VCN_IP_NATIVE")
SESSION_SECONDS = 24 * 3600
"""Longer than any session of OCI's, since nobody refreshes it here."""
SYSTEM_SHAPE = "VM.Standard.E5.Flex"


class Accounts:
    """`folder` holds the config files; `settings` are the platform settings that are the same for every tenancy.

    The first of `node_kinds` is the one of a tenancy that asks for none.
    """

    def __init__(
        self,
        cloud: Cloud,
        store: Store,
        file_storage: FileStorage,
        node_pools: NodePools,
        folder: Path,
        settings: dict[str, str],
        kubernetes_version: str,
        node_kinds: tuple[str, ...],
    ) -> None:
        self._cloud = cloud
        self._store = store
        self._file_storage = file_storage
        self._node_pools = node_pools
        self._folder = folder
        self._settings = settings
        self._kubernetes_version = kubernetes_version
        self._node_kinds = node_kinds
        self._numbers = itertools.count(1)

    def create(self, options: dict[str, Any]) -> Tenancy:
        """A new tenancy, or that of the given name."""
        for option in options:
            if option not in OPTIONS:
                raise invalid_parameter(f"{option} is not known; known are {', '.join(OPTIONS)}")
        name = options.get("name") or f"tenancy-{next(self._numbers)}"
        for tenancy in self._cloud.tenancies:
            if tenancy.name == name:
                return tenancy
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        tenancy = Tenancy(
            name=name,
            node_kind=_one_of(options, "node_kind", self._node_kinds),
            cni=_one_of(options, "cni", CNI),
            kubernetes_version=self._kubernetes_version,
            public_key=key.public_key(),
            fingerprint=_fingerprint(key.public_key()),
            timings=_timings(options.get("timings") or {}),
            limits=_limits(options.get("limits") or {}, "limits"),
            quotas=_limits(options.get("quotas") or {}, "quotas"),
            administrator=bool(options.get("administrator", True)),
            session_token=_session_token(name),
            endpoints=_endpoints(options.get("endpoints") or {}),
        )
        _set_subnets(tenancy, options.get("subnets") or {})
        tenancy.namespace = "id" + secrets.token_hex(5)
        tenancy.bucket = "models"
        tenancy.images = _images(self._kubernetes_version)
        folder = self._folder if name == DEFAULT else self._folder / name
        tenancy.config_file = str(_write_config(folder, tenancy, key))
        self._cloud.tenancies.append(tenancy)
        self._store.create(tenancy, tenancy.bucket)
        if options.get("system_pool", True):
            self._node_pools.add_system_pool(tenancy, _system_pool(tenancy))
        return tenancy

    def describe(self, tenancy: Tenancy) -> dict[str, Any]:
        """What POST /tenancies answers: `settings` are platform settings, to be given with `-e`."""
        settings = {
            "oke_cluster_id": tenancy.cluster_id,
            "oci_service_endpoint": self._cloud.endpoint,
            "config_file_location": tenancy.config_file,
            **self._settings,
        }
        return {
            "name": tenancy.name,
            "tenancy_id": tenancy.tenancy_id,
            "compartment_id": tenancy.compartment_id,
            "oke_cluster_id": tenancy.cluster_id,
            "region": REGION,
            "availability_domains": tenancy.domains,
            "namespace": tenancy.namespace,
            "bucket": tenancy.bucket,
            "file_system_id": self._file_storage.of(tenancy).id,
            "mount_target_id": self._file_storage.of(tenancy).mount_target,
            "node_kind": tenancy.node_kind,
            "settings": settings,
        }


def _one_of(options: dict[str, Any], name: str, values: tuple[str, ...]) -> str:
    value = options.get(name, values[0])
    if value not in values:
        raise invalid_parameter(f"{name} is {value!r}; expected one of {', '.join(values)}")
    return value


def _timings(given: dict[str, Any]) -> Timings:
    try:
        return Timings(**{name: float(value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise ServiceError(400, "InvalidParameter", f"timings: {error}") from None


def _limits(given: dict[str, Any], where: str) -> dict[str, int]:
    for name, value in given.items():
        if name not in LIMITS:
            raise invalid_parameter(f"{where}.{name} is not known; known are {', '.join(LIMITS)}")
        if not isinstance(value, int) or value < 0:
            raise invalid_parameter(f"{where}.{name} is {value!r}; expected a whole number")
    return given


def _endpoints(given: dict[str, Any]) -> dict[str, str]:
    for name in given:
        if name not in ENDPOINTS:
            raise invalid_parameter(f"endpoints.{name} is not known; known are {', '.join(ENDPOINTS)}")
    return {name: str(value) for name, value in given.items()}


def _session_token(name: str) -> str:
    """A token in the form of a JWT, whose end the SDK reads; the stand-in only knows it again."""
    now = int(time.time())
    parts = ({"alg": "RS256", "kid": "rig"}, {"sub": name, "iat": now, "exp": now + SESSION_SECONDS})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, secrets.token_urlsafe(64)])


def _set_subnets(tenancy: Tenancy, given: dict[str, Any]) -> None:
    """Give subnets other CIDRs than they have: name -> CIDR."""
    for name, cidr in given.items():
        if name not in tenancy.subnets:
            raise invalid_parameter(f"subnets.{name} is not known; known are {', '.join(tenancy.subnets)}")
        try:
            tenancy.subnets[name].cidr = str(ipaddress.ip_network(cidr))
        except ValueError as error:
            raise invalid_parameter(f"subnets.{name}: {error}") from None


def _fingerprint(key: rsa.RSAPublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.md5(der).hexdigest()
    return ":".join(digest[position : position + 2] for position in range(0, 32, 2))


def _write_config(folder: Path, tenancy: Tenancy, key: rsa.RSAPrivateKey) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = folder / "key.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    _write_private(key_file, pem + "OCI_API_KEY\n")
    token_file = folder / "session-token"
    _write_private(token_file, tenancy.session_token)
    config = folder / "config"
    lines = {
        "user": tenancy.user_id,
        "fingerprint": tenancy.fingerprint,
        "tenancy": tenancy.tenancy_id,
        "region": REGION,
        "key_file": str(key_file),
    }
    session = {name: value for name, value in lines.items() if name != "user"}
    session["security_token_file"] = str(token_file)
    profiles = {"DEFAULT": lines, "SESSION": session}
    _write_private(config, "".join(_profile(name, lines) for name, lines in profiles.items()))
    return config


def _profile(name: str, lines: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _images(version: str) -> dict[str, str]:
    """Image OCID -> name; among them some that a careless choice would take."""
    number = version.removeprefix("v")
    major, minor, patch = number.split(".")
    older = f"{major}.{int(minor) - 1}.{patch}"
    names = [
        f"Oracle-Linux-8.10-2026.08.14-0-OKE-{number}-1699",
        f"Oracle-Linux-8.10-Gen2-GPU-2026.06.30-0-OKE-{number}-998",
        f"Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-{number}0-1701",
        f"Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-{number}-1699",
        f"Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-{older}-1699",
        f"Oracle-Linux-8.10-Gen2-GPU-2026.07.17-0-OKE-{number}-1044",
        f"Oracle-Linux-8.10-aarch64-2026.08.14-0-OKE-{number}-1699",
        f"Oracle-Linux-9.8-2026.08.14-0-OKE-{number}-1699",
        f"Oracle-Linux-9.8-aarch64-2026.08.14-0-OKE-{older}-1699",
        "Oracle-Linux-8.10-2026.08.14-0",
        "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0",
    ]
    return {new_ocid("image"): name for name in names}


def admit_principal(tenancy: Tenancy, public_key: str) -> str:
    """Take a key, base64 of its SubjectPublicKeyInfo, for that of an instance or a pod of the account; its token."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(public_key))
    except ValueError as error:
        raise invalid_parameter(f"public_key is no key: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise invalid_parameter("public_key is no RSA key")
    token = _session_token(tenancy.name)
    tenancy.principals[token] = key
    return token


def publish_image(tenancy: Tenancy, name: str) -> str:
    """Offer a further image, as Oracle does every few weeks; its OCID."""
    ocid = new_ocid("image")
    tenancy.images[ocid] = name
    return ocid


def _system_pool(tenancy: Tenancy) -> dict[str, Any]:
    """The details of the pool that the rig's CPU-only node stands in."""
    image = next(ocid for ocid, name in tenancy.images.items() if "GPU" not in name and "-OKE-" in name)
    subnet = tenancy.subnets["workers"].id
    config: dict[str, Any] = {
        "size": 0,
        "placementConfigs": [{"availabilityDomain": domain, "subnetId": subnet} for domain in tenancy.domains],
    }
    if tenancy.cni == "OCI_VCN_IP_NATIVE":
        config["nodePoolPodNetworkOptionDetails"] = {
            "cniType": tenancy.cni,
            "podSubnetIds": [tenancy.subnets["pods"].id],
            "maxPodsPerNode": 31,
        }
    return {
        "compartmentId": tenancy.compartment_id,
        "clusterId": tenancy.cluster_id,
        "name": "system",
        "kubernetesVersion": tenancy.kubernetes_version,
        "nodeShape": SYSTEM_SHAPE,
        "nodeShapeConfig": {"ocpus": 8.0, "memoryInGBs": 64.0},
        "nodeSourceDetails": {"sourceType": "IMAGE", "imageId": image},
        "nodeConfigDetails": config,
    }
