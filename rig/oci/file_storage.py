# SPDX-License-Identifier: GPL-3.0-or-later
"""File Storage, version 20171215, as far as it takes to mount a file system: its mount target and its export there.

Facts imitated:
- a mount target has private IPs by OCID, whose addresses the network service knows, and one export set;
- exports are listed by compartment, export set or file system: one of them must be given;
- the mount target's throughput is 1 Gbit/s unless more was asked for.

An account has one file system from the start, exported as /models.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rig.oci import errors
from rig.oci.identifiers import new_ocid
from rig.oci.service import Answer, Call, Operations, page
from rig.oci.state import Tenancy, timestamp

PREFIX = "/20171215"
CORE_PREFIX = "/20160918"
ADDRESS = "10.0.96.5"
EXPORT_PATH = "/models"


@dataclasses.dataclass(frozen=True)
class FileSystem:
    """The file system of an account, and what it is reached by; all by OCID."""

    id: str = dataclasses.field(default_factory=lambda: new_ocid("filesystem"))
    mount_target: str = dataclasses.field(default_factory=lambda: new_ocid("mounttarget"))
    export_set: str = dataclasses.field(default_factory=lambda: new_ocid("exportset"))
    export: str = dataclasses.field(default_factory=lambda: new_ocid("export"))
    private_ip: str = dataclasses.field(default_factory=lambda: new_ocid("privateip"))


class FileStorage:
    """The file systems of all accounts."""

    def __init__(self) -> None:
        self._of: dict[str, FileSystem] = {}

    def of(self, tenancy: Tenancy) -> FileSystem:
        return self._of.setdefault(tenancy.tenancy_id, FileSystem())

    def register(self, operations: Operations) -> None:
        operations.add("file_storage", "GetMountTarget", "GET", PREFIX + "/mountTargets/{id}", self._mount_target)
        operations.add("file_storage", "ListExports", "GET", PREFIX + "/exports", self._exports)
        operations.add("core", "GetPrivateIp", "GET", CORE_PREFIX + "/privateIps/{id}", self._private_ip)

    async def _mount_target(self, call: Call) -> Answer:
        found = self.of(call.tenancy)
        if call.parameters["id"] != found.mount_target:
            raise errors.not_found()
        return Answer(
            {
                **_common(call.tenancy, found.mount_target),
                "displayName": "models",
                "lifecycleState": "ACTIVE",
                "subnetId": call.tenancy.subnets["workers"].id,
                "privateIpIds": [found.private_ip],
                "exportSetId": found.export_set,
                "nsgIds": [],
                "requestedThroughput": 1,
                "observedThroughput": 0,
            }
        )

    async def _exports(self, call: Call) -> Answer:
        if not any(call.query(name) for name in ("compartmentId", "exportSetId", "fileSystemId")):
            raise errors.missing_parameter("exportSetId, fileSystemId or compartmentId")
        system = self.of(call.tenancy)
        asked = {
            "compartmentId": call.tenancy.compartment_id,
            "exportSetId": system.export_set,
            "fileSystemId": system.id,
        }
        good = all(call.query(name) in (None, own) for name, own in asked.items())
        found, headers = page(call, [system] if good else [])
        return Answer(
            [
                {
                    "id": one.export,
                    "exportSetId": one.export_set,
                    "fileSystemId": one.id,
                    "lifecycleState": "ACTIVE",
                    "path": EXPORT_PATH,
                    "timeCreated": timestamp(call.tenancy.created),
                }
                for one in found
            ],
            headers=headers,
        )

    async def _private_ip(self, call: Call) -> Answer:
        found = self.of(call.tenancy)
        if call.parameters["id"] != found.private_ip:
            raise errors.not_found()
        return Answer(
            {
                **_common(call.tenancy, found.private_ip),
                "displayName": "models",
                "ipAddress": ADDRESS,
                "isPrimary": True,
                "subnetId": call.tenancy.subnets["workers"].id,
            }
        )


def _common(tenancy: Tenancy, ocid: str) -> dict[str, Any]:
    return {
        "id": ocid,
        "compartmentId": tenancy.compartment_id,
        "availabilityDomain": tenancy.domains[0],
        "timeCreated": timestamp(tenancy.created),
        "freeformTags": {},
        "definedTags": {},
    }
