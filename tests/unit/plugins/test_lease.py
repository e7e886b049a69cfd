# SPDX-License-Identifier: GPL-3.0-or-later
"""A run waits for the one that holds the Lease, takes over from a dead one, and notices that it lost its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.lease import DURATION, Lease, holder_of
from ansible_collections.multinode.inference.plugins.plugin_utils.lease import acquire as acquiring
from ansible_collections.multinode.inference.plugins.plugin_utils.lease.acquire import (
    acquire,
    identity_of,
    may_live,
    process,
    record_of_run,
)
from ansible_collections.multinode.inference.plugins.plugin_utils.lease.hold import AWAY_PAUSES, FRESH_SECONDS, Hold
from tests.unit.kube.leases import Leases
from tests.waiting import wait

RECORD = {"user": "bob", "host": "ws2", "playbook": "undeploy"}


def lease_of(server: Leases, identity: str) -> Lease:
    kubernetes: Any = server
    return Lease(kubernetes, "llama", "llama", identity)


class Clock:
    """Time that passes by sleeping; `then` is called after each sleep."""

    def __init__(self, then: Callable[[float], None] = lambda now: None) -> None:
        self.now = 1000.0
        self.then = then

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then(self.now)


@pytest.fixture
def server() -> Leases:
    made = Leases()
    holder = lease_of(made, "alice@ws1/1")
    assert holder.take(None, {"user": "alice", "host": "ws1", "playbook": "deploy"})
    return made


def second(server: Leases, clock: Clock, seconds: float, lives: bool = True) -> tuple[str, list[str]]:
    shown: list[str] = []
    version = acquire(
        lease_of(server, "bob@ws2/2"), RECORD, seconds, shown.append, clock, clock.sleep, lambda _process: lives
    )
    return version, shown


def test_a_free_lease_is_taken_as_it_was_read(server: Leases) -> None:
    lease = lease_of(server, "alice@ws1/1")
    lease.release()
    version = (lease.read() or {})["metadata"]["resourceVersion"]
    assert second(server, Clock(), 0) == (version, [])


def test_the_second_run_waits_and_says_for_whom(server: Leases) -> None:
    def end(now: float) -> None:
        if now >= 1070:
            lease_of(server, "alice@ws1/1").release()

    clock = Clock(end)
    _version, shown = second(server, clock, 300)
    assert holder_of(lease_of(server, "").read()) == "bob@ws2/2" and 1070 <= clock.now < 1075
    assert len(shown) == 3 and "alice@ws1 (deploy) since" in shown[0]


@pytest.mark.parametrize("seconds", [0, 60])
def test_it_ends_with_the_holder_named_when_it_waited_enough(server: Leases, seconds: float) -> None:
    clock = Clock(lambda now: lease_of(server, "alice@ws1/1").renew())
    with pytest.raises(Refused) as refused:
        second(server, clock, seconds)
    (fault,) = refused.value.faults
    assert fault.code == "lease_held" and "alice@ws1 (deploy) since" in fault.found
    assert clock.now == 1000 + seconds


def test_a_holder_that_renews_is_never_overtaken_whatever_its_clock_says(server: Leases) -> None:
    """renewTime is the holder's word: a time of another year is a renewal as any other."""
    path = next(iter(server.items))

    def renew(now: float) -> None:
        if now % 100 == 0:
            server.items[path]["spec"]["renewTime"] = f"19{int(now) % 90 + 10}-01-01T00:00:00.000000Z"

    with pytest.raises(Refused):
        second(server, Clock(renew), 900)


@pytest.mark.parametrize("renewed", ["2999-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000000Z", None])
def test_one_that_does_not_renew_is_overtaken_after_the_lease_whatever_its_clock_said(
    server: Leases, renewed: str | None
) -> None:
    path = next(iter(server.items))
    server.items[path]["spec"]["renewTime"] = renewed
    clock = Clock()
    second(server, clock, 300)
    assert DURATION <= clock.now - 1000 < DURATION + 5


def test_one_that_is_dead_on_this_machine_is_overtaken_at_once(server: Leases) -> None:
    clock = Clock()
    second(server, clock, 0, lives=False)
    assert clock.now == 1000


def test_a_process_is_known_by_more_than_its_number() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        named = process(child.pid)
        assert named and may_live(named) and may_live(process(os.getpid()))
        child.kill()
        wait("a zombie", lambda: not may_live(named), 10)
    assert not may_live(named)
    boot, space, pid, began = process(os.getpid()).split()
    assert not may_live(f"{boot} {space} {pid} {int(began) + 1}")
    # Of another machine, another container, or nothing that is known: it may live.
    for other in (f"x {space} {pid} 1", f"{boot} pid:[1] {pid} 1", "", "nonsense", f"{boot} {space} x 1"):
        assert may_live(other), other


