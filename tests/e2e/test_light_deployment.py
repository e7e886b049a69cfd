# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's whole way on the light image: the product's own programs form the group, a second run changes nothing, it goes.

It has an endpoint, and all the ports that a recipe can give are others than by default.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.cluster_user import ClusterUser, administrator
from tests.e2e.endpoint_client import EndpointClient
from tests.e2e.playbooks import Playbooks
from tests.waiting import wait

NAME = "lightway"
API_PORT, DASHBOARD_PORT = 8100, 8366
SEED_PORTS = {
    "redis_port": 6380,
    "dashboard_port": DASHBOARD_PORT,
    "rayclient_server_port": 9901,
    "metrics_export_port": 8090,
}
# Requests to the API server by a deploy that changes nothing: at most so many of one verb and path, since two steps look at
# the RayCluster, and kubernetes.core reads each object before and after it applies it; and so many in all, a list of each kind among
# them, twice: before money is spent and before it is written, since what stands there may be somebody else's. Of
# the endpoint, twice: Service, certificate, authority and the load balancer's copy; and once what a former exposure may have left.
# The Lease is read by preflight and before it is taken, and renewed by each of the two steps that write.
MOST_ALIKE = 4
MOST = 94


@pytest.fixture
def user(rig: RunningRig) -> Iterator[ClusterUser]:
    with administrator(rig, f"{NAME}-user") as made:
        yield made


def check_endpoint(playbooks: Playbooks, result: dict[str, Any], folder: Path) -> None:
    """See that the dashboard is at the recipe's port, and that every path of the engine's API but /health asks for the key."""
    client = EndpointClient(playbooks, result, folder)
    api, dashboard = client.urls["app"], client.urls["dashboard"]
    assert dashboard.rpartition(":")[2] == str(DASHBOARD_PORT)

    def status_of(url: str, key: str | None = None, body: str = "") -> str:
        words = ["--header", "Content-Type: application/json", "--data", body] if body else []
        return client.ask(url, *words, key=key).status

    assert status_of(f"{api}/health") == "200"
    assert status_of(f"{dashboard}/nodes?view=summary") == "401"
    prompt = '{"prompt": "Hello", "max_tokens": 1}'
    for path, body in (
        ("/invocations", prompt),
        ("/tokenize", prompt),
        ("/v1/completions", prompt),
        ("/metrics", ""),
        ("/version", ""),
        ("/v1/models", ""),
    ):
        answers = [status_of(api + path, given, body) for given in (None, f"{client.key}x", client.key)]
        assert answers == ["401", "401", "200"], path
    assert [status_of(f"{api}/no/such/path", given) for given in (None, client.key)] == ["401", "404"]


def test_is_deployed_changed_by_no_second_run_and_removed(
    tmp_path: Path, rig: RunningRig, tenancy: Tenancy, user: ClusterUser
) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(par, deployment_name=NAME, recipe_container_port=API_PORT)
    recipe["recipe_raycluster_params"].update(SEED_PORTS)
    settings = {**tenancy.settings, "kubeconfig": user.kubeconfig(tmp_path), "endpoint_exposure": "load_balancer"}
    playbooks = Playbooks(tmp_path, rig.environment(), settings)
    first = playbooks.run("deploy", recipe)
    try:
        assert first.code == 0, first.output
        assert first.result is not None and first.result["completion"]
        assert "image_unknown" in [warning["code"] for warning in first.result["warnings"]]
        check_endpoint(playbooks, first.result, tmp_path)
        began = time.time()
        second = playbooks.run("deploy", recipe)
        assert second.code == 0, second.output
        assert second.recap["changed"] == 0, second.output
        asked = Counter((event["verb"], event["requestURI"].partition("?")[0]) for event in user.requests(began))
        assert 0 < asked.total() <= MOST and max(asked.values()) <= MOST_ALIKE, asked
        # Another name that becomes the same DNS name neither takes it over nor removes it.
        for playbook in ("deploy", "undeploy"):
            other = playbooks.run(playbook, {**recipe, "deployment_name": "light_way"})
            assert [fault["code"] for fault in other.faults] == ["name_taken"], other.output
        status = playbooks.run("status", recipe)
        assert status.result is not None and [entry["ready"] for entry in status.result["deployments"]] == [True]
    finally:
        removed = playbooks.run("undeploy", recipe)
    assert removed.code == 0, removed.output
    assert NAME not in rig.kubectl("get", "rayclusters,namespaces", "--all-namespaces", "--output", "name")


@pytest.mark.soak
def test_an_engine_that_dies_once_serves_again(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    """The control address reaches the engine, and the group restarts on the light image as on the other."""
    samples.put_model(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name="lightdeath")
    playbooks = Playbooks(tmp_path, rig.environment(), tenancy.settings)
    try:
        first = playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        rig.steer("POST", "/engines/lightdeath/die", {"times": 1})
        selector = ("--namespace", "lightdeath", "--selector", "ray.io/node-type=head")
        count = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
        wait("another start of the head", lambda: rig.kubectl("get", "pods", *selector, "--output", count) == "1")
        again = playbooks.run("deploy", recipe)
        assert again.code == 0, again.output
        assert again.recap["changed"] == 0, again.output
    finally:
        playbooks.run("undeploy", recipe)
