# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the user has to be allowed in Kubernetes, from the first object of a deployment to the last one removed.

An IAM user may reach the cluster without any of it: then the node pool would be paid for, and nothing could be put on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ..fault import Findings


@dataclass(frozen=True)
class Right:
    """One verb on one kind of object. namespace: "" for those of the whole cluster, and for all namespaces."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    subresource: str = ""

    @property
    def kind(self) -> str:
        """The kind as kubectl writes it: pods/log, rayclusters.ray.io."""
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{name}.{self.group}" if self.group else name

    def as_dict(self) -> dict[str, str]:
        """The attributes of a SelfSubjectAccessReview."""
        return asdict(self)


# Applied by the server: an object that is missing takes `create` and `patch`, one that is there `patch`.
_APPLIED = ("get", "list", "create", "patch", "delete")
_OBJECTS = (
    ("", "configmaps"),
    ("", "secrets"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("ray.io", "rayclusters"),
)
# Of exposed endpoints and of monitoring, each only where the deployment has that kind.
_ENDPOINT = {
    "ingresses": "networking.k8s.io",
    "httproutes": "gateway.networking.k8s.io",
    "certificates": "cert-manager.io",
    "podmonitors": "monitoring.coreos.com",
    "prometheusrules": "monitoring.coreos.com",
}
# Claims of file systems are ours; those of the pods' volumes are KubeRay's to make and ours to remove.
_CLAIMS = ("", "persistentvolumeclaims")
_VOLUMES = ("", "persistentvolumes")
# What the operator's chart is made of (KubeRay 1.7.1); Helm keeps its own record in a Secret.
_CHART = (
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "rolebindings"),
)
_ROLES = ("rbac.authorization.k8s.io", "roles")
_CLUSTER_ROLES = ("rbac.authorization.k8s.io", "clusterroles")
_CLUSTER_ROLE_BINDINGS = ("rbac.authorization.k8s.io", "clusterrolebindings")
_INSTALLED = ("get", "create", "patch")
# A user can grant only rights that they have themselves, except with these (RBAC, "Privilege escalation prevention and bootstrapping").
_HANDING_ON = ("escalate", "bind")
_DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")


def rights(
    namespace: str, operator_namespace: str = "", file_systems: bool = False, endpoint: Iterable[str] = ()
) -> list[Right]:
    """Return what is needed for a deployment in `namespace`.

    operator_namespace  where the operator is still to be installed; empty where one is there
    file_systems        whether the deployment mounts file systems, each a PersistentVolume
    endpoint            optional kinds that its endpoint takes (`endpoint_resources`)
    """
    kinds = [*_OBJECTS, *((_ENDPOINT[resource], resource) for resource in endpoint)]
    needed = [Right(verb, *kind, namespace) for kind in kinds for verb in _APPLIED]
    needed += [Right(verb, *_CLAIMS, namespace) for verb in (_APPLIED if file_systems else ("get", "list", "delete"))]
    needed += [
        Right("list", "", "pods", namespace),
        Right("get", "", "pods", namespace, "log"),
        Right("list", "", "events", namespace),
        # Deployments of any namespace are found by their RayCluster, the operator by its Deployment.
        Right("list", "ray.io", "rayclusters"),
        Right("list", "apps", "deployments"),
        Right("list", "", "nodes"),
        # Undeploy sees by them which block volumes have to be gone.
        *(Right(verb, *_VOLUMES) for verb in (_APPLIED if file_systems else ("list",))),
        Right("get", *_DEFINITIONS),
        *(Right(verb, "", "namespaces") for verb in ("get", "create", "patch", "delete")),
    ]
    if operator_namespace:
        needed += [Right(verb, *_DEFINITIONS) for verb in ("create", "patch")]
        needed += [
            Right(verb, "", "secrets", operator_namespace) for verb in ("get", "list", "create", "update", "delete")
        ]
        needed += [Right(verb, *kind, operator_namespace) for kind in _CHART for verb in _INSTALLED]
        needed += [Right(verb, *_ROLES, operator_namespace) for verb in (*_INSTALLED, *_HANDING_ON)]
        needed += [Right(verb, *_CLUSTER_ROLES) for verb in (*_INSTALLED, *_HANDING_ON)]
        needed += [Right(verb, *_CLUSTER_ROLE_BINDINGS) for verb in _INSTALLED]
    return needed


def report_missing(missing: Iterable[Mapping[str, str]], findings: Findings) -> None:
    """Add a fault for each kind of object with the verbs that are missing; `missing`: of `Right.as_dict`."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for entry in missing:
        right = Right(**entry)
        verbs.setdefault((right.kind, right.namespace), []).append(right.verb)
    for (kind, namespace), names in verbs.items():
        findings.fault(
            "right_missing",
            "Kubernetes user",
            f"may not {', '.join(names)} {kind}" + (f" in namespace {namespace}" if namespace else ""),
            "the right to",
            "have it bound to a role that grants this (docs/oci.md)",
        )
