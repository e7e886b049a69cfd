# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image runs where, and what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.images import (
    LEAST_RAY,
    VLLM_OF_RAY,
    check_image,
    default_image,
    full_image_name,
    image_line,
    operator_values,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import SHAPES, find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ..plans import facts, on, plan
from ..recipes import recipe

RAY_LLM = "docker.io/rayproject/ray-llm"


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("rayproject/ray-llm:2.58.0", None, "docker.io/rayproject/ray-llm:2.58.0"),
        ("ubuntu", None, "docker.io/library/ubuntu"),
        ("quay.io/a/b:1", "registry.example.com/mirror", "registry.example.com/mirror/a/b:1"),
        ("localhost:5000/a:1", None, "localhost:5000/a:1"),
    ],
)
def test_images_have_full_names(image: str, registry: str | None, full: str) -> None:
    assert full_image_name(image, registry) == full


def test_a_line_says_what_the_image_holds() -> None:
    line = image_line(f"{RAY_LLM}:2.60.0-py312-cu130")
    assert line is not None
    assert (line.ray, line.vllm, line.python, line.cuda) == ("2.60.0", "0.29.0", "3.12", "13.0")
    assert (line.least_driver, line.least_capability) == (580, (7, 5))
    volta, newer = image_line(f"{RAY_LLM}:2.53.0-py311-cu128"), image_line(f"{RAY_LLM}:2.57.0-py312-cu128")
    assert volta is not None and (volta.least_driver, volta.least_capability) == (525, (7, 0))
    assert newer is not None and newer.least_capability == (7, 5)
    assert image_line("registry.example.com/mirror/rayproject/ray-llm:2.58.0-py312-cu130") is not None
    for unknown in (f"{RAY_LLM}:nightly", f"{RAY_LLM}:3.0.0-py312-cu130", "docker.io/me/vllm:2.58.0-py312-cu130"):
        assert image_line(unknown) is None


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if (shape.compute_capability or (0, 0)) >= (7, 0)])
def test_the_default_runs_on_every_gpu_that_is_served(shape) -> None:  # type: ignore[no-untyped-def]
    image = default_image(shape)
    findings = Findings()
    check_image(image, image_line(image), shape, findings)
    faults = [fault.code for fault in findings.faults]
    # Ray's images for Arm have names of their own, and none with vLLM is known.
    assert faults == (["image_architecture"] if shape.architecture == "arm64" else [])
    assert image.endswith("2.53.0-py311-cu128") == (shape.gpu == "V100")


def test_a_cuda_without_kernels_for_the_gpu_is_refused() -> None:
    findings = Findings()
    image = f"{RAY_LLM}:2.58.0-py312-cu130"
    check_image(image, image_line(image), find_shape("VM.GPU3.4"), findings)
    (fault,) = findings.faults
    assert fault.line() == (
        "recipe_image_uri: docker.io/rayproject/ray-llm:2.58.0-py312-cu130, which has no kernels for V100 "
        "(compute capability 7.0), expected an image for 7.0, such as docker.io/rayproject/ray-llm:2.53.0-py311-cu128; "
        "leave recipe_image_uri out, or choose a shape with newer GPUs"
    )


@pytest.mark.parametrize(
    ("image", "codes"),
    [
        ("docker.io/vllm/vllm-openai:v0.26.0", ["image_without_ray"]),
        ("docker.io/vllm/vllm-openai:latest", ["image_without_ray"]),
        ("docker.io/vllm/vllm-openai:v0.17.1", ["image_unknown"]),
        ("docker.io/me/vllm:1", ["image_unknown"]),
        (f"{RAY_LLM}:2.55.1-py312-cu128", ["image_old"]),
        (f"{RAY_LLM}:2.58.0-py312-cu130", []),
    ],
)
def test_what_is_to_be_known_of_an_image_is_said(image: str, codes: list[str]) -> None:
    made = plan(**on("VM.GPU.A10.2", 2, 2), recipe_image_uri=image)
    assert [entry["code"] for entry in made["warnings"] if entry["code"].startswith("image")] == codes


