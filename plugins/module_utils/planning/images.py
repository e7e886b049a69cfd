# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of container images, and what has to be known of an image to run as its user."""

from __future__ import annotations

import re

# rayproject/ray-llm runs as user `ray`, 1000, group 100 (Dockerfile of rayproject/ray). Its files lie in /home/ray.
RAY_LLM_USER = 1000


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
