# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which image runs, and which vLLM it holds: every rule that depends on a version asks for this one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...catalog.images import LEAST_RAY, ImageLine, default_image, full_image_name, image_line
from ...catalog.shapes import Shape
from ...catalog.vllm.release import SUPPORTED, Release, is_supported, parsed, release
from ...fault import Findings
from ...recipe.inputs import Inputs
from ..facts import Choices

CONTENTS = "image_contents"


@dataclass(frozen=True)
class ChosenImage:
    """The image of the pods: its full name, what it holds, the Ray that KubeRay is told, and what its vLLM knows."""

    name: str
    line: ImageLine | None
    ray_version: str
    release: Release


def choose_image(inputs: Inputs, choices: Choices, shape: Shape | None, findings: Findings) -> ChosenImage:
    """Return the image of the recipe, else that of the settings, else the collection's own for the shape's GPUs."""
    settings = inputs.settings
    today = settings["default_image"] or default_image(shape)
    why = "the collection's default for these GPUs"
    asked = inputs.recipe["recipe_image_uri"]
    given = choices.choose("image", asked, today, why, lambda kept: _same_repository(kept, today))
    contents = settings[CONTENTS] or {}
    table = image_line(full_image_name(given))
    line = table or image_line(full_image_name(given), contents)
    for name in ("vllm", "ray", "cuda", "python") if table else ():
        said = contents.get(name)
        if said and said != getattr(table, name):
            findings.fault(
                CONTENTS,
                f"{CONTENTS}.{name}",
                f"{said}, and {given} holds {getattr(table, name)}",
                "what the image holds",
                f"leave {CONTENTS} out for this image",
            )
    ray = line.ray if line is not None else None
    if table is None:
        own = image_line(full_image_name(default_image(None)))
        newest, unknown = own.ray if own else None, "the image is not known"
        ray = choices.choose("ray_version", contents.get("ray"), newest, unknown, lambda kept: isinstance(kept, str))
        _check_ray(str(ray), findings)
    known = release(line.vllm if line else None)
    _check_version(known, findings)
    return ChosenImage(full_image_name(given, settings["image_registry"]), line, str(ray), known)


def _same_repository(kept: Any, today: str) -> bool:
    """Tell whether an image is of today's repository: another tag of it was the default once, another image never."""
    return isinstance(kept, str) and kept.rpartition(":")[0] == today.rpartition(":")[0]


def _check_ray(version: str, findings: Findings) -> None:
    """A Ray without token authentication would serve its job API to anyone."""
    if not re.match(r"\d+\.\d+", version) or parsed(version)[:2] < LEAST_RAY:
        least = f"{LEAST_RAY[0]}.{LEAST_RAY[1]}.0"
        findings.fault(
            "ray_version",
            f"{CONTENTS}.ray",
            version,
            f"{least} or newer, which brought Ray's token authentication",
            "use an image with a newer Ray",
        )


def _check_version(known: Release, findings: Findings) -> None:
    version = known.version
    if version is None or known.exact:
        return
    oldest, newest = SUPPORTED
    if parsed(version) < parsed(oldest):
        findings.fault(
            "vllm_not_supported",
            f"{CONTENTS}.vllm",
            version,
            f"a version from {oldest} to {newest}",
            "use an image with a newer vLLM (docs/images.md)",
        )
    elif not is_supported(version):
        findings.warn(
            "vllm_not_certain",
            f"{CONTENTS}.vllm",
            f"{version}, newer than {newest}, the newest vLLM that the collection knows",
            "",
            f"the plan is made for {newest} and is not certain",
        )
    else:
        findings.warn(
            "vllm_not_certain",
            f"{CONTENTS}.vllm",
            f"{version}, between {' and '.join(known.tables)}, which the collection knows",
            "",
            "the plan takes the stricter of both and is not certain",
        )
