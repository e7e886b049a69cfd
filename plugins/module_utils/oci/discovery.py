# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a node pool takes from its surroundings: availability domain, subnet, network, version and image.

Plain data in (`cluster.describe`), choices out. What the user gives wins; then what the deployment's own pool has, so
that a newer image or another order of a list changes nothing later; then what is best today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..core.fault import Fault
from ..core.plan.placement import short_domain
from .node_pool import own_pool

# <platform image>-OKE-<Kubernetes version>-<build>; the platform image's name holds its date.
IMAGE_NAME = re.compile(r"^(?P<platform>.+)-OKE-(?P<version>\d+\.\d+\.\d+)-(?P<build>\d+)$")
IMAGE_DATE = re.compile(r"-(\d{4})\.(\d{2})\.(\d{2})-(\d+)")


@dataclass(frozen=True)
class Wishes:
    """What is known of the deployment. Empty means not given.

    architecture          x86_64 or aarch64
    availability_domains  allowed ones, best first; with or without the tenancy's prefix
    adopt_defaults        take what would be chosen today although the deployment's own pool has something else; a pool
                          stays where it lies all the same, since its nodes and volumes do
    """

    deployment: str
    node_shape: str
    architecture: str = "x86_64"
    pool_name: str = ""
    compartment_id: str = ""
    image_id: str = ""
    availability_domains: tuple[str, ...] = ()
    nsg_ids: tuple[str, ...] = ()
    pod_subnet_id: str = ""
    pod_nsg_ids: tuple[str, ...] = ()
    max_pods_per_node: int = 0
    adopt_defaults: bool = False


@dataclass
class Discovery:
    """What was found out.

    values      the fields of the node pool, in the SDK's names
    choices     {field, value, why} of each
    drift       {field, value, today, why}: where the deployment's own pool has something else than would be chosen today
    faults      what could not be found out
    placements  where the pool may go, {placement_configs, nsg_ids, why}, the one in `values` first; nsg_ids only where they
                follow the subnet
    size        nodes that the deployment's own pool has
    domains     availability domains of that pool's placement
    """

    values: dict[str, Any] = field(default_factory=dict)
    choices: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    placements: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    domains: list[str] = field(default_factory=list)


def discover(cluster: dict[str, Any], wishes: Wishes) -> Discovery:
    """Choose what a node pool of `wishes` takes from `cluster` (the result of `cluster.describe`)."""
    found = Discovery()
    name = wishes.pool_name or wishes.deployment
    own = own_pool(cluster["node_pools"], name, wishes.deployment, cluster["id"])
    chooser = _Chooser(cluster, wishes, own, found)
    found.size = own.get("size", 0) if own else 0
    found.domains = [entry["availability_domain"] for entry in (own or {}).get("placements") or []]
    chooser.compartment()
    chooser.version()
    chooser.image()
    chooser.placement()
    chooser.pod_network()
    return found


def newest_image(images: list[dict[str, str]], kubernetes_version: str, architecture: str) -> dict[str, str] | None:
    """Return the newest OKE GPU image for exactly this Kubernetes version, by date, then by build number."""
    wanted = kubernetes_version.removeprefix("v")
    fitting = []
    for image in images:
        match = IMAGE_NAME.match(image["name"])
        if not match or match["version"] != wanted or "-GPU-" not in match["platform"]:
            continue
        if ("aarch64" in match["platform"]) == (architecture == "aarch64"):
            date = IMAGE_DATE.search(match["platform"])
            age = tuple(int(part) for part in date.groups()) if date else (0, 0, 0, 0)
            fitting.append((age, int(match["build"]), image["name"], image))
    return max(fitting, key=lambda item: item[:3])[3] if fitting else None


