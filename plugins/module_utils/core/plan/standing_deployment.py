# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A standing deployment: whose it is, and what this run changes about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..fault import Fault, Findings
from ..names import DEPLOYMENT_TAG, NAME_ANNOTATION, NAME_TAG
from ..recipe.inputs import Inputs
from .changes import RESTART, changed_fields
from .comparison.words import Part
from .facts import ADOPT
from .types import Existing, Plan

_GONE = ("DELETING", "DELETED")
# Parts of a kept field that its warning names.
_NAMED = 3


def belongs_to_another(
    inputs: Inputs, deployment: Mapping[str, Any], node_pools: Iterable[Mapping[str, Any]], compartment: str = ""
) -> list[Fault]:
    """Return a fault where another deployment already has the DNS name: its objects are not taken over.

    deployment  of `deployment_info`; empty when there is none
    node_pools  of the cluster: one may stand without a RayCluster, of a run that was killed
    compartment  that of the cluster
    """
    taken = deployment.get("deployment_name")
    for pool in node_pools:
        tags = pool.get("freeform_tags") or {}
        if tags.get(DEPLOYMENT_TAG) == inputs.name and pool.get("lifecycle_state") not in _GONE:
            taken = taken or tags.get(NAME_TAG)
    if taken and taken != inputs.deployment_name:
        return [
            Fault(
                "name_taken",
                "deployment_name",
                f"{inputs.deployment_name}, whose DNS name {inputs.name} the deployment {taken} has",
                "a name of its own",
                "choose another deployment_name, or undeploy the other",
            )
        ]
    wanted, namespace = inputs.settings["namespace"] or inputs.name, deployment.get("namespace")
    if namespace and namespace != wanted:
        return [
            Fault(
                "namespace_taken",
                "namespace",
                f"{wanted}, and the deployment {inputs.deployment_name} is in {namespace}",
                namespace,
                f"give namespace: {namespace}, or undeploy it first: a deployment does not move",
            )
        ]
    lies, asked = (deployment.get("node_pool") or {}).get("compartment_id"), inputs.settings["compartment_id"]
    if compartment and lies and lies != (asked or compartment):
        return [
            Fault(
                "compartment_taken",
                "compartment_id",
                f"{asked or 'not given'}, and the node pool of {inputs.deployment_name} lies in {lies}",
                lies,
                f"give compartment_id: {lies}, or undeploy it first: a second pool would be billed beside it",
            )
        ]
    return []


def named_otherwise(written: str, name: str, raycluster: Mapping[str, Any] | None) -> list[Fault]:
    """Return a fault where the existing deployment is another's: who removes by a recipe means the recipe's own.

    written: deployment_name as it was given; name: its DNS name.
    """
    annotations = ((raycluster or {}).get("metadata") or {}).get("annotations") or {}
    owner = annotations.get(NAME_ANNOTATION)
    if owner in (None, written):
        return []
    return [
        Fault(
            "name_taken",
            "deployment_name",
            f"{written}, and the deployment that has the DNS name {name} is {owner}",
            "the name of the deployment as its recipe has it",
            f"give deployment_name: {owner} if that one is meant",
        )
    ]


def effect_on(
    plan: Plan,
    deployment: Mapping[str, Any],
    adopt_defaults: bool,
    findings: Findings,
    raycluster_fields: Collection[str] | None = None,
) -> Existing | None:
    """Return what applying the plan means for the existing deployment; None where there is none.

    raycluster_fields: of `kubernetes_info`; None where it is not known.

    changes    the fields of the plan that differ from those it was made with, what that means, and what differs inside
    keep_pods  nothing was given that changes the pods: what another version of the collection would make of the same
               recipe, or new files at the model's source, waits for adopt_defaults. A failed group serves no request,
               and either may be what repairs it.
    kept       the fields that are left as they are therefore; each is a warning
    by_delete  the pods are recreated by deleting the RayCluster and creating another: the installed KubeRay has no
               upgradeStrategy, and would leave them as they are (manifests/older_kuberay.py)
    failed     the group has given up: its pods are recreated, whatever else changes
    """
    former = deployment.get("fields")
    if not former:
        return None
    changed = changed_fields(plan, former, deployment.get("values"))
    asked = adopt_defaults or deployment.get("given") != plan["deployment"]["given"]
    failed = deployment.get("state") == "Failed"
    keep = not asked and not failed
    kept = [entry for entry in changed if keep and entry["class"] == RESTART]
    changes = [entry for entry in changed if entry not in kept]
    for entry in kept:
        findings.warn("newer_choice", entry["field"], *_kept_words(entry["parts"]), ADOPT)
    return {
        "keep_pods": keep,
        "changes": changes,
        "kept": kept,
        "by_delete": bool(raycluster_fields)
        and "upgradeStrategy" not in (raycluster_fields or ())
        and any(entry["class"] == RESTART for entry in changes),
        "failed": failed,
    }


def _kept_words(parts: list[Part]) -> tuple[str, str]:
    """Return what of a field is kept, and what a new deployment would have in its place."""
    more = f", and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    kept = ", ".join(f"{part['name']} {part['was']}" for part in parts[:_NAMED])
    new = ", ".join(f"{part['name']} {part['now']}" for part in parts[:_NAMED])
    return f"{kept}{more}: kept", f"{new}{more} for a new deployment"
