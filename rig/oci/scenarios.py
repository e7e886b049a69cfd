# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a test asks for: which calls they touch, and what they do to them.

A scenario is `{"match": {...}, "do": {...}}`. It matches a call by
    tenancy     name of a tenancy, or the OCID of its compartment or cluster; absent: every tenancy
    operation   name of an operation (`CreateNodePool`, `List*`); absent: every one
    resource    part of the request's path, an object's name or an OCID, with * and ? as in file names; absent: all
    nth         acts from the nth matching call on, counted from 1
and does one or more of
    times            how many calls it acts on; absent: all, or one where `nth` is given
    delay_s          wait so long before answering
    status, code, message   answer with this error in place of the operation
    lose_answer      carry the operation out and cut the connection without an answer
    cut_bytes        cut the connection after so many bytes of an object's content
    rate_bytes_per_s send an object's content no faster
    capacity         so many machines can be had; the next ones are out of host capacity until some are given back
    never_join, no_gpu, small_disk
                     the machine launched never becomes a Node, never advertises its GPUs, or fails to grow its disk

Beside the operations of the APIs there are those of a node's life, one call for each node: LaunchInstance (whose
resource is `<shape> <availability domain> <pool name> <pool OCID>`), NodeJoin, NodeGpu and TerminateInstance.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
from typing import Any

from rig.oci.errors import ServiceError, invalid_parameter
from rig.oci.state import Tenancy

MATCH_FIELDS = {"tenancy": str, "operation": str, "resource": str, "nth": int}
DO_FIELDS = {
    "times": int,
    "delay_s": (int, float),
    "status": int,
    "code": str,
    "message": str,
    "lose_answer": bool,
    "cut_bytes": int,
    "rate_bytes_per_s": (int, float),
    "capacity": int,
    "never_join": bool,
    "no_gpu": bool,
    "small_disk": bool,
}
ABOUT_MACHINES = ("capacity", "never_join", "no_gpu", "small_disk")
NODE_LIFE = ("LaunchInstance", "NodeJoin", "NodeGpu", "TerminateInstance")
OUT_OF_CAPACITY = ServiceError(500, "InternalError", "Out of host capacity.")


@dataclasses.dataclass
class Scenario:
    id: str
    match: dict[str, Any]
    do: dict[str, Any]
    matched: int = 0
    acted: int = 0
    held: set[str] = dataclasses.field(default_factory=set)
    """instances that count against `capacity`"""

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "match": self.match,
            "do": self.do,
            "matched": self.matched,
            "acted": self.acted,
            "held": sorted(self.held),
        }


@dataclasses.dataclass
class Effect:
    """What the scenarios together do to one call."""

    delay_s: float = 0.0
    error: ServiceError | None = None
    lose_answer: bool = False
    cut_bytes: int | None = None
    rate_bytes_per_s: float | None = None
    never_join: bool = False
    no_gpu: bool = False
    small_disk: bool = False


