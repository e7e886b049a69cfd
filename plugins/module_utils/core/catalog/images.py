# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of container images, and what has to be known of an image to run on a GPU and as its user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from ..fault import Findings
from .shapes import Shape

# rayproject/ray-llm runs as user `ray`, 1000, group 100 (Dockerfile of rayproject/ray). Its files lie in /home/ray.
RAY_LLM_USER = 1000
# KubeRay's chart takes the operator from there (values.yaml, image.repository).
OPERATOR = "quay.io/kuberay/operator"
RAY_LLM = "docker.io/rayproject/ray-llm"
# Token authentication came with it (Ray, "Ray token authentication"): an older Ray's dashboard and job API serve anybody.
LEAST_RAY = (2, 52)
# The newest line that is well tried, and the last one known whose CUDA still has kernels for Volta.
DEFAULT_TAG = "2.58.0-py312-cu130"
OLDER_TAG = "2.53.0-py311-cu128"
# The vLLM of rayproject/ray-llm by Ray's line: the requirement of `ray[llm]` in the package's metadata. Up to 2.55 it
# is a lower bound.
VLLM_OF_RAY = {
    "2.53": "0.12.0",
    "2.54": "0.15.0",
    "2.55": "0.18.0",
    "2.56": "0.22.0",
    "2.57": "0.25.1",
    "2.58": "0.26.0",
    "2.59": "0.27.0",
    "2.60": "0.29.0",
}
# The oldest vLLM whose options and messages the programs in the pods know.
LEAST_VLLM = (0, 22)
# CUDA's major version: (least driver of Linux, least compute capability). All of CUDA 12 runs on driver 525 and newer, CUDA 13 on 580
# and newer (NVIDIA, "CUDA Toolkit Release Notes", minimum driver for minor version compatibility; "Supported Drivers
# and CUDA Toolkit Versions"). CUDA 13 has left Volta behind (release notes, deprecated architectures).
_CUDA = {"12": (525, (7, 0)), "13": (580, (7, 5))}
# PyTorch's builds for CUDA 12.8 have kernels for Volta in 2.8 to 2.10 only (PyTorch issue 172352), and newer vLLM
# takes a newer PyTorch.
_WITHOUT_VOLTA = ((0, 22), (7, 5))
_RAY_LLM_TAG = re.compile(r"(?P<ray>\d+\.\d+\.\d+)\S*?-py(?P<major>\d)(?P<minor>\d+)-cu(?P<cuda>\d{2})(?P<point>\d)$")
# Since then vllm/vllm-openai comes without Ray (vLLM's Dockerfile).
_OPENAI_WITHOUT_RAY = (0, 18)


class KnownImage(TypedDict, total=False):
    """What the plan says of an image; all of it, what a person said of it (`given`), or nothing."""

    given: bool
    ray: str
    vllm: str
    python: str
    cuda: str
    least_driver: int | None
    least_compute_capability: str | None


@dataclass(frozen=True)
class ImageLine:
    """What an image holds; None: not known.

    least_driver  the major version of NVIDIA's driver
    given         a person says so (image_contents), not the table
    """

    ray: str | None
    vllm: str | None
    python: str | None
    cuda: str | None
    least_driver: int | None
    least_capability: tuple[int, int] | None
    given: bool = False

    def as_dict(self) -> KnownImage:
        """The line as the plan carries it."""
        least = self.least_capability
        line: KnownImage = {"given": True} if self.given else {}
        if self.ray is not None:
            line["ray"] = self.ray
        if self.vllm is not None:
            line["vllm"] = self.vllm
        if self.python is not None:
            line["python"] = self.python
        if self.cuda is not None:
            line["cuda"] = self.cuda
            line["least_driver"] = self.least_driver
            line["least_compute_capability"] = f"{least[0]}.{least[1]}" if least else None
        return line


def full_image_name(image: str, registry: str | None = None) -> str:
    """Return the image's name with its registry, or with `registry` in its place.

    A name's first part is a registry when it has a dot or a colon or is localhost (the rule of the container
    runtimes); without one it is Docker Hub's, which CRI-O on OKE no longer assumes.
    """
    first, slash, rest = image.partition("/")
    own_registry = bool(slash) and (re.search(r"[.:]", first) is not None or first == "localhost")
    if not own_registry:
        first, rest = "docker.io", image if slash else f"library/{image}"
    return f"{(registry or first).rstrip('/')}/{rest}"


