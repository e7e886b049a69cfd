# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cluster that the platform settings name, and how this process, tasks and Helm reach it.

A kubeconfig that is given, or the K8S_AUTH_* variables, win, as long as they lead to that cluster. Otherwise the OCI sign-in
reaches the cluster that oke_cluster_id names: tokens are minted when they are used, a new one for each task, and are stored
nowhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.kube.client import Kubernetes, connect
from ..module_utils.oci.client import Connection, sign_in_by
from ..module_utils.oci.cluster_access import Address, ClusterTokens, find_address, refuse_other_cluster

# client-go's; its users take either version, this one is final.
API_VERSION = "client.authentication.k8s.io/v1"
# A folder whose sitecustomize.py Python runs before a module, which has no option for this.
LENIENT_TLS = Path(__file__).with_name("lenient_tls")
EXEC_CREDENTIAL = Path(__file__).with_name("exec_credential.py")
# Ansible masks each text of a kubeconfig wherever it shows in a task's result, so no text of ours is one that shows.
_NAME = "oke-cluster-by-token"
_GIVEN_BY = ("K8S_AUTH_HOST", "K8S_AUTH_KUBECONFIG", "KUBECONFIG")


class Cluster:
    """How the cluster of the settings is reached.

    kubeconfig  a path, or for the OCI sign-in a mapping of the cluster's address and authority; None: where Kubernetes'
                own tools look for one
    tokens      makes tokens for the OCI sign-in; None where the kubeconfig names its user
    strict      whether certificates are checked as strictly as Python does by default
    """

    def __init__(self, settings: Mapping[str, Any], known: Any = None) -> None:
        """`known` is the kubeconfig that another task found out already, so that the cloud need not be asked again."""
        self.context: str | None = settings.get("kubeconfig_context") or None
        self.kubeconfig: Any = settings.get("kubeconfig") or None
        self.tokens: ClusterTokens | None = None
        self.strict = settings.get("kubernetes_strict_tls") is not False
        self._settings = settings
        self._address: Address | None = None
        variable = next((name for name in _GIVEN_BY if os.environ.get(name)), None)
        if self.kubeconfig and variable == "K8S_AUTH_HOST":
            # kubernetes.core would take the variable, so one task would write to another cluster than the next.
            raise Refused(
                [
                    Fault(
                        "cluster_named_twice",
                        "kubeconfig",
                        f"{self.kubeconfig}, beside the environment's {variable}",
                        "one cluster",
                        f"remove kubeconfig, or unset {variable}",
                    )
                ]
            )
        if not self.kubeconfig and not variable and settings.get("oke_cluster_id"):
            self.context = None
            self._sign_in(known if isinstance(known, Mapping) else None)

    def _sign_in(self, known: Mapping[str, Any] | None) -> None:
        cluster_id = self._settings["oke_cluster_id"]
        sign_in = sign_in_by(self._settings)
        self.tokens = ClusterTokens(sign_in, cluster_id)
        if known is None:
            wanted = self._settings.get("kubernetes_endpoint") or "auto"
            self._address = find_address(Connection(sign_in, cluster_id), cluster_id, wanted)
            known = _kubeconfig(self._address)
        self.kubeconfig = known

    def connect(self) -> Kubernetes:
        """Return a client, whose tokens are renewed as long as it is used."""
        return connect(self.kubeconfig, self.context, token=self.tokens, strict=self.strict)

    def arguments(self) -> dict[str, Any]:
        """Return the options by which one task of kubernetes.core.k8s reaches the cluster, with a token for it."""
        api_key = self.tokens() if self.tokens else None
        return {"kubeconfig": self.kubeconfig, "context": self.context, "api_key": api_key}

    def environment(self) -> dict[str, str]:
        """Return the variables that a module needs to reach the cluster."""
        if self.strict:
            return {}
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(LENIENT_TLS), os.environ.get("PYTHONPATH"))))}

    def check(self) -> None:
        """Make sure that the API server answers and takes a token, where the OCI sign-in is to reach it. Raises Refused.

        A kubeconfig has to lead to the cluster that oke_cluster_id names, where both are given.
        """
        if self._address is None:
            if (cluster_id := self._settings.get("oke_cluster_id")) and self.tokens is None:
                given = self.connect()
                connection = Connection(sign_in_by(self._settings), cluster_id)
                refuse_other_cluster(connection, cluster_id, given.host, given.authorities)
            return
        try:
            self.connect().get("/version")
        except Refused as refused:
            raise Refused([_explained(fault, self._address) for fault in refused.faults]) from None

    def for_helm(self) -> Any:
        """Return the kubeconfig for Helm: by the OCI sign-in with a command for the tokens, since Helm may outlive one."""
        if self.tokens is None:
            return os.path.expanduser(self.kubeconfig) if self.kubeconfig else None
        options = {
            "--auth-type": self._settings.get("auth_type"),
            "--config-file": _absolute(self._settings.get("config_file_location")),
            "--profile": self._settings.get("config_profile_name"),
            "--region": self._settings.get("region"),
            "--endpoint": _endpoint(self._settings.get("oci_service_endpoint")),
        }
        command = {
            "apiVersion": API_VERSION,
            "command": sys.executable,
            "args": [str(EXEC_CREDENTIAL), self._settings["oke_cluster_id"]]
            + [word for option, value in options.items() if value for word in (option, value)],
            "interactiveMode": "Never",
        }
        context = {"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}
        user = {"name": _NAME, "user": {"exec": command}}
        return {**self.kubeconfig, "contexts": [context], "users": [user]}


def _kubeconfig(address: Address) -> dict[str, Any]:
    cluster = {"server": address.server, "certificate-authority-data": address.certificate_authority}
    return {
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME}}],
        "current-context": _NAME,
    }


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(os.path.expanduser(path)) if path else None


def _endpoint(given: Any) -> str | None:
    return given.get("container_engine") if isinstance(given, Mapping) else given


def _explained(fault: Fault, address: Address) -> Fault:
    """Return the fault with what is known of the cluster's endpoint and of its tokens."""
    other = "".join(f"; or set kubernetes_endpoint: {kind}, which the cluster has too" for kind in address.others)
    if fault.code == "unreachable":
        way_out = {
            "private": "it answers inside the cluster's network only: run there (a bastion, a runner in the VCN) or over a "
            "VPN, or give the kubeconfig of a tunnel",
            "public": "check that the security rules of its subnet and this machine's proxy allow port 6443",
        }[address.kind]
        return replace(
            fault,
            where=f"{address.kind} endpoint {address.server} of the cluster",
            remedy=way_out + other,
        )
    if fault.code == "unauthorized":
        return replace(
            fault,
            where="OKE sign-in",
            expected="a token that OKE accepts",
            remedy="check this machine's clock (a token lives 4 minutes), and that the user may `use clusters` in the "
            "cluster's compartment",
        )
    return fault
