# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a node pool takes from its surroundings: availability domain, subnet, network, version and image.

What the user gives wins; then what the deployment's own pool has, so that a newer image or another order of a list
changes nothing later; then what is best today.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..catalog.shapes import Shape
from ..fault import Findings
from ..recipe.inputs import Inputs
from .types import Choice

# <platform image>-OKE-<Kubernetes version>-<build>; the platform image's name holds its date.
IMAGE_NAME = re.compile(r"^(?P<platform>.+)-OKE-(?P<version>\d+\.\d+\.\d+)-(?P<build>\d+)$")
IMAGE_DATE = re.compile(r"-(\d{4})\.(\d{2})\.(\d{2})-(\d+)")


@dataclass
class Placement:
    """What was chosen for the node pool.

    values   the fields of the node pool, in the SDK's names
    choices  {field, value, why} of each
    drift    {field, value, today, why}: where the deployment's own pool has something else than would be chosen today
    places   where the pool may go, {placement_configs, nsg_ids, why}, the one in `values` first; nsg_ids only where they
             follow the subnet
    others   the placement_configs of those where it may go when there are no hosts, best first (`capacity.settle`)
    size     nodes that the deployment's own pool has
    domains  availability domains of that pool
    """

    values: dict[str, Any] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    places: list[dict[str, Any]] = field(default_factory=list)
    others: list[list[dict[str, Any]]] = field(default_factory=list)
    size: int = 0
    domains: list[str] = field(default_factory=list)


def choose_placement(
    inputs: Inputs, cluster: Mapping[str, Any], own: Mapping[str, Any] | None, shape: Shape | None, findings: Findings
) -> Placement:
    """Choose what the deployment's node pool takes from `cluster`; what cannot be found out is a fault.

    cluster  of `oke_cluster_info`
    own      the one of its node pools that is the deployment's, None without
    """
    chooser = _Chooser(inputs, cluster, own, shape, findings)
    chooser.compartment()
    chooser.version()
    chooser.image()
    chooser.place()
    chooser.pod_network()
    return chooser.found


def short_domain(name: str) -> str:
    """Return an availability domain's name without the tenancy's prefix: Uocm:PHX-AD-1 is PHX-AD-1."""
    return name.rpartition(":")[2]


def newest_image(
    images: Iterable[Mapping[str, str]], kubernetes_version: str, architecture: str
) -> Mapping[str, str] | None:
    """Return the newest OKE GPU image for exactly this Kubernetes version, by date, then by build number.

    architecture: x86_64 or aarch64
    """
    wanted = kubernetes_version.removeprefix("v")
    fitting = []
    for image in images:
        match = _gpu_image(image)
        if match is None or match["version"] != wanted:
            continue
        if ("aarch64" in match["platform"]) == (architecture == "aarch64"):
            date = IMAGE_DATE.search(match["platform"])
            age = tuple(int(part) for part in date.groups()) if date else (0, 0, 0, 0)
            fitting.append((age, int(match["build"]), image["name"], image))
    return max(fitting, key=lambda item: item[:3])[3] if fitting else None


