# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Secrets that a recipe names: a pod whose Secret is not there waits for it, on a node that costs money."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..fault import Findings
from .model_source import model_source

# What a Secret to pull images with holds (Kubernetes, type kubernetes.io/dockerconfigjson).
PULL_KEY = ".dockerconfigjson"


def named_secrets(recipe: Mapping[str, Any]) -> list[str]:
    """Return the names of the Secrets that have to be there, each once."""
    return list(dict.fromkeys(name for _place, name, _key in _references(recipe)))


def check_secrets(
    recipe: Mapping[str, Any], namespace: str, found: Mapping[str, Sequence[str] | None] | None, findings: Findings
) -> None:
    """Add a fault for each Secret that is missing, or lacks the key that is named.

    found: the keys of each Secret of the namespace, None for one that is not there; None if they were not read
    """
    if found is not None:
        check_references(_references(recipe), namespace, found, findings)


def check_references(
    references: Iterable[tuple[str, str, str]],
    namespace: str,
    found: Mapping[str, Sequence[str] | None],
    findings: Findings,
) -> None:
    """The same for references of the caller's: place, name and key of each."""
    missing = set()
    for place, name, key in references:
        keys = found.get(name)
        if keys is None:
            if name not in missing:
                make = "docker-registry" if key == PULL_KEY else "generic"
                findings.fault(
                    "secret_missing",
                    place,
                    f"{name}, which the namespace {namespace} has not",
                    "a Secret that is there",
                    f"kubectl create namespace {namespace} (if there is none), then "
                    f"kubectl create secret {make} {name} --namespace {namespace} ...",
                )
            missing.add(name)
        elif key not in keys:
            held = ", ".join(sorted(keys)) or "nothing"
            findings.fault(
                "secret_key_missing", place, f"{name}, which holds {held}", f"the key {key}", "name another key"
            )


def _references(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield place, name and key of each Secret that the recipe names."""
    source = model_source(recipe)
    if source.get("token_secret_name"):
        yield f"{source['place']}.token_secret_name", source["token_secret_name"], source["token_secret_key"]
    for number, entry in enumerate(recipe["recipe_environment_secrets"] or ()):
        yield f"recipe_environment_secrets[{number}].secret_name", entry["secret_name"], entry["secret_key"]
    if recipe["recipe_container_secret_name"]:
        yield "recipe_container_secret_name", recipe["recipe_container_secret_name"], PULL_KEY
