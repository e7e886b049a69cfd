# SPDX-License-Identifier: GPL-3.0-or-later
"""How actions and modules end: what nothing was written for is told by kind and place, and arguments stay off the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run
from ansible_collections.multinode.inference.plugins.plugin_utils.action import Action, Registered
from tests.tools.setup import REPOSITORY
from tests.waiting import wait


class Given(Action):
    """An action on a stand-in of a task; `error` is what its work raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.options: dict[str, Any] = {}
        self.shown: list[str] = []
        self._task = SimpleNamespace(args={"a": 1}, check_mode=False)
        self._loader = None
        self._connection = SimpleNamespace(set_option=self.options.__setitem__)
        self._display = SimpleNamespace(display=lambda text, **_options: self.shown.append(text))

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"changed": False}

    def _execute_module(self, **_given: Any) -> dict[str, Any]:
        assert self.options == {"pipelining": True}, "in a file the arguments would outlive a run that is killed"
        return {"changed": True, "invocation": {"module_args": "canary"}}


@pytest.fixture(autouse=True)
def without_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(Action, "_results", lambda *_arguments: {}, raising=False)


def test_an_error_that_nothing_was_written_for_is_told_without_its_words() -> None:
    result = Given(ValueError("Invalid header value b'Bearer canary'")).run(task_vars={})
    (fault,) = result["faults"]
    assert result["failed"] and fault["code"] == "unexpected"
    assert "ValueError at test_action.py:" in fault["found"] and "canary" not in str(result)


def test_modules_come_over_standard_input() -> None:
    assert Given().run_module("any", {"token": "canary", "unset": None}, {}) == {"changed": True}


def test_what_is_shown_moves_no_cursor() -> None:
    action = Given()
    action.show("a\x1b[2Jb\nc")
    assert action.shown == ["a?[2Jb\nc"]


def test_a_module_ends_without_the_words_of_an_error() -> None:
    ended: list[dict[str, Any]] = []

    def fail_json(**result: Any) -> None:
        ended.append(result)
        raise SystemExit

    module: Any = SimpleNamespace(fail_json=fail_json)
    for error in (KeyError("canary"), Refused([]), RecursionError("canary")):

        def body(_module: Any, error: Exception = error) -> dict[str, Any]:
            raise error

        with pytest.raises(SystemExit):
            run(module, body)
    assert "canary" not in str(ended) and [len(result["faults"]) for result in ended] == [1, 0, 1]


def test_the_result_of_a_task_that_was_left_out_is_asked_for_in_words() -> None:
    registered = Registered({"recipe": {"name": "llama"}})
    assert registered["recipe"] and registered.get("preflight") is None
    with pytest.raises(Refused) as refused:
        registered["preflight"]["plan"]
    (fault,) = refused.value.faults
    assert (fault.code, fault.where) == ("task_left_out", "preflight_result") and "--start-at-task" in fault.remedy


@pytest.mark.parametrize(("settings", "expected"), [({}, None), ({"kubernetes_strict_tls": False}, "0")])
def test_modules_check_certificates_as_strictly_as_the_setting_says(
    settings: dict[str, Any], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what Python runs before a module; the library of the modules of kubernetes.core takes that for its default."""
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    action = Given()
    action._task.environment = [{"A": "b"}]
    action.registered = {}
    action.reach({"kubeconfig": "/a/config", **settings})
    variables = {name: value for entry in action._task.environment for name, value in entry.items()}
    assert variables["A"] == "b"
    if expected is None:
        assert "PYTHONPATH" not in variables
        return
    assert variables["PYTHONPATH"].endswith(f"{os.pathsep}/some/where")
    program = "import ssl; print(int(ssl.VERIFY_X509_STRICT))"
    ran = subprocess.run([sys.executable, "-c", program], env=os.environ | variables, capture_output=True, text=True)
    assert ran.stdout.strip() == expected, ran.stderr


# A playbook whose task runs in a session of its own, as ansible-core has it, and starts a program.
PLAYBOOK = """
import multiprocessing, os, subprocess, time
from tests.tools.collection_finder import install
install()
from ansible_collections.multinode.inference.plugins.plugin_utils.action import end_with_the_playbook

def task(leads):
    if leads:
        os.setsid()
    end_with_the_playbook(os.getpid())
    program = subprocess.Popen(["sleep", "60"])
    print(os.getpid(), program.pid, flush=True)
    time.sleep(60)

worker = multiprocessing.get_context("fork").Process(target=task, args=({leads},))
worker.start()
worker.join()
"""


@pytest.mark.processes
@pytest.mark.parametrize("leads", [True, False])
def test_a_task_ends_with_the_playbook_that_is_killed(leads: bool) -> None:
    command = [sys.executable, "-c", PLAYBOOK.format(leads=leads)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as playbook:
        assert playbook.stdout is not None
        task, program = map(int, playbook.stdout.readline().split())
        playbook.kill()
        playbook.wait()
        wait("the end of the task", lambda: not is_running(task))
        if leads:
            wait("the end of its program", lambda: not is_running(program))
        else:
            # It shares the group of whoever started the playbook.
            os.kill(program, signal.SIGKILL)


def is_running(process: int) -> bool:
    """Whether it is there, and no zombie that waits for its parent."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
