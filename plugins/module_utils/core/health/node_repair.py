# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to do about a pool that does not give the group its nodes: wait, replace one, go elsewhere, give up.

Pure: decisions out of what is seen and the time; the caller carries them out. Nothing is decided while a change of the pool
is under way, so a run that continues where another was killed sees that one's change and waits for it.

A replaced node is named by its OCID: the pool's size is never lowered for it, since the service then picks the victim.
Nodes that no host was found for are not replaced at once, that would fail the same way: the whole pool goes to the next
availability domain, by way of zero, since a group is never split and half of one serves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..fault import Fault
from .deployment_health import readable_seconds
from .node_health import SHORT_CODES, Finding, Wanted, examine, is_busy, moment_of

# What a work request's fault is called when it says the same as the nodes'.
_SHORT_POOL_CODES = ("node_pool_out_of_host_capacity", "node_pool_limit_exceeded")
# A node with such a finding is in Kubernetes: it may have served before, and is not taken from a group for being late.
_COME_CODES = ("node_not_ready", "node_without_gpus")
# While a part of the group is kept, the missing nodes are asked for again: launches are throttled, and capacity comes
# and goes by minutes.
ASK_AGAIN_SECONDS = 300.0
# Instances end within a minute or two.
EMPTY_SECONDS = 900.0

Placement = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Limits:
    """What may be done: see the settings node_repair_limit, on_shortfall and shortfall_keep_minutes.

    keep_seconds      0 where a part of the group is released at once, or what is still being launched when the wait ends
    usd_per_node_hour list price of one node, None where it is not known
    """

    repairs: int
    keep_seconds: float
    usd_per_node_hour: float | None


@dataclass(frozen=True)
class Decision:
    """One of: nothing but `text`, nodes to `replace` or to ask for again, a `size`, a place to `move` to, `faults`.

    text     what is awaited of the nodes, for the wait's line
    replace  findings whose nodes are deleted by id, so that the pool makes others
    again    the same, of nodes that were never launched: no repair
    empty    scale the pool to zero
    move     placement_configs to put the pool in, with all its nodes
    reason   why, where something is to be done
    faults   give up
    """

    text: str = ""
    replace: tuple[Finding, ...] = ()
    again: tuple[Finding, ...] = ()
    empty: bool = False
    move: Placement | None = None
    reason: str = ""
    faults: tuple[Mapping[str, Any], ...] = ()


