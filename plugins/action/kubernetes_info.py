# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a module that reads the cluster, with the connection that recipe_info found; meta/runtime.yml names the modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.kube.client import argument_spec
from ..plugin_utils.action import ModuleAction


class ActionModule(ModuleAction):
    def connection_options(self) -> set[str]:
        return {name for option, spec in argument_spec().items() for name in (option, *spec.get("aliases", ()))}

    def connection(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return self.reach(settings).arguments()