@pytest.mark.parametrize(("version", "expected"), [("2.51.2", "2.52.0 or newer"), ("2.58", "such as 2.58.0")])
def test_a_ray_without_token_authentication_is_refused(version: str, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(recipe_image_uri="docker.io/me/vllm:1", image_contents={"ray": version})
    (fault,) = refused.value.faults
    assert (fault.code, fault.where) == ("ray_version", "image_contents.ray") and expected in fault.line()


def test_every_image_of_the_table_has_token_authentication() -> None:
    assert min(tuple(map(int, line.split("."))) for line in VLLM_OF_RAY) >= LEAST_RAY


def test_a_ray_that_is_given_takes_the_place_of_the_one_before() -> None:
    found = facts(deployment={"choices": {"ray_version": "2.58.0"}})
    made = plan(found, recipe_image_uri="docker.io/me/vllm:1", image_contents={"ray": "2.57.0"})
    assert made["pod"]["ray_version"] == "2.57.0"


def test_a_shape_with_volta_gets_the_older_line_where_that_can_do_what_is_planned() -> None:
    made = plan(**on("VM.GPU3.2", 2, 2, 10, 120))
    assert made["image"]["vllm"] == "0.12.0" and made["pod"]["image"].endswith("2.53.0-py311-cu128")
    assert {"image_old", "bfloat16_not_supported"} <= {entry["code"] for entry in made["warnings"]}
    with pytest.raises(Refused) as refused:
        plan(**on("VM.GPU3.2", 2, 3, 10, 120))
    (fault,) = refused.value.faults
    assert fault.code == "old_ray_executor" and "at most two nodes, or a shape with newer GPUs" in fault.remedy


OWN = {"recipe_image_uri": "docker.io/me/vllm:1"}


def test_what_an_image_of_ones_own_holds_is_said_by_a_setting() -> None:
    contents = {"vllm": "0.32.0", "ray": "2.60.1", "cuda": "12.8", "python": "3.12"}
    made = plan(**OWN, image_contents=contents)
    assert made["image"] == {
        "name": "docker.io/me/vllm:1",
        "given": True,
        **contents,
        "least_driver": 525,
        "least_compute_capability": "7.5",
    }
    assert made["pod"]["ray_version"] == "2.60.1"
    assert not [entry for entry in made["warnings"] if entry["code"].startswith(("image", "vllm"))]


@pytest.mark.parametrize(
    ("contents", "codes"),
    [
        ({"ray": "2.60.1"}, ["image_unknown"]),
        ({"vllm": "0.30.0"}, ["vllm_not_certain"]),
        ({"vllm": "0.34.0"}, ["vllm_not_certain"]),
        ({"vllm": "0.32.0"}, []),
    ],
)
def test_a_plan_for_a_vllm_that_is_not_known_exactly_says_so(contents: dict[str, str], codes: list[str]) -> None:
    made = plan(**OWN, image_contents=contents)
    assert [entry["code"] for entry in made["warnings"] if entry["code"].startswith(("image", "vllm"))] == codes


def test_a_vllm_older_than_what_is_supported_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        plan(**OWN, image_contents={"vllm": "0.9.2"})
    assert "image_contents.vllm: 0.9.2, expected a version from 0.12.0 to 0.33.0" in str(refused.value)


def test_what_is_said_of_an_image_that_the_collection_knows_has_to_agree_with_it() -> None:
    image = {"recipe_image_uri": f"{RAY_LLM}:2.58.0-py312-cu130"}
    assert plan(**image, image_contents={"vllm": "0.26.0"})["image"]["vllm"] == "0.26.0"
    with pytest.raises(Refused, match="image_contents.vllm: 0.32.0, and .* holds 0.26.0"):
        plan(**image, image_contents={"vllm": "0.32.0"})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {}),
        (
            {"image_registry": "mirror.example.com/group/"},
            {"image": {"repository": "mirror.example.com/group/kuberay/operator"}},
        ),
        (
            {"image_registry": "mirror.example.com", "kuberay_image": "other.example.com/operator"},
            {"image": {"repository": "other.example.com/operator"}},
        ),
        ({"kuberay_image_pull_secret": "registry"}, {"imagePullSecrets": [{"name": "registry"}]}),
    ],
)
def test_the_operators_image_is_behind_the_registry_too(given: dict[str, str], wanted: dict[str, Any]) -> None:
    settings = read_inputs({**recipe(), **given}).settings
    assert operator_values(settings) == wanted
