# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The objects by which a deployment is reached: its Service, and Ingress, HTTPRoutes or Certificate where it is exposed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..names import ENDPOINT_ANNOTATION, common_labels, object_names
from ..plan.endpoint import NETWORK, TYPE_ANNOTATION, hosts_at
from ..plan.types import Endpoint as PlannedEndpoint
from ..plan.types import Gateway, Plan
from .monitoring import certificate_rule

HTTPS, HTTP = 443, 80
# oci-cloud-controller-manager, docs/load-balancer-annotations.md.
_BALANCER = "service.beta.kubernetes.io/oci-load-balancer-"
_NETWORK_BALANCER = "oci-network-load-balancer.oraclecloud.com/"
TLS_SECRET_ANNOTATION = f"{_BALANCER}tls-secret"
INTERNAL_ANNOTATIONS = (f"{_BALANCER}internal", f"{_NETWORK_BALANCER}internal")
# Mbit/s of the flexible shape: it is billed by what it carries, from the smaller on.
_BANDWIDTH = ("10", "1000")
# What the optional objects of an exposure are, for whoever looks for those of another one.
KINDS = (
    ("networking.k8s.io/v1", "Ingress", "ingresses"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    ("cert-manager.io/v1", "Certificate", "certificates"),
)


@dataclass(frozen=True)
class Surroundings:
    """What only the cluster tells of an endpoint.

    address      of the load balancer, the Ingress or the Gateway; None before it has one
    certificate  Secret that the load balancer takes its certificate from; None before there is one
    until        when that certificate expires (ISO 8601), as far as deploy renews it or was given it
    listeners    of the Gateway: `https` and `http`, as far as it has them
    """

    address: str | None = None
    certificate: str | None = None
    until: str | None = None
    listeners: Mapping[str, str] = field(default_factory=dict)


def endpoint_objects(plan: Plan, around: Surroundings | None = None) -> list[dict[str, Any]]:
    """Return the objects of the plan's exposure, the Service first."""
    around = around or Surroundings()
    hosts = hosts_at(plan, around.address) or provisional_hosts(plan)
    exposure = plan["endpoint"]["exposure"]
    service = api_service(plan, around.certificate)
    service["metadata"].setdefault("annotations", {})[ENDPOINT_ANNOTATION] = json.dumps(
        record(plan, around), sort_keys=True
    )
    objects = [service]
    if exposure == "ingress":
        objects.append(_ingress(plan, hosts))
    elif gateway := plan["endpoint"]["gateway"]:
        objects += _routes(plan, gateway, hosts, around.listeners)
    if plan["endpoint"]["issuer"] and hosts_at(plan, around.address):
        objects.append(_certificate(plan, hosts))
    return [*objects, *certificate_rule(plan, around.until)]


def record(plan: Plan, around: Surroundings) -> dict[str, Any]:
    """Return what the Service says of the endpoint: a change of it is a change of the objects."""
    endpoint = plan["endpoint"]
    return {
        "exposure": endpoint["exposure"],
        "tls": endpoint["tls"],
        "hosts": hosts_at(plan, around.address),
        "certificate": around.certificate,
        "until": around.until,
        "listeners": dict(around.listeners),
    }


def tls_secret(plan: Plan, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the Secret `name` of the deployment with a certificate and its key."""
    metadata = {"name": name, "namespace": plan["deployment"]["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "stringData": dict(values),
    }


def provisional_hosts(plan: Plan) -> dict[str, str]:
    """Return hosts for the time before there is an address: below a domain that does not exist (RFC 2606)."""
    host = f"{plan['deployment']['name']}.{plan['deployment']['namespace']}.invalid"
    return {"api": host, **({"dashboard": f"dashboard.{host}"} if plan["endpoint"]["dashboard"] else {})}


def api_service(plan: Plan, certificate: str | None = None) -> dict[str, Any]:
    """The endpoint. It selects the head alone, and has no endpoint before a token came back (the head's readiness).

    certificate: the Secret with the load balancer's certificate
    """
    name, endpoint, ports = plan["deployment"]["name"], plan["endpoint"], plan["pod"]["ports"]
    balanced = endpoint["exposure"] == "load_balancer"
    # A load balancer cannot tell hosts apart: each of the two has a port. Without TLS it is the recipe's.
    api = HTTPS if balanced and endpoint["tls"] != "none" else ports["api"]
    service_ports: list[dict[str, Any]] = [{"name": "api", "port": api, "targetPort": ports["api"], "protocol": "TCP"}]
    if endpoint["dashboard"]:
        service_ports.append(
            {"name": "dashboard", "port": ports["dashboard"], "targetPort": ports["dashboard"], "protocol": "TCP"}
        )
    metadata: dict[str, Any] = {
        "name": object_names(name)["api_service"],
        "namespace": plan["deployment"]["namespace"],
    }
    spec: dict[str, Any] = {
        "type": "LoadBalancer" if balanced else "ClusterIP",
        "selector": {"ray.io/cluster": name, "ray.io/node-type": "head"},
        "ports": service_ports,
    }
    if balanced:
        metadata["annotations"] = _balancer_annotations(plan, [port["port"] for port in service_ports], certificate)
        if endpoint["source_ranges"]:
            spec["loadBalancerSourceRanges"] = endpoint["source_ranges"]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _balancer_annotations(plan: Plan, ports: list[int], certificate: str | None) -> dict[str, str]:
    """OCI's annotations of the Service; those that the user gives win."""
    endpoint = plan["endpoint"]
    internal = "false" if endpoint["public"] else "true"
    nsgs = ",".join(endpoint["nsgs"])
    if endpoint["network"]:
        made = {TYPE_ANNOTATION: NETWORK, f"{_NETWORK_BALANCER}internal": internal}
        made |= {f"{_NETWORK_BALANCER}subnet": endpoint["subnet"]} if endpoint["subnet"] else {}
        made |= {f"{_NETWORK_BALANCER}oci-network-security-groups": nsgs} if nsgs else {}
        return {**made, **endpoint["annotations"]}
    made = {
        TYPE_ANNOTATION: "lb",
        f"{_BALANCER}shape": "flexible",
        f"{_BALANCER}shape-flex-min": _BANDWIDTH[0],
        f"{_BALANCER}shape-flex-max": _BANDWIDTH[1],
        f"{_BALANCER}internal": internal,
        f"{_BALANCER}connection-idle-timeout": str(endpoint["idle_seconds"]),
        # Bytes are passed on as they come: an HTTP listener would read heads and bound them.
        f"{_BALANCER}backend-protocol": "TCP",
    }
    made |= {f"{_BALANCER}subnet1": endpoint["subnet"]} if endpoint["subnet"] else {}
    made |= {"oci.oraclecloud.com/oci-network-security-groups": nsgs} if nsgs else {}
    if endpoint["tls"] != "none" and not endpoint["tls_to_pod"]:
        made[f"{_BALANCER}ssl-ports"] = ",".join(map(str, ports))
        made[TLS_SECRET_ANNOTATION] = certificate or object_names(plan["deployment"]["name"])["tls_secret"]
    return {**made, **endpoint["annotations"]}


def _ingress(plan: Plan, hosts: Mapping[str, str]) -> dict[str, Any]:
    name, endpoint = plan["deployment"]["name"], plan["endpoint"]
    service = object_names(name)["api_service"]
    spec: dict[str, Any] = {
        "ingressClassName": endpoint["ingress_class"],
        "rules": [
            {
                "host": host,
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": service, "port": {"name": part}}},
                        }
                    ]
                },
            }
            for part, host in hosts.items()
        ],
    }
    if endpoint["tls"] != "none":
        secret = endpoint["tls_secret"] or object_names(name)["tls_secret"]
        spec["tls"] = [{"hosts": list(hosts.values()), "secretName": secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": name,
            "namespace": plan["deployment"]["namespace"],
            "annotations": {**_ingress_annotations(endpoint), **endpoint["annotations"]},
        },
        "spec": spec,
    }


