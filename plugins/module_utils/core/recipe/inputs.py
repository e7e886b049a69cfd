# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The recipe: found among the extra variables, typed, and checked against its own rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..credentials import places_of_requests
from ..fault import Fault, Findings, Refused
from ..names import dns_name, dns_name_problem, short_hash, without_none
from .dialects import Change, convert, is_foreign_key
from .parameters import RECIPE
from .rules.all_rules import check_rules
from .settings import OF_PODS, SETTINGS
from .values import check_bounds, is_unset, nearest, place_of, read_known, read_parameters, shown

# At top level other people's variables stand beside ours; keys that begin so are meant for us.
OUR_PREFIXES = ("recipe_", "input_", "output_", "skip_", "service_endpoint", "deployment_")
# A setting that is not known and would be passed over may have been meant to keep somebody out.
SETTING_PREFIXES = ("endpoint_", "node_pool_", "kuberay_", "benchmark_", "logs_")
# Every task registers under a name that ends so. Extra variables win over registered results: one of such a name would
# replace what a task found out, and be templated where the result is.
RESULT = "_result"
# Ansible's own variables that the playbooks read.
_READ_OF_ANSIBLE = ("ansible_check_mode", "ansible_failed_task", "ansible_playbook_python")
_FOREIGN_PREFIXES = ("ansible_", "awx_", "tower_")
# Where a recipe may stand as one value: a mapping among the variables, or a file that was read as data.
RECIPE_FILE = "recipe_file"
_NESTED = ("recipe", RECIPE_FILE)


@dataclass
class Inputs:
    """What a person gave: `name` is the deployment's DNS name; `recipe` and `settings` are typed and complete.

    `secrets` holds the values that stand nowhere else: each is replaced in `recipe` by None.
    `warnings` is what is accepted but needs attention.
    `changes` is what a recipe in another spelling was converted to.
    `given` is a hash of what was given that reaches the pods: unchanged as long as no other pods are asked for.
    """

    deployment_name: str
    name: str
    recipe: dict[str, Any]
    settings: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)
    warnings: list[Fault] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    given: str = ""


def is_reserved(name: Any) -> bool:
    """Tell whether playbooks and roles read a variable of this name, so that no user may set it."""
    return str(name).endswith(RESULT) or name in _READ_OF_ANSIBLE


def read_inputs(extra_variables: Mapping[str, Any], scope: str = "recipe") -> Inputs:
    """Return the recipe and the platform settings found among `extra_variables`.

    scope: recipe for the whole of it. deployment, removal and any only find out which deployment is meant, and accept any
    recipe that names one: `any` needs no name, `removal` needs to know where the node pool is.
    Raises Refused with every fault there is.
    """
    findings = Findings()
    for name in filter(is_reserved, extra_variables):
        findings.fault("reserved", str(name), "an extra variable", "no such variable", f"remove {name}")
    whole = scope == "recipe"
    among, where = _recipe_among(extra_variables, findings)
    given, changes = convert(among, findings if whole else Findings())
    if modes := [fault for fault in findings.faults if fault.code == "mode"]:
        # What a recipe of another mode lacks for this one is no help.
        raise Refused(modes)
    settings = read_parameters(extra_variables, SETTINGS, findings)
    if whole:
        recipe = read_known(_without_settings(given, where, findings), RECIPE, findings, where)
    else:
        recipe = read_parameters(given, (replace(_DEPLOYMENT_NAME, required=scope != "any"), _SHARED_POOL), findings)
    _use_shared_pool(recipe, settings, extra_variables, findings)
    written_name = recipe["deployment_name"] or ""
    name = dns_name(written_name)
    if written_name and (problem := dns_name_problem(name)):
        expected = "a name that makes a DNS name"
        findings.fault("name", "deployment_name", shown(written_name), expected, f"{problem}; choose another")
    if scope in ("recipe", "removal"):
        _cluster_is_named(settings, findings)
    if whole:
        check_rules(recipe, settings, findings)
    findings.refuse()
    secrets = _take_secrets(recipe) if whole else {}
    for where in [*places_of_requests(recipe), *places_of_requests(settings)]:
        expected = "no secret: this value is displayed"
        findings.fault("secret_misplaced", where, "the URL of a pre-authenticated request", expected, "give it as par")
    findings.refuse()
    reaching = _reaching_pods(recipe, given, settings, extra_variables)
    return Inputs(written_name, name, recipe, settings, secrets, findings.warnings, changes, reaching)


def _reaching_pods(
    recipe: Mapping[str, Any], given: Mapping[str, Any], settings: Mapping[str, Any], variables: Mapping[str, Any]
) -> str:
    """Return the hash of what a person gave that reaches the pods; of no default, which another version may change.

    recipe and settings are typed; given and variables tell which of them a person gave, in whatever spelling.
    """
    of_recipe = [row.name for row in RECIPE if row.reaches_pods and not is_unset(given.get(row.name))]
    of_settings = [row.name for row in OF_PODS if not is_unset(variables.get(row.name))]
    return short_hash(
        [
            {key: without_none(recipe.get(key)) for key in of_recipe},
            {key: settings[key] for key in of_settings},
        ]
    )


