# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook hands on to the next job of a workflow."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import report
from tests.unit.core.plans import exposed, plan

SERVED = {
    "state": "Ready",
    "model": "llama",
    "completion": " Paris",
    "key_command": "kubectl get secret",
    "recipes": {"a-raycluster-app": "https://llama.192-0-2-7.nip.io"},
    "url": "https://llama.192-0-2-7.nip.io",
    "host": "llama.192-0-2-7.nip.io",
    "address": "192.0.2.7",
    "port": 443,
    "ca_pem": "PEM\n",
}


def reported(monkeypatch: pytest.MonkeyPatch, playbook: str, **changes: Any) -> dict[str, Any]:
    monkeypatch.setattr(report, "given_variables", lambda _loader: {})
    action = report.ActionModule.__new__(report.ActionModule)
    action._loader = None
    action._task = SimpleNamespace(check_mode=False)
    action._display = SimpleNamespace(display=lambda *_texts, **_options: None)
    action.registered = {
        "preflight": {"plan": plan(**exposed("load_balancer"))},
        "recipe": {"name": "llama", "settings": {"hugging_face_token": "hf_canary"}},
        "endpoint": {**SERVED, "changed": True},
        "keys": {"keys": []},
        **changes,
    }
    return action.act({"playbook": playbook}, {})


def test_a_workflow_is_told_the_end_of_deploy_as_people_are(monkeypatch: pytest.MonkeyPatch) -> None:
    result = reported(monkeypatch, "deploy")
    assert (result["ansible_stats"]["aggregate"], result["ansible_stats"]["per_host"]) == (False, False)
    assert list(result["ansible_stats"]["data"]) == ["multinode_inference"]
    handed = result["ansible_stats"]["data"]["multinode_inference"]
    assert handed["recipes"] == SERVED["recipes"] and handed["ca_pem"] == "PEM\n" and handed["address"] == "192.0.2.7"
    assert handed["curl"] and handed["key_command"] == SERVED["key_command"] and handed["usd_per_hour"] > 0
    assert (handed["tensor_parallel"], handed["pipeline_parallel"]) == (2, 4)
    assert handed["model_names"] and handed["context"] and handed["deployment"] == "llama" and handed["ok"] is True
    assert handed == {name: result["result"][name] for name in handed}
    assert "canary" not in json.dumps(result)


def test_other_playbooks_leave_the_stats_of_a_deploy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ansible_stats" not in reported(monkeypatch, "keys")
