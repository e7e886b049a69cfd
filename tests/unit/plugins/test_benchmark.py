# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's action: what it refuses, what it makes and removes, and what it says of a Job that fails."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import benchmark as action
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health.benchmark import recorded
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import PLANNED_ANNOTATION
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from tests.unit.core.health.test_benchmark import said
from tests.unit.core.plans import plan

PLAN = plan()
NAME, NAMESPACE = PLAN["deployment"]["name"], PLAN["deployment"]["namespace"]
JOB = f"{NAME}-benchmark"
RUNTIME, CLUSTER = (
    next(item for item in render(PLAN, {"benchmark.py": "", "head.py": ""}) if item["kind"] == kind)
    for kind in ("ConfigMap", "RayCluster")
)
ENDED = {"type": "Complete", "status": "True"}
FAILED = {"type": "Failed", "status": "True", "message": "Job was active longer than specified deadline"}


class Measured(action.ActionModule):
    """The action with a cluster in memory: the Job's pod says `log`, and the Job has ended by `condition` at the third look."""

    def __init__(self, log: str = "", condition: dict[str, Any] = ENDED, check: bool = False) -> None:
        self.objects: dict[str, Any] = {
            f"rayclusters/{NAME}": json.loads(json.dumps({**CLUSTER, "metadata": {**CLUSTER["metadata"], "uid": "u"}})),
            f"configmaps/{RUNTIME['metadata']['name']}": RUNTIME,
            f"secrets/{NAME}-api-key": {"data": {"team": base64.b64encode(b"canary").decode()}},
        }
        self.log, self.condition = log, condition
        self.container: dict[str, Any] = {"state": {"running": {}}}
        self.pod_conditions: list[dict[str, Any]] = []
        self.looks = 0
        self.shown: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.gone_at: int | None = None
        self.away = False
        self.registered = {}
        self._task = SimpleNamespace(check_mode=check)
        self._display = SimpleNamespace(display=lambda text, **_: self.shown.append(text))
        self._loader = None

    def reach(self, settings: Any) -> Any:
        return SimpleNamespace(connect=lambda: self, arguments=dict)

    def get(self, path: str) -> Any:
        key = "/".join(path.split("/")[-2:])
        if key == f"jobs/{JOB}" and key in self.objects:
            self.looks += 1
            if self.away and self.looks == 1:
                raise Refused([Fault("unreachable", "API server", "no answer")])
            if self.looks == self.gone_at:
                return None
            if self.looks >= 3 and not self.objects[key].get("status"):
                return {**self.objects[key], "status": {"conditions": [self.condition]}}
        return self.objects.get(key)

    def items(self, path: str, **_query: str) -> list[dict[str, Any]]:
        status = {"phase": "Running", "containerStatuses": [self.container], "conditions": self.pod_conditions}
        return [{"metadata": {"name": "p", "namespace": NAMESPACE}, "status": status}]

    def read(self, _path: str, **_query: Any) -> bytes:
        return self.log.encode()

    def create(self, path: str, item: dict[str, Any]) -> bool:
        key = f"{path.rpartition('/')[2]}/{item['metadata']['name']}"
        if key in self.objects:
            return False
        self.objects[key] = item
        self.written.append(("create", item["kind"]))
        return True

    def write(self, objects: list[dict[str, Any]], task_vars: Any, **options: Any) -> dict[str, Any]:
        for item in objects:
            self.written.append((options["state"], item["kind"]))
            if options["state"] == "absent":
                # Without it the API leaves the Job's pod.
                assert options["delete_options"] == {"propagationPolicy": "Foreground"} and options["wait"]
            key = f"{item['kind'].lower()}s/{item['metadata']['name']}"
            key = key.replace("networkpolicys", "networkpolicies")
            if options["state"] == "absent":
                self.objects.pop(key, None)
            elif options["state"] == "patched":
                self.objects[key]["metadata"]["annotations"].update(item["metadata"]["annotations"])
            else:
                self.objects[key] = item
        return {"results": []}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(action, "namespace_of", lambda *_: NAMESPACE)
    row = {"namespace": NAMESPACE, "ready": True, "state": "Ready", "measured": {"cache_tokens": 5000.0}}
    monkeypatch.setattr(action, "list_deployments", lambda *_: [row])
    monkeypatch.setattr(action.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(action.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def act(monkeypatch: pytest.MonkeyPatch, cluster: Measured, **settings: Any) -> dict[str, Any]:
    inputs = read_inputs({"deployment_name": PLAN["deployment"]["deployment_name"], **settings}, "deployment")
    monkeypatch.setattr(action, "given_inputs", lambda *_: inputs)
    result = cluster.act({}, {})
    assert "canary" not in json.dumps([result, cluster.shown])
    return result


def codes(monkeypatch: pytest.MonkeyPatch, cluster: Measured, **settings: Any) -> list[str]:
    with pytest.raises(Refused) as refused:
        act(monkeypatch, cluster, **settings)
    # Whatever ended it: no Job of ours, and no policy for one, is left behind.
    assert not any(kind == "create" for kind, _ in cluster.written) or f"jobs/{JOB}" not in cluster.objects
    return [fault.code for fault in refused.value.faults]


def test_it_measures_keeps_the_figures_and_removes_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured("\n".join(["noise", said(1), said(4)]))
    result = act(monkeypatch, cluster, benchmark_requests=4)
    assert [entry["concurrency"] for entry in result["measured"]] == result["loads"] == [1, 4]
    assert result["remarks"] == [] and result["planned"]["kv_tokens"] and result["at_start"] == {"cache_tokens": 5000.0}
    kept = recorded(cluster.objects[f"rayclusters/{NAME}"]["metadata"]["annotations"])
    assert kept["loads"] == result["measured"] and kept["at"] == result["at"]
    kinds = ["NetworkPolicy", "Job", "Job", "NetworkPolicy", "RayCluster"]
    assert [kind for _how, kind in cluster.written] == kinds
    assert not {f"jobs/{JOB}", f"networkpolicies/{JOB}"} & cluster.objects.keys()
    assert any("4 at once" in line for line in cluster.shown)


def test_its_pod_asks_the_head_by_a_key_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    cluster = Measured(said(1))
    monkeypatch.setattr(
        cluster, "create", lambda path, item: bool(made.append(item)) or Measured.create(cluster, path, item)
    )
    act(monkeypatch, cluster, benchmark_minutes=2, benchmark_requests=1)
    (container,) = made[0]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry for entry in container["env"]}
    asked = json.loads(environment["MULTINODE_BENCHMARK"]["value"])
    assert asked["url"] == f"http://{NAME}-head-svc.{NAMESPACE}.svc:{PLAN['pod']['ports']['api']}"
    assert asked["model"] == PLAN["model"]["served_names"][0] and asked["seconds"] == 120
    assert environment["OPENAI_API_KEY"]["valueFrom"]["secretKeyRef"]["key"] == "team"


def test_loads_go_up_to_what_the_plan_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured(check=True)
    assert act(monkeypatch, cluster)["loads"] == [1, 4, 16, 64, 256] and cluster.written == []
    annotations = cluster.objects[f"rayclusters/{NAME}"]["metadata"]["annotations"]
    annotations[PLANNED_ANNOTATION] = "forged"
    assert act(monkeypatch, cluster)["loads"] == [1, 4, 16]


def test_a_request_longer_than_the_context_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codes(monkeypatch, Measured(), benchmark_input_tokens=1048576) == ["benchmark_too_long"]


@pytest.mark.parametrize(
    ("rows", "code"), [([], "no_deployment"), ([{"ready": False, "state": "Paused"}], "not_ready")]
)
def test_what_does_not_serve_is_not_measured(monkeypatch: pytest.MonkeyPatch, rows: list[Any], code: str) -> None:
    found = [{"namespace": NAMESPACE, **row} for row in rows]
    monkeypatch.setattr(action, "list_deployments", lambda *_: found)
    cluster = Measured()
    if not rows:
        del cluster.objects[f"rayclusters/{NAME}"]
    assert codes(monkeypatch, cluster) == [code] and cluster.written == []


def test_another_deployment_of_the_same_dns_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codes(monkeypatch, Measured(), deployment_name=f"{PLAN['deployment']['deployment_name']}_") == ["name_taken"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"head.py": ""}, "benchmark_unknown"),
        ({"benchmark.py": "", "group.json": "{"}, "unreadable"),
        ({"benchmark.py": "", "group.json": "[]"}, "unreadable"),
        ({"benchmark.py": "", "group.json": '{"engine": {"tls": false, "port": "x"}}'}, "unreadable"),
        ({"benchmark.py": "", "group.json": '{"engine": 7}'}, "unreadable"),
    ],
)
def test_programs_that_know_no_benchmark_are_told(monkeypatch: pytest.MonkeyPatch, data: Any, code: str) -> None:
    cluster = Measured()
    cluster.objects[f"configmaps/{RUNTIME['metadata']['name']}"] = {"data": data}
    assert codes(monkeypatch, cluster) == [code] and cluster.written == []


