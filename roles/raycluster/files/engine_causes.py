# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Known causes of an engine's end, each by its family of messages, with what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """pattern: of the error; lasting: no restart fixes it; follows: where another process says something else, that came first."""

    pattern: re.Pattern[str]
    cause: str
    remedy: str
    lasting: bool = True
    follows: bool = False

    @property
    def text(self) -> str:
        """The cause with its remedy, as a person reads it."""
        return f"{self.cause}; {self.remedy}"


def _cause(pattern: str, cause: str, remedy: str, lasting: bool = True, follows: bool = False) -> Cause:
    return Cause(re.compile(pattern, re.IGNORECASE), cause, remedy, lasting, follows)


def _passing(pattern: str, cause: str, remedy: str) -> Cause:
    return _cause(pattern, cause, remedy, lasting=False)


def _consequence(pattern: str, cause: str, remedy: str) -> Cause:
    return _cause(pattern, cause, remedy, lasting=False, follows=True)


_OTHER_IMAGE = "use an image with another vLLM (recipe_image_uri)"
_SOURCE = "check the model's folder at the source, then deploy again to stage it again"
_FEWER_GPUS = "use a shape with fewer GPUs a node and more nodes"
_MEMORY = "reduce --max-model-len or --max-num-seqs, or use more nodes"

