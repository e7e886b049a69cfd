# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found out before the node pool is asked for: room in the account, and where all nodes fit.

Most of it shows in a plan, which makes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import oci
import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.cluster_user import holder
from tests.e2e.playbooks import Playbooks, Run
from tests.waiting import wait

MakeAccount = Callable[..., "Account"]


class Account:
    """A tenancy of the test's own with a recipe for it."""

    def __init__(self, rig: RunningRig, folder: Path, options: dict[str, Any]) -> None:
        answer = rig.steer("POST", "/tenancies", {"node_kind": "kwok", **options})
        self.tenancy = Tenancy(answer["compartment_id"], answer["oke_cluster_id"], answer["settings"], answer)
        self.domains: list[str] = answer["availability_domains"]
        samples.put_model(answer, rig.configuration)
        self.recipe = samples.recipe(samples.make_par(answer, rig.configuration))
        self.playbooks = Playbooks(folder, rig.environment(), self.tenancy.settings)
        self._rig = rig

    def plan(self, **changes: Any) -> Run:
        return self.playbooks.run("plan", {**self.recipe, **changes})

    def scenario(self, resource: str = "", operation: str = "", **does: Any) -> None:
        """Ask for a fault in this account."""
        match = {"tenancy": self.tenancy.compartment_id, "resource": resource, "operation": operation}
        given = {name: value for name, value in match.items() if value}
        self._rig.steer("POST", "/scenarios", {"match": given, "do": does})

    def calls(self, since: float = 0) -> list[str]:
        """The operations that were asked for."""
        log = self._rig.steer("GET", f"/calls?tenancy={self.tenancy.compartment_id}&since={since}")
        return [call["operation"] for call in log]


@pytest.fixture
def account(rig: RunningRig, tmp_path: Path) -> MakeAccount:
    return lambda **options: Account(rig, tmp_path, options)


def domain_of(run: Run) -> str:
    assert run.result is not None, run.output
    assert run.result["ok"], run.output
    (placement,) = run.result["plan"]["node_pool"]["node_config_details"]["placement_configs"]
    return placement["availability_domain"]


def codes(run: Run) -> list[str]:
    return [fault["code"] for fault in run.faults]


def warnings(run: Run) -> list[str]:
    assert run.result is not None and run.result["ok"], run.output
    return [warning["code"] for warning in run.result["plan"]["warnings"]]


def test_the_pool_goes_where_all_nodes_fit(account: MakeAccount) -> None:
    own = account()
    own.scenario("AD-1", capacity=1)
    own.scenario("AD-3", capacity=0)
    run = own.plan()
    assert domain_of(run) == own.domains[1]
    assert "network_policy_not_enforced" in warnings(run), "nothing enforces them on the rig"


def test_a_limit_that_is_too_low_costs_nothing(account: MakeAccount) -> None:
    own = account(limits={"gpu-a10-count": 1})
    run = own.plan()
    assert codes(run) == ["gpu_limit"], run.output
    (fault,) = run.faults
    assert "gpu-a10-count" in fault["where"] and "1 GPU in" in fault["found"] and "2 GPUs" in fault["expected"]
    assert "CreateNodePool" not in own.calls()
    since = time.time()
    assert domain_of(own.plan(skip_quota_validation=True)) == own.domains[0]
    assert "GetResourceAvailability" not in own.calls(since) and "CreateComputeCapacityReport" in own.calls(since)


@pytest.mark.soak
def test_a_quota_of_the_compartment(account: MakeAccount) -> None:
    run = account(quotas={"gpu-a10-count": 1}).plan()
    assert codes(run) == ["gpu_limit"] and "quota is 1" in run.faults[0]["found"]


@pytest.mark.soak
def test_no_host_anywhere(account: MakeAccount) -> None:
    own = account()
    own.scenario("VM.GPU.A10.1", capacity=1)
    run = own.plan()
    assert codes(run) == ["host_capacity"] and "1 host free" in run.faults[0]["found"], run.output
    since = time.time()
    assert domain_of(own.plan(skip_capacity_validation=True)) == own.domains[0]
    assert "CreateComputeCapacityReport" not in own.calls(since)


@pytest.mark.soak
def test_the_recipes_domain_wins(account: MakeAccount) -> None:
    own = account()
    own.scenario("AD-3", capacity=0)
    named = {"recipe_availability_domain": own.domains[2].partition(":")[2]}
    assert codes(own.plan(**named)) == ["host_capacity"]
    settings = {"node_pool_availability_domains": [own.domains[2], own.domains[1]]}
    assert domain_of(own.plan(**settings)) == own.domains[1]
    assert domain_of(own.plan(**settings, recipe_availability_domain=own.domains[0])) == own.domains[0]


