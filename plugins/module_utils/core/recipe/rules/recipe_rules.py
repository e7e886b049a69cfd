# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of a recipe that join several parameters.

A rule whose parameters already have a fault (None) is left out: one fault, one message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...fault import Fault, Findings
from ..node_checks import check_room, checked_shape
from ..parameter_objects import RAY_PORTS, STATUS_PORT, WORKER_PORTS
from ..values import shown
from ..vllm_arguments import check_arguments
from .container_rules import check_container, check_nodes, secret_name
from .node_pool_rules import check_node_settings
from .storage_rules import check_storage_rules

# Names as Object Storage takes them (OCI documentation, "Creating an Object Storage Bucket").
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,256}")
_PLACEHOLDER = re.compile(r"BUCKET|BUCKET_NAME|CHANGE_?ME")
_PAR_PATH = re.compile(r"^/p/[^/]+/n/[^/]+/b/[^/]+/o/")


def broken_rules(
    recipe: dict[str, Any], settings: dict[str, Any], known: Sequence[Fault], warnings: list[Fault]
) -> list[Fault]:
    """Return the faults of a typed recipe; `known` are those that single parameters have already."""
    faults: list[Fault] = []
    params = recipe.get("recipe_raycluster_params") or {}
    _uniform_nodes(recipe, params, known, faults)
    check_container(recipe, faults)
    check_nodes(recipe, faults)
    check_node_settings(settings, recipe.get("recipe_node_shape"), faults)
    check_storage_rules(recipe, settings, faults)
    _shape(recipe, params, settings, faults)
    _ports(recipe, params, faults)
    _model_source(recipe, params, settings, known, faults)
    check_arguments(recipe.get("recipe_container_command_args") or (), faults, warnings)
    return faults


def _uniform_nodes(recipe: dict[str, Any], params: dict[str, Any], known: Sequence[Fault], faults: list[Fault]) -> None:
    """Head and workers are the same machine: one engine spreads over them."""
    place = "recipe_raycluster_params"
    for what in ("num_cpus", "num_gpus", "cpu_mem_in_gbs"):
        head, worker = params.get(f"head_node_{what}"), params.get(f"worker_node_{what}")
        if head is not None and worker is not None and head != worker:
            faults.append(
                Fault(
                    "not_uniform",
                    f"{place}.worker_node_{what}",
                    str(worker),
                    f"{head}, as head_node_{what} has",
                    "make head and workers equal",
                )
            )
    _node_count(recipe.get("recipe_node_pool_size"), params, known, faults)
    gpus, pod = recipe.get("recipe_nvidia_gpu_count"), params.get("head_node_num_gpus")
    if gpus is not None and pod is not None and pod != gpus:
        faults.append(
            Fault(
                "gpu_count",
                f"{place}.head_node_num_gpus",
                str(pod),
                f"{gpus}, as recipe_nvidia_gpu_count says",
                "a pod takes all GPUs of its node",
            )
        )


def _node_count(nodes: int | str | None, params: dict[str, Any], known: Sequence[Fault], faults: list[Fault]) -> None:
    """Every node but the head's holds a worker; `auto` leaves both numbers to the plan."""
    place, workers = "recipe_raycluster_params.num_worker_nodes", params.get("num_worker_nodes")
    if nodes is None or not params or any(fault.where.endswith(place) for fault in known):
        return
    if isinstance(nodes, str):
        if workers is not None:
            faults.append(
                Fault(
                    "node_count",
                    place,
                    f"{workers} beside recipe_node_pool_size auto",
                    "no such parameter",
                    "leave it out, or give recipe_node_pool_size as a number",
                )
            )
    elif workers is None:
        faults.append(
            Fault(
                "missing",
                place,
                "not given",
                f"{nodes - 1}, one less than recipe_node_pool_size ({nodes}), since the head is a node too",
                "add it, or let recipe_node_pool_size be auto",
            )
        )
    elif workers != nodes - 1:
        faults.append(
            Fault(
                "node_count",
                place,
                str(workers),
                f"{nodes - 1}, one less than recipe_node_pool_size ({nodes}), since the head is a node too",
                "correct one of the two",
            )
        )


