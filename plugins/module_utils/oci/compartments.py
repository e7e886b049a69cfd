# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The compartments of a tenancy, and a node pool that may lie in any of them.

A pool lies where `compartment_id` said when it was made. Once the RayCluster with the record of that is gone, or where a run was
killed before it wrote one, only a search tells: the API lists node pools by compartment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..core.fault import Fault, Refused
from ..core.ownership import bears_tags
from .client import Connection, all_pages
from .cluster import compartment_of_cluster
from .node_pool import own_pool, pool_unseen, record_disbelieved
from .node_pools import NodePools

# Calls at once: more of one user meet 429.
_AT_ONCE = 4
_SHOWN = 3


def list_compartments(connection: Connection) -> list[str]:
    """Return the OCIDs of the tenancy's root compartment and of all others that the caller may see. Raises Refused."""
    if not (tenancy := connection.tenancy):
        found = "the sign-in does not name its tenancy"
        raise Refused([Fault("tenancy_unknown", "tenancy", found, "its OCID", "set tenancy")])
    client = connection.client("identity")
    with connection.asking("identity", "listing compartments", tenancy, "inspect compartments"):
        listed = all_pages(
            client.list_compartments,
            compartment_id=tenancy,
            compartment_id_in_subtree=True,
            access_level="ACCESSIBLE",
            lifecycle_state="ACTIVE",
        )
        return [tenancy, *(item.id for item in listed if item.id)]


def find_elsewhere(
    pools: NodePools, name: str, deployment: str, recorded_id: str, search: bool
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[Fault]]:
    """Return the deployment's pool that does not lie where `pools` are, by its record, else, with `search`, in the tenancy.

    Beside it those that are on their way out, and what was not seen: a record that leads nowhere, or to somebody else's pool.
    """
    found: list[dict[str, Any]] = []
    unseen: list[Fault] = []
    if recorded_id:
        recorded = pools.read(recorded_id)
        if recorded is None:
            unseen = [pool_unseen(recorded_id)]
        elif bears_tags(recorded, deployment, pools.cluster_id):
            found = [recorded]
        else:
            unseen = [record_disbelieved(recorded)]
    if not found and search:
        found, closed = search_pools(pools.connection, pools.cluster_id, deployment, pools.compartment_id)
        unseen += closed
    living = own_pool(found, name, deployment, pools.cluster_id)
    deleting = [pool for pool in found if pool["lifecycle_state"] == "DELETING"]
    return living, [*pools.list_deleting(deployment), *deleting], unseen


def places(
    connection: Connection, cluster_id: str, given: str, others: Collection[str]
) -> tuple[list[str], list[Fault]]:
    """Return the compartments to look in: the one `given`, else the cluster's; with `others` these and the cluster's too.

    Beside them what was not seen: who is given a compartment need not be allowed to read the cluster.
    """
    found = [given] if given else []
    unseen = []
    if others or not given:
        try:
            found.append(compartment_of_cluster(connection, cluster_id))
        except Refused as refused:
            if not given:
                raise
            said = f"the compartment of the cluster is not known: {refused.faults[0].found}"
            remedy = "see whether the user may `use clusters` there; what is there is still billed"
            unseen = [Fault("compartment_unseen", cluster_id, said, "a look into it too", remedy)]
    return list(dict.fromkeys([*found, *others])), unseen


def pools_in(
    connection: Connection, cluster_id: str, compartments: Sequence[str], deployment: str, work_requests: bool
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Return the living node pools of one deployment, or of all, in these compartments, and what was not seen.

    The first compartment has to be readable. Of the others anybody may have written a record: one that is not is only told.

    work_requests: with the newest `work_request` of each pool
    """
    found: dict[str, dict[str, Any]] = {}
    unseen = []
    for compartment_id in compartments:
        pools = NodePools(connection, cluster_id, compartment_id)
        try:
            for pool in pools.of_deployments(deployment):
                request = {"work_request": pools.newest_work_request(pool["id"])} if work_requests else {}
                found.setdefault(pool["id"], {**pool, **request})
        except Refused as refused:
            if compartment_id == compartments[0]:
                raise
            unseen.append(_not_listed(compartment_id, refused.faults[0].found))
    return list(found.values()), unseen


def _not_listed(compartment_id: str, found: str) -> Fault:
    remedy = "see whether the user may inspect cluster-node-pools there; what is there is still billed"
    return Fault("compartment_unseen", compartment_id, f"its node pools could not be listed: {found}", "a list", remedy)


def search_pools(
    connection: Connection, cluster_id: str, deployment: str, searched: str
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Return the deployment's node pools (those being deleted too) in other compartments than `searched`, and what was not seen.

    A pool that a killed run asked for a moment ago counts before OCI lists it.
    """
    try:
        others = [ocid for ocid in list_compartments(connection) if ocid != searched]
    except Refused as refused:
        reasons = "; ".join(f"{fault.where}: {fault.found}" for fault in refused.faults)
        return [], [_unseen(deployment, f"looked for in {searched} only ({reasons})")]

    def look(compartment_id: str) -> list[dict[str, Any]] | None:
        pools = NodePools(connection, cluster_id, compartment_id)
        try:
            found = [pool for pool in pools.listed() if bears_tags(pool, deployment, cluster_id)]
            making = None if found else pools.find_making(deployment)
        except Refused:
            return None
        return [*found, *([making] if making else [])]

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as threads:
        seen = dict(zip(others, threads.map(look, others), strict=True))
    # A work request may show in several compartments; the pool is one.
    found = {pool["id"]: pool for pools in seen.values() for pool in pools or ()}
    closed = [ocid for ocid, pools in seen.items() if pools is None]
    if not closed:
        return list(found.values()), []
    some = ", ".join(closed[:_SHOWN]) + (f" and {len(closed) - _SHOWN} more" if len(closed) > _SHOWN else "")
    words = (
        f"not looked for in {len(closed)} of {len(seen) + 1} compartments, whose node pools could not be listed: {some}"
    )
    return list(found.values()), [_unseen(deployment, words)]


def _unseen(deployment: str, found: str) -> Fault:
    return Fault(
        "compartments_unseen",
        f"node pool of {deployment}",
        found,
        "a look into every compartment",
        "if it was deployed with another compartment_id, run undeploy again with that one: its nodes are still billed",
    )
