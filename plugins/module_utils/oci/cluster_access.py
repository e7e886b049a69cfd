# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reaching the Kubernetes API of an OKE cluster by the OCI sign-in: its address, its authority, and tokens for it.

A token is the URL of a signed request for the cluster, in base64: what `oci ce cluster generate-token` makes (oci-cli,
containerengine_cli_extended.py), made here without it and without a call. It lives for minutes, so it is made when it is
used, and kept nowhere.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..core.fault import Fault, Refused
from .client import Connection, SignIn
from .cluster import read_cluster

try:
    import oci
    import yaml
    from oci._vendor import requests  # what the SDK's signers sign
except ImportError:  # reported before anything here is used
    oci = yaml = requests = None  # type: ignore[assignment]

# How long OKE takes a token (oci-cli says so in its expirationTimestamp), and when a new one is made before that.
LIFE_SECONDS = 240
RENEW_SECONDS = 120
# setting -> (endpoint of CreateClusterKubeconfigContentDetails, key of the cluster's endpoints)
_ENDPOINTS = {"public": ("PUBLIC_ENDPOINT", "public_endpoint"), "private": ("PRIVATE_ENDPOINT", "private_endpoint")}


@dataclass(frozen=True)
class Address:
    """Where the Kubernetes API of a cluster is.

    kind                   public or private: which of the cluster's endpoints it is
    others                 the kinds that the cluster has beside it
    certificate_authority  PEM in base64, as a kubeconfig has it
    """

    server: str
    certificate_authority: str
    kind: str
    others: tuple[str, ...] = ()


def find_address(connection: Connection, cluster_id: str, wanted: str = "auto") -> Address:
    """Ask OKE for the address and the authority of a cluster's API. Raises Refused.

    wanted  public, private, or auto: the public endpoint where the cluster has one
    """
    endpoints = read_cluster(connection, cluster_id).get("endpoints") or {}
    kinds = [kind for kind, names in _ENDPOINTS.items() if endpoints.get(names[1])]
    if not kinds or wanted not in ("auto", *kinds):
        raise Refused(
            [
                Fault(
                    "no_such_endpoint",
                    "kubernetes_endpoint",
                    f"{wanted}; the cluster has {' and '.join(kinds) or 'no'} endpoint",
                    "an endpoint that the cluster has",
                    f"set kubernetes_endpoint to {kinds[0]}, or leave it out" if kinds else "give a kubeconfig",
                )
            ]
        )
    kind = kinds[0] if wanted == "auto" else wanted
    # The only call that tells the cluster's authority.
    details = oci.container_engine.models.CreateClusterKubeconfigContentDetails(
        token_version="2.0.0", endpoint=_ENDPOINTS[kind][0]
    )
    engine = connection.client("container_engine")
    with connection.asking("container_engine", "asking for the cluster's kubeconfig", cluster_id, "use clusters"):
        text = engine.create_kubeconfig(cluster_id, create_cluster_kubeconfig_content_details=details).data.content
    server, authority = _server_of(text, cluster_id)
    return Address(server, authority, kind, tuple(other for other in kinds if other != kind))


def _server_of(text: bytes, cluster_id: str) -> tuple[str, str]:
    try:
        cluster = yaml.safe_load(text)["clusters"][0]["cluster"]
        base64.b64decode(cluster["certificate-authority-data"], validate=True)
        return str(cluster["server"]), str(cluster["certificate-authority-data"])
    except (yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise Refused(
            [
                Fault(
                    "kubeconfig_of_cluster",
                    cluster_id,
                    f"OKE's kubeconfig cannot be read ({type(error).__name__})",
                    "one with the cluster's address and authority",
                    "give a kubeconfig of your own",
                )
            ]
        ) from error


def refuse_other_cluster(connection: Connection, cluster_id: str, server: str, authorities: Collection[bytes]) -> None:
    """Refuse an API server that is not the cluster's: objects of one cluster and node pools of another would go together.

    Each cluster has an authority of its own, whatever address leads to it (a tunnel's, a private one that another network has
    too). Where the kubeconfig names none, the address has to be the cluster's public one.

    authorities: certificates (DER) that the server's has to be signed by
    """
    own = find_address(connection, cluster_id)
    if authorities:
        same = not _certificates(own.certificate_authority).isdisjoint(authorities)
    else:
        same = own.kind == "public" and urlsplit(server).netloc == urlsplit(own.server).netloc
    if not same:
        raise Refused(
            [
                Fault(
                    "kubeconfig_of_another_cluster",
                    "kubeconfig",
                    f"it leads to {server}, " + ("of another authority" if authorities else "and names no authority"),
                    f"the cluster {cluster_id} ({own.server})",
                    "give this cluster's kubeconfig (`oci ce cluster create-kubeconfig`), or correct oke_cluster_id; or leave "
                    "kubeconfig out (unset KUBECONFIG and K8S_AUTH_* too): the OCI sign-in leads to the cluster then",
                )
            ]
        )


def _certificates(authority: str) -> set[bytes]:
    """Return the certificates (DER) of an authority as a kubeconfig has it."""
    pem = base64.b64decode(authority).decode("ascii", errors="replace")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.DOTALL)
    return {ssl.PEM_cert_to_DER_cert(block) for block in blocks}


def request_host(region: str, endpoint: str = "") -> str:
    """Return the host that the signed request names; `endpoint` is Container Engine's, where one is given.

    The service's older name, without `.oci.`, in the region's realm. A region that the SDK does not know has no realm:
    there it is the host of the endpoint.
    """
    realm = oci.regions.REGION_REALMS.get(region)
    if realm is None and endpoint:
        return urlsplit(endpoint).netloc
    return f"containerengine.{region}.{oci.regions.REALMS.get(realm, 'oraclecloud.com')}"


def mint(signer: Any, host: str, cluster_id: str) -> str:
    """Return a new token for a cluster, signed by a signer of the SDK."""
    # A signer whose own security token ends renews it when that is asked for.
    if hasattr(signer, "get_security_token"):
        signer.get_security_token()
    url = f"https://{host}/cluster_request/{cluster_id}"
    headers = signer(requests.Request("GET", url).prepare()).headers
    signed = {name: headers[name] for name in ("authorization", "date")}
    return base64.urlsafe_b64encode(f"{url}?{urlencode(signed)}".encode()).decode()


class ClusterTokens:
    """Called, it gives a token for a cluster that is good for a while yet: a new one when the last is old."""

    def __init__(self, sign_in: SignIn, cluster_id: str, clock: Callable[[], float] = time.time) -> None:
        self._sign_in = sign_in
        self._cluster_id = cluster_id
        self._clock = clock
        self._connection: Connection | None = None
        self._token = ""
        self._minted = float("-inf")

    def __call__(self) -> str:
        if not 0 <= self._clock() - self._minted < RENEW_SECONDS:
            # A key or session token in a file may be another by now; principals renew themselves.
            if self._connection is None or self._sign_in.auth_type in ("api_key", "security_token"):
                self._connection = Connection(self._sign_in, self._cluster_id)
            host = request_host(self._connection.region, self._connection.endpoint("container_engine"))
            self._token = mint(self._connection.signer, host, self._cluster_id)
            self._minted = self._clock()
        return self._token
