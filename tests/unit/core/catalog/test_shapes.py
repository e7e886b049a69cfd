# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape table, and what a node leaves to a pod."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import (
    SHAPES,
    allocatable,
    find_shape,
    shape_from_listing,
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_table_is_consistent(shape):
    assert find_shape(shape.name) is shape
    assert shape.gpus == int(shape.name.rpartition(".")[2])
    assert shape.architecture == ("arm64" if "GB" in shape.name else "amd64")
    assert (shape.vendor == "nvidia") == (shape.compute_capability is not None)
    assert shape.known
    room = allocatable(shape)
    assert 0.9 * shape.ocpus <= room.ocpus < shape.ocpus
    assert 0.85 * shape.memory_gb <= room.memory_gib < shape.memory_gb


# OCI's published samples of multi-node inference: OCPUs and GB of head and workers.
@pytest.mark.parametrize(("name", "ocpus", "memory"), [("VM.GPU.A10.2", 26, 400), ("BM.GPU.A10.4", 60, 960)])
def test_the_published_samples_fit(name, ocpus, memory):
    shape = find_shape(name)
    assert shape is not None
    room = allocatable(shape, boot_volume_gb=800)
    assert ocpus <= room.ocpus
    assert memory <= room.memory_gib
    assert room.ephemeral_gib >= 500


def test_reservations_by_hand():
    shape = find_shape("VM.GPU.A10.1")
    assert shape is not None
    room = allocatable(shape)
    # 30 vCPU: 0.06 + 0.01 + 2 x 0.005 + 26 x 0.0025 for the kubelet, 0.1 for the system, 1 for the node's own pods.
    assert room.cpu == pytest.approx(30 - (0.06 + 0.01 + 0.01 + 0.065) - 0.1 - 1)
    # 240 GiB: 1 + 0.8 + 0.8 + 6.72 + 2 % of 112 for the kubelet; 2 % for the kernel; 0.1 + 0.1 + 1.
    assert room.memory_gib == pytest.approx(240 * 0.98 - (1 + 0.8 + 0.8 + 6.72 + 2.24) - 1.2)
    # 200 GB: a tenth for eviction, 15 for the system, 25 for the image.
    assert room.ephemeral_gib == pytest.approx(200 * 0.9 - 15 - 25)


def test_a_published_sample_is_refused_on_a_smaller_shape():
    shape = find_shape("VM.GPU.A10.1")
    assert shape is not None
    assert allocatable(shape).ocpus < 26


@pytest.mark.parametrize(
    ("name", "gpus", "gpu", "architecture"),
    [
        ("VM.GPU.A100.40G.4", 4, "A100-40", "amd64"),
        ("VM.GPU.A100.80G.8", 8, "A100-80", "amd64"),
        ("VM.GPU.L40S.2", 2, "L40S", "amd64"),
        ("VM.GPU.GU1.2", 2, "A10", "amd64"),
        ("BM.GPU.GB200-v4.4", 4, "B200", "arm64"),
        ("BM.GPU.H100-NC.8", 8, "H100", "amd64"),
        ("BM.GPU.T1-2.4", 4, "", "amd64"),
        ("BM.GPU.GM4.8", 8, "", "amd64"),
    ],
)
def test_an_unknown_shape_is_read_from_its_name(name, gpus, gpu, architecture):
    shape = find_shape(name)
    assert shape is not None
    assert (shape.gpus, shape.gpu, shape.architecture, shape.known) == (gpus, gpu, architecture, False)
    assert (shape.gpu_memory_gib is None) == (gpu == "")
    assert allocatable(shape).cpu == 0


@pytest.mark.parametrize("name", ["", "VM.Standard.E4.Flex", "BM.GPU", "BM.GPU.A10", "bm.gpu.a10.4", "BM.GPU.A10.0"])
def test_what_is_no_gpu_shape(name):
    assert find_shape(name) is None


def test_prices_are_per_gpu():
    shape = find_shape("BM.GPU.H100.8")
    assert shape is not None
    assert shape.usd_per_hour == 80


def test_the_api_wins_over_the_table():
    shape = shape_from_listing(
        {"shape": "BM.GPU.A10.4", "ocpus": 64.0, "memoryInGBs": 1008.0, "gpus": 4, "rdmaPorts": 0, "localDisks": 2}
    )
    assert shape is not None
    assert (shape.memory_gb, shape.nvme_drives, shape.gpu, shape.usd_per_gpu_hour) == (1008, 2, "A10", 2.0)
    assert shape_from_listing({"shape": "VM.Standard.E5.Flex", "ocpus": 1}) is None


def test_the_api_completes_an_unknown_shape():
    shape = shape_from_listing(
        {
            "shape": "BM.GPU.X1.8",
            "ocpus": 72.0,
            "memory_in_gbs": 480.0,
            "gpus": 8,
            "processor_description": "NVIDIA Grace",
        }
    )
    assert shape is not None
    assert (shape.architecture, shape.threads_per_ocpu, shape.known) == ("arm64", 1, True)
    assert 60 < allocatable(shape).ocpus < 72


@given(st.one_of(st.text(), st.from_regex(r"\A(VM|BM)\.GPU[A-Z0-9.\-]{0,12}\Z")))
def test_any_name_is_read(name):
    shape = find_shape(name)
    if shape is not None:
        assert shape.gpus > 0
        room = allocatable(shape)
        assert room.cpu >= 0
        assert room.memory_gib >= 0
