# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of the endpoint: how a deployment is reached from outside the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import formats
from .parameter import Parameter, of_no_pod

ENDPOINT = (
    of_no_pod(
        "endpoint_exposure",
        "string",
        "none: reachable inside the cluster only. load_balancer: an OCI load balancer. ingress: an Ingress of "
        "endpoint_ingress_class. gateway: HTTPRoutes on endpoint_gateway. See docs/endpoint.md.",
        default="none",
        choices=("none", "load_balancer", "ingress", "gateway"),
    ),
    of_no_pod(
        "endpoint_tls",
        "string",
        "Where the certificate comes from. secret: endpoint_tls_secret. issuer: cert-manager's endpoint_tls_issuer. "
        "self_signed: an authority of the deployment's own. none: plain HTTP, the API key can be read on the way. "
        "Without it secret or issuer where one is named, else self_signed; a Gateway's listener has its own certificate.",
        choices=("secret", "issuer", "self_signed", "none"),
    ),
    of_no_pod(
        "endpoint_tls_secret",
        "string",
        "Secret (kubernetes.io/tls) of the deployment's namespace with the certificate for both hosts.",
        format=formats.SECRET_NAME,
    ),
    of_no_pod(
        "endpoint_tls_issuer",
        "string",
        "Issuer of the deployment's namespace, or ClusterIssuer, that cert-manager gets the certificate from: "
        "Issuer/<name> or ClusterIssuer/<name>.",
        format=formats.ISSUER,
    ),
    Parameter(
        "endpoint_tls_to_pod",
        "boolean",
        "TLS ends in the pod (vLLM) and not at the load balancer, so nothing is readable inside the VCN either. The "
        "dashboard, which has no TLS of its own, is not exposed then. Changing it restarts the group.",
        default=False,
    ),
    of_no_pod(
        "endpoint_public",
        "boolean",
        "Give the load balancer a public address. Without it, a private one of its subnet.",
        default=False,
    ),
    of_no_pod(
        "endpoint_source_ranges",
        "list",
        "Addresses (CIDR blocks) that may reach the load balancer; without it, all that can.",
    ),
    of_no_pod(
        "endpoint_subnet_id",
        "string",
        "OCID of the load balancer's subnet; without it, the cluster's own for Services.",
        format=formats.SUBNET_OCID,
    ),
    of_no_pod(
        "endpoint_nsg_ids",
        "list",
        "OCIDs of the load balancer's network security groups.",
        format=formats.NSG_OCID,
    ),
    of_no_pod(
        "endpoint_dashboard",
        "boolean",
        "Expose Ray's dashboard with the API. It asks for Ray's token, and is never exposed without TLS.",
        default=True,
    ),
    of_no_pod(
        "endpoint_ingress_class",
        "string",
        "IngressClass of the Ingress.",
        format=formats.OBJECT_NAME,
    ),
    of_no_pod(
        "endpoint_gateway",
        "string",
        "Gateway that the HTTPRoutes attach to: <name>, <namespace>/<name>, or <namespace>/<name>/<listener>.",
        format=formats.GATEWAY,
    ),
    of_no_pod(
        "endpoint_idle_timeout_seconds",
        "integer",
        "How long a connection may be silent before load balancer or ingress closes it: longer than the slowest answer "
        "that is not streamed takes.",
        default=3600,
        minimum=60,
        maximum=7200,
    ),
    of_no_pod(
        "service_annotations",
        "mapping",
        "Annotations of the load balancer's Service, the Ingress or the HTTPRoutes.",
        format=formats.TEXT,
        key_format=formats.ANNOTATION_KEY,
    ),
)

KEYS = (
    of_no_pod(
        "keys_action",
        "string",
        "What the keys playbook does. list: name the API keys. add, rotate, remove: change key_name. rotate_ray_token: "
        "another token of Ray, for which the pods are made again.",
        default="list",
        choices=("list", "add", "rotate", "remove", "rotate_ray_token"),
    ),
    of_no_pod("key_name", "string", "Name of the API key that is changed.", default="default", format=formats.KEY_NAME),
    of_no_pod("key_show", "boolean", "Print the key that was added or rotated, once and nowhere else.", default=False),
    of_no_pod(
        "key_overlap_minutes",
        "integer",
        "How long the former value of a rotated key stays valid, so that its users can change over; 0 for one that leaked.",
        default=10,
        minimum=0,
        maximum=10080,
    ),
)


def endpoint_resources(settings: Mapping[str, Any]) -> list[str]:
    """Return the optional kinds of objects that endpoint and monitoring with these settings take, as the API names them."""
    exposure, found = settings["endpoint_exposure"], []
    if exposure == "ingress":
        found.append("ingresses")
    elif exposure == "gateway":
        found.append("httproutes")
    if exposure != "none" and settings["endpoint_tls_issuer"]:
        found.append("certificates")
    if settings["monitoring"] != "none":
        found += ["podmonitors", "prometheusrules"]
    return found
