# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deployment is watched by: alerts, and the queries of its board.

`vllm:` series have the names that vLLM has had since 0.12 (vllm/v1/metrics/loggers.py), `multinode_` ones are the head's own
(roles/raycluster/files/group_metrics.py), `ray_` ones Ray's (dashboard/modules/reporter). The PodMonitor gives each the labels
`deployment` and `namespace`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

# Deploy renews both well before; who sees these alerts has not run it.
SOURCE_NEAR = timedelta(days=7)
CERTIFICATE_NEAR = timedelta(days=14)
# Requests below which a group counts as idle over IDLE: `increase` extrapolates between scrapes.
_IDLE_REQUESTS = 2
_IDLE = "4h"


def selector(name: str, namespace: str) -> str:
    """Return the label matchers of a deployment's series."""
    return f'deployment="{name}", namespace="{namespace}"'


def rules(name: str, namespace: str, source_end: str | None) -> list[dict[str, Any]]:
    """Return the alerting rules of a deployment; source_end: when the pods' access to the bucket ends (ISO 8601), where it does."""
    own = selector(name, namespace)
    there = f"(count(up{{{own}}}) > 0)"
    serving = f'(max(multinode_state{{{own}, state="serving"}}) == 1)'
    return [
        _alert(
            "MultinodeNotReady",
            f"{there} unless on() {serving}",
            "15m",
            "critical",
            f"{name} does not serve",
            "Its pods are there and its head is not serving, or does not answer. See the status and logs playbooks.",
        ),
        _alert(
            "MultinodeGaveUp",
            f'max(multinode_state{{{own}, state="given_up"}}) == 1',
            "1m",
            "critical",
            f"{name} has given up, and its nodes are still billed",
            "No restart can help, or too many failed. The head's log has the first failure; deploy tries again.",
        ),
        _alert(
            "MultinodeRestarting",
            f"max(multinode_failures{{{own}}}) > 0",
            "0m",
            "warning",
            f"{name} has restarted",
            "{{ $value }} failures count against restart_limit. See the logs playbook for the cause.",
        ),
        _alert(
            "MultinodeGpusMissing",
            f"max(multinode_gpus{{{own}}}) < max(multinode_gpus_expected{{{own}}})",
            "15m",
            "critical",
            f"{name} lacks GPUs",
            "Only {{ $value }} GPUs are in the group: a node is missing, or its GPUs are.",
        ),
        _alert(
            "MultinodeQueueGrowing",
            f"min(min_over_time(vllm:num_requests_waiting{{{own}}}[10m])) > 0 "
            f"and max(deriv(vllm:num_requests_waiting{{{own}}}[10m])) > 0",
            "5m",
            "warning",
            f"requests queue up at {name}",
            "{{ $value }} requests have waited all the time, and it becomes more.",
        ),
        _alert(
            "MultinodeKvCacheFull",
            f"max(avg_over_time(vllm:kv_cache_usage_perc{{{own}}}[10m])) > 0.95",
            "5m",
            "warning",
            f"the KV cache of {name} is full",
            "{{ $value | humanizePercentage }} are in use: further requests wait, and some are computed twice.",
        ),
        _alert(
            "MultinodeIdle",
            f"(sum(increase(vllm:request_success_total{{{own}}}[{_IDLE}])) - "
            f"sum(increase(multinode_own_completions_total{{{own}}}[{_IDLE}]))) < {_IDLE_REQUESTS}",
            _IDLE,
            "info",
            f"{name} serves nobody, and is billed",
            f"No request but its own checks for {_IDLE} and longer.",
        ),
        *(
            [_ending("MultinodeSourceEnds", "access to the model's bucket", name, source_end, SOURCE_NEAR)]
            if source_end
            else []
        ),
    ]


def certificate_rules(name: str, end: str) -> list[dict[str, Any]]:
    """Return the rule of a certificate that ends then (ISO 8601)."""
    return [_ending("MultinodeCertificateEnds", "certificate", name, end, CERTIFICATE_NEAR)]


def _ending(alert: str, what: str, name: str, end: str, near: timedelta) -> dict[str, Any]:
    at = int(datetime.fromisoformat(end).timestamp())
    return _alert(
        alert,
        f"vector({at}) - time() < {int(near.total_seconds())}",
        "0m",
        "warning",
        f"the {what} of {name} ends soon",
        "It ends in {{ $value | humanizeDuration }}. deploy renews it, and restarts nothing.",
    )


def _alert(alert: str, expr: str, time: str, severity: str, summary: str, description: str) -> dict[str, Any]:
    return {
        "alert": alert,
        "expr": expr,
        "for": time,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def board_queries(name: str, namespace: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return the panels of a deployment's board: title, unit (Grafana's name), and each query with its legend."""
    own = selector(name, namespace)

    def quantile(share: float, histogram: str) -> str:
        return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{own}}}[5m])))"

    def both(histogram: str) -> list[tuple[str, str]]:
        return [(quantile(0.5, histogram), "median"), (quantile(0.99, histogram), "99 of 100")]

    return [
        ("State", "none", [(f"multinode_state{{{own}}} == 1", "{{state}}")]),
        (
            "Requests",
            "none",
            [
                (f"sum(vllm:num_requests_running{{{own}}})", "running"),
                (f"sum(vllm:num_requests_waiting{{{own}}})", "waiting"),
            ],
        ),
        (
            "Tokens per second",
            "none",
            [
                (f"sum(rate(vllm:generation_tokens_total{{{own}}}[5m]))", "generated"),
                (f"sum(rate(vllm:prompt_tokens_total{{{own}}}[5m]))", "of prompts"),
            ],
        ),
        ("KV cache in use", "percentunit", [(f"max(vllm:kv_cache_usage_perc{{{own}}})", "fullest engine")]),
        ("Time to the first token", "s", both("vllm:time_to_first_token_seconds")),
        ("Time between tokens", "s", both("vllm:inter_token_latency_seconds")),
        ("Whole requests", "s", both("vllm:e2e_request_latency_seconds")),
        (
            "Requests by how they ended, per second",
            "reqps",
            [
                (
                    f"sum by (finished_reason) (rate(vllm:request_success_total{{{own}}}[5m]))",
                    "{{finished_reason}}",
                )
            ],
        ),
        (
            "Failures that count against the limit",
            "none",
            [
                (f"max(multinode_failures{{{own}}})", "failures"),
                (f"max(multinode_unserved_tries{{{own}}})", "unserved"),
            ],
        ),
        (
            "GPUs of the group",
            "none",
            [(f"max(multinode_gpus{{{own}}})", "there"), (f"max(multinode_gpus_expected{{{own}}})", "expected")],
        ),
        (
            "Seconds of each phase of the start",
            "s",
            [(f"max by (phase) (multinode_phase_seconds{{{own}}})", "{{phase}}")],
        ),
        (
            "Bytes of the model on the head's node",
            "bytes",
            [
                (f"max(multinode_staged_bytes{{{own}}})", "there"),
                (f"max(multinode_staged_bytes_expected{{{own}}})", "expected"),
            ],
        ),
        ("GPU utilization, by Ray", "percent", [(f"avg by (ip) (ray_node_gpus_utilization{{{own}}})", "{{ip}}")]),
    ]
