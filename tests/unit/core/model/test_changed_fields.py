# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations of known families with a field left out, under another name, or with another value: what vLLM 0.32 built of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import check_parallelism
from tests.unit.core.configurations import DATA

GIB = 1 << 30
# Of each family: [fields left out, fields set, GiB of weights and bytes of cache per token on two GPUs, context]; no numbers
# where vLLM refused.
CHANGED = json.loads((DATA / "changed_fields.json").read_text())
BASES: dict[str, dict[str, Any]] = {
    name: entry["config"]
    for file in ("families.json", "more_families.json")
    for name, entry in json.loads((DATA / file).read_text()).items()
}


def changed(name: str, dropped: list[str], given: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(json.dumps(BASES[name]))
    text = config.get("text_config", config)
    for field in dropped:
        (config if field.startswith("top ") else text).pop(field.removeprefix("top "))
    text.update(given)
    return config


@pytest.mark.parametrize("name", CHANGED)
def test_no_change_of_a_field_makes_a_plan_certain_and_wrong(name: str) -> None:
    shape = find_shape("BM.GPU.H100.8")
    assert shape is not None
    certain = 0
    for dropped, given, weights_gib, kv_bytes, length in CHANGED[name]:
        try:
            model = read_model(changed(name, dropped, given), vllm="0.32.0")
        except Refused:
            continue
        if not model.certain:
            continue
        refused = bool(check_parallelism(model, shape, 2, 1).faults)
        assert refused is (weights_gib is None), (dropped, given)
        if weights_gib is not None:
            certain += 1
            assert model.weight_bytes(2, 0, len(model.layers)) / GIB == pytest.approx(weights_gib, rel=0.005), dropped
            assert sum(layer.kv_bytes_per_token(2, 2) for layer in model.layers) == kv_bytes, (dropped, given)
            assert model.default_length in (None, length), (dropped, given)
    # What vLLM reads from its defaults is planned with these, not left unsure as a whole.
    assert certain or not read_model(BASES[name], vllm="0.32.0").certain
