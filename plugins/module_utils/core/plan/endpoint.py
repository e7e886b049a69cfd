# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a deployment is reached from outside the cluster: exposure, TLS, and by which names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ..fault import Fault, Findings
from ..recipe.inputs import Inputs
from ..recipe.values import shown
from .types import Endpoint, Gateway, Issuer, Plan

# external-dns makes the records of the names that it finds in it (external-dns, annotations).
HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
# oci-cloud-controller-manager: "lb" or "nlb"; a network load balancer passes TCP on and ends no TLS.
TYPE_ANNOTATION = "oci.oraclecloud.com/load-balancer-type"
NETWORK = "nlb"
# Where TLS ends in the pod: the mounted Secret, and the copies that vLLM serves with, which the head's program keeps up to date.
TLS_FOLDER = "/run/secrets/multinode/tls"
SERVED_TLS_FOLDER = "/run/secrets/multinode/tls-served"
_BALANCER = ("load_balancer",)
# Which exposures a setting means something to.
_MEANT_FOR = {
    "endpoint_tls_to_pod": _BALANCER,
    "endpoint_public": _BALANCER,
    "endpoint_source_ranges": _BALANCER,
    "endpoint_subnet_id": _BALANCER,
    "endpoint_nsg_ids": _BALANCER,
    "endpoint_ingress_class": ("ingress",),
    "endpoint_gateway": ("gateway",),
    "endpoint_tls_secret": ("load_balancer", "ingress"),
    "endpoint_tls_issuer": ("load_balancer", "ingress"),
}
_NEEDED = {"ingress": "endpoint_ingress_class", "gateway": "endpoint_gateway"}


def endpoint_of(inputs: Inputs, findings: Findings) -> Endpoint:
    """Return the plan's endpoint: exposure, hosts, TLS, what its objects are made of, and who may read metrics.

    tls     where the certificate comes from, `listener` for a Gateway's own; None where nothing is exposed
    hosts   of api and dashboard, below the domain; empty where they follow from the address (`hosts_at`)
    """
    settings, domain = inputs.settings, inputs.recipe["service_endpoint_domain"]
    exposure = settings["endpoint_exposure"]
    annotations = dict(settings["service_annotations"] or {})
    network = exposure == "load_balancer" and annotations.get(TYPE_ANNOTATION) == NETWORK
    tls = _tls(settings, findings)
    to_pod = tls not in (None, "none") and (network or settings["endpoint_tls_to_pod"])
    dashboard = exposure != "none" and settings["endpoint_dashboard"] and tls != "none" and not to_pod
    _check(settings, findings)
    hosts: dict[str, str] = {}
    if domain and exposure == "none":
        findings.fault(
            "domain_without_endpoint",
            "service_endpoint_domain",
            f"{domain}, and endpoint_exposure is none",
            "an endpoint that can have a name",
            "set endpoint_exposure, or remove service_endpoint_domain",
        )
    elif domain:
        hosts = _hosts(inputs.name, domain.lower(), dashboard)
        annotations.setdefault(HOSTNAME_ANNOTATION, ",".join(hosts.values()))
    if tls == "none":
        findings.warnings.append(endpoint_without_tls("endpoint_tls"))
    elif to_pod and settings["endpoint_dashboard"]:
        findings.warn(
            "dashboard_not_exposed",
            "endpoint_dashboard",
            "TLS ends in the pod, where Ray's dashboard has none, so it is not exposed",
            "",
            "reach it by kubectl port-forward, or set endpoint_dashboard: false",
        )
    return {
        "exposure": exposure,
        "annotations": annotations,
        "hosts": hosts,
        "metrics_namespaces": list(settings["metrics_namespaces"] or ()),
        "monitoring": _monitoring(settings, findings),
        "tls": tls,
        "tls_secret": settings["endpoint_tls_secret"] if tls == "secret" else None,
        "issuer": _issuer(settings) if tls == "issuer" else None,
        "tls_to_pod": to_pod,
        "network": network,
        "public": settings["endpoint_public"],
        "source_ranges": _ranges(settings, findings),
        "subnet": settings["endpoint_subnet_id"],
        "nsgs": list(settings["endpoint_nsg_ids"] or ()),
        "dashboard": dashboard,
        "ingress_class": settings["endpoint_ingress_class"] if exposure == "ingress" else None,
        "gateway": _gateway(inputs) if exposure == "gateway" else None,
        "idle_seconds": settings["endpoint_idle_timeout_seconds"],
    }


def _monitoring(settings: Mapping[str, Any], findings: Findings) -> str | None:
    """Return who watches the deployment; None where nobody does."""
    if settings["monitoring"] == "none":
        return None
    if not settings["metrics_namespaces"]:
        findings.warn(
            "metrics_namespaces_missing",
            "metrics_namespaces",
            "not given, and NetworkPolicies keep every other namespace from the metrics of Ray and of the group",
            "the namespace of Prometheus",
            "give it, such as [monitoring]",
        )
    return str(settings["monitoring"])