def test_another_users_process_behind_a_hidden_proc_may_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """/proc mounted with hidepid shows a user their own processes only; kill(2) tells that there is one."""

    def not_permitted(*_arguments: int) -> None:
        raise PermissionError

    with subprocess.Popen(["sleep", "60"]) as child:
        named = process(child.pid)
        monkeypatch.setattr(acquiring.os, "kill", not_permitted)
        monkeypatch.setattr(acquiring, "_start", lambda pid: (tmp_path / "hidden").read_text())
        assert may_live(named) is True
        monkeypatch.undo()
        child.kill()


def test_where_the_system_does_not_tell_everybody_may_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    named = process(os.getpid())
    monkeypatch.setattr(acquiring, "_PROC", tmp_path)
    assert process(os.getpid()) == "" and may_live(named)


def test_a_run_says_its_user_and_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOB_ID", raising=False)
    record = record_of_run({"tower_job_id": 17, "awx_user_name": "carol"}, "deploy")
    assert (record["user"], record["job"], record["playbook"]) == ("carol", "17", "deploy")
    assert "job" not in record_of_run({}, "deploy")
    assert identity_of(record) != identity_of(record) and identity_of(record).startswith("carol@")


def unknown_user() -> str:
    raise KeyError("getpwuid(): uid not found: 12345")


def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquiring.getpass, "getuser", unknown_user)
    assert record_of_run({}, "")["user"] == str(os.getuid())


def hold_of(server: Leases, removal: bool = False, **options: Any) -> Hold:
    return Hold(lambda: lease_of(server, "alice@ws1/1"), removal, **options)


def test_a_task_that_writes_nothing_and_ends_soon_asks_nothing(server: Leases) -> None:
    server.requests = []
    with hold_of(server):
        pass
    assert server.requests == []


def test_writes_one_after_the_other_look_once(server: Leases) -> None:
    server.requests, clock = [], Clock()
    with hold_of(server, clock=clock) as hold:
        hold.check()
        hold.check()
        assert server.requests == ["PATCH"]
        clock.now += FRESH_SECONDS + 1
        hold.check()
    assert server.requests == ["PATCH"] * 2


def test_a_long_task_renews_until_its_end(server: Leases) -> None:
    server.requests = []
    with hold_of(server, renew_seconds=0.02):
        wait("renewals", lambda: len(server.requests) >= 3, 10)
    time.sleep(0.1)
    asked = len(server.requests)
    time.sleep(0.1)
    assert len(server.requests) == asked


def take_over(server: Leases) -> None:
    other = lease_of(server, "bob@ws2/2")
    assert other.take(other.read(), RECORD)


def test_nothing_is_written_once_another_run_took_over(server: Leases) -> None:
    with pytest.raises(Refused) as refused, hold_of(server) as hold:
        take_over(server)
        hold.check()
    (fault,) = refused.value.faults
    assert fault.code == "lease_lost" and "bob@ws2 (undeploy)" in fault.found


def test_a_task_that_lost_it_while_it_waited_fails_at_its_end(server: Leases) -> None:
    def lost(hold: Hold) -> bool:
        try:
            hold.refuse_lost()
        except Refused:
            return True
        return False

    with pytest.raises(Refused), hold_of(server, renew_seconds=0.02) as hold:
        take_over(server)
        wait("the loss", lambda: lost(hold), 10)


@pytest.mark.parametrize("code", ["kubernetes", "unreachable"])
def test_an_api_server_that_is_away_loses_nothing(server: Leases, code: str) -> None:
    server.fault = Fault(code, "Kubernetes API", "503")
    with hold_of(server, renew_seconds=0.02, sleep=lambda _seconds: None) as hold:
        wait("tries", lambda: len(server.requests) >= 5, 10)
        with pytest.raises(Refused):
            # What cannot be checked is not written.
            hold.check()
        server.fault = None
        hold.check()


def test_a_write_waits_for_an_api_server_that_is_busy_for_a_moment(server: Leases) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            server.fault = None

    server.fault = Fault("kubernetes", "Kubernetes API", "503")
    with hold_of(server, sleep=sleep) as hold:
        hold.check()
    assert slept == list(AWAY_PAUSES[:3])


def test_who_may_no_longer_renew_it_has_lost_it(server: Leases) -> None:
    server.fault = Fault("forbidden", "kubeconfig", "403")
    with pytest.raises(Refused), hold_of(server, renew_seconds=0.02) as hold:
        wait("a try", lambda: hold._lost, 10)


def test_a_removal_goes_on_without_its_lease_but_not_against_another_run(server: Leases) -> None:
    with hold_of(server, removal=True) as hold:
        server.fault = Fault("unreachable", "Kubernetes API", "no answer")
        hold.check()
    server.fault = None
    server.items.clear()
    with hold_of(server, removal=True) as hold:
        hold.check()
    take_over(server)
    with pytest.raises(Refused), hold_of(server, removal=True) as hold:
        hold.check()
