# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod has is looked at before anything starts, and what differs between pods is told."""

from __future__ import annotations

from pathlib import Path

import inspection
import pytest
from progress import Failure

GPU = "NVIDIA A10, 580.95.05, 23028, {used}"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what nvidia-smi says."""
    said = tmp_path / "said"
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncat "{said}"\ngrep -q failed "{said}" && exit 9\nexit 0\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    return said


def test_the_pod_as_the_plan_says(driver: Path) -> None:
    driver.write_text(f"{GPU.format(used=450)}\n" * 2)
    found = inspection.inspect(2)
    assert (found["driver"], found["gpu"]) == ("580.95.05", "NVIDIA A10")
    assert found["python"].startswith("3.")


@pytest.mark.parametrize(
    ("said", "cause", "lasting"),
    [
        (GPU.format(used=0) + "\n", "this pod has 1 GPUs .NVIDIA A10., the plan says 2", True),
        (
            "NVIDIA-SMI has failed because\nit could not\n",
            "driver does not work: NVIDIA-SMI has failed because it could not",
            True,
        ),
        (
            f"{GPU.format(used=450)}\n{GPU.format(used=9000)}\n",
            "in use by something else .*: GPU 1: 9000 of 23028 MiB",
            False,
        ),
    ],
)
def test_what_cannot_work_ends_with_its_cause(
    driver: Path, said: str, cause: str, lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "FREE_SECONDS", 0)
    driver.write_text(said)
    with pytest.raises(Failure, match=cause) as caught:
        inspection.inspect(2)
    assert caught.value.lasting == lasting


@pytest.mark.parametrize("given", ["lo", "=lo", "^eth0", "eth7,lo", ""])
def test_an_interface_that_is_there(given: str, driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.write_text(f"{GPU.format(used=0)}\n")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", given)
    inspection.inspect(1)


def test_an_interface_that_is_not_there(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "rdma9")
    with pytest.raises(Failure, match="GLOO_SOCKET_IFNAME is rdma9, but the pod's interfaces are .*lo"):
        inspection.inspect(1)


def test_versions_are_compared_where_both_are_known() -> None:
    own = {"python": "3.12", "ray": "2.58.0", "vllm": "0.26.0", "driver": None}
    assert inspection.differences(own, dict(own, driver="580.95.05")) == []
    assert inspection.differences(own, {}) == []
    assert inspection.differences(own, dict(own, vllm="0.27.0")) == ["vllm 0.27.0 there, 0.26.0 here"]