@pytest.mark.soak
def test_a_compute_cluster_is_there_and_in_the_domain_that_is_given(account: MakeAccount, rig: RunningRig) -> None:
    own = account()
    config = oci.config.from_file(own.tenancy.settings["config_file_location"])
    compute = oci.core.ComputeClient(config, service_endpoint=rig.configuration.oci.endpoint)
    details = oci.core.models.CreateComputeClusterDetails(
        compartment_id=own.tenancy.compartment_id, availability_domain=own.domains[1], display_name="rdma"
    )
    made = compute.create_compute_cluster(details).data.id

    def planned(cluster: str, domain: str) -> Run:
        # Not over RDMA: a shape of the rig's tiny model has none.
        return own.plan(compute_cluster_id=cluster, recipe_availability_domain=domain, rdma="none")

    assert domain_of(planned(made, own.domains[1])) == own.domains[1]
    assert codes(planned(made, own.domains[0])) == ["compute_cluster_domain"]
    missing = planned(made[:-4] + "aaaa", own.domains[1])
    assert codes(missing) == ["cloud_not_found_or_not_authorized"] and "compute-clusters" in missing.faults[0]["remedy"]


def test_what_may_not_be_asked_is_a_warning_with_the_policy(account: MakeAccount) -> None:
    own = account()
    for operation in ("GetResourceAvailability", "CreateComputeCapacityReport", "ListPrivateIps"):
        own.scenario(operation=operation, status=404, code="NotAuthorizedOrNotFound", message="Authorization failed")
    run = own.plan()
    assert {"limit_unknown", "capacity_unknown", "addresses_unknown"} <= set(warnings(run))
    assert "Allow group <yours> to" in run.output


@pytest.mark.soak
@pytest.mark.parametrize(
    ("options", "changes", "code"),
    [
        ({"limits": {"total-storage-gb": 100}}, {}, "volume_limit"),
        ({"limits": {"lb-flexible-count": 0}}, {"endpoint_exposure": "load_balancer"}, "load_balancer_limit"),
        ({"subnets": {"workers": "10.0.96.0/30"}}, {}, "subnet_full"),
        ({"cni": "OCI_VCN_IP_NATIVE", "subnets": {"pods": "10.0.128.0/26"}}, {}, "subnet_full"),
    ],
    ids=["volumes", "load_balancer", "workers", "pods"],
)
def test_what_else_is_short(account: MakeAccount, options: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    own = account(**options)
    run = own.plan(**changes)
    assert codes(run) == [code], run.output
    assert "CreateNodePool" not in own.calls()


# --- the cluster ----------------------------------------------------------------------------------------------------


class Cluster:
    """The rig's cluster, with something of it taken away for a while."""

    def __init__(self, rig: RunningRig) -> None:
        self._rig = rig
        self._undo: list[tuple[tuple[str, ...], str | None]] = []
        self._users = ExitStack()

    def scale_dns(self, replicas: int) -> None:
        dns = ("--namespace", "kube-system", "deployment/coredns")
        self._rig.kubectl("scale", *dns, f"--replicas={replicas}")
        self._undo.append((("scale", *dns, "--replicas=1"), None))
        wanted = "" if replicas == 0 else str(replicas)
        ready = ("get", *dns, "--output", "jsonpath={.status.readyReplicas}")
        wait("CoreDNS scaled", lambda: self._rig.kubectl(*ready) == wanted)

    def add(self, manifest: dict[str, Any]) -> None:
        text = json.dumps(manifest)
        self._rig.kubectl("apply", "--filename", "-", stdin=text)
        self._undo.append((("delete", "--filename", "-"), text))

    def user(self, folder: Path, *rules: dict[str, Any]) -> str:
        """The path of a kubeconfig of a user that has the rights of `rules` alone."""
        made = self._users.enter_context(holder(self._rig, "preflight-user", {"": list(rules)}))
        return made.kubeconfig(folder)

    def restore(self) -> None:
        self._users.close()
        for command, text in reversed(self._undo):
            self._rig.kubectl(*command, stdin=text)
        if any("scale" in command for command, _text in self._undo):
            ready = ("get", "--namespace", "kube-system", "deployment/coredns")
            wait(
                "CoreDNS back",
                lambda: self._rig.kubectl(*ready, "--output", "jsonpath={.status.readyReplicas}") == "1",
            )


@pytest.fixture
def cluster(rig: RunningRig) -> Iterator[Cluster]:
    made = Cluster(rig)
    yield made
    made.restore()


def second_device_plugin() -> dict[str, Any]:
    labels = {"app": "nvidia-device-plugin-daemonset"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "nvidia-device-plugin-daemonset", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"nvidia.com/gpu.deploy.device-plugin": "true"},
                    "containers": [{"name": "plugin", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.17.4"}],
                },
            },
        },
    }


