# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an object of Kubernetes says: what reads it answers, or refuses with its place, and nothing else leaves it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.action import api_keys as keys_action
from ansible_collections.multinode.inference.plugins.action import benchmark as benchmark_action
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health import benchmark
from ansible_collections.multinode.inference.plugins.module_utils.core.health.deployment_health import judge
from ansible_collections.multinode.inference.plugins.module_utils.core.health.failures import OperatorBound, gave_up
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.benchmark import benchmark_objects
from ansible_collections.multinode.inference.plugins.module_utils.kube import (
    cloud_resources,
    deployment,
    lease,
    logs,
    monitoring,
    namespace_contents,
    operator,
    prerequisites,
    removal,
)
from ansible_collections.multinode.inference.plugins.module_utils.kube.failure_bundle import FailureBundle
from ansible_collections.multinode.inference.plugins.plugin_utils.bucket_access import BucketAccess
from ansible_collections.multinode.inference.plugins.plugin_utils.endpoint import Endpoint
from ansible_collections.multinode.inference.plugins.plugin_utils.playbook_results import OF_PLAYBOOK
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability.checks import check_cluster
from ansible_collections.multinode.inference.plugins.plugin_utils.removal import Remover, remove_deployment
from tests.unit.odd_cluster import LOGS, NAME, NAMESPACE, ODD, PLANS, OddCluster

MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
SETTINGS = {"region": "us-ashburn-1", "oke_cluster_id": "", "source_request_days": 1, "kuberay_chart_version": "1.7.1"}


@pytest.fixture(autouse=True)
def quick_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_BITS", 1024)


def answers_or_refuses(*reads: Callable[[], Any]) -> None:
    for read in reads:
        with contextlib.suppress(Refused):
            read()


def test_the_cluster_as_it_should_be_is_read() -> None:
    """Else the tests below would meet refusals only."""
    cluster = OddCluster()
    (row,) = deployment.list_deployments(cluster, with_endpoint=True)
    assert row["state"] != "Unknown"
    assert operator.find_operator(cluster)["usable"]
    assert len(removal.objects_of(cluster, NAME, NAMESPACE)) > 5
    assert lease.holder_words(lease.Lease(cluster, NAME, NAMESPACE, "x").read()).startswith("a@b (deploy)")


@MANY
@given(ODD, LOGS)
def test_status(odd: tuple[str, Any], log: str) -> None:
    cluster = OddCluster(*odd, log)

    def status() -> None:
        rows = deployment.list_deployments(cluster, with_endpoint=True)
        left = removal.leftovers(cluster)
        found = {"deployments": rows, "leftovers": left, "operator": operator.shown_operator(cluster)}
        _details, lines = OF_PLAYBOOK["status"]({"status": found, "recipe": {"settings": SETTINGS}})
        json.dumps([rows, lines])
        assert all(type(line) is str for line in lines)

    answers_or_refuses(status, lambda: deployment.nearest_deployment(cluster, "lama"))


@MANY
@given(ODD, LOGS)
def test_the_wait(odd: tuple[str, Any], log: str) -> None:
    observer = deployment.Observer(OddCluster(*odd, log), NAME, NAMESPACE)

    def look() -> None:
        for _look in range(2):
            seen = observer.look()
            judgement = judge(seen, 2, 8)
            gave_up(seen)
            OperatorBound().failure(seen, True, 0.0)
            assert all(type(step.text) is str and type(step.finished) is bool for step in judgement.steps)

    answers_or_refuses(look)


