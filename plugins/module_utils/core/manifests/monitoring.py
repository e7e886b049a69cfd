# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The objects by which Prometheus and Grafana watch a deployment (prometheus-operator's API, monitoring.coreos.com/v1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..names import object_names, short_hash
from ..plan.types import Plan
from .monitoring_rules import board_queries, certificate_rules, rules

VERSION = "monitoring.coreos.com/v1"
# What only a cluster with prometheus-operator has.
KINDS = ((VERSION, "PodMonitor", "podmonitors"), (VERSION, "PrometheusRule", "prometheusrules"))
DEFINITIONS = tuple(f"{plural}.monitoring.coreos.com" for _version, _kind, plural in KINDS)
# By which Grafana's sidecar finds boards (grafana chart, sidecar.dashboards.label).
_BOARD_LABEL = {"grafana_dashboard": "1"}
_INTERVAL = "30s"
_PANEL = {"w": 12, "h": 8}


def monitoring_objects(plan: Plan, source_end: str | None, key_name: str) -> list[dict[str, Any]]:
    """Return PodMonitor, PrometheusRule and the board of a plan that is watched.

    source_end  of `rules`
    key_name    the entry of the deployment's Secret of API keys that Prometheus asks with
    """
    name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
    return [
        _object(plan, VERSION, "PodMonitor", name, {"spec": _pod_monitor(plan, key_name)}),
        _rule(plan, name, rules(name, namespace, source_end)),
        board(plan),
    ]


def certificate_rule(plan: Plan, end: str | None) -> list[dict[str, Any]]:
    """Return the PrometheusRule of the endpoint's certificate, none where nobody watches or its end is not known.

    It is one of its own since the certificate is known only when the endpoint has an address.
    """
    name = plan["deployment"]["name"]
    if not plan["endpoint"]["monitoring"] or not end:
        return []
    return [_rule(plan, object_names(name)["certificate_rule"], certificate_rules(name, end))]


def _rule(plan: Plan, rule_name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    labels = {"deployment": plan["deployment"]["name"], "namespace": plan["deployment"]["namespace"]}
    marked = [{**rule, "labels": {**rule["labels"], **labels}} for rule in found]
    return _object(
        plan,
        VERSION,
        "PrometheusRule",
        rule_name,
        {"spec": {"groups": [{"name": f"multinode-{rule_name}", "rules": marked}]}},
    )


def board(plan: Plan) -> dict[str, Any]:
    """Return the ConfigMap with the deployment's board."""
    name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "gridPos": {**_PANEL, "x": number % 2 * _PANEL["w"], "y": number // 2 * _PANEL["h"]},
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + position), "expr": expr, "legendFormat": legend}
                for position, (expr, legend) in enumerate(queries)
            ],
        }
        for number, (title, unit, queries) in enumerate(board_queries(name, namespace))
    ]
    document = {
        "uid": f"multinode-{short_hash([namespace, name])}",
        "title": f"{name} ({namespace})",
        "tags": ["multinode.inference"],
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }
    item = _object(plan, "v1", "ConfigMap", object_names(name)["board"], {})
    item["metadata"]["labels"] = dict(_BOARD_LABEL)
    item["data"] = {f"{namespace}-{name}.json": json.dumps(document, indent=1)}
    return item


def _pod_monitor(plan: Plan, key_name: str) -> dict[str, Any]:
    name = plan["deployment"]["name"]
    credentials = {"name": object_names(name)["api_key_secret"], "key": key_name}
    with_key = {"authorization": {"type": "Bearer", "credentials": credentials}}
    # The certificate is for the endpoint's hosts, and Prometheus asks the pod's address.
    secure = {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}} if plan["endpoint"]["tls_to_pod"] else {}
    common = {
        "path": "/metrics",
        "interval": _INTERVAL,
        "relabelings": [{"targetLabel": "deployment", "replacement": name}],
    }
    return {
        "namespaceSelector": {"matchNames": [plan["deployment"]["namespace"]]},
        "selector": {"matchLabels": {"ray.io/cluster": name}},
        "podMetricsEndpoints": [
            {"port": "api", **common, **with_key, **secure},
            {"port": "status", **common, **with_key},
            # Ray asks for no token there, and its own is an administrator's: it is not handed out.
            {"port": "metrics", **common},
        ],
    }


def _object(plan: Plan, version: str, kind: str, name: str, more: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": plan["deployment"]["namespace"]}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}
