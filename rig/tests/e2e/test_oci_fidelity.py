# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of sign-in and of the discovery services; and that no field is sent that the SDK does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import oci
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, error_of, open_account


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


@pytest.fixture(scope="module")
def pool_id(account: Account) -> Iterator[str]:
    with account.node_pool("fields", size=1, freeform_tags={"a": "b"}) as pool:
        yield pool.id


# --- sign-in --------------------------------------------------------------------------------------------------------


def test_another_key_is_no_sign_in(account: Account) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    config = {**account.config, "key_file": None, "key_content": pem.decode()}
    options = {"service_endpoint": account.endpoint} if account.endpoint else {}
    client = oci.identity.IdentityClient(config, retry_strategy=oci.retry.NoneRetryStrategy(), **options)
    assert error_of(client.list_availability_domains, account.compartment_id) == (401, "NotAuthenticated")


def test_a_request_of_ten_minutes_ago_is_no_sign_in(account: Account) -> None:
    if not account.endpoint:
        pytest.skip("needs an endpoint for raw requests")
    answer = account.raw(
        "GET",
        f"/20160918/availabilityDomains?compartmentId={account.compartment_id}",
        date="Mon, 01 Jan 2024 00:00:00 GMT",
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "NotAuthenticated")


# --- discovery ------------------------------------------------------------------------------------------------------


def test_availability_domains_bear_a_prefix(account: Account) -> None:
    assert all(re.fullmatch(r"\w{4}:[A-Z0-9-]+-AD-\d", name) for name in account.domains())


def test_shapes_are_those_of_an_availability_domain(account: Account) -> None:
    compute = account.client(oci.core.ComputeClient)
    by_domain = {}
    for domain in account.domains():
        shapes = oci.pagination.list_call_get_all_results(
            compute.list_shapes, account.compartment_id, availability_domain=domain
        ).data
        by_domain[domain] = {shape.shape: shape for shape in shapes}
    offered = {name: shape for shapes in by_domain.values() for name, shape in shapes.items()}
    for name, shape in offered.items():
        if ".GPU" in name:
            assert str(shape.gpus) == name.rsplit(".", 1)[1]
            assert shape.quota_names
    if account.rig:
        assert [("BM.GPU.H100.8" in shapes) for shapes in by_domain.values()] == [True, True, False]
        one = compute.list_shapes(account.compartment_id, shape="VM.GPU.A10.2", limit=1000).data[0]
        assert (one.gpus, one.ocpus, one.memory_in_gbs, one.quota_names) == (2, 30, 480, ["gpu-a10-count"])


def test_subnets_are_found_from_the_cluster(account: Account) -> None:
    network = account.client(oci.core.VirtualNetworkClient)
    subnet = network.get_subnet(account.subnet()).data
    cluster = account.container_engine.get_cluster(account.cluster_id).data
    assert subnet.vcn_id == cluster.vcn_id
    assert subnet.id in [one.id for one in network.list_subnets(account.compartment_id, vcn_id=cluster.vcn_id).data]


def test_private_ips_of_a_subnet_are_those_of_its_machines(account: Account, pool_id: str) -> None:
    network = account.client(oci.core.VirtualNetworkClient)
    found = oci.pagination.list_call_get_all_results(network.list_private_ips, subnet_id=account.subnet()).data
    nodes = account.container_engine.get_node_pool(pool_id).data.nodes
    assert len(found) >= len(nodes) == 1
    assert {one.subnet_id for one in found} == {account.subnet()}


def test_images_need_a_careful_choice(account: Account) -> None:
    cluster = account.container_engine.get_cluster(account.cluster_id).data
    names = [one.source_name for one in account.container_engine.get_node_pool_options(account.cluster_id).data.sources]
    version = cluster.kubernetes_version.removeprefix("v")
    assert any("-GPU-" in name and f"-OKE-{version}-" in name for name in names)
    assert any("aarch64" in name for name in names)
    assert any("-OKE-" not in name for name in names)


def test_limits_count_gpus_in_one_availability_domain(account: Account) -> None:
    client = account.client(oci.limits.LimitsClient)
    domain = account.domains()[0]

    def available(service: str, limit: str, **options: str) -> Any:
        return client.get_resource_availability(service, limit, account.config["tenancy"], **options).data

    left = available("compute", "gpu-a10-count", availability_domain=domain)
    assert left.available >= 0
    assert left.used is not None
    assert error_of(available, "compute", "gpu-a10-count") == (400, "InvalidParameter")
    assert error_of(available, "compute", "no-such-count", availability_domain=domain)[0] == 404


