# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample recipe that the rig serves for real: its model into Object Storage, a real PAR for it, the recipe filled in."""

from __future__ import annotations

import json
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import oci

from rig.configuration import REPOSITORY, Rig
from rig.model import write_tiny_llama

MODEL = "rig/tiny-llama"
# An image whose Ray is a stand-in, too: a group is up in seconds (rig/images/vllm-light).
LIGHT_IMAGE = "registry.rig.example/rig/vllm-light:2.58.0"
SAMPLE = REPOSITORY / "sample_recipes" / "rig_two_nodes.json"


def object_storage(tenancy: dict[str, Any], rig: Rig) -> oci.object_storage.ObjectStorageClient:
    """The real SDK's client for the rig's Object Storage, as the tenancy's user."""
    config = oci.config.from_file(
        tenancy["settings"]["config_file_location"], tenancy["settings"].get("config_profile_name") or "DEFAULT"
    )
    return oci.object_storage.ObjectStorageClient(config, service_endpoint=rig.oci.endpoint)


def put_model(
    tenancy: dict[str, Any], rig: Rig, shards: int = 4, layers: int = 4, hidden: int = 64, bucket: str = ""
) -> None:
    """Make the tiny Llama and put its files into a bucket, the tenancy's without a name, below `rig/tiny-llama/`."""
    client = object_storage(tenancy, rig)
    with tempfile.TemporaryDirectory() as folder:
        for name in write_tiny_llama(Path(folder), shards=shards, layers=layers, hidden=hidden):
            with open(Path(folder) / name, "rb") as file:
                client.put_object(tenancy["namespace"], bucket or tenancy["bucket"], f"{MODEL}/{name}", file)


def make_par(
    tenancy: dict[str, Any], rig: Rig, expires_in: timedelta = timedelta(days=30), listing: bool = True
) -> str:
    """Make a pre-authenticated request for the whole bucket and return its URL."""
    details = oci.object_storage.models.CreatePreauthenticatedRequestDetails(
        name=f"sample-{uuid.uuid4().hex[:8]}",
        access_type="AnyObjectRead",
        bucket_listing_action="ListObjects" if listing else "Deny",
        time_expires=datetime.now(UTC) + expires_in,
    )
    made = object_storage(tenancy, rig).create_preauthenticated_request(
        tenancy["namespace"], tenancy["bucket"], details
    )
    return rig.oci.endpoint + made.data.access_uri


def recipe(par: str, **changes: Any) -> dict[str, Any]:
    """The sample recipe with a PAR that works, and with `changes` of its top-level keys."""
    filled: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    filled["input_object_storage"][0]["par"] = par
    return {**filled, **changes}


def light_recipe(par: str, **changes: Any) -> dict[str, Any]:
    """The same with the light image, for what is not about Ray itself. The product does not know that image, and warns of it."""
    return recipe(par, **{"recipe_image_uri": LIGHT_IMAGE, **changes})
