# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a file system of OCI File Storage can be mounted: the address of its mount target, and its export there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .client import Connection, all_pages

POLICY = "read file-family"


def read_exports(connection: Connection, file_systems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return {file_system_ocid, mount_target_ocid, ip, export_path, gbps} of each entry of a recipe's input_file_system.

    An entry that names mount_target_ip and export_path is not looked up. ip and export_path are "" where the mount target
    has none, or does not export the file system; gbps is the mount target's throughput, None where it is not stated.
    """
    return [
        _read(connection, entry["file_system_ocid"], entry["mount_target_ocid"])
        for entry in file_systems
        if not (entry.get("mount_target_ip") and entry.get("export_path"))
    ]


def _read(connection: Connection, file_system: str, target_id: str) -> dict[str, Any]:
    storage = connection.client("file_storage")
    with connection.asking("file_storage", "reading the mount target", target_id, POLICY):
        target = storage.get_mount_target(target_id).data
    with connection.asking("file_storage", "listing the exports of the file system", file_system, POLICY):
        exports = [
            export.path
            for export in all_pages(
                storage.list_exports, export_set_id=target.export_set_id, file_system_id=file_system
            )
            if export.lifecycle_state == "ACTIVE" and export.path
        ]
    addresses = list(target.private_ip_ids or ())
    address = ""
    if addresses:
        network = connection.client("virtual_network")
        with connection.asking(
            "virtual_network", "reading the mount target's address", addresses[0], "use private-ips"
        ):
            address = network.get_private_ip(addresses[0]).data.ip_address
    return {
        "file_system_ocid": file_system,
        "mount_target_ocid": target_id,
        "ip": address,
        # The same one in every run, whatever the order of the list.
        "export_path": min(exports, default=""),
        "gbps": target.requested_throughput,
    }
