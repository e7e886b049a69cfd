# SPDX-License-Identifier: GPL-3.0-or-later
"""What each vLLM knows: the generated tables, and the answers between and outside of them."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.images import (
    DEFAULT_TAG,
    OLDER_TAG,
    RAY_LLM,
    VLLM_OF_RAY,
    image_line,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm import (
    capabilities,
    classes,
    names,
    options,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.defects import DEFECTS
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.release import (
    SUPPORTED,
    is_supported,
    last_with_class,
    parsed,
    release,
    versions_with_class,
    versions_with_option,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.versions import VERSIONS
from tests.tools.vllm_tables import write


@pytest.mark.soak
def test_the_tables_are_what_the_packages_source_says() -> None:
    found = write.tables()
    assert found == write.stored(), "run `make vllm-tables`"


def test_every_image_that_is_known_has_a_table() -> None:
    assert set(VLLM_OF_RAY.values()) <= set(VERSIONS)
    assert list(VERSIONS) == sorted(VERSIONS, key=parsed)
    for tag in (DEFAULT_TAG, OLDER_TAG):
        line = image_line(f"{RAY_LLM}:{tag}")
        assert line is not None and is_supported(line.vllm) and release(line.vllm).exact


@pytest.mark.parametrize("version", VERSIONS)
def test_each_table_is_whole(version: str) -> None:
    known = release(version)
    assert known.exact and known.tables == (version,)
    assert len(known.classes) > 200 and len(known.options) > 180 and len(known.variables) > 180
    assert {"hermes", "llama3_json"} <= known.tool_parsers and "deepseek_r1" in known.reasoning_parsers
    assert known.supports_pipeline("LlamaForCausalLM") is True
    assert known.supports_pipeline("WhisperForConditionalGeneration") is False
    for name, kind in {
        "--tensor-parallel-size": "int",
        "--gpu-memory-utilization": "float",
        "--enforce-eager": "switch",
        "--max-num-batched-tokens": "size",
        "--compilation-config": "json",
        "--served-model-name": "text+",
        "--headless": "flag",
    }.items():
        option = known.option(name)
        assert option is not None and option.kind == kind, name
    spellings = [name for option in known.options.values() for name in (option.name, *option.spellings)]
    assert len(spellings) == len(set(spellings))


def test_rows_have_a_letter_for_each_version_and_name_nothing_twice() -> None:
    grouped = [classes.CLASSES, classes.DRAFTS, names.TOOL_PARSERS, names.REASONING_PARSERS, names.VARIABLES]
    for table in (*grouped, *options.CHOICES.values()):
        listed = [name for row in table.values() for name in row.split()]
        assert len(listed) == len(set(listed))
        assert all(len(pattern) == len(VERSIONS) and set(pattern) - {"."} for pattern in table)
    assert all(len(row.split()) == len(VERSIONS) for row in capabilities.CAPABILITIES.values())
    assert all(is_supported(defect.since) and defect.source for defect in DEFECTS)
    assert not (set(classes.REMOVED) & set(release(VERSIONS[-1]).classes))


@pytest.mark.parametrize(
    ("version", "name", "supports"),
    [
        ("0.26.0", "NanbeigeForCausalLM", None),
        ("0.31.0", "NanbeigeForCausalLM", True),
        ("0.26.0", "Qwen3_5ForCausalLM", None),
        ("0.32.0", "Qwen3_5ForCausalLM", True),
        ("0.12.0", "OuroForCausalLM", False),
        ("0.26.0", "DeepseekV4ForCausalLM", True),
        ("0.26.0", "LlamaBidirectionalModel", None),
    ],
)
def test_classes_by_version(version: str, name: str, supports: bool | None) -> None:
    assert release(version).supports_pipeline(name) is supports


@pytest.mark.parametrize(
    ("version", "method", "schemes", "least"),
    [
        ("0.26.0", "modelopt", (), (8, 9)),
        ("0.32.0", "modelopt", (), (8, 0)),
        ("0.12.0", "fp8", (), (8, 0)),
        ("0.26.0", "fp8", (), (7, 5)),
        ("0.12.0", "compressed-tensors", ("wNa16",), (7, 5)),
        ("0.12.0", "compressed-tensors", ("w8a8_fp8", "w8a16_fp8"), (8, 0)),
        ("0.26.0", "compressed-tensors", ("w8a8_fp8", "w8a16_fp8"), (7, 5)),
        ("0.12.0", "gguf", (), (6, 0)),
        ("0.32.0", "bitsandbytes", (), None),
        # Between 0.26.0 and 0.27.0, and where nothing tells the version.
        ("0.26.1", "modelopt", (), (8, 9)),
        (None, "modelopt", (), None),
        (None, "mxfp4", (), (8, 0)),
    ],
)
def test_least_capability_by_version_and_scheme(
    version: str | None, method: str, schemes: tuple[str, ...], least: tuple[int, int] | None
) -> None:
    assert release(version).least_capability(method, *schemes) == least


def test_a_version_between_two_tables_takes_the_stricter_and_is_never_certain() -> None:
    between = release("0.30.0")
    assert not between.exact and between.tables == ("0.29.0", "0.31.0")
    # New in 0.31, and gone with 0.31.
    assert between.has_class("NanbeigeForCausalLM") is False
    assert between.option("--no-such-option") is None and between.option("--dp-sync-interval") is None
    assert release("0.16.0").option("--swap-space") is None and release("0.15.0").option("--swap-space") is not None
    # 0.29 has the defect, and 0.31 has not.
    assert "structured_output_fails" in [defect.code for defect in between.defects]


def test_versions_outside_of_the_tables_are_judged_by_the_nearest_and_are_never_certain() -> None:
    assert release("0.99.0").tables == (VERSIONS[-1],) and not release("0.99.0").exact
    assert release("0.9.2").tables == (VERSIONS[0],) and not release("0.9.2").exact
    assert not is_supported("0.9.2") and not is_supported("0.99.0") and is_supported(SUPPORTED[0])


def test_of_a_version_that_is_not_known_nothing_is_said_for_certain() -> None:
    unknown = release(None)
    assert not unknown.exact and unknown.has_class("LlamaForCausalLM") is None
    assert unknown.has_quantization("fp8") is None and unknown.at_least("0.20.0") is None
    # What all tables say is still worth something; where they differ, nothing is.
    assert unknown.supports_pipeline("LlamaForCausalLM") is True
    assert unknown.supports_pipeline("NemotronH_Nano_VL_V2") is False
    assert unknown.option("--swap-space") is not None and not unknown.defects


def test_builds_and_candidates_of_a_version() -> None:
    assert release("0.26.0+cu130").exact and release("v0.26.0").exact and release("0.12.0.post2").exact
    assert release("0.26.0rc1").tables == ("0.25.1", "0.26.0")


def test_when_a_class_and_an_option_came_and_went() -> None:
    assert versions_with_class("NanbeigeForCausalLM")[0] == "0.31.0"
    assert last_with_class("MPTForCausalLM") == "0.28.0" and last_with_class("LlamaForCausalLM") is None
    assert versions_with_option("--swap-space") == ("0.12.0", "0.15.0")


def test_options_are_found_by_every_name_that_argparse_knows() -> None:
    known = release("0.26.0")
    for spelling, name in {
        "-tp": "--tensor-parallel-size",
        "--no-enforce-eager": "--enforce-eager",
        "--async-scheduling": "--async-scheduling",
    }.items():
        option = known.option(spelling)
        assert option is not None and option.name == name
    assert known.option("--no-headless") is None
    assert [option.name for option in known.options_beginning("--max-num-s")] == [
        "--max-num-scheduled-tokens",
        "--max-num-seqs",
    ]
    dtype = known.option("--dtype")
    assert dtype is not None and "bfloat16" in dtype.choices
