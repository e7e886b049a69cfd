# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The recipe: found among the extra variables, typed, and checked against its own rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from .fault import Fault, Refused
from .names import dns_name, dns_name_problem
from .parameters import RECIPE
from .settings import SETTINGS
from .values import nearest, read_known, read_parameters, shown

# At top level other people's variables stand beside ours; keys that begin so are meant for us.
OUR_PREFIXES = ("recipe_", "input_", "output_", "skip_", "service_endpoint", "deployment_")
# Extra variables win over registered results: a recipe with such a key would replace what a role found out.
REGISTERED_NAMES = tuple(
    f"{role}_result" for role in ("recipe", "preflight", "node_pool", "kuberay", "raycluster", "endpoint")
)
_FOREIGN_PREFIXES = ("ansible_", "awx_", "tower_")
_PAR_PATH = re.compile(r"^/p/[^/]+/n/[^/]+/b/[^/]+/o/")


@dataclass
class Inputs:
    """What a person gave: `name` is the deployment's DNS name; `recipe` and `settings` are typed and complete.

    `secrets` holds the values that stand nowhere else: each is replaced in `recipe` by None.
    """

    deployment_name: str
    name: str
    recipe: dict[str, Any]
    settings: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)


def read_inputs(extra_variables: Mapping[str, Any], scope: str = "recipe") -> Inputs:
    """Return the recipe and the platform settings found among `extra_variables`.

    scope: recipe for the whole of it. deployment, removal and any only look which deployment is meant, and take any
    recipe that names one: `any` needs no name, `removal` needs to know where the node pool is.
    Raises Refused with every fault there is.
    """
    faults: list[Fault] = []
    for name in REGISTERED_NAMES:
        if name in extra_variables:
            faults.append(Fault("reserved", name, "an extra variable", "no such variable", f"take {name} out"))
    given = _recipe_among(extra_variables, faults)
    settings = read_parameters(extra_variables, SETTINGS, faults)
    whole = scope == "recipe"
    if whole:
        recipe = read_known(given, RECIPE, faults, "recipe" if "recipe" in extra_variables else "")
    else:
        recipe = read_parameters(given, (replace(_DEPLOYMENT_NAME, required=scope != "any"),), faults)
    written_name = recipe["deployment_name"] or ""
    name = dns_name(written_name)
    if written_name and (problem := dns_name_problem(name)):
        faults.append(
            Fault(
                "name",
                "deployment_name",
                shown(written_name),
                "a name that makes a DNS name",
                f"{problem}; choose another",
            )
        )
    if scope in ("recipe", "removal"):
        faults.extend(_cluster_is_named(settings))
    secrets: dict[str, str] = {}
    if whole:
        faults.extend(_rules(recipe, settings))
        secrets = _take_secrets(recipe)
    if faults:
        raise Refused(faults)
    return Inputs(written_name, name, recipe, settings, secrets)


_DEPLOYMENT_NAME = next(parameter for parameter in RECIPE if parameter.name == "deployment_name")


def _cluster_is_named(settings: Mapping[str, Any]) -> list[Fault]:
    """Without the cluster's OCID no node pool can be made, and none be found to remove: it would go on costing."""
    if settings.get("node_provisioner") != "oke" or settings.get("oke_cluster_id"):
        return []
    return [
        Fault(
            "missing",
            "oke_cluster_id",
            "not given",
            "the OCID of an OKE cluster",
            "give -e oke_cluster_id=ocid1.cluster..., or node_provisioner: none with a kubeconfig",
        )
    ]


def _recipe_among(extra_variables: Mapping[str, Any], faults: list[Fault]) -> Mapping[str, Any]:
    """Return the recipe's keys: those under `recipe`, or at top level those that are or may be meant for us."""
    nested = extra_variables.get("recipe")
    recipe_names = {parameter.name for parameter in RECIPE}
    setting_names = {parameter.name for parameter in SETTINGS}
    if nested is not None:
        if not isinstance(nested, Mapping):
            faults.append(Fault("type", "recipe", shown(nested), "a mapping", "put the recipe's keys below `recipe`"))
            return {}
        for key in extra_variables:
            if key in recipe_names:
                faults.append(
                    Fault(
                        "twice",
                        str(key),
                        "given beside `recipe`",
                        "one place",
                        f"move {key} below `recipe`, or take it out",
                    )
                )
        return nested
    found = {}
    for key, value in extra_variables.items():
        if key in setting_names or str(key).startswith(_FOREIGN_PREFIXES) or key in REGISTERED_NAMES:
            continue
        if key in recipe_names or str(key).startswith(OUR_PREFIXES) or nearest(str(key), recipe_names):
            found[key] = value
        elif like := nearest(str(key), setting_names):
            faults.append(
                Fault("unknown_key", str(key), "a key that is not known", "a known setting", f"did you mean {like}?")
            )
    return found


