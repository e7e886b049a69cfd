# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ingresses and HTTPRoutes ask of a proxy, and the proxy's (Caddy's) configuration for it.

Facts imitated:
- an Ingress is served by the controller of its IngressClass alone; a class without a controller serves nothing
- ingress-nginx: an Ingress with `tls` is redirected from HTTP with 308 unless ssl-redirect is false; a Secret that is missing gives a
  certificate for nobody; a body of more than proxy-body-size (1m; 0 is any) is 413; a backend that says nothing for proxy-read-timeout
  (60 s) ends the answer; a host that no rule has is 404
- Gateway API: a route attaches to the listeners of its parent (sectionName: to that one) whose namespace rule and hostname allow it, or is
  not Accepted with a reason; timeouts.request 0s is none
"""

from __future__ import annotations

import dataclasses
from typing import Any

Object = dict[str, Any]
NGINX = "nginx.ingress.kubernetes.io/"
READ_SECONDS, BODY_BYTES = 60.0, 2**20


@dataclasses.dataclass(frozen=True)
class Site:
    """One host at one address: where it leads (namespace, Service, port), or where it is redirected to."""

    address: str
    secure: bool
    host: str
    backend: tuple[str, str, Any] | None = None
    redirect: int | None = None
    read_seconds: float | None = READ_SECONDS
    body_bytes: int | None = None


def ingress_sites(ingresses: list[Object], served: set[str], address: str) -> tuple[list[Site], set[tuple[str, str]]]:
    """The sites of the Ingresses of the classes that are served, and the Secrets (namespace, name) of their certificates."""
    sites, secrets = [], set()
    for item in ingresses:
        spec, namespace = item["spec"], item["metadata"]["namespace"]
        if spec.get("ingressClassName") not in served:
            continue
        said = item["metadata"].get("annotations") or {}
        body = said.get(f"{NGINX}proxy-body-size")
        more = {
            "read_seconds": float(said.get(f"{NGINX}proxy-read-timeout", READ_SECONDS)),
            "body_bytes": None if body == "0" else BODY_BYTES,
        }
        secured = {host for entry in spec.get("tls") or [] for host in entry.get("hosts") or []}
        secrets |= {(namespace, entry["secretName"]) for entry in spec.get("tls") or [] if entry.get("secretName")}
        for rule in spec.get("rules") or []:
            service = rule["http"]["paths"][0]["backend"]["service"]
            backend = (namespace, service["name"], service["port"].get("name") or service["port"].get("number"))
            host = rule["host"]
            if host in secured:
                sites.append(Site(address, True, host, backend, **more))
            if host in secured and said.get(f"{NGINX}ssl-redirect", "true") == "true":
                sites.append(Site(address, False, host, redirect=308))
            else:
                sites.append(Site(address, False, host, backend, **more))
    return sites, secrets


def attach(route: Object, gateway: Object) -> tuple[list[Object], str]:
    """The listeners of a Gateway that take a route, and why none does where none does."""
    namespace = route["metadata"]["namespace"]
    named = {parent.get("sectionName") for parent in route["spec"]["parentRefs"]}
    found = [one for one in gateway["spec"]["listeners"] if None in named or one["name"] in named]
    if not found:
        return [], "NoMatchingParent"
    allowed = [one for one in found if _allows(one, gateway, namespace)]
    if not allowed:
        return [], "NotAllowedByListeners"
    matching = [one for one in allowed if any(_matches(one, host) for host in route["spec"].get("hostnames") or [""])]
    return matching, "" if matching else "NoMatchingListenerHostname"


def route_sites(route: Object, listeners: list[Object], address: str) -> list[Site]:
    """The sites of a route on the listeners that take it."""
    sites = []
    rule = route["spec"]["rules"][0]
    redirect = next((one for one in rule.get("filters") or [] if one["type"] == "RequestRedirect"), None)
    asked = (rule.get("timeouts") or {}).get("request")
    for listener in listeners:
        for host in route["spec"].get("hostnames") or []:
            secure = listener["protocol"] == "HTTPS"
            if redirect:
                sites.append(Site(address, secure, host, redirect=redirect["requestRedirect"].get("statusCode", 302)))
                continue
            reference = rule["backendRefs"][0]
            backend = (route["metadata"]["namespace"], reference["name"], reference["port"])
            seconds = None if asked == "0s" else READ_SECONDS
            sites.append(Site(address, secure, host, backend, read_seconds=seconds))
    return sites


def caddy(
    sites: list[Site],
    pairs: list[tuple[str, str]],
    upstreams: dict[tuple[str, str, Any], list[str]],
    admin: str,
    scale: float,
) -> Object:
    """Caddy's configuration. upstreams: the addresses of each backend; scale: of the idle time-outs."""
    servers: dict[str, Object] = {}
    for site in sites:
        port = 443 if site.secure else 80
        server = servers.setdefault(
            f"{site.address}-{port}",
            {
                "listen": [f"{site.address}:{port}"],
                "automatic_https": {"disable": True},
                **({"tls_connection_policies": [{}]} if site.secure else {}),
                "routes": [],
            },
        )
        server["routes"].append(
            {"match": [{"host": [site.host]}], "handle": _handle(site, upstreams, scale), "terminal": True}
        )
    for server in servers.values():
        server["routes"].append({"handle": [{"handler": "static_response", "status_code": 404}]})
    apps: Object = {"http": {"servers": servers}}
    if pairs:
        apps["tls"] = {"certificates": {"load_pem": [{"certificate": one, "key": key} for one, key in pairs]}}
    # Of loopback addresses it takes 127.0.0.1 only, unless another is named.
    return {"admin": {"listen": admin, "origins": [admin]}, "apps": apps}


def _handle(site: Site, upstreams: dict[tuple[str, str, Any], list[str]], scale: float) -> list[Object]:
    if site.redirect:
        location = ["https://{http.request.host}{http.request.uri}"]
        return [{"handler": "static_response", "status_code": site.redirect, "headers": {"Location": location}}]
    assert site.backend is not None
    found = upstreams.get(site.backend) or []
    if not found:
        return [{"handler": "static_response", "status_code": 503}]
    transport: Object = {"protocol": "http"}
    if site.read_seconds is not None:
        transport["read_timeout"] = int(site.read_seconds * scale * 1e9)
    handlers: list[Object] = []
    if site.body_bytes is not None:
        handlers.append({"handler": "request_body", "max_size": site.body_bytes})
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": one} for one in found],
        "flush_interval": -1,
        "transport": transport,
    }
    return [*handlers, proxy]


def _allows(listener: Object, gateway: Object, namespace: str) -> bool:
    source = ((listener.get("allowedRoutes") or {}).get("namespaces") or {}).get("from", "Same")
    return bool(source == "All" or (source == "Same" and gateway["metadata"]["namespace"] == namespace))


def _matches(listener: Object, host: str) -> bool:
    wanted = listener.get("hostname")
    return not wanted or host == wanted or (wanted.startswith("*.") and host.endswith(wanted[1:]))
