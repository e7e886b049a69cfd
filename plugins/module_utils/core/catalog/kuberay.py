# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The KubeRay operator that deploy installs, and how one that is there stands to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fault import Fault
from ..version import read_version

# Helm's release of the operator, in the namespace of kuberay_namespace.
RELEASE = "kuberay-operator"


def is_older(operator: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tell whether an operator is older than the chart that the settings name; False where a version cannot be read.

    operator  {version, namespace, release} as `find_operator` returns them
    """
    has, wanted = read_version(operator.get("version") or ""), read_version(settings["kuberay_chart_version"])
    return has is not None and wanted is not None and has < wanted


def is_our_release(operator: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tell whether an operator is the release that deploy installs, so that an upgrade of that release is one of it."""
    return bool(operator.get("release") == f"{settings['kuberay_namespace']}/{RELEASE}")


def behind(operator: Mapping[str, Any], settings: Mapping[str, Any]) -> Fault | None:
    """Return what is to be known of an operator that is older than the settings' chart, or None."""
    if not is_older(operator, settings):
        return None
    ours = is_our_release(operator, settings)
    return Fault(
        "kuberay_older",
        f"KubeRay operator in namespace {operator['namespace']}",
        str(operator["version"]),
        f"{settings['kuberay_chart_version']}; it serves all the same",
        "deploy with kuberay_upgrade: true upgrades it, and running groups go on"
        if ours
        else "whoever installed it upgrades it, with its definitions",
    )


def not_to_upgrade(operator: Mapping[str, Any], settings: Mapping[str, Any]) -> Fault | None:
    """Return why an operator that is to be upgraded cannot be, or None."""
    if not (settings["kuberay_upgrade"] and is_older(operator, settings)) or is_our_release(operator, settings):
        return None
    release = operator.get("release")
    return Fault(
        "kuberay_not_ours",
        "kuberay_upgrade",
        f"the operator in namespace {operator['namespace']} is "
        + (f"Helm's release {release}" if release else "no release of Helm"),
        f"the release {settings['kuberay_namespace']}/{RELEASE}, which deploy installs",
        "have whoever installed it upgrade it, or set kuberay_namespace to where it is; or leave kuberay_upgrade out",
    )