# The words are those of vLLM (0.12 to 0.33), Ray, PyTorch, NCCL, CUDA, Transformers, safetensors and Hugging Face. The first row that
# matches wins, so the more particular ones stand first.
CAUSES = (
    # Arguments and settings
    _cause(
        r"unrecognized arguments:",
        "the image's vLLM does not take an option that the plan gives it",
        "use an image with a vLLM that knows it, or remove it from recipe_container_command_args",
    ),
    _cause(
        r"^(?:argument|[\w./-]+(?: \w+)?: error): |ArgumentTypeError|^argument -",
        "the image's vLLM refuses the value of an option", "correct it in recipe_container_command_args",
    ),
    _cause(
        r"invalid (?:tool call|reasoning|tool) parser|(?:tool|reasoning) parser .*(?:not found|not registered)",
        "the image's vLLM does not have the parser that is asked for", "give one of those that the message lists",
    ),
    _cause(
        r"chat template string .* doesn't exist|chat.template.*(?:not found|No such file)",
        "the chat template is not where the option says", "give the path of a file in the model's folder, or the template itself",
    ),
    _cause(
        r"\bVLLM_\w+ '.*' (?:must be|appears to be)|Invalid value '.*' (?:for|in) (?:env\w* \w+|VLLM_)",
        "an environment variable has a value that vLLM refuses",
        "correct or remove it in recipe_container_env; a Service named vllm sets VLLM_PORT and others",
    ),
    _cause(
        r"LoRA\w* rank|No adapter found|adapter_config\.json|Loading lora .*failed|LoRA\w*NotFound",
        "a LoRA adapter cannot be loaded", "check --lora-modules and --max-lora-rank in recipe_container_command_args",
    ),
    _cause(
        r"num_speculative_tokens|speculative[_ -]config\b",
        "the settings of speculative decoding are refused", "correct --speculative-config in recipe_container_command_args",
    ),
    _cause(
        r"max_model_len .*greater than|longer than the (?:model's )?maximum|max_model_len .*exceeds|maximum allowed sequence length",
        "the context asked for is longer than the model's", "reduce recipe_max_model_length",
    ),
    _cause(
        r"max_num_batched_tokens .*(?:smaller than|must be greater|too small|is larger than max_num_batched)"
        r"|increase max_num_batched_tokens",
        "--max-num-batched-tokens is too small for the other settings", "increase it, or reduce recipe_max_model_length",
    ),
    _cause(
        r"VLLM_PP_LAYER_PARTITION|sum\(partitions\)|len\(partitions\)|Invalid partition string|does not match num_hidden_layers",
        "the layers are not divided as the model has them", "correct or remove VLLM_PP_LAYER_PARTITION in recipe_container_env",
    ),
    _cause(
        r"Pipeline parallelism is not supported for this model",
        "the class of the model, or of its draft model, cannot be divided into pipeline stages",
        "serve it on one node, without the draft model, or use another model",
    ),
    _cause(
        r"not (?:yet )?(?:supported|compatible)(?: together)? with pipeline.parallel"
        r"|pipeline.parallel\w* is not (?:yet )?(?:supported|compatible)"
        r"|requires PP=1|does not support pipeline",
        "an option cannot be combined with pipeline stages", "remove the option that the message names, or serve the model on one node",
    ),
    # The model and its files
    _cause(
        r"contains custom code which must be executed|requires you to execute the (?:configuration|modeling) file"
        r"|trust_remote_code=True",
        "the model comes with Python code of its own",
        "read that code, and set recipe_trust_remote_code if you trust it to run in the pods",
    ),
    _cause(
        r"model architectures? .*(?:not supported|failed to be inspected)|does not recognize this architecture"
        r"|was supported in vLLM until"
        r"|has no vLLM implementation|Transformers implementation .*not compatible with vLLM|Cannot find model module"
        r"|No module named '?transformers\.models|cannot import name .* from '?transformers"
        r"|No model architectures are specified|Unrecognized configuration class",
        "the image's vLLM does not know the model's architecture", _OTHER_IMAGE,
    ),
    _cause(
        r"Weight files referenced in index but missing|weights were not initialized from checkpoint|Missing keys .* in loaded state"
        r"|tied weight is uninitialized|Could not find checkpoint files",
        "weights that this stage needs are not among its files", "check that the model's folder at the source is complete",
    ),
    _cause(
        r"Cannot find any (?:safetensors )?model weights|no (?:file|weights) (?:named|found) .*\.(?:safetensors|bin)",
        "no weights in the format that --load-format asks for are in the model's folder",
        "check the model's folder at the source, and --load-format",
    ),
    _cause(
        r"Error while deserializing header|MetadataIncompleteBuffer|HeaderTooLarge|InvalidHeader|invalid load key"
        r"|PytorchStreamReader failed|inline_container"
        r"|unexpected EOF, expected \d+ more bytes|file in archive is not in a subdirectory|failed finding central directory",
        "a weight file is cut off, or is a git-lfs pointer in place of the file", _SOURCE,
    ),
    _cause(
        r"is not a valid JSON file|JSONDecodeError|UnicodeDecodeError.*utf-8",
        "a JSON file of the model cannot be read", _SOURCE,
    ),
    _cause(
        r"Can't load (?:the )?(?:image |feature )?(?:tokenizer|processor)|Couldn't instantiate the backend tokenizer"
        r"|Unable to load vocabulary"
        r"|tokenizer(?!.*\b(?:library|install)\b).*(?:not found|does not exist|cannot be loaded)|Failed to load the tokenizer"
        r"|Make sure that a \w+ tokenizer is present",
        "the tokenizer's files are not in the model's folder", "add them to the model's folder at the source, then deploy again",
    ),
    _cause(
        r"GatedRepoError|gated repo|Access to model .* is restricted|401 Client Error|403 Client Error.*huggingface|Invalid user token",
        "Hugging Face refuses the access", "accept the model's terms there, and give a token that may read it",
    ),
    _passing(
        r"couldn't connect to 'https://huggingface|offline mode is enabled|OfflineModeIsEnabled|LocalEntryNotFoundError"
        r"|Cannot reach https://huggingface|Max retries exceeded .*huggingface|(?:429|5\d\d) (?:Client|Server) Error.*huggingface",
        "the engine asks Hugging Face for a file that the model's folder does not have",
        "add the file to the model's folder at the source, then deploy again",
    ),
    _cause(
        r"Can't load (?:the )?config|does not appear to have a file named|Cannot find the config file for"
        r"|Invalid repository ID or local"
        r"|Repo id must (?:be|use)|is not a valid model identifier|should have a `?model_type`? key|RepositoryNotFoundError",
        "a file that the engine needs is not in the model's folder", "check that the model's folder at the source is complete",
    ),
    _cause(
        r"There is no module or parameter named|Attempted to load (?:nested )?weight|size mismatch for|shape mismatch .*weight"
        r"|KeyError: '(?:[\w]+\.)*(?:layers|blocks|h|experts)\.\d+\.[\w.]*(?:weight|bias|scale|qzeros|g_idx|scale_inv|packed)\w*'"
        r"|Tried to load weights of size|Trying to set a tensor of shape|The size of tensor a \(\d+\) must match|vocab\w* size mismatch"
        r"|start \(\d+\) \+ length \(\d+\) exceeds dimension size|loaded_weight\.(?:shape|size)"
        r"|param(?:_data)?\.(?:shape|size\(\)) == |weight_shape",
        "the model's tensors are not those that the class and the quantization in config.json ask for",
        f"check quantization_config and architectures in config.json, or {_OTHER_IMAGE}",
    ),
    _cause(
        r"\brope_(?:scaling|parameters|theta|type)\b|'\w+Config' object has no attribute",
        "config.json lacks, or has otherwise, what the image's vLLM reads in it",
        f"correct config.json at the source, or {_OTHER_IMAGE}",
    ),
    # Quantization and the GPU's capability
    _cause(
        r"fp8e4nv not supported|fp8e4b8 not supported|FP8 .*(?:requires|not supported on|is only supported)",
        "the GPU has no FP8", "use a shape with newer GPUs, the model in another format, or --kv-cache-dtype auto",
    ),
    _cause(
        r"Bfloat16 is only supported on GPUs|bfloat16 is not supported (?:on|by)",
        "the GPU has no bfloat16", "give --dtype half in recipe_container_command_args, or use a shape with newer GPUs",
    ),
    _cause(
        r"min_thread_[kn]|BLOCK_SIZE_[KN]|weight quantization block|divisible by group_size|not aligned with the quantized weight shape"
        r"|not divisible by weight quantization|divisible by .*\bblock_[kn]\b|divisible by (?:the )?(?:quant\w* )?group.size",
        "the GPUs of a node cut a quantized matrix too fine", _FEWER_GPUS,
    ),
    _cause(
        r"\bUnknown quantization|Quantization method specified in the model config|Unsupported quantization config|Unsupported num_bits"
        r"|Model quantization method is not specified|Unsupported ModelOpt|Invalid quantization|Unsupported .*quant_algo"
        r"|quantization method .* is deprecated",
        "the image's vLLM does not read the model's quantization", f"{_OTHER_IMAGE}, or the model in another format",
    ),
    _cause(
        r"quantization (?:method|scheme).*(?:not supported|unsupported)|(?:Min\.?|Minimum) capability"
        r"|requires (?:GPU )?compute capability|requires GPUs? with (?:sm|compute)"
        r"|requires an? (?:NVIDIA )?(?:Hopper|Blackwell|Ada|Ampere)|is only supported on (?:GPUs with|Hopper|Blackwell)"
        r"|No [\w ]*(?<!attention )(?<!prefill )backend supports|Failed to find a kernel that can implement"
        r"|kernels? (?:are|is) not supported on this",
        "the model's quantization is not for this GPU", "use a shape with newer GPUs, or the model in another format",
    ),
    _cause(
        r"No valid (?:MLA |prefill |MLA prefill |attention )?(?:attention |prefill )?backend found|Selected backend .* is not valid"
        r"|Head.?size .*(?:not supported|unsupported)|unsupported head.?(?:size|dim)|FlashAttention only supports"
        r"|No common block size for",
        "no attention kernel fits the GPU, the model's head size and the KV cache's type",
        f"remove --attention-backend and --kv-cache-dtype where they are given, or {_OTHER_IMAGE}",
    ),
    _cause(
        r"divisible by (?:the )?tensor[ _-]?(?:model[ _-])?parallel|\b\d+ is not divisible by \d+|num_heads .*divisible"
        r"|not divisible by tp_size"
        r"|divisible by tp_size",
        "the model cannot be divided over the GPUs of a node", "use a shape with another number of GPUs",
    ),
    # What the image holds
    _cause(
        r"Failed to import Ray|No module named '?(?:ray|vllm)'?(?:$|\W)(?!\.)",
        "the image's Python has no Ray or no vLLM", "use an image that holds both",
    ),
    _cause(
        r"lib(?!cuda\.so|nvidia-)[\w.+-]+\.so[.\d]*: cannot open shared object file|undefined symbol|symbol lookup error"
        r"|GLIBC(?:XX)?_[\d.]+' not found",
        "the image's vLLM is for another CUDA, or the image lacks a library", "use an image whose vLLM, PyTorch and CUDA belong together",
    ),
    _cause(
        r"Failed to find C compiler|CalledProcessError: Command .*(?:gcc|g\+\+|/cc)\b|Could not find nvcc|nvcc.*not found"
        r"|CUDA_HOME (?:environment variable )?is not set"
        r"|Python\.h: No such file"
        r"|No such file or directory: '(?:\S*/)?(?:gcc|g\+\+|cc|c\+\+|clang|nvcc|ninja|ptxas)'|Ninja is required",
        "the image has no C compiler", "use an image with gcc and Python's headers, or give --enforce-eager",
    ),
    _cause(
        r"Load format .* (?:is )?not supported|Unknown load_format|Please install \S+ (?:via|with)|is required to use"
        r"|Please `?pip install|requires the [\w-]+ library|is required to read|Install it with|is not available or outdated"
        r"|Please install or update",
        "the image lacks a Python package that an option needs", "use an image that holds it, or remove the option",
    ),
    _cause(
        r"No module named",
        "the image lacks a Python package", "use an image that holds it, or remove the option that needs it",
    ),
    _cause(
        r"driver on your system is too old|driver version is insufficient|provided PTX was compiled with an unsupported toolchain"
        r"|forward compatibility was attempted|unsupported display driver|cudaErrorInsufficientDriver",
        "the node's NVIDIA driver is older than the image's CUDA needs", "use a newer node image, or an image with an older CUDA",
    ),
    _cause(
        r"no kernel image is available|Value 'sm_\w+' is not defined|No compiled \w+ for"
        r"|not compatible with the current PyTorch installation|sm_\d+ is not compatible|_ARCH_MISMATCH",
        "the image's kernels do not support this GPU's compute capability", "use an image that supports the GPU",
    ),
    _cause(
        r"Version mismatch: The cluster was started with|Ray version .* is required, but found",
        "the pods of the group have different versions of Ray or Python", "use one image for all pods",
    ),
    _cause(
        r"KeyError: '[\w.]+\.(?:self_attn|attn|attention|mixer|linear_attn)\.?(?:attn|mla_attn)?'|KeyError: 'global_rank'",
        "vLLM's old Ray executor (before 0.23) gives the KV cache of one stage to another",
        "use an image with vLLM 0.23 or newer, or set VLLM_USE_RAY_V2_EXECUTOR_BACKEND=1 in recipe_container_env",
    ),
    # Memory
    _cause(
        r"No available memory for the cache blocks|larger than the available KV cache memory|Cannot auto-fit max_model_len"
        r"|tokens that can be stored in KV cache|exceeds available Mamba cache blocks",
        "no GPU memory is left for the KV cache", "reduce --max-model-len, or use more nodes or a shape with more GPU memory",
    ),
    _passing(
        r"Free memory on device .* is less than|Externally held weights|Error in memory profiling",
        "the GPU's memory is in use by something else", "see what else runs on the node; a restart frees what an earlier engine held",
    ),
    _passing(
        r"CUDA-capable device\(s\) is/are busy|devices? are busy or unavailable",
        "another process holds the GPU", "see what else runs on the node",
    ),
    _passing(
        r"(?:Cuda|CUDA|HIP).*out of memory|torch\.(?:cuda\.)?OutOfMemoryError|not enough GPU memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
        r"|CUBLAS_STATUS_NOT_INITIALIZED",
        "the GPU ran out of memory", _MEMORY,
    ),
    # The node's GPUs
    _passing(
        r"Error 802|system not yet initialized|fabric ?manager",
        "the node's fabric manager does not run", "if it recurs, replace the node (recycle it in the node pool)",
    ),
    _passing(
        r"uncorrectable (?:ECC|NVLink)|fallen off the bus|unspecified launch failure|illegal memory access|misaligned address"
        r"|GPU is lost"
        r"|hardware stack error|illegal instruction was encountered|Xid \(|NVLink error|cudaErrorECCUncorrectable",
        "a GPU failed", "if it recurs, replace the node: its GPU may be broken",
    ),
    _passing(
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device is detected"
        r"|Failed to infer device type|Driver/library version mismatch"
        r"|NVML.*(?:Not Found|Unknown Error|Not Loaded|Can't initialize)|invalid device ordinal"
        r"|lib(?:cuda\.so|nvidia-)\S* cannot open shared object",
        "the pod does not see its GPUs", "see the node's NVIDIA device plugin and driver; if it recurs, replace the node",
    ),
    _passing(
        r"Duplicate GPU detected",
        "two ranks have the same GPU", "see the node's NVIDIA device plugin: a GPU must not be shared by time slices",
    ),
    _passing(
        r"ibv_\w+ failed|IBV_WC_|vendor.err|NET/IB ?: .*(?:error|failed)|Got completion .*(?:error|status)",
        "the RDMA network between the nodes failed",
        "see the nodes' RDMA devices, the cluster network and NCCL_IB_HCA; NCCL_IB_DISABLE=1 uses TCP",
    ),
    # The node's system
    _cause(
        r"out of resource: shared memory|OutOfResources",
        "a kernel needs more shared memory than this GPU has",
        "use a shape with newer GPUs, another --attention-backend, or the model in another format",
    ),
    _passing(
        r"Input/output error|Errno 5\b|Stale file handle|Errno 116|Transport endpoint is not connected",
        "a disk or a file system over the network failed",
        "see the node's disk and the model's file system; if it recurs on one node only, replace that node",
    ),
    _passing(
        r"/dev/shm|shared.memory segment|Insufficient space .*shared|Bus error|unable to (?:write to file|open shared memory)",
        "/dev/shm is full or too small", "increase recipe_shared_memory_volume_size_limit_in_mb",
    ),
    _passing(
        r"No space left on device|Errno 28|Disk quota exceeded|out of disk space",
        "a disk or /dev/shm is full", "increase recipe_ephemeral_storage_size or recipe_shared_memory_volume_size_limit_in_mb",
    ),
    _cause(
        r"Too many open files|Errno 24|EMFILE",
        "the limit of open files is too low for the engine", "raise the container runtime's limit (LimitNOFILE) on the node",
    ),
    _passing(
        r"can't start new thread|pthread_create failed|Resource temporarily unavailable|OpenBLAS blas_thread_init",
        "the pod may not start more threads", "raise the limit of processes a pod (podPidsLimit of the kubelet)",
    ),
    _passing(
        r"killed by the OOM killer|oom-kill|OOMKilled|NODE_OUT_OF_MEMORY|running low on memory|Cannot allocate memory|Errno 12"
        r"|DefaultCPUAllocator|^MemoryError"
        r"|ray\.exceptions\.OutOfMemoryError|memory limit .*exceeded|failed to allocate .*host",
        "a process of the engine ran out of memory: the pod's memory is too small",
        "use a shape with more memory, or increase the memory that the recipe asks for",
    ),
    _passing(
        r"address already in use|EADDRINUSE|Errno 98",
        "a port is taken", "give the recipe other ports",
    ),
    _cause(
        r"Permission denied|Errno 13\b|Read-only file system|Errno 30\b|Operation not permitted",
        "the engine may not read or write a file", "see the rights of the model's folder and of the caches in recipe_container_env",
    ),
    _passing(
        r"Name or service not known|Temporary failure in name resolution|NameResolutionError|getaddrinfo failed|No address associated",
        "a name could not be resolved", "see CoreDNS and the pods' DNS settings, and whether the engine has to ask that host at all",
    ),
    _passing(
        r"VLLM_ENGINE_READY_TIMEOUT_S|Did not receive response from front-end",
        "the engine was not up within vLLM's own time-out", "increase VLLM_ENGINE_READY_TIMEOUT_S in recipe_container_env",
    ),
    # Ray's placement
    _passing(
        r"Current node has no \w+ available|does not allocate any GPUs on the driver node|enough GPUs available in a current node",
        "the head has no GPU for the engine", "see whether another program holds GPUs of this Ray cluster",
    ),
    _passing(
        r"Cannot provide a placement group|No node info found matching|total number of available \w+ in the placement group"
        r"|Failed to create placement group|not included in a placement group",
        "Ray could not place the engine on the group's GPUs", "see whether another program holds GPUs of this Ray cluster",
    ),
    _passing(
        r"Every node should have a unique IP",
        "two nodes of the group have the same address", "see the pods' network, and VLLM_HOST_IP in recipe_container_env",
    ),
    # What follows from another rank's end comes last, with what compilers wrap
    _passing(
        r"custom_all_reduce",
        "the GPUs of a node could not share memory with each other", "give --disable-custom-all-reduce in recipe_container_command_args",
    ),
    _consequence(
        r"unhandled cuda error|ncclUnhandledCudaError|NCCL Error 1\b",
        "a CUDA call of NCCL failed", "see the lines with NCCL WARN in the pods' logs; NCCL_DEBUG=INFO shows more",
    ),
    _consequence(
        r"Watchdog caught collective operation timeout|watchdog got stuck|NCCL.*(?:timeout|timed out)|collective .*timed out",
        "GPUs waited for each other until the NCCL time-out", "see the network between the nodes, and whether a stage ended before",
    ),
    _consequence(
        r"DistStoreError|wait timeout after \d+ ?ms|socket has timed out|store->get|Timed out (?:after|waiting) \d+ ?ms"
        r"|rendezvous.*tim",
        "ranks waited for one that did not come", "see the logs of all pods of the group, and the network between them",
    ),
    _consequence(
        r"Gloo connectFullMesh|gloo/transport|NCCL error|ncclSystemError|ncclRemoteError|ncclInternalError|Bootstrap ?: no socket"
        r"|(?:No|Unable to find)(?: address for| usable)? ?interface|DistNetworkError|DistBackendError"
        r"|Connection (?:closed|reset) by peer"
        r"|No route to host|Connection refused|socketProgress|failed to recv, got 0 bytes|Broken pipe",
        "the ranks did not reach each other",
        "open all ports between the nodes and pods of the group, and see NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME",
    ),
    _consequence(
        r"RPC call to \w+ timed out|Execute model timed out|execute_model.*timed? ?out",
        "a step of the engine took longer than vLLM waits for one",
        "see the GPUs and the network; VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS in recipe_container_env gives more time",
    ),
    _consequence(
        r"Worker unexpectedly exits|potential root causes",
        "a rank of the engine was killed, most likely because its pod's memory is too small",
        "see `kubectl describe pod`; use a shape with more memory, or increase the memory that the recipe asks for",
    ),
    _consequence(
        r"died unexpectedly, shutting down (?:executor|client)|ActorDied|ActorUnavailable|RayActorError|WorkerCrashed"
        r"|marked dead because|NodeDied"
        r"|actor (?:died|is dead)"
        r"|placement group corresponding to this Actor has been removed|worker died or was killed|owner .*has died|OwnerDied",
        "a rank of the engine died",
        "see the log of its pod, and `kubectl describe pod` where its memory may have run out; the group restarts",
    ),
    _consequence(
        r"Could not (?:connect to|find any running) (?:Ray|GCS)|Failed to connect to GCS|GCS .*(?:unreachable|timed out)"
        r"|RaySystemError|RuntimeEnvSetupError|runtime_env_agent",
        "the engine lost Ray", "see the log of the head; the group restarts",
    ),
    _consequence(
        r"Fatal Python error|\*\*\* SIG\w+ received|Segmentation fault|core dumped|terminate called after throwing",
        "a process of the engine crashed", "see the lines before it in the pod's log",
    ),
    _consequence(
        r"InductorError|BackendCompilerFailed|torch\._dynamo\.exc|PTXASError|CompilationError|^Unsupported: |LoweringException"
        r"|Ninja build failed|Error building extension|nvcc fatal",
        "compiling the model failed", "give --enforce-eager in recipe_container_command_args, or use another image",
    ),
    _consequence(
        r"CUDA error:|cudaError\w+|CUDNN_STATUS_\w+|CUBLAS_STATUS_\w+|AcceleratorError",
        "a CUDA call failed", "see the pod's log; if it recurs on one node only, replace that node",
    ),
)  # fmt: skip


# What is said for information shows nothing that is amiss, and may quote settings and requests; a warning tells what may come.
_INFORMS = re.compile(
    r"(?<![=\w])(?:INFO|DEBUG)\b|(?<![=\w])WARNING (?:\d\d-\d\d|\S+\.\w+:\d+ -- )|\.py:\d+: \w*Warning\b"
)


def known(line: str) -> Cause | None:
    """Return the known cause that a log line shows; None of one for information."""
    return None if _INFORMS.search(line) else shown_by(line)


def shown_by(error: str) -> Cause | None:
    """Return the known cause that an error shows."""
    return next((cause for cause in CAUSES if cause.pattern.search(error)), None)
