# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pause writes, in which order, and what it leaves alone."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import deployment_pause as action
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    NAME_ANNOTATION,
    NODE_LABEL,
    NODE_POOL_ANNOTATION,
    common_labels,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SIGN_IN
from ansible_collections.multinode.inference.plugins.plugin_utils.removal import LONGEST_SECONDS

PATH = "/apis/ray.io/v1/namespaces/llama/rayclusters/llama"
LIES = "ocid1.compartment.oc1..elsewhere"


def raycluster(own_nodes: bool = True) -> dict[str, Any]:
    pod = {"nodeSelector": {NODE_LABEL: "llama"} if own_nodes else {}}
    record = json.dumps({"id": "ocid1.nodepool.oc1.iad.a", "compartment_id": LIES})
    annotations = {NAME_ANNOTATION: "llama", NODE_POOL_ANNOTATION: record}
    return {
        "metadata": {
            "name": "llama",
            "namespace": "llama",
            "labels": common_labels("llama"),
            "annotations": annotations,
        },
        "spec": {"headGroupSpec": {"template": {"spec": pod}}},
    }


class Pause(action.ActionModule):
    """The action with a RayCluster and a node pool in memory; `did` is what it did, in order."""

    def __init__(self, standing: dict[str, Any] | None, pools: int = 1, size: int = 2, check: bool = False) -> None:
        self.standing, self.pools, self.size = standing, pools, size
        self.did: list[Any] = []
        self.lies = LIES
        settings = {"namespace": None, "oke_cluster_id": "ocid1.cluster.oc1.iad.a", "compartment_id": None}
        settings |= dict.fromkeys(SIGN_IN)
        self.registered = {"recipe": {"settings": settings, "deployment_name": "llama"}}
        self._task = SimpleNamespace(check_mode=check)
        self._loader = None

    def reach(self, settings: Any) -> Any:
        return SimpleNamespace(connect=lambda: self)

    def get(self, path: str) -> Any:
        return self.standing if path == PATH else None

    def items(self, path: str, **_query: str) -> list[dict[str, Any]]:
        return []

    def metadata(self, path: str, **_query: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "lama"}}] if path == "/apis/ray.io/v1/rayclusters" else []

    def show(self, text: str, **_options: Any) -> None:
        pass

    def write(self, objects: list[dict[str, Any]], task_vars: Any, **options: Any) -> dict[str, Any]:
        assert options == {"state": "patched", "merge_type": ["merge"]}
        (item,) = objects
        self.did.append(item["spec"])
        if not self._task.check_mode and self.standing:
            self.standing["spec"].update(item["spec"])
            self.standing["metadata"]["annotations"].update(item["metadata"]["annotations"])
        return {}

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert arguments["deployment"] == "llama"
        if name.endswith("_info"):
            assert arguments["other_compartments"] == [LIES]
            return {"node_pools": [{"id": "a", "compartment_id": self.lies}] * self.pools, "unseen": []}
        assert arguments["compartment_id"] == self.lies
        size = arguments["definition"]["node_config_details"]["size"]
        self.did.append(f"size {size}")
        changed, self.size = size != self.size, size
        return {"changed": changed, "node_pool": {"id": "a"}}


class Drain:
    """What of pods and volumes is still there at each look; the last stays."""

    def __init__(self, pause: Pause, looks: list[tuple[list[str], list[dict[str, Any]]]]) -> None:
        self.pause, self.looks = pause, looks

    def pods(self, *_arguments: Any) -> list[str]:
        pods, _volumes = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        self.pause.did.append(f"{len(pods)} pods")
        return pods

    def volumes(self, *_arguments: Any) -> list[dict[str, Any]]:
        return self.looks[0][1]