def test_capacity_is_reported_for_each_availability_domain(account: Account) -> None:
    compute, models = account.client(oci.core.ComputeClient), oci.core.models

    def report(compartment: str, shape: str) -> Any:
        details = models.CreateComputeCapacityReportDetails(
            compartment_id=compartment,
            availability_domain=account.domains()[0],
            shape_availabilities=[models.CreateCapacityReportShapeAvailabilityDetails(instance_shape=shape)],
        )
        return compute.create_compute_capacity_report(details).data.shape_availabilities[0]

    root = account.config["tenancy"]
    assert report(root, "VM.GPU.A10.1").availability_status in ("AVAILABLE", "OUT_OF_HOST_CAPACITY")
    assert error_of(report, account.compartment_id, "VM.GPU.A10.1")[0] == 404
    with account.scenario({"resource": "VM.GPU.A10.1"}, capacity=3):
        assert report(root, "VM.GPU.A10.1").available_count == 3
    with account.scenario({"resource": "VM.GPU.A10.1"}, capacity=0):
        assert report(root, "VM.GPU.A10.1").availability_status == "OUT_OF_HOST_CAPACITY"
    assert report(root, "BM.GPU.H200.8").availability_status == "HARDWARE_NOT_SUPPORTED"


def test_block_volumes_are_listed(account: Account) -> None:
    body = {"size_gb": 50, "namespace": "d", "claim": "models", "tenancy": account.cluster_id}
    made = account.steer("POST", "/rig/volumes", body)
    client = account.client(oci.core.BlockstorageClient)
    volume = client.get_volume(made["id"]).data
    assert (volume.size_in_gbs, volume.compartment_id) == (50, account.compartment_id)
    assert made["id"] in [one.id for one in client.list_volumes(compartment_id=account.compartment_id).data]
    account.steer("DELETE", f"/rig/volumes/{made['id']}")
    assert error_of(client.get_volume, made["id"])[0] == 404


def test_a_compute_cluster_lies_in_one_availability_domain(account: Account) -> None:
    if not account.endpoint:
        pytest.skip("makes a compute cluster, and nothing here removes it")
    compute, models = account.client(oci.core.ComputeClient), oci.core.models
    details = models.CreateComputeClusterDetails(
        compartment_id=account.compartment_id, availability_domain=account.domains()[1], display_name="rdma"
    )
    made = compute.create_compute_cluster(details).data
    found = compute.get_compute_cluster(made.id).data
    assert (found.display_name, found.lifecycle_state) == ("rdma", "ACTIVE")
    assert found.availability_domain == account.domains()[1]
    assert error_of(compute.get_compute_cluster, made.id[:-4] + "aaaa")[0] == 404


def test_the_compartment_and_its_tenancy(account: Account) -> None:
    identity = account.client(oci.identity.IdentityClient)
    compartment = identity.get_compartment(account.compartment_id).data
    assert compartment.lifecycle_state == "ACTIVE"
    assert error_of(identity.get_compartment, account.compartment_id[:-4] + "aaaa")[0] == 404


# --- fields ---------------------------------------------------------------------------------------------------------


def unknown_fields(value: Any, kind: str, models: Any, where: str) -> list[str]:
    """Fields of a JSON value that the SDK's model of that type would drop."""
    if kind.startswith("list["):
        return [one for item in value or [] for one in unknown_fields(item, kind[5:-1], models, where)]
    model = getattr(models, kind, None)
    if model is None or not isinstance(value, dict):
        return []
    if hasattr(model, "get_subtype"):
        model = getattr(models, model.get_subtype(value))
    instance = model()
    types = {name: instance.swagger_types[attribute] for attribute, name in instance.attribute_map.items()}
    found = [f"{where}.{name}" for name in value if name not in types]
    for name, inner in value.items():
        if name in types and inner is not None:
            found += unknown_fields(inner, types[name], models, f"{where}.{name}")
    return found


