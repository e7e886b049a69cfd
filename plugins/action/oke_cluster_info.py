# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a module that signs in to Oracle Cloud, with the sign-in of the settings; meta/runtime.yml names the modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.core.recipe.settings import SIGN_IN
from ..module_utils.oci.module import sign_in_argument_spec
from ..plugin_utils.action import ModuleAction


class ActionModule(ModuleAction):
    def connection_options(self) -> set[str]:
        return set(sign_in_argument_spec())

    def connection(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in SIGN_IN}
