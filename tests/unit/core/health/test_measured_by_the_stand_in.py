# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rig's stand-in measures of a model lies in the plan's range; what it is told to measure otherwise does not."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.measured import beside_plan
from rig.model import write_tiny_llama
from tests.tools.setup import REPOSITORY
from tests.unit.core.plans import facts, on, plan

IMAGE = REPOSITORY / "rig" / "images" / "vllm-ray"


def stand_in() -> Any:
    """The stand-in's module: arithmetic alone."""
    spec = importlib.util.spec_from_file_location("stand_in_measures", IMAGE / "lib" / "vllm" / "measures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("shape", "gpus", "nodes", "gpu_mib"),
    [("VM.GPU.A10.1", 1, 2, 23028), ("VM.GPU.A10.2", 2, 2, 23028), ("BM.GPU.A10.4", 4, 1, 23028)],
)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_its_measures_are_those_of_the_plan(
    tmp_path: Path, shape: str, gpus: int, nodes: int, gpu_mib: int, share: float
) -> None:
    write_tiny_llama(tmp_path, layers=4, hidden=256)
    config = json.loads((tmp_path / "config.json").read_text())
    found = facts()
    room = {"BM.GPU.A10.4": (50, 800)}.get(shape, (12 * gpus, 180 * gpus))
    made = plan(
        facts(model={**found.model, "config": config, "index": None, "files": []}), **on(shape, gpus, nodes, *room)
    )
    layers, longest = made["parallelism"]["layers_per_stage"], made["memory"]["context"]
    measured = stand_in().measure(config, layers, gpus, 0.92 * gpu_mib / 1024, 0.01, longest, share)
    said = {
        "weights_gib": 0.01,
        "cache_gib": round(measured.cache_gib, 2),
        "cache_tokens": measured.tokens,
        "concurrency": round(measured.concurrency, 2),
    }
    lines, warnings = beside_plan(said, made)
    assert len(lines) == 4
    terms = ["memory for the KV cache on the fullest GPU", "KV cache of the group"]
    assert [warning.where for warning in warnings] == ([] if share == 1.0 else terms), lines
