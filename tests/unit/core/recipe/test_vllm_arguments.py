# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's arguments, read as its own parser reads them, by version."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm import option_effects as effects
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm import variable_effects
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.release import release
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.versions import VERSIONS
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.vllm_arguments import (
    Arguments,
    check_options,
    size,
)

CLASSES = (
    set(effects.DERIVED),
    set(effects.REFUSED) | set(effects.REFUSED_WITH_STAGES),
    effects.RECKONED,
    set(effects.NOT_RECKONED),
    effects.HARMLESS,
)


def findings_of(words: list[str], vllm: str | None = "0.26.0", stages: int = 1) -> Findings:
    findings = Findings()
    known = release(vllm)
    check_options(Arguments(words, known), known, stages, findings)
    return findings


def faults(words: list[str], vllm: str | None = "0.26.0", stages: int = 1) -> list[str]:
    return [fault.code for fault in findings_of(words, vllm, stages).faults]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_option_of_every_version_is_in_one_class(version: str) -> None:
    for name in release(version).options:
        assert sum(name.removeprefix("--") in names for names in CLASSES) == 1, name


def test_no_class_names_an_option_or_a_variable_that_no_version_has() -> None:
    known = release(None)
    assert {f"--{name}" for names in CLASSES for name in names} <= set(known.options)
    assert {*variable_effects.REFUSED, *variable_effects.RECKONED, *variable_effects.NOT_RECKONED} <= known.variables


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--max-num-seqs", "64"], "--max-num-seqs", "64"),
        (["--max_num_seqs=64"], "--max-num-seqs", "64"),
        (["--max-num-se", "64"], "--max-num-seqs", "64"),
        (["-dcp", "2"], "--decode-context-parallel-size", "2"),
        (["-q=fp8"], "--quantization", "fp8"),
        (["-qfp8"], "--quantization", "fp8"),
        (["-O3"], "--optimization-level", "3"),
        (["-O", "2"], "--optimization-level", "2"),
        (["--seed", "-1"], "--seed", "-1"),
    ],
)
def test_spellings_of_an_option(words: list[str], name: str, value: str) -> None:
    (item,) = Arguments(words, release("0.26.0")).given
    assert (item.name, item.value) == (name, value) and item.option is not None
    assert faults(words) == []


def test_a_switch_is_on_and_off() -> None:
    known = release("0.26.0")
    assert Arguments(["--enforce-eager"], known).switch("--enforce-eager") is True
    assert Arguments(["--no-enforce_eager"], known).switch("--enforce-eager") is False
    assert Arguments([], known).switch("--enforce-eager") is None


def test_json_as_a_whole_and_key_by_key() -> None:
    known = release("0.26.0")
    whole = Arguments(["--speculative-config", '{"method":"mtp","num_speculative_tokens":1}'], known)
    single = Arguments(["--speculative_config.method", "mtp", "--speculative-config.num_speculative_tokens=1"], known)
    assert whole.mapping("--speculative-config") == single.mapping("--speculative-config")
    deep = Arguments(["--hf-overrides.rope_parameters.factor", "4.0", "--hf-overrides.names+", "a,b"], known)
    assert deep.mapping("--hf-overrides") == {"rope_parameters": {"factor": 4.0}, "names": ["a", "b"]}


@pytest.mark.parametrize(("text", "number"), [("8192", 8192), ("8k", 8000), ("8K", 8192), ("1.5m", 1_500_000)])
def test_sizes(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize(
    ("words", "vllm", "code"),
    [
        # Gone, and not yet there.
        (["--swap-space", "4"], "0.15.0", []),
        (["--swap-space", "4"], "0.26.0", ["argument_unknown"]),
        (["--rope-scaling", "{}"], "0.26.0", ["argument_unknown"]),
        (["--num-scheduler-steps", "8"], "0.26.0", ["argument_unknown"]),
        (["--max-num-queued-reqs", "8"], "0.26.0", ["argument_unknown"]),
        (["--max-num-queued-reqs", "8"], "0.29.0", []),
        # Between two tables the stricter counts; of a version that is not known nothing is refused.
        (["--dp-sync-interval", "8"], "0.30.0", []),
        (["--max-num-active-seqs", "8"], "0.30.0", ["argument_unknown"]),
        (["--swap-space", "4"], None, []),
        (["--no-such-option"], None, []),
        # The beginnings of several names.
        (["--max-num", "8"], "0.26.0", ["argument_ambiguous"]),
        # Values that the parser refuses.
        (["--max-num-seqs", "many"], "0.26.0", ["argument"]),
        (["--max-num-seqs"], "0.26.0", ["argument"]),
        (["--enforce-eager", "true"], "0.26.0", ["argument"]),
        (["--dtype", "int8"], "0.26.0", ["argument"]),
        (["--dtype", "bfloat16"], "0.26.0", []),
        (["--kv-cache-memory-bytes", "1G"], "0.26.0", []),
        (["--compilation-config", "{mode"], "0.26.0", ["argument"]),
        (["--compilation-config", '{"mode": 3}'], "0.26.0", []),
        (["--compilation-config", "[" * 2000], "0.26.0", ["argument"]),
        (["--compilation-config.a", "[" * 2000], "0.26.0", []),
        (["--chat-template", "a", "b"], "0.26.0", ["argument"]),
        # What this product does not serve.
        (["--runner", "pooling"], "0.26.0", ["argument_refused"]),
        (["--runner", "generate"], "0.26.0", []),
        (["--prefill-context-parallel-size", "2"], "0.26.0", ["argument_refused"]),
    ],
)
def test_what_a_version_refuses(words: list[str], vllm: str | None, code: list[str]) -> None:
    # Derived options have a rule of their own.
    assert faults(words, vllm) == code


def test_what_works_with_one_stage_only() -> None:
    assert faults(["--enable-return-routed-experts"], "0.32.0", stages=1) == []
    assert faults(["--enable-return-routed-experts"], "0.32.0", stages=2) == ["argument_refused"]


def test_the_way_out_names_the_versions_or_the_likely_slip() -> None:
    (gone,) = findings_of(["--swap-space", "4"]).faults
    assert gone.line() == (
        "recipe_container_command_args: --swap-space, which vLLM 0.26.0 does not have, expected an option that it has; "
        "remove it, or use an image with vLLM 0.12.0 to 0.15.0"
    )
    (slip,) = findings_of(["--max-num-seq5", "4"]).faults
    assert "did you mean --max-num-seqs?" in slip.remedy


def test_what_is_not_reckoned_is_said_with_its_effect() -> None:
    (warning,) = findings_of(["--num-gpu-blocks-override", "10"]).warnings
    assert warning.line() == (
        "recipe_container_command_args: --num-gpu-blocks-override: the cache then holds other tokens than the plan says"
    )
    assert not findings_of(["--max-num-seqs", "64", "--seed", "1", "--enforce-eager"]).warnings


def test_no_value_is_shown() -> None:
    for words in (["--max-num-seqs", "canary"], ["--dtype", "canary"], ["--no-such", "canary"]):
        assert "canary" not in "".join(fault.line() for fault in findings_of(words).faults)
