# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the names of an endpoint lead to it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from ..module_utils.core.fault import Fault


def missing_records(names: Iterable[str], address: str) -> list[Fault]:
    """Return a warning for each name that does not lead to the load balancer's `address`, with the record it lacks."""
    wanted = _addresses(address)
    missing = []
    for name in names:
        found = _addresses(name)
        if wanted & found:
            continue
        missing.append(
            Fault(
                "dns_record_missing",
                name,
                f"leads to {', '.join(sorted(found))}" if found else "no name server here knows it",
                f"the load balancer's address, {address}",
                f"make the DNS record: {name} {_kind(address)} {address}; until then that address answers, too",
            )
        )
    return missing


def _addresses(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return set()


def _kind(address: str) -> str:
    try:
        return "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
    except ValueError:
        return "CNAME"
