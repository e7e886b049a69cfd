# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What changes in a Kubernetes object, as lines that a person reads: without what the API server adds, or texts of programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..names import COLLECTION
from ..plan.comparison.parts import parts_of
from ..plan.comparison.words import line, masked
from ..text import read_json
from .running import GROUP_DOCUMENT

# Lines of one diff; more are counted.
MOST_LINES = 200
# Of metadata: what somebody writes. All else is the API server's.
_WRITTEN = ("labels", "annotations", "ownerReferences")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# The volume with the programs is named by their hash; the ConfigMap has lines of its own.
_PROGRAMS_VOLUME = "programs"
# Changes for which the name of the object says enough.
_DONE = {"delete": "deleted", "create": "created", "revoked": "revoked", "would be made": "would be created"}


def object_lines(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each part of an object that differs; [] where only records of ours, or the API server's fields, do.

    before, after: the object, or only those of its keys that differ; before is empty for one that is created
    """
    if not before:
        return ["created"]
    if kind == "Secret":
        return ["values changed (not shown)"]
    if kind == "ConfigMap":
        return runtime_lines(before.get("data") or {}, after.get("data") or {})
    return [line(part) for part in parts_of("", _readable(kind, before), _readable(kind, after))]


def runtime_lines(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each program that differs, and one for each part of the document that they read."""
    lines = []
    for name in sorted({*before, *after} - {GROUP_DOCUMENT}):
        if before.get(name) != after.get(name):
            change = "added" if name not in before else "removed" if name not in after else "changed"
            lines.append(f"program {name} {change}")
    documents = [_document(data.get(GROUP_DOCUMENT)) for data in (before, after)]
    return [*lines, *(f"{GROUP_DOCUMENT}: {line(part)}" for part in parts_of("", *documents))]


def diff_text(changes: Iterable[Mapping[str, Any]]) -> str:
    """Return what changes in each object as text; "" where nothing does that a person would see.

    changes: {object, change, differences}
    """
    lines: list[str] = []
    for entry in changes:
        name, found = entry["object"], list(entry.get("differences") or ())
        if done := _DONE.get(entry["change"]):
            lines.append(f"{name}: {done}")
        elif found == ["created"]:
            lines.append(f"{name}: created")
        elif found:
            lines += [name, *(f"  {text}" for text in found)]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more lines"]
    return "".join(f"{text}\n" for text in lines)


def _document(text: str | None) -> Any:
    try:
        return read_json(text or "{}")
    except ValueError:
        return {}


def _readable(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without the fields that the API server adds, and a RayCluster's pods by their roles."""
    rest = {key: value for key, value in masked("", item).items() if key not in ("metadata", "status")}
    metadata = {key: value for key, value in (item.get("metadata") or {}).items() if key in _WRITTEN}
    metadata["annotations"] = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != _LAST_APPLIED and not key.startswith(f"{COLLECTION}/")
    }
    found = {**metadata, **rest}
    if kind != "RayCluster" or not isinstance(rest.get("spec"), Mapping):
        return found
    spec = dict(rest["spec"])
    head, workers = spec.pop("headGroupSpec", None) or {}, spec.pop("workerGroupSpecs", None) or []
    groups = [("head", head), *((group.get("groupName") or "workers", group) for group in workers)]
    return {**found, "spec": spec, **{name: _group(group) for name, group in groups}}


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group of pods with its one container, and the container's variables, by name."""
    template = group.get("template") or {}
    pod = dict(template.get("spec") or {})
    pod["volumes"] = [volume for volume in pod.get("volumes") or [] if volume.get("name") != _PROGRAMS_VOLUME]
    for container in pod.pop("containers", None) or []:
        variables = {entry.get("name"): _value(entry) for entry in container.get("env") or []}
        pod.update({**container, "name": None, "env": variables})
    metadata = template.get("metadata") or {}
    own = {key: value for key, value in group.items() if key not in ("template", "groupName")}
    return {**own, **{key: metadata[key] for key in _WRITTEN if key in metadata}, **pod}


def _value(variable: Mapping[str, Any]) -> Any:
    """Return a variable's value, or where it comes from."""
    return variable["value"] if "value" in variable else json.dumps(variable.get("valueFrom"), sort_keys=True)
