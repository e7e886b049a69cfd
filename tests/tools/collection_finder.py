# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as `ansible_collections.multinode.inference`, in a Python that runs no Ansible.

ansible-core's own import hook does it, as in `ansible-test units`: the links in `playbooks/collections` give the tree
the shape it asks for.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def install() -> None:
    """Install the import hook once, with this checkout before anything installed."""
    from ansible.utils.collection_loader import _collection_finder

    finder = _collection_finder._AnsibleCollectionFinder
    if not any(isinstance(hook, finder) for hook in sys.meta_path):
        finder(paths=[str(REPOSITORY / "playbooks" / "collections"), str(REPOSITORY / ".deps")])._install()