def test_nodes_go_after_pods_and_their_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume cannot be detached from a node that is gone."""
    block, retained = {"name": "csi-1", "kept": False}, {"name": "csi-2", "kept": True}
    pause = Pause(raycluster())
    drain = Drain(pause, [(["head"], [block, retained]), ([], [block, retained]), ([], [retained])])
    monkeypatch.setattr(action, "pods_of", drain.pods)
    monkeypatch.setattr(action, "volumes_of", drain.volumes)
    monkeypatch.setattr(action, "Remover", functools.partial(action.Remover, sleep=lambda _seconds: None))
    result = pause.act({"name": "llama"}, {})
    assert pause.did == [{"suspend": True}, "1 pods", "0 pods", "0 pods", "size 0"]
    kept = {"what": "PersistentVolume/csi-2, which is retained", "usd_per_hour": None}
    assert kept in result["kept"]


@pytest.fixture(autouse=True)
def by_alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "given_variables", lambda _loader: {"awx_user_name": "alice"})


def test_the_pods_drain_before_their_nodes_go() -> None:
    pause = Pause(raycluster())
    result = pause.act({"name": "llama"}, {})
    assert pause.did == [{"suspend": True}, "size 0"] and result["changed"]
    assert result["paused"]["since"].startswith("20") and result["paused"]["by"].startswith("alice@")


def test_pods_that_do_not_end_hold_the_nodes_for_minutes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their nodes are billed: a request that runs on and on, or a node that does not answer, keeps none of them."""
    now, warned = [0.0], []
    pause = Pause(raycluster())
    pause._display = SimpleNamespace(warning=warned.append)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patient = functools.partial(action.Remover, clock=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(action, "Remover", patient)
    monkeypatch.setattr(action, "pods_of", lambda *_arguments: ["head"])
    assert pause.act({"name": "llama"}, {})["changed"]
    assert pause.did == [{"suspend": True}, "size 0"]
    assert LONGEST_SECONDS <= now[0] < LONGEST_SECONDS + 10
    assert len(warned) == 1 and "Pod/head" in warned[0] and "goes all the same" in warned[0]


def test_a_second_pause_changes_nothing_and_keeps_since_when() -> None:
    pause = Pause(raycluster())
    first = pause.act({"name": "llama"}, {})
    pause.did = []
    again = pause.act({"name": "llama"}, {})
    assert pause.did == ["size 0"] and not again["changed"] and again["paused"] == first["paused"]


def test_a_pool_that_is_gone_is_not_made() -> None:
    pause = Pause(raycluster(), pools=0)
    assert pause.act({"name": "llama"}, {})["node_pool"] == {} and "size 0" not in pause.did


def test_a_record_of_another_compartment_hides_no_pool() -> None:
    """Who may write the RayCluster's annotations would have the nodes billed on."""
    pause = Pause(raycluster())
    pause.lies = "ocid1.compartment.oc1..own"
    assert pause.act({"name": "llama"}, {})["changed"] and pause.did == [{"suspend": True}, "size 0"]


def test_nodes_that_are_not_its_own_stay() -> None:
    pause = Pause(raycluster(own_nodes=False))
    pause.act({"name": "llama"}, {})
    assert pause.did == [{"suspend": True}]


def test_check_mode_waits_for_nothing() -> None:
    pause = Pause(raycluster(), check=True)
    assert pause.act({"name": "llama"}, {})["changed"]
    assert pause.did == [{"suspend": True}, "size 0"]


def refused(pause: Pause) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as found:
        pause.act({"name": "llama"}, {})
    assert pause.did == []
    return [(fault.code, fault.remedy) for fault in found.value.faults]


def test_what_is_not_there_or_not_meant_is_left_alone() -> None:
    assert refused(Pause(None)) == [("no_deployment", "did you mean lama?")]
    strange, other = raycluster(), raycluster()
    strange["metadata"]["labels"] = {}
    other["metadata"]["annotations"][NAME_ANNOTATION] = "l_lama"
    assert [code for code, _remedy in refused(Pause(strange))] == ["not_ours"]
    assert [code for code, _remedy in refused(Pause(other))] == ["name_taken"]
