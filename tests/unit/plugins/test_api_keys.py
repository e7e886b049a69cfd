# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a deployment's keys: what is written, what is shown, and when it returns."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import api_keys as action
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.plugin_utils import playbook_results

SECRETS = "/api/v1/namespaces/llama/secrets"
PODS = "/api/v1/namespaces/llama/pods"
RAYCLUSTER = "/apis/ray.io/v1/namespaces/llama/rayclusters/llama"


class Keys(action.ActionModule):
    """The action with a cluster in memory. `guard` is what the guard's log says a while after each change."""

    def __init__(self, serving: bool = True, guard: str = "keys {}\n", check: bool = False) -> None:
        self.secrets = {"llama-api-key": {"default": "canary-1"}, "llama-ray-token": {"auth_token": "canary-2"}}
        self.labels = dict(common_labels("llama"))
        self.serving, self.guard = serving, guard
        self.shown: list[str] = []
        self.removed: list[str] = []
        self.registered = {}
        self._task = SimpleNamespace(check_mode=check)
        self._display = SimpleNamespace(display=self.shown.append)
        self._loader = None

    def reach(self, settings: Any) -> Any:
        return SimpleNamespace(connect=lambda: self, arguments=dict)

    def get(self, path: str) -> Any:
        if path == RAYCLUSTER:
            return {"spec": {"authOptions": {"secretName": "llama-ray-token"}}}
        name = path.rpartition("/")[2]
        if name not in self.secrets:
            return None
        data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}
        return {"metadata": {"labels": self.labels}, "data": data}

    def items(self, path: str, **_query: str) -> list[dict[str, Any]]:
        ready = {"type": "Ready", "status": "True" if self.serving else "False"}
        pods = [{"metadata": {"name": "llama-head", "namespace": "llama"}, "status": {"conditions": [ready]}}]
        return pods if path == PODS else []

    metadata = items

    def read(self, _path: str, **_query: Any) -> bytes:
        revision = self.secrets["llama-api-key"].get(".revision", "")
        return ("INFO noise\nkeys nonsense\n" + self.guard.replace("{}", json.dumps({"revision": revision}))).encode()

    def write(self, objects: list[dict[str, Any]], task_vars: Any, **options: Any) -> dict[str, Any]:
        for item in objects:
            if options["state"] == "absent":
                self.removed.append(item["metadata"]["name"])
                continue
            assert options == {"state": "patched", "merge_type": ["merge"]}
            held = self.secrets[item["metadata"]["name"]]
            for key, value in item["data"].items():
                held.pop(key, None)
                if value is not None:
                    held[key] = base64.b64decode(value).decode()
        return {}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(action, "namespace_of", lambda *_: "llama")
    monkeypatch.setattr(action, "pods_of", lambda *_: ["llama-head", "llama-worker"])
    monkeypatch.setattr(action.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(action.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def act(monkeypatch: pytest.MonkeyPatch, keys: Keys, **settings: Any) -> dict[str, Any]:
    inputs = read_inputs({"deployment_name": "llama", **settings}, "deployment")
    monkeypatch.setattr(action, "given_inputs", lambda *_: inputs)
    result = keys.act({}, {})
    assert not any(
        value in json.dumps(result) for held in keys.secrets.values() for value in held.values() if len(value) > 7
    )
    return result


def test_a_key_is_shown_once_on_request_and_is_in_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys()
    assert act(monkeypatch, keys)["keys"] == [{"name": "default", "former_until": None}]
    added = act(monkeypatch, keys, keys_action="add", key_name="team", key_show=True)
    value = keys.secrets["llama-api-key"]["team"]
    assert added["in_force"] is True and [entry["name"] for entry in added["keys"]] == ["default", "team"]
    assert any(value in line for line in keys.shown)
    keys.shown.clear()
    rotated = act(monkeypatch, keys, keys_action="rotate", key_name="team")
    assert keys.shown == [] and rotated["keys"][1]["former_until"] is not None
    act(monkeypatch, keys, keys_action="remove", key_name="team")
    assert set(keys.secrets["llama-api-key"]) == {"default", ".revision"}


def test_a_group_that_does_not_serve_has_the_change_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert act(monkeypatch, Keys(serving=False), keys_action="rotate")["in_force"] is False


def test_a_guard_that_never_says_it_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused) as refused:
        act(monkeypatch, Keys(guard="keys []\n"), keys_action="rotate")
    assert [fault.code for fault in refused.value.faults] == ["keys_not_in_force"]


def test_check_mode_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(check=True)
    for settings in ({"keys_action": "rotate"}, {"keys_action": "rotate_ray_token"}):
        assert act(monkeypatch, keys, **settings)["changed"] is True
    assert keys.secrets["llama-api-key"] == {"default": "canary-1"} and keys.removed == []


def test_another_token_of_ray_takes_other_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys()
    result = act(monkeypatch, keys, keys_action="rotate_ray_token")
    assert result["in_force"] is False and result["replaced"] == ["llama-head", "llama-worker"]
    assert any("the group restarts" in line for line in playbook_results.keys({"keys": result})[1])
    assert keys.secrets["llama-ray-token"]["auth_token"] != "canary-2"
    assert keys.removed == ["llama-head", "llama-worker"]
    assert keys.secrets["llama-api-key"] == {"default": "canary-1"}


@pytest.mark.parametrize("action_name", ["list", "add", "rotate_ray_token"])
def test_a_secret_of_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch, action_name: str) -> None:
    keys = Keys()
    keys.labels = {}
    with pytest.raises(Refused) as refused:
        act(monkeypatch, keys, keys_action=action_name, key_name="new")
    assert [fault.code for fault in refused.value.faults] == ["no_deployment"]
    assert keys.secrets["llama-api-key"] == {"default": "canary-1"}
