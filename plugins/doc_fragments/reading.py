# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Attributes of modules that only read."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and return what it would return without.
    support: full
  diff_mode:
    description: Returns what changed in diff mode.
    support: none
    details: It changes nothing.
  idempotent:
    description: Running it again changes nothing.
    support: full
"""
