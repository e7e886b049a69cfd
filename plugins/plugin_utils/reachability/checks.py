# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an endpoint needs of its cluster, judged before nodes are asked for: class, Gateway, issuer, Secret; and names that lead to it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from ...module_utils.core.fault import Fault, Findings
from ...module_utils.core.parts import inner
from ...module_utils.core.plan.endpoint import hosts_at
from ...module_utils.core.plan.types import Gateway, Issuer, Plan
from ...module_utils.kube.client import Kubernetes, part, unless_forbidden

Object = dict[str, Any]


def check_cluster(kubernetes: Kubernetes, plan: Plan, found: Findings) -> None:
    """Add what is missing in the cluster for the plan's endpoint. What may not be read says nothing against it."""
    endpoint = plan["endpoint"]
    if endpoint["exposure"] == "ingress":
        _ingress_class(kubernetes, str(endpoint["ingress_class"]), found)
    elif endpoint["gateway"]:
        _gateway(kubernetes, plan, endpoint["gateway"], found)
    if endpoint["issuer"]:
        _issuer(kubernetes, plan, endpoint["issuer"], found)


def listeners_of(gateway: Mapping[str, Any], named: str | None) -> dict[str, str]:
    """Return the Gateway's listener for `https` (that ends TLS) and for `http`; `named` is the one that the user wants."""
    found: dict[str, str] = {}
    listeners = (gateway.get("spec") or {}).get("listeners") or []
    for listener in sorted(listeners, key=lambda one: one["name"] != named):
        ends = (listener.get("tls") or {}).get("mode", "Terminate") == "Terminate"
        scheme = {"HTTPS": "https", "HTTP": "http"}.get(listener.get("protocol", ""))
        port = {"https": 443, "http": 80}.get(scheme or "")
        if scheme and (ends or scheme == "http") and (listener["name"] == named or listener.get("port") == port):
            found.setdefault(scheme, listener["name"])
    return found


def route_problem(routes: Iterable[Mapping[str, Any]]) -> tuple[str, Fault | None] | None:
    """Return why the Gateway does not serve one of the routes, with a fault where it refuses it; None where it serves all."""
    for route in routes:
        name, parents = route["metadata"]["name"], (route.get("status") or {}).get("parents") or []
        if not parents:
            return f"no controller has taken HTTPRoute {name} yet", None
        for parent in parents:
            for condition in parent.get("conditions") or []:
                if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] == "False":
                    said = condition.get("message") or condition.get("reason")
                    words = f"Gateway {inner(parent, 'parentRef').get('name')} refuses HTTPRoute {name}: {said}"
                    remedy = "correct the Gateway's listener (hostname, allowedRoutes), or endpoint_gateway"
                    return words, Fault("route_refused", "endpoint_gateway", words, "a route that is accepted", remedy)
    return None


def missing_records(names: Iterable[str], address: str) -> list[Fault]:
    """Return a warning for each name that does not lead to the endpoint's `address`, with the record it lacks."""
    wanted = _addresses(address)
    missing = []
    for name in names:
        found = _addresses(name)
        if wanted & found:
            continue
        remedy = f"make the DNS record: {name} {_kind(address)} {address}; until then ask that address (curl --resolve)"
        if name.endswith(".nip.io"):
            remedy = "have nip.io resolved, set service_endpoint_domain, or ask the address (curl --resolve)"
        missing.append(
            Fault(
                "dns_record_missing",
                name,
                f"leads to {', '.join(sorted(found))}" if found else "no name server here knows it",
                f"the endpoint's address, {address}",
                remedy,
            )
        )
    return missing


def _ingress_class(kubernetes: Kubernetes, name: str, found: Findings) -> None:
    classes = unless_forbidden(lambda: kubernetes.items("/apis/networking.k8s.io/v1/ingressclasses"))
    if classes is None or name in (names := [item["metadata"]["name"] for item in classes]):
        return
    known = f"one of {', '.join(sorted(names))}" if names else "an IngressClass of the cluster, which has none"
    found.fault(
        "ingress_class_missing", "endpoint_ingress_class", name, known, "name another, or install its controller"
    )


