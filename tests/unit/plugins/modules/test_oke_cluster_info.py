# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import oci
import pytest

from ansible_collections.multinode.inference.plugins.modules import oke_cluster_info as oci_cluster_info
from tests.unit.oci.fakes import (
    CLUSTER,
    COMPARTMENT,
    MODELS,
    Clock,
    Connection,
    ContainerEngine,
    Response,
    service_error,
)
from tests.unit.plugins.modules.module_runner import run_module

DOMAINS = ["Uocm:IAD-AD-1", "Uocm:IAD-AD-2"]


class Engine(ContainerEngine):
    """Container Engine with one cluster and its options."""

    state = "ACTIVE"

    def get_cluster(self, cluster_id: str) -> Response:
        if cluster_id != CLUSTER:
            raise service_error(404, "NotAuthorizedOrNotFound")
        cluster = MODELS.Cluster(
            id=CLUSTER,
            name="inference",
            compartment_id=COMPARTMENT,
            kubernetes_version="v1.34.1",
            lifecycle_state=self.state,
            type="ENHANCED_CLUSTER",
            vcn_id="ocid1.vcn.oc1.iad.v",
            endpoints=MODELS.ClusterEndpoints(private_endpoint="10.0.0.2:6443"),
            cluster_pod_network_options=[MODELS.FlannelOverlayClusterPodNetworkOptionDetails()],
        )
        return Response(cluster)

    def get_node_pool_options(self, cluster_id: str, compartment_id: str) -> Response:
        self._call("get_node_pool_options", cluster_id)
        sources = [MODELS.NodeSourceViaImageOption(source_name="Oracle-Linux-OKE-1.34.1-1", image_id="image")]
        return Response(MODELS.NodePoolOptions(sources=sources))


class Compute:
    """Offers a shape in the second domain."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def list_shapes(self, compartment_id: str, availability_domain: str) -> Response:
        self.asked.append(availability_domain)
        name = "VM.GPU.A10.1" if availability_domain == DOMAINS[1] else "VM.Standard.E5.Flex"
        return Response([oci.core.models.Shape(shape=name, gpus=1, quota_names=["gpu-a10-count"])])

    def get_compute_cluster(self, compute_cluster_id: str) -> Response:
        if compute_cluster_id != "rdma":
            raise service_error(404, "NotAuthorizedOrNotFound", service="compute")
        found = oci.core.models.ComputeCluster(
            id="rdma", display_name="rdma", availability_domain=DOMAINS[1], lifecycle_state="ACTIVE"
        )
        return Response(found)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    domains = [oci.identity.models.AvailabilityDomain(name=name, id=name) for name in DOMAINS]
    clients = SimpleNamespace(
        container_engine=Engine(Clock()),
        identity=SimpleNamespace(list_availability_domains=lambda compartment_id: Response(domains)),
        compute=Compute(),
    )
    monkeypatch.setattr(oci_cluster_info, "connect", lambda module, ocid: Connection(**vars(clients)))
    return clients


def ask(**options: Any) -> dict[str, Any]:
    return run_module(oci_cluster_info, {"cluster_id": CLUSTER, **options})


def test_cluster(account: SimpleNamespace) -> None:
    account.container_engine.add_pool(
        name="workers",
        node_config_details={
            "size": 3,
            "placement_configs": [{"availability_domain": DOMAINS[0], "subnet_id": "workers"}],
            "nsg_ids": ["group"],
        },
    )
    account.container_engine.add_pool(name="gone", lifecycle_state="DELETED")
    cluster = ask(node_shape="VM.GPU.A10.1")["cluster"]
    assert cluster["kubernetes_version"] == "v1.34.1"
    assert cluster["cni_type"] == "FLANNEL_OVERLAY"
    assert cluster["endpoints"] == {"private_endpoint": "10.0.0.2:6443"}
    assert [domain["name"] for domain in cluster["availability_domains"]] == DOMAINS
    (pool,) = cluster["node_pools"]
    assert (pool["size"], pool["nsg_ids"]) == (3, ["group"])
    assert pool["placements"] == [{"availability_domain": DOMAINS[0], "subnet_id": "workers"}]
    assert cluster["node_images"] == [{"image_id": "image", "name": "Oracle-Linux-OKE-1.34.1-1"}]
    assert list(cluster["shapes"]) == [DOMAINS[1]]
    assert cluster["shapes"][DOMAINS[1]]["quota_names"] == ["gpu-a10-count"]


def test_the_compute_cluster_is_read_while_nodes_are_to_be_made(account: SimpleNamespace) -> None:
    options = {"node_shape": "VM.GPU.A10.1", "deployment": "llama", "nodes": 2, "compute_cluster_id": "rdma"}
    assert ask(**options)["cluster"]["compute_cluster"] == {
        "name": "rdma",
        "availability_domain": DOMAINS[1],
        "lifecycle_state": "ACTIVE",
    }
    (fault,) = ask(**{**options, "compute_cluster_id": "other"})["faults"]
    assert fault["code"] == "cloud_not_found_or_not_authorized" and "compute-clusters" in fault["remedy"]
    tags = {"multinode-inference-deployment": "llama", "multinode-inference-cluster": CLUSTER}
    account.container_engine.add_pool(name="llama", freeform_tags=tags, node_config_details={"size": 2})
    assert ask(**{**options, "compute_cluster_id": "other"})["cluster"]["compute_cluster"] == {}


def test_without_a_shape_fewer_calls(account: SimpleNamespace) -> None:
    cluster = ask()["cluster"]
    assert cluster["node_images"] == [] and cluster["shapes"] == {}
    assert account.compute.asked == [] and not account.container_engine.made("get_node_pool_options")


@pytest.mark.parametrize(
    ("cluster_id", "code"),
    [("x", "cluster_id_malformed"), ("ocid1.cluster.oc1.iad.other", "cloud_not_found_or_not_authorized")],
)
def test_wrong_cluster(account: SimpleNamespace, cluster_id: str, code: str) -> None:
    (fault,) = ask(cluster_id=cluster_id)["faults"]
    assert fault["code"] == code


def test_cluster_that_is_going(account: SimpleNamespace) -> None:
    account.container_engine.state = "DELETING"
    (fault,) = ask()["faults"]
    assert (fault["code"], fault["found"]) == ("cluster_not_active", "DELETING")