def test_a_cluster_that_cannot_take_it_is_refused_with_all_its_faults(
    account: MakeAccount, cluster: Cluster, tmp_path: Path
) -> None:
    """No CoreDNS, two device plugins, no such StorageClass, and a user who may read only: four causes, one run."""
    own = account()
    cluster.scale_dns(0)
    cluster.add(second_device_plugin())
    reader = cluster.user(tmp_path, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]})
    run = own.playbooks.run("deploy", own.recipe, {"kubeconfig": reader, "model_storage_class": "gone"})
    assert set(codes(run)) == {"right_missing", "dns_not_ready", "storage_class_missing", "gpus_advertised_twice"}
    words = json.dumps(run.faults)
    assert "may not create, patch, delete rayclusters.ray.io in namespace tinyllama" in words
    assert "may not create, patch, delete namespaces" in words
    assert "DaemonSet kube-system/nvidia-gpu-device-plugin" in words
    assert "CreateNodePool" not in own.calls()


@pytest.mark.soak
def test_a_user_without_any_right(account: MakeAccount, cluster: Cluster, tmp_path: Path) -> None:
    own = account()
    run = own.playbooks.run("deploy", own.recipe, {"kubeconfig": cluster.user(tmp_path)})
    assert run.code != 0 and "Traceback" not in run.output
    assert "rayclusters" in json.dumps(run.faults)
    assert "CreateNodePool" not in own.calls()


def gpu_node(name: str) -> dict[str, Any]:
    """A node of KWOK's that looks like one of VM.GPU.A10.2."""
    amounts = {"cpu": "59", "memory": "460Gi", "ephemeral-storage": "200Gi", "nvidia.com/gpu": "2", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"node.kubernetes.io/instance-type": "VM.GPU.A10.2"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def test_nodes_that_are_there_are_counted_and_what_does_not_fit_is_named(
    account: MakeAccount, rig: RunningRig, cluster: Cluster
) -> None:
    """Two nodes of the shape; then one of them is cordoned: enough for one pod, not for two."""
    own = account()
    names = ["preflight-a", "preflight-b"]
    for name in names:
        cluster.add(gpu_node(name))
    params = {"head_node_num_gpus": 2, "worker_node_num_gpus": 2}
    shared = {
        "recipe_use_shared_node_pool": True,
        "recipe_node_shape": "VM.GPU.A10.2",
        "recipe_nvidia_gpu_count": 2,
        "recipe_raycluster_params": {**own.recipe["recipe_raycluster_params"], **params},
    }
    ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    wait("the nodes", lambda: "True True" in rig.kubectl("get", "nodes", *names, "--output", ready))
    run = own.plan(**shared)
    assert run.code == 0, run.output
    rig.kubectl("cordon", names[0])
    run = own.plan(**shared)
    assert codes(run) == ["gpu_nodes_too_few"], run.output
    assert f"{names[0]}: cordoned" in run.faults[0]["found"]


# --- what is there already ------------------------------------------------------------------------------------------


def test_what_a_deployment_holds_is_not_asked_for_again(rig: RunningRig, account: MakeAccount) -> None:
    """A quota of exactly the pool's size: deployed twice, a newer image between; one node more is refused."""
    own = account(node_kind="process", limits={"gpu-a10-count": 2})
    name = "quota"
    recipe = samples.light_recipe(own.recipe["input_object_storage"][0]["par"], deployment_name=name)
    try:
        first = own.playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        image = image_of(first)
        newest = newest_image(rig, own)
        second = own.playbooks.run("deploy", recipe)
        assert second.code == 0 and second.recap["changed"] == 0, second.output
        assert second.result is not None
        (said,) = [entry for entry in second.result["warnings"] if entry["code"] == "newer_choice"]
        assert (said["where"], image_of(second)) == ("image_id", image)
        assert image in said["found"] and newest in said["expected"]
        adopted = own.playbooks.run("plan", {**recipe, "adopt_defaults": True})
        assert image_of(adopted) == newest
        more = own.playbooks.run("plan", scaled(recipe, 3))
        assert codes(more) == ["gpu_limit"] and "1 GPU for 1 more node" in more.faults[0]["expected"], more.output
    finally:
        removed = own.playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output


def image_of(run: Run) -> str:
    assert run.result is not None and run.result["ok"], run.output
    return run.result["plan"]["node_pool"]["node_source_details"]["image_id"]


def newest_image(rig: RunningRig, own: Account) -> str:
    """Publish an image that a new deployment would take; its OCID."""
    version = json.loads(rig.kubectl("version", "--output", "json"))["serverVersion"]["gitVersion"]
    name = f"Oracle-Linux-8.10-Gen2-GPU-2030.01.01-0-OKE-{version.removeprefix('v')}-9999"
    return rig.steer("POST", "/images", {"tenancy": own.tenancy.compartment_id, "name": name})["id"]


def scaled(recipe: dict[str, Any], nodes: int) -> dict[str, Any]:
    params = {**recipe["recipe_raycluster_params"], "num_worker_nodes": nodes - 1}
    return {**recipe, "recipe_node_pool_size": nodes, "recipe_raycluster_params": params}
