# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The recipe: found among the extra variables, typed, and checked against its own rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..fault import Fault, Refused
from ..names import dns_name, dns_name_problem, short_hash, without_none
from .dialects import Change, convert, is_foreign_key
from .parameters import RECIPE
from .rules.recipe_rules import broken_rules
from .settings import OF_PODS, SETTINGS
from .values import is_unset, nearest, read_known, read_parameters, shown

# At top level other people's variables stand beside ours; keys that begin so are meant for us.
OUR_PREFIXES = ("recipe_", "input_", "output_", "skip_", "service_endpoint", "deployment_")
# Extra variables win over registered results: a recipe with such a key would replace what a role found out.
REGISTERED_NAMES = tuple(
    f"{role}_result" for role in ("recipe", "preflight", "node_pool", "kuberay", "raycluster", "endpoint")
)
_FOREIGN_PREFIXES = ("ansible_", "awx_", "tower_")


@dataclass
class Inputs:
    """What a person gave: `name` is the deployment's DNS name; `recipe` and `settings` are typed and complete.

    `secrets` holds the values that stand nowhere else: each is replaced in `recipe` by None.
    `warnings` is what is taken as it is, and worth a look.
    `changes` is what stands otherwise in the recipe than it was written, where it came in another spelling.
    `given` stands for what was given of which the pods are made (a hash): the same, as long as nobody asks for others.
    """

    deployment_name: str
    name: str
    recipe: dict[str, Any]
    settings: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)
    warnings: list[Fault] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    given: str = ""


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
    whole = scope == "recipe"
    spelling: list[Fault] = []
    among = _recipe_among(extra_variables, faults)
    if any(fault.where == "recipe" for fault in faults):
        # Nothing can be said of what it was to hold.
        raise Refused(faults)
    given, changes = convert(among, spelling)
    if whole:
        faults.extend(spelling)
    settings = read_parameters(extra_variables, SETTINGS, faults)
    if whole:
        recipe = read_known(given, RECIPE, faults, "recipe" if "recipe" in extra_variables else "")
    else:
        recipe = read_parameters(given, (replace(_DEPLOYMENT_NAME, required=scope != "any"), _SHARED_POOL), faults)
    _use_shared_pool(recipe, settings, extra_variables, faults)
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
    warnings: list[Fault] = []
    if whole:
        faults.extend(broken_rules(recipe, settings, faults, warnings))
        secrets = _take_secrets(recipe)
    if faults:
        raise Refused(faults)
    bearing = _bearing_on_pods(recipe, given, settings, extra_variables)
    return Inputs(written_name, name, recipe, settings, secrets, warnings, changes, bearing)


# What of a recipe reaches no pod.
_NOT_OF_PODS = (
    "deployment_name",
    "recipe_id",
    "service_endpoint_domain",
    "skip_capacity_validation",
    "skip_quota_validation",
)


def _bearing_on_pods(
    recipe: Mapping[str, Any], given: Mapping[str, Any], settings: Mapping[str, Any], variables: Mapping[str, Any]
) -> str:
    """Return the hash of what a person gave that bears on the pods; of no default, which another version may change.

    recipe and settings are typed; given and variables tell which of them a person said, in whatever spelling.
    """
    of_recipe = [key for key in recipe if key not in _NOT_OF_PODS and not is_unset(given.get(key))]
    of_settings = [entry.name for entry in OF_PODS if not is_unset(variables.get(entry.name))]
    return short_hash(
        [
            {key: without_none(recipe[key]) for key in of_recipe},
            {key: settings[key] for key in of_settings},
        ]
    )


_DEPLOYMENT_NAME = next(parameter for parameter in RECIPE if parameter.name == "deployment_name")
_SHARED_POOL = next(parameter for parameter in RECIPE if parameter.name == "recipe_use_shared_node_pool")


def _use_shared_pool(
    recipe: Mapping[str, Any], settings: dict[str, Any], extra_variables: Mapping[str, Any], faults: list[Fault]
) -> None:
    """A recipe for nodes that are there already says the same as the setting."""
    if not recipe["recipe_use_shared_node_pool"]:
        return
    if extra_variables.get("node_provisioner") == "oke":
        faults.append(
            Fault(
                "node_provisioner",
                "node_provisioner",
                "oke beside recipe_use_shared_node_pool",
                "none",
                "take one of the two out",
            )
        )
    settings["node_provisioner"] = "none"


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
        if (
            key in recipe_names
            or str(key).startswith(OUR_PREFIXES)
            or is_foreign_key(str(key))
            or nearest(str(key), recipe_names)
        ):
            found[key] = value
        elif like := nearest(str(key), setting_names):
            faults.append(
                Fault("unknown_key", str(key), "a key that is not known", "a known setting", f"did you mean {like}?")
            )
    return found


def converted_recipe(extra_variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe in today's spelling, untyped and with its secrets; raises Refused for a mode not served."""
    faults: list[Fault] = []
    recipe = convert(_recipe_among(extra_variables, []), faults)[0]
    if modes := [fault for fault in faults if fault.code == "mode"]:
        raise Refused(modes)
    return recipe


def _take_secrets(recipe: dict[str, Any]) -> dict[str, str]:
    """Take the secrets out of the recipe, so that the rest may be shown, and return them by name."""
    secrets = {}
    for source in recipe.get("input_object_storage") or []:
        par = source.get("par")
        if par:
            secrets["par"] = par
            source["par"] = None
    return secrets
