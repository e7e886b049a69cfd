# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller of Ingresses and Gateways makes of objects, and what it tells the proxy."""

from __future__ import annotations

from typing import Any

import pytest

from rig.web_controller import routes
from rig.web_controller.routes import Site


def ingress(**annotations: str) -> dict[str, Any]:
    service = {"service": {"name": "api", "port": {"name": "http"}}}
    rule = {"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}
    return {
        "metadata": {
            "namespace": "ns",
            "name": "web",
            "annotations": {f"nginx.ingress.kubernetes.io/{key}": value for key, value in annotations.items()},
        },
        "spec": {"ingressClassName": "web", "rules": [rule], "tls": [{"hosts": ["a.example"], "secretName": "pair"}]},
    }


def route(**changes: Any) -> dict[str, Any]:
    rule = {"backendRefs": [{"name": "api", "port": 80}]}
    spec = {"parentRefs": [{"name": "main"}], "hostnames": ["a.example"], "rules": [rule], **changes}
    return {"metadata": {"namespace": "ns", "name": "r"}, "spec": spec}


def gateway(*listeners: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "edge", "name": "main"}, "spec": {"listeners": list(listeners)}}


def listener(name: str, allowed: str = "All", **more: Any) -> dict[str, Any]:
    return {"name": name, "protocol": "HTTPS", "port": 443, "allowedRoutes": {"namespaces": {"from": allowed}}, **more}


def test_only_ingresses_of_a_served_class_are_served() -> None:
    assert routes.ingress_sites([ingress()], {"other"}, "127.0.0.9") == ([], set())


def test_an_ingress_with_tls_is_redirected_and_bounded_as_nginx_does_unasked() -> None:
    sites, secrets = routes.ingress_sites([ingress()], {"web"}, "127.0.0.9")
    assert secrets == {("ns", "pair")}
    secure, plain = sites
    assert (secure.backend, secure.read_seconds, secure.body_bytes) == (("ns", "api", "http"), 60.0, 2**20)
    assert (plain.secure, plain.redirect) == (False, 308)


def test_annotations_change_what_is_bounded() -> None:
    asked = {"proxy-read-timeout": "3600", "proxy-body-size": "0", "ssl-redirect": "false"}
    (secure, plain), _secrets = routes.ingress_sites([ingress(**asked)], {"web"}, "127.0.0.9")
    assert (secure.read_seconds, secure.body_bytes) == (3600.0, None)
    assert plain.redirect is None and plain.backend


@pytest.mark.parametrize(
    ("listeners", "parent", "names", "reason"),
    [
        ([listener("a")], {}, ["a"], ""),
        ([listener("a"), listener("b")], {"sectionName": "b"}, ["b"], ""),
        ([listener("a")], {"sectionName": "c"}, [], "NoMatchingParent"),
        ([listener("a", "Same")], {}, [], "NotAllowedByListeners"),
        ([listener("a", hostname="b.example")], {}, [], "NoMatchingListenerHostname"),
        ([listener("a", hostname="*.example")], {}, ["a"], ""),
    ],
)
def test_a_route_attaches_to_what_allows_it(
    listeners: list[dict[str, Any]], parent: dict[str, str], names: list[str], reason: str
) -> None:
    found, why = routes.attach(route(parentRefs=[{"name": "main", **parent}]), gateway(*listeners))
    assert ([one["name"] for one in found], why) == (names, reason)


def test_a_route_says_how_long_it_takes_and_where_it_leads() -> None:
    (site,) = routes.route_sites(route(), [listener("a")], "127.0.0.9")
    assert site.read_seconds == 60.0 and site.backend == ("ns", "api", 80)
    endless = route(rules=[{"backendRefs": [{"name": "api", "port": 80}], "timeouts": {"request": "0s"}}])
    assert routes.route_sites(endless, [listener("a")], "127.0.0.9")[0].read_seconds is None
    redirect = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]}
    assert routes.route_sites(route(rules=[redirect]), [listener("a")], "127.0.0.9")[0].redirect == 301


def test_the_proxy_is_told_hosts_certificates_and_times() -> None:
    sites = [
        Site("127.0.0.9", True, "a.example", ("ns", "api", 80)),
        Site("127.0.0.9", False, "a.example", redirect=308),
    ]
    made = routes.caddy(sites, [("CERT", "KEY")], {("ns", "api", 80): ["10.0.0.1:8000"]}, "127.0.0.8:2019", 0.1)
    servers = made["apps"]["http"]["servers"]
    assert {name: server["listen"] for name, server in servers.items()} == {
        "127.0.0.9-443": ["127.0.0.9:443"],
        "127.0.0.9-80": ["127.0.0.9:80"],
    }
    (first, last) = servers["127.0.0.9-443"]["routes"]
    (proxy,) = first["handle"]
    assert proxy["upstreams"] == [{"dial": "10.0.0.1:8000"}] and proxy["flush_interval"] == -1
    assert proxy["transport"]["read_timeout"] == 6_000_000_000
    assert last["handle"][0]["status_code"] == 404, "a host that nobody has"
    assert made["apps"]["tls"]["certificates"]["load_pem"] == [{"certificate": "CERT", "key": "KEY"}]
    unready = routes.caddy(sites, [], {}, "127.0.0.8:2019", 1)["apps"]["http"]["servers"]["127.0.0.9-443"]["routes"][0]
    assert unready["handle"][0]["status_code"] == 503
