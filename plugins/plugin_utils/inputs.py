# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person gave as extra variables, read as data.

Strings of extra variables are trusted templates to Ansible: a recipe value with a lookup in it would run as soon as a
task named its key. So no task names one; this reads them raw.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

from ..module_utils.core.recipe.inputs import Inputs, read_inputs


def given_variables(loader: DataLoader) -> dict[str, Any]:
    """Return the extra variables as plain data: the round trip through JSON drops trust and every other mark."""
    variables: dict[str, Any] = json.loads(json.dumps(load_extra_vars(loader), default=str))
    return variables


def given_inputs(loader: DataLoader, scope: str = "recipe") -> Inputs:
    """Return the recipe and the settings that were given. Raises Refused; `scope` is that of `read_inputs`."""
    return read_inputs(given_variables(loader), scope)
