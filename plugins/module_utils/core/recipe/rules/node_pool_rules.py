# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the settings that describe the nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...fault import Fault
from ...names import CLUSTER_TAG, DEPLOYMENT_TAG, HASH_TAG, NAME_TAG, NODE_LABEL
from ..values import shown

# Kubernetes, "Labels and Selectors": an optional DNS subdomain, a slash, and a name of at most 63 characters.
_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_TAINT = re.compile(rf"{_KEY}(={_VALUE})?:(NoSchedule|PreferNoSchedule|NoExecute)")
_FOLDER = re.compile(r"(/[A-Za-z0-9._-]+)+/?")
# OCI, "Overview of Tagging": a freeform key has at most 100 characters, a value at most 256.
_TAG_KEY, _TAG_VALUE = 100, 256


def check_node_settings(settings: Mapping[str, Any], shape_name: str | None, faults: list[Fault]) -> None:
    """Add a fault for each setting of the nodes that Oracle Cloud or Kubernetes would refuse."""
    _taints(settings.get("node_pool_taints") or (), faults)
    _labels(settings.get("node_pool_labels") or {}, faults)
    _tags(settings.get("node_pool_tags") or {}, faults)
    for name in settings.get("node_pool_fault_domains") or ():
        if not re.fullmatch(r"FAULT-DOMAIN-[1-9]", name):
            expected = "FAULT-DOMAIN-1, FAULT-DOMAIN-2 or FAULT-DOMAIN-3"
            faults.append(Fault("fault_domain", "node_pool_fault_domains", shown(name), expected, "correct it"))
    reservation = settings.get("node_pool_capacity_reservation_id")
    if reservation and not re.fullmatch(r"ocid1\.capacityreservation\.[a-z0-9.-]+", reservation):
        expected = "an OCID, ocid1.capacityreservation..."
        faults.append(Fault("ocid", "node_pool_capacity_reservation_id", shown(reservation), expected, "correct it"))
    if settings.get("node_pool_preemptible") and (shape_name or "").startswith("BM."):
        faults.append(
            Fault(
                "preemptible_bare_metal",
                "node_pool_preemptible",
                f"preemptible nodes of {shape_name}",
                "a virtual machine's shape",
                "take node_pool_preemptible out, or choose a shape that begins with VM.",
            )
        )
    folder = settings.get("nvme_folder")
    if folder and (not _FOLDER.fullmatch(folder) or "/../" in folder + "/"):
        faults.append(Fault("path", "nvme_folder", shown(folder), "an absolute folder", "correct it"))


def _taints(taints: Any, faults: list[Fault]) -> None:
    for number, taint in enumerate(taints):
        if not _TAINT.fullmatch(taint):
            place = f"node_pool_taints[{number}]"
            expected = "key=value:Effect, with NoSchedule, PreferNoSchedule or NoExecute"
            faults.append(Fault("taint", place, shown(taint), expected, "correct it"))


def _labels(labels: Mapping[str, str], faults: list[Fault]) -> None:
    for key, value in labels.items():
        place = f"node_pool_labels.{key}"
        if key == NODE_LABEL:
            faults.append(Fault("label", place, "a label of the collection", "another key", "take it out"))
        elif not re.fullmatch(_KEY, key) or not re.fullmatch(_VALUE, value):
            faults.append(Fault("label", place, shown(value), "a key and a value of Kubernetes labels", "correct it"))


def _tags(tags: Mapping[str, str], faults: list[Fault]) -> None:
    for key, value in tags.items():
        place = f"node_pool_tags.{key}"
        if key in (DEPLOYMENT_TAG, CLUSTER_TAG, HASH_TAG, NAME_TAG):
            faults.append(Fault("tag", place, "a tag of the collection", "another key", "take it out"))
        elif len(key) > _TAG_KEY or len(value) > _TAG_VALUE:
            expected = f"a key of at most {_TAG_KEY} characters and a value of at most {_TAG_VALUE}"
            faults.append(Fault("tag", place, shown(value), expected, "shorten it"))