class _Chooser:
    def __init__(
        self,
        inputs: Inputs,
        cluster: Mapping[str, Any],
        own: Mapping[str, Any] | None,
        shape: Shape | None,
        findings: Findings,
    ) -> None:
        self.recipe, self.settings = inputs.recipe, inputs.settings
        self.cluster, self.own, self.findings = cluster, own or {}, findings
        self.architecture = "aarch64" if shape is not None and shape.architecture == "arm64" else "x86_64"
        domain = self.recipe["recipe_availability_domain"]
        self.wished_where = "recipe_availability_domain" if domain else "node_pool_availability_domains"
        # With or without the tenancy's prefix, best first; empty where none is given.
        self.wished_domains: Sequence[str] = (
            [domain] if domain else self.settings["node_pool_availability_domains"] or ()
        )
        # A pool stays where it is all the same, since its nodes and volumes do.
        self.adopt: bool = self.settings["adopt_defaults"]
        placements = self.own.get("placements") or []
        self.found = Placement(
            size=self.own.get("size", 0), domains=[entry["availability_domain"] for entry in placements]
        )

    def _take(self, name: str, given: Any, present: Any, today: Any, why_today: str) -> Any:
        """Take what is given, else what the own pool has, else today's; note the choice, and today's where it differs."""
        if given:
            value, why = given, "given"
        elif present and not self.adopt:
            value, why = present, "as the deployment's node pool has it"
        else:
            value, why = today, why_today
        if value:
            self.found.values[name] = value
            self._note(name, value, why)
            if present and today and today != value and not given:
                self.found.drift.append({"field": name, "value": value, "today": today, "why": why_today})
        return value

    def _note(self, name: str, value: Any, why: str) -> None:
        self.found.choices.append({"field": name, "value": value, "why": why})

    def compartment(self) -> None:
        given, today = self.settings["compartment_id"], self.cluster["compartment_id"]
        self._take("compartment_id", given, self.own.get("compartment_id"), today, "the cluster's compartment")

    def version(self) -> None:
        today = self.cluster["kubernetes_version"]
        self._take("kubernetes_version", None, self.own.get("kubernetes_version"), today, "the cluster's version")

    def image(self) -> None:
        present = self.own.get("node_source_details", {}).get("image_id")
        version, images = self.found.values["kubernetes_version"], self.cluster["node_images"]
        newest = newest_image(images, version, self.architecture)
        why = f"{newest['name']}: newest OKE GPU image of {version} for {self.architecture}" if newest else ""
        given = self.recipe["recipe_node_image_ocid"]
        if not self._take("image_id", given, present, newest and newest["image_id"], why):
            versions = sorted({match["version"] for match in map(_gpu_image, images) if match})
            self.findings.fault(
                "node_image_missing",
                "recipe_node_image_ocid",
                f"no OKE GPU image of {version} for {self.architecture}; OKE has images with a GPU driver for "
                + (", ".join(versions) or "no version"),
                "an image with the GPU driver",
                "name one in recipe_node_image_ocid",
            )

    def place(self) -> None:
        present = self.own.get("placements") or []
        if present and self._allows(present):
            self._note_place(present, "as the deployment's node pool has it")
            # A pool that has its place needs no other: what speaks against others is not reported.
            self._find_places(Findings())
        else:
            self._find_places(self.findings)
        # Security groups go with the pool whose subnet is used.
        given = self.recipe["recipe_worker_subnet_nsg_ocid"]
        first = self.found.places[0]["placement_configs"][0] if self.found.places else {}
        today = self._groups_of(first.get("subnet_id")) if not self.own or self.adopt else None
        why = "as other pools of the subnet have"
        self._take("nsg_ids", [given] if given else None, self.own.get("nsg_ids"), today, why)
        if not given and not self.own:
            for place in self.found.places:
                place["nsg_ids"] = self._groups_of(place["placement_configs"][0]["subnet_id"]) or []

    def _groups_of(self, subnet: str | None) -> list[str] | None:
        pools = sorted(self.cluster["node_pools"], key=lambda pool: (pool.get("name", ""), pool["id"]))
        among = (pool for pool in pools if any(entry.get("subnet_id") == subnet for entry in pool["placements"]))
        return next((pool["nsg_ids"] for pool in among if pool.get("nsg_ids")), None)

    def _allows(self, placements: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether the domains given leave the placements where they are."""
        given, names = self.wished_domains, [entry.get("availability_domain", "") for entry in placements]
        return not given or all(name in given or short_domain(name) in given for name in names)

    def _find_places(self, findings: Findings) -> None:
        """Note each domain that offers the shape, best first, with the subnet that nodes get there."""
        allowed = self._allowed_domains(findings)
        if not self.wished_domains:
            # Where the cluster has nodes already, the subnet of that domain is known.
            allowed.sort(key=lambda name: not self._subnet_of(name))
        taken = [entry["availability_domain"] for entry in self.found.values.get("placement_configs", [])]
        for domain in allowed:
            if domain in taken:
                continue
            subnet = self._subnet_of(domain)
            why = f"the subnet of other pools in {short_domain(domain)}"
            if not subnet:
                subnet, why = self._subnet_of(None), "the subnet of other pools, taken to be regional"
            if not subnet:
                findings.fault(
                    "worker_subnet_missing",
                    self.cluster["id"],
                    "the cluster has no node pool from which to take the worker subnet",
                    "a node pool with a subnet for nodes",
                    "create one (the operator needs a node without GPU anyway)",
                )
                return
            first = "given" if self.wished_domains else f"{self.recipe['recipe_node_shape']} is offered there"
            self._note_place([{"availability_domain": domain, "subnet_id": subnet}], f"{first}; {why}")

    def _note_place(self, placements: list[dict[str, Any]], why: str) -> None:
        """Note where the pool may go; the first one noted is where it goes."""
        if not self.found.places:
            self.found.values["placement_configs"] = placements
            self._note("placement_configs", placements, why)
        self.found.places.append({"placement_configs": placements, "why": why})

    def _allowed_domains(self, findings: Findings) -> list[str]:
        names = [domain["name"] for domain in self.cluster["availability_domains"]]
        shape, offered = self.recipe["recipe_node_shape"], [name for name in names if name in self.cluster["shapes"]]
        if not offered:
            findings.fault(
                "shape_not_offered",
                "recipe_node_shape",
                f"{shape} is not offered in {', '.join(map(short_domain, names))} of {self.cluster['region']}",
                "a shape that the region offers to this tenancy",
                "choose another shape or another region",
            )
            return []
        if not self.wished_domains:
            return offered
        allowed: list[str] = []
        for wished in self.wished_domains:
            name = next((name for name in names if wished in (name, short_domain(name))), None)
            if name and name in offered:
                allowed.append(name)
            else:
                findings.fault(
                    "availability_domain_unusable",
                    self.wished_where,
                    f"{wished} " + (f"does not offer {shape}" if name else "is not one of this tenancy's"),
                    f"one of {', '.join(offered)}",
                )
        return allowed

    def _subnet_of(self, domain: str | None) -> str:
        """The subnet that most pools use in an availability domain, or in any; "" where none does."""
        counts: dict[str, int] = {}
        for pool in self.cluster["node_pools"]:
            for entry in pool["placements"]:
                subnet = entry.get("subnet_id")
                if subnet and domain in (None, entry.get("availability_domain")):
                    counts[subnet] = counts.get(subnet, 0) + 1
        return min(counts, key=lambda name: (-counts[name], name)) if counts else ""

    def pod_network(self) -> None:
        """Node pools must have the cluster's CNI; with OCI's own they need a subnet for pods too."""
        kind = self.cluster["cni_type"]
        if not kind:
            return
        network, why = {"cni_type": kind}, "the cluster's CNI"
        if kind == "OCI_VCN_IP_NATIVE":
            given = self.recipe["recipe_pod_subnet_ocid"]
            subnet, why = (
                self._pod_subnet(given),
                why + f", with the pod subnet {'given' if given else 'of other pools'}",
            )
            if subnet is None:
                self.findings.fault(
                    "pod_subnet_missing",
                    "recipe_pod_subnet_ocid",
                    "the cluster gives pods addresses of the VCN, and no node pool names a subnet for them",
                    "OCID of a private regional subnet",
                )
                return
            network |= subnet
        self.found.values["node_pool_pod_network_option_details"] = network
        self._note("node_pool_pod_network_option_details", network, why)

    def _pod_subnet(self, given: str | None) -> dict[str, Any] | None:
        """Where pods get their addresses, and how many; None where no subnet is given or used by a pool."""
        networks = [pool.get("pod_network") or {} for pool in self.cluster["node_pools"]]
        if not self.adopt:
            networks.insert(0, self.own.get("pod_network") or {})
        source = next((network for network in networks if network.get("pod_subnet_ids")), {})
        subnets = [given] if given else source.get("pod_subnet_ids")
        if not subnets:
            return None
        group = self.recipe["recipe_pod_subnet_nsg_ocid"]
        values = {
            "pod_subnet_ids": subnets,
            "pod_nsg_ids": [group] if group else source.get("pod_nsg_ids"),
            "max_pods_per_node": self.recipe["recipe_max_pods_per_node"] or source.get("max_pods_per_node"),
        }
        return {name: value for name, value in values.items() if value}


def _gpu_image(image: Mapping[str, str]) -> re.Match[str] | None:
    match = IMAGE_NAME.match(image["name"])
    return match if match and "-GPU-" in match["platform"] else None
