# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a deployment, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.deployment_health import (
    judge,
    readable_bytes,
    readable_seconds,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.health.failures import OperatorBound, gave_up
from ansible_collections.multinode.inference.plugins.module_utils.core.health.observation import Observation
from ansible_collections.multinode.inference.plugins.module_utils.core.health.pod_words import (
    final_entry,
    progress_lines,
)


def node(name: str, ready: bool = True, gpus: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "allocatable": {"nvidia.com/gpu": str(gpus)} if gpus else {},
        },
    }


def pod(name: str, role: str = "worker", ready: bool = False, **state: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"ray.io/node-type": role}},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [
                {"name": f"ray-{role}", "image": "i", "restartCount": 0, "state": {"running": {}}, **state}
            ],
        },
    }


CLUSTER = {"metadata": {"name": "d", "generation": 2}, "status": {"observedGeneration": 2}}
NODES = [node("a"), node("b")]


def steps(observation: Observation) -> dict[str, str]:
    return {step.phase: step.text for step in judge(observation, 2, 1).steps}


def test_nothing_there_yet() -> None:
    judgement = judge(Observation(), 2, 1)
    assert judgement.state == "Deploying"
    assert judgement.current is not None and judgement.current.phase == "nodes"
    assert judgement.current.text == "0/2 nodes with 1 GPU"


def test_nodes_that_lack_their_gpus_are_said() -> None:
    observed = Observation(nodes=[node("a"), node("b", gpus=0), node("c", ready=False)])
    assert steps(observed)["nodes"] == "1/2 nodes with 1 GPU, 1 Ready without their GPUs, 1 joined and not Ready"


def test_staging_shows_bytes_rate_and_what_is_left() -> None:
    progress = {
        "h": {"staging": {"state": "running", "done": 2e9, "total": 10e9, "rate": 1e9}},
        "w": {"staging": {"state": "done", "done": 10e9, "total": 10e9, "rate": 0}},
    }
    observed = Observation(CLUSTER, [pod("h", "head"), pod("w")], NODES, progress)
    assert steps(observed)["staging"] == "1/2 nodes staged, 12.0 GB of 20.0 GB, 1.0 GB/s, 8s left"
    assert judge(observed, 2, 1).state == "Staging"


def test_ready_needs_the_head_and_every_pod() -> None:
    head = pod("h", "head", ready=True)
    assert judge(Observation(CLUSTER, [head, pod("w")], NODES), 2, 1).state == "Ready"
    assert judge(Observation(CLUSTER, [head], NODES), 2, 1).state == "Deploying"
    going = {**head, "metadata": {**head["metadata"], "deletionTimestamp": "now"}}
    assert not judge(Observation(CLUSTER, [going, pod("w")], NODES), 2, 1).ready


def test_a_changed_raycluster_is_not_ready_by_its_old_pods() -> None:
    changed = {"metadata": {"name": "d", "generation": 3}, "status": {"observedGeneration": 2}}
    observed = Observation(changed, [pod("h", "head", ready=True), pod("w")], NODES)
    assert judge(observed, 2, 1).state == "Deploying"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            "cannot be pulled: no such image",
        ),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}},
            "cannot be created",
        ),
        (
            {
                "state": {"waiting": {}},
                "lastState": {
                    "terminated": {"message": 'multinode {"phase":"staging","state":"failed","cause":"PAR expired"}'}
                },
            },
            "PAR expired",
        ),
    ],
)
def test_what_waiting_cannot_mend_is_a_failure(status: dict[str, Any], words: str) -> None:
    judgement = judge(Observation(CLUSTER, [pod("h", "head", **status)], NODES), 2, 1)
    assert judgement.state == "Failed"
    assert judgement.failure is not None and words in judgement.failure.line()


