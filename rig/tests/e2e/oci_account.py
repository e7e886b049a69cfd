# SPDX-License-Identifier: GPL-3.0-or-later
"""An account for the contract tests of Oracle Cloud's services, and the real SDK's clients for it.

The tests run against the rig's stand-in. Where OCI_CONTRACT_ACCOUNT names a JSON file with `config_file_location`,
`compartment_id`, `oke_cluster_id` and `bucket` (and `oci_service_endpoint`, if it is not the region's), those that need no
control over the cloud run against that account instead, and show whether the stand-in still tells the truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import oci
import pytest
import requests

from rig.fixtures import RunningRig

Found = TypeVar("Found")

QUICK = {
    "accept": 0.1,
    "visible": 0.3,
    "entries": 0.2,
    "launch": 0.3,
    "boot": 0.4,
    "labels": 0.3,
    "gpu": 0.4,
    "terminate": 0.2,
}
"""The stand-in's times in seconds: long enough for each state to be seen."""


@dataclasses.dataclass
class Account:
    """`rig` is None on the real cloud; `patience_s` is how long a machine may take there."""

    config: dict[str, Any]
    endpoint: str | None
    compartment_id: str
    cluster_id: str
    bucket: str
    kubeconfig: str | None
    rig: RunningRig | None
    patience_s: float

    def client(self, kind: type[Found], **options: Any) -> Found:
        """A client of the SDK; without retries, so that each answer is seen."""
        options.setdefault("retry_strategy", oci.retry.NoneRetryStrategy())
        if self.endpoint:
            options["service_endpoint"] = self.endpoint
        return kind(self.config, **options)

    @cached_property
    def container_engine(self) -> oci.container_engine.ContainerEngineClient:
        return self.client(oci.container_engine.ContainerEngineClient)

    @cached_property
    def objects(self) -> oci.object_storage.ObjectStorageClient:
        return self.client(oci.object_storage.ObjectStorageClient)

    @cached_property
    def namespace(self) -> str:
        return self.objects.get_namespace().data

    def domains(self) -> list[str]:
        client = self.client(oci.identity.IdentityClient)
        return [domain.name for domain in client.list_availability_domains(self.compartment_id).data]

    def subnet(self) -> str:
        """The subnet that the first node pool of the cluster has."""
        pools = self.container_engine.list_node_pools(self.compartment_id, cluster_id=self.cluster_id).data
        return pools[0].node_config_details.placement_configs[0].subnet_id

    def image(self, *, gpu: bool) -> str:
        """An OKE image of the cluster's version for x86."""
        version = self.container_engine.get_cluster(self.cluster_id).data.kubernetes_version.removeprefix("v")
        sources = self.container_engine.get_node_pool_options(self.cluster_id).data.sources
        return next(
            source.image_id
            for source in sources
            if f"-OKE-{version}-" in source.source_name
            and ("-GPU-" in source.source_name) == gpu
            and "aarch64" not in source.source_name
        )

    def pool_details(
        self, name: str, size: int = 1, **changes: Any
    ) -> oci.container_engine.models.CreateNodePoolDetails:
        """A node pool that can be made as it is: of one small flexible CPU shape, unless `nodeShape` is given."""
        models = oci.container_engine.models
        shape = changes.pop("node_shape", "VM.Standard.E5.Flex")
        flexible = models.CreateNodeShapeConfigDetails(ocpus=1.0, memory_in_gbs=8.0) if shape.endswith("Flex") else None
        placements = changes.pop("domains", None) or self.domains()[:1]
        return models.CreateNodePoolDetails(
            **{
                "compartment_id": self.compartment_id,
                "cluster_id": self.cluster_id,
                "name": name,
                "node_shape": shape,
                "node_shape_config": flexible,
                "node_source_details": models.NodeSourceViaImageDetails(
                    image_id=self.image(gpu=".GPU" in shape), boot_volume_size_in_gbs=100
                ),
                "node_config_details": models.CreateNodePoolNodeConfigDetails(
                    size=size,
                    placement_configs=[
                        models.NodePoolPlacementConfigDetails(availability_domain=domain, subnet_id=self.subnet())
                        for domain in placements
                    ],
                ),
                **changes,
            }
        )

    @contextlib.contextmanager
    def node_pool(self, name: str, size: int = 1, **changes: Any) -> Iterator[Any]:
        """A node pool whose creation has ended; deleted at the end."""
        answer = self.container_engine.create_node_pool(self.pool_details(name, size, **changes))
        work_request = self.wait(answer.headers["opc-work-request-id"])
        pool_id = pool_of(work_request)
        try:
            yield self.container_engine.get_node_pool(pool_id).data
        finally:
            self.delete(pool_id)

    def delete(self, pool_id: str) -> None:
        """Delete a pool without a drain and wait for it; one that is gone is left alone."""
        with contextlib.suppress(oci.exceptions.ServiceError):
            client = self.client(
                oci.container_engine.ContainerEngineClient, retry_strategy=oci.retry.DEFAULT_RETRY_STRATEGY
            )
            answer = client.delete_node_pool(pool_id, override_eviction_grace_duration="PT0M")
            self.wait(answer.headers["opc-work-request-id"])

    def wait(self, work_request_id: str) -> Any:
        """The work request when it has ended, in whatever state."""

        def ended() -> Any:
            work_request = self.container_engine.get_work_request(work_request_id).data
            return work_request if work_request.status in ("SUCCEEDED", "FAILED", "CANCELED") else None

        return self.eventually(ended)

    def eventually(self, probe: Callable[[], Found | None]) -> Found:
        """What `probe` gives as soon as it gives anything; fails after `patience_s`."""
        deadline = time.monotonic() + self.patience_s
        while True:
            found = probe()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{probe.__name__}: nothing within {self.patience_s} s")
            time.sleep(0.1 if self.rig else 10)

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """A request signed by the SDK's signer, but not checked or interpreted by the SDK."""
        assert self.endpoint, "raw requests go to a given endpoint"
        signer = oci.signer.Signer.from_config(self.config)
        data = None if body is None else json.dumps(body)
        return requests.request(method, self.endpoint + path, data=data, headers=headers, auth=signer, timeout=30)

    def steer(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request to the rig's control address; skips the test on the real cloud, which has none."""
        if self.rig is None:
            pytest.skip("needs control over the cloud")
        return self.rig.steer(method, path, body)

    @contextlib.contextmanager
    def scenario(self, match: dict[str, Any], **do: Any) -> Iterator[None]:
        """A fault in this account, while the block runs."""
        scenario = self.steer("POST", "/scenarios", {"match": {"tenancy": self.cluster_id, **match}, "do": do})
        try:
            yield
        finally:
            self.steer("DELETE", f"/scenarios/{scenario['id']}")

    def calls(self, operation: str) -> list[dict[str, Any]]:
        """The log of this account's calls of one operation."""
        return self.steer("GET", f"/calls?tenancy={self.compartment_id}&operation={operation}")


def pool_of(work_request: Any) -> str:
    """The OCID of the node pool that a work request is about."""
    return next(one.identifier for one in work_request.resources if one.entity_type == "nodepool")


def open_account(rig: RunningRig | None, **options: Any) -> Account:
    """The real account that the environment names, else a new one of the rig with these options of POST /tenancies."""
    named = os.environ.get("OCI_CONTRACT_ACCOUNT")
    if named:
        given = json.loads(Path(named).read_text())
        return Account(
            config=oci.config.from_file(given["config_file_location"], given.get("profile", "DEFAULT")),
            endpoint=given.get("oci_service_endpoint"),
            compartment_id=given["compartment_id"],
            cluster_id=given["oke_cluster_id"],
            bucket=given["bucket"],
            kubeconfig=given.get("kubeconfig"),
            rig=None,
            patience_s=3600,
        )
    assert rig is not None
    tenancy = rig.steer("POST", "/tenancies", {"node_kind": "kwok", "timings": QUICK, **options})
    settings = tenancy["settings"]
    return Account(
        config=oci.config.from_file(settings["config_file_location"]),
        endpoint=settings["oci_service_endpoint"],
        compartment_id=tenancy["compartment_id"],
        cluster_id=tenancy["oke_cluster_id"],
        bucket=tenancy["bucket"],
        kubeconfig=settings["kubeconfig"],
        rig=rig,
        patience_s=60,
    )


def error_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[int, str]:
    """Status and code of the error that a call of the SDK must end in."""
    with pytest.raises(oci.exceptions.ServiceError) as raised:
        call(*arguments, **options)
    return raised.value.status, raised.value.code