class _Chooser:
    def __init__(self, cluster: dict[str, Any], wishes: Wishes, own: dict[str, Any] | None, found: Discovery) -> None:
        self.cluster = cluster
        self.wishes = wishes
        self.own = own
        self.found = found

    def _take(self, name: str, given: Any, given_why: str, present: Any, today: Any, today_why: str) -> Any:
        """Take what is given, else what the own pool has, else today's; note the choice, and today's where it differs."""
        if given:
            value, why = given, given_why
        elif present and not self.wishes.adopt_defaults:
            value, why = present, "as the deployment's node pool has it"
        else:
            value, why = today, today_why
        if value:
            self.found.values[name] = value
            self.found.choices.append({"field": name, "value": value, "why": why})
            if present and today and today != value and not given:
                self.found.drift.append({"field": name, "value": value, "today": today, "why": today_why})
        return value

    def compartment(self) -> None:
        present = self.own.get("compartment_id") if self.own else None
        self._take(
            "compartment_id",
            self.wishes.compartment_id,
            "given",
            present,
            self.cluster["compartment_id"],
            "the cluster's compartment",
        )

    def version(self) -> None:
        present = self.own.get("kubernetes_version") if self.own else None
        self._take("kubernetes_version", None, "", present, self.cluster["kubernetes_version"], "the cluster's version")

    def image(self) -> None:
        present = (self.own or {}).get("node_source_details", {}).get("image_id")
        version, architecture = self.found.values["kubernetes_version"], self.wishes.architecture
        newest = newest_image(self.cluster["node_images"], version, architecture)
        why = f"{newest['name']}: newest OKE GPU image of {version} for {architecture}" if newest else ""
        taken = self._take("image_id", self.wishes.image_id, "given", present, newest and newest["image_id"], why)
        if not taken:
            versions = sorted({match["version"] for match in map(_image_match, self.cluster["node_images"]) if match})
            self.found.faults.append(
                Fault(
                    "node_image_missing",
                    "recipe_node_image_ocid",
                    f"no OKE GPU image of {version} for {architecture}; OKE has images with a GPU driver for "
                    + (", ".join(versions) or "no version"),
                    "an image with the GPU driver",
                    "name one in recipe_node_image_ocid",
                )
            )

    def placement(self) -> None:
        present = (self.own or {}).get("placements") or []
        if present and self._allows(present):
            self._note_placement(present, "as the deployment's node pool has it")
            known = len(self.found.faults)
            self._place_anew()
            # What stands against further places does not concern a pool that has its own.
            del self.found.faults[known:]
        else:
            self._place_anew()
        # Security groups go with the pool whose subnet is used.
        own_groups = (self.own or {}).get("nsg_ids")
        given = list(self.wishes.nsg_ids)
        first = self.found.placements[0]["placement_configs"] if self.found.placements else [{}]
        groups = self._groups_of(first[0].get("subnet_id")) if self.own is None or self.wishes.adopt_defaults else None
        self._take("nsg_ids", given, "given", own_groups, groups, "as other pools of the subnet have")
        if not given and self.own is None:
            for placement in self.found.placements:
                placement["nsg_ids"] = self._groups_of(placement["placement_configs"][0]["subnet_id"]) or []

    def _groups_of(self, subnet: str | None) -> list[str] | None:
        return next((pool["nsg_ids"] for pool in self._pools_in(subnet) if pool.get("nsg_ids")), None)

    def _allows(self, placements: list[dict[str, Any]]) -> bool:
        """Tell whether the domains given leave the placements where they are."""
        given = self.wishes.availability_domains
        names = [placement.get("availability_domain", "") for placement in placements]
        return not given or all(name in given or short_domain(name) in given for name in names)

    def _place_anew(self) -> None:
        allowed = self._allowed_domains()
        if not self.wishes.availability_domains:
            # Where the cluster has nodes already, the subnet of that domain is known.
            allowed.sort(key=lambda name: not self._subnet_of(name))
        taken = [entry["availability_domain"] for entry in self.found.values.get("placement_configs", [])]
        for domain in allowed:
            if domain in taken:
                continue
            subnet = self._subnet_of(domain)
            why = f"the subnet of other pools in {short_domain(domain)}"
            if not subnet:
                subnet, why = self._any_subnet(), "the subnet of other pools, taken to be regional"
            if not subnet:
                self.found.faults.append(
                    Fault(
                        "worker_subnet_missing",
                        self.cluster["id"],
                        "the cluster has no node pool from which to take the worker subnet",
                        "a node pool with a subnet for nodes",
                        "make one (the operator needs a node without GPU anyway)",
                    )
                )
                return
            first = "given" if self.wishes.availability_domains else f"{self.wishes.node_shape} is offered there"
            self._note_placement([{"availability_domain": domain, "subnet_id": subnet}], f"{first}; {why}")

    def _note_placement(self, placements: list[dict[str, Any]], why: str) -> None:
        """Note where the pool may go; the first one noted is where it goes."""
        if not self.found.placements:
            self.found.values["placement_configs"] = placements
            self.found.choices.append({"field": "placement_configs", "value": placements, "why": why})
        self.found.placements.append({"placement_configs": placements, "why": why})

    def _allowed_domains(self) -> list[str]:
        names = [domain["name"] for domain in self.cluster["availability_domains"]]
        shape, offered = self.wishes.node_shape, [name for name in names if name in self.cluster["shapes"]]
        if not offered:
            self.found.faults.append(
                Fault(
                    "shape_not_offered",
                    "recipe_node_shape",
                    f"{shape} is not offered in {', '.join(map(short_domain, names))} of {self.cluster['region']}",
                    "a shape that the region offers to this tenancy",
                    "ask for another shape or use another region",
                )
            )
            return []
        if not self.wishes.availability_domains:
            return offered
        allowed: list[str] = []
        for wished in self.wishes.availability_domains:
            name = next((name for name in names if wished in (name, short_domain(name))), None)
            if name and name in offered:
                allowed.append(name)
            else:
                self.found.faults.append(
                    Fault(
                        "availability_domain_unusable",
                        "node_pool_availability_domains",
                        f"{wished} " + (f"does not offer {shape}" if name else "is not one of this tenancy's"),
                        f"one of {', '.join(offered)}",
                    )
                )
        return allowed

    def _pools_in(self, subnet_id: str | None) -> list[dict[str, Any]]:
        return [
            pool
            for pool in sorted(self.cluster["node_pools"], key=lambda pool: (pool.get("name", ""), pool["id"]))
            if any(placement.get("subnet_id") == subnet_id for placement in pool["placements"])
        ]

    def _subnet_of(self, domain: str) -> str:
        """The subnet most pools use in an availability domain."""
        return _most_used(
            placement.get("subnet_id", "")
            for pool in self.cluster["node_pools"]
            for placement in pool["placements"]
            if placement.get("availability_domain") == domain
        )

    def _any_subnet(self) -> str:
        return _most_used(
            placement.get("subnet_id", "") for pool in self.cluster["node_pools"] for placement in pool["placements"]
        )

    def pod_network(self) -> None:
        """Node pools must have the cluster's CNI; with OCI's own they need a subnet for pods too."""
        kind = self.cluster["cni_type"]
        if not kind:
            return
        network: dict[str, Any] = {"cni_type": kind}
        why = "the cluster's CNI"
        if kind == "OCI_VCN_IP_NATIVE":
            present = (self.own or {}).get("pod_network", {})
            other: dict[str, Any] = next(
                (
                    pool["pod_network"]
                    for pool in self.cluster["node_pools"]
                    if pool.get("pod_network", {}).get("pod_subnet_ids")
                ),
                {},
            )
            source = present if present.get("pod_subnet_ids") and not self.wishes.adopt_defaults else other
            subnets = [self.wishes.pod_subnet_id] if self.wishes.pod_subnet_id else source.get("pod_subnet_ids")
            if not subnets:
                self.found.faults.append(
                    Fault(
                        "pod_subnet_missing",
                        "recipe_pod_subnet_ocid",
                        "the cluster gives pods addresses of the VCN, and no node pool names a subnet for them",
                        "OCID of a private regional subnet",
                    )
                )
                return
            network["pod_subnet_ids"] = subnets
            groups = list(self.wishes.pod_nsg_ids) or source.get("pod_nsg_ids")
            if groups:
                network["pod_nsg_ids"] = groups
            if self.wishes.max_pods_per_node or source.get("max_pods_per_node"):
                network["max_pods_per_node"] = self.wishes.max_pods_per_node or source["max_pods_per_node"]
            why += ", with the pod subnet " + ("given" if self.wishes.pod_subnet_id else "of other pools")
        self.found.values["node_pool_pod_network_option_details"] = network
        self.found.choices.append({"field": "node_pool_pod_network_option_details", "value": network, "why": why})


def _image_match(image: dict[str, str]) -> re.Match[str] | None:
    match = IMAGE_NAME.match(image["name"])
    return match if match and "-GPU-" in match["platform"] else None


def _most_used(names: Any) -> str:
    counts: dict[str, int] = {}
    for name in names:
        if name:
            counts[name] = counts.get(name, 0) + 1
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""
