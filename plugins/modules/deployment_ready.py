#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_ready
short_description: Wait until a deployment serves
version_added: 0.1.0
description:
  - Waits until the head answered a completion and every pod runs, then until the endpoint answers one too, by its host,
    with its certificate verified.
  - Gives the endpoint its hosts and its certificate as soon as its address is known.
  - Prints a line when something changes, or every 30 seconds, with what it waits for, the progress and the time so far.
  - Fails early, with the cause, when waiting cannot help.
  - Watches the nodes of the node pool meanwhile. A node that failed, did not join, has no GPUs or too small a disk is
    replaced, as many as C(node_repair_limit) says; where there are no hosts, the pool goes to the next availability
    domain, or is scaled to zero (C(on_shortfall)).
author:
  - multinode.inference contributors (@multinode-inference)
options:
  plan:
    description: The plan, as M(multinode.inference.plan) returns it.
    type: dict
    required: true
attributes:
  check_mode:
    description: Waits for nothing.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Running it again changes nothing.
    support: full
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Wait for a token
  multinode.inference.deployment_ready:
    plan: "{{ preflight_result.plan }}"
"""

RETURN = r"""
state:
  description: State of the deployment.
  returned: success
  type: str
  sample: Ready
model:
  description: Name under which the model is served.
  returned: success
  type: str
  sample: Meta-Llama-3.1-8B-Instruct
completion:
  description: Text of the completion that came back.
  returned: success
  type: str
  sample: " Paris"
measured:
  description:
    - What vLLM measured at its start, C(weights_gib) and C(cache_gib) on the fullest GPU, C(cache_tokens), and C(concurrency) in
      requests of the longest kind.
  returned: success
  type: dict
  sample: {weights_gib: 16.5, cache_gib: 51.28, cache_tokens: 1049600, concurrency: 8.01}
recipes:
  description: URLs by their labels.
  returned: success
  type: dict
  sample: {llama-raycluster-app: "https://llama.192-0-2-10.nip.io"}
url:
  description: URL of the API by its host.
  returned: when the endpoint is exposed
  type: str
  sample: https://llama.192-0-2-10.nip.io
address:
  description: Address of the load balancer, Ingress or Gateway, which answers before the host's name leads to it.
  returned: when the endpoint is exposed
  type: str
  sample: 192.0.2.10
host:
  description: The API's host.
  returned: when the endpoint is exposed
  type: str
  sample: llama.192-0-2-10.nip.io
port:
  description: The API's port.
  returned: when the endpoint is exposed
  type: int
  sample: 443
ca_pem:
  description: Certificate of the authority that the endpoint's certificate is verified by; null where the system's are.
  returned: when the endpoint is exposed
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
objects:
  description: Objects that were changed once the endpoint's address was known, each with C(object) and C(change).
  returned: success
  type: list
  elements: dict
  sample: []
records_missing:
  description: Names of the endpoint that do not lead to it, each with the DNS record that is missing.
  returned: when the endpoint is exposed
  type: list
  elements: dict
  sample: []
key_command:
  description: Command that prints the API key.
  returned: success
  type: str
  sample: kubectl get secret llama-api-key
remarks:
  description: What was seen during the wait that does not forbid serving, each with C(code), C(where), C(found), C(expected) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
repairs:
  description:
    - What was done about nodes, in order; also when it failed afterwards.
  returned: always
  type: list
  elements: dict
  contains:
    at:
      description: When, UTC.
      returned: always
      type: str
      sample: "2026-01-01T00:10:00.000Z"
    code:
      description: What was found.
      returned: always
      type: str
      sample: node_not_joined
    id:
      description: OCID of the node or the node pool.
      returned: always
      type: str
      sample: ocid1.instance.oc1.iad.aaaa
    name:
      description: Its name.
      returned: always
      type: str
      sample: node 10.0.0.5
    action:
      description: What was done.
      returned: always
      type: str
      sample: replaced
    reason:
      description: Why.
      returned: always
      type: str
      sample: is ACTIVE in Oracle Cloud and not in Kubernetes
timeline:
  description: When each phase ended.
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
