# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an endpoint: below a domain, told to external-dns, and said to be missing where nothing leads to them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.endpoint import hosts_at
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability.checks import missing_records

from ..plans import exposed, plan

EXPOSED = {"endpoint_exposure": "load_balancer", "service_endpoint_domain": "LLM.example.com"}
HOSTS = {"api": "rayclustervmtest.llm.example.com", "dashboard": "dashboard.rayclustervmtest.llm.example.com"}
ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"


def service(**changes: Any) -> dict[str, Any]:
    return next(item for item in render(plan(**changes), {}) if item["kind"] == "Service")


def test_api_and_dashboard_have_names_below_the_domain() -> None:
    assert plan(**EXPOSED)["endpoint"]["hosts"] == HOSTS
    assert service(**EXPOSED)["metadata"]["annotations"][ANNOTATION] == ",".join(HOSTS.values())
    own = service(**EXPOSED, service_annotations={ANNOTATION: "mine.example.com"})
    assert own["metadata"]["annotations"][ANNOTATION] == "mine.example.com"


def test_without_a_domain_there_are_none() -> None:
    assert plan(endpoint_exposure="load_balancer")["endpoint"]["hosts"] == {}
    assert ANNOTATION not in service(endpoint_exposure="load_balancer")["metadata"]["annotations"]


def test_a_domain_without_an_endpoint_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        plan(service_endpoint_domain="example.com")
    assert [fault.code for fault in refused.value.faults] == ["domain_without_endpoint"]


def test_a_namespace_that_cannot_be_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        plan(metrics_namespaces=["monitoring", "My Namespace"])
    assert [fault.where for fault in refused.value.faults] == ["metrics_namespaces[1]"]


def test_a_domain_touches_no_pod() -> None:
    made = plan(endpoint_exposure="load_balancer"), plan(**EXPOSED)
    clusters = [next(item for item in render(one, {}) if item["kind"] == "RayCluster")["spec"] for one in made]
    assert clusters[0] == clusters[1]


def test_the_missing_record_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"there.example.com": "192.0.2.7", "elsewhere.example.com": "192.0.2.8"}

    def look_up(name: str, *_: Any, **__: Any) -> list[Any]:
        if name in known or name == "192.0.2.7":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known.get(name, name), 0))]
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = ["there.example.com", "elsewhere.example.com", "absent.example.com"]
    elsewhere, absent = missing_records(names, "192.0.2.7")
    assert "leads to 192.0.2.8" in elsewhere.line()
    assert "make the DNS record: absent.example.com A 192.0.2.7" in absent.line()


def codes(**changes: Any) -> list[tuple[str, str]]:
    """Code and place of each fault that a plan with these settings is refused for."""
    with pytest.raises(Refused) as refused:
        plan(**changes)
    return [(fault.code, fault.where) for fault in refused.value.faults]


def warned(made: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in made["warnings"]}


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        (exposed("none"), None),
        (exposed("load_balancer"), "self_signed"),
        (exposed("ingress"), "self_signed"),
        (exposed("gateway"), "listener"),
        (exposed("gateway", endpoint_tls="none"), "none"),
        (exposed("ingress", endpoint_tls="none"), "none"),
        (exposed("ingress", endpoint_tls_secret="mine"), "secret"),
        (exposed("load_balancer", endpoint_tls_issuer="ClusterIssuer/le"), "issuer"),
    ],
)
def test_tls_is_on_wherever_traffic_leaves_the_cluster_unless_asked_otherwise(
    changes: dict[str, Any], source: str | None
) -> None:
    made = plan(**changes)
    assert made["endpoint"]["tls"] == source
    assert ("endpoint_without_tls" in warned(made)) == (source == "none")
    assert made["endpoint"]["dashboard"] == (source not in (None, "none"))


def test_the_dashboard_can_be_left_out_and_is_where_it_would_have_no_tls() -> None:
    assert plan(**exposed("ingress", endpoint_dashboard=False))["endpoint"]["dashboard"] is False
    to_pod = plan(**exposed("load_balancer", endpoint_tls_to_pod=True))
    assert to_pod["endpoint"]["dashboard"] is False and "dashboard_not_exposed" in warned(to_pod)
    told = plan(**exposed("load_balancer", endpoint_tls_to_pod=True, endpoint_dashboard=False))
    assert "dashboard_not_exposed" not in warned(told)


def test_a_network_load_balancer_leaves_tls_to_the_pod() -> None:
    made = plan(**exposed("load_balancer", service_annotations={"oci.oraclecloud.com/load-balancer-type": "nlb"}))
    assert made["endpoint"]["tls_to_pod"] and made["endpoint"]["network"]
    words = made["engine"]["args"]
    assert words[words.index("--ssl-certfile") + 1] == "/run/secrets/multinode/tls-served/tls.crt"
    assert ["--enable-ssl-refresh"] in made["engine"]["optional"]
    assert words[-2:] == ["--middleware", "engine_key_guard.KeyGuard"], "the guard stays outermost"
    assert "--ssl-certfile" not in plan(**exposed("load_balancer"))["engine"]["args"]


