# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of what a recipe says about containers and nodes: image, environment, Secrets, OCIDs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...fault import Fault
from ..values import shown

# Set by the pods' own programs or by KubeRay: another value would take the group apart.
_OURS = re.compile(
    r"POD_IP|VLLM_API_KEY|VLLM_HOST_IP|VLLM_PORT|VLLM_USE_RUST_FRONTEND|CUDA_VISIBLE_DEVICES|LD_PRELOAD|RAY_AUTH_\w+|"
    r"RAY_ADDRESS|RAY_PORT|FQ_RAY_IP|RAY_IP|REDIS_PASSWORD|(KUBERAY|MULTINODE|RAY_CLUSTER)_\w+"
)
# The one of ours that a recipe may set: seconds after which an engine without a step hangs (roles/raycluster/files/engine_heartbeat.py).
HANG_VARIABLE = "MULTINODE_HANG_SECONDS"
_SECRET = re.compile(
    r"(^|_)(TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)$", re.IGNORECASE
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OCIDS = {
    "recipe_node_image_ocid": "image",
    "recipe_worker_subnet_nsg_ocid": "networksecuritygroup",
    "recipe_pod_subnet_ocid": "subnet",
    "recipe_pod_subnet_nsg_ocid": "networksecuritygroup",
}


def check_container(recipe: Mapping[str, Any], faults: list[Fault]) -> None:
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
    secret_name(recipe.get("recipe_container_secret_name"), "recipe_container_secret_name", faults)
    served = recipe.get("recipe_served_model_name")
    if served and served.startswith("-"):
        faults.append(
            Fault(
                "served_name",
                "recipe_served_model_name",
                shown(served),
                "a name without a hyphen in front",
                "vLLM would take it for an option; choose another",
            )
        )
    _environment(recipe, faults)
    _shared_memory(recipe, faults)
    domain = recipe.get("service_endpoint_domain")
    if domain and (
        len(domain) > 200 or not re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9-]+", domain.lower())
    ):
        faults.append(
            Fault("domain", "service_endpoint_domain", shown(domain), "a DNS name, such as example.com", "correct it")
        )


def check_nodes(recipe: Mapping[str, Any], faults: list[Fault]) -> None:
    for name, kind in _OCIDS.items():
        given = recipe.get(name)
        if given and not re.fullmatch(rf"ocid1\.{kind}\.[a-z0-9.-]+", given):
            faults.append(Fault("ocid", name, shown(given), f"an OCID, ocid1.{kind}...", "correct it"))
    key = recipe.get("recipe_public_ssh_key")
    if key and not re.match(r"(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+", key):
        # Whoever mixes up the two halves of a key must not find the private one in a log.
        faults.append(
            Fault(
                "ssh_key",
                "recipe_public_ssh_key",
                "a text that is not a public key",
                "one line, such as ssh-ed25519 AAAA...",
                "give the public half",
            )
        )


def secret_name(name: str | None, place: str, faults: list[Fault]) -> None:
    """A Secret is named, never given: its value would stand in files and logs."""
    if name and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
        faults.append(
            Fault(
                "secret_name",
                place,
                "a text that cannot name a Secret",
                "the name of a Secret in the deployment's namespace",
                "make the Secret, and give its name here, never its value",
            )
        )


def _environment(recipe: Mapping[str, Any], faults: list[Fault]) -> None:
    """Names that containers can have, none twice, none of ours, and no secret in the clear."""
    seen: dict[str, str] = {}
    for parameter, field in (("recipe_container_env", "key"), ("recipe_environment_secrets", "envvar_name")):
        for number, entry in enumerate(recipe.get(parameter) or ()):
            place, name = f"{parameter}[{number}]", entry.get(field)
            secret_name(entry.get("secret_name"), f"{place}.secret_name", faults)
            if not name:
                continue
            place += f".{field}"
            if not _VARIABLE.fullmatch(name):
                faults.append(
                    Fault(
                        "variable", place, shown(name), "letters, digits and underscores, no digit first", "correct it"
                    )
                )
            elif name == HANG_VARIABLE and field == "key":
                if not re.fullmatch(r"[1-9]\d{1,5}", str(entry.get("value"))):
                    found = f"{name} with the value {shown(entry.get('value'))}"
                    faults.append(Fault("variable", place, found, "whole seconds, 10 to 999999", "correct it"))
            elif _OURS.fullmatch(name):
                faults.append(
                    Fault("variable", place, f"{name}, which the deployment sets", "another variable", "take it out")
                )
            elif name in seen:
                faults.append(Fault("variable", place, name, f"another name than {seen[name]} has", "take one out"))
            elif field == "key" and _SECRET.search(name):
                faults.append(
                    Fault(
                        "secret_in_the_clear",
                        place,
                        f"{name} with a value that is read by all who see the recipe",
                        "the name of a Secret",
                        "make a Secret in the deployment's namespace, and name it in recipe_environment_secrets",
                    )
                )
            seen.setdefault(name, place)


def _shared_memory(recipe: Mapping[str, Any], faults: list[Fault]) -> None:
    """/dev/shm lies in the pod's memory: what it holds is taken from the engine."""
    shared = recipe.get("recipe_shared_memory_volume_size_limit_in_mb")
    memory = (recipe.get("recipe_raycluster_params") or {}).get("head_node_cpu_mem_in_gbs")
    if shared is not None and memory is not None and shared >= memory * 1024:
        faults.append(
            Fault(
                "shared_memory",
                "recipe_shared_memory_volume_size_limit_in_mb",
                str(shared),
                f"less than the pod's memory, {memory * 1024}",
                "lower it, or raise head_node_cpu_mem_in_gbs and worker_node_cpu_mem_in_gbs",
            )
        )
