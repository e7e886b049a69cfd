# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of public vLLM deployments: what the parser of vLLM 0.32 refuses is refused, and what it takes is in its class."""

from __future__ import annotations

import shlex

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.vllm.release import release
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.vllm_arguments import (
    Arguments,
    check_derived,
    check_options,
)


def judged(line: str, vllm: str, stages: int = 2) -> tuple[list[str], list[str]]:
    """The codes of the faults, and the options that are warned of."""
    words, known, findings = shlex.split(line), release(vllm), Findings()
    check_derived(words, findings)
    check_options(Arguments(words, known), known, stages, findings)
    return [fault.code for fault in findings.faults], [fault.found.partition(":")[0] for fault in findings.warnings]


TAKEN = [
    "--enable-expert-parallel --gpu-memory-utilization 0.92 --max-num-batched-tokens 32768 --max-num-seqs 256",
    "--tokenizer-mode deepseek_v32 --tool-call-parser deepseek_v32 --enable-auto-tool-choice --reasoning-parser deepseek_v3",
    "--tool-call-parser glm45 --speculative-config.method mtp --speculative-config.num_speculative_tokens 1",
    "--async-scheduling --stream-interval 20 --no-enable-prefix-caching --kv-cache-dtype fp8 --tool-call-parser openai",
    """--override-generation-config='{"attn_temperature_tuning": true}' --kv-cache-dtype fp8 --max_num_seqs 64""",
    "--tokenizer_mode mistral --config_format mistral --load_format mistral --tool-call-parser mistral",
    "--reasoning-parser-plugin nano.py --reasoning-parser deepseek_r1 --cpu-offload-gb 10 --enforce-eager",
    "--generation-config vllm --enable-server-load-tracking --max-num-batched-token=65536",
    """--hf-overrides '{"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}' --block-size 128 --runner generate""",
    "--structured-outputs-config.backend xgrammar --all2all-backend deepep_low_latency",
    """--default-chat-template-kwargs '{"enable_thinking": false}' --chat-template /templates/x.jinja""",
    "--logits-processors my.module:Proc --logprobs-mode raw_logits --disable-custom-all-reduce --disable-cascade-attn",
    "--safetensors-load-strategy eager --load-format fastsafetensors --prefix-caching-hash-algo sha256",
    "--allowed-local-media-path /data --uvicorn-log-level warning --disable-uvicorn-access-log --max-log-len 200",
    "--collect-detailed-traces all --otlp-traces-endpoint http://x:4317 --seed 0 --revision main",
    "--enable-prompt-embeds --enable-tokenizer-info-endpoint --scheduling-policy priority",
]
# The plan does not count with them.
WARNED = {
    "--compilation_config.pass_config.fuse_allreduce_rms true --mm-encoder-tp-mode data": ["--compilation-config"],
    """--compilation-config '{"cudagraph_mode": "PIECEWISE"}' --enable_expert_parallel""": ["--compilation-config"],
    "-cc.cudagraph_mode=NONE": ["--compilation-config"],
    "-O3": ["--optimization-level"],
    "--max-cudagraph-capture-size 2048": ["--max-cudagraph-capture-size"],
    """--limit-mm-per-prompt '{"image": 10}'""": ["--limit-mm-per-prompt"],
    "--limit-mm-per-prompt.video 0 --mm-processor-cache-type shm": ["--limit-mm-per-prompt"],
    "--no-enable-chunked-prefill": ["--enable-chunked-prefill"],
    "--mamba-ssm-cache-dtype float32 --mamba-cache-mode align": ["--mamba-ssm-cache-dtype", "--mamba-cache-mode"],
    "--enable-lora --max-loras 2 --lora-modules a=/x b=/y": ["--enable-lora", "--max-loras", "--lora-modules"],
    """--kv-transfer-config '{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}'""": ["--kv-transfer-config"],
    """--enable-eplb --eplb-config '{"window_size": 1000}'""": ["--enable-eplb", "--eplb-config"],
    "--quantization awq_marlin --dtype half": ["--quantization"],
    "--attention-backend FLASHINFER_MLA --moe-backend marlin": ["--attention-backend", "--moe-backend"],
    "--kv-offloading-size 64 --disable-hybrid-kv-cache-manager": [
        "--kv-offloading-size",
        "--disable-hybrid-kv-cache-manager",
    ],
    "--language-model-only --skip-mm-profiling": ["--language-model-only", "--skip-mm-profiling"],
    "--enable-sleep-mode --performance-mode throughput": ["--enable-sleep-mode", "--performance-mode"],
}
# Options of older versions, values that the parser does not take, and what the recipe says instead.
REFUSED = {
    "--swap-space 16 --disable-log-requests --max-seq-len-to-capture 8192": ["argument_unknown"] * 3,
    "--num-scheduler-steps 10 --use-v2-block-manager": ["argument_unknown"] * 2,
    "--guided-decoding-backend outlines --preemption-mode recompute": ["argument_unknown"] * 2,
    """--rope-scaling '{"rope_type": "yarn", "factor": 4.0}' --enable-reasoning""": ["argument_unknown"] * 2,
    "--task generate --calculate-kv-scales": ["argument_unknown"] * 2,
    "--max-num-partial-prefills 4": ["argument_unknown"],
    "--compilation-config 3": ["argument"],
    "--limit-mm-per-prompt image=4,video=1": ["argument"],
    "--max-num-seqs 1k": ["argument"],
    "--quantization awq_marlim": ["argument"],
    "--enable-dbo --enable-return-routed-experts": ["argument_refused"] * 2,
    """--pooler-config '{"pooling_type": "CLS"}'""": ["argument_refused"],
    "-tp 8 -pp 2 -dp 2 --data-parallel-size-local 1": ["derived_argument"] * 4,
    "--tensor-parallel 8 --max-model 4096 --served-model-name a --trust-remote-code": ["derived_argument"] * 4,
    "--api-key a --ssl-keyfile b --hf-token c": ["derived_argument"] * 3,
}


@pytest.mark.parametrize("vllm", ["0.26.0", "0.29.0", "0.32.0"])
@pytest.mark.parametrize("line", TAKEN)
def test_what_vllm_takes_and_the_plan_counts_or_needs_not(line: str, vllm: str) -> None:
    assert judged(line, vllm) == ([], [])


@pytest.mark.parametrize("vllm", ["0.26.0", "0.29.0", "0.32.0"])
@pytest.mark.parametrize("line", WARNED)
def test_what_the_plan_does_not_count_with(line: str, vllm: str) -> None:
    assert judged(line, vllm) == ([], WARNED[line])


@pytest.mark.parametrize("line", REFUSED)
def test_what_vllm_0_32_or_the_recipe_does_not_allow(line: str) -> None:
    assert judged(line, "0.32.0")[0] == REFUSED[line]


def test_what_a_version_still_has() -> None:
    assert judged("--swap-space 16 --disable-log-requests", "0.12.0") == ([], [])
    assert judged("--max-num-partial-prefills 4 --calculate-kv-scales", "0.26.0") == ([], [])
    assert judged("--enable-dbo", "0.32.0", stages=1) == ([], [])
