# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is what its types say: no key that they do not have, and none that is missing."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.types import Plan

from ..generated import drawn_plan
from ..plans import facts, plan


def misfits(kind: Any, value: Any, place: str = "plan") -> Iterator[str]:
    """What of the value, JSON data, is not of the type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from misfits(parts[0], value, place)
    elif origin in (Union, types.UnionType):
        found = [list(misfits(part, value, place)) for part in parts]
        if [] not in found:
            yield from min(found, key=len)
    elif is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is no object"
            return
        yield from (f"{place}.{key}: not declared" for key in value.keys() - hints.keys())
        yield from (f"{place}.{key}: missing" for key in kind.__required_keys__ - value.keys())
        for key in hints.keys() & value.keys():
            yield from misfits(hints[key], value[key], f"{place}.{key}")
    elif origin is list:
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from misfits(parts[0], item, f"{place}[{number}]")
    elif origin in (dict, Mapping):
        for key, item in value.items():
            yield from misfits(parts[1], item, f"{place}.{key}")
    elif origin is Literal:
        if value not in parts:
            yield f"{place}: {value!r}"
    elif kind is not Any:
        accepted = {float: (int, float), type(None): type(None)}.get(kind, kind)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            yield f"{place}: {value!r} is no {kind}"


def test_the_plan_of_the_sample() -> None:
    assert list(misfits(Plan, plan())) == []
    assert list(misfits(Plan, plan(facts(cluster=None), node_provisioner="none", oke_cluster_id=None))) == []


@pytest.mark.parametrize("seed", range(40))
def test_plans_of_all_kinds(seed: int) -> None:
    assert list(misfits(Plan, drawn_plan(seed))) == []


@pytest.mark.parametrize(
    ("part", "change"),
    [("pod", {"later": 1}), ("pod", {"cpu": "26"}), ("expected", {"usd_per_hour": "1"}), ("node_pool", {"name": None})],
)
def test_what_is_not_as_declared_is_found(part: str, change: dict[str, Any]) -> None:
    made: dict[str, Any] = {**plan()}
    made[part] = {**made[part], **change}
    assert len(list(misfits(Plan, made))) == 1
    without = {key: value for key, value in plan().items() if key != part}
    assert list(misfits(Plan, without)) == [f"plan.{part}: missing"]
