# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of the benchmark playbook, and of who watches a deployment."""

from __future__ import annotations

from . import formats
from .parameter import of_no_pod

BENCHMARK = (
    of_no_pod(
        "benchmark_input_tokens",
        "integer",
        "Tokens of each prompt of the benchmark playbook, random ones.",
        default=512,
        minimum=16,
        maximum=1048576,
    ),
    of_no_pod(
        "benchmark_output_tokens",
        "integer",
        "Tokens of each answer; no answer ends before.",
        default=128,
        minimum=2,
        maximum=1048576,
    ),
    of_no_pod(
        "benchmark_requests",
        "integer",
        "Most requests at once. Without it, as many as the plan's KV cache is sure to hold, at most 256.",
        minimum=1,
        maximum=256,
    ),
    of_no_pod(
        "benchmark_minutes",
        "integer",
        "How long the benchmark may take; loads that are not measured by then are left out.",
        default=15,
        minimum=1,
        maximum=240,
    ),
)

MONITORING = (
    of_no_pod(
        "monitoring",
        "string",
        "prometheus_operator: PodMonitor, alerts and a Grafana board of the deployment, for a cluster that has prometheus-operator. "
        "none: no such objects. See docs/monitoring.md.",
        default="none",
        choices=("none", "prometheus_operator"),
    ),
    of_no_pod(
        "metrics_namespaces",
        "list",
        "Namespaces whose pods may read the metrics of Ray from each pod of the group (metrics_export_port) and those of the group "
        "(8081), such as that of Prometheus.",
        format=formats.NAMESPACE,
    ),
    of_no_pod(
        "wait_timeout_minutes",
        "integer",
        "How long deploy waits for the first token.",
        default=120,
        minimum=1,
    ),
    of_no_pod(
        "lease_wait_seconds",
        "integer",
        "How long a run waits for another run that works on the same deployment; 0: ends at once and names it. A run that "
        "was killed is waited for 120 s at most.",
        default=300,
        minimum=0,
    ),
)