class Scenarios:
    """The scenarios in force."""

    def __init__(self) -> None:
        self._scenarios: dict[str, Scenario] = {}
        self._numbers = itertools.count(1)

    def add(self, request: Any) -> Scenario:
        """Take a scenario from its JSON; ServiceError 400 that names what is wrong in it."""
        if not isinstance(request, dict) or not isinstance(request.get("do"), dict):
            raise invalid_parameter('a scenario is {"match": {...}, "do": {...}}')
        match = _checked(request.get("match") or {}, MATCH_FIELDS, "match")
        do = _checked(request["do"], DO_FIELDS, "do")
        if "nth" in match and match["nth"] < 1:
            raise invalid_parameter(f"match.nth is {match['nth']}; the first call is 1")
        if not do:
            raise invalid_parameter("do is empty: the scenario would do nothing")
        scenario = Scenario(f"scenario-{next(self._numbers)}", match, do)
        self._scenarios[scenario.id] = scenario
        return scenario

    def remove(self, scenario_id: str | None) -> None:
        """End one scenario, or all."""
        if scenario_id is None:
            self._scenarios.clear()
        elif self._scenarios.pop(scenario_id, None) is None:
            raise ServiceError(404, "NotFound", f"there is no {scenario_id}")

    def all(self) -> list[Scenario]:
        return list(self._scenarios.values())

    def of(self, tenancy: Tenancy) -> list[Scenario]:
        """Those that name this tenancy."""
        return [one for one in self.all() if tenancy.answers_to(one.match.get("tenancy", ""))]

    def capacity_left(self, tenancy: Tenancy | None, resource: str) -> int | None:
        """How many machines can still be had for LaunchInstance of `resource`; None where no scenario limits them."""
        left = [
            scenario.do["capacity"] - len(scenario.held)
            for scenario in self.all()
            if "capacity" in scenario.do and _matches(scenario, tenancy, "LaunchInstance", resource)
        ]
        return max(0, min(left)) if left else None

    def effect(self, tenancy: Tenancy | None, operation: str, resource: str, instance: str = "") -> Effect:
        """What to do to this call, which counts as a match of each scenario that fits; `instance` is what it launches."""
        effect = Effect()
        for scenario in self.all():
            if _matches(scenario, tenancy, operation, resource) and _acts(scenario):
                scenario.acted += 1
                _apply(scenario, effect, operation, instance)
        return effect

    def release(self, instance: str) -> None:
        """An instance is gone: what it held of a capacity is free again."""
        for scenario in self.all():
            scenario.held.discard(instance)


def _checked(fields: Any, known: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise invalid_parameter(f"{where} is {fields!r}; expected an object")
    for name, value in fields.items():
        if name not in known:
            raise invalid_parameter(f"{where}.{name} is not known; known are {', '.join(known)}")
        if not isinstance(value, known[name]):
            raise invalid_parameter(f"{where}.{name} is {value!r}, a {type(value).__name__}")
    return dict(fields)


def _matches(scenario: Scenario, tenancy: Tenancy | None, operation: str, resource: str) -> bool:
    match = scenario.match
    if "tenancy" in match and (tenancy is None or not tenancy.answers_to(match["tenancy"])):
        return False
    if "operation" in match:
        if not fnmatch.fnmatchcase(operation, match["operation"]):
            return False
    elif any(name in scenario.do for name in ABOUT_MACHINES):
        if operation != "LaunchInstance":
            return False
    elif operation in NODE_LIFE:
        # A scenario that names no operation is about the APIs' calls, not about what machines do by themselves.
        return False
    return "resource" not in match or fnmatch.fnmatchcase(resource, f"*{match['resource']}*")


def _acts(scenario: Scenario) -> bool:
    scenario.matched += 1
    nth = scenario.match.get("nth")
    if nth is not None and scenario.matched < nth:
        return False
    times = scenario.do.get("times", 1 if nth is not None else None)
    return times is None or scenario.acted < times


def _apply(scenario: Scenario, effect: Effect, operation: str, instance: str) -> None:
    do = scenario.do
    effect.delay_s += do.get("delay_s", 0)
    effect.lose_answer |= do.get("lose_answer", False)
    effect.never_join |= do.get("never_join", False)
    effect.no_gpu |= do.get("no_gpu", False)
    effect.small_disk |= do.get("small_disk", False)
    for name in ("cut_bytes", "rate_bytes_per_s"):
        if name in do:
            setattr(effect, name, do[name])
    if "status" in do or "code" in do:
        effect.error = ServiceError(
            do.get("status", 500), do.get("code", "InternalError"), do.get("message", "Asked for by a scenario.")
        )
    if "capacity" in do and operation == "LaunchInstance":
        if len(scenario.held) < do["capacity"]:
            scenario.held.add(instance)
        else:
            effect.error = OUT_OF_CAPACITY
