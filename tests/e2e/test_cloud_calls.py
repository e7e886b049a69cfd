# SPDX-License-Identifier: GPL-3.0-or-later
"""How often Oracle Cloud and the cluster are asked, and that neither too many requests nor an API server away for a moment end it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.cluster_user import administrator, received
from tests.e2e.gate import Gate
from tests.e2e.light_deployment import Deployment
from tests.waiting import wait

# Of each operation, by a deploy that changes nothing; shapes are asked for in each availability domain.
MOST = 2
MOST_BY_DOMAIN = {"ListShapes": 3}
# The wait looks every two seconds at RayCluster, pods, nodes and events, and at the log of each pod that runs.
LOOKS_A_MINUTE = 30
# With each look at the node pool, every 20 seconds, all nodes are read too while one of the pool's is not among the deployment's.
POOL_LOOKS_A_MINUTE = 3
MOST_OF_ENDPOINT = 5


@pytest.fixture
def deployment(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Iterator[Deployment]:
    found = Deployment("cloudcalls", tmp_path, rig, tenancy)
    yield found
    found.undeploy()


@pytest.mark.soak
def test_storms_of_429_are_survived_and_a_second_run_asks_little(
    rig: RunningRig, tenancy: Tenancy, deployment: Deployment
) -> None:
    match = {"tenancy": tenancy.compartment_id}
    refusal = {"status": 429, "code": "TooManyRequests", "message": "Too many requests for the user"}

    def storm(calls: int) -> None:
        rig.steer("POST", "/scenarios", {"match": match, "do": {**refusal, "times": calls}})

    def asked(since: float) -> list[dict[str, object]]:
        return rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={since}")

    storm(6)
    began = time.time()
    first = deployment.playbooks.run("deploy", deployment.recipe)
    assert first.code == 0, first.output
    assert sum(call["status"] == 429 for call in asked(began)) == 6
    assert len(deployment.pools()) == 1

    began = time.time()
    second = deployment.playbooks.run("deploy", deployment.recipe)
    assert second.code == 0, second.output
    assert second.recap["changed"] == 0
    calls = asked(began)
    # A kubeconfig is made up for who asks, and kept nowhere: it is compared with the one that is given.
    assert {call["operation"] for call in calls if call["method"] != "GET"} <= {"CreateKubeconfig"}
    # Not counted is what pods read.
    counts = Counter(str(call["operation"]) for call in calls if "Python" in str(call["user_agent"]))
    assert counts
    many = {name: count for name, count in counts.items() if count > MOST_BY_DOMAIN.get(name, MOST)}
    assert many == {}, counts

    storm(6)
    removed = deployment.undeploy()
    assert removed.result is not None and removed.result["ok"]


@pytest.mark.soak
def test_a_wait_asks_the_cluster_a_few_things_at_each_look(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, deployment: Deployment
) -> None:
    match = {"tenancy": tenancy.compartment_id, "operation": "NodeJoin"}
    rig.steer("POST", "/scenarios", {"match": match, "do": {"delay_s": 120}})
    with administrator(rig, "cloudcalls-user") as user:
        began = time.time()
        settings = {"kubeconfig": user.kubeconfig(tmp_path)}
        run = deployment.playbooks.run("deploy", deployment.recipe, settings)
        assert run.code == 0, run.output
        requests = user.requests(began)
    renewals = [received(event) for event in requests if "/leases/" in event["requestURI"]]
    requests = [event for event in requests if "/leases/" not in event["requestURI"]]
    last_write = max(received(event) for event in requests if event["verb"] not in ("get", "list"))
    wait = [event for event in requests if received(event) > last_write]
    times = [received(event) for event in wait]
    assert times[-1] - times[0] > 60, "the wait changes nothing"
    busiest = max(sum(start <= moment < start + 60 for moment in times) for start in times)
    counts = Counter(event["requestURI"].partition("?")[0] for event in wait if received(event) < times[0] + 60)
    # Of the endpoint, at every third look: Service, certificate, authority and the load balancer's copies.
    endpoint = {path: counts.pop(path) for path in list(counts) if "cloudcalls-api" in path or "-tls" in path}
    assert 0 < len(endpoint) <= MOST_OF_ENDPOINT
    assert all(count <= LOOKS_A_MINUTE / 3 + 1 for count in endpoint.values()), endpoint
    assert len(counts) == 4, counts  # no pod runs yet
    nodes = counts.pop("/api/v1/nodes")
    assert nodes <= LOOKS_A_MINUTE + 1 + POOL_LOOKS_A_MINUTE + 1, nodes
    assert all(count <= LOOKS_A_MINUTE + 1 for count in counts.values()), counts
    # RayCluster, pods, nodes, events and two logs.
    assert busiest <= (LOOKS_A_MINUTE + 1) * 6 + (LOOKS_A_MINUTE / 3 + 1) * MOST_OF_ENDPOINT
    # The Lease is renewed every 20 seconds.
    renewed = [moment for moment in renewals if times[0] <= moment < times[0] + 60]
    assert 1 <= len(renewed) <= 4, renewed
    # Oracle Cloud meanwhile: work requests at most every ten seconds, and nothing that changes.
    calls = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={times[0]}")
    asked = [call for call in calls if "Python" in str(call["user_agent"]) and call["time"] < times[-1]]
    looks = [call["time"] for call in asked if call["operation"] == "ListWorkRequests"]
    assert len(looks) >= 3 and {call["method"] for call in asked} == {"GET"}, asked
    assert min(later - earlier for earlier, later in zip(looks, looks[1:], strict=False)) >= 10


@pytest.mark.soak
def test_a_wait_outlives_an_api_server_that_is_away(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, deployment: Deployment
) -> None:
    match = {"tenancy": tenancy.compartment_id, "operation": "NodeJoin"}
    rig.steer("POST", "/scenarios", {"match": match, "do": {"delay_s": 60}})
    gate = Gate(rig.configuration.kubernetes.url)
    with administrator(rig, "away-user") as user, gate.running(), ThreadPoolExecutor() as threads:
        began = time.time()
        settings = {"kubeconfig": user.kubeconfig(tmp_path, gate.url)}
        running = threads.submit(deployment.playbooks.run, "deploy", deployment.recipe, settings)

        def waits() -> bool:
            return running.done() or any("/events" in event["requestURI"] for event in user.requests(began))

        try:
            wait("the wait", waits, 300)
            gate.shut()
            time.sleep(10)
        finally:
            gate.open()
        run = running.result()
    assert run.code == 0, run.output
    assert f"Kubernetes API {gate.url}: no answer" in run.output
