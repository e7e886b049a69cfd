# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is worth to Kubernetes, and what cloud-init does to it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rig.oci.machines import GB, machine, read_cloud_init

GPU_IMAGE = "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.37.2-1699"
CPU_IMAGE = "Oracle-Linux-8.10-2026.08.14-0-OKE-1.37.2-1699"
FETCH = """#!/bin/bash
curl --fail -H "Authorization: Bearer Oracle" -L0 http://169.254.169.254/opc/v2/instance/metadata/oke_init_script \\
  | base64 --decode >/var/run/oke-init.sh
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def pool(user_data: str | None = None, boot_volume: int | None = 200, shape: str = "VM.GPU.A10.2") -> dict[str, Any]:
    return {
        "nodeShape": shape,
        "nodeMetadata": {"user_data": encoded(user_data)} if user_data else {},
        "nodeSourceDetails": {"bootVolumeSizeInGBs": boot_volume} if boot_volume else {},
    }


def test_the_default_script_joins_and_grows_nothing() -> None:
    cloud_init = read_cloud_init(None)
    assert (cloud_init.joins, cloud_init.grows_filesystem) == (True, False)


def test_a_script_of_ones_own_must_start_oke() -> None:
    assert read_cloud_init(encoded(FETCH + "bash /var/run/oke-init.sh")).joins
    assert read_cloud_init(encoded("#!/bin/bash\noke bootstrap --kubelet-extra-args ''")).joins
    forgotten = read_cloud_init(encoded("#!/bin/bash\n# oke_init_script is not needed, is it?\nmkfs /dev/nvme0n1"))
    assert not forgotten.joins
    assert "neither" in forgotten.problem


def test_what_is_no_cloud_init_document_does_nothing() -> None:
    assert "first line" in read_cloud_init(encoded(FETCH.replace("#!", ""))).problem
    assert "base64" in read_cloud_init("???").problem


def test_taints_and_labels_of_kubelet_are_honoured() -> None:
    arguments = "--register-with-taints=team=a:NoSchedule,spot=:NoExecute --node-labels=x=y,z=w"
    cloud_init = read_cloud_init(encoded(FETCH + f'bash /var/run/oke-init.sh --kubelet-extra-args "{arguments}"'))
    assert cloud_init.taints == (
        {"key": "team", "value": "a", "effect": "NoSchedule"},
        {"key": "spot", "value": "", "effect": "NoExecute"},
    )
    assert cloud_init.labels == (("x", "y"), ("z", "w"))


def test_the_disk_is_small_until_it_is_grown() -> None:
    small = machine(pool(FETCH, 800), GPU_IMAGE)
    assert int(small.allocatable["ephemeral-storage"]) < 25 * GB
    grown = machine(pool(FETCH + "/usr/libexec/oci-growfs -y", 800), GPU_IMAGE)
    assert 650 * GB < int(grown.allocatable["ephemeral-storage"]) < 700 * GB


def test_the_published_sample_fits_its_shape() -> None:
    # VM.GPU.A10.2: 30 OCPUs (60 vCPUs), 480 GB; the sample asks for 26 CPUs and 400 GB.
    node = machine(pool(), GPU_IMAGE)
    assert node.capacity["cpu"] == "60"
    assert 59_000 < int(node.allocatable["cpu"].removesuffix("m")) < 60_000
    assert 400 * 1024**2 < int(node.allocatable["memory"].removesuffix("Ki")) < 470 * 1024**2
    assert node.gpus == 2


@pytest.mark.parametrize(
    "image,shape,gpus",
    [
        (GPU_IMAGE, "BM.GPU.H100.8", 8),
        (CPU_IMAGE, "BM.GPU.H100.8", 0),
        (GPU_IMAGE, "BM.GPU.MI300X.8", 0),
        (GPU_IMAGE, "BM.GPU.GB200.4", 0),
        (GPU_IMAGE, "VM.Standard3.Flex", 0),
    ],
)
def test_gpus_need_an_image_with_their_driver(image: str, shape: str, gpus: int) -> None:
    assert machine(pool(shape=shape), image).gpus == gpus


def test_arm_has_one_thread_for_each_core() -> None:
    assert machine(pool(shape="BM.GPU.GB200.4"), GPU_IMAGE).capacity["cpu"] == "144"
