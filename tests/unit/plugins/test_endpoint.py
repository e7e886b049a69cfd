# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint in its cluster: its certificate over time, another address, another exposure, and what it lacks still."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils import endpoint as endpoints
from ansible_collections.multinode.inference.plugins.plugin_utils.endpoint import Endpoint
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability.checks import check_cluster
from tests.unit.core.plans import exposed, plan

NAME = "rayclustervmtest"
TLS, BALANCER = f"{NAME}-tls", "service.beta.kubernetes.io/oci-load-balancer-"
PREFIXES = {
    "Service": "/api/v1/namespaces/{}/services",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "Gateway": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/gateways",
    "Certificate": "/apis/cert-manager.io/v1/namespaces/{}/certificates",
}


class FakeCluster:
    """Objects by their paths, applied and removed as the actions do."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}

    def put(self, *objects: dict[str, Any]) -> None:
        for item in objects:
            path = PREFIXES[item["kind"]].format(item["metadata"]["namespace"])
            stands = self.objects.get(f"{path}/{item['metadata']['name']}", {})
            if "stringData" in item:
                data = {key: base64.b64encode(value.encode()).decode() for key, value in item["stringData"].items()}
                item = {**item, "data": data}
            self.objects[f"{path}/{item['metadata']['name']}"] = {"status": stands.get("status", {}), **item}

    def status(self, kind: str, name: str, status: dict[str, Any], namespace: str = NAME) -> None:
        self.objects[f"{PREFIXES[kind].format(namespace)}/{name}"]["status"] = status

    def get(self, path: str, **_query: str) -> Any:
        return self.objects.get(path)

    def items(self, path: str, **_query: str) -> list[dict[str, Any]]:
        return [item for place, item in self.objects.items() if place.rpartition("/")[0] == path]

    metadata = items

    def names(self, kind: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.items(PREFIXES[kind].format(NAME))}


class Run:
    """One run of deploy as far as the endpoint goes."""

    def __init__(self, cluster: FakeCluster, **changes: Any) -> None:
        self.cluster = cluster
        self.endpoint = Endpoint(cluster, plan(**changes))  # type: ignore[arg-type]

    def settle(self) -> Run:
        secrets = self.endpoint.look()
        for item in self.endpoint.in_the_way():
            del self.cluster.objects[f"{PREFIXES['Service'].format(NAME)}/{item['metadata']['name']}"]
            secrets = self.endpoint.look()
        self.cluster.put(*secrets, *self.endpoint.objects())
        for item in self.endpoint.stale():
            self.cluster.objects.pop(f"{PREFIXES[item['kind']].format(NAME)}/{item['metadata']['name']}")
        self.endpoint.look()
        return self

    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.objects[f"{PREFIXES['Service'].format(NAME)}/{NAME}-api"]
        return found


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime.datetime]:
    now = [datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)]
    monkeypatch.setattr(endpoints, "_now", lambda: now[0])
    # Many are made here, and none is relied on.
    monkeypatch.setattr(certificates, "_BITS", 1024)
    return now


def secret(cluster: FakeCluster, name: str) -> dict[str, str]:
    data = cluster.objects[f"{PREFIXES['Secret'].format(NAME)}/{name}"]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def balanced(cluster: FakeCluster, address: str) -> None:
    cluster.status("Service", f"{NAME}-api", {"loadBalancer": {"ingress": [{"ip": address}]}})


def test_a_load_balancer_has_a_certificate_before_it_has_an_address(
    cluster: FakeCluster, clock: list[datetime.datetime]
) -> None:
    run = Run(cluster, **exposed("load_balancer")).settle()
    named = run.service()["metadata"]["annotations"][f"{BALANCER}tls-secret"]
    assert named in cluster.names("Secret") and named.startswith(f"{TLS}-")
    assert run.endpoint.reach() is None and "has no address yet" in str(run.endpoint.problem())
    balanced(cluster, "192.0.2.7")
    run.endpoint.look()
    assert not run.endpoint.is_settled
    run.settle()
    assert run.endpoint.is_settled and run.endpoint.problem() is None
    again = run.service()["metadata"]["annotations"][f"{BALANCER}tls-secret"]
    # OCI knows a certificate by the name of its Secret.
    assert again != named and named not in cluster.names("Secret")
    assert secret(cluster, again)["tls.crt"] == secret(cluster, TLS)["tls.crt"]
    assert set(secret(cluster, again)) == {"tls.crt", "tls.key"}
    reach = run.endpoint.reach()
    assert reach is not None and reach.url == f"https://{NAME}.192-0-2-7.nip.io" and reach.address == "192.0.2.7"
    assert reach.ca_pem == secret(cluster, f"{TLS}-authority")["tls.crt"]
    assert run.endpoint.dashboard_url(reach) == f"https://dashboard.{NAME}.192-0-2-7.nip.io:8265"


def test_a_second_run_makes_no_other_certificate(cluster: FakeCluster, clock: list[datetime.datetime]) -> None:
    Run(cluster, **exposed("load_balancer")).settle()
    balanced(cluster, "192.0.2.7")
    Run(cluster, **exposed("load_balancer")).settle()
    second = Run(cluster, **exposed("load_balancer"))
    assert second.endpoint.look() == [] and second.endpoint.is_settled and second.endpoint.stale() == []


def test_another_address_and_the_end_of_a_year_renew_the_certificate_by_the_same_authority(
    cluster: FakeCluster, clock: list[datetime.datetime]
) -> None:
    run = Run(cluster, **exposed("load_balancer")).settle()
    seen = []
    for address, days in (("192.0.2.7", 0), ("192.0.2.7", 300), ("192.0.2.8", 0), ("192.0.2.8", 336)):
        balanced(cluster, address)
        clock[0] += datetime.timedelta(days=days)
        run.settle()
        seen.append(secret(cluster, TLS)["tls.crt"])
        assert len(cluster.names("Secret")) == 3, "certificate, authority, and the load balancer's copy"
    assert seen[0] == seen[1] and len(set(seen)) == 3
    authority = secret(cluster, f"{TLS}-authority")["tls.crt"]
    assert secret(cluster, TLS)["ca.crt"] == authority


@pytest.mark.parametrize(("exposure", "days"), [("load_balancer", 400), ("ingress", 400), ("load_balancer", 4000)])
def test_what_ended_during_a_pause_is_renewed_before_the_objects_are_applied(
    cluster: FakeCluster, clock: list[datetime.datetime], exposure: str, days: int
) -> None:
    """Also the authority, after eleven years."""
    run = Run(cluster, **exposed(exposure, service_endpoint_domain="example.com")).settle()
    if exposure == "load_balancer":
        balanced(cluster, "192.0.2.7")
    run.settle()
    before = secret(cluster, TLS)["tls.crt"]
    clock[0] += datetime.timedelta(days=days)
    until = certificates.until(before)
    assert until and until < clock[0]
    resumed = Run(cluster, **exposed(exposure, service_endpoint_domain="example.com"))
    made = {item["metadata"]["name"] for item in resumed.endpoint.look()}
    assert TLS in made and (days < 3650 or f"{TLS}-authority" in made)
    resumed.settle()
    after = secret(cluster, TLS)
    until = certificates.until(after["tls.crt"])
    assert until and until > clock[0] + datetime.timedelta(days=300)
    assert after["ca.crt"] == secret(cluster, f"{TLS}-authority")["tls.crt"]
    if exposure == "load_balancer":
        balancers = resumed.endpoint.around.certificate
        assert balancers and secret(cluster, balancers)["tls.crt"] == after["tls.crt"]


def test_other_exposures_leave_nothing_of_the_former(cluster: FakeCluster, clock: list[datetime.datetime]) -> None:
    edge = {"kind": "Gateway", "metadata": {"name": "main", "namespace": "edge"}}
    listeners = [{"name": "s", "protocol": "HTTPS", "port": 443}, {"name": "p", "protocol": "HTTP", "port": 80}]
    cluster.put({**edge, "spec": {"listeners": listeners}})
    cluster.status("Gateway", "main", {"addresses": [{"value": "192.0.2.9"}]}, "edge")
    Run(cluster, **exposed("ingress")).settle()
    assert cluster.names("Ingress") == {NAME} and cluster.names("Secret") == {TLS, f"{TLS}-authority"}
    Run(cluster, **exposed("gateway")).settle()
    assert cluster.names("Ingress") == set() and cluster.names("Secret") == set()
    assert cluster.names("HTTPRoute") == {NAME, f"{NAME}-dashboard", f"{NAME}-redirect"}
    Run(cluster, **exposed("gateway", endpoint_dashboard=False)).settle()
    assert cluster.names("HTTPRoute") == {NAME, f"{NAME}-redirect"}
    run = Run(cluster, **exposed("none")).settle()
    assert cluster.names("HTTPRoute") == set()
    assert set(run.service()["metadata"]["annotations"]) == {
        "multinode.inference/endpoint",
        "multinode.inference/plan-hash",
    }


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, False),
        ({"endpoint_public": True}, True),
        ({"service_annotations": {"oci.oraclecloud.com/load-balancer-type": "nlb"}}, True),
        ({"endpoint_source_ranges": ["10.0.0.0/8"]}, False),
        ({"endpoint_tls": "none"}, False),
    ],
)
def test_a_load_balancer_of_another_kind_or_visibility_is_made_again(
    cluster: FakeCluster, clock: list[datetime.datetime], changes: dict[str, Any], again: bool
) -> None:
    Run(cluster, **exposed("load_balancer")).settle()
    other = Run(cluster, **exposed("load_balancer", **changes))
    other.endpoint.look()
    assert bool(other.endpoint.in_the_way()) is again


def test_an_address_that_is_a_name_needs_a_domain(cluster: FakeCluster, clock: list[datetime.datetime]) -> None:
    run = Run(cluster, **exposed("ingress")).settle()
    cluster.status("Ingress", NAME, {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}})
    run.settle()
    with pytest.raises(Refused) as refused:
        run.endpoint.problem()
    assert [fault.code for fault in refused.value.faults] == ["address_is_a_name"]


def test_what_a_gateway_says_of_a_route_is_told(cluster: FakeCluster, clock: list[datetime.datetime]) -> None:
    edge = {"kind": "Gateway", "metadata": {"name": "main", "namespace": "edge"}}
    cluster.put({**edge, "spec": {"listeners": [{"name": "s", "protocol": "HTTPS", "port": 443}]}})
    cluster.status("Gateway", "main", {"addresses": [{"value": "192.0.2.9"}]}, "edge")
    run = Run(cluster, **exposed("gateway")).settle()
    assert run.endpoint.problem() == f"no controller has taken HTTPRoute {NAME} yet" and not run.endpoint.refusal
    refused = {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "not from here"}
    for name in cluster.names("HTTPRoute"):
        cluster.status("HTTPRoute", name, {"parents": [{"parentRef": {"name": "main"}, "conditions": [refused]}]})
    assert run.endpoint.problem() == f"Gateway main refuses HTTPRoute {NAME}: not from here"
    assert run.endpoint.refusal and run.endpoint.refusal.code == "route_refused"
    for name in cluster.names("HTTPRoute"):
        cluster.status(
            "HTTPRoute",
            name,
            {"parents": [{"parentRef": {"name": "main"}, "conditions": [{**refused, "status": "True"}]}]},
        )
    assert run.endpoint.problem() is None and run.endpoint.refusal is None


def test_an_issuer_fills_the_secret_and_the_load_balancer_has_a_copy(
    cluster: FakeCluster, clock: list[datetime.datetime]
) -> None:
    changes = exposed("load_balancer", endpoint_tls_issuer="ClusterIssuer/le", service_endpoint_domain="a.example")
    run = Run(cluster, **changes).settle()
    first = run.service()["metadata"]["annotations"][f"{BALANCER}tls-secret"]
    assert cluster.names("Certificate") == {TLS} and first in cluster.names("Secret"), (
        "a certificate for the time being"
    )
    assert Run(cluster, **changes).settle().service()["metadata"]["annotations"][f"{BALANCER}tls-secret"] == first
    balanced(cluster, "192.0.2.7")
    message = {"type": "Ready", "status": "False", "message": "Issuing certificate as Secret does not exist"}
    cluster.status("Certificate", TLS, {"conditions": [message]})
    run.settle()
    waiting = f"ClusterIssuer le has not made the certificate yet: {message['message']}"
    assert run.endpoint.problem() == waiting and run.endpoint.refusal
    assert run.endpoint.refusal.code == "issuer_missing", "it went while it was waited for"
    ready = {"type": "Ready", "status": "True"}
    cluster.objects["/apis/cert-manager.io/v1/clusterissuers/le"] = {"status": {"conditions": [ready]}}
    assert run.endpoint.problem() == waiting and run.endpoint.refusal is None
    failed = {"type": "Issuing", "status": "False", "reason": "Failed", "message": "order is invalid"}
    cluster.status("Certificate", TLS, {"conditions": [message, failed]})
    assert run.endpoint.problem() == waiting and run.endpoint.refusal
    assert run.endpoint.refusal.code == "certificate_not_issued" and "order is invalid" in run.endpoint.refusal.found
    own = certificates.new_authority("le", clock[0])
    hosts = [f"{NAME}.a.example", f"dashboard.{NAME}.a.example"]
    labels = {"labels": {}}
    metadata = {"name": TLS, "namespace": NAME, **labels}
    cluster.put({"kind": "Secret", "metadata": metadata, "stringData": certificates.issue(own, hosts, clock[0])})
    cluster.status("Certificate", TLS, {"conditions": [{**message, "status": "True"}]})
    run.settle()
    named = run.service()["metadata"]["annotations"][f"{BALANCER}tls-secret"]
    assert run.endpoint.problem() is None and secret(cluster, named)["tls.crt"] == secret(cluster, TLS)["tls.crt"]
    assert first not in cluster.names("Secret")


def test_a_forged_record_on_the_service_only_costs_an_apply(
    cluster: FakeCluster, clock: list[datetime.datetime]
) -> None:
    run = Run(cluster, **exposed("ingress")).settle()
    for text in ("nonsense", "[]", json.dumps({"tls": "none"})):
        run.service()["metadata"]["annotations"]["multinode.inference/endpoint"] = text
        run.endpoint.look()
        assert not run.endpoint.is_settled


def test_an_issuer_that_is_not_there_or_not_ready_is_a_fault(cluster: FakeCluster) -> None:
    made = plan(**exposed("ingress", endpoint_tls_issuer="ClusterIssuer/le"))
    cluster.objects["/apis/networking.k8s.io/v1/ingressclasses/web"] = {"metadata": {"name": "web"}}

    def codes() -> list[str]:
        findings = Findings()
        check_cluster(cluster, made, findings)  # type: ignore[arg-type]
        return [fault.code for fault in findings.faults]

    assert codes() == ["cert_manager_missing"]
    cluster.objects["/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.cert-manager.io"] = {}
    assert codes() == ["issuer_missing"]
    cluster.objects["/apis/cert-manager.io/v1/clusterissuers/le"] = {"status": {}}
    assert codes() == ["issuer_not_ready"], "cert-manager does not run"
    condition = {"type": "Ready", "status": "False", "message": "no account"}
    cluster.objects["/apis/cert-manager.io/v1/clusterissuers/le"] = {"status": {"conditions": [condition]}}
    assert codes() == ["issuer_not_ready"]
    condition["status"] = "True"
    assert codes() == []


GATEWAY_PATH = "/apis/gateway.networking.k8s.io/v1/namespaces/edge/gateways/main"
TRUE, FALSE, UNKNOWN = (
    [{"type": "Accepted", "status": status, "reason": "R", "message": message}]
    for status, message in (("True", ""), ("False", "no such address"), ("Unknown", "Waiting for controller"))
)
REFERENCE = [{"type": "ResolvedRefs", "status": "False", "reason": "RefNotPermitted", "message": "no ReferenceGrant"}]


@pytest.mark.parametrize(
    ("gateway", "listener", "words"),
    [
        ([], [], None),
        (TRUE, TRUE, None),
        (FALSE, TRUE, "Gateway edge/main: no such address"),
        (UNKNOWN, [], "Gateway edge/main: Waiting for controller"),
        (TRUE, REFERENCE, "listener web of Gateway edge/main: no ReferenceGrant"),
    ],
)
def test_a_gateway_that_serves_nothing_is_told_before_a_node_is_asked_for(
    cluster: FakeCluster, gateway: list[dict[str, Any]], listener: list[dict[str, Any]], words: str | None
) -> None:
    spec = {"name": "web", "protocol": "HTTPS", "port": 443, "allowedRoutes": {"namespaces": {"from": "All"}}}
    others = [{"name": "other", "conditions": FALSE}, {"name": "web", "conditions": listener}]
    status = {"conditions": gateway, "listeners": others}
    cluster.objects[GATEWAY_PATH] = {"spec": {"listeners": [spec]}, "status": status}
    findings = Findings()
    check_cluster(cluster, plan(**exposed("gateway")), findings)  # type: ignore[arg-type]
    assert [(fault.code, fault.found) for fault in findings.faults] == ([("gateway_not_ready", words)] if words else [])


@pytest.mark.parametrize(
    ("entries", "address"),
    [
        ([{"ip": "2001:db8::7"}, {"ip": "192.0.2.7"}, {"ip": "192.0.2.8"}], "192.0.2.7"),
        ([{"hostname": "lb.example.com"}, {"ip": "192.0.2.7"}], "192.0.2.7"),
        ([{"hostname": "lb.example.com"}, {"ip": "2001:DB8::07"}], "2001:db8::7"),
        ([{"hostname": "lb.example.com"}], "lb.example.com"),
        ([{"ports": []}], None),
    ],
)
def test_of_several_addresses_the_one_that_most_clients_reach_is_taken(
    cluster: FakeCluster, clock: list[datetime.datetime], entries: list[dict[str, Any]], address: str | None
) -> None:
    run = Run(cluster, **exposed("ingress")).settle()
    cluster.status("Ingress", NAME, {"loadBalancer": {"ingress": entries}})
    run.settle()
    assert run.endpoint.around.address == address
    if run.endpoint.hosts:
        assert Run(cluster, **exposed("ingress")).endpoint.look() == [], "its certificate is good"


def test_an_authority_that_cannot_be_read_is_none(cluster: FakeCluster, clock: list[datetime.datetime]) -> None:
    own = certificates.new_authority("mine", clock[0])
    data = {**certificates.issue(own, [f"{NAME}.a.example"], clock[0]), "ca.crt": "nonsense"}
    cluster.put({"kind": "Secret", "metadata": {"name": "mine", "namespace": NAME}, "stringData": data})
    run = Run(cluster, **exposed("ingress", endpoint_tls_secret="mine", service_endpoint_domain="a.example"))
    run.endpoint.look()
    assert run.endpoint.ca_pem is None


EXPOSURES = ("none", "load_balancer", "ingress", "gateway")


@pytest.mark.parametrize(
    ("former", "later"), [(one, other) for one in EXPOSURES for other in EXPOSURES if one != other]
)
def test_each_change_of_the_exposure_ends_as_if_the_former_had_never_been(
    clock: list[datetime.datetime], former: str, later: str
) -> None:
    def cluster() -> FakeCluster:
        made = FakeCluster()
        edge = {"kind": "Gateway", "metadata": {"name": "main", "namespace": "edge"}}
        listeners = [{"name": "s", "protocol": "HTTPS", "port": 443}, {"name": "p", "protocol": "HTTP", "port": 80}]
        made.put({**edge, "spec": {"listeners": listeners}})
        made.status("Gateway", "main", {"addresses": [{"value": "192.0.2.9"}]}, "edge")
        return made

    def expose(cluster: FakeCluster, exposure: str) -> None:
        domain = {"service_endpoint_domain": "a.example"} if exposure != "none" else {}
        Run(cluster, **exposed(exposure, **domain)).settle()
        for kind, name in (("Service", f"{NAME}-api"), ("Ingress", NAME)):
            if cluster.names(kind):
                cluster.status(kind, name, {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}})
        Run(cluster, **exposed(exposure, **domain)).settle()

    def found(cluster: FakeCluster) -> dict[str, set[str]]:
        names = {kind: cluster.names(kind) for kind in PREFIXES}
        # Its name follows from the certificate.
        names["Secret"] = {
            name if len(name) < len(f"{TLS}-12345678") or "authority" in name else "copy" for name in names["Secret"]
        }
        return names

    changed, fresh = cluster(), cluster()
    expose(changed, former)
    expose(changed, later)
    expose(fresh, later)
    assert found(changed) == found(fresh)
    services = [one.objects[f"{PREFIXES['Service'].format(NAME)}/{NAME}-api"] for one in (changed, fresh)]
    assert set(services[0]["metadata"]["annotations"]) == set(services[1]["metadata"]["annotations"])
    assert services[0]["spec"] == services[1]["spec"]
