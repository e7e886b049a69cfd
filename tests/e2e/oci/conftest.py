# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets these tests import the collection's modules, to run them in this process."""

from __future__ import annotations

from tests.tools.collection_finder import install

install()
