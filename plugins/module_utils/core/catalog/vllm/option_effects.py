# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each option of `vllm serve` means for a plan: every option of every version stands in one of five classes.

DERIVED       follows from the recipe: refused, with what says the same there
REFUSED       cannot be served here, or not with several stages
RECKONED      the plan counts with its value
NOT_RECKONED  a person may give it, and the plan's numbers or checks do not know of it: a warning with the effect
HARMLESS      neither memory nor files nor the group depend on it

Read in vLLM 0.12 to 0.33 (vllm/engine/arg_utils.py, vllm/config, vllm/entrypoints).
"""

from __future__ import annotations

_TLS, _RAY, _ONE = "TLS ends before the pods", "Ray brings the nodes together", "one engine takes all nodes"

# Option, without its hyphens -> what to do instead.
DERIVED = {
    "model": "recipe_raycluster_params.model_path_in_container says it",
    "tensor-parallel-size": "recipe_nvidia_gpu_count says it",
    "pipeline-parallel-size": "recipe_node_pool_size says it",
    "distributed-executor-backend": "it is Ray",
    **dict.fromkeys(("nnodes", "node-rank", "master-addr", "master-port", "headless", "device-ids"), _RAY),
    **dict.fromkeys(
        (
            "data-parallel-size",
            "data-parallel-address",
            "data-parallel-backend",
            "data-parallel-external-lb",
            "data-parallel-hybrid-lb",
            "data-parallel-multi-port-external-lb",
            "data-parallel-rank",
            "data-parallel-rpc-port",
            "data-parallel-size-local",
            "data-parallel-start-rank",
            "data-parallel-supervisor-port",
            "dp-supervisor-probe-failure-threshold",
            "dp-supervisor-probe-interval-s",
            "dp-supervisor-probe-timeout-s",
            "dp-sync-interval",
        ),
        _ONE,
    ),
    "host": "the pod's address is taken",
    "port": "recipe_container_port says it",
    "uds": "recipe_container_port says where the API is",
    "grpc": "the API is that of OpenAI over HTTP, where every path asks for the key",
    "grpc-port": "the API is that of OpenAI over HTTP, where every path asks for the key",
    "api-key": "the deployment makes a key of its own, in a Secret",
    "hf-token": "input_hugging_face.token_secret_name names a Secret",
    **dict.fromkeys(
        ("ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs", "ssl-ciphers", "enable-ssl-refresh"), _TLS
    ),
    "config": "options from a file cannot be checked",
    "max-model-len": "recipe_max_model_length says it",
    "served-model-name": "recipe_served_model_name says it",
    "trust-remote-code": "recipe_trust_remote_code says it",
    "download-dir": "the files are staged before vLLM starts",
}

# Option -> why, and the values with which it may be given all the same.
REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "prefill-context-parallel-size": ("it takes more GPUs than the nodes have", ("1",)),
    "elastic-ep-max-dp-size": ("it scales data parallel ranks, and there is one", ()),
    "enable-elastic-ep": ("it scales data parallel ranks, and there is one", ()),
    "runner": ("the deployment is ready when a token has come back", ("auto", "generate")),
    "convert": ("the deployment is ready when a token has come back", ("auto", "none")),
    "task": ("the deployment is ready when a token has come back", ("auto", "generate")),
    "pooler-config": ("the deployment is ready when a token has come back", ()),
    "mm-encoder-only": ("the deployment is ready when a token has come back", ()),
    "tokens-only": ("it takes the API of OpenAI away, by which the deployment is judged", ()),
}
# The same for more than one stage: vLLM says so itself, or gives wrong results.
REFUSED_WITH_STAGES = {
    "enable-return-routed-experts": "vLLM refuses it with pipeline parallelism",
    "enable-hc-sp": "vLLM refuses it with pipeline parallelism",
    "enable-dbo": "vLLM does not support it with pipeline parallelism",
    "ubatch-size": "vLLM does not support it with pipeline parallelism",
}

_RECKONED = """
    block-size config-format cpu-offload-gb dtype enable-auto-tool-choice enable-expert-parallel
    enable-multimodal-encoder-data-parallel enforce-eager gpu-memory-utilization hf-overrides kv-cache-dtype
    kv-cache-memory-bytes load-format max-num-batched-tokens max-num-seqs mm-encoder-tp-mode reasoning-parser
    skip-tokenizer-init spec-method spec-model spec-tokens speculative-config tokenizer tool-call-parser
