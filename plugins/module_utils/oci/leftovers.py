# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Oracle Cloud still has of a deployment: node pool, instances, block volumes, load balancers.

Each list is read by itself: one that the caller may not read is reported, and the others are read all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ..core.fault import Fault, Refused
from ..core.ownership import bears_tags
from .client import Connection, all_pages
from .errors import is_service_error
from .models import as_data
from .node_pools import NodePools
from .waiting import Wait

# What is being deleted stops billing by itself.
GOING = frozenset(("TERMINATING", "TERMINATED", "DELETING", "DELETED"))
_SHOWN = ("id", "lifecycle_state")
Found = list[dict[str, Any]]


class Remainder:
    """What is left of `deployment` in the compartments.

    volumes         OCIDs of the block volumes that it had
    load_balancers  display names of the load balancers that it had
    """

    def __init__(
        self,
        connection: Connection,
        cluster_id: str,
        compartments: Iterable[str],
        deployment: str,
        volumes: Iterable[str] = (),
        load_balancers: Iterable[str] = (),
    ) -> None:
        self.connection = connection
        self.cluster_id = cluster_id
        self.compartments = list(compartments)
        self.deployment = deployment
        self.volumes = list(volumes)
        self.load_balancers = set(load_balancers)

    def look(self) -> tuple[Found, list[Fault]]:
        """Return what is left, each with `kind`, `id`, `name` and `state`; and what could not be looked for."""
        left: Found = []
        unseen: list[Fault] = []
        kinds: dict[str, Callable[[str], Found]] = {"node_pool": self._node_pools, "instance": self._instances}
        looks = [(kind, functools.partial(find, place)) for kind, find in kinds.items() for place in self.compartments]
        if self.volumes:
            looks.append(("volume", functools.partial(self._volumes)))
        if self.load_balancers:
            looks += [("load_balancer", functools.partial(self._load_balancers, place)) for place in self.compartments]
        for kind, find in looks:
            try:
                left += [{"kind": kind, **_essence(item)} for item in find() if item["lifecycle_state"] not in GOING]
            except Refused as refused:
                unseen += refused.faults
        return left, unseen

    def wait(self, wait: Wait) -> tuple[Found, list[Fault]]:
        """Look until nothing is left, or the time is over."""
        left: Found = []
        unseen: list[Fault] = []
        for _waited in wait.looks():
            left, unseen = self.look()
            if not left:
                break
        return left, unseen

    def _node_pools(self, compartment_id: str) -> Found:
        pools = NodePools(self.connection, self.cluster_id, compartment_id)
        return pools.of_deployments(self.deployment)

    def _instances(self, compartment_id: str) -> Found:
        """By the tags that the pool gives its instances."""
        client = self.connection.client("compute")
        with self.connection.asking("compute", "listing instances", compartment_id, "inspect instances"):
            listed = all_pages(client.list_instances, compartment_id=compartment_id)
            found = [as_data(item, *_SHOWN) for item in listed]
        return [item for item in found if bears_tags(item, self.deployment, self.cluster_id)]

    def _volumes(self) -> Found:
        client = self.connection.client("block_storage")
        found = []
        with self.connection.asking("block_storage", "reading block volumes", self.deployment, "inspect volumes"):
            for ocid in self.volumes:
                try:
                    found.append(as_data(client.get_volume(ocid).data, *_SHOWN))
                except Exception as error:
                    # Also when the right is missing; the cluster's own volume object, which went, is the better witness.
                    if not is_service_error(error, 404):
                        raise
        return found

    def _load_balancers(self, compartment_id: str) -> Found:
        found = []
        for service, verb in (
            ("load_balancer", "list_load_balancers"),
            ("network_load_balancer", "list_network_load_balancers"),
        ):
            # A network load balancer's name is a path.
            names = {name for name in self.load_balancers if ("/" in name) == (service == "network_load_balancer")}
            if not names:
                continue
            client = self.connection.client(service)
            with self.connection.asking(service, "listing load balancers", compartment_id, "inspect load-balancers"):
                items = all_pages(getattr(client, verb), compartment_id=compartment_id)
                found += [as_data(item, *_SHOWN) for item in items if item.display_name in names]
        return found


def _essence(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": item["id"],
        "name": item.get("display_name") or item.get("name") or "",
        "state": item["lifecycle_state"],
    }


def fault_of(item: dict[str, Any]) -> Fault:
    """Return the fault that a rest is."""
    words = item["kind"].replace("_", " ")
    return Fault(
        "left_behind",
        f"{words} {item['name'] or item['id']}",
        f"{item['state']} ({item['id']})",
        "deleted: it is still billed",
        "run undeploy again; delete in the console what remains",
    )
