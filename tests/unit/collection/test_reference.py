# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference in docs/ is that of the tables in the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE, Parameter
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS
from tests.tools import reference

SAMPLES = sorted(
    path for path in (reference.DOCS.parent / "sample_recipes").glob("*.json") if path.name != "recipe.schema.json"
)


@pytest.mark.parametrize("path", reference.WRITTEN, ids=lambda path: path.name)
def test_the_reference_is_up_to_date(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    assert written == reference.WRITTEN[path](), "run `.venv/bin/python -m tests.tools.reference`"


def known(table: tuple[Parameter, ...], given: dict[str, Any]) -> None:
    by_name = {parameter.name: parameter for parameter in table}
    for key, value in given.items():
        assert key in by_name
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                known(by_name[key].properties, inner)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_holds_known_parameters_only(path: Any) -> None:
    known(RECIPE, json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_a_recipe_but_for_its_placeholders(path: Any) -> None:
    try:
        read_inputs({**json.loads(path.read_text(encoding="utf-8")), "oke_cluster_id": "ocid1.cluster.oc1.iad.a"})
    except Refused as refused:
        assert {fault.found for fault in refused.faults} == {"the placeholder of the sample"}
        assert all(fault.remedy for fault in refused.faults)


def test_no_setting_has_the_name_of_a_parameter() -> None:
    assert not {parameter.name for parameter in RECIPE} & {setting.name for setting in SETTINGS}
