# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The start script of a node.

Giving user data replaces OKE's own script, so ours has to fetch and run it (Oracle, "Using Custom Cloud-init
Initialization Scripts"). The disks come first: a larger boot volume alone leaves the file system at the image's size,
local drives arrive raw, and the kubelet reports the disk that it sees when it starts.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence

_HEAD = """\
#!/usr/bin/env bash
# A node of a multinode.inference deployment: prepare its disks, then join the cluster as OKE does it.
set -o errexit -o pipefail
if [ -x /usr/libexec/oci-growfs ]; then
    # A node with a small disk can be seen and replaced, one that does not join says nothing.
    /usr/libexec/oci-growfs -y || echo "the root file system was not grown" >&2
fi
"""

# The label finds the file system again when only the boot volume was replaced. Pods write as users of their own.
_NVME = """\
shopt -s nullglob
drives=()
for drive in /dev/nvme*n1; do
    if [ -z "$(lsblk --noheadings --output MOUNTPOINT "$drive" | tr -d '[:space:]')" ]; then
        drives+=("$drive")
    fi
done
mdadm --assemble --scan --quiet || true
if ! blkid --label multinode > /dev/null; then
    device="${{drives[0]:?no local NVMe drive}}"
    if [ "${{#drives[@]}}" -gt 1 ]; then
        device=/dev/md/multinode
        mdadm --create "$device" --run --force --level=0 --raid-devices="${{#drives[@]}}" "${{drives[@]}}"
        mdadm --detail --scan >> /etc/mdadm.conf
    fi
    mkfs.xfs -f -L multinode "$device"
fi
mkdir --parents {folder}
echo LABEL=multinode {folder} xfs defaults,noatime,nofail 0 2 >> /etc/fstab
mount {folder}
chmod 1777 {folder}
"""

_JOIN = """\
curl --fail --silent --show-error --location --retry 10 --header "Authorization: Bearer Oracle" \\
    http://169.254.169.254/opc/v2/instance/metadata/oke_init_script | base64 --decode > /var/run/oke-init.sh
bash /var/run/oke-init.sh{arguments}
"""


def user_data(taints: Sequence[str] = (), nvme_folder: str = "") -> str:
    """Return the node's start script as the pool's `user_data` metadata wants it: base64 of UTF-8 text.

    taints       `key=value:Effect`; the kubelet registers with them, since the API of node pools has no taints
    nvme_folder  where the local NVMe drives are mounted, joined to one file system; "" leaves them alone
    """
    script = _HEAD
    if nvme_folder:
        script += _NVME.format(folder=shlex.quote(nvme_folder))
    arguments = ""
    if taints:
        arguments = " --kubelet-extra-args " + shlex.quote(f"--register-with-taints={','.join(taints)}")
    script += _JOIN.format(arguments=arguments)
    return base64.b64encode(script.encode()).decode()
