# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller of Ingresses and Gateways makes of objects, and what it tells the proxy."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
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


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; /slow is silent for a while first."""

    def do_POST(self) -> None:
        length = len(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/slow":
            time.sleep(1.5)
        body = json.dumps({"host": self.headers["Host"], "length": length}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Caddy with three sites: patient without a bound, impatient with one, and their redirects."""
    folder = tmp_path_factory.mktemp("caddy")
    now = certificates.datetime.datetime.now(certificates.datetime.timezone.utc)
    authority = certificates.new_authority("web", now)
    data = certificates.issue(authority, ["patient.example", "impatient.example"], now)
    address, admin = "127.94.255.1", "127.94.255.3:2019"
    upstream = http.server.ThreadingHTTPServer(("127.94.255.9", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    backend = ("ns", "api", 80)
    sites = [
        Site(address, True, "patient.example", backend, read_seconds=None),
        Site(address, True, "impatient.example", backend, read_seconds=1, body_bytes=1000),
        Site(address, False, "patient.example", redirect=308),
    ]
    upstreams = {backend: [f"127.94.255.9:{upstream.server_port}"]}
    first = folder / "caddy.json"
    first.write_text(json.dumps(routes.caddy([], [], {}, admin, 1)))
    program = shutil.which("caddy") or str(Path(sys.executable).with_name("caddy"))
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "run", "--config", str(first)], env=environment, stdout=log, stderr=log)
    try:
        host, _colon, port = admin.partition(":")
        for _try in range(100):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        made = routes.caddy(sites, [(data["tls.crt"], data["tls.key"])], upstreams, admin, 1)
        request = urllib.request.Request(
            f"http://{admin}/load", json.dumps(made).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
        yield address, authority
    finally:
        process.terminate()
        process.wait(30)
        upstream.shutdown()


def asked(proxy: tuple[str, dict[str, str]], host: str, path: str = "/", body: bytes = b"x") -> tuple[int, bytes]:
    """Status and body of an answer over TLS, the chain verified."""
    address, authority = proxy
    context = ssl.create_default_context(cadata=authority["tls.crt"])
    with context.wrap_socket(socket.create_connection((address, 443), 10), server_hostname=host) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)
        received = b""
        while data := connection.recv(65536):
            received += data
    return int(received.split()[1]), received.partition(b"\r\n\r\n")[2]


def test_the_real_proxy_routes_by_host_with_tls_and_bounds_what_it_is_told_to(
    proxy: tuple[str, dict[str, str]],
) -> None:
    large = b"x" * 5000
    status, body = asked(proxy, "patient.example", body=large)
    assert status == 200 and json.loads(body) == {"host": "patient.example", "length": 5000}
    assert asked(proxy, "patient.example", "/slow")[0] == 200
    assert asked(proxy, "impatient.example", body=large)[0] == 413
    assert asked(proxy, "impatient.example", "/slow")[0] in (502, 504)
    with pytest.raises(ssl.SSLError):
        asked(proxy, "other.example")


def test_the_real_proxy_redirects_and_has_no_other_host(proxy: tuple[str, dict[str, str]]) -> None:
    for host, status in (("patient.example", b"308"), ("other.example", b"404")):
        with socket.create_connection((proxy[0], 80), 10) as connection:
            connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = connection.recv(65536)
        assert answer.split()[1] == status
        assert status != b"308" or b"Location: https://patient.example/v1/models\r\n" in answer
