# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of the benchmark playbook."""

from __future__ import annotations

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
