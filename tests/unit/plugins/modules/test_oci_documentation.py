# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that sign in are those of their documentation, key for key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.multinode.inference.plugins.doc_fragments.oci_authentication import ModuleDocFragment
from ansible_collections.multinode.inference.plugins.modules import (
    model_info,
    oci_node_pool,
    oci_node_pool_info,
    oci_preauthenticated_request,
)
from ansible_collections.multinode.inference.plugins.modules import oci_leftover_info as oci_remainder_info
from ansible_collections.multinode.inference.plugins.modules import oke_cluster_info as oci_cluster_info

COMPARED = ("type", "default", "choices", "required", "elements")


@pytest.mark.parametrize(
    "module",
    [model_info, oci_cluster_info, oci_node_pool, oci_node_pool_info, oci_preauthenticated_request, oci_remainder_info],
    ids=lambda module: module.__name__,
)
def test_options_are_documented(module: Any) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    documented.update(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"])

    def essence(options: dict[str, Any]) -> dict[str, Any]:
        return {name: {key: option[key] for key in COMPARED if key in option} for name, option in options.items()}

    assert essence(module.argument_spec()) == essence(documented)


def test_environment_variables_are_documented() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    for name, option in oci_node_pool.argument_spec().items():
        for variable in option.get("fallback", (None, []))[1]:
            assert f"E({variable})" in str(documented[name]["description"])
