# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificate that vLLM serves with where TLS ends in the pod: copies of the mounted Secret's files, brought up to date in place.

The kubelet replaces the files of a mounted Secret by others, and vLLM watches the files that it read (SSLCertRefresher, with
--enable-ssl-refresh): of replaced ones it would see the first replacement only.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from pod_progress import log

FOLDER = Path(os.environ.get("MULTINODE_TLS", "/run/secrets/multinode/tls"))
# vLLM's options, and the entries of the Secret.
_OPTIONS = (("--ssl-keyfile", "tls.key"), ("--ssl-certfile", "tls.crt"))


class Certificate:
    """Certificate and key that an engine with these arguments is given; none where it has no TLS."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._targets = {
            name: Path(arguments[arguments.index(option) + 1]) for option, name in _OPTIONS if option in arguments
        }
        self._seen: dict[str, bytes] = {}

    def bring(self) -> None:
        """Give vLLM what the Secret holds now. A pair that cannot be used is told once, and the former one stays."""
        if not self._targets:
            return
        try:
            held = (FOLDER / "..data").resolve()
            folder = held if held.exists() else FOLDER
            found = {name: (folder / name).read_bytes() for name in self._targets}
        except OSError:
            # The kubelet replaces them at this moment.
            return
        if found == self._seen:
            return
        self._seen = found
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "tls.crt", folder / "tls.key", password="")
        except (OSError, ValueError) as error:
            log(f"the endpoint's certificate cannot be used, the former one stays: {error}")
            return
        for name, path in self._targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(found[name])
        log("the endpoint's certificate is brought to vLLM")