_OF_A_NODE = ("recipe_node_boot_volume_size_in_gbs", "recipe_ephemeral_storage_size")
_OF_A_POD = ("head_node_num_cpus", "head_node_cpu_mem_in_gbs")


def _shape(recipe: dict[str, Any], params: dict[str, Any], settings: dict[str, Any], faults: list[Fault]) -> None:
    """What can be said of the shape without a cloud is said together with the rest."""
    if not recipe.get("recipe_node_shape") or recipe.get("recipe_nvidia_gpu_count") is None:
        return
    findings = Findings()
    shape = checked_shape(recipe, findings)
    sizes = [recipe.get(name) for name in _OF_A_NODE] + [params.get(name) for name in _OF_A_POD]
    kept = [settings.get(name) for name in ("node_pods_vcpus", "node_pods_memory_gb")]
    if shape and None not in (*sizes, *kept):
        check_room(recipe, settings, shape, findings)
    faults += findings.faults


def _ports(recipe: dict[str, Any], params: dict[str, Any], faults: list[Fault]) -> None:
    """Ports of one pod have to differ; Ray takes some for itself, the group's programs one."""
    taken: dict[int, str] = {STATUS_PORT: "the group's own status port"}
    named = [("recipe_container_port", recipe.get("recipe_container_port"))]
    for name in ("redis_port", "dashboard_port", "metrics_export_port", "rayclient_server_port"):
        named.append((f"recipe_raycluster_params.{name}", params.get(name)))
    for place, port in named:
        if port is None:
            continue
        if port in taken:
            faults.append(
                Fault("port_twice", place, str(port), f"another port than {taken[port]} has", f"change {place}")
            )
        elif port in WORKER_PORTS or port in RAY_PORTS.values():
            faults.append(
                Fault(
                    "port_of_ray",
                    place,
                    str(port),
                    f"a port that Ray does not use itself ({WORKER_PORTS[0]}-{max(RAY_PORTS.values())})",
                    f"change {place}",
                )
            )
        taken.setdefault(port, place)


_SOURCES = ("input_object_storage", "input_hugging_face")


def _model_source(
    recipe: dict[str, Any],
    params: dict[str, Any],
    settings: dict[str, Any],
    known: Sequence[Fault],
    faults: list[Fault],
) -> None:
    sources = recipe.get("input_object_storage") or []
    repository = recipe.get("input_hugging_face")
    if not sources and not repository and not any(fault.where.endswith(_SOURCES) for fault in known):
        faults.append(
            Fault(
                "missing",
                "input_object_storage",
                "not given",
                "a list with one mapping",
                "say where the model's files are: input_object_storage, or input_hugging_face",
            )
        )
    if sources and repository:
        faults.append(
            Fault(
                "sources",
                "input_hugging_face",
                "given beside input_object_storage",
                "one source of the model",
                "take one of the two out",
            )
        )
    if len(sources) > 1:
        faults.append(
            Fault(
                "sources", "input_object_storage", f"{len(sources)} entries", "one", "keep the one that holds the model"
            )
        )
    for number, source in enumerate(sources):
        _object_storage(source, f"input_object_storage[{number}]", settings, faults)
    if repository:
        _repository(repository, settings, faults)
    _model_path(params, [*sources, *([repository] if repository else [])], faults)


def _object_storage(source: dict[str, Any], place: str, settings: dict[str, Any], faults: list[Fault]) -> None:
    par, bucket = source.get("par"), source.get("bucket_name")
    if par and bucket:
        faults.append(
            Fault("sources", f"{place}.bucket_name", "given beside par", "one of the two", "take one of the two out")
        )
    elif bucket and not _BUCKET.fullmatch(bucket):
        faults.append(
            Fault(
                "bucket", f"{place}.bucket_name", shown(bucket), "the name of a bucket", "letters, digits, -, _ and ."
            )
        )
    elif bucket and _PLACEHOLDER.fullmatch(bucket):
        faults.append(
            Fault(
                "bucket",
                f"{place}.bucket_name",
                "the placeholder of the sample",
                "the name of a bucket",
                "name the bucket of your tenancy that holds the model's files",
            )
        )
    elif not bucket and (problem := par_problem(par, settings.get("oci_service_endpoint"))):
        faults.append(Fault("par", f"{place}.par", problem, "the URL of a pre-authenticated request", _PAR_REMEDY))