def operator_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of KubeRay's chart that say where the operator's image is, and how it is pulled.

    Nothing where nothing is given: the chart says it itself. The names are those of the chart's values.yaml.
    """
    registry, secret = settings["image_registry"], settings["kuberay_image_pull_secret"]
    image = settings["kuberay_image"] or (registry and full_image_name(OPERATOR, registry))
    values: dict[str, Any] = {"image": {"repository": image}} if image else {}
    return values | ({"imagePullSecrets": [{"name": secret}]} if secret else {})


def image_line(image: str, contents: Mapping[str, str | None] | None = None) -> ImageLine | None:
    """Return what the image holds, or None for one that is not known. Mirrors keep the name's last two parts.

    A tag without an architecture is for x86; Ray's images for Arm end with -aarch64 (rayproject/ray, docker/base-deps).
    contents: what a person says of an image that the table does not know: vllm, ray, cuda and python.
    """
    name, _colon, tag = image.rpartition(":")
    match = _RAY_LLM_TAG.match(tag) if name.endswith("rayproject/ray-llm") else None
    vllm = VLLM_OF_RAY.get(".".join(match["ray"].split(".")[:2])) if match else None
    if match is None or vllm is None:
        return _of_contents({key: value for key, value in (contents or {}).items() if value})
    cuda = f"{match['cuda']}.{match['point']}"
    return ImageLine(match["ray"], vllm, f"{match['major']}.{match['minor']}", cuda, *_of_cuda(cuda, vllm))


def _of_contents(given: Mapping[str, str]) -> ImageLine | None:
    if not given:
        return None
    cuda, vllm = given.get("cuda"), given.get("vllm")
    driver, capability = _of_cuda(cuda, vllm) if cuda else (None, None)
    return ImageLine(given.get("ray"), vllm, given.get("python"), cuda, driver, capability, given=True)


def _of_cuda(cuda: str, vllm: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """The least driver, and the least compute capability that there are kernels for."""
    driver, capability = _CUDA.get(cuda.split(".")[0], (None, None))
    since, least = _WITHOUT_VOLTA
    if capability is not None and vllm is not None and _version(vllm) >= since:
        capability = max(capability, least)
    return driver, capability


def default_image(shape: Shape | None) -> str:
    """Return the image where none is given: the newest well-tried line that has kernels for the shape's GPUs."""
    newest = f"{RAY_LLM}:{DEFAULT_TAG}"
    line, has = image_line(newest), shape.compute_capability if shape else None
    too_old = line is not None and line.least_capability is not None and has is not None and has < line.least_capability
    return f"{RAY_LLM}:{OLDER_TAG}" if too_old else newest


def check_image(image: str, line: ImageLine | None, shape: Shape | None, findings: Findings) -> None:
    """Check that `image`, which holds `line`, runs on the shape's GPUs."""
    place = "recipe_image_uri"
    if line is None:
        _warn_of_unknown(image, place, findings)
        return
    has, least = shape.compute_capability if shape else None, line.least_capability
    if shape is not None and shape.architecture == "arm64" and not line.given:
        findings.fault(
            "image_architecture",
            place,
            f"{image}, which is for x86, and {shape.name} has Arm processors",
            "an image for Arm with Ray and vLLM",
            "name one, or choose a shape with x86 processors",
        )
    # Of GPUs that no vLLM runs on the shape's own fault tells enough.
    oldest = _CUDA["12"][1]
    if shape is not None and has is not None and least is not None and oldest <= has < least:
        findings.fault(
            "image_too_new",
            place,
            f"{image}, which has no kernels for {shape.gpu} (compute capability {has[0]}.{has[1]})",
            f"an image for {has[0]}.{has[1]}, such as {RAY_LLM}:{OLDER_TAG}",
            "leave recipe_image_uri out, or choose a shape with newer GPUs",
        )
    if line.vllm is None:
        findings.warn(
            "image_unknown",
            "image_contents",
            f"it does not say which vLLM {image} holds",
            "vllm beside the rest",
            "without it no class, option or quantization can be checked",
        )
    elif _version(line.vllm) < LEAST_VLLM:
        findings.warn(
            "image_old",
            place,
            f"{image} with vLLM {line.vllm}",
            "",
            f"the programs in the pods are tried with vLLM {LEAST_VLLM[0]}.{LEAST_VLLM[1]} and newer",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _warn_of_unknown(image: str, place: str, findings: Findings) -> None:
    name, _colon, tag = image.rpartition(":")
    version = re.match(r"v?(\d+)\.(\d+)", tag)
    if name.endswith("vllm/vllm-openai") and (not version or (int(version[1]), int(version[2])) >= _OPENAI_WITHOUT_RAY):
        findings.warn(
            "image_without_ray",
            place,
            f"{image}, which comes without Ray since 0.18",
            "",
            f"a group needs Ray: use {RAY_LLM}:{DEFAULT_TAG}, or add Ray to the image (docs/images.md)",
        )
    else:
        findings.warn(
            "image_unknown",
            place,
            f"{image}, whose Ray, vLLM and CUDA are not known",
            "",
            "say in image_contents what it holds, and the plan checks the model and the options against its vLLM",
        )
