# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/sizing.md: its tables and its examples, computed again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.images import RAY_LLM, image_line
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import (
    SHAPES,
    Shape,
    allocatable,
    find_shape,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.costs import cost_of, prices_of
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.memory import fewest_nodes, memory_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.options import MemoryOptions
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.parallelism import layers_per_stage
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.times import minutes_of, volume_rate

from .test_memory import MODELS

TEXT = (Path(__file__).parents[4] / "docs" / "sizing.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shape(name: str) -> Shape:
    found = find_shape(name)
    assert found is not None
    return found


def test_layers_of_each_stage() -> None:
    found = re.findall(r"(\d+) over (\d+) is\s+([\d, ]+\d)", section("Layers of each stage"))
    assert len(found) == 3
    for layers, stages, parts in found:
        assert layers_per_stage(int(layers), int(stages)) == [int(part) for part in parts.split(", ")]


def test_memory_of_the_gpus_and_overhead() -> None:
    text = section("What is left for the cache")
    for memory, names in ((22.0, ["A10"]), (39.4, ["A100-40"]), (44.4, ["L40S"]), (79.1, ["A100-80", "H100"])):
        assert all(entry.gpu_memory_gib == memory for entry in SHAPES if entry.gpu in names)
        assert f"{memory:.1f}" in text


def test_the_example() -> None:
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d", section(
        "Example: Llama-3.1-70B on two BM.GPU.A10.4"))]  # fmt: skip
    layer = 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672
    quarter = layer // 4 + 2 * 8192
    last = 40 * quarter + 128256 * 8192 // 4 + 8192
    available = int(22.0 * 2**30 * 0.92) - 2 * last - 2 * 2**30
    blocks = available // (16 * 40960) - 1
    for number in (layer, quarter, last, 2 * last, available, blocks, 16 * blocks):
        assert number in numbers
    model = read_model(MODELS["Llama-3.3-70B"])
    plan = memory_plan(model, shape("BM.GPU.A10.4"), 4, 2, MemoryOptions(overhead_gib=2))
    assert (plan.max_context, plan.context) == (16 * blocks, 47104)
    assert plan.stages[-1].available_bytes == available
    whole = fewest_nodes(model, shape("BM.GPU.A10.4"), MemoryOptions(max_model_len=131072))
    assert whole is not None and whole.pipeline == 3


def test_nodes_needed() -> None:
    head, *lines = rows(section("Nodes needed"))
    assert len(lines) == len(MODELS)
    for name, *cells in lines:
        model = read_model(MODELS[name.replace(" (fp8)", "")], vllm="0.26.0")
        for shape_name, cell in zip(head[1:], cells, strict=True):
            found, fitting = shape(shape_name), "more than 8"
            for nodes in (1, 2, 3, 4, 6, 8):
                plan = memory_plan(model, found, found.gpus, nodes, MemoryOptions(max_model_len=8192))
                if plan.fits and plan.max_context >= 8192:
                    fitting = f"{nodes} / {plan.kv_tokens / 1000:.0f}"
                    break
            assert cell == fitting, (name, shape_name)


def test_a_nodes_room_for_the_pod() -> None:
    text = section("A node's room for the pod")
    room = allocatable(shape("VM.GPU.A10.2"), 800)
    assert f"{room.cpu:.2f} vCPU = {room.ocpus:.1f} OCPU" in text
    assert f"{room.memory_gib:.1f} GiB" in text
    assert room.cpu == pytest.approx(60 - (0.06 + 0.01 + 0.01 + 0.14) - 0.1 - 1)
    assert room.memory_gib == pytest.approx(480 * 0.98 - (1 + 0.8 + 0.8 + 6.72 + 7.04) - 0.1 - 0.1 - 1, abs=0.01)
    assert room.ephemeral_gib == 800 * 0.9 - 15 - 25
    # What Oracle's published samples ask for.
    for name, ocpus, memory in (("VM.GPU.A10.2", 26, 400), ("BM.GPU.A10.4", 60, 960)):
        room = allocatable(shape(name), 800)
        assert room.ocpus >= ocpus and room.memory_gib >= memory


def test_images() -> None:
    rays, vllms, _head, *cudas = rows(section("Image"))
    for ray, vllm in zip(rays[1:], vllms[1:], strict=True):
        line = image_line(f"{RAY_LLM}:{ray}.0-py312-cu130")
        assert line is not None and line.vllm == vllm
    for cuda, driver, capability in cudas:
        line = image_line(f"{RAY_LLM}:2.53.0-py311-cu{cuda.replace('.', '')}")
        assert line is not None and line.least_capability is not None
        assert (str(line.least_driver), ".".join(map(str, line.least_capability))) == (driver, capability)


def test_the_price_of_the_sample() -> None:
    text = section("Price")
    a10 = shape("VM.GPU.A10.2")
    cost = cost_of(a10, 4, 800, 500, 10, False, prices_of(a10, None, Findings()))
    assert cost["nodes"] == 4 * 2 * 2.00
    assert cost["total"] == pytest.approx(16 + 4 * 1300 * 0.0425 / 730, abs=1e-3)
    assert f"{cost['total']:.2f} together" in text
    assert cost_of(a10, 4, 800, 500, 10, True, prices_of(a10, None, Findings()))["load_balancer"] == 0.0113


def test_minutes() -> None:
    text = section("Minutes")
    assert volume_rate(900, 10) == 432e6 and "900 x 480 KB/s = 432 MB/s" in text
    h200 = shape("BM.GPU.H200.8")
    assert (
        f"= {minutes_of(h200, [812_000_000_000], 'volume', volume_rate(900, 10), 1800, True, False)['staging']:.0f}\nminutes"
        in text
    )
    assert pytest.approx(14, abs=0.5) == 812e9 / 1e9 / 60


@pytest.mark.parametrize(
    ("vpus", "per_gb", "most"),
    # OCI documentation: Lower Cost, Balanced, Higher Performance, and the ends of Ultra High Performance.
    [(0, 240e3, 480e6), (10, 480e3, 480e6), (20, 600e3, 680e6), (30, 720e3, 880e6), (120, 1800e3, 2680e6)],
)
def test_rates_of_block_volumes(vpus: int, per_gb: float, most: float) -> None:
    assert volume_rate(100, vpus) == 100 * per_gb
    assert volume_rate(32_000, vpus) == most
