# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the pod's own programs reach the engine beside them: over loopback, with one of the deployment's keys."""

from __future__ import annotations

import http.client
import ssl

from engine_keys import Keys

# Of an answer of the engine that is read; its metrics are the longest.
MOST_BYTES = 16 * 1024 * 1024


def connect(port: int, tls: bool, seconds: float) -> http.client.HTTPConnection:
    """Return a connection to the engine of this pod. Its certificate is for the endpoint's hosts, not for loopback."""
    if tls:
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)


def authorization() -> dict[str, str]:
    """Return the header with a key that is valid now; none where there is no key."""
    key = Keys().own()
    return {"Authorization": f"Bearer {key}"} if key else {}
