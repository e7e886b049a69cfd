# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of each exposure: what is open, by which names, with which certificate, and for how long an answer may take."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.endpoint import (
    Surroundings,
    endpoint_objects,
)

from ..plans import exposed, plan

NAME = "rayclustervmtest"
BALANCER = "service.beta.kubernetes.io/oci-load-balancer-"
NLB = {"oci.oraclecloud.com/load-balancer-type": "nlb"}
ADDRESS = Surroundings("192.0.2.7", listeners={"https": "secure", "http": "plain"})
HOST = f"{NAME}.192-0-2-7.nip.io"


def made(changes: dict[str, Any], around: Surroundings = ADDRESS) -> dict[str, dict[str, Any]]:
    """The objects by kind and name."""
    objects = endpoint_objects(plan(**changes), around)
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in objects}


def service(**changes: Any) -> dict[str, Any]:
    return made(exposed("load_balancer", **changes))[f"Service/{NAME}-api"]


def ports(item: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {port["name"]: (port["port"], port["targetPort"]) for port in item["spec"]["ports"]}


def test_each_exposure_has_its_objects_and_no_others() -> None:
    assert set(made(exposed("none"))) == {f"Service/{NAME}-api"}
    assert set(made(exposed("load_balancer"))) == {f"Service/{NAME}-api"}
    assert set(made(exposed("ingress"))) == {f"Service/{NAME}-api", f"Ingress/{NAME}"}
    routes = {f"HTTPRoute/{NAME}{suffix}" for suffix in ("", "-dashboard", "-redirect")}
    assert set(made(exposed("gateway"))) == {f"Service/{NAME}-api", *routes}
    for exposure in ("none", "ingress", "gateway"):
        assert made(exposed(exposure))[f"Service/{NAME}-api"]["spec"]["type"] == "ClusterIP"


def test_a_load_balancer_has_443_for_the_api_and_the_dashboards_own_port() -> None:
    item = service()
    assert ports(item) == {"api": (443, 8000), "dashboard": (8265, 8265)}
    annotations = item["metadata"]["annotations"]
    assert annotations[f"{BALANCER}ssl-ports"] == "443,8265"
    assert annotations[f"{BALANCER}tls-secret"] == f"{NAME}-tls"
    assert annotations[f"{BALANCER}shape"] == "flexible"
    assert annotations[f"{BALANCER}backend-protocol"] == "TCP", "nothing is buffered, no body is too large"
    assert annotations[f"{BALANCER}connection-idle-timeout"] == "3600"
    assert service(endpoint_idle_timeout_seconds=900)["metadata"]["annotations"][
        f"{BALANCER}connection-idle-timeout"
    ] == ("900")


def test_a_load_balancer_is_internal_unless_it_is_to_be_public() -> None:
    assert service()["metadata"]["annotations"][f"{BALANCER}internal"] == "true"
    assert service(endpoint_public=True)["metadata"]["annotations"][f"{BALANCER}internal"] == "false"
    prefix = "oci-network-load-balancer.oraclecloud.com/"
    assert service(service_annotations=NLB)["metadata"]["annotations"][f"{prefix}internal"] == "true"


def test_who_may_reach_a_load_balancer_and_where_it_stands() -> None:
    subnet, nsg = "ocid1.subnet.oc1.iad.a", "ocid1.networksecuritygroup.oc1.iad.b"
    given = {"endpoint_subnet_id": subnet, "endpoint_nsg_ids": [nsg, nsg], "endpoint_source_ranges": ["10.0.0.0/8"]}
    item = service(**given)
    assert item["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert item["metadata"]["annotations"][f"{BALANCER}subnet1"] == subnet
    assert item["metadata"]["annotations"]["oci.oraclecloud.com/oci-network-security-groups"] == f"{nsg},{nsg}"
    network = service(**given, service_annotations=NLB)["metadata"]["annotations"]
    assert network["oci-network-load-balancer.oraclecloud.com/subnet"] == subnet
    assert network["oci-network-load-balancer.oraclecloud.com/oci-network-security-groups"] == f"{nsg},{nsg}"
    assert not [name for name in network if name.startswith(BALANCER)], "those of the other kind mean nothing"
    assert "loadBalancerSourceRanges" not in service()["spec"]


@pytest.mark.parametrize("changes", [{"endpoint_tls_to_pod": True}, {"service_annotations": NLB}])
def test_tls_that_ends_in_the_pod_passes_the_load_balancer(changes: dict[str, Any]) -> None:
    item = service(**changes)
    assert ports(item) == {"api": (443, 8000)}
    assert not [name for name in item["metadata"]["annotations"] if "ssl" in name or "tls" in name]


def test_without_tls_the_api_has_the_recipes_port_and_the_dashboard_none() -> None:
    item = service(endpoint_tls="none")
    assert ports(item) == {"api": (8000, 8000)}
    assert not [name for name in item["metadata"]["annotations"] if "ssl" in name or "tls" in name]


def test_the_users_annotations_win() -> None:
    reserved = "oci.oraclecloud.com/reserved-ips"
    given = {f"{BALANCER}shape-flex-max": "8000", "team": "a", reserved: "203.0.113.5"}
    annotations = service(service_annotations=given)["metadata"]["annotations"]
    assert annotations[f"{BALANCER}shape-flex-max"] == "8000" and annotations["team"] == "a"
    assert annotations[reserved] == "203.0.113.5"
    nginx = {"nginx.ingress.kubernetes.io/proxy-body-size": "1m"}
    item = made(exposed("ingress", service_annotations=nginx))[f"Ingress/{NAME}"]
    assert item["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "1m"


def test_an_ingress_routes_by_host_redirects_and_buffers_nothing() -> None:
    item = made(exposed("ingress"))[f"Ingress/{NAME}"]
    assert item["spec"]["ingressClassName"] == "web"
    backends = {
        rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["port"]["name"] for rule in item["spec"]["rules"]
    }
    assert backends == {HOST: "api", f"dashboard.{HOST}": "dashboard"}
    assert item["spec"]["tls"] == [{"hosts": [HOST, f"dashboard.{HOST}"], "secretName": f"{NAME}-tls"}]
    nginx = {key.partition("/")[2]: value for key, value in item["metadata"]["annotations"].items() if "nginx" in key}
    assert nginx["proxy-read-timeout"] == nginx["proxy-send-timeout"] == "3600"
    assert (nginx["proxy-buffering"], nginx["proxy-body-size"]) == ("off", "0")
    assert nginx["force-ssl-redirect"] == "true"
    plain = made(exposed("ingress", endpoint_tls="none"))[f"Ingress/{NAME}"]
    assert "tls" not in plain["spec"] and [rule["host"] for rule in plain["spec"]["rules"]] == [HOST]
    assert plain["metadata"]["annotations"]["nginx.ingress.kubernetes.io/force-ssl-redirect"] == "false"


def test_the_given_secret_is_the_one_that_is_named() -> None:
    item = made(exposed("ingress", endpoint_tls_secret="mine"))[f"Ingress/{NAME}"]
    assert item["spec"]["tls"][0]["secretName"] == "mine"


def test_before_there_is_an_address_the_hosts_are_nobodys() -> None:
    item = made(exposed("ingress"), Surroundings())[f"Ingress/{NAME}"]
    assert all(rule["host"].endswith(".invalid") for rule in item["spec"]["rules"])
    below = made(exposed("ingress", service_endpoint_domain="a.example"), Surroundings())[f"Ingress/{NAME}"]
    assert [rule["host"] for rule in below["spec"]["rules"]] == [f"{NAME}.a.example", f"dashboard.{NAME}.a.example"]


def test_routes_attach_to_the_listeners_of_the_gateway() -> None:
    routes = made(exposed("gateway"))
    api, dashboard, redirect = (
        routes[f"HTTPRoute/{NAME}{suffix}"]["spec"] for suffix in ("", "-dashboard", "-redirect")
    )
    assert [entry["hostnames"] for entry in (api, dashboard)] == [[HOST], [f"dashboard.{HOST}"]]
    for entry, listener in ((api, "secure"), (dashboard, "secure"), (redirect, "plain")):
        (parent,) = entry["parentRefs"]
        assert (parent["namespace"], parent["name"], parent["sectionName"]) == ("edge", "main", listener)
    assert [rule["backendRefs"][0]["port"] for entry in (api, dashboard) for rule in entry["rules"]] == [8000, 8265]
    assert api["rules"][0]["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    (filtered,) = redirect["rules"][0]["filters"]
    assert filtered["requestRedirect"] == {"scheme": "https", "port": 443, "statusCode": 301}
    assert redirect["hostnames"] == [HOST, f"dashboard.{HOST}"]


def test_without_a_listener_for_http_nothing_is_redirected() -> None:
    around = Surroundings("192.0.2.7", listeners={"https": "secure"})
    assert f"HTTPRoute/{NAME}-redirect" not in made(exposed("gateway"), around)
    plain = made(exposed("gateway", endpoint_tls="none"))
    assert set(plain) == {f"Service/{NAME}-api", f"HTTPRoute/{NAME}"}
    assert plain[f"HTTPRoute/{NAME}"]["spec"]["parentRefs"][0]["sectionName"] == "plain"
    named = made(exposed("gateway", endpoint_gateway="edge/main/mine"))[f"HTTPRoute/{NAME}"]
    assert named["spec"]["parentRefs"][0]["sectionName"] == "mine"


def test_an_issuer_is_asked_for_both_hosts_once_they_are_known() -> None:
    changes = exposed("ingress", endpoint_tls_issuer="ClusterIssuer/le")
    certificate = made(changes)[f"Certificate/{NAME}-tls"]["spec"]
    assert certificate["dnsNames"] == [HOST, f"dashboard.{HOST}"] and certificate["secretName"] == f"{NAME}-tls"
    assert certificate["issuerRef"] == {"kind": "ClusterIssuer", "name": "le", "group": "cert-manager.io"}
    assert f"Certificate/{NAME}-tls" not in made(changes, Surroundings())
