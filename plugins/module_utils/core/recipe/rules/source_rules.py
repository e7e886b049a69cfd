# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the model's files are, and where they lie in the container."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...fault import Findings
from ..values import shown

_SOURCES = ("input_object_storage", "input_hugging_face")
_PLACEHOLDER = re.compile(r"BUCKET|BUCKET_NAME|CHANGE_?ME")
_PAR_PLACEHOLDER = re.compile(r"PAR_SECRET|CHANGE_?ME|/b/BUCKET|/n/NAMESPACE/")
_SAMPLE = "the placeholder of the sample"
_PAR_REMEDY = (
    "create one in the OCI console (Object Storage, bucket, Pre-Authenticated Requests): type `bucket` or `prefix`, "
    "read, with listing allowed"
)


def check_source(recipe: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings) -> None:
    """The model has one source, and its path is below that source's mount."""
    sources, repository = recipe.get("input_object_storage") or [], recipe.get("input_hugging_face")
    if not sources and not repository and not any(fault.where.endswith(_SOURCES) for fault in findings.faults):
        remedy = "say where the model's files are: input_object_storage, or input_hugging_face"
        findings.fault("missing", "input_object_storage", "not given", "a list with one mapping", remedy)
    if sources and repository:
        found, expected = "given beside input_object_storage", "one source of the model"
        findings.fault("sources", "input_hugging_face", found, expected, "remove one of the two")
    if len(sources) > 1:
        found = f"{len(sources)} entries"
        findings.fault("sources", "input_object_storage", found, "one", "keep the one that holds the model")
    for number, source in enumerate(sources):
        _object_storage(source, f"input_object_storage[{number}]", settings, findings)
    if repository:
        _endpoint(settings.get("hugging_face_endpoint"), bool(repository.get("token_secret_name")), findings)
    path = (recipe.get("recipe_raycluster_params") or {}).get("model_path_in_container")
    _model_path(path, [*sources, *([repository] if repository else [])], findings)


def _object_storage(source: Mapping[str, Any], place: str, settings: Mapping[str, Any], findings: Findings) -> None:
    par, bucket = source.get("par"), source.get("bucket_name")
    if any(fault.where.endswith((f"{place}.par", f"{place}.bucket_name")) for fault in findings.faults):
        return
    if par and bucket:
        place += ".bucket_name"
        findings.fault("sources", place, "given beside par", "one of the two", "remove one of the two")
    elif bucket and _PLACEHOLDER.fullmatch(bucket):
        remedy = "name the bucket of your tenancy that holds the model's files"
        findings.fault("bucket", f"{place}.bucket_name", _SAMPLE, "the name of a bucket", remedy)
    elif not bucket and (problem := par_problem(par, settings.get("oci_service_endpoint"))):
        findings.fault("par", f"{place}.par", problem, "the URL of a pre-authenticated request", _PAR_REMEDY)


def par_problem(par: str | None, service_endpoint: Any) -> str | None:
    """Say what is wrong with the URL of a pre-authenticated request, without telling any of its secret.

    Plain http is taken only from the Object Storage endpoint that the settings name: anywhere else it would send the
    secret in the clear.
    """
    if not par:
        return "not given"
    if _PAR_PLACEHOLDER.search(par):
        return _SAMPLE
    try:
        url = urlsplit(par)
        address = url.hostname, url.port
    except ValueError:
        return "a URL whose host or port cannot be"
    if url.scheme == "http":
        endpoint = service_endpoint
        if isinstance(endpoint, Mapping):
            endpoint = endpoint.get("object_storage")
        named = urlsplit(endpoint) if isinstance(endpoint, str) else None
        if not named or (named.hostname, named.port) != address:
            return "a URL of plain http"
    return None


def _endpoint(endpoint: str | None, with_token: bool, findings: Findings) -> None:
    """Nodes and deploy read the repository from here; a token does not travel in the clear."""
    if with_token and endpoint and endpoint.startswith("http://"):
        found, remedy = "plain http, which would show the token", "give one, or remove token_secret_name"
        findings.fault("endpoint", "hugging_face_endpoint", found, "an https URL", remedy)


def _model_path(path: str | None, sources: Sequence[Mapping[str, Any]], findings: Findings) -> None:
    mounts = [source["mount_location"].rstrip("/") for source in sources if source.get("mount_location")]
    if path and mounts and not any(f"{path.rstrip('/')}/".startswith(f"{mount}/") for mount in mounts):
        findings.fault(
            "model_path",
            "recipe_raycluster_params.model_path_in_container",
            shown(path),
            f"a folder below {mounts[0]}",
            "model files are staged to the mount_location; put the model's path below it",
        )