def endpoint_without_tls(where: str) -> Fault:
    """Return the warning of an endpoint that is asked in clear."""
    return Fault(
        "endpoint_without_tls",
        where,
        "no TLS: API key, prompts and answers can be read on the way, and Ray's dashboard is not exposed",
        "TLS",
        "remove endpoint_tls: none",
    )


def hosts_at(plan: Plan, address: str | None) -> dict[str, str]:
    """Return the hosts of api and dashboard: below the domain, else of nip.io with the address; {} before there is one.

    An address that is a name already (a load balancer with a host name) has none below nip.io.
    """
    endpoint = plan["endpoint"]
    if endpoint["hosts"] or not address:
        return dict(endpoint["hosts"])
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return {}
    # nip.io takes hyphens for the dots of IPv4, and for the colons of IPv6 written out.
    words = str(parsed).replace(".", "-") if parsed.version == 4 else parsed.exploded.replace(":", "-")
    return _hosts(plan["deployment"]["name"], f"{words}.nip.io", endpoint["dashboard"])


def tls_arguments(endpoint: Endpoint) -> tuple[str, ...]:
    """Return vLLM's arguments where TLS ends in the pod."""
    if not endpoint["tls_to_pod"]:
        return ()
    return ("--ssl-certfile", f"{SERVED_TLS_FOLDER}/tls.crt", "--ssl-keyfile", f"{SERVED_TLS_FOLDER}/tls.key")


def _hosts(name: str, domain: str, dashboard: bool) -> dict[str, str]:
    host = f"{name}.{domain}"
    return {"api": host, **({"dashboard": f"dashboard.{host}"} if dashboard else {})}


def _tls(settings: Mapping[str, Any], findings: Findings) -> str | None:
    """Return where the certificate comes from; None where nothing is exposed."""
    exposure, given = settings["endpoint_exposure"], settings["endpoint_tls"]
    if exposure == "none":
        return None
    if exposure == "gateway":
        if given not in (None, "none"):
            found, expected = f"{given} with endpoint_exposure: gateway", "none, or nothing"
            findings.fault("endpoint_tls", "endpoint_tls", found, expected, "give the Gateway's listener a certificate")
        return "none" if given == "none" else "listener"
    secret, issuer = settings["endpoint_tls_secret"], settings["endpoint_tls_issuer"]
    found = given or ("secret" if secret else "issuer" if issuer else "self_signed")
    wanted = {"secret": "endpoint_tls_secret", "issuer": "endpoint_tls_issuer"}
    for source, name in wanted.items():
        if (found == source) != bool(settings[name]):
            what = "given" if settings[name] else "not given"
            findings.fault(
                "endpoint_tls",
                name,
                f"{what}, and the certificate comes from {found}",
                f"endpoint_tls: {source} with it",
                "correct one",
            )
    return str(found)


def _check(settings: Mapping[str, Any], findings: Findings) -> None:
    """What is given for another exposure would have no effect; what the exposure needs has to be there."""
    exposure = settings["endpoint_exposure"]
    for name, exposures in _MEANT_FOR.items():
        if exposure != "none" and settings[name] and exposure not in exposures:
            found = f"given, and endpoint_exposure is {exposure}"
            expected = f"endpoint_exposure: {' or '.join(exposures)}"
            findings.fault("endpoint_setting", name, found, expected, "remove it; service_annotations may do the same")
    needed = _NEEDED.get(exposure)
    if needed and not settings[needed]:
        findings.fault("endpoint_setting", needed, "not given", f"one, for endpoint_exposure: {exposure}", "name it")


def _issuer(settings: Mapping[str, Any]) -> Issuer | None:
    kind, _slash, name = (settings["endpoint_tls_issuer"] or "").partition("/")
    return {"kind": kind, "name": name} if name else None


def _gateway(inputs: Inputs) -> Gateway | None:
    text = inputs.settings["endpoint_gateway"]
    if not text:
        return None
    parts = text.split("/")
    namespace = parts[0] if len(parts) > 1 else inputs.settings["namespace"] or inputs.name
    listener = parts[2] if len(parts) > 2 else None
    return {"namespace": namespace, "name": parts[min(1, len(parts) - 1)], "listener": listener}


def _ranges(settings: Mapping[str, Any], findings: Findings) -> list[str]:
    """Return the blocks as Kubernetes takes them: with the length of their prefix, an address alone too."""
    ranges: list[str] = []
    for number, text in enumerate(settings["endpoint_source_ranges"] or ()):
        try:
            network = ipaddress.ip_network(text)
            if "%" in text:
                raise ValueError(text)
        except ValueError:
            place = f"endpoint_source_ranges[{number}]"
            findings.fault("address_range", place, shown(text), "a block such as 10.0.0.0/16", "correct it")
        else:
            ranges.append(str(network))
    return list(dict.fromkeys(ranges))
