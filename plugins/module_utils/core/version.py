# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The version of the collection, as galaxy.yml has it."""

from __future__ import annotations

VERSION = "0.1.0"