@pytest.mark.parametrize(
    ("restarts", "message", "failed"),
    [
        (3, "", True),
        (3, "exec: python3: not found", True),
        # It may be that the next start goes well.
        (2, "", False),
        # A group that restarts says why, and stops by itself.
        (9, 'multinode {"phase":"engine","state":"ended","cause":"a rank died"}', False),
    ],
)
def test_a_container_that_ends_again_and_again_without_a_cause(restarts: int, message: str, failed: bool) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": message}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    observed = pod("h", "head", restartCount=restarts, state=waiting, lastState=ended)
    failure = judge(Observation(CLUSTER, [observed], NODES), 2, 1).failure
    if not failed:
        assert failure is None
        return
    assert failure is not None
    assert "has started 4 times" in failure.found and "exit code 137, OOMKilled" in failure.found
    assert message in failure.found


def test_a_group_that_gave_up_is_a_failure() -> None:
    progress = {"h": {"engine": {"phase": "engine", "state": "failed", "cause": "no memory for the KV cache"}}}
    failure = judge(Observation(CLUSTER, [pod("h", "head")], NODES, progress), 2, 1).failure
    assert failure is not None and "no memory for the KV cache" in failure.line()


def test_a_rank_is_told_with_the_name_of_its_pod() -> None:
    cause = "the engine died: no memory (stage 1 (192.0.2.7): ValueError: x)"
    progress = {"h": {"engine": {"phase": "engine", "state": "failed", "cause": cause}}}
    worker = pod("w")
    worker["status"]["podIP"] = "192.0.2.7"
    failure = judge(Observation(CLUSTER, [pod("h", "head"), worker], NODES, progress), 2, 1).failure
    assert failure is not None and "(stage 1 (w, 192.0.2.7): ValueError: x)" in failure.found


def test_pods_that_gave_up_are_known_by_what_they_said_last() -> None:
    pods = [pod("head", "head"), pod("worker-0"), pod("worker-1")]
    pods[2]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    gave = {"staging": {"phase": "staging", "state": "failed"}}
    progress = {"head": {"ray": {"phase": "ray", "state": "waiting"}}, "worker-0": gave, "worker-1": gave}
    assert gave_up(Observation(pods=pods, progress=progress)) == ["worker-0"]


def test_a_volume_that_a_pod_waits_for_is_said_in_the_kubelets_words() -> None:
    def event(name: str, reason: str, message: str, minute: int) -> dict[str, Any]:
        time = f"2026-01-01T00:{minute:02}:00Z"
        return {"involvedObject": {"name": name}, "reason": reason, "message": message, "lastTimestamp": time}

    warnings = [
        event("h", "FailedMount", "of a pod that runs by now", 9),
        event("w", "FailedMount", "mount.nfs: Connection\n timed out", 5),
        event("w", "FailedMount", "an older word", 4),
        event("w", "FailedScheduling", "0/3 nodes are available", 3),
        event("w", "Unhealthy", "the probe failed", 6),
    ]
    waiting = pod("w", state={"waiting": {"reason": "ContainerCreating"}})
    observed = Observation(CLUSTER, [pod("h", "head"), waiting], NODES, warnings=warnings)
    assert steps(observed)["pods"] == "1/2 pods running (ContainerCreating); pod w: mount.nfs: Connection timed out"
    assert judge(observed, 2, 1).failure is None


def test_a_models_folder_that_root_may_not_give_away_is_a_failure() -> None:
    said = "install: cannot change owner and permissions of '/models/llama': Operation not permitted"
    waiting = pod("w", state={"waiting": {"reason": "PodInitializing"}})
    first = {
        "name": "model-folder",
        "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "message": said}},
    }
    waiting["status"]["initContainerStatuses"] = [first]
    failure = judge(Observation(CLUSTER, [waiting], NODES), 2, 1).failure
    assert failure is not None and failure.code == "model_folder" and said in failure.line()
    first |= {"state": {"terminated": {"exitCode": 0}}, "lastState": {}}
    assert judge(Observation(CLUSTER, [waiting], NODES), 2, 1).failure is None


def test_a_refused_raycluster_is_a_failure() -> None:
    event = {"reason": "InvalidRayClusterSpec", "message": "name is too long"}
    judgement = judge(Observation(CLUSTER, warnings=[event]), 2, 1)
    assert judgement.failure is not None and "name is too long" in judgement.failure.line()


