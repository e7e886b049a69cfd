# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the operation of a request; checking the details of a node pool."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.errors import ServiceError
from rig.oci.node_pool_details import check_create, check_update, image_version, minutes
from rig.oci.service import Answer, Call, Operations
from rig.oci.state import Tenancy, Timings

PUBLIC_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


async def nothing(_: Call) -> Answer:
    return Answer()


@pytest.fixture
def operations() -> Operations:
    operations = Operations()
    operations.add("objectstorage", "ListObjects", "GET", "/n/{namespace}/b/{bucket}/o", nothing)
    operations.add("objectstorage", "GetObject", "GET", "/n/{namespace}/b/{bucket}/o/{object*}", nothing)
    operations.add("containerengine", "GetNodePool", "GET", "/20180222/nodePools/{pool_id}", nothing)
    return operations


@pytest.mark.parametrize("raw", ["dir%2Fa%20b.bin", "dir/a%20b.bin"])
def test_an_object_is_the_same_with_its_slashes_encoded_or_plain(operations: Operations, raw: str) -> None:
    operation, parameters = operations.find("GET", f"/n/ns/b/models/o/{raw}")
    assert operation.name == "GetObject"
    assert parameters == {"namespace": "ns", "bucket": "models", "object": "dir/a b.bin"}


def test_a_segment_is_one_segment(operations: Operations) -> None:
    assert operations.find("GET", "/20180222/nodePools/ocid")[1] == {"pool_id": "ocid"}
    with pytest.raises(ServiceError, match="404 NotFound"):
        operations.find("GET", "/20180222/nodePools/ocid/node")
    with pytest.raises(ServiceError, match="405 MethodNotAllowed"):
        operations.find("PATCH", "/20180222/nodePools/ocid")


# --- node pools -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tenancy() -> Tenancy:
    tenancy = Tenancy("one", "kwok", "OCI_VCN_IP_NATIVE", "v1.37.2", PUBLIC_KEY, "aa:bb", Timings())
    tenancy.images = {
        "fitting": "Oracle-Linux-8.10-2026.08.14-0-OKE-1.37.2-1699",
        "plain": "Oracle-Linux-8.10-2026.08.14-0",
    }
    tenancy.images["other"] = "Oracle-Linux-8.10-2026.08.14-0-OKE-1.37.20-1699"
    return tenancy


def details(tenancy: Tenancy, **changes: Any) -> dict[str, Any]:
    pods = {"cniType": "OCI_VCN_IP_NATIVE", "podSubnetIds": [tenancy.subnets["pods"].id]}
    placement = {"availabilityDomain": tenancy.domains[0], "subnetId": tenancy.subnets["workers"].id}
    return {
        "compartmentId": tenancy.compartment_id,
        "clusterId": tenancy.cluster_id,
        "name": "pool",
        "nodeShape": "VM.GPU.A10.1",
        "nodeSourceDetails": {"sourceType": "IMAGE", "imageId": "fitting", "bootVolumeSizeInGBs": 100},
        "nodeConfigDetails": {
            "size": 2,
            "placementConfigs": [placement],
            "nodePoolPodNetworkOptionDetails": pods,
            **changes.pop("config", {}),
        },
        **changes,
    }


def test_a_pool_has_the_version_of_its_cluster_unless_another_is_given(tenancy: Tenancy) -> None:
    assert check_create(tenancy, details(tenancy))["kubernetesVersion"] == "v1.37.2"
    source = {"sourceType": "IMAGE", "imageId": "plain"}
    older = details(tenancy, kubernetesVersion="v1.34.0", nodeSourceDetails=source)
    assert check_create(tenancy, older)["kubernetesVersion"] == "v1.34.0"


@pytest.mark.parametrize(
    "changes,said",
    [
        ({"nodeShape": "VM.Standard.E5.Flex"}, "needs ocpus and memoryInGBs"),
        ({"nodeShapeConfig": {"ocpus": 1}}, "not a flexible shape"),
        ({"kubernetesVersion": "v1.38.0"}, "do not fit a control plane"),
        ({"kubernetesVersion": "v1.33.9"}, "do not fit a control plane"),
        ({"nodeSourceDetails": {"sourceType": "IMAGE", "imageId": "other"}}, "is for Kubernetes v1.37.20"),
        ({"nodeSourceDetails": {"sourceType": "IMAGE", "imageId": "none"}}, "RelatedResourceNotAuthorizedOrNotFound"),
        (
            {"nodeSourceDetails": {"sourceType": "IMAGE", "imageId": "fitting", "bootVolumeSizeInGBs": 47}},
            "47 is less than 50",
        ),
        ({"config": {"size": 1001}}, "expected 0 to 1000"),
        ({"config": {"placementConfigs": []}}, "placementConfigs"),
        ({"config": {"nodePoolPodNetworkOptionDetails": None}}, "the cluster's pod network is OCI_VCN_IP_NATIVE"),
        ({"config": {"nodePoolPodNetworkOptionDetails": {"cniType": "OCI_VCN_IP_NATIVE"}}}, "podSubnetIds"),
        ({"nodeMetadata": {"user_data": "#!/bin/bash"}}, "expected base64"),
        ({"nodeMetadata": {"user_data": base64.b64encode(b"x" * 32_000).decode()}}, "more than 32000 bytes"),
        ({"nodeEvictionNodePoolSettings": {"evictionGraceDuration": "PT2H"}}, "PT0M to PT60M"),
        ({"networkLaunchType": "FAST"}, "networkLaunchType"),
    ],
)
def test_what_cannot_be_is_refused(tenancy: Tenancy, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        check_create(tenancy, details(tenancy, **changes))


def test_an_update_changes_what_it_names(tenancy: Tenancy) -> None:
    old = check_create(tenancy, details(tenancy, freeformTags={"a": "b"}))
    new = check_update(tenancy, old, {"nodeConfigDetails": {"size": 5, "computeClusterId": "other"}})
    assert new["nodeConfigDetails"] == {**old["nodeConfigDetails"], "size": 5}
    assert new["freeformTags"] == {"a": "b"}
    assert old["nodeConfigDetails"]["size"] == 2
    with pytest.raises(ServiceError, match="between GPU shapes and others"):
        check_update(tenancy, old, {"nodeShape": "BM.Standard.E5.192"})


def test_durations_and_image_names() -> None:
    assert [minutes(one) for one in ("PT0M", "PT1H", "PT5M30S")] == [0, 60, 5.5]
    assert image_version("Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.36.1-1699") == "v1.36.1"
    assert image_version("Oracle-Linux-8.10-2026.08.14-0") is None