def test_a_deployment_without_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured()
    cluster.objects[f"secrets/{NAME}-api-key"] = {"data": {}}
    assert codes(monkeypatch, cluster) == ["no_key"]


def job(labels: dict[str, str], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": JOB, "labels": labels}, "status": {"startTime": "2026-01-01T00:00:00Z", **status}}


def test_a_second_one_is_refused_by_name_and_one_that_ended_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = CLUSTER["metadata"]["labels"]
    running = Measured()
    running.objects[f"jobs/{JOB}"] = job(labels)
    with pytest.raises(Refused) as refused:
        act(monkeypatch, running)
    (fault,) = refused.value.faults
    assert fault.code == "benchmark_running" and JOB in fault.where and "2026-01-01" in fault.found
    assert f"jobs/{JOB}" in running.objects and running.written == []
    ended = Measured(said(1))
    ended.objects[f"jobs/{JOB}"] = job(labels, conditions=[FAILED])
    assert act(monkeypatch, ended, benchmark_requests=1)["measured"]


@pytest.mark.parametrize("kind", ["jobs", "networkpolicies"])
def test_an_object_of_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    cluster = Measured()
    cluster.objects[f"{kind}/{JOB}"] = job({})
    with pytest.raises(Refused) as refused:
        act(monkeypatch, cluster)
    assert [fault.code for fault in refused.value.faults] == ["not_ours"] and cluster.written == []


def test_one_that_another_starts_in_the_same_moment_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured()
    monkeypatch.setattr(cluster, "create", lambda *_: False)
    with pytest.raises(Refused) as refused:
        act(monkeypatch, cluster)
    assert [fault.code for fault in refused.value.faults] == ["benchmark_running"]
    assert ("absent", "NetworkPolicy") not in cluster.written


@pytest.mark.parametrize(
    ("terminated", "condition", "words"),
    [
        (
            {"message": 'multinode {"phase": "staging", "state": "failed", "cause": "the URL is refused"}'},
            FAILED,
            "refused",
        ),
        ({"exitCode": 137, "reason": "OOMKilled"}, FAILED, "137 (OOMKilled)"),
        (None, FAILED, "longer than specified deadline"),
        ({"exitCode": 0}, ENDED, "left no figures"),
    ],
)
def test_why_it_failed_is_said(
    monkeypatch: pytest.MonkeyPatch, terminated: Any, condition: dict[str, Any], words: str
) -> None:
    cluster = Measured("noise only", condition)
    cluster.container = {"state": {"terminated": terminated}} if terminated else {"state": {"waiting": {}}}
    with pytest.raises(Refused) as refused:
        act(monkeypatch, cluster)
    (fault,) = refused.value.faults
    assert fault.code == "benchmark_failed" and words in fault.found
    assert f"jobs/{JOB}" not in cluster.objects


def test_loads_that_are_missing_and_requests_that_fail_are_remarks(monkeypatch: pytest.MonkeyPatch) -> None:
    log = [said(1, {**json.loads(said(1)[10:])["result"], "failed": 2}), said(4, None, error="the time is over")]
    remarks = act(monkeypatch, Measured("\n".join(log)), benchmark_requests=16)["remarks"]
    assert [entry["code"] for entry in remarks] == ["requests_failed", "load_not_measured", "load_not_measured"]
    assert "2 of 10" in remarks[0]["found"] and remarks[2]["where"].startswith("16 ")


def test_a_pod_without_room_is_not_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured()
    monkeypatch.setattr(action, "_ended", lambda _job: None)
    cluster.pod_conditions = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient memory"}
    ]
    assert codes(monkeypatch, cluster) == ["benchmark_no_room"]


def test_a_job_that_is_removed_or_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = Measured()
    removed.gone_at = 2
    assert codes(monkeypatch, removed) == ["benchmark_removed"]
    monkeypatch.setattr(action, "_ended", lambda _job: None)
    assert codes(monkeypatch, Measured()) == ["benchmark_failed"]


def test_an_api_server_that_is_away_for_a_moment_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Measured(said(1))
    cluster.away = True
    assert act(monkeypatch, cluster, benchmark_requests=1)["measured"]
