# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the model's files are, as the recipe says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_source(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one source of the model's files, its `kind` (par, bucket or hugging_face), and its `place` in the recipe."""
    if recipe.get("input_hugging_face"):
        return {"kind": "hugging_face", "place": "input_hugging_face", **recipe["input_hugging_face"]}
    source = recipe["input_object_storage"][0]
    return {"kind": "bucket" if source.get("bucket_name") else "par", "place": "input_object_storage[0]", **source}


def model_options(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return by which options of `model_info` the model's files are read; a secret is not among them.

    `with_token`: whether the pods have one for the repository. Without, deploy reads as they will.
    """
    source = model_source(recipe)
    return {
        "bucket_name": source.get("bucket_name"),
        "repository": source.get("repository"),
        "revision": source.get("revision"),
        "with_token": bool(source.get("token_secret_name")),
        "prefix": model_prefix(recipe),
        "include": source.get("include") or [],
        "exclude": source.get("exclude") or [],
    }


def model_prefix(recipe: Mapping[str, Any]) -> str:
    """Return the prefix of the model's objects: its path in the container without the mount's; "" for all of them.

    A repository holds one model: its files follow no prefix.
    """
    source = model_source(recipe)
    mount = source["mount_location"].rstrip("/")
    path: str = recipe["recipe_raycluster_params"]["model_path_in_container"]
    prefix = path[len(mount) :].strip("/")
    return prefix + "/" if prefix and source["kind"] != "hugging_face" else ""
