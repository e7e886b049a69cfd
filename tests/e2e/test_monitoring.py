# SPDX-License-Identifier: GPL-3.0-or-later
"""Who watches a deployment: refused where nobody can, and with prometheus-operator's definitions what a real Prometheus reads.

The operator itself is not imitated: the test turns the PodMonitor into the configuration that the operator makes of one.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.fixtures import RunningRig, Tenancy
from tests.e2e.light_deployment import Deployment
from tests.e2e.served_group import ServedGroup
from tests.tools import prometheus
from tests.unit.runtime.pods import free_port
from tests.waiting import wait

NAME = "watched"
WATCHED = {"monitoring": "prometheus_operator", "metrics_namespaces": ["monitoring"]}
KINDS = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}


def definition(plural: str, kind: str) -> dict[str, Any]:
    """A definition of prometheus-operator's, of whose fields all are taken."""
    group = "monitoring.coreos.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_a_cluster_without_the_operator_is_told_before_nodes_are_asked_for(
    rig: RunningRig, tenancy: Tenancy, tmp_path: Path
) -> None:
    deployment = Deployment("unwatched", tmp_path, rig, tenancy)
    run = deployment.playbooks.run("deploy", {**deployment.recipe, **WATCHED})
    assert [fault["code"] for fault in run.faults] == ["prometheus_operator_missing"], run.output
    assert "monitoring: none" in run.output and deployment.pools() == []


@pytest.fixture
def definitions(rig: RunningRig) -> Iterator[None]:
    items = [definition(plural, kind) for plural, kind in KINDS.items()]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    rig.kubectl("apply", "-f", "-", stdin=text)
    names = [item["metadata"]["name"] for item in items]
    rig.kubectl("wait", "crd", *names, "--for=condition=Established", "--timeout=60s")
    try:
        yield
    finally:
        rig.kubectl("delete", "crd", *names)


class Prometheus:
    """A Prometheus that scrapes what the deployment's PodMonitor says."""

    def __init__(self, group: ServedGroup, folder: Path) -> None:
        self._port = free_port()
        monitor = json.loads(group.kubectl("get", "podmonitor", group.name, "-o", "json"))["spec"]
        selector = ",".join(f"{key}={value}" for key, value in monitor["selector"]["matchLabels"].items())
        pods = json.loads(group.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        jobs = [_job(group, endpoint, pods) for endpoint in monitor["podMetricsEndpoints"]]
        (folder / "prometheus.yml").write_text(
            json.dumps({"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, "scrape_configs": jobs})
        )
        command = [prometheus.find("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{self._port}"],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The result of a query at this moment; none while it does not answer."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return list(json.loads(answer.read())["data"]["result"])
        except OSError:
            return []

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def _job(group: ServedGroup, endpoint: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    targets = [
        {"targets": [f"{pod['status']['podIP']}:{port['containerPort']}"], "labels": {"pod": pod["metadata"]["name"]}}
        for pod in pods
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name") == endpoint["port"]
    ]
    relabelings = [
        {"target_label": "namespace", "replacement": group.name},
        *(
            {"target_label": entry["targetLabel"], "replacement": entry["replacement"]}
            for entry in endpoint["relabelings"]
        ),
    ]
    job: dict[str, Any] = {
        "job_name": endpoint["port"],
        "metrics_path": endpoint["path"],
        "static_configs": targets,
        "relabel_configs": relabelings,
    }
    if given := endpoint.get("authorization"):
        held = json.loads(group.kubectl("get", "secret", given["credentials"]["name"], "-o", "json"))["data"]
        key = base64.b64decode(held[given["credentials"]["key"]]).decode()
        job["authorization"] = {"type": given["type"], "credentials": key}
    return job


@pytest.mark.soak
@pytest.mark.usefixtures("definitions")
def test_a_prometheus_answers_the_boards_queries_and_nothing_is_left(
    rig: RunningRig, tenancy: Tenancy, tmp_path: Path
) -> None:
    deployment = Deployment(NAME, tmp_path, rig, tenancy)
    recipe = {**deployment.recipe, **WATCHED}
    try:
        first = deployment.playbooks.run("deploy", recipe)
        assert first.code == 0, first.output
        second = deployment.playbooks.run("deploy", recipe)
        assert second.code == 0 and second.recap["changed"] == 0, second.output
        group = ServedGroup(rig, NAME, tenancy.compartment_id)
        watching = Prometheus(group, tmp_path)
        try:
            own = f'{{deployment="{NAME}", namespace="{NAME}"}}'
            for port in ("api", "status"):
                up = f'up{own[:-1]}, job="{port}"}} == 1'
                # mypy cannot infer a lambda that binds the loop's value.
                wait(f"{port} is scraped", lambda up=up: watching.ask(up), 60)  # type: ignore[misc]
            for _number in range(10):
                assert group.complete() == 200
                time.sleep(2)
            board = json.loads(group.kubectl("get", "configmap", f"{NAME}-board", "-o", "json"))["data"]
            (document,) = map(json.loads, board.values())
            answers = {
                f"{panel['title']}: {target['legendFormat']}": watching.ask(target["expr"])
                for panel in document["panels"]
                for target in panel["targets"]
            }
        finally:
            watching.end()
        for title, answer in answers.items():
            print(title, [(entry["metric"], entry["value"][1]) for entry in answer])
        # The rig's Ray has no metrics.
        assert {title for title, answer in answers.items() if not answer} <= {"GPU utilization, by Ray: {{ip}}"}
        (state,) = answers["State: {{state}}"]
        assert state["metric"]["state"] == "serving"
        assert float(answers["Tokens per second: generated"][0]["value"][1]) > 0
        assert group.key() not in json.dumps(answers) + first.output
        third = deployment.playbooks.run("deploy", deployment.recipe)
        assert third.code == 0, third.output
        assert left(rig) == ""
        assert deployment.playbooks.run("deploy", recipe).code == 0 and left(rig)
    finally:
        deployment.undeploy()
    assert left(rig) == ""


def left(rig: RunningRig) -> str:
    """The objects of the deployment's monitoring that are there."""
    found = rig.kubectl("get", ",".join(KINDS), "--all-namespaces", "-o", "name")
    maps = rig.kubectl("get", "configmaps", "--all-namespaces", "-l", "grafana_dashboard=1", "-o", "name")
    return (found + maps).strip()