def _repository(repository: dict[str, Any], settings: dict[str, Any], faults: list[Fault]) -> None:
    _endpoint(settings.get("hugging_face_endpoint"), bool(repository.get("token_secret_name")), faults)
    name = repository.get("repository")
    # Names as the Hugging Face Hub takes them.
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", name):
        faults.append(
            Fault(
                "repository",
                "input_hugging_face.repository",
                shown(name),
                "organization/name, such as Qwen/Qwen3-32B",
                "correct it",
            )
        )
    secret_name(repository.get("token_secret_name"), "input_hugging_face.token_secret_name", faults)


def _endpoint(endpoint: str | None, with_token: bool, faults: list[Fault]) -> None:
    """Nodes and deploy read the repository from here; a token does not travel in the clear."""
    if not endpoint:
        return
    url = urlsplit(endpoint)
    if url.scheme not in ("https", "http") or not url.hostname or url.query or url.username:
        faults.append(
            Fault("endpoint", "hugging_face_endpoint", "text that is not an https URL", "an https URL", "correct it")
        )
    elif with_token and url.scheme == "http":
        faults.append(
            Fault(
                "endpoint",
                "hugging_face_endpoint",
                "plain http, which would show the token of token_secret_name",
                "an https URL",
                "give one, or take token_secret_name out",
            )
        )


def _model_path(params: dict[str, Any], sources: list[dict[str, Any]], faults: list[Fault]) -> None:
    path = params.get("model_path_in_container")
    place = "recipe_raycluster_params.model_path_in_container"
    mounts = [source["mount_location"].rstrip("/") for source in sources if source.get("mount_location")]
    if path and mounts and not any(_below(path, mount) for mount in mounts):
        faults.append(
            Fault(
                "model_path",
                place,
                shown(path),
                f"a folder below {mounts[0]}",
                "model files are brought to the mount_location; put the model's path below it",
            )
        )
    elif path and ("/../" in path + "/" or "/./" in path + "/" or "//" in path):
        faults.append(Fault("model_path", place, shown(path), "a plain path", "correct it"))


def _below(path: str, mount: str) -> bool:
    return path.startswith(mount + "/") or path.rstrip("/") == mount


_PAR_REMEDY = (
    "make one in the OCI console (Object Storage, bucket, Pre-Authenticated Requests): type `bucket` or `prefix`, "
    "read, with listing allowed"
)


def par_problem(par: str | None, service_endpoint: Any) -> str | None:
    """Say what is wrong with the URL of a pre-authenticated request, without telling any of its secret.

    Plain http is taken only from the Object Storage endpoint that the settings name: anywhere else it would send the
    secret in the clear.
    """
    if not par:
        return "not given"
    try:
        url = urlsplit(par)
        port = url.port
    except ValueError:
        return "text that is not a URL"
    if re.search(r"PAR_SECRET|<[^>]*>|CHANGE_?ME|/b/BUCKET|/n/NAMESPACE/", par):
        return "the placeholder of the sample"
    if url.scheme not in ("https", "http") or not url.hostname:
        return "text that is not an https URL"
    if not _PAR_PATH.match(url.path):
        return "a URL without /p/<secret>/n/<namespace>/b/<bucket>/o/"
    if url.scheme == "http":
        endpoint = service_endpoint
        if isinstance(endpoint, Mapping):
            endpoint = endpoint.get("object_storage")
        named = urlsplit(endpoint) if isinstance(endpoint, str) else None
        if not named or (named.hostname, named.port) != (url.hostname, port):
            return "a URL of plain http"
    return None
