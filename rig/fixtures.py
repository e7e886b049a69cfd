# SPDX-License-Identifier: GPL-3.0-or-later
"""One rig for the whole session, and a tenancy for each test that asks for one.

The rig is the one of RIG_DIR (else `.rig`). One that is up already is used and left up; else it is started by the first test
that needs it, and ended with the session. Where pytest-xdist runs the session in several processes, each but the first has a
rig of its own beside it: a test may take its cluster for its own.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from rig import access
from rig.configuration import REPOSITORY, Rig, rig_directory

FIRST_WORKER = "gw0"
if (worker := os.environ.get("PYTEST_XDIST_WORKER", FIRST_WORKER)) != FIRST_WORKER:
    os.environ["RIG_DIR"] = f"{rig_directory()}-{worker}"

STARTED_BY_TESTS = "started-by-tests"
# Files whose tests start real Ray: two such groups at once would starve two cores.
REAL_RAY = ("test_deploy.py", "test_healing.py", "test_real_vllm.py", "test_vllm.py")


@dataclasses.dataclass(frozen=True)
class RunningRig:
    """A rig that is up."""

    directory: Path
    json: dict[str, Any]
    control: str
    kubeconfig: Path
    configuration: Rig

    def steer(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request to the control address; the decoded answer. urllib's HTTPError where it is refused."""
        return access.steer(self.control, method, path, body)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The standard output of kubectl as the cluster's administrator; fails the test with its errors."""
        command = [str(self.directory / "bin" / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        if result.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def environment(self) -> dict[str, str]:
        """This process's environment with what `env` of the rig sets."""
        return access.environment(self.directory)


@dataclasses.dataclass(frozen=True)
class Tenancy:
    """A compartment and a cluster of a test's own, on the rig's one API server; `json` is the control address's answer."""

    compartment_id: str
    oke_cluster_id: str
    settings: dict[str, Any]
    json: dict[str, Any]


def rig_command(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m rig COMMAND` for the rig in `directory`."""
    return subprocess.run(
        [sys.executable, "-m", "rig", command],
        cwd=REPOSITORY,
        env=os.environ | {"RIG_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def rig() -> RunningRig:
    """The session's rig, up."""
    directory = rig_directory()
    was_up = (directory / "env").exists()
    result = rig_command("up", directory)
    if result.returncode:
        pytest.fail(f"the rig did not come up:\n{result.stdout}{result.stderr}", pytrace=False)
    if not was_up:
        (directory / STARTED_BY_TESTS).write_text(leader())
    configuration = Rig.load(directory)
    return RunningRig(
        directory=directory,
        json=configuration.as_json(),
        control=configuration.oci.control,
        kubeconfig=configuration.kubernetes.kubeconfig,
        configuration=configuration,
    )


@pytest.fixture
def tenancy(rig: RunningRig) -> Tenancy:
    """A tenancy of the test's own."""
    answer = rig.steer("POST", "/tenancies", {})
    return Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)


def leader() -> str:
    """The process that leads this session: pytest-xdist starts its workers as children."""
    return str(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())


def together(nodeid: str) -> str:
    """What a test runs together with, on one worker of pytest-xdist: its file's others, or all of those that start real Ray."""
    file = nodeid.partition("::")[0]
    return "real Ray" if Path(file).name in REAL_RAY else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: those on real Ray, so that the other worker has the rest to choose from."""
    items.sort(key=lambda item: together(item.nodeid) != "real Ray")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Hand out tests by `together`, where no other way was asked for."""
    if config.getoption("dist") != "load":
        return None

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    return Scheduling(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the rigs that this session's tests started: each worker its own, and the process that leads what one that died left."""
    directory = rig_directory()
    leads = "PYTEST_XDIST_WORKER" not in os.environ
    for rig in (directory, *(directory.parent.glob(f"{directory.name}-gw*") if leads else ())):
        started = rig / STARTED_BY_TESTS
        if not started.exists() or started.read_text() != leader():
            continue  # none, up before, or that of another session in this checkout
        result = rig_command("down", rig)
        if result.returncode:
            print(f"\nthe rig did not end:\n{result.stdout}{result.stderr}", file=sys.stderr)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        else:
            rig.rmdir()
