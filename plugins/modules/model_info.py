#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Facts of a model, read from its files
version_added: 0.1.0
description:
  - Reads a model's configuration, the index of its weights, and the names and sizes of its files, from where the files
    are. Weights are not read.
  - Files that serving does not need are left out, each with the reason.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  par:
    description:
      - URL of a pre-authenticated request (PAR) of OCI Object Storage that allows reading and listing.
      - It is a secret; results and messages name its host, bucket and prefix only.
      - V(http://) is taken only for the address that O(oci_service_endpoint) names for Object Storage.
    type: str
  bucket_name:
    description:
      - Name of a bucket of OCI Object Storage, read with the caller's sign-in.
    type: str
  bucket_namespace:
    description:
      - Object Storage namespace of O(bucket_name). Without it the tenancy's own.
    type: str
  folder:
    description:
      - Path of a folder on the machine that runs the module.
    type: path
  repository:
    description:
      - Name of a Hugging Face repository.
    type: str
  revision:
    description:
      - Branch, tag or commit of O(repository).
    type: str
    default: main
  choices:
    description:
      - What a deployment was made with, as M(multinode.inference.deployment_info) returns it. Where it names a commit for
        O(repository) at O(revision), that commit is read, whatever the revision names today.
    type: dict
    default: {}
  huggingface_token:
    description:
      - Token for O(repository) when it is private or gated. Without it E(HF_TOKEN); an empty text is no token.
    type: str
  huggingface_endpoint:
    description:
      - URL of the service that has O(repository). Without it E(HF_ENDPOINT).
    type: str
    default: https://huggingface.co
  cluster_id:
    description:
      - OCID whose region is that of O(bucket_name) where O(region) is not given.
    type: str
  prefix:
    description:
      - Folder of the model in O(par) or O(bucket_name).
    type: str
    default: ''
  include:
    description:
      - Files, folders or shell patterns to take, from the top of the bucket or of the model. Without it all.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Files, folders or shell patterns to leave out.
    type: list
    elements: str
    default: []
  load_format:
    description:
      - Load format of vLLM. V(mistral) takes the consolidated files, which are left out else.
    type: str
    default: auto
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Changes nothing in any mode.
    support: full
notes:
  - The sign-in options and the C(oci) library are needed for O(bucket_name) only.
extends_documentation_fragment:
  - multinode.inference.oci_authentication
"""

EXAMPLES = r"""
- name: A model behind a pre-authenticated request
  multinode.inference.model_info:
    par: "{{ par }}"
    prefix: NousResearch/Meta-Llama-3.1-8B-Instruct
  no_log: true
  register: found

- name: A folder of this machine
  multinode.inference.model_info:
    folder: "{{ models }}/llama"
  register: found

- name: A Hugging Face repository
  multinode.inference.model_info:
    repository: NousResearch/Meta-Llama-3.1-8B-Instruct
  register: found
"""

RETURN = r"""
model:
  description: The facts.
  returned: success
  type: dict
  contains:
    config:
      description: Content of the model's configuration.
      returned: always
      type: dict
      sample: {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32}
    index:
      description: C(weight_map) (tensor to file) and C(metadata) of the weights' index, with its name as
        C(file) and the bytes that it states as C(total_size), null when it states none. Empty when the model has no index.
      returned: always
      type: dict
      sample: {"file": "model.safetensors.index.json", "weight_map": {}, "metadata": {}, "total_size": 16060522496}
    hf_quant_config:
      description: Content of ModelOpt's C(hf_quant_config.json) where the configuration says nothing of a quantization.
        Empty else.
      returned: always
      type: dict
      sample: {}
    tokenizer:
      description: Names of the tokenizer's files. Empty when there is none.
      returned: always
      type: list
      elements: str
      sample: ["tokenizer.json"]
    files:
      description: Files to stage, names relative to RV(model.prefix). C(md5) is base64, C(sha256) hexadecimal, each null
        where the service has none.
      returned: always
      type: list
      elements: dict
      sample: [{"name": "config.json", "size": 855, "md5": "1B2M2Y8AsgTpgAmY7PhCfg==", "sha256": null}]
    bytes:
      description: Bytes of all these files.
      returned: always
      type: int
      sample: 16069633321
    left_out:
      description: Files that are not staged, and why.
      returned: always
      type: list
      elements: dict
      sample: [{"name": "original/params.json", "why": "the publisher's original format"}]
    source:
      description: Where the files are; C(kind) is C(par), C(bucket), C(folder) or C(hugging_face). No secret is in it.
        Of a repository C(commit) is what was read, and C(newest) what a branch or tag names today.
      returned: always
      type: dict
      sample: {"kind": "bucket", "place": "/n/namespace/b/models/o/", "bucket": "models"}
    prefix:
      description: The model's folder as a prefix of object names.
      returned: always
      type: str
      sample: NousResearch/Meta-Llama-3.1-8B-Instruct/
started:
  description: When the work began, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:00.000Z"
ended:
  description: When the work ended, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:01.000Z"
faults:
  description: What was found wrong; see M(multinode.inference.oci_node_pool).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.multinode.inference.plugins.module_utils.oci.module import connect, sign_in_argument_spec
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run
from ansible_collections.multinode.inference.plugins.module_utils.sources.facts import model_facts
from ansible_collections.multinode.inference.plugins.module_utils.sources.hugging_face import DEFAULT_ENDPOINT
from ansible_collections.multinode.inference.plugins.module_utils.sources.opening import open_source

SOURCES = ("par", "bucket_name", "folder", "repository")


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the model and return the module's result."""
    given = module.params
    source = open_source(given, lambda resource_ocid: connect(module, resource_ocid))
    facts = model_facts(source, given["include"], given["exclude"], given["load_format"])
    return {"changed": False, "model": facts}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "par": {"type": "str", "no_log": True},
        "bucket_name": {"type": "str"},
        "bucket_namespace": {"type": "str"},
        "folder": {"type": "path"},
        "repository": {"type": "str"},
        "revision": {"type": "str", "default": "main"},
        "choices": {"type": "dict", "default": {}},
        "huggingface_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["HF_TOKEN"])},
        "huggingface_endpoint": {
            "type": "str",
            "default": DEFAULT_ENDPOINT,
            "fallback": (env_fallback, ["HF_ENDPOINT"]),
        },
        "cluster_id": {"type": "str"},
        "prefix": {"type": "str", "default": ""},
        "include": {"type": "list", "elements": "str", "default": []},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "load_format": {"type": "str", "default": "auto"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[SOURCES],
        required_one_of=[SOURCES],
        supports_check_mode=True,
    )
    run(module, body)


if __name__ == "__main__":
    main()