def test_tls_in_the_pod_alone_restarts_the_group() -> None:
    cluster = [
        next(item for item in render(plan(**changes), {}) if item["kind"] == "RayCluster")["spec"]
        for changes in (
            exposed("none"), exposed("load_balancer"), exposed("ingress"), exposed("gateway"),
            exposed("load_balancer", endpoint_tls_to_pod=True),
        )
    ]  # fmt: skip
    assert cluster[0] == cluster[1] == cluster[2] == cluster[3] != cluster[4]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"endpoint_exposure": "ingress"}, ("endpoint_setting", "endpoint_ingress_class")),
        ({"endpoint_exposure": "gateway"}, ("endpoint_setting", "endpoint_gateway")),
        (exposed("gateway", endpoint_gateway="a/b/c/d"), ("gateway", "endpoint_gateway")),
        (exposed("ingress", endpoint_ingress_class="A class"), ("object_name", "endpoint_ingress_class")),
        (exposed("ingress", endpoint_public=True), ("endpoint_setting", "endpoint_public")),
        (exposed("ingress", endpoint_tls_to_pod=True), ("endpoint_setting", "endpoint_tls_to_pod")),
        (exposed("load_balancer", endpoint_gateway="a/b"), ("endpoint_setting", "endpoint_gateway")),
        (exposed("gateway", endpoint_tls="self_signed"), ("endpoint_tls", "endpoint_tls")),
        (exposed("ingress", endpoint_tls="secret"), ("endpoint_tls", "endpoint_tls_secret")),
        (exposed("ingress", endpoint_tls="issuer"), ("endpoint_tls", "endpoint_tls_issuer")),
        (exposed("ingress", endpoint_tls="none", endpoint_tls_secret="a"), ("endpoint_tls", "endpoint_tls_secret")),
        (exposed("ingress", endpoint_tls_issuer="le"), ("issuer", "endpoint_tls_issuer")),
        (
            exposed("load_balancer", endpoint_source_ranges=["10.0.0.1/8"]),
            ("address_range", "endpoint_source_ranges[0]"),
        ),
        (exposed("load_balancer", endpoint_subnet_id="ocid1.vcn.oc1..a"), ("ocid", "endpoint_subnet_id")),
        (exposed("load_balancer", endpoint_nsg_ids=["x"]), ("ocid", "endpoint_nsg_ids[0]")),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_made(
    changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert codes(**changes) == [fault]


@pytest.mark.parametrize(
    ("text", "gateway"),
    [
        ("main", ("rayclustervmtest", "main", None)),
        ("edge/main", ("edge", "main", None)),
        ("edge/main/https-1", ("edge", "main", "https-1")),
    ],
)
def test_a_gateway_is_named_with_namespace_and_listener(text: str, gateway: tuple[str, str, str | None]) -> None:
    found = plan(**exposed("gateway", endpoint_gateway=text))["endpoint"]["gateway"]
    assert (found["namespace"], found["name"], found["listener"]) == gateway


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("132.226.50.64", "rayclustervmtest.132-226-50-64.nip.io"),
        ("2001:db8::7", "rayclustervmtest.2001-0db8-0000-0000-0000-0000-0000-0007.nip.io"),
        ("lb.example.com", None),
        (None, None),
    ],
)
def test_hosts_without_a_domain_are_made_of_the_address(address: str | None, host: str | None) -> None:
    made = plan(**exposed("ingress"))
    assert hosts_at(made, address) == ({"api": host, "dashboard": f"dashboard.{host}"} if host else {})
    below = plan(**exposed("ingress", service_endpoint_domain="example.com"))
    assert hosts_at(below, address)["api"] == "rayclustervmtest.example.com"


@pytest.mark.parametrize(
    "domain",
    [
        "llm.example.com.", "*.example.com", "b\u00fccher.example", "a..b", "-a.example", "a_b.example", "192.0.2.7",
        "https://a.example", "a.example/x", "a.example:443", "a" * 64 + ".example", ".".join(["a" * 49] * 5),
    ],
)  # fmt: skip
def test_a_domain_that_no_host_can_stand_below_is_refused(domain: str) -> None:
    assert codes(**exposed("ingress", service_endpoint_domain=domain)) == [("domain", "service_endpoint_domain")]


def test_the_longest_names_are_names_still() -> None:
    domain = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 8])
    hosts = plan(**exposed("ingress", service_endpoint_domain=domain, deployment_name="x" * 40))["endpoint"]["hosts"]
    assert max(map(len, hosts.values())) <= 253
    assert plan(**exposed("ingress", service_endpoint_domain="xn--bcher-kva.example"))["endpoint"]["hosts"]


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10", "010.0.0.0/8", "fe80::1%eth0/128", "10.0.0.0 - 10.0.0.9", ""])
def test_what_is_no_block_of_addresses_is_refused(text: str) -> None:
    place = ("address_range", "endpoint_source_ranges[1]")
    assert codes(**exposed("load_balancer", endpoint_source_ranges=["10.0.0.0/8", text])) == [place]


def test_blocks_are_written_as_kubernetes_takes_them() -> None:
    given = ["10.0.0.1", "10.0.0.0/255.0.0.0", "2001:DB8::/32", "10.0.0.1/32"]
    made = plan(**exposed("load_balancer", endpoint_source_ranges=given))
    assert made["endpoint"]["source_ranges"] == ["10.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]
