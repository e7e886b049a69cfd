# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Watches the nodes of a deployment's pool while the deployment is waited for, and carries out what is decided of them.

`core/health/node_repair.py` decides; here are the reads and the writes, each through a module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..module_utils.clock import moment
from ..module_utils.core.fault import Refused, fault_of
from ..module_utils.core.health.node_health import Finding, Wanted, small_disks, unmatched
from ..module_utils.core.health.node_repair import EMPTY_SECONDS, Decision, Limits, Repair
from ..module_utils.core.health.observation import Observation
from ..module_utils.core.plan.node_pool import moved
from ..module_utils.core.plan.types import Plan
from ..module_utils.core.recipe.setting_rows.nodes import JOIN_MINUTES, JOIN_MINUTES_BARE_METAL
from ..module_utils.core.recipe.settings import SIGN_IN
from ..module_utils.kube.client import Kubernetes
from .progress import Lines

if TYPE_CHECKING:
    from .action import Action

# Each look reads pool and work requests, which the service answers to at least every ten seconds.
LOOK_SECONDS = 20.0
# A wait of hours does not end because Oracle Cloud could not be asked for minutes.
PASSING = {"cloud_unreachable", "cloud_unavailable", "cloud_too_many_requests"}


class NodeWatch:
    """Nothing to watch where the nodes are not ours. `repairs` is what was done, for the result."""

    def __init__(
        self,
        action: Action,
        kubernetes: Kubernetes,
        plan: Plan,
        settings: Mapping[str, Any],
        lines: Lines,
        task_vars: dict[str, Any],
    ) -> None:
        self.repairs: list[dict[str, Any]] = []
        self._action = action
        self._kubernetes = kubernetes
        self._plan = plan
        self._lines = lines
        self._task_vars = task_vars
        # Without one of our own nothing is asked of it.
        self._pool: Any = plan["node_pool"]
        self._wanted = _wanted(plan, settings)
        self._repair = Repair(self._wanted, _limits(plan, settings), plan["other_placements"])
        self._looked = float("-inf")
        self._seen = time.monotonic()
        self._text = ""
        self._sign_in = {option: settings[option] for option in SIGN_IN}

    @property
    def emptying(self) -> bool:
        """Whether the pool is on its way to zero, or will be; not if nothing was seen of it for long."""
        return self._repair.emptying and time.monotonic() - self._seen < EMPTY_SECONDS

    def look(self, observation: Observation, nodes_ready: bool, left: float) -> str:
        """Return what to add to the wait's line, "" where the nodes are as they should be. Raises Refused.

        nodes_ready  whether Kubernetes has all nodes with their GPUs: the cloud is not asked then
        left         seconds until the wait ends
        """
        if self._pool is None:
            return ""
        if nodes_ready and not self.emptying and not small_disks(observation.nodes, self._wanted):
            self._text = ""
            return ""
        # The last look of a wait is not put off: nobody gives nodes back after it.
        if time.monotonic() - self._looked < LOOK_SECONDS and (left > 0 or self.emptying):
            return self._text
        pool = self._read()
        if pool is not None:
            self._seen = time.monotonic()
            nodes = observation.nodes
            if unmatched(pool, nodes):
                # A node gets its labels some time after it joined.
                nodes = self._kubernetes.items("/api/v1/nodes")
            now = time.time()
            bound = sum(bool(pod["spec"].get("nodeName")) for pod in observation.pods)
            decision = self._repair.look(pool, nodes, bound, now, now + left)
            self._text = decision.text
            self._carry_out(pool, decision)
        self._looked = time.monotonic()
        return self._text

    def _read(self) -> dict[str, Any] | None:
        """The pool as it is now; None while Oracle Cloud does not list a new one yet, or does not answer."""
        try:
            pools = self._run("oci_node_pool_info", deployment=self._pool["name"]).get("node_pools") or []
        except Refused as refused:
            if not {fault.code for fault in refused.faults} <= PASSING:
                raise
            self._text = refused.faults[0].line()
            return None
        return pools[0] if pools else None

    def _carry_out(self, pool: Mapping[str, Any], decision: Decision) -> None:
        for found in decision.replace:
            if not self._replace(found, "replaced"):
                self._repair.not_replaced(found)
        for found in decision.again:
            self._replace(found, "asked for again")
        if decision.empty:
            self._note(pool, "scaled to zero", decision.reason, "node_pool_short")
            self._set(self._pool, size=0)
        if decision.move is not None:
            self._pool = moved(self._pool, decision.move)
            domain = decision.move[0].get("availability_domain")
            self._note(pool, f"moved to {domain}", f"{self._wanted.size} nodes are requested there", "node_pool_short")
            self._set(self._pool, size=self._wanted.size)
        if decision.faults:
            raise Refused([fault_of(fault) for fault in decision.faults])

    def _replace(self, found: Finding, what: str) -> bool:
        """Have one node replaced; False where that was not begun, because it left or another change came first."""
        arguments = {"deployment": self._pool["name"], "node_id": found.node_id}
        try:
            changed = bool(self._run("oci_node_replacement", **arguments)["changed"])
        except Refused as refused:
            if {fault.code for fault in refused.faults} != {"cloud_conflict"}:
                raise
            return False
        if changed:
            self._note({"id": found.node_id, "name": found.fault["where"]}, what, found.fault["found"], found.code)
        return changed

    def _set(self, pool: Mapping[str, Any], size: int) -> None:
        config = {**pool["node_config_details"], "size": size}
        self._run("oci_node_pool", deployment=pool["name"], definition={**pool, "node_config_details": config})

    def _note(self, item: Mapping[str, Any], action: str, reason: str, code: str) -> None:
        """A line, and an entry of the result; also of a result that fails later."""
        name = item.get("name") or item["id"]
        self._lines.say("nodes", f"{name} {action}: {reason}", final=True)
        entry = {"at": moment(), "code": code, "id": item["id"], "name": name, "action": action, "reason": reason}
        self.repairs.append(entry)
        self._action.done.update(changed=True, repairs=self.repairs)

    def _run(self, module: str, **arguments: Any) -> dict[str, Any]:
        identity = {"cluster_id": self._pool["cluster_id"], "compartment_id": self._pool["compartment_id"]}
        return self._action.run_module(
            f"multinode.inference.{module}", {**identity, **arguments, **self._sign_in}, self._task_vars
        )


def _wanted(plan: Plan, settings: Mapping[str, Any]) -> Wanted:
    nodes = plan["nodes"]
    usual = JOIN_MINUTES_BARE_METAL if nodes["shape"].startswith("BM.") else JOIN_MINUTES
    return Wanted(
        size=nodes["count"],
        gpus=nodes["gpus"],
        boot_volume_gb=nodes["boot_volume_gb"],
        join_seconds=60 * (settings["node_join_minutes"] or usual),
        gpu_seconds=60 * settings["node_gpu_minutes"],
    )


def _limits(plan: Plan, settings: Mapping[str, Any]) -> Limits:
    cost: Mapping[str, Any] = plan["expected"]["cost"]
    parts: Sequence[float | None] = [cost["nodes"], cost["boot_volumes"]]
    known = [part for part in parts if part is not None]
    return Limits(
        repairs=settings["node_repair_limit"],
        keep_seconds=0 if settings["on_shortfall"] == "release" else 60 * settings["shortfall_keep_minutes"],
        usd_per_node_hour=sum(known) / plan["nodes"]["count"] if len(known) == len(parts) else None,
    )