def test_the_latest_line_of_each_phase_counts_and_other_lines_do_not() -> None:
    log = "\n".join(
        [
            "INFO multinode is not JSON",
            "2026-01-01T00:00:00Z multinode " + json.dumps({"phase": "staging", "done": 1}),
            "multinode " + json.dumps({"phase": "staging", "done": 2}),
            "multinode {broken",
            'multinode ["phase"]',
            "multinode " + json.dumps({"phase": "ray", "state": "done"}),
        ]
    )
    assert progress_lines(log) == {"staging": {"phase": "staging", "done": 2}, "ray": {"phase": "ray", "state": "done"}}


def test_only_a_final_cause_is_terminal() -> None:
    assert final_entry('multinode {"phase":"engine","state":"retrying","cause":"the engine ended"}') is None
    entry = final_entry('multinode {"phase":"engine","state":"failed","cause":"driver too old"}')
    assert entry is not None and entry["cause"] == "driver too old"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (8.1e11, "810.0 GB"), (2e12, "2.0 TB")]
)
def test_bytes_for_a_reader(count: float, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59, "59s"), (65, "1m05s"), (3720, "1h02m")])
def test_seconds_for_a_reader(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


@pytest.mark.parametrize(
    "line",
    [
        'multinode {"phase":"staging","state":"running","done":"x","total":[],"rate":{},"eta":true,"cause":7,"step":["a"]}',
        'multinode {"phase":"staging","done":1e999,"total":NaN}',
        'multinode {"phase":"staging","text":' + "[" * 5000 + "]" * 5000 + "}",
        'multinode {"phase":["staging"]}',
    ],
)
def test_an_odd_line_of_a_log_counts_as_not_said(line: str) -> None:
    observed = Observation(CLUSTER, [pod("h", "head"), pod("w")], NODES, {"h": progress_lines(line), "w": {}})
    assert judge(observed, 2, 1).state == "Staging"
    assert steps(observed)["staging"] == "0/2 nodes staged"


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    line = 'multinode {"phase":"ray","state":"running","step":"\\u001b[2Jgone\\u0007"}'
    assert progress_lines(line)["ray"]["step"] == " gone "


@pytest.mark.parametrize("odd", ["1k", "", "many", "-1", None])
def test_a_node_that_offers_an_odd_number_of_gpus_offers_none(odd: str | None) -> None:
    observed = [node("a"), {**node("b"), "status": {"allocatable": {"nvidia.com/gpu": odd}}}]
    assert steps(Observation(CLUSTER, [], observed))["nodes"].startswith("1/2 nodes")


def test_objects_without_what_they_always_have_stop_nothing() -> None:
    bare: dict[str, Any] = {"metadata": {"name": "x"}}
    observed = Observation(bare, [bare, {**bare, "status": {"containerStatuses": [{}]}}], [bare], warnings=[{}])
    assert judge(observed, 2, 1).state == "Deploying"


ENDED = {"phase": "engine", "state": "ended", "cause": "the GPU ran out of memory", "failures": 2, "tries": 5}


def test_the_last_failure_is_told_with_its_number() -> None:
    def left(entry: dict[str, Any], at: str) -> dict[str, Any]:
        return {"lastState": {"terminated": {"finishedAt": at, "message": "multinode " + json.dumps(entry)}}}

    head = pod("h", "head", **left(ENDED, "2026-01-01T00:00:09Z"))
    gone = {"phase": "ray", "state": "ended", "cause": "rank 0 is gone"}
    observed = Observation(CLUSTER, [head, pod("w", **left(gone, "2026-01-01T00:00:10Z"))], NODES)
    assert judge(observed, 2, 1).last_failure == "restart 2 of 5: the GPU ran out of memory"
    head["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert judge(observed, 2, 1).last_failure is None


def test_the_token_step_says_what_the_last_try_got() -> None:
    progress = {"h": {"token": {"phase": "token", "state": "running", "cause": "answered with 500"}}}
    observed = Observation(CLUSTER, [pod("h", "head")], NODES, progress)
    assert steps(observed)["token"] == "no completion yet: answered with 500"


def test_a_worker_that_cannot_resolve_the_heads_name_is_told() -> None:
    trouble = "waiting for the head: [Errno -3] Temporary failure in name resolution"
    progress = {"w": {"ray": {"phase": "ray", "state": "waiting", "step": trouble}}}
    observed = Observation(CLUSTER, [pod("h", "head"), pod("w")], NODES, progress)
    assert steps(observed)["ray"].endswith(f"; pod w is {trouble}; see the cluster's DNS")


def test_what_serves_with_something_amiss_is_warned_of() -> None:
    progress = {"h": {"ray": {"phase": "ray", "state": "done", "warning": "the dashboard has not answered"}}}
    [fault] = judge(Observation(CLUSTER, [pod("h", "head")], NODES, progress), 2, 1).warnings
    assert fault.line() == "pod h: the dashboard has not answered"


def test_a_claim_that_is_not_bound_is_told_in_the_provisioners_words() -> None:
    waiting = pod("w", state={"waiting": {"reason": "ContainerCreating"}})
    waiting["spec"] = {"volumes": [{"persistentVolumeClaim": {"claimName": "model-w"}}, {"emptyDir": {}}]}
    event = {"involvedObject": {"name": "model-w"}, "reason": "ProvisioningFailed", "message": "no such class"}
    observed = Observation(CLUSTER, [waiting], NODES, warnings=[event])
    assert steps(observed)["pods"].endswith("; volume claim model-w: no such class")


UNSEEN = {"metadata": {"name": "d", "generation": 2}, "status": {}}


@pytest.mark.parametrize("count", [1, 3])
def test_an_operator_that_ends_again_and_again_is_named_with_its_last_words(count: int) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    operator = pod("op", restartCount=count, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    observed = Observation(UNSEEN, [], NODES, operator=[operator], operator_words="E1130 leader election lost\n")
    trouble = f"its pod op has ended {count} times (exit code 1, Error); its last words: E1130 leader election lost"
    assert trouble in steps(observed)["pods"]
    failure = judge(observed, 2, 1).failure
    assert (failure is not None and failure.code == "operator") is (count == 3)
    assert judge(Observation(CLUSTER, [], NODES, operator=[operator]), 2, 1).failure is None


def test_an_operator_without_a_node_is_told_and_waited_for() -> None:
    event = {"involvedObject": {"name": "op"}, "reason": "FailedScheduling", "message": "0/2 nodes are available"}
    observed = Observation(UNSEEN, [], NODES, operator=[pod("op")], warnings=[event])
    assert "its pod op is not scheduled: 0/2 nodes are available" in steps(observed)["pods"]
    assert judge(observed, 2, 1).failure is None


def test_an_operator_without_a_node_has_a_bound_once_no_node_is_awaited() -> None:
    operator = pod("op")
    operator["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}]}
    stuck, bound = Observation(UNSEEN, [], NODES, operator=[operator]), OperatorBound()
    assert "its pod op is not scheduled: Insufficient cpu" in steps(stuck)["pods"]
    assert [bound.failure(stuck, False, now) for now in (0.0, 900.0)] == [None, None], "a node may still join"
    assert [bound.failure(stuck, True, now) for now in (900.0, 1199.0)] == [None, None]
    fault = bound.failure(stuck, True, 1200.0)
    assert fault is not None and fault.code == "operator" and "Insufficient cpu" in fault.found
    placed = {**operator, "spec": {"nodeName": "a"}}
    assert bound.failure(Observation(UNSEEN, [], NODES, operator=[placed]), True, 1300.0) is None
    assert bound.failure(stuck, True, 1301.0) is None, "the count begins again"


def test_what_the_engine_measured_is_kept_as_far_as_it_is_numbers() -> None:
    said = {"weights_gib": 16.5, "cache_gib": "much", "cache_tokens": True, "concurrency": float("nan"), "other": 1}
    observed = Observation(CLUSTER, [pod("h", "head")], NODES, {"h": {"engine": {"measured": said}}})
    assert judge(observed, 2, 1).measured == {"weights_gib": 16.5}
    assert (
        judge(Observation(CLUSTER, [pod("h", "head")], NODES, {"h": {"engine": {"measured": 5}}}), 2, 1).measured == {}
    )
