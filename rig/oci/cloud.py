# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the stand-in holds: its tenancies, the scenarios in force, the log of calls."""

from __future__ import annotations

import collections
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from rig.oci.errors import ServiceError
from rig.oci.scenarios import Scenarios
from rig.oci.state import Tenancy

CALLS_KEPT = 200_000


class Cloud:
    """`endpoint` is the URL under which the services are reached."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.tenancies: list[Tenancy] = []
        self.scenarios = Scenarios()
        self.calls: collections.deque[dict[str, Any]] = collections.deque(maxlen=CALLS_KEPT)

    @property
    def keys(self) -> dict[str, rsa.RSAPublicKey]:
        """keyId -> public key of everyone who may call."""
        return {key_id: key for tenancy in self.tenancies for key_id, key in tenancy.keys.items()}

    def caller(self, key_id: str) -> Tenancy:
        return next(tenancy for tenancy in self.tenancies if key_id in tenancy.keys)

    def tenancy(self, name: str) -> Tenancy:
        """A tenancy by its name or one of its OCIDs; ServiceError 404 when there is none."""
        for tenancy in self.tenancies:
            if tenancy.answers_to(name):
                return tenancy
        raise ServiceError(404, "NotFound", f"there is no tenancy {name}; make one with POST /tenancies")
