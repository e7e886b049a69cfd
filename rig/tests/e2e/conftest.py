# SPDX-License-Identifier: GPL-3.0-or-later
"""A namespace of a test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from rig.fixtures import RunningRig
from rig.tests.e2e.pods import Namespace


@pytest.fixture
def namespace(rig: RunningRig) -> Iterator[Namespace]:
    """A namespace, gone with all that is in it when the test ends."""
    name = f"test-{uuid.uuid4().hex[:6]}"
    rig.kubectl("create", "namespace", name)
    yield Namespace(rig, name)
    rig.kubectl("delete", "namespace", name, "--wait=false")
