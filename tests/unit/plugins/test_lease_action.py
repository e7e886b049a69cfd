# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run takes the Lease of a deployment, when it need not, and what is left of it at the end."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action import lease as action
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.names import common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube.lease import Lease, holder_of
from ansible_collections.multinode.inference.plugins.plugin_utils.lease.acquire import acquire
from tests.unit.core.plans import plan
from tests.unit.kube.leases import Leases

PATH = "/apis/coordination.k8s.io/v1/namespaces/{0}/leases/{0}"
RAYCLUSTERS = "/apis/ray.io/v1/rayclusters"


class Cluster(Leases):
    """Leases, the namespaces, and which objects of the deployment there are."""

    def __init__(self, name: str, namespaces: tuple[str, ...] = (), objects: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.objects = objects
        self.namespaces = {one: {"metadata": {"name": one, "labels": common_labels(name)}} for one in namespaces}

    def get(self, path: str) -> Any:
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            return self.namespaces.get(path.rpartition("/")[2])
        return super().get(path)

    def list(self, path: str, **_query: str) -> list[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        metadata = {"name": self.name, "namespace": self.name, "uid": kind, "labels": common_labels(self.name)}
        return [{"metadata": metadata, "spec": {}}] if kind in self.objects else []


class Run(action.ActionModule):
    """The action of one run on such a cluster."""

    def __init__(self, cluster: Cluster, check: bool = False, fault: Fault | None = None, **settings: Any) -> None:
        self.kubernetes: Any = cluster
        self.fault = fault
        given = {"namespace": None, "lease_wait_seconds": 0, **settings}
        self.registered = {"recipe": {"settings": given}}
        self.written: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self._task = SimpleNamespace(check_mode=check)
        self._loader = None

    def reach(self, settings: Any) -> Any:
        def connect() -> Any:
            if self.fault:
                raise Refused([self.fault])
            return SimpleNamespace(
                get=self.kubernetes.get,
                create=self.kubernetes.create,
                edit=self.kubernetes.edit,
                delete=self.kubernetes.delete,
                items=self.kubernetes.list,
                metadata=self.kubernetes.list,
            )

        return SimpleNamespace(connect=connect)

    def show(self, text: str, **_options: Any) -> None:
        self.shown.append(text)

    def write(self, objects: list[dict[str, Any]], task_vars: Any, **options: Any) -> dict[str, Any]:
        self.written += [(options["state"], item["metadata"]["name"]) for item in objects]
        return {"results": []}

    def take(self, **arguments: Any) -> dict[str, Any]:
        result = self.act(arguments, {})
        self.registered["lease"] = result
        return result


@pytest.fixture(autouse=True)
def no_extra_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "given_variables", lambda _loader: {})


@pytest.fixture
def made() -> Any:
    return plan()


@pytest.fixture
def name(made: Any) -> str:
    return str(made["deployment"]["name"])


def test_a_first_deploy_makes_the_namespace_and_releases_the_lease_at_its_end(made: Any, name: str) -> None:
    cluster = Cluster(name)
    run = Run(cluster)
    result = run.take(plan=made, seen="", playbook="deploy")
    assert run.written == [("present", name)] and not result["plan_again"] and not result["changed"]
    assert holder_of(cluster.items[PATH.format(name)]) == result["lease"]["identity"]
    run.act({"state": "absent"}, {})
    assert holder_of(cluster.items[PATH.format(name)]) == ""


def test_what_another_run_may_have_changed_is_planned_again(made: Any, name: str) -> None:
    cluster = Cluster(name, (name,))
    kubernetes: Any = cluster
    Lease(kubernetes, name, name, "other/1").take(None, {})
    seen = cluster.items[PATH.format(name)]["metadata"]["resourceVersion"]
    Lease(kubernetes, name, name, "other/1").release()
    assert Run(cluster).take(plan=made, seen=seen)["plan_again"]
    assert Run(Cluster(name, (name,))).take(plan=made, seen="")["plan_again"] is False


def test_another_holder_ends_the_run_and_keeps_its_lease(made: Any, name: str) -> None:
    cluster = Cluster(name, (name,))
    kubernetes: Any = cluster
    Lease(kubernetes, name, name, "other/1").take(None, {"user": "bob", "host": "ws2"})
    run = Run(cluster)
    with pytest.raises(Refused) as refused:
        run.take(plan=made, seen="")
    assert [fault.code for fault in refused.value.faults] == ["lease_held"]
    run.registered["ansible_failed"] = {}
    run.act({"state": "absent"}, {})
    assert holder_of(cluster.items[PATH.format(name)]) == "other/1"


def test_check_mode_takes_none(made: Any, name: str) -> None:
    cluster = Cluster(name)
    run = Run(cluster, check=True)
    assert run.take(plan=made)["lease"] == {}
    run.act({"state": "absent"}, {})
    assert not cluster.items and not cluster.requests and not run.written


def test_a_name_that_is_not_there_gets_no_lease_in_a_namespace_that_may_be_anybodys(name: str) -> None:
    cluster = Cluster(name, (name,))
    result = Run(cluster).take(name=name, removal=True)
    assert result["lease"]["removal"] and not cluster.items


def test_one_that_stands_without_a_lease_gets_one(name: str) -> None:
    cluster = Cluster(name, (name,), objects=("rayclusters",))
    run = Run(cluster)
    run.take(name=name, playbook="pause")
    assert holder_of(cluster.items[PATH.format(name)])


@pytest.mark.parametrize("code", ["unreachable", "kubernetes", "forbidden"])
def test_a_removal_goes_on_where_a_lease_cannot_be_had(name: str, code: str) -> None:
    fault = Fault(code, "Kubernetes API", "no")
    run = Run(Cluster(name), fault=fault)
    assert run.take(name=name, removal=True)["lease"] == {} and len(run.shown) == 1
    with pytest.raises(Refused):
        Run(Cluster(name), fault=fault).take(name=name)


def test_a_namespace_that_is_being_deleted_is_waited_for_and_made_again(
    made: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(name, (name,))
    cluster.namespaces[name]["metadata"]["deletionTimestamp"] = "2026-11-30T20:00:00Z"
    with pytest.raises(Refused) as refused:
        Run(cluster).take(plan=made, seen="")
    assert [fault.code for fault in refused.value.faults] == ["namespace_terminating"] and not cluster.items

    at_once = functools.partial(acquire, sleep=lambda _seconds: cluster.namespaces.clear())
    monkeypatch.setattr(action, "acquire", at_once)
    run = Run(cluster, lease_wait_seconds=60)
    run.take(plan=made, seen="")
    assert run.written == [("present", name)] and holder_of(cluster.items[PATH.format(name)])
    assert "it is being deleted; waiting " in run.shown[0]


def test_who_lost_the_lease_leaves_the_next_runs_namespace(made: Any, name: str) -> None:
    cluster = Cluster(name, (name,))
    run = Run(cluster)
    run.take(plan=made, seen="")
    kubernetes: Any = cluster
    other = Lease(kubernetes, name, name, "other/1")
    assert other.take(other.read(), {})
    run.registered["ansible_failed"] = {"msg": "the Lease is lost"}
    run.act({"state": "absent"}, {})
    assert not run.written and holder_of(cluster.items[PATH.format(name)]) == "other/1"


def test_a_deploy_that_failed_before_it_made_anything_leaves_no_namespace(made: Any, name: str) -> None:
    cluster = Cluster(name, (name,))
    run = Run(cluster)
    run.take(plan=made, seen="")
    run.registered["ansible_failed"] = {"msg": "the node pool was refused"}
    run.act({"state": "absent"}, {})
    assert run.written == [("absent", name)]


@pytest.mark.parametrize(("objects", "left"), [((), False), (("services",), True)])
def test_undeploy_takes_the_lease_of_a_given_namespace_with_the_last_object(
    name: str, objects: tuple[str, ...], left: bool
) -> None:
    cluster = Cluster(name, (name,), objects=("rayclusters",))
    run = Run(cluster, namespace=name)
    run.take(name=name, removal=True)
    cluster.objects = objects
    run.act({"state": "absent"}, {})
    assert (PATH.format(name) in cluster.items) is left
    assert not run.written


def test_an_api_server_that_is_away_at_the_end_fails_nothing(made: Any, name: str) -> None:
    run = Run(Cluster(name, (name,)))
    run.take(plan=made, seen="")
    run.fault = Fault("unreachable", "Kubernetes API", "no answer")
    assert run.act({"state": "absent"}, {}) == {"changed": False}
    assert "was not released" in run.shown[-1]
