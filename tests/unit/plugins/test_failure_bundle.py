# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a failed run writes for support: complete, private, without a secret, and never the reason that a run ends otherwise."""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import report
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.plugin_utils.output_files import write_bundle

CANARY = "canary-no-form-of-a-secret"
PAR = "https://host/p/canary-of-a-request/n/ns/b/models/o/"
RESULTS = {"recipe": {"name": "llama", "settings": {"namespace": "models"}}}


class Cluster:
    """Holds the canary in a Secret, and repeats it wherever a cluster can."""

    def connect(self) -> Cluster:
        return self

    def get(self, path: str, **_query: Any) -> Any:
        if path.endswith("/secrets/llama-api-key"):
            note = {"kubectl.kubernetes.io/last-applied-configuration": CANARY}
            value = base64.b64encode(CANARY.encode()).decode()
            return {"metadata": {"name": "llama-api-key", "annotations": note}, "data": {"default": value}}
        return None

    def items(self, path: str, **_query: Any) -> list[dict[str, Any]]:
        if path.endswith("/events"):
            return [{"involvedObject": {"name": "llama"}, "message": f"{CANARY} {PAR}"}]
        if path.endswith("/models/pods"):
            status = {"containerStatuses": [{"name": "ray", "restartCount": 1}]}
            return [{"metadata": {"name": "llama-head", "namespace": "models"}, "status": status}]
        return []

    def read(self, path: str, **_query: Any) -> bytes:
        return f"args --api-key {CANARY}\nGET {PAR}config.json\nAuthorization: Bearer {CANARY}\nthe cause\n".encode()


def written(path: Path, reach: Any, results: Any = RESULTS) -> dict[str, str]:
    result = {"ok": False, "faults": [{"found": f"refused {PAR}", "request_id": "REQ/1"}]}
    write_bundle(str(path), result, {"plan": 1}, results, reach)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


def test_all_parts_are_there_and_no_canary(tmp_path: Path) -> None:
    parts = written(tmp_path / "bundle.tar.gz", lambda _settings: Cluster())
    assert {"result.json", "plan.json", "missing.json", "logs/models/llama/llama-head/ray.previous.log"} <= set(parts)
    assert "the cause" in parts["logs/models/llama/llama-head/ray.log"] and "REQ/1" in parts["result.json"]
    assert json.loads(parts["objects/models/llama/secrets/llama-api-key.json"])["keys"] == ["default"]
    assert json.loads(parts["missing.json"]) == {}
    whole = "\n".join(parts.values())
    for secret in (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("="), "canary-of-a-request"):
        assert secret not in whole


def test_a_cluster_that_is_away_or_not_known_leaves_the_result(tmp_path: Path) -> None:
    def away(_settings: Any) -> Any:
        raise Refused([Fault("unreachable", "Kubernetes API", f"no answer to {PAR}")])

    parts = written(tmp_path / "away.tar.gz", away)
    assert "no answer" in json.loads(parts["missing.json"])["objects"] and "canary" not in parts["missing.json"]
    parts = written(tmp_path / "early.tar.gz", away, {})
    assert set(parts) == {"result.json", "plan.json", "missing.json"}
    assert "before a deployment was known" in parts["missing.json"]


@pytest.mark.parametrize("error", [Refused([Fault("failure_bundle", "p", "a link")]), RuntimeError("odd")])
def test_whatever_becomes_of_it_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(report, "write_bundle", fail)
    monkeypatch.setattr(report, "given_variables", lambda _loader: {"failure_bundle": " /b.tar.gz "})
    shown: list[str] = []
    action = report.ActionModule.__new__(report.ActionModule)
    monkeypatch.setattr(action, "_loader", None, raising=False)
    monkeypatch.setattr(
        action, "_display", SimpleNamespace(display=lambda text, **_o: shown.append(text)), raising=False
    )
    action._write_bundle({}, {}, {})  # type: ignore[typeddict-item]
    assert len(shown) == 1


def test_it_is_written_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to(tmp_path / "theirs")
    with pytest.raises(Refused):
        write_bundle(str(tmp_path / "bundle"), {}, {}, {}, lambda _settings: Cluster())  # type: ignore[arg-type,return-value]
    assert not (tmp_path / "theirs").exists()
