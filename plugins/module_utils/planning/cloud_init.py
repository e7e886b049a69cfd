# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The start script of a node.

Giving user data replaces OKE's own script, so ours has to fetch and run it (Oracle, "Using Custom Cloud-init
Initialization Scripts"). The file system is grown first: a larger boot volume alone leaves it at the image's size, and
the kubelet reports the disk it sees when it starts.
"""

from __future__ import annotations

import base64

_SCRIPT = """\
#!/usr/bin/env bash
# A node of a multinode.inference deployment: grow the root file system, then join the cluster as OKE does it.
set -o errexit -o pipefail
if [ -x /usr/libexec/oci-growfs ]; then
    /usr/libexec/oci-growfs -y
fi
curl --fail --silent --show-error --location --retry 10 --header "Authorization: Bearer Oracle" \\
    http://169.254.169.254/opc/v2/instance/metadata/oke_init_script | base64 --decode > /var/run/oke-init.sh
bash /var/run/oke-init.sh
"""


def user_data() -> str:
    """Return the node's start script as the pool's `user_data` metadata wants it: base64 of UTF-8 text."""
    return base64.b64encode(_SCRIPT.encode()).decode()
