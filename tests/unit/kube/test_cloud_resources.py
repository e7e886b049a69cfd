# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes and load balancers of Oracle Cloud a deployment has, read from its objects."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube.cloud_resources import (
    load_balancers_of,
    volumes_of,
)


class Cluster:
    def __init__(self, **items: list[dict[str, Any]]) -> None:
        self._items = items

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        if kind == "persistentvolumes" and "persistentvolumes" not in self._items:
            raise Refused([Fault("forbidden", "kubeconfig", "403")])
        return self._items.get(kind, [])


def volume(name: str, claim: str, namespace: str = "a", policy: str = "Delete", **spec: Any) -> dict[str, Any]:
    csi = {"driver": "blockvolume.csi.oraclecloud.com", "volumeHandle": f"ocid1.volume.{name}"}
    claimed = {"claimRef": {"namespace": namespace, "name": claim}, "persistentVolumeReclaimPolicy": policy}
    return {"metadata": {"name": name}, "spec": {"csi": csi, **claimed, **spec}}


def test_volumes_are_those_of_its_claims_also_of_claims_that_went() -> None:
    found = volumes_of(
        Cluster(
            persistentvolumeclaims=[
                {"metadata": {"name": "models", "labels": common_labels("a")}},
                # Of a deployment named a-head.
                {"metadata": {"name": "a-head-head-x1-model", "labels": common_labels("a-head")}},
            ],
            persistentvolumes=[
                volume("csi-1", "models"),
                volume("csi-2", "a-head-x2-model"),
                volume("csi-3", "a-workers-worker-y-model", policy="Retain"),
                volume("csi-4", "a-head-x2-model", namespace="other"),
                volume("csi-5", "theirs"),
                volume("csi-6", "a-head-head-x1-model"),
                volume("fss", "a-head-x2-cache", csi={"driver": "fss.csi.oraclecloud.com", "volumeHandle": "x"}),
                {"metadata": {"name": "free"}, "spec": {}},
                {**volume("ours", "models"), "metadata": {"name": "ours", "labels": common_labels("a")}},
            ],
        ),
        "a",
        "a",
    )
    assert found is not None
    assert [(one["name"], one["id"], one["kept"]) for one in found] == [
        ("csi-1", "ocid1.volume.csi-1", False),
        ("csi-2", "ocid1.volume.csi-2", False),
        ("csi-3", "ocid1.volume.csi-3", True),
        ("fss", None, False),
    ]


def test_who_may_not_read_volumes_does_not_know_that_there_is_none() -> None:
    assert volumes_of(Cluster(persistentvolumes=[]), "a", "a") == []
    assert volumes_of(Cluster(), "a", "a") is None


def test_load_balancers_bear_the_names_that_the_cloud_controller_gives() -> None:
    def service(name: str, kind: str, **annotations: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "a", "uid": f"uid-{name}", "annotations": annotations}
        return {"metadata": metadata, "spec": {"type": kind}}

    network = {"oci.oraclecloud.com/load-balancer-type": "nlb"}
    services = [service("x", "LoadBalancer"), service("y", "LoadBalancer", **network), service("z", "ClusterIP")]
    assert load_balancers_of(Cluster(services=services), "a", "a") == ["uid-x", "a/y/uid-y"]
