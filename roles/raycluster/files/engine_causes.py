# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Known causes of an engine's end, each by its family of messages, with what to do about it.

The words are those of vLLM (0.12 to 0.33), Ray, PyTorch, NCCL, CUDA, Transformers, safetensors and Hugging Face. The first row that
matches wins, so the more particular ones stand first.
"""

from __future__ import annotations

import engine_causes_of_settings
from engine_cause import Cause, consequence, lasting, passing

_MEMORY = "reduce --max-model-len or --max-num-seqs, or use more nodes"

_OF_SYSTEMS = (
    # What the image holds
    lasting(
        r"No module named '?vllm\.(?!_)",
        "something in the image is made for another vLLM", "use an image whose vLLM and plugins belong together",
    ),
    lasting(
        r"Failed to import Ray|No module named '?(?:ray|vllm)\b(?!\.)",
        "the image's Python has no Ray or no vLLM", "use an image that holds both",
    ),
    lasting(
        r"lib(?!cuda\.so|nvidia-)[\w.+-]+\.so[.\d]*: cannot open shared object file|undefined symbol|symbol lookup error"
        r"|GLIBC(?:XX)?_[\d.]+' not found|_OpNamespace|operator \w+::\w+ does not exist|headers are incompatible|used to compile PyTorch"
        r"|not compiled with CUDA|Could not run '_\w+::"
        r"|No module named '?vllm\._"
        r"|cannot import name '_\w+_C'|flash attention extensions",
        "the image's vLLM is for another CUDA, or the image lacks a library", "use an image whose vLLM, PyTorch and CUDA belong together",
    ),
    lasting(
        r"Failed to find C compiler|CalledProcessError: Command .*(?:gcc|g\+\+|/cc)\b|Could not find nvcc|nvcc.*not found"
        r"|CUDA_HOME (?:environment variable )?is not set"
        r"|fatal error: \S+: No such file"
        r"|No such file or directory: '(?:\S*/)?(?:gcc|g\+\+|cc|c\+\+|clang|nvcc|ninja|ptxas)'|Ninja is required",
        "the image has no C compiler, or not the headers that it needs",
        "use an image with gcc, Python's headers and CUDA's, or give --enforce-eager",
    ),
    lasting(
        r"Load format .* (?:is )?not supported|Unknown load_format|Please install \S+ (?:via|with)|is required to use"
        r"|pip install|requires the [\w-]+ library|is required to read|Install it with|is not available or outdated"
        r"|Please install or update|packages? that (?:was|were) not found"
        r"|kernels not found|module (?:not|cannot be) found",
        "the image lacks a Python package that an option needs", "use an image that holds it, or remove the option",
    ),
    lasting(
        r"No module named",
        "the image lacks a Python package", "use an image that holds it, or remove the option that needs it",
    ),
    lasting(
        r"driver on your system is too old|driver version is insufficient|provided PTX was compiled with an unsupported toolchain"
        r"|forward compatibility was attempted|unsupported display driver|cudaErrorInsufficientDriver",
        "the node's NVIDIA driver is older than the image's CUDA needs", "use a newer node image, or an image with an older CUDA",
    ),
    lasting(
        r"no kernel image is available|requires CUDA >= ?[\d.]+|kernel image is invalid|only supports? sm_?\d|Unsupported (?:GPU )?arch"
        r"|Value 'sm_\w+' is not defined|No compiled \w+ for"
        r"|not compatible with the current PyTorch installation|sm_\d+ is not compatible|_ARCH_MISMATCH",
        "the image's kernels do not support this GPU's compute capability", "use an image that supports the GPU",
    ),
    lasting(
        r"Version mismatch: The cluster was started with|Ray version .* is required, but found",
        "the pods of the group have different versions of Ray or Python", "use one image for all pods",
    ),
    lasting(
        r"KeyError: '[\w.]+\.(?:self_attn|attn|attention|mixer|linear_attn)\.?(?:attn|mla_attn)?'|KeyError: 'global_rank'",
        "vLLM's old Ray executor (before 0.23) gives the KV cache of one stage to another",
        "use an image with vLLM 0.23 or newer, or set VLLM_USE_RAY_V2_EXECUTOR_BACKEND=1 in recipe_container_env",
    ),
    # Memory
    lasting(
        r"No available memory for the cache blocks|larger than the available KV cache memory|Cannot auto-fit max_model_len"
        r"|tokens that can be stored in KV cache|exceeds available Mamba cache blocks",
        "no GPU memory is left for the KV cache", "reduce --max-model-len, or use more nodes or a shape with more GPU memory",
    ),
    passing(
        r"Free memory on device .* is less than|Externally held weights|Error in memory profiling",
        "the GPU's memory is in use by something else", "see what else runs on the node; a restart frees what an earlier engine held",
    ),
    passing(
        r"CUDA-capable device\(s\) is/are busy|devices? are busy or unavailable",
        "another process holds the GPU", "see what else runs on the node",
    ),
    passing(
        r"(?:Cuda|CUDA|HIP).*out of memory|torch\.(?:cuda\.)?OutOfMemoryError|not enough GPU memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
        r"|CUBLAS_STATUS_NOT_INITIALIZED",
        "the GPU ran out of memory", _MEMORY,
    ),
    # The node's GPUs
    passing(
        r"Error 802|system not yet initialized|fabric ?manager",
        "the node's fabric manager does not run", "if it recurs, replace the node (recycle it in the node pool)",
    ),
    passing(
        r"uncorrectable (?:ECC|NVLink)|fallen off the bus|unspecified launch failure|illegal memory access|misaligned address"
        r"|GPU is lost"
        r"|hardware stack error|illegal instruction was encountered|Xid \(|NVLink error|cudaErrorECCUncorrectable",
        "a GPU failed", "if it recurs, replace the node: its GPU may be broken",
    ),
    passing(
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device is detected"
        r"|Failed to infer device type|CUDA unknown error|CUDA driver initialization failed|Driver/library version mismatch"
        r"|NVML.*(?:Not Found|Unknown Error|Not Loaded|Can't initialize)|invalid device ordinal"
        r"|lib(?:cuda\.so|nvidia-)\S* cannot open shared object",
        "the pod does not see its GPUs", "see the node's NVIDIA device plugin and driver; if it recurs, replace the node",
    ),
    passing(
        r"Duplicate GPU detected",
        "two ranks have the same GPU", "see the node's NVIDIA device plugin: a GPU must not be shared by time slices",
    ),
    passing(
        r"ibv_\w+ failed|IBV_WC_|vendor.err|NET/IB ?: .*(?:error|failed)|nvshmem \w.*failed|NVSHMEM API called before"
        r"|Got completion .*(?:error|status)",
        "the RDMA network between the nodes failed",
        "see the nodes' RDMA devices, the cluster network and NCCL_IB_HCA; NCCL_IB_DISABLE=1 uses TCP",
    ),
    # The node's system
    lasting(
        r"out of resource: shared memory|OutOfResources",
        "a kernel needs more shared memory than this GPU has",
        "use a shape with newer GPUs, another --attention-backend, or the model in another format",
    ),
    passing(
        r"Input/output error|Errno 5\b|Stale file handle|Errno 116|Transport endpoint is not connected",
        "a disk or a file system over the network failed",
        "see the node's disk and the model's file system; if it recurs on one node only, replace that node",
    ),
    passing(
        r"/dev/shm|ObjectStoreFull|shared.memory segment|Insufficient space .*shared|Bus error"
        r"|unable to (?:write to file|open shared memory)",
        "/dev/shm is full or too small", "increase recipe_shared_memory_volume_size_limit_in_mb",
    ),
    passing(
        r"No space left on device|Errno 28|Disk quota exceeded|out of disk space",
        "a disk or /dev/shm is full", "increase recipe_ephemeral_storage_size or recipe_shared_memory_volume_size_limit_in_mb",
    ),
    lasting(
        r"Too many open files|Errno 24|EMFILE",
        "the limit of open files is too low for the engine", "raise the container runtime's limit (LimitNOFILE) on the node",
    ),
    passing(
        r"can't start new thread|pthread_create failed|Resource temporarily unavailable|OpenBLAS blas_thread_init",
        "the pod may not start more threads", "raise the limit of processes a pod (podPidsLimit of the kubelet)",
    ),
    passing(
        r"killed by the OOM killer|oom-kill|OOMKilled|NODE_OUT_OF_MEMORY|running low on memory|Cannot allocate memory|Errno 12"
        r"|DefaultCPUAllocator|^MemoryError"
        r"|ray\.exceptions\.OutOfMemoryError|due to memory pressure|Killed signal terminated program"
        r"|memory limit .*exceeded|failed to allocate .*host",
        "a process of the engine ran out of memory: the pod's memory is too small",
        "use a shape with more memory, or increase the memory that the recipe asks for",
    ),
    passing(
        r"address already in use|EADDRINUSE|Errno 98",
        "a port is taken", "give the recipe other ports",
    ),
    lasting(
        r"getpwuid\(\): uid not found|No username set in the environment",
        "the image has no user of the ID under which the pod runs", "set USER and LOGNAME in recipe_container_env, or use another image",
    ),
    lasting(
        r"Permission denied|Errno 13\b|Read-only file system|Errno 30\b|Errno 1\]|no locator available",
        "the engine may not read or write a file", "see the rights of the model's folder and of the caches in recipe_container_env",
    ),
    passing(
        r"Name or service not known|Temporary failure in name resolution|NameResolutionError|getaddrinfo failed|No address associated",
        "a name could not be resolved", "see CoreDNS and the pods' DNS settings, and whether the engine has to ask that host at all",
    ),
    passing(
        r"VLLM_ENGINE_READY_TIMEOUT_S|Did not receive response from front-end",
        "the engine was not up within vLLM's own time-out", "increase VLLM_ENGINE_READY_TIMEOUT_S in recipe_container_env",
    ),
    # Ray's placement
    passing(
        r"Current node has no \w+ available|does not allocate any GPUs on the driver node|enough GPUs available in a current node",
        "the head has no GPU for the engine", "see whether another program holds GPUs of this Ray cluster",
    ),
    passing(
        r"Cannot provide a placement group|No node info found matching|total number of available \w+ in the placement group"
        r"|Failed to create placement group|not included in a placement group|No available node types can fulfill",
        "Ray could not place the engine on the group's GPUs", "see whether another program holds GPUs of this Ray cluster",
    ),
    passing(
        r"has been marked dead because",
        "a rank of the engine died with its pod or node", "see `kubectl describe` of the pod and its node; the group restarts",
    ),
    passing(
        r"Every node should have a unique IP",
        "two nodes of the group have the same address", "see the pods' network, and VLLM_HOST_IP in recipe_container_env",
    ),
    # What follows from another rank's end comes last, with what compilers wrap
    passing(
        r"custom_all_reduce",
        "the GPUs of a node could not share memory with each other", "give --disable-custom-all-reduce in recipe_container_command_args",
    ),
    consequence(
        r"FlashInfer requires GPUs with sm75",
        "FlashInfer fits neither the GPU nor the image's CUDA",
        "set VLLM_USE_FLASHINFER_SAMPLER=0 in recipe_container_env, or use another image",
    ),
    consequence(
        r"unhandled cuda error|ncclUnhandledCudaError|NCCL Error 1\b",
        "a CUDA call of NCCL failed", "see the lines with NCCL WARN in the pods' logs; NCCL_DEBUG=INFO shows more",
    ),
    consequence(
        r"DistStoreError|wait timeout after \d+ ?ms|socket has timed out|store->get|Timed out (?:after|waiting) \d+ ?ms"
        r"|rendezvous.*tim",
        "ranks waited for one that did not come", "see the logs of all pods of the group, and the network between them",
    ),
    consequence(
        r"Watchdog caught collective operation timeout|watchdog got stuck|NCCL.*(?:timeout|timed out)|collective .*timed out",
        "GPUs waited for each other until the NCCL time-out", "see the network between the nodes, and whether a stage ended before",
    ),
    consequence(
        r"Gloo connectFullMesh|gloo/transport|NCCL error|ncclSystemError|ncclRemoteError|ncclInternalError|Bootstrap ?: no socket"
        r"|(?:No|Unable to find)(?: usable)? ?interface|Unable to find address for|DistNetworkError|DistBackendError"
        r"|Connection (?:closed|reset) by peer"
        r"|No route to host|Connection refused|socketProgress|failed to recv, got 0 bytes|Broken pipe",
        "the ranks did not reach each other",
        "open all ports between the nodes and pods of the group, and see NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME",
    ),
    consequence(
        r"RPC call to \w+ timed out|Execute model timed out|execute_model.*timed? ?out|RayChannelTimeout|RAY_CGRAPH_get_timeout",
        "a step of the engine took longer than vLLM waits for one",
        "see the GPUs and the network; VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS in recipe_container_env gives more time (before 0.23: "
        "RAY_CGRAPH_get_timeout)",
    ),
    consequence(
        r"Worker unexpectedly exits|potential root causes",
        "a rank of the engine was killed, most likely because its pod's memory is too small",
        "see `kubectl describe pod`; use a shape with more memory, or increase the memory that the recipe asks for",
    ),
    consequence(
        r"died unexpectedly(?: \(exit code: \S+\))?, shutting down (?:executor|client)|ActorDied|ActorUnavailable|RayActorError"
        r"|WorkerCrashed"
        r"|NodeDied|RayChannelError|Channel closed"
        r"|actor (?:died|is dead)"
        r"|placement group corresponding to this Actor has been removed|worker died or was killed|owner .*has died|OwnerDied",
        "a rank of the engine died",
        "see the log of its pod, and `kubectl describe pod` where its memory may have run out; the group restarts",
    ),
    consequence(
        r"Could not (?:connect to|find any running) (?:Ray|GCS)|Failed to connect to GCS|GCS .*(?:unreachable|timed out)"
        r"|Failed to register worker|failed to connect to all addresses|RaySystemError|RuntimeEnvSetupError|runtime_env_agent",
        "the engine lost Ray", "see the log of the head; the group restarts",
    ),
    consequence(
        r"Fatal Python error|\*\*\* SIG\w+ received|Segmentation fault|Segfault|core dumped|terminate called after throwing"
        r"|double free or corruption|free\(\): |malloc\(\): |munmap_chunk|corrupted (?:size|double|unsorted)|stack smashing",
        "a process of the engine crashed", "see the lines before it in the pod's log",
    ),
    consequence(
        r"InductorError|BackendCompilerFailed|TorchDynamo\w*Error|TorchRuntimeError"
        r"|PTXASError|CompilationError|^Unsupported: |LoweringException"
        r"|Ninja build failed|Error building extension|nvcc fatal",
        "compiling the model failed", "give --enforce-eager in recipe_container_command_args, or use another image",
    ),
    consequence(
        r"CUDA (?:driver )?error:|cudaError\w+|CUDNN_STATUS_\w+|CUBLAS_STATUS_\w+|AcceleratorError",
        "a CUDA call failed", "see the pod's log; if it recurs on one node only, replace that node",
    ),
)  # fmt: skip

CAUSES = (*engine_causes_of_settings.CAUSES, *_OF_SYSTEMS)


def shown_by(error: str) -> Cause | None:
    """Return the known cause that an error shows."""
    return next((cause for cause in CAUSES if cause.pattern.search(error)), None)
