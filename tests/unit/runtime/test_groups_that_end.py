# SPDX-License-Identifier: GPL-3.0-or-later
"""Every end is told with its cause and counted: bounds on no progress, faults of the programs, kills from outside."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import group_formation
import pytest
import worker as worker_file
from group_file import load
from group_formation import Formation
from pod_progress import Failure

from tests.unit.runtime.pods import MakeGroup, Pod, until

# What an exception says may be secret; the lines of the program are not.
FAULT = "raise KeyError('a-' + 'secret')"


def ended(pod: Pod, seconds: float = 20) -> tuple[str, str, str]:
    """Wait for the container's end: phase, state and cause of its message, which is counted as well."""
    assert pod.wait(seconds) == 1
    message = pod.message()
    assert [entry["cause"] for entry in pod.failures()][-1:] == [message["cause"]]
    return message["phase"], message["state"], message["cause"]


@pytest.mark.processes
def test_a_ray_that_never_answers_is_ended(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.change("group_formation.py", "SILENCE_SECONDS", 3.0)
    (group.folder / "mute").touch()
    group.start()
    phase, state, cause = ended(group.head)
    assert (phase, state) == ("ray", "ended")
    assert cause.startswith("Ray has not said its nodes for 3 s: ConnectionError: ray stand-in: told to be mute")


def test_ray_is_given_its_time_from_the_first_look_on(clock: list[float]) -> None:
    """The head may have given up long before, and go on with a new URL."""

    def refuse() -> None:
        raise ConnectionError("refused")

    group: Any = SimpleNamespace()
    cluster: Any = SimpleNamespace(nodes=refuse)
    found = Formation(group, cluster)
    clock[0] += 2 * group_formation.SILENCE_SECONDS
    found.look()
    assert "does not say its nodes yet: refused" in str(found.waiting_for)
    clock[0] += group_formation.SILENCE_SECONDS + 1
    with pytest.raises(Failure, match="has not said its nodes for 900 s"):
        found.look()


@pytest.mark.processes
def test_a_start_that_repeats_itself_is_ended(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.change("engine_process.py", "SILENCE_SECONDS", 2.0)
    group.behave(loading=60, meanwhile="INFO No available shared memory broadcast block found in {} seconds.")
    group.start()
    phase, state, cause = ended(group.head)
    assert (phase, state) == ("engine", "ended")
    assert cause.startswith("the engine has said nothing new for 2 s while it starts; its last line: INFO No available")


def ended_while_probed(pod: Pod) -> tuple[str, str, str]:
    """As `ended`, of a head whose readiness probe runs again and again."""
    until(lambda: pod.probe() and pod.ended(), 20, "ended")
    return ended(pod)


@pytest.mark.processes
def test_an_engine_that_fails_every_completion_is_ended(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.change("head.py", "TOKEN_SECONDS", 2.0)
    group.behave(completion=500)
    group.start()
    phase, state, cause = ended_while_probed(group.head)
    assert (phase, state) == ("token", "ended")
    assert cause.startswith("no completion came back for 2 s though /health says 200: the completion was answered")


@pytest.mark.processes
def test_an_engine_that_is_never_healthy_is_ended(make_group: MakeGroup) -> None:
    """The readiness probe looks, and asks for no completion."""
    group = make_group([])
    group.head.change("head.py", "TOKEN_SECONDS", 2.0)
    group.behave(health=503)
    group.start()
    phase, state, cause = ended_while_probed(group.head)
    assert (phase, state) == ("token", "ended")
    assert cause.startswith("no completion came back: the readiness probe has left nothing for")
    assert cause.endswith("asked without it: /health answered 503")


@pytest.mark.processes
def test_one_that_is_not_probed_serves_and_is_ended_where_it_does_no_more(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.change("head.py", "TOKEN_SECONDS", 1.0)
    group.head.environment["MULTINODE_HANG_SECONDS"] = "2"
    group.start()
    until(lambda: group.head.progress("token").get("state") == "done", 20, "served")
    assert "the readiness probe has left nothing" in group.head.log()
    group.behave(health=503)
    phase, state, cause = ended(group.head)
    assert (phase, state) == ("token", "ended")
    assert cause.endswith("asked without it: /health answered 503")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("program", "function", "phase"),
    [
        ("stage_model.py", "Stager.run", "staging"),
        ("engine_options.py", "demanded", "engine"),
        ("pod_inspection.py", "inspect", "ray"),
    ],
)
def test_a_fault_of_the_head_is_told_and_counted(
    make_group: MakeGroup, program: str, function: str, phase: str
) -> None:
    group = make_group([])
    group.head.replace(program, function, FAULT)
    group.start()
    found = ended(group.head)
    assert found[:2] == (phase, "ended")
    assert found[2].startswith(f"the program failed: KeyError in _instead ({program}:")
    if phase == "staging":
        assert "a-secret" not in group.head.log() + (group.head.folder / "failures.json").read_text()
    else:
        assert "a-secret" in found[2]


@pytest.mark.processes
@pytest.mark.parametrize(("program", "function"), [("stage_model.py", "Stager.run"), ("pod_inspection.py", "inspect")])
def test_a_fault_of_a_worker_is_told_and_counted(make_group: MakeGroup, program: str, function: str) -> None:
    group = make_group([0])
    worker = group.workers[0]
    worker.replace(program, function, FAULT)
    worker.start()
    phase, state, cause = ended(worker)
    assert (phase, state) == ("staging" if program == "stage_model.py" else "ray", "ended")
    assert cause.startswith(f"the program failed: KeyError in _instead ({program}:")


def test_a_worker_whose_stager_did_not_finish_has_staged_nothing(
    group_document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_document["staging"]["by_stage"] = False
    path = tmp_path / "group.json"
    path.write_text(json.dumps(group_document))
    head = {"run": None, "state": "forming", "stages": {"127.0.0.2": 1}}
    monkeypatch.setattr(worker_file, "Watch", lambda *_: SimpleNamespace(status=head, lost=None))
    monkeypatch.setattr(worker_file, "STEP_SECONDS", 0.0)
    monkeypatch.setenv("POD_IP", "127.0.0.2")
    worker = worker_file.Worker(load(path), "127.0.0.1")
    worker._step()
    assert worker._status()["staged"] is None
    worker._run_stager(None)
    worker._step()
    assert worker._status()["staged"] == 1


@pytest.mark.processes
def test_kills_from_outside_are_counted_and_an_end_asked_for_is_not(make_group: MakeGroup) -> None:
    group = make_group([0], restart={"limit": 1, "window_minutes": 60})
    for pod in group.pods:
        for _ in range(3):
            pod.start()
            until(lambda pod=pod: (pod.folder / "begun").exists(), 10, "begun")
            pod.terminate()
            assert pod.wait(20) == 0
        assert pod.failures() == []
        for count in range(2):
            pod.start()
            until(
                lambda pod=pod, count=count: (pod.folder / "begun").exists() and len(pod.failures()) == count,
                10,
                "begun",
            )
            pod.kill()
        pod.start()
        until(lambda pod=pod: pod.progress("ray").get("state") == "failed", 10, "given up")
        assert (
            "the same twice before the first token: the container was killed from outside: out of memory"
            in pod.progress("ray")["cause"]
        )


@pytest.mark.processes
def test_a_group_whose_worker_was_told_of_a_token_counts_anew(make_group: MakeGroup) -> None:
    group = make_group([0])
    group.start()
    group.served()
    for pod in group.pods:
        noted = until(lambda pod=pod: (pod.folder / "failures.json").exists(), 10, "noted") and pod.folder
        assert json.loads((noted / "failures.json").read_text())["served"]


@pytest.mark.processes
def test_what_was_compiled_is_kept_until_two_tries_gave_no_token(make_group: MakeGroup) -> None:
    group = make_group([0])
    compiled = [pod.folder / "cache" / "compiled" for pod in group.pods]
    for path in compiled:
        path.parent.mkdir(parents=True)
        path.touch()
    for code in (1, 3):
        group.behave(exit=code)
        group.start()
        for pod in group.pods:
            pod.wait(30)
        assert all(path.exists() for path in compiled)
    group.start()
    group.served()
    assert not any(path.exists() for path in compiled)


@pytest.mark.processes
@pytest.mark.parametrize("role", ["head", "worker"])
def test_a_pod_that_cannot_record_its_failure_gives_up_at_once(make_group: MakeGroup, role: str) -> None:
    """The next start of its container would count from nothing, and try for ever."""
    group = make_group([0])
    pod = group.head if role == "head" else group.workers[0]
    (pod.folder / ".failures.json.new").mkdir()
    (group.folder / "broken").touch()
    pod.replace("pod_inspection.py", "inspect", FAULT)
    pod.start()
    until(lambda: pod.progress("ray").get("state") == "failed", 20, "given up: " + pod.log())
    said = pod.progress("ray")["cause"]
    assert "the program failed: KeyError" in said and "failures cannot be counted" in said
    assert pod.message()["cause"].startswith("the program failed: KeyError")
    assert not pod.ended()


@pytest.mark.processes
def test_a_pod_that_cannot_note_its_try_makes_none(make_group: MakeGroup) -> None:
    group = make_group([])
    (group.head.folder / "begun").symlink_to(group.head.folder / "nowhere" / "begun")
    group.start()
    until(lambda: group.head.progress("ray").get("state") == "failed", 20, "given up: " + group.head.log())
    assert "a pod that cannot count its failures does not try" in group.head.progress("ray")["cause"]
    assert not group.head.progress("engine") and not group.head.ended()
