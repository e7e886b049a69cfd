#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oci_preauthenticated_request
short_description: Pre-authenticated request that reads a folder of a bucket
version_added: 0.1.0
description:
  - Makes or revokes a pre-authenticated request (PAR) of OCI Object Storage, which lists and reads the objects below a
    prefix (C(AnyObjectRead) with C(ListObjects)).
  - A request's URL is told once, when it is made, and is a secret. Keep RV(url) where only those read it who may, and give
    O(id) from then on. A request that serves is left as it is; without O(id), or near its end, a new one is made.
  - All requests of the bucket with the name are taken for one and the same. Once the one with O(id) serves, the others of
    the name are revoked that are older, or older than an hour, such as one whose URL was lost with a run that was killed.
    A newer one may be another deploy's.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description:
      - Name of the request.
    type: str
    required: true
  bucket_name:
    description:
      - Name of the bucket.
    type: str
    required: true
  bucket_namespace:
    description:
      - Object Storage namespace of the bucket. Without it the tenancy's own.
    type: str
  cluster_id:
    description:
      - OCID whose region is that of the bucket where O(region) is not given.
    type: str
  prefix:
    description:
      - What the names of the objects begin with; a folder ends with a slash. Without it the whole bucket.
    type: str
    default: ''
  id:
    description:
      - Identifier of the request whose URL is at hand.
    type: str
  days:
    description:
      - Days that a new request holds. It is renewed 30 days before its end, or when three quarters of a shorter life are over.
    type: int
    default: 365
  state:
    description:
      - V(present) makes the request where the one with O(id) does not serve.
      - V(absent) revokes all requests of the name.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the requests before and after, without a URL.
    support: full
  idempotent:
    description: A second run with the O(id) of the first changes nothing.
    support: full
extends_documentation_fragment:
  - multinode.inference.oci_authentication
seealso:
  - module: multinode.inference.model_info
"""

EXAMPLES = r"""
- name: Read access to a model's folder for a year
  multinode.inference.oci_preauthenticated_request:
    name: llama
    bucket_name: models
    prefix: NousResearch/Meta-Llama-3.1-8B-Instruct/
  no_log: true
  register: access

- name: Revoke it
  multinode.inference.oci_preauthenticated_request:
    name: llama
    bucket_name: models
    state: absent
"""

RETURN = r"""
request:
  description: The request that serves, without its URL. Empty when there is none, and in check mode when one would be made.
  returned: success
  type: dict
  contains:
    id:
      description: Its identifier.
      returned: when it exists
      type: str
      sample: 1G9pfj8elWI0COPtQUmoQayRmYegDrTWjBskI5BixeGY
    name:
      description: Its name.
      returned: when it exists
      type: str
      sample: llama
    region:
      description: Region of the bucket.
      returned: when it exists
      type: str
      sample: us-ashburn-1
    namespace:
      description: Object Storage namespace of the bucket.
      returned: when it exists
      type: str
      sample: idabcdefgh
    bucket:
      description: Name of the bucket.
      returned: when it exists
      type: str
      sample: models
    prefix:
      description: What the names of the objects begin with.
      returned: when it exists
      type: str
      sample: NousResearch/Meta-Llama-3.1-8B-Instruct/
    time_expires:
      description: When it ends.
      returned: when it exists
      type: str
      sample: "2027-01-01T00:00:00+00:00"
    time_renewed:
      description: From when on this module makes a new one in its place.
      returned: when it exists
      type: str
      sample: "2026-12-02T00:00:00+00:00"
url:
  description: URL of a request that was made, a secret.
  returned: when one was made
  type: str
  sample: https://objectstorage.us-ashburn-1.oraclecloud.com/p/SECRET/n/idabcdefgh/b/models/o/
revoked:
  description: Identifiers of the requests that were revoked.
  returned: success
  type: list
  elements: str
  sample: []
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

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.preauthenticated_requests import (
    PreauthenticatedRequests,
    serves,
    superseded,
)
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Do what the options ask for and return the module's result."""
    given = module.params
    requests = PreauthenticatedRequests(
        connect(module, given["cluster_id"] or ""), given["bucket_name"], given["name"], given["bucket_namespace"] or ""
    )
    found = requests.listed()
    result: dict[str, Any] = {"changed": False, "request": {}, "revoked": []}
    useless = found
    if given["state"] == "present":
        now = datetime.now(timezone.utc)
        kept = next((one for one in found if one["id"] == given["id"] and serves(one, given["prefix"], now)), None)
        if kept is None:
            return _made(module, requests, found)
        result["request"] = kept
        useless = [one for one in found if superseded(one, kept, now)]
    for one in useless:
        result["revoked"].append(one["id"])
        if not module.check_mode:
            requests.delete(one["id"])
    result["changed"] = bool(result["revoked"])
    result["diff"] = {
        "before": {"requests": found},
        "after": {"requests": [one for one in found if one not in useless]},
    }
    return result


def _made(module: AnsibleModule, requests: PreauthenticatedRequests, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a request. The others stay until its URL is where it is read: until the next run with its id."""
    result: dict[str, Any] = {"changed": True, "request": {}, "revoked": []}
    after = {"name": module.params["name"], "prefix": module.params["prefix"]}
    if not module.check_mode:
        result["request"], result["url"] = requests.create(module.params["prefix"], module.params["days"])
        after = result["request"]
    return {**result, "diff": {"before": {"requests": found}, "after": {"requests": [*found, after]}}}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "name": {"type": "str", "required": True},
        "bucket_name": {"type": "str", "required": True},
        "bucket_namespace": {"type": "str"},
        "cluster_id": {"type": "str"},
        "prefix": {"type": "str", "default": ""},
        "id": {"type": "str"},
        "days": {"type": "int", "default": 365},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
