# SPDX-License-Identifier: GPL-3.0-or-later
"""Who watches a deployment: what is scraped and with which key, which alerts fire and when, and what the board asks."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.endpoint import Surroundings
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.monitoring import (
    certificate_rule,
    monitoring_objects,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.monitoring_rules import board_queries
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import MONITORING_ANNOTATION
from tests.tools import prometheus
from tests.unit.core.plans import exposed, plan

WATCHED = {"monitoring": "prometheus_operator", "metrics_namespaces": ["monitoring"]}
# promtool's clock begins at 1970.
SOURCE_END, CERTIFICATE_END = "1970-01-20T00:00:00+00:00", "1970-01-30T00:00:00+00:00"
OWN = 'deployment="rayclustervmtest", namespace="rayclustervmtest"'
# vllm/v1/metrics/loggers.py of 0.12.0, 0.26.0 and 0.32.0 has each of these.
VLLM = {
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prompt_tokens",
    "generation_tokens",
    "request_success",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
}


def objects(**changes: Any) -> dict[str, dict[str, Any]]:
    made = plan(**{**WATCHED, **changes})
    found = [*monitoring_objects(made, SOURCE_END, "team"), *certificate_rule(made, CERTIFICATE_END)]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def rules(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    groups = [
        group for name, item in found.items() if name.startswith("PrometheusRule") for group in item["spec"]["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def test_nobody_watches_unasked() -> None:
    made = plan()
    assert made["endpoint"]["monitoring"] is None and certificate_rule(made, CERTIFICATE_END) == []
    cluster = next(item for item in render(made, {}) if item["kind"] == "RayCluster")
    assert MONITORING_ANNOTATION not in cluster["metadata"]["annotations"]
    watched = next(item for item in render(plan(**WATCHED), {}) if item["kind"] == "RayCluster")
    assert watched["metadata"]["annotations"][MONITORING_ANNOTATION] == "prometheus_operator"
    # It is no matter of the pods.
    assert watched["spec"] == cluster["spec"]


def test_without_prometheus_namespace_it_is_said_that_policies_keep_it_out() -> None:
    codes = [entry["code"] for entry in plan(monitoring="prometheus_operator")["warnings"]]
    assert "metrics_namespaces_missing" in codes
    assert "metrics_namespaces_missing" not in [entry["code"] for entry in plan(**WATCHED)["warnings"]]


@pytest.mark.parametrize("to_pod", [False, True])
def test_vllm_and_the_group_are_asked_with_the_key_and_ray_without(to_pod: bool) -> None:
    found = objects(**exposed("load_balancer", endpoint_tls_to_pod=to_pod))
    spec = found["PodMonitor/rayclustervmtest"]["spec"]
    assert spec["selector"] == {"matchLabels": {"ray.io/cluster": "rayclustervmtest"}}
    endpoints = {entry["port"]: entry for entry in spec["podMetricsEndpoints"]}
    key = {"type": "Bearer", "credentials": {"name": "rayclustervmtest-api-key", "key": "team"}}
    assert endpoints["api"]["authorization"] == endpoints["status"]["authorization"] == key
    assert "authorization" not in endpoints["metrics"]
    assert (endpoints["api"].get("scheme") == "https") is to_pod and "scheme" not in endpoints["status"]
    assert all(entry["relabelings"][0]["replacement"] == "rayclustervmtest" for entry in endpoints.values())
    cluster = next(item for item in render(plan(**WATCHED), {}) if item["kind"] == "RayCluster")
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert endpoints.keys() <= {port["name"] for port in head["ports"]}


def test_the_rule_of_the_certificate_comes_with_the_endpoint() -> None:
    made = plan(**WATCHED, **exposed("load_balancer"))
    before, after = (
        {f"{item['kind']}/{item['metadata']['name']}": item for item in render(made, {}, around)}
        for around in (Surroundings(), Surroundings("10.0.0.1", "tls", CERTIFICATE_END))
    )
    name = "PrometheusRule/rayclustervmtest-certificate"
    assert name not in before
    assert after[name]["metadata"]["labels"]["app.kubernetes.io/instance"] == "rayclustervmtest"


def test_the_board_is_whole_and_found_by_grafana() -> None:
    item = objects()["ConfigMap/rayclustervmtest-board"]
    assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((name, text),) = item["data"].items()
    document = json.loads(text)
    assert name.endswith(".json") and len(document["uid"]) <= 40
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len(set(places)) == len(places) == len(board_queries("a", "b"))
    assert all(OWN in target["expr"] for panel in document["panels"] for target in panel["targets"])


def test_every_series_of_vllm_is_one_that_each_version_has() -> None:
    found = objects()
    asked = [rule["expr"] for rule in rules(found)]
    asked += [expr for _title, _unit, queries in board_queries("a", "b") for expr, _legend in queries]
    names = {name for expr in asked for name in re.findall(r"vllm:(\w+)", expr)}
    assert names and {re.sub(r"_(total|bucket)$", "", name) for name in names} <= VLLM


def series(name: str, values: str, labels: str = "") -> dict[str, str]:
    return {"series": f"{name}{{{OWN}{labels}}}", "values": values}


UP = series("up", "1+0x400", ', pod="w"')
SERVING, STARTING = (series("multinode_state", f"{value}+0x400", ', state="serving"') for value in (1, 0))
SUCCESS = "vllm:request_success_total"
OWN_ASKED = series("multinode_own_completions_total", "0+1x800")
# Alert, series (one value a minute), minutes until it fires, and series with which it does not.
ALERTS: list[tuple[str, list[dict[str, str]], int, list[dict[str, str]]]] = [
    ("MultinodeNotReady", [UP, STARTING], 17, [UP, SERVING]),
    # The head does not answer: its targets are known, and nothing else is.
    ("MultinodeNotReady", [series("up", "0+0x400")], 17, [SERVING]),
    (
        "MultinodeGaveUp",
        [series("multinode_state", "1+0x40", ', state="given_up"')],
        3,
        [series("multinode_state", "0+0x40", ', state="given_up"')],
    ),
    ("MultinodeRestarting", [series("multinode_failures", "2+0x40")], 1, [series("multinode_failures", "0+0x40")]),
    (
        "MultinodeGpusMissing",
        [series("multinode_gpus", "8+0x40"), series("multinode_gpus_expected", "16+0x40")],
        17,
        [series("multinode_gpus", "16+0x40"), series("multinode_gpus_expected", "16+0x40")],
    ),
    (
        "MultinodeQueueGrowing",
        [series("vllm:num_requests_waiting", "1+1x60")],
        30,
        [series("vllm:num_requests_waiting", "5+0x60")],
    ),
    (
        "MultinodeKvCacheFull",
        [series("vllm:kv_cache_usage_perc", "0.99+0x60")],
        25,
        [series("vllm:kv_cache_usage_perc", "0.9+0x60")],
    ),
    (
        "MultinodeIdle",
        [series(SUCCESS, "0+1x800", ', finished_reason="length"'), OWN_ASKED],
        600,
        [series(SUCCESS, "0+2x800", ', finished_reason="length"'), OWN_ASKED],
    ),
    # 12 and 15 days after 1970, and the day before.
    ("MultinodeSourceEnds", [UP], 12 * 24 * 60 + 60, []),
    ("MultinodeCertificateEnds", [UP], 15 * 24 * 60 + 60, []),
]


@pytest.mark.parametrize(("alert", "firing", "minutes", "quiet"), ALERTS, ids=[entry[0] for entry in ALERTS])
def test_an_alert_fires_when_it_should_and_not_before(
    alert: str, firing: list[dict[str, str]], minutes: int, quiet: list[dict[str, str]], tmp_path: Path
) -> None:
    groups = [{"name": "all", "rules": rules(objects(**exposed("load_balancer")))}]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    expr = f'count(ALERTS{{alertname="{alert}", alertstate="firing", {OWN}}})'

    def case(inputs: list[dict[str, str]], at: int, fires: bool) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": 1}] if fires else []
        asked = {"expr": expr, "eval_time": f"{at}m", "exp_samples": samples}
        return {"interval": "1m", "input_series": inputs, "promql_expr_test": [asked]}

    ends = alert.endswith("Ends")
    tests = [
        case(firing, minutes, True),
        case(firing if ends else quiet, minutes - 24 * 60 if ends else minutes, False),
    ]
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1h" if ends else "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(json.dumps(document))
    command = [prometheus.find("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_and_every_query_of_the_board_is_promql(tmp_path: Path) -> None:
    asked = [expr for _title, _unit, queries in board_queries("a", "b") for expr, _legend in queries]
    recorded = [{"record": f"board:{number}", "expr": expr} for number, expr in enumerate(asked)]
    groups = [{"name": "all", "rules": [*rules(objects()), *recorded]}]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    command = [prometheus.find("promtool"), "check", "rules", "rules.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked) + len(rules(objects()))} rules found" in done.stdout


def test_each_rule_says_what_and_of_whom() -> None:
    found = rules(objects())
    assert len({rule["alert"] for rule in found}) == len(found) == len({entry[0] for entry in ALERTS})
    for rule in found:
        assert rule["labels"]["deployment"] == rule["labels"]["namespace"] == "rayclustervmtest"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert "rayclustervmtest" in rule["annotations"]["summary"] and rule["annotations"]["description"].endswith(".")