def _ingress_annotations(endpoint: PlannedEndpoint) -> dict[str, str]:
    """What long answers need, in the words of the controllers most in use; each leaves the others' alone.

    Sources: ingress-nginx, user-guide/nginx-configuration/annotations; haproxy-ingress, configuration/keys; HAProxy Technologies'
    controller, documentation/annotations.
    """
    idle, nginx = str(endpoint["idle_seconds"]), "nginx.ingress.kubernetes.io"
    redirect = "false" if endpoint["tls"] == "none" else "true"
    return {
        f"{nginx}/proxy-read-timeout": idle,
        f"{nginx}/proxy-send-timeout": idle,
        f"{nginx}/proxy-buffering": "off",
        f"{nginx}/proxy-request-buffering": "off",
        f"{nginx}/proxy-body-size": "0",
        f"{nginx}/ssl-redirect": redirect,
        f"{nginx}/force-ssl-redirect": redirect,
        "haproxy-ingress.github.io/timeout-server": f"{idle}s",
        "haproxy-ingress.github.io/timeout-client": f"{idle}s",
        "haproxy-ingress.github.io/ssl-redirect": redirect,
        "haproxy.org/timeout-server": f"{idle}s",
        "haproxy.org/ssl-redirect": redirect,
    }


def _routes(
    plan: Plan, gateway: Gateway, hosts: Mapping[str, str], listeners: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A route for each host, and one from HTTP to HTTPS where the Gateway has a listener for either."""
    name, endpoint, namespace = plan["deployment"]["name"], plan["endpoint"], plan["deployment"]["namespace"]
    service = api_service(plan)
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    secure = endpoint["tls"] != "none"
    main = gateway["listener"] or listeners.get("https" if secure else "http")

    def parent(listener: str | None) -> dict[str, str]:
        named = {"sectionName": listener} if listener else {}
        group = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
        return {**group, "name": gateway["name"], "namespace": gateway["namespace"], **named}

    def route(suffix: str, listener: str | None, hostnames: list[str], rule: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": f"{name}{suffix}", "namespace": namespace, "annotations": dict(endpoint["annotations"])}
        match = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
        spec = {"parentRefs": [parent(listener)], "hostnames": hostnames, "rules": [{**match, **rule}]}
        return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}

    made = []
    for part, host in hosts.items():
        backend = {
            "group": "",
            "kind": "Service",
            "name": service["metadata"]["name"],
            "port": ports[part],
            "weight": 1,
        }
        # Zero is no time-out (GEP-1742): an answer takes as long as it takes.
        rule = {"backendRefs": [backend], "timeouts": {"request": "0s", "backendRequest": "0s"}}
        made.append(route("" if part == "api" else f"-{part}", main, [host], rule))
    if secure and (plain := listeners.get("http")):
        redirect = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "port": HTTPS, "statusCode": 301}}
        made.append(route("-redirect", plain, list(hosts.values()), {"filters": [redirect]}))
    return made


def _certificate(plan: Plan, hosts: Mapping[str, str]) -> dict[str, Any]:
    """What cert-manager gets the certificate by (cert-manager.io/v1)."""
    secret = object_names(plan["deployment"]["name"])["tls_secret"]
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": secret, "namespace": plan["deployment"]["namespace"]},
        "spec": {
            "secretName": secret,
            "dnsNames": list(hosts.values()),
            # Undeploy finds the Secret by them: cert-manager leaves it.
            "secretTemplate": {"labels": common_labels(plan["deployment"]["name"])},
            "issuerRef": {**(plan["endpoint"]["issuer"] or {}), "group": "cert-manager.io"},
        },
    }