@MANY
@given(ODD)
def test_what_is_there(odd: tuple[str, Any]) -> None:
    cluster = OddCluster(*odd)
    taken = lease.Lease(cluster, NAME, NAMESPACE, "x")
    answers_or_refuses(
        lambda: prerequisites.read_surroundings(
            cluster, NAME, NAMESPACE, "k", node_selector="a=b", pull_secret="source"
        ),
        lambda: monitoring.standing_monitoring(cluster, NAME, NAMESPACE),
        lambda: monitoring.missing_definitions(cluster),
        lambda: [deployment.read_secret(cluster, NAMESPACE, f"{NAME}-{name}") for name in ("api-key", "source")],
        lambda: deployment.secret_keys(cluster, NAMESPACE, f"{NAME}-source"),
        lambda: taken.take(taken.read(), {"user": "a"}),
        lambda: taken.renew(),
        lambda: lease.read_version(cluster, NAME, NAMESPACE),
        lambda: lease.holder_words(taken.read()),
        lambda: [logs.find_pod(cluster, NAME, kind) for kind in ("head", "worker", "operator")],
        lambda: [logs.pods_of_group(cluster, NAME), logs.read_events(cluster, NAME)],
        lambda: logs.FollowedLog(cluster, NAME, "head", 1, 9).read(),
    )
    bundle = FailureBundle(cluster)
    bundle.collect(NAME, NAMESPACE)
    json.dumps([bundle.objects, bundle.missing])


@MANY
@given(ODD)
def test_a_removal(odd: tuple[str, Any]) -> None:
    cluster = OddCluster(*odd)

    def remove() -> None:
        access = BucketAccess(cluster, SETTINGS, NAME, NAMESPACE, lambda *_: {"revoked": []})
        remover = Remover(lambda items, **_: {"results": [{}] * len(items)}, lambda _text: None, watching=False)
        json.dumps(remove_deployment(cluster, NAME, NAMESPACE, access, remover))

    answers_or_refuses(
        remove,
        lambda: removal.namespace_of(cluster, NAME, None),
        lambda: removal.strange_objects(cluster, NAME, NAMESPACE),
        lambda: cloud_resources.volumes_of(cluster, NAME, NAMESPACE),
        lambda: namespace_contents.NamespaceContents(cluster, NAME, NAMESPACE).reason_to_stay(),
    )


@MANY
@given(ODD, st.sampled_from(PLANS))
def test_an_endpoint(odd: tuple[str, Any], plan: dict[str, Any]) -> None:
    cluster: Any = OddCluster(*odd)
    made: Any = plan
    endpoint = Endpoint(cluster, made)
    look = endpoint.look
    answers_or_refuses(
        look,
        lambda: (look(), endpoint.problem(), endpoint.is_settled, endpoint.reach(), endpoint.hosts),
        lambda: (look(), endpoint.stale(), endpoint.in_the_way(), json.dumps(endpoint.objects())),
        lambda: check_cluster(cluster, made, Findings()),
    )


@MANY
@given(ODD, LOGS)
def test_a_benchmark_and_the_keys(odd: tuple[str, Any], log: str) -> None:
    cluster = OddCluster(*odd, log)
    place = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{NAME}"
    limits = {
        "benchmark_input_tokens": 1,
        "benchmark_output_tokens": 1,
        "benchmark_requests": 1,
        "benchmark_minutes": 1,
    }
    keys = keys_action.ActionModule.__new__(keys_action.ActionModule)
    keys._kubernetes, keys._name, keys._namespace = cluster, NAME, NAMESPACE

    def measure() -> None:
        raycluster = cluster.get(place)
        asked = benchmark_action._asked(cluster, raycluster, limits, {})
        key = benchmark_action._key_name(cluster, NAME, NAMESPACE)
        json.dumps(benchmark_objects(raycluster, asked, key))

    def follow() -> None:
        job = cluster.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{NAME}-benchmark")
        pod = benchmark_action._pod(cluster, job)
        benchmark.read_log(benchmark_action._log(cluster, pod))
        json.dumps([benchmark_action._ended(job), benchmark_action._cause(pod, job), benchmark_action._waiting(pod)])

    answers_or_refuses(measure, follow, keys._head, lambda: keys._read(f"{NAME}-api-key"))