class Repair:
    """Decides from look to look; remembers what this run has seen and done."""

    def __init__(self, wanted: Wanted, limits: Limits, others: Sequence[Placement]) -> None:
        """others: placements that the pool may go to when there are no hosts, best first."""
        self.wanted = wanted
        self.limits = limits
        self._others = list(others)
        self._seen: dict[tuple[str, str], float] = {}
        self._repaired = 0
        self._before: dict[str, set[str]] = {}
        self._short_since: float | None = None
        self._asked_again: float | None = None
        self._emptying: _Emptying | None = None
        self._late_since: float | None = None

    @property
    def emptying(self) -> bool:
        """Whether the pool is on its way to zero, or will be: a wait that ended now would leave nodes that bill."""
        return self._emptying is not None or self._late_since is not None

    def look(
        self, pool: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], pods: int, now: float, deadline: float
    ) -> Decision:
        """Decide.

        pool, nodes  as `examine` takes them
        pods         how many pods of the deployment are bound to a node
        deadline     when the wait ends: nobody watches then
        """
        if self._emptying is not None:
            return self._empty_further(self._emptying, pool, pods, now, deadline)
        findings = examine(pool, nodes, self.wanted, self._seen, now)
        text = self._text(pool, findings, now)
        late = now >= deadline
        if is_busy(pool):
            return self._late(pool, findings, now, text) if late else Decision(text)
        failed = [found for found in findings if found.code not in SHORT_CODES and found.overdue(now)]
        if failed and not late:
            return self._replace(pool, failed, text)
        faults = [fault for fault in pool.get("faults") or () if fault["code"].startswith("node_pool_")]
        short = tuple(found for found in findings if found.code in SHORT_CODES)
        if short or any(fault["code"] in _SHORT_POOL_CODES for fault in faults):
            return self._short(pool, short, now, deadline, text)
        self._short_since = None
        if faults and not findings:
            return Decision(text, faults=(*faults, self._incomplete(pool)))
        return self._late(pool, findings, now, text) if late else Decision(text)

    def not_replaced(self, found: Finding) -> None:
        """Take back a repair that the service would not begin: another change of the pool came first."""
        self._repaired -= 1

    def _replace(self, pool: Mapping[str, Any], failed: Sequence[Finding], text: str) -> Decision:
        """Replace what failed, unless replacing is of no use: too many, or a node made for one that failed alike."""
        alike = [
            found
            for found in failed
            if found.code != "node_failed" and found.node_id not in self._before.get(found.code, {found.node_id})
        ]
        if alike or len(failed) > self.limits.repairs - self._repaired:
            why = f"{self._repaired} replaced by this run, at most {self.limits.repairs} (node_repair_limit)"
            if alike:
                why = "it was made for a node that failed in the same way: the cause is common to all"
            faults = [{**found.fault, "remedy": f"{found.fault['remedy']}; {why}"} for found in failed]
            return Decision(text, faults=(*faults, self._incomplete(pool)))
        self._repaired += len(failed)
        for found in failed:
            self._before.setdefault(found.code, {entry["id"] for entry in pool["nodes"]})
        return Decision(text, replace=tuple(failed))

    def _short(
        self, pool: Mapping[str, Any], short: tuple[Finding, ...], now: float, deadline: float, text: str
    ) -> Decision:
        """Go to the next place; else keep for a while what there is, and ask again; else give it back."""
        if self._short_since is None:
            work = pool.get("work_request") or {}
            self._short_since = min(now, moment_of(work.get("time_finished")))
        causes = tuple(pool["faults"]) or tuple(found.fault for found in short)
        here = [entry.get("availability_domain") for entry in _placements(pool)]
        self._others = [other for other in self._others if other[0].get("availability_domain") not in here]
        if self._others and now < deadline:
            place = self._others.pop(0)
            domain = place[0].get("availability_domain")
            self._emptying = _Emptying(now, causes, place)
            return Decision(text, empty=True, reason=f"{_words(causes)}; next {domain}, once this pool is at zero")
        self._late_since = None
        kept_until = min(self._short_since + self.limits.keep_seconds, deadline)
        # A run that finds a pool short since long ago asks once before it gives the pool back.
        first, asked = self._asked_again is None, self._asked_again or self._short_since
        if short and now - asked >= ASK_AGAIN_SECONDS and now < (deadline if first else kept_until):
            self._asked_again = now
            return Decision(text, again=short, reason=_words(causes))
        if now >= kept_until:
            self._emptying = _Emptying(now, causes, None)
            return Decision(text, empty=True, reason=f"{_words(causes)}; no other availability domain is left")
        return Decision(
            f"{text}; {self._bill(pool)}, kept for {readable_seconds(kept_until - now)} more (on_shortfall)"
        )

    def _late(self, pool: Mapping[str, Any], findings: Sequence[Finding], now: float, text: str) -> Decision:
        """The wait is over. Give back what there is of a group whose nodes have not all come, unless its launch is young.

        Such a one is kept for the next run, which continues with it: runs that wait for less than a launch takes would else
        start over each time. A change of the pool that is under way has to end before it takes another one.
        """
        busy = is_busy(pool)
        active = sum(entry.get("lifecycle_state") == "ACTIVE" for entry in pool.get("nodes") or ())
        come = not busy and active >= self.wanted.size and all(found.code in _COME_CODES for found in findings)
        launched = min(moment_of((pool.get("work_request") or {}).get("time_accepted")), now)
        if come or now - launched < self.limits.keep_seconds:
            self._late_since = None
            return Decision(text)
        if busy:
            self._late_since = self._late_since or now
            if now - self._late_since < EMPTY_SECONDS:
                return Decision(f"{text}; the wait is over, they are released once this change has finished")
            self._late_since = None
            return Decision(text, faults=(self._too_late(text), self._still_there(pool, len(pool.get("nodes") or ()))))
        self._late_since = None
        self._emptying = _Emptying(now, (self._too_late(text),), None)
        return Decision(text, empty=True, reason="the wait is over (wait_timeout_minutes) and not all nodes have come")

    @staticmethod
    def _too_late(text: str) -> dict[str, str]:
        return Fault(
            "timeout",
            "nodes",
            f"{text} when the wait ended",
            "all nodes with their GPUs by then (wait_timeout_minutes)",
            "see what the nodes waited for; give a longer wait_timeout_minutes if they were only slow",
        ).as_dict()

    def _empty_further(
        self, emptying: _Emptying, pool: Mapping[str, Any], pods: int, now: float, deadline: float
    ) -> Decision:
        """Follow the pool to zero nodes, and only then continue: a node that is left bills.

        Pods outlive their node for a minute (Kubernetes, pod garbage collection). They have to end too: a node that came
        meanwhile under the same address would get them, with volumes of another availability domain.
        """
        left = len(pool.get("nodes") or ())
        if left or is_busy(pool):
            text = f"node pool {pool.get('lifecycle_state')}, scaling to zero: {left} nodes left"
            if now - emptying.since < EMPTY_SECONDS:
                return Decision(text)
            self._emptying = None
            return Decision(text, faults=(*emptying.causes, self._still_there(pool, left)))
        if pods and now - emptying.since < EMPTY_SECONDS:
            return Decision(f"node pool at zero, {pods} pods of its nodes left")
        self._emptying = None
        if emptying.place is None or now >= deadline:
            return Decision("node pool at zero", faults=(*emptying.causes, self._released(pool)))
        self._short_since = self._asked_again = None
        return Decision("node pool at zero", move=emptying.place)

    def _text(self, pool: Mapping[str, Any], findings: Sequence[Finding], now: float) -> str:
        active = sum(entry.get("lifecycle_state") == "ACTIVE" for entry in pool.get("nodes") or ())
        text = f"node pool {pool.get('lifecycle_state')}, {active}/{self.wanted.size} of its nodes ACTIVE"
        return "; ".join([text, *(found.line(now) for found in findings)])

    def _bill(self, pool: Mapping[str, Any]) -> str:
        """What the nodes that there are cost, while they serve nothing."""
        active = sum(entry.get("lifecycle_state") == "ACTIVE" for entry in pool.get("nodes") or ())
        if self.limits.usd_per_node_hour is None:
            return f"{active} of {self.wanted.size} nodes are billed and serve nothing"
        dollars = active * self.limits.usd_per_node_hour
        return f"{active} of {self.wanted.size} nodes cost {dollars:.2f} US dollars an hour and serve nothing"

    def _incomplete(self, pool: Mapping[str, Any]) -> dict[str, str]:
        return Fault(
            "group_incomplete",
            f"node pool {pool['id']}",
            self._bill(pool),
            f"{self.wanted.size} nodes",
            "fix the cause and run deploy again, or undeploy: they are billed until then",
        ).as_dict()

    def _released(self, pool: Mapping[str, Any]) -> dict[str, str]:
        domains = ", ".join(str(entry.get("availability_domain")) for entry in _placements(pool))
        return Fault(
            "node_pool_released",
            f"node pool {pool['id']}",
            f"scaled to zero, since {self.wanted.size} nodes were not available (last tried: {domains})",
            f"{self.wanted.size} nodes",
            "nothing is billed now; run deploy again later, or name other domains in node_pool_availability_domains, "
            "or another shape",
        ).as_dict()

    def _still_there(self, pool: Mapping[str, Any], left: int) -> dict[str, str]:
        return Fault(
            "node_pool_not_released",
            f"node pool {pool['id']}",
            f"{left} nodes {readable_seconds(EMPTY_SECONDS)} after they were to be given back",
            "no node",
            "they are still billed: run undeploy, and check the node pool in the console",
        ).as_dict()


@dataclass(frozen=True)
class _Emptying:
    """A pool on its way to zero: since when, why, and where it goes then (None: nowhere)."""

    since: float
    causes: tuple[Mapping[str, Any], ...]
    place: Placement | None


def _placements(pool: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (pool.get("node_config_details") or {}).get("placement_configs") or []


def _words(causes: Sequence[Mapping[str, Any]]) -> str:
    """The most telling of the causes: the work request's own words."""
    work = next((fault for fault in causes if fault["code"] in _SHORT_POOL_CODES), causes[0] if causes else None)
    return str(work["found"]) if work else "fewer nodes than asked for"