def test_no_field_is_unknown_to_the_sdk(account: Account, pool_id: str) -> None:
    if not account.endpoint:
        pytest.skip("needs an endpoint for raw requests")
    compartment = f"compartmentId={account.compartment_id}"
    engine, core, identity, storage = (
        oci.container_engine.models,
        oci.core.models,
        oci.identity.models,
        oci.object_storage.models,
    )
    bucket = f"/n/{account.namespace}/b/{account.bucket}"
    account.objects.put_object(account.namespace, account.bucket, "fields", b"x")
    node = account.container_engine.get_node_pool(pool_id).data.nodes[0]
    (made,) = account.raw("GET", f"/20180222/workRequests?{compartment}&resourceId={pool_id}").json()[:1]
    volume = account.steer(
        "POST", "/rig/volumes", {"size_gb": 50, "namespace": "d", "claim": "f", "node": node.private_ip}
    )
    balancers = {
        network: account.steer(
            "POST",
            "/rig/load_balancers",
            {"name": f"fields-{network}", "address": "127.0.0.1", "network": network, "node": node.private_ip},
        )["id"]
        for network in (False, True)
    }
    for path, kind, models in (
        (f"/20180222/clusters/{account.cluster_id}", "Cluster", engine),
        (f"/20180222/clusters?{compartment}", "list[ClusterSummary]", engine),
        (f"/20180222/clusters/{account.cluster_id}/addons", "list[AddonSummary]", engine),
        (f"/20180222/nodePools/{pool_id}", "NodePool", engine),
        (f"/20180222/nodePools?{compartment}", "list[NodePoolSummary]", engine),
        (f"/20180222/nodePoolOptions/{account.cluster_id}", "NodePoolOptions", engine),
        (f"/20180222/workRequests?{compartment}", "list[WorkRequestSummary]", engine),
        (f"/20180222/workRequests/{made['id']}", "WorkRequest", engine),
        (f"/20180222/workRequests/{made['id']}/errors?{compartment}", "list[WorkRequestError]", engine),
        (f"/20180222/workRequests/{made['id']}/logs?{compartment}", "list[WorkRequestLogEntry]", engine),
        (f"/20160918/shapes?{compartment}&limit=1000", "list[Shape]", core),
        (f"/20160918/images?{compartment}", "list[Image]", core),
        (f"/20160918/instances?{compartment}", "list[Instance]", core),
        (f"/20160918/subnets?{compartment}", "list[Subnet]", core),
        (f"/20160918/vcns?{compartment}", "list[Vcn]", core),
        (f"/20160918/volumes?{compartment}", "list[Volume]", core),
        (f"/20160918/instances/{node.id}", "Instance", core),
        (f"/20160918/volumes/{volume['id']}", "Volume", core),
        (f"/20170115/loadBalancers?{compartment}", "list[LoadBalancer]", oci.load_balancer.models),
        (f"/20170115/loadBalancers/{balancers[False]}", "LoadBalancer", oci.load_balancer.models),
        (
            f"/20200501/networkLoadBalancers?{compartment}",
            "NetworkLoadBalancerCollection",
            oci.network_load_balancer.models,
        ),
        (f"/20160918/availabilityDomains?{compartment}", "list[AvailabilityDomain]", identity),
        (f"/20160918/compartments/{account.compartment_id}", "Compartment", identity),
        (bucket, "Bucket", storage),
        (f"/n/{account.namespace}/b?{compartment}", "list[BucketSummary]", storage),
        (f"{bucket}/o?fields=name,size,etag,md5,timeCreated,timeModified,storageTier", "ListObjects", storage),
        (f"{bucket}/p", "list[PreauthenticatedRequestSummary]", storage),
    ):
        answer = account.raw("GET", path)
        assert answer.status_code == 200, (path, answer.text)
        assert unknown_fields(answer.json(), kind, models, kind) == [], path


def test_a_wrong_path_and_a_wrong_method(account: Account) -> None:
    if not account.endpoint:
        pytest.skip("needs an endpoint for raw requests")
    assert account.raw("GET", "/20180222/nodePool").status_code == 404
    assert account.raw("PUT", "/20180222/nodePools", {}).status_code == 405


def test_a_body_that_is_no_json(account: Account) -> None:
    if not account.endpoint:
        pytest.skip("needs an endpoint for raw requests")
    answer = account.raw("POST", "/20180222/nodePools", "no object")
    assert (answer.status_code, answer.json()["code"]) == (400, "CannotParseRequest")