def _rules(recipe: dict[str, Any], settings: dict[str, Any]) -> list[Fault]:
    """Return the faults of a typed recipe: rules that join several parameters.

    A rule whose parameters already have a fault (None) is left out: one fault, one message.
    """
    faults: list[Fault] = []
    params = recipe.get("recipe_raycluster_params") or {}
    _uniform_nodes(recipe, params, faults)
    _image(recipe, faults)
    _ports(recipe, params, faults)
    _model_source(recipe, params, settings, faults)
    return faults


def _uniform_nodes(recipe: dict[str, Any], params: dict[str, Any], faults: list[Fault]) -> None:
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
    nodes, workers = recipe.get("recipe_node_pool_size"), params.get("num_worker_nodes")
    if nodes is not None and workers is not None and workers != nodes - 1:
        faults.append(
            Fault(
                "node_count",
                f"{place}.num_worker_nodes",
                str(workers),
                f"{nodes - 1}, one less than recipe_node_pool_size ({nodes}), since the head is a node too",
                "correct one of the two",
            )
        )
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


def _image(recipe: dict[str, Any], faults: list[Fault]) -> None:
    image = recipe.get("recipe_image_uri")
    if image and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", image):
        faults.append(
            Fault(
                "image",
                "recipe_image_uri",
                shown(image),
                "an image's name, such as docker.io/rayproject/ray-llm:2.58.0-py312-cu130",
                "correct it",
            )
        )


def _ports(recipe: dict[str, Any], params: dict[str, Any], faults: list[Fault]) -> None:
    """Ports of one pod have to differ; Ray takes 52365 and 10002 to 19999 for itself."""
    taken: dict[int, str] = {}
    named = [("recipe_container_port", recipe.get("recipe_container_port"))]
    for name in ("redis_port", "dashboard_port", "metrics_export_port", "rayclient_server_port"):
        named.append((f"recipe_raycluster_params.{name}", params.get(name)))
    for place, port in named:
        if port is None:
            continue
        if port in taken:
            faults.append(Fault("port_twice", place, str(port), f"another port than {taken[port]}", f"change {place}"))
        elif port == 52365 or 10002 <= port <= 19999:
            faults.append(
                Fault(
                    "port_of_ray",
                    place,
                    str(port),
                    "a port that Ray does not use itself (52365, 10002-19999)",
                    f"change {place}",
                )
            )
        taken.setdefault(port, place)


def _model_source(
    recipe: dict[str, Any], params: dict[str, Any], settings: dict[str, Any], faults: list[Fault]
) -> None:
    sources = recipe.get("input_object_storage") or []
    if len(sources) > 1:
        faults.append(
            Fault(
                "sources", "input_object_storage", f"{len(sources)} entries", "one", "keep the one that holds the model"
            )
        )
    for number, source in enumerate(sources):
        place = f"input_object_storage[{number}]"
        if problem := par_problem(source.get("par"), settings.get("oci_service_endpoint")):
            faults.append(Fault("par", f"{place}.par", problem, "the URL of a pre-authenticated request", _PAR_REMEDY))
        mount = source.get("mount_location")
        if mount is not None and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+/?", mount):
            faults.append(Fault("path", f"{place}.mount_location", shown(mount), "an absolute folder", "correct it"))
    path = params.get("model_path_in_container")
    mounts = [source["mount_location"].rstrip("/") for source in sources if source.get("mount_location")]
    if path and mounts and not any(path.startswith(mount + "/") for mount in mounts):
        faults.append(
            Fault(
                "model_path",
                "recipe_raycluster_params.model_path_in_container",
                shown(path),
                f"a folder below {mounts[0]}",
                "model files are brought to the mount_location; put the model's path below it",
            )
        )
    elif path and ("/../" in path + "/" or "//" in path):
        faults.append(
            Fault(
                "model_path",
                "recipe_raycluster_params.model_path_in_container",
                shown(path),
                "a plain path",
                "correct it",
            )
        )


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


def model_prefix(recipe: Mapping[str, Any]) -> str:
    """Return the prefix of the model's objects: its path in the container without the mount's."""
    mount = recipe["input_object_storage"][0]["mount_location"].rstrip("/")
    path: str = recipe["recipe_raycluster_params"]["model_path_in_container"]
    return path[len(mount) :].strip("/") + "/"


def _take_secrets(recipe: dict[str, Any]) -> dict[str, str]:
    """Take the secrets out of the recipe, so that the rest may be shown, and return them by name."""
    secrets = {}
    for source in recipe.get("input_object_storage") or []:
        par = source.get("par")
        if par:
            secrets["par"] = par
            source["par"] = None
    return secrets
