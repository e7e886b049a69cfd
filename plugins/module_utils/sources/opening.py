# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opens the one source that holds a model's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.plan.facts import commit_choice
from ..oci.client import Connection, checked_endpoint
from .bucket import BucketSource
from .folder import FolderSource
from .hugging_face import HuggingFaceSource
from .par import ParSource
from .source import Source


def open_source(given: Mapping[str, Any], connect: Callable[[str], Connection]) -> Source:
    """Return the source that the values of `model_info`'s options name. Raises Refused.

    connect  signs in to Oracle Cloud, with the region of the OCID that it is given
    """
    if given.get("par"):
        endpoint = checked_endpoint(given.get("oci_service_endpoint") or "")
        storage = endpoint.get("object_storage", "") if isinstance(endpoint, dict) else endpoint
        return ParSource(given["par"], given["prefix"], storage)
    if given.get("bucket_name"):
        return BucketSource(
            connect(given.get("cluster_id") or ""),
            given["bucket_name"],
            given["prefix"],
            given.get("bucket_namespace") or "",
        )
    if given.get("folder"):
        return FolderSource(given["folder"])
    return HuggingFaceSource(
        given["repository"],
        given["revision"],
        given.get("huggingface_token") or "",
        given["huggingface_endpoint"],
        given["choices"].get(commit_choice(given["repository"], given["revision"])) or "",
    )