"""
RECKONED = frozenset(_RECKONED.split())

_GRAPHS = "the plan's memory assumes vLLM's own choice of CUDA graphs"
_OFFLOAD = "weights that lie in the node's memory are counted by --cpu-offload-gb alone"
_STATES = "the plan's states of linear and mamba layers assume vLLM's defaults"
_KERNELS = "another kernel may keep weights or cache otherwise than the plan assumes"
_MEDIA = "what images, video and audio take assumes vLLM's defaults"
_SLEEP = "an engine that sleeps answers no request, and looks dead to the probes"
_LORA = "adapters and their buffers take memory of each GPU that the plan does not count"
NOT_RECKONED = {
    "additional-config": "it is read by plugins, of which the plan knows nothing",
    "api-server-count": "the plan's memory of the pod assumes one API server",
    **dict.fromkeys(("attention-backend", "attention-config", "override-attention-dtype", "kernel-config"), _KERNELS),
    **dict.fromkeys(("moe-backend", "linear-backend", "monokernel", "model-impl"), _KERNELS),
    "aux-output-config": "what is handed out beside tokens takes memory that the plan does not count",
    **dict.fromkeys(("compilation-config", "cuda-graph-sizes", "cudagraph-capture-sizes"), _GRAPHS),
    **dict.fromkeys(("max-cudagraph-capture-size", "optimization-level"), _GRAPHS),
    **dict.fromkeys(("cpu-offload-params", "offload-backend", "offload-group-size"), _OFFLOAD),
    **dict.fromkeys(("offload-num-in-group", "offload-params", "offload-prefetch-step"), _OFFLOAD),
    "decode-context-parallel-size": "the KV cache then holds more tokens than the plan says",
    "dcp-q-replicate": "it keeps the query's weights on each GPU, which the plan does not count",
    "disable-hybrid-kv-cache-manager": "every layer then keeps the whole context; windowed ones assume less",
    "disable-log-stats": "without metrics a hung engine cannot be told from a busy one",
    "disable-sliding-window": "the context is then bounded by the window, and the plan's is not",
    "ec-manager-config": _MEDIA,
    "ec-transfer-config": "its connections leave the group, and the NetworkPolicy does not know of them",
    "enable-batch-sharded-sampling": "the plan's peak assumes that it is off",
    "enable-chunked-prefill": "without it a batch has to hold the whole context, which the plan's memory does not cover",
    "enable-cumem-allocator": "the plan's memory assumes that it is off",
    **dict.fromkeys(("enable-eplb", "eplb-config"), "copies of experts take memory that the plan does not count"),
    "enable-fault-tolerance": "a failed group is restarted by its own programs",
    "fault-tolerance-config": "a failed group is restarted by its own programs",
    "engram-config": "its embeddings take memory that the plan does not count",
    **dict.fromkeys(("enable-mixed-moe-lora-format", "enable-moe-shared-loras", "enable-tower-connector-lora"), _LORA),
    **dict.fromkeys(("default-mm-loras", "fully-sharded-loras", "lora-dtype", "lora-target-modules"), _LORA),
    **dict.fromkeys(("enable-lora", "lora-modules", "max-lora-cls-labels", "max-lora-rank", "max-loras"), _LORA),
    **dict.fromkeys(("enable-mamba-shared-prefix-checkpoint", "mamba-block-size", "mamba-cache-dtype"), _STATES),
    **dict.fromkeys(("mamba-cache-mode", "mamba-ssm-cache-dtype", "replayssm-buffer-len", "use-replayssm"), _STATES),
    **dict.fromkeys(("enable-nccl-comm-suspend", "enable-sleep-mode", "sleep-mode-backend"), _SLEEP),
    **dict.fromkeys(("sleep-mode-offload-cudagraph", "sleep-preserve-parameter-names"), _SLEEP),
    "enable-trace-replay": "a buffer for each request takes memory that the plan does not count",
    "hf-config-path": "the plan is made of the model's own config.json",
    "kv-cache-dtype-skip-layers": "the plan's cache assumes one type for all layers",
    "kv-events-config": "its connections leave the group, and the NetworkPolicy does not know of them",
    "kv-offloading-size": "the node's memory that it takes is not part of the plan",
    "kv-offloading-backend": "the plan does not look whether the image has it",
    "kv-transfer-config": "its connections leave the group, and the NetworkPolicy does not know of them",
    "language-model-only": "the plan's weights assume the parts beside the language model",
    **dict.fromkeys(("limit-mm-per-prompt", "media-io-kwargs", "mm-device-do-normalize"), _MEDIA),
    **dict.fromkeys(("mm-ipc-gpu-memory-gb", "mm-processor-device", "mm-processor-kwargs"), _MEDIA),
    **dict.fromkeys(("skip-mm-profiling", "video-pruning-method", "video-pruning-rate"), _MEDIA),
    **dict.fromkeys(("mm-encoder-attn-backend", "mm-encoder-attn-dtype"), _MEDIA),
    "max-logprobs": "more of them than the default take memory that the plan does not count",
    "model-class-overrides": "another class may need other memory than the plan assumes",
    "model-loader-extra-config": "which files the engine reads is determined by --load-format alone",
    "num-gpu-blocks-override": "the cache then holds other tokens than the plan says",
    "performance-mode": "it changes sizes of batches that the plan's memory assumes",
    "quantization": "the plan's weights follow the model's config",
    "quantization-config": "the plan's weights follow the model's config",
    "ray-workers-use-nsight": "the plan does not look whether the image has the profiler",
    "return-sampling-mask": "a mask for each request takes memory that the plan does not count",
    "weight-transfer-config": "the plan's weights are those of the model's files",
}

# Options that switch a protection off are among them: the recipe's own rules warn of those (rules/trust_rules.py).
_HARMLESS = """
    aggregate-engine-logging all2all-backend allow-credentials allow-deprecated-quantization allowed-headers
    allowed-local-media-path allowed-media-domains allowed-methods allowed-origins anthropic-disabled-thinking-effort
    async-scheduling calculate-kv-scales chat-template chat-template-content-format code-revision cohere-format
    cohere-is-reasoning-model collect-detailed-traces cp-kv-cache-interleave-size cpu-distributed-timeout-seconds
    cudagraph-metrics custom-histogram-buckets dbo-decode-token-threshold dbo-prefill-token-threshold dcp-comm-backend
    dcp-kv-cache-interleave-size default-chat-template-kwargs diffusion-config disable-access-log-for-endpoints
    disable-cascade-attn disable-chunked-mm-input disable-custom-all-reduce disable-fastapi-docs
    disable-frontend-multiprocessing disable-log-requests disable-mm-preprocessor-cache
    disable-nccl-for-dp-synchronization disable-uvicorn-access-log distributed-timeout-seconds
    enable-bf16x3-router-gemm enable-ep-weight-filter enable-flash-late-interaction enable-flashinfer-autotune
    enable-force-include-usage enable-layerwise-nvtx-tracing enable-log-deltas enable-log-outputs enable-log-requests
    enable-logging-iteration-details enable-mamba-cache-stochastic-rounding enable-mfu-metrics enable-mm-embeds
    enable-offline-docs enable-per-request-metrics enable-prefix-caching enable-prompt-embeds
    enable-prompt-tokens-details enable-request-id-headers enable-scale-out enable-server-load-tracking
    enable-shm-tensor-arena enable-tokenizer-info-endpoint exclude-tools-when-tool-choice-none
    expert-placement-strategy fail-on-environ-validation fingerprint-mode fingerprint-value gdn-prefill-backend
    generation-config h11-max-header-count h11-max-incomplete-event-size ignore-patterns interleave-mm-strings
    io-processor-plugin ir-op-priority jit-monitor-mode jit-monitor-verbose kda-decode-backend kda-prefill-backend
    kv-cache-metrics kv-cache-metrics-sample kv-sharing-fast-prefill log-config-file log-error-stack log-level
    logging-config logits-processor-pattern logits-processors logprobs-mode long-prefill-token-threshold
    long-prefill-token-threshold-adaptive mamba-backend mamba-cache-philox-rounds mamba-ssu-algorithm max-cpu-loras
    max-log-len max-long-partial-prefills max-num-active-seqs max-num-partial-prefills max-num-queued-reqs
    max-num-queued-tokens max-num-scheduled-tokens max-parallel-loading-workers middleware mm-encoder-fp8-scale-path
    mm-encoder-fp8-scale-save-margin mm-encoder-fp8-scale-save-path mm-hasher-algorithm mm-processor-cache-gb
    mm-processor-cache-type mm-shm-cache-max-object-size-mb mm-tensor-ipc numa-bind numa-bind-cpus numa-bind-nodes
    otlp-traces-endpoint override-generation-config per-request-spec-decode-metrics prefill-schedule-interval
    prefix-cache-retention-interval prefix-caching-hash-algo prefix-match-unit profiler-config pt-load-map-location
    reasoning-config reasoning-effort-map reasoning-parser-plugin renderer-num-workers response-role
    return-tokens-as-token-ids revision root-path safetensors-load-strategy safetensors-prefetch-block-size
    safetensors-prefetch-num-threads scheduler-cls scheduler-reserve-full-isl scheduling-policy seed
    show-hidden-metrics-for-version shutdown-timeout sparse-indexer-topk-backend specialize-active-lora
    sse-keep-alive-interval stream-interval structured-outputs-config swa-bounded-replay swap-space tokenizer-mode
    tokenizer-revision tool-parser-plugin tool-server tool-strict-level trust-request-chat-template
    trust-request-mm-kwargs use-fp64-gumbel use-tqdm-on-load uvicorn-log-level watchdog-config watermark
    watermark-config worker-cls worker-extension-cls
"""
HARMLESS = frozenset(_HARMLESS.split())
