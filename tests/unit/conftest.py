# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets plain pytest import `ansible_collections.multinode.inference` from any checkout."""

from __future__ import annotations

from tests.tools.collection_finder import install

install()
