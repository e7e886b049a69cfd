# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod has is looked at before anything starts, and what differs between pods is told."""

from __future__ import annotations

import re
from pathlib import Path

import pod_inspection
import pytest
from pod_progress import Failure

GPU = "NVIDIA A10, 580.95.05, 8.6, 23028, {used}"
LINE = {
    "ray": "2.58.0",
    "vllm": "0.26.0",
    "python": "3.12",
    "cuda": "13.0",
    "least_driver": 580,
    "least_compute_capability": "7.5",
}
POD = {
    "python": "3.12",
    "ray": "2.58.0",
    "vllm": "0.26.0",
    "driver": "580.95.05",
    "gpu": "NVIDIA A10",
    "capability": "8.6",
}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what nvidia-smi says."""
    said = tmp_path / "said"
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncat "{said}"\ngrep -q failed "{said}" && exit 9\nexit 0\n')
    for name in ("ray", "vllm"):
        (tmp_path / name).symlink_to("/bin/true")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    return said


def test_the_pod_as_the_plan_says(driver: Path) -> None:
    driver.write_text(f"{GPU.format(used=450)}\n" * 2)
    found = pod_inspection.inspect(2, {})
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
    monkeypatch.setattr(pod_inspection, "FREE_SECONDS", 0)
    driver.write_text(said)
    with pytest.raises(Failure, match=cause) as caught:
        pod_inspection.inspect(2, {})
    assert caught.value.lasting == lasting


@pytest.mark.parametrize("given", ["lo", "=lo", "^eth0", "eth7,lo", ""])
def test_an_interface_that_is_there(given: str, driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.write_text(f"{GPU.format(used=0)}\n")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", given)
    pod_inspection.inspect(1, {})


def test_an_interface_that_is_not_there(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "rdma9")
    with pytest.raises(Failure, match="GLOO_SOCKET_IFNAME is rdma9, but the pod's interfaces are .*lo"):
        pod_inspection.inspect(1, {})


def test_versions_are_compared_where_both_are_known() -> None:
    own = {"python": "3.12", "ray": "2.58.0", "vllm": "0.26.0", "driver": None}
    assert pod_inspection.differences(own, dict(own, driver="580.95.05")) == []
    assert pod_inspection.differences(own, {}) == []
    assert pod_inspection.differences(own, dict(own, vllm="0.27.0")) == ["vllm 0.27.0 there, 0.26.0 here"]


def test_the_pod_that_the_table_describes() -> None:
    assert pod_inspection.unlike_the_table(POD, LINE) == []
    assert pod_inspection.unlike_the_table(POD, {}) == []
    assert pod_inspection.unlike_the_table(dict.fromkeys(POD), LINE) == []
    # Of older lines only the least vLLM is known.
    assert pod_inspection.unlike_the_table({**POD, "vllm": "0.27.1+cu130"}, LINE) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"python": "3.11"}, "python is 3.11 in this image, and its name says 3.12"),
        ({"ray": "2.55.1"}, "ray is 2.55.1 in this image, and its name says 2.58.0"),
        ({"vllm": "0.9.2"}, "vllm is 0.9.2 in this image, and its name says 0.26.0"),
        (
            {"driver": "570.133.20"},
            "driver is 570.133.20, and the image's CUDA 13.0 needs 580 or newer: take a newer node image",
        ),
        (
            {"capability": "7.0", "gpu": "Tesla V100"},
            "the Tesla V100 has compute capability 7.0, .* no kernels below 7.5",
        ),
    ],
)
def test_a_pod_unlike_the_table_is_told(found: dict[str, str], words: str) -> None:
    (said,) = pod_inspection.unlike_the_table({**POD, **found}, LINE)
    assert re.search(words, said)


@pytest.mark.parametrize(
    ("ray", "line", "words"),
    [
        ("2.58.0+oci", {"ray": "2.58.0"}, ""),
        ("2.52.1", {}, ""),
        (None, {"ray": "2.58.0"}, ""),
        ("2.55.1", {"ray": "2.58.0"}, "the plan says 2.58.0: give image_contents with ray: 2.55.1"),
        ("2.51.0", {"ray": "2.58.0"}, "2.51.0 in this image, which has no token authentication: .* Ray 2.52 or newer"),
        ("2.9.3", {}, "no token authentication"),
    ],
)
def test_the_ray_of_an_image_that_is_not_known(ray: str | None, line: dict[str, str], words: str) -> None:
    said = "; ".join(pod_inspection.unlike_the_table({**POD, "ray": ray}, line))
    assert re.search(words, said) and bool(said) == bool(words)


def test_an_image_holds_what_a_person_says_of_it() -> None:
    said = {"given": True, "ray": POD["ray"], "vllm": POD["vllm"], "python": POD["python"]}
    assert pod_inspection.unlike_the_table(POD, said) == []
    (words,) = pod_inspection.unlike_the_table({**POD, "vllm": "0.31.0"}, {**said, "vllm": "0.32.0"})
    assert words == "vllm is 0.31.0 in this image, and the plan says 0.32.0: give image_contents with vllm: 0.31.0"


def test_a_driver_too_old_ends_the_pod_before_anything_is_staged(driver: Path) -> None:
    driver.write_text("NVIDIA A10, 550.90.07, 8.6, 23028, 450\n")
    with pytest.raises(Failure, match="driver is 550.90.07") as caught:
        pod_inspection.inspect(1, {**LINE, "python": None, "ray": None, "vllm": None})
    assert caught.value.lasting


@pytest.mark.parametrize("program", ["ray", "vllm"])
def test_an_image_without_a_program_is_told(program: str, driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.write_text(f"{GPU.format(used=0)}\n")
    (driver.parent / program).unlink()
    monkeypatch.setenv("PATH", str(driver.parent))
    with pytest.raises(Failure, match=f"the image has no `{program}` on its PATH") as caught:
        pod_inspection.inspect(1, {})
    assert caught.value.lasting