_DEPLOYMENT_NAME = next(parameter for parameter in RECIPE if parameter.name == "deployment_name")
_SHARED_POOL = next(parameter for parameter in RECIPE if parameter.name == "recipe_use_shared_node_pool")


def _use_shared_pool(
    recipe: Mapping[str, Any], settings: dict[str, Any], extra_variables: Mapping[str, Any], findings: Findings
) -> None:
    """A recipe for the cluster's own nodes says the same as the setting."""
    if not recipe["recipe_use_shared_node_pool"]:
        return
    if extra_variables.get("node_provisioner") == "oke":
        found = "oke beside recipe_use_shared_node_pool"
        findings.fault("node_provisioner", "node_provisioner", found, "none", "remove one of the two")
    settings["node_provisioner"] = "none"


def _cluster_is_named(settings: Mapping[str, Any], findings: Findings) -> None:
    """Without the cluster's OCID no node pool can be created, and none be found to delete: it would still be billed."""
    if settings.get("node_provisioner") == "oke" and not settings.get("oke_cluster_id"):
        if any(fault.where == "oke_cluster_id" for fault in findings.faults):
            return
        remedy = "give -e oke_cluster_id=ocid1.cluster..., or node_provisioner: none with a kubeconfig"
        findings.fault("missing", "oke_cluster_id", "not given", "the OCID of an OKE cluster", remedy)


def _recipe_among(extra_variables: Mapping[str, Any], findings: Findings) -> tuple[Mapping[str, Any], str]:
    """Return the recipe's keys, and where they stand: in `recipe` or recipe_file, or at top level ("").

    At top level they are those that are or may be meant for us. Raises Refused where nothing can be said of what is given:
    it is no mapping, or it is nested too deeply to be read.
    """
    recipe_names = {parameter.name for parameter in RECIPE}
    setting_names = {parameter.name for parameter in SETTINGS}
    named = [name for name in _NESTED if not is_unset(extra_variables.get(name))]
    found: dict[str, Any] = {}
    for key, value in extra_variables.items():
        name = str(key)
        if key in setting_names:
            check_bounds(value, name, findings)
        elif name.startswith(_FOREIGN_PREFIXES) or is_reserved(key) or key in _NESTED:
            continue
        elif key in recipe_names and named:
            instead = (
                f"remove {key}, or recipe_file"
                if named[0] == RECIPE_FILE
                else f"move {key} below `{named[0]}`, or remove it"
            )
            findings.fault("twice", name, f"given beside `{named[0]}`", "one place", instead)
        elif (
            key in recipe_names or name.startswith(OUR_PREFIXES) or is_foreign_key(name) or nearest(name, recipe_names)
        ):
            found[key] = value
        elif (like := nearest(name, setting_names)) or name.startswith(SETTING_PREFIXES):
            remedy = f"did you mean {like}?" if like else f"see docs/settings.md, or remove {place_of('', name)}"
            findings.fault("unknown_key", place_of("", name), "a key that is not known", "a known setting", remedy)
    if len(named) > 1:
        findings.fault("twice", named[1], f"given beside `{named[0]}`", "one place", "remove one")
    for name in named:
        nested = extra_variables[name]
        if not isinstance(nested, Mapping):
            remedy = f"put the recipe's keys below `{name}`"
            raise Refused([Fault("type", name, shown(nested), "a mapping", remedy)])
        # With this key an editor finds the schema.
        found = {key: value for key, value in nested.items() if key != "$schema"}
    for key, value in found.items():
        check_bounds(value, place_of("", key), findings)
    if any(fault.code in ("depth", "bits") for fault in findings.faults):
        findings.refuse()
    return found, named[0] if named else ""


def _without_settings(given: Mapping[str, Any], where: str, findings: Findings) -> Mapping[str, Any]:
    """Settings decide where and by whom things are done: they are not taken from a recipe, which others may have written."""
    inside = [setting.name for setting in SETTINGS if setting.name in given]
    for name in inside:
        remedy = f"remove it, and give it as an extra variable (-e {name}=...) if you want it"
        findings.fault(
            "setting", place_of(where, name), "a setting inside the recipe", "recipe parameters only", remedy
        )
    return {key: value for key, value in given.items() if key not in inside}


def converted_recipe(extra_variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe in today's spelling, untyped and with its secrets; raises Refused for a mode not served."""
    findings = Findings()
    recipe = convert(_recipe_among(extra_variables, Findings())[0], findings)[0]
    if modes := [fault for fault in findings.faults if fault.code == "mode"]:
        raise Refused(modes)
    return recipe


def _take_secrets(recipe: dict[str, Any]) -> dict[str, str]:
    """Take the secrets out of the recipe, so that the rest may be shown, and return them by name."""
    secrets = {}
    for source in recipe.get("input_object_storage") or []:
        if source.get("par"):
            secrets["par"] = source["par"]
            source["par"] = None
    return secrets