def _gateway(kubernetes: Kubernetes, plan: Plan, wanted: Gateway, found: Findings) -> None:
    place = "endpoint_gateway"
    name = f"{wanted['namespace']}/{wanted['name']}"
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{part(wanted['namespace'])}/gateways/{part(wanted['name'])}"
    read = unless_forbidden(lambda: [kubernetes.get(path)])
    if read is None:
        return
    gateway = read[0]
    if gateway is None:
        found.fault("gateway_missing", place, f"Gateway {name} is not there", "a Gateway", "make it, or name another")
        return
    scheme = "http" if plan["endpoint"]["tls"] == "none" else "https"
    listeners, named = inner(gateway, "spec").get("listeners") or [], wanted["listener"]
    if named and named not in [listener["name"] for listener in listeners]:
        names = ", ".join(listener["name"] for listener in listeners)
        found.fault(
            "gateway_listener_missing",
            place,
            f"Gateway {name} has no listener {named}",
            f"one of {names}",
            "correct it",
        )
        return
    chosen = listeners_of(gateway, named).get(scheme)
    if chosen is None or named not in (None, chosen):
        shown = ", ".join(f"{entry['name']} ({entry.get('protocol')} {entry.get('port')})" for entry in listeners)
        expected = "HTTPS on 443 with TLS mode Terminate" if scheme == "https" else "HTTP on 80"
        found.fault(
            "gateway_listener_missing",
            place,
            f"Gateway {name} has the listeners {shown}" if shown else f"Gateway {name} has no listener",
            f"one of {expected}",
            "add one with a certificate for both hosts" if scheme == "https" else "add one",
        )
        return
    listener = next(entry for entry in listeners if entry["name"] == chosen)
    allowed = ((listener.get("allowedRoutes") or {}).get("namespaces") or {}).get("from", "Same")
    namespace = plan["deployment"]["namespace"]
    if allowed == "None" or (allowed == "Same" and wanted["namespace"] != namespace):
        source = "no namespace" if allowed == "None" else "its own namespace only"
        closed = f"listener {chosen} of Gateway {name} takes routes from {source}"
        found.fault("gateway_closed", place, closed, f"namespace {namespace}", "set its allowedRoutes.namespaces")
    status = gateway.get("status") or {}
    of_listener: Object = next((entry for entry in status.get("listeners") or [] if entry.get("name") == chosen), {})
    for what, conditions in ((f"Gateway {name}", status), (f"listener {chosen} of Gateway {name}", of_listener)):
        if words := _not_met(conditions.get("conditions") or []):
            remedy = "see kubectl describe; a certificate of another namespace needs a ReferenceGrant there"
            found.fault("gateway_not_ready", place, f"{what}: {words}", "one that is programmed", remedy)
            break
    addresses = (gateway.get("status") or {}).get("addresses") or [{}]
    pattern = listener.get("hostname")
    for host in hosts_at(plan, addresses[0].get("value")).values():
        if pattern and host != pattern and not (pattern.startswith("*.") and host.endswith(pattern[1:])):
            found.fault(
                "gateway_hostname",
                place,
                f"listener {chosen} is for {pattern}",
                host,
                "correct it, or service_endpoint_domain",
            )


def _issuer(kubernetes: Kubernetes, plan: Plan, issuer: Issuer, found: Findings) -> None:
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.cert-manager.io"
    if unless_forbidden(lambda: [kubernetes.get(definition)]) == [None]:
        found.fault(
            "cert_manager_missing",
            "endpoint_tls_issuer",
            "cert-manager is not installed",
            "its CRDs",
            "install it, or use endpoint_tls: self_signed",
        )
        return
    if fault := issuer_fault(kubernetes, plan, issuer):
        found.faults.append(fault)


def issuer_fault(kubernetes: Kubernetes, plan: Plan, issuer: Issuer) -> Fault | None:
    """Return why an issuer of cert-manager issues nothing; None where it is Ready, or may not be read."""
    place, shown = "endpoint_tls_issuer", f"{issuer['kind']} {issuer['name']}"
    space = "" if issuer["kind"] == "ClusterIssuer" else f"namespaces/{part(plan['deployment']['namespace'])}/"
    path = f"/apis/cert-manager.io/v1/{space}{issuer['kind'].lower()}s/{part(issuer['name'])}"
    read = unless_forbidden(lambda: [kubernetes.get(path)])
    if read is None:
        return None
    if read[0] is None:
        return Fault("issuer_missing", place, f"{shown} is not there", "an issuer", "make it, or name another")
    conditions = (read[0].get("status") or {}).get("conditions") or []
    ready = next((entry for entry in conditions if entry["type"] == "Ready"), None)
    if ready and ready["status"] == "True":
        return None
    said = (ready.get("message") or ready.get("reason")) if ready else "cert-manager has not looked at it; does it run?"
    return Fault("issuer_not_ready", place, f"{shown}: {said}", "an issuer that is Ready", "see kubectl describe")


def _not_met(conditions: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what the conditions of a Gateway or of a listener say against it."""
    for condition in conditions:
        if condition["type"] in ("Accepted", "Programmed", "ResolvedRefs") and condition["status"] != "True":
            return str(condition.get("message") or condition.get("reason") or f"not {condition['type']}")
    return None


def _addresses(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return set()


def _kind(address: str) -> str:
    try:
        return "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
    except ValueError:
        return "CNAME"
