# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All rules that join several parameters.

A rule whose parameters already have a fault (None) is left out: one fault, one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...fault import Findings
from ..vllm_arguments import check_derived
from .environment_rules import check_environment
from .folder_rules import check_folders
from .node_rules import check_nodes
from .port_rules import check_ports
from .source_rules import check_source
from .trust_rules import check_secrets_in_the_clear, warn_of_trust


def check_rules(recipe: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings) -> None:
    """Check a typed recipe and typed settings; findings holds what single parameters have already."""
    check_nodes(recipe, settings, findings)
    check_environment(recipe, findings)
    check_folders(recipe, settings, findings)
    check_ports(recipe, findings)
    check_source(recipe, settings, findings)
    check_derived(recipe.get("recipe_container_command_args") or (), findings)
    check_secrets_in_the_clear(recipe, findings)
    warn_of_trust(recipe, findings)
