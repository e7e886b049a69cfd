# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing objects: each is asked for whatever becomes of the others, and what does not go is named."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils.removal import LONGEST_SECONDS, Remover

SERVICE = {"kind": "Service", "metadata": {"name": "a-api"}}
SECRET = {"kind": "Secret", "metadata": {"name": "a-api-key"}}


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def remover(answer: dict[str, Any], lines: list[str]) -> Remover:
    time = Time()
    return Remover(lambda objects, **options: answer, lines.append, clock=time, sleep=time.sleep)


def test_what_goes_is_shown_once_and_not_left() -> None:
    lines: list[str] = []
    looks = iter([["Pod/a", "Service/a-api"], ["Pod/a", "Service/a-api"], ["Service/a-api"], []])
    found = remover({"results": [{}, {}]}, lines)
    found.remove([SERVICE, SECRET])
    found.watch(lambda: next(looks))
    assert [line.split("still there: ")[1] for line in lines] == ["Pod/a, Service/a-api", "Service/a-api"]
    assert found.left == []


def test_an_object_that_may_not_be_removed_is_named_and_not_waited_for() -> None:
    found = remover({"results": [{"error": {"msg": "forbidden"}}, {}]}, [])
    found.remove([SERVICE, SECRET])
    found.watch(lambda: ["Service/a-api"])
    assert [(fault.where, fault.found) for fault in found.left] == [("Service/a-api", "not removed: forbidden")]


def test_the_wait_is_bounded_for_all_together() -> None:
    time = Time()
    found = Remover(lambda objects, **options: {}, lambda line: None, clock=time, sleep=time.sleep)
    found.watch(lambda: ["PersistentVolume/csi-1"])
    assert LONGEST_SECONDS < time.now < LONGEST_SECONDS + 5
    found.watch(lambda: ["Namespace/a"])
    assert time.now < LONGEST_SECONDS + 5
    assert [fault.where for fault in found.left] == ["PersistentVolume/csi-1", "Namespace/a"]


def test_pods_that_only_wait_are_not_given_their_grace_period_and_take_it_where_they_may_not_be_removed() -> None:
    asked: list[dict[str, Any]] = []

    def write(objects: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        asked.append(options)
        raise Refused([Fault("forbidden", "kubeconfig", "403")])

    found = Remover(write, lambda line: None)
    found.hasten([])
    found.hasten([{"kind": "Pod", "metadata": {"name": "w"}}])
    assert [options["delete_options"] for options in asked] == [{"gracePeriodSeconds": 1}]
    assert found.left == []
