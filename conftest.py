# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets plain pytest import `ansible_collections.multinode.inference` from any checkout."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.tools.collection_finder import install

install()

# The fixtures `rig` and `tenancy`, and how end-to-end tests are shared out.
pytest_plugins = ["rig.fixtures"]

# Property tests: 100 examples each, many more where HYPOTHESIS_PROFILE=soak. Their time is no verdict.
_RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=100, **_RELAXED)
settings.register_profile("soak", max_examples=10_000, **_RELAXED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
