# SPDX-License-Identifier: GPL-3.0-or-later
"""What a driver calls: `ray.init`, actors, `get` and `wait`. The part of Ray's interface that the stand-in for vLLM uses."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

from ray import raylet, wire
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

RETRY_SECONDS = 0.2


class Ref:
    """What will come of a call."""

    def __init__(self) -> None:
        self.future: futures.Future[Any] = futures.Future()

    def fill(self, function: Any, *arguments: Any) -> Ref:
        """Run `function` in a thread of its own; what it returns or raises is the result."""

        def run() -> None:
            try:
                self.future.set_result(function(*arguments))
            except Exception as error:
                self.future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return self


class Connection:
    """This process as a driver of the cluster."""

    def __init__(self, address: str) -> None:
        self.gcs = wire.split(address)
        self.ip = wire.own_address()
        wire.call(self.gcs, "ping")
        calls = {"ping": lambda: None, "log": _print_lines}
        self._server = wire.Server(("0.0.0.0", 0), calls).start()
        self.address: wire.Address = (self.ip, self._server.port)
        self.groups: list[str] = []

    def close(self) -> None:
        """Leave the cluster and give back what was taken."""
        for group in self.groups:
            wire.call(self.gcs, "remove", group)
        self._server.shutdown()
        self._server.server_close()


_connection: Connection | None = None


def _print_lines(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def connection() -> Connection:
    """The connection that `init` made."""
    if _connection is None:
        raise RuntimeError("ray.init() has not been called")
    return _connection


def init(address: str | None = None, log_to_driver: bool = True) -> None:
    """Connect to the cluster at `address`, else at RAY_ADDRESS."""
    global _connection
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        raise ConnectionError("RAY_ADDRESS is not set; the light Ray starts no local cluster")
    try:
        _connection = Connection(address)
    except OSError as error:
        raise ConnectionError(f"Failed to connect to Ray cluster at {address}: {error}") from None


def shutdown() -> None:
    """Leave the cluster."""
    global _connection
    if _connection is not None:
        _connection.close()
    _connection = None


def nodes() -> list[dict[str, Any]]:
    """All nodes of the cluster, the dead ones too."""
    return [
        {
            "NodeID": node["node_id"],
            "Alive": node["state"] == "ALIVE",
            "NodeManagerAddress": node["node_ip"],
            "Resources": node["resources_total"],
        }
        for node in wire.call(connection().gcs, "nodes")
    ]


class RuntimeContext:
    """Where this process runs."""

    def get_node_id(self) -> str:
        """The ID of the node that this process is on."""
        if own := os.environ.get("RAY_NODE_ID"):
            return own
        here = connection().ip
        found = [node["NodeID"] for node in nodes() if node["Alive"] and node["NodeManagerAddress"] == here]
        if not found:
            raise RuntimeError(f"no living node of the cluster has this pod's address {here}")
        return found[-1]


def get_runtime_context() -> RuntimeContext:
    """Where this process runs."""
    return RuntimeContext()


@dataclasses.dataclass
class Actor:
    """A handle: each public method of the actor's class has `.remote(...)`."""

    label: str
    pid: int
    raylet: wire.Address
    address: wire.Address

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_"):
            raise AttributeError(name)
        return Method(self, name)


@dataclasses.dataclass
class Method:
    """A method of an actor on another process."""

    actor: Actor
    name: str

    def remote(self, *arguments: Any) -> Ref:
        """Call it; a Ref among the arguments is waited for."""
        return Ref().fill(self._call, arguments)

    def _call(self, arguments: tuple[Any, ...]) -> Any:
        given = [one.future.result() if isinstance(one, Ref) else one for one in arguments]
        actor = self.actor
        try:
            return wire.call(actor.address, self.name, *given, seconds=None)
        except OSError:
            raise RayActorError(
                f"The actor died unexpectedly before finishing this task.\n\tclass_name: {actor.label}\n\tpid: {actor.pid}"
            ) from None
        except RayTaskError as error:
            where = f"ray::{actor.label}.{self.name}() (pid={actor.pid}, ip={actor.address[0]})"
            raise type(error)(f"{where}\n{error}") from None


@dataclasses.dataclass
class ActorClass:
    """A class whose instances are actors."""

    kind: type
    given: dict[str, Any] = dataclasses.field(default_factory=dict)

    def options(self, **given: Any) -> ActorClass:
        """The same class with options; of these the scheduling strategy says where an actor goes."""
        return ActorClass(self.kind, {**self.given, **given})

    def remote(self, *arguments: Any) -> Actor:
        """Make an actor."""
        strategy = self.given["scheduling_strategy"]
        node_id = strategy.placement_group.nodes[strategy.placement_group_bundle_index]
        found = connection()
        where = {node["node_id"]: node["raylet"] for node in wire.call(found.gcs, "nodes")}[node_id]
        label = self.kind.__name__
        made = wire.call(where, "start_actor", raylet.specify(self.kind, arguments), label, found.address, seconds=None)
        return Actor(label, made[0], where, made[1])


def remote(kind: type) -> ActorClass:
    """The class as one of actors."""
    return ActorClass(kind)


def kill(actor: Actor) -> None:
    """End an actor; one that is gone already is no error."""
    try:
        wire.call(actor.raylet, "kill_actor", actor.pid)
    except OSError:
        return


def get(refs: Ref | Sequence[Ref], timeout: float | None = None) -> Any:
    """The result, or the results in their order; GetTimeoutError after `timeout` seconds."""
    single = isinstance(refs, Ref)
    wanted = [refs] if single else list(refs)
    end = None if timeout is None else time.monotonic() + timeout
    results = []
    for ref in wanted:
        try:
            results.append(ref.future.result(None if end is None else max(end - time.monotonic(), 0)))
        except futures.TimeoutError:
            if ref.future.done():
                raise
            raise GetTimeoutError(f"Get timed out: some object(s) not ready within {timeout} s.") from None
    return results[0] if single else results


def wait(refs: list[Ref], num_returns: int = 1, timeout: float | None = None) -> tuple[list[Ref], list[Ref]]:
    """Those that are done, at most `num_returns`, and the others."""
    assert num_returns == 1, "the light Ray waits for one"
    futures.wait([ref.future for ref in refs], timeout, futures.FIRST_COMPLETED)
    done = [ref for ref in refs if ref.future.done()][:num_returns]
    return done, [ref for ref in refs if ref not in done]


class PlacementGroup:
    """GPUs that are kept for this driver, once there are enough."""

    def __init__(self, bundles: list[dict[str, float]]) -> None:
        self._bundles = bundles
        self._removed = False
        self.identifier: str | None = None
        self.nodes: dict[int, str] = {}

    def ready(self) -> Ref:
        """Done when every bundle has its place."""
        return Ref().fill(self._take)

    def remove(self) -> None:
        """Give it back, or ask no longer."""
        self._removed = True
        if self.identifier:
            wire.call(connection().gcs, "remove", self.identifier)

    def _take(self) -> None:
        found = connection()
        while not self._removed:
            if placed := wire.call(found.gcs, "place", self._bundles, found.address):
                self.identifier, self.nodes = placed
                found.groups.append(placed[0])
                return
            time.sleep(RETRY_SECONDS)
