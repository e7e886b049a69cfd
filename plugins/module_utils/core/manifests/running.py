# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leaving the pods of a running group alone where another version of the collection would make them otherwise."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from ..fault import Fault
from ..names import FIELDS_ANNOTATION, RENDERED_ANNOTATION, VALUES_ANNOTATION, short_hash
from ..parts import head_pod_spec, inner
from ..plan.changes import RESTART, class_of
from ..plan.facts import ADOPT
from ..text import read_json

# What the programs read beside their own text: it follows from the plan.
GROUP_DOCUMENT = "group.json"


def runtime_of(raycluster: Mapping[str, Any]) -> str:
    """Return the name of the ConfigMap that holds the programs of a RayCluster's head; empty where it has none."""
    volumes = head_pod_spec(raycluster).get("volumes") or []
    return next((str(name) for volume in volumes if (name := inner(volume, "configMap").get("name"))), "")


def rendered_hash(raycluster: Mapping[str, Any]) -> str:
    """Return the hash of the pods as they are rendered, whatever the programs' ConfigMap is named.

    Without tolerations, as KubeRay's own: pods that differ in them only are not made again.
    """
    spec, name = copy.deepcopy(raycluster["spec"]), runtime_of(raycluster)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        group["template"]["spec"].pop("tolerations", None)
        for volume in group["template"]["spec"]["volumes"]:
            if (volume.get("configMap") or {}).get("name") == name:
                volume["configMap"]["name"] = ""
    return short_hash(spec)


def keep_pods(
    objects: list[dict[str, Any]], raycluster: Mapping[str, Any], runtime: Mapping[str, Any] | None
) -> list[Fault]:
    """Put the pods and the programs that run in place of those that were rendered; return what is kept so.

    objects     as `render` returns them; changed in place
    raycluster  as the API server has it
    runtime     the ConfigMap that its pods mount; None where it is gone, and then nothing is kept

    Where the rendered pods are those that were applied, they are applied again: what was changed by hand goes back.
    """
    made, programs = _of_kind(objects, "RayCluster"), _of_kind(objects, "ConfigMap")
    recorded = raycluster["metadata"].get("annotations") or {}
    today = made["metadata"]["annotations"]
    same_pods = recorded.get(RENDERED_ANNOTATION) == today[RENDERED_ANNOTATION]
    if (
        runtime is None
        or not runtime.get("data")
        or (same_pods and runtime["metadata"]["name"] == programs["metadata"]["name"])
    ):
        return []
    kept = ["programs"] if _texts(programs) != _texts(runtime) else []
    if not same_pods:
        kept.append("pods")
    made["spec"] = raycluster["spec"]
    programs["data"] = dict(runtime["data"])
    programs["metadata"]["name"] = runtime["metadata"]["name"]
    today[RENDERED_ANNOTATION] = recorded.get(RENDERED_ANNOTATION, "")
    for record in (FIELDS_ANNOTATION, VALUES_ANNOTATION):
        today[record] = _fields_kept(today[record], recorded.get(record, "{}"))
    return [
        Fault("newer_choice", what, "kept from the deployment's creation", "newer ones for a new deployment", ADOPT)
        for what in kept
    ]


def _fields_kept(today: str, recorded: str) -> str:
    """Return the record of the plan's fields: of those that restart the group as it was, of the others as it is now."""
    fields = {name: value for name, value in json.loads(today).items() if class_of(name) != RESTART}
    try:
        former = read_json(recorded)
    except ValueError:
        former = {}
    if isinstance(former, Mapping):
        fields |= {name: value for name, value in former.items() if class_of(name) == RESTART}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(item for item in objects if item["kind"] == kind)


def _texts(runtime: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in runtime["data"].items() if name != GROUP_DOCUMENT}
