#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark
short_description: Measure a deployment with vLLM's own benchmark
version_added: 0.1.0
description:
  - Reads from the extra variables which deployment is meant and how it is measured (C(benchmark_input_tokens),
    C(benchmark_output_tokens), C(benchmark_requests), C(benchmark_minutes)).
  - Runs C(vllm bench serve) from the deployment's own image in a Job without a GPU on a node of the group, with random prompts of a fixed
    seed, at 1, 4, 16 and so on requests at once. Answers have their full length, whatever the model would end with.
  - The figures are kept on the RayCluster, where M(multinode.inference.deployment_info) reads them.
  - The Job is removed at the end. Where the playbook is killed, Kubernetes removes it some minutes after its end.
author:
  - multinode.inference contributors (@multinode-inference)
attributes:
  check_mode:
    description: Says at which loads it would measure, and creates no Job.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: It measures each time.
    support: none
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Measure the deployment
  multinode.inference.benchmark:
"""

RETURN = r"""
measured:
  description:
    - What each load came to. Times in milliseconds, the median and, as C(_p99), what 99 of 100 requests stay within; C(ttft) to the first
      token, C(tpot) of each token after it, C(itl) between two tokens as they arrive, C(latency) of a whole answer. C(at_once) is how many
      requests were under way in the fullest second.
    - A load that could not be measured has C(concurrency) and C(error) alone.
  returned: success
  type: list
  elements: dict
  sample: [{concurrency: 4, at_once: 4, ttft_ms: 45.2, ttft_p99_ms: 80.1, tpot_ms: 12.5, tpot_p99_ms: 14.0, itl_ms: 12.4, itl_p99_ms: 15.0,
    latency_ms: 1640.0, latency_p99_ms: 1700.0, tokens_per_second: 310.5, all_tokens_per_second: 1552.5, requests_per_second: 2.42,
    seconds: 4.9, completed: 12, failed: 0}]
loads:
  description: The numbers of requests at once that were to be measured.
  returned: success
  type: list
  elements: int
  sample: [1, 4, 16]
at:
  description: When it began, UTC; not in check mode.
  returned: success
  type: str
  sample: "2026-01-01T00:00:00.000Z"
input_tokens:
  description: Tokens of each prompt.
  returned: success
  type: int
  sample: 512
output_tokens:
  description: Tokens of each answer.
  returned: success
  type: int
  sample: 128
planned:
  description: What the plan said, as deploy recorded it; empty where it is not recorded.
  returned: success
  type: dict
  sample: {context: 131072, concurrent: 8.0, kv_tokens: 1048576, kv_tokens_high: 1060000}
at_start:
  description: What vLLM measured at its start.
  returned: success
  type: dict
  sample: {cache_tokens: 1049600}
remarks:
  description: What is to be known of the figures, each with C(code), C(where), C(found), C(expected) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
started:
  description: When the work began, UTC.
  returned: always
  type: str
  sample: "2026-01-01T00:00:00.000Z"
ended:
  description: When the work ended, UTC.
  returned: always
  type: str
  sample: "2026-01-01T00:00:01.000Z"
faults:
  description: What was found wrong, each with C(code), C(where), C(found), C(expected) and C(remedy).
  returned: failure
  type: list
  elements: dict
  sample: []
"""
