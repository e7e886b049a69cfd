# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an endpoint: below a domain, told to external-dns, and said to be missing where nothing leads to them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.plugin_utils.endpoint import missing_records

from ..plans import plan

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
