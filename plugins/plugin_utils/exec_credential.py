# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A credential command for kubeconfigs: prints a token for an OKE cluster, made of the OCI sign-in.

Helm's Go client runs it whenever it needs a token, by the absolute path of this file and of the controller's Python. What
is not given as an option is taken from the environment, as everywhere (`ENVIRONMENT` of the OCI room).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Print the credential, or what is wrong with the sign-in."""
    # Not installed, and run without Ansible: the rooms are found beside this file, not in its folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from module_utils.core.fault import Refused
    from module_utils.oci.client import sign_in_by
    from module_utils.oci.cluster_access import LIFE_SECONDS, ClusterTokens

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cluster_id")
    parser.add_argument("--auth-type")
    parser.add_argument("--config-file", dest="config_file_location")
    parser.add_argument("--profile", dest="config_profile_name")
    parser.add_argument("--region")
    parser.add_argument("--endpoint", dest="oci_service_endpoint")
    given = vars(parser.parse_args(arguments))
    began = time.time()
    try:
        token = ClusterTokens(sign_in_by(given), given["cluster_id"])()
    except Refused as refused:
        print("\n".join(fault.line() for fault in refused.faults), file=sys.stderr)
        return 1
    # client-go asks again when it expires, well before OKE rejects it.
    ends = datetime.fromtimestamp(began + LIFE_SECONDS - 30, timezone.utc)
    status = {"token": token, "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
    print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
